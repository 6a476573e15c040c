"""A host: a machine with a program on it; it crashes, loses power, stands still, comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from palaver.actors.runtime import CrashReport, Node, Observer, Pid, SupervisorReport
from palaver.actors.simulation.errors import NotReached
from palaver.actors.simulation.world.clocks import HostClock
from palaver.actors.simulation.world.run_queue import TapeQueue

if TYPE_CHECKING:
    import random

    from palaver.actors.simulation.world.place import Place
    from palaver.actors.simulation.world.world import World

__all__ = ["Boot", "Host", "HostObserver"]

T = TypeVar("T")

Boot = Callable[["Host"], Awaitable[object]]
"""What a host does when it starts; its first task."""

BOOT_S: Final = 3600.0
"""So much virtual time a boot may take."""

#: Seconds of a host's clock in a second: the quiet choice is exact.
_RATES = (1.0, 1.0001, 0.9999, 1.01, 0.99)


class Host:
    """A machine in a world; made by `World.host`.

    Attributes:
        name: its name, which is its network address too.
        disk: what survives the end of a program: whatever its boot has put there.
        incarnation: how often it was started.
        clock, random: the ports of its programs, new with every incarnation.
        nodes: the nodes that run on it now.
        on_end: called at the end of an incarnation, with whether power was lost; for disks.
    """

    def __init__(self, world: World, name: str, boot: Boot | None) -> None:
        self.world = world
        self.name = name
        self.disk: dict[str, Any] = {}
        self.incarnation = 0
        self.nodes: list[Node] = []
        self.on_end: list[Callable[[bool], None]] = []
        self.crashes: list[CrashReport] = []
        self.jumped_ms = 0
        self._boot = boot
        self._place: Place | None = None
        self._boot_task: asyncio.Task[object] | None = None
        self.clock: HostClock
        self.random: random.Random

    def __repr__(self) -> str:
        return f"<host {self.name}#{self.incarnation}{'' if self.alive else ' (down)'}>"

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._place is not None and self._place.alive

    @property
    def place(self) -> Place:
        """Where its callbacks run; raises RuntimeError while it is down."""
        if self._place is None or not self._place.alive:
            raise RuntimeError(f"host {self.name} is down")
        return self._place

    # -- life ----------------------------------------------------------------------------------

    def boot(self) -> None:
        """Begin to run, and do not wait for its boot; nothing if it runs already."""
        if self.alive:
            return
        world = self.world
        self.incarnation += 1
        self._place = place = world.loop.place(self.name)
        rate = _RATES[world.tape.choose(f"drift/{self.name}", len(_RATES), rate=0.1)]
        self.clock = HostClock(world.loop, place, rate, self.jumped_ms)
        self.random = world.tape.random(f"host/{self.name}/{self.incarnation}")
        world.network.came(place)
        world.network.answer_orphans(self.name)
        world.trace.note("host", self.name, f"starts ({self.incarnation})")
        if self._boot is not None:
            self._boot_task = self.spawn(self._run_boot(self._boot), name=f"{self.name} boot")
        else:
            self._boot_task = None

    async def _run_boot(self, boot: Boot) -> object:
        return await boot(self)

    async def start(self) -> None:
        """Boot, and wait until its boot has ended; raises what that raised.

        If the host crashes before, it is waited for until one boot has come to its end. Raises
        `NotReached` if a boot takes more than `BOOT_S`: what goes on for ever is no boot.
        """
        self.boot()
        while True:
            task = self._boot_task
            if task is None:
                return
            if not await self.world.until(partial(self._is_over, task), within_s=BOOT_S):
                raise NotReached(
                    f"the boot of {self.name} ends",
                    f"not within {BOOT_S:g} s; what goes on for ever belongs into `host.spawn`",
                )
            if task is self._boot_task:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error
                return

    def _is_over(self, boot: asyncio.Task[object]) -> bool:
        return boot.done() or boot is not self._boot_task

    async def restart(self) -> None:
        """Crash it, if it runs, and start it again."""
        self.crash()
        await self.start()

    def crash(self, *, reset: bool = False) -> None:
        """End its program at once (kill -9): no cleanup; its kernel closes its connections.

        With `reset` the other sides see a reset, else the end of the stream.
        """
        self._end(power=False, reset=reset)

    def power_off(self) -> None:
        """Take the power away: what was not synced is lost, and the others hear nothing."""
        self._end(power=True, reset=False)

    def _end(self, *, power: bool, reset: bool) -> None:
        place = self._place
        if place is None or not place.alive:
            return
        world = self.world
        world.trace.note("host", self.name, "loses power" if power else "crashes")
        world.bury(place.end(), self.nodes)
        world.loop.forget(place)
        world.network.went(place, power=power, reset=reset)
        self.nodes = []
        hooks, self.on_end = self.on_end, []
        for hook in hooks:
            hook(power)

    def pause(self, seconds: float) -> None:
        """Let it stand still for a while, as by SIGSTOP or a busy machine."""
        if self.alive:
            self.world.trace.note("fault", self.name, f"stands still for {seconds:g} s")
            self.place.pause(self.world.loop.time() + seconds)

    def jump(self, seconds: float) -> None:
        """Set its wall clock, forwards or back."""
        self.world.trace.note("fault", self.name, f"wall clock jumps by {seconds:g} s")
        self.jumped_ms += round(seconds * 1000)
        if self.alive:
            self.clock.jumped_ms = self.jumped_ms

    # -- what runs on it -----------------------------------------------------------------------

    def spawn(self, coro: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as a task on this host; it ends with the host, without cleanup."""
        place = self.place
        return self.world.loop.create_task(coro, name=name, context=place.context.copy())

    async def node(self, name: str | None = None, **options: Any) -> Node:
        """Start a node here; call it from what runs on this host (its boot).

        Its clock and randomness are the host's, its run queue is chosen by the tape. `options`
        are those of `Node`; an `observer` is told beside the host's own.
        """
        world = self.world
        observer = HostObserver(self, options.pop("observer", None))
        node = Node(
            name or self.name,
            clock=self.clock,
            random=self.random,
            observer=observer,
            threads=SimulatedThreads,
            **options,
        )
        node.scheduler.queue = TapeQueue(
            world.tape.stream(f"order/{self.name}", rate=0.2),
            world.tape.stream(f"slice/{self.name}", rate=0.05),
            world.trace,
        )
        await node.start()
        self.nodes.append(node)
        return node


class HostObserver:
    """Tells the trace what happens in a node, and another observer beside it."""

    def __init__(self, host: Host, beside: Observer | None) -> None:
        self._host = host
        self._trace = host.world.trace
        self._beside = beside

    def process_crashed(self, report: CrashReport) -> None:
        """A process ended abnormally."""
        self._host.crashes.append(report)
        self._tell("crash", self._who(report.pid, report.name), str(report.reason), report.pid)
        if self._beside is not None:
            self._beside.process_crashed(report)

    def child_restarted(self, supervisor: Pid, child_id: object, reason: object) -> None:
        """A supervisor has restarted a child."""
        self._tell("restart", self._who(supervisor), f"child {child_id}: {reason}", supervisor)
        if self._beside is not None:
            self._beside.child_restarted(supervisor, child_id, reason)

    def supervisor_gave_up(self, supervisor: Pid, reason: object) -> None:
        """A supervisor stops."""
        self._tell("gave up", self._who(supervisor), str(reason), supervisor)
        if self._beside is not None:
            self._beside.supervisor_gave_up(supervisor, reason)

    def supervisor_report(self, report: SupervisorReport) -> None:
        """What a supervisor says of a child."""
        tell = getattr(self._beside, "supervisor_report", None)
        if tell is not None:
            tell(report)

    def handler_slow(self, pid: Pid, seconds: float) -> None:
        """A process has held its node: in virtual time, no handler does."""
        if self._beside is not None:
            self._beside.handler_slow(pid, seconds)

    def _tell(self, kind: str, who: str, text: str, pid: Pid) -> None:
        # A reason's text may hold addresses of objects: it is no part of the hash.
        self._trace.tell(kind, who, text)
        self._trace.feed(pid.serial)

    def _who(self, pid: Pid, name: str | None = None) -> str:
        return f"{self._host.name}/{name or pid.serial}"


class SimulatedThreads(Executor):
    """A pool without threads: work is done a little later, by the loop."""

    def __init__(self, max_workers: int) -> None:
        self._loop = asyncio.get_running_loop()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Do some work; its result."""
        future: Future[T] = Future()

        def work() -> T | None:
            if not future.set_running_or_notify_cancel():
                return None
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits
                future.set_exception(error)
            else:
                future.set_result(result)
            return None

        self._loop.run_in_executor(None, work)
        return future
