"""Supervision trees of random shapes, whose processes are killed, crash, stop and dawdle."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tree_model import DynamicReader, Event, Facts, Reader

from palaver.actors.runtime import (
    KILL,
    NORMAL,
    SHUTDOWN,
    GenServer,
    Ignore,
    Node,
    Pid,
    Ref,
    RuntimeFault,
    Shutdown,
    Stop,
    SupervisorReport,
)
from palaver.actors.runtime.lifecycle import watchers_of
from palaver.actors.simulation import Host, World
from palaver.supervisors import (
    ChildSpec,
    DynamicSupervisor,
    Supervisor,
    SupervisorFlags,
    start_child,
)

STARTS = ["up"] * 8 + ["slow"] * 3 + ["fail", "crash", "slow fail", "ignore"]
STOPS = ["at once"] * 4 + ["slow", "dawdle", "crash"]


@dataclass(frozen=True)
class Shape:
    """What a supervisor supervises."""

    flags: SupervisorFlags
    specs: tuple[ChildSpec, ...]


class End(Ref):
    """Tells the story of the end of a process."""

    def __init__(self, story: Story, child: Any, parent: Pid | None) -> None:
        self.story = story
        self.child = child
        self.parent = parent

    def down(self, pid: Pid, reason: object) -> None:
        self.story.facts.ends[pid] = reason
        self.story.tell(self.parent, "exit", self.child, pid, reason)
        self.story.tell(pid, "own exit", None, pid, reason)


class Watched:
    """What all processes of a story do."""

    __slots__ = ()

    def begin(self, story: Story, child: Any) -> None:
        context: Any = self
        end = End(story, child, context.parent)
        watchers_of(context.process_)[end] = end
        story.tell(context.parent, "init", child, context.pid)


class Worker(GenServer, Watched):
    """Starts and stops as the story has it."""

    __slots__ = ("child", "story")

    async def init(self, story: Story, child: Any) -> Any:
        self.story, self.child = story, child
        self.begin(story, child)
        chance = story.chance
        self.trap_exit = chance.random() < 0.6
        how = "up" if story.calm else chance.choice(STARTS)
        if "slow" in how:
            await self.sleep(chance.choice([0.01, 0.5, 3.0]))
        if "fail" in how:
            return Stop("no")
        if how == "crash":
            raise ValueError("no")
        if how == "ignore":
            story.tell(self.parent, "ignored", child, self.pid)
            return Ignore()
        story.tell(self.parent, "up", child, self.pid)
        return None

    def handle_info(self, message: Any) -> None:
        """An `Exit` that was sent to one that traps exits: nothing follows."""

    def handle_cast(self, message: Any) -> Any:
        if message == "crash":
            raise ValueError(message)
        return Stop(message)

    async def terminate(self, reason: object) -> None:
        story = self.story
        story.tell(self.parent, "terminate", self.child, self.pid, reason)
        how = "at once" if story.calm else story.chance.choice(STOPS)
        if how == "slow":
            await self.sleep(story.chance.choice([0.01, 0.5, 2.0]))
        elif how == "dawdle":
            await self.sleep(30.0)
        elif how == "crash":
            raise ValueError("terminate")


class Branch(Supervisor, Watched):
    """A supervisor that is read along."""

    __slots__ = ("child", "story")

    async def init(self, story: Story, child: Any, shape: Shape) -> Any:
        self.story, self.child = story, child
        self.begin(story, child)
        story.read(Reader(self.pid, shape.flags, list(shape.specs), story.facts))
        result = await super().init(story, child, shape)
        if result is None:
            story.tell(self.pid, "own up")
            story.tell(self.parent, "up", child, self.pid)
        return result

    def specification(self, story: Story, child: Any, shape: Shape) -> Any:
        return shape.flags, shape.specs

    async def terminate(self, reason: object) -> None:
        self.story.tell(self.parent, "terminate", self.child, self.pid, reason)
        self.story.tell(self.pid, "own terminate", None, None, reason)
        await super().terminate(reason)


class Pool(DynamicSupervisor, Watched):
    """The same for children that come and go."""

    __slots__ = ("child", "story")

    def init(self, story: Story, child: Any, flags: SupervisorFlags) -> None:  # type: ignore[override]
        self.story, self.child = story, child
        self.begin(story, child)
        story.read(DynamicReader(self.pid, flags, story.facts))
        super().init(intensity=flags.intensity, period_s=flags.period_s)
        story.pools[self.pid] = None
        story.tell(self.pid, "own up")
        story.tell(self.parent, "up", child, self.pid)

    async def terminate(self, reason: object) -> None:
        self.story.tell(self.parent, "terminate", self.child, self.pid, reason)
        self.story.tell(self.pid, "own terminate", None, None, reason)
        await super().terminate(reason)


class Story:
    """One tree, and what befalls it; also the observer of its node."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.facts = Facts()
        self.faults: list[AssertionError] = []
        world.always(self.no_fault, "supervisors do what OTP's do")
        self.chance: random.Random = world.tape.random("chance")
        self.calm = False
        self.readers: dict[Pid, Reader] = {}
        self.parents: dict[Pid, Pid | None] = {}
        self.pools: dict[Pid, None] = {}
        self.count = 0
        self.node: Node
        self.host = world.host("h", self.boot)
        self.shape = self.branch(3)
        self.starts = ChildSpec("root", Branch, (self, "root", self.shape), kind="supervisor")

    # -- shapes --------------------------------------------------------------------------------

    def branch(self, depth: int) -> Shape:
        chance = self.chance
        auto = chance.choice(["never"] * 4 + ["any_significant", "all_significant"])
        flags = SupervisorFlags(
            chance.choice(["one_for_one", "one_for_all", "rest_for_one"]),
            chance.choice([0, 1, 3, 10, 10]),
            chance.choice([1.0, 5.0, 20.0]),
            auto,
        )
        return Shape(
            flags, tuple(self.spec(depth, auto != "never") for _ in range(chance.randrange(1, 5)))
        )

    def spec(self, depth: int, may_be_significant: bool) -> ChildSpec:
        chance = self.chance
        self.count += 1
        kind = chance.choice(["worker"] * 3 + ["branch", "branch", "pool"]) if depth else "worker"
        name = f"{kind}{self.count}"
        restart = chance.choice(["permanent"] * 3 + ["transient", "temporary"])
        options: dict[str, Any] = {
            "restart": restart,
            "significant": may_be_significant and restart != "permanent" and chance.random() < 0.7,
            "shutdown_s": chance.choice([0, 0.5, 5.0, 5.0, None]),
        }
        if kind == "worker":
            return ChildSpec(name, Worker, (self, name), **options)
        options["shutdown_s"] = chance.choice([None, None, 5.0])
        if kind == "pool":
            flags = SupervisorFlags("one_for_one", chance.choice([1, 5]), 5.0)
            return ChildSpec(name, Pool, (self, name, flags), kind="supervisor", **options)
        shape = self.branch(depth - 1)
        return ChildSpec(name, Branch, (self, name, shape), kind="supervisor", **options)

    # -- what is seen --------------------------------------------------------------------------

    def read(self, reader: Reader) -> None:
        self.readers[reader.pid] = reader

    def tell(
        self, reader: Pid | None, kind: str, child: Any = None, pid: Pid | None = None,
        reason: Any = None,
    ) -> None:  # fmt: skip
        """Let the reader of a supervisor read on."""
        if kind == "init":
            assert pid is not None
            self.parents[pid] = reader
        found = None if reader is None else self.readers.get(reader)
        if found is not None:
            if kind == "own terminate":
                found.ordered_to_stop = self.may_order(found.pid)
            try:
                found.take(Event(kind, self.node.clock.monotonic(), child, pid, reason))
            except AssertionError as error:
                # This runs within the processes, which would take it for a failure of their own.
                self.faults.append(error)

    def no_fault(self) -> None:
        """Raise what a reader has found."""
        if self.faults:
            raise self.faults[0]

    def may_order(self, pid: Pid) -> bool:
        """Whether a supervisor's parent stops it, or has ended; the root's is the story."""
        parent = self.parents[pid]
        if parent is None:
            return self.root_told
        reader = self.readers[parent]
        return (
            reader.over
            or reader.stops in (pid, parent)
            or parent in self.facts.ends
            or bool(reader.again)
        )

    root_told = False

    def process_crashed(self, report: Any) -> None:
        if report.behaviour.endswith((".Branch", ".Pool")):
            self.faults.append(AssertionError(str(report)))

    def child_restarted(self, supervisor: Pid, child_id: object, reason: object) -> None:
        self.world.reach("restarted")
        self.tell(supervisor, "restarted", child_id, None, reason)

    def supervisor_gave_up(self, supervisor: Pid, reason: object) -> None:
        self.world.reach("gave up")
        self.tell(supervisor, "gave up", None, None, reason)

    def supervisor_report(self, report: SupervisorReport) -> None:
        self.world.reach(report.context)
        self.tell(report.supervisor, report.context, report.child_id, report.child, report.reason)

    def handler_slow(self, pid: Pid, seconds: float) -> None:
        pass

    # -- what happens --------------------------------------------------------------------------

    async def boot(self, host: Host) -> None:
        self.node = await host.node(observer=self)

    async def act(self) -> None:
        world, chance = self.world, self.chance
        await self.host.start()
        root = await self.plant()
        for _ in range(chance.randrange(5, 40)):
            await world.sleep(chance.choice([0.0, 0.0, 0.001, 0.1, 0.5, 2.0, 6.0]))
            if root.process_ is None:
                root = await self.plant()
            else:
                self.step()
        self.calm = True
        await world.sleep(300.0)  # more than all dawdling and all periods
        self.check()
        if root.process_ is not None:
            self.root_told = True
            self.node.exit(root, SHUTDOWN)
            await world.eventually(lambda: root.process_ is None, "the tree stops")
        await world.sleep(60.0)
        left = list(self.node.table)
        assert not left, f"orphans: {left}"

    async def plant(self) -> Pid:
        """Start the tree, as often as it takes."""
        for attempt in range(100):
            self.calm = attempt > 5
            try:
                root = await self.node.start_server(Branch, *self.starts.args)
            except RuntimeFault:
                self.world.reach("did not start")
            else:
                self.calm = False
                return root
        raise AssertionError("the tree does not start")

    def step(self) -> None:
        """Something befalls one of the processes."""
        chance, node = self.chance, self.node
        pools = [pid for pid in self.pools if pid in node.table and pid in self.readers]
        if pools and chance.random() < 0.3:
            self.request(chance.choice(pools))
            return
        pid = chance.choice(list(node.table))
        how = chance.choice(["kill", "kill", "exit", "crash", "stop", "odd", "shut down"])
        if how == "kill":
            self.facts.killed.add(pid)
            node.exit(pid, KILL)
        elif how == "exit":
            node.exit(pid, "odd")
        elif isinstance(node.table[pid].context, Supervisor | DynamicSupervisor):
            return  # it would crash, as OTP's does
        else:
            told = {"stop": NORMAL, "odd": "odd", "shut down": Shutdown("enough"), "crash": "crash"}
            node.cast(pid, told[how])

    def request(self, pool: Pid) -> None:
        """Ask a pool for a child."""
        self.count += 1
        name = f"child{self.count}"
        chance = self.chance
        spec = ChildSpec(
            name, Worker, (self, name), shutdown_s=chance.choice([0, 0.5, 5.0]),
            restart=chance.choice(["permanent", "transient", "temporary"]),
        )  # fmt: skip
        reader = self.readers[pool]
        assert isinstance(reader, DynamicReader)
        reader.requested[name] = spec

        async def ask() -> None:
            try:
                await start_child(self.node, pool, spec)
            except RuntimeFault:
                reader.requested.pop(name, None)

        self.host.spawn(ask())

    # -- in the end ----------------------------------------------------------------------------

    def check(self) -> None:
        """Everybody runs who should, nobody else does, and everybody has a living parent."""
        for pid, reader in self.readers.items():
            if pid.process_ is not None:
                reader.check_rest()
        known = {
            child.pid
            for pid, reader in self.readers.items()
            if pid.process_ is not None
            for child in reader.children.values()
        }
        for pid, process in self.node.table.items():
            parent = process.parent
            if parent is not None:
                assert parent.process_ is not None, f"{pid} is an orphan of {parent}"
                assert pid in known, f"{pid} runs, and its supervisor knows nothing of it"
