"""Supervisors whose children are ended at any moment, beside what should then have happened."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from signal_scenarios import Broken, on_node, settle

from palaver.actors.runtime import KILL, Exit, GenServer, Node, Pid
from palaver.actors.simulation.world.world import World
from palaver.supervisors import (
    ChildSpec,
    DynamicSupervisor,
    StartChild,
    Supervisor,
    TerminateChild,
)

__all__ = ["supervision"]


class Ledger:
    """What the children did, in order."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.running: dict[str, Pid] = {}
        self.starts: dict[str, int] = {}
        self.log: list[tuple[str, str]] = []
        self.flaky: dict[str, int] = {}
        """How often the next starts of a child fail."""
        self.broken: list[str] = []


class Worker(GenServer):
    """A child that says when it starts and when it stops; stopping takes a while."""

    def init(self, ledger: Ledger, name: str) -> None:
        self.ledger, self.name_ = ledger, name
        self.trap_exit = True
        if ledger.flaky.get(name, 0) > 0:
            ledger.flaky[name] -= 1
            raise RuntimeError("cannot start just now")
        other = ledger.running.get(name)
        if other is not None and self.node.is_alive(other):
            ledger.broken.append(f"{name} was started while it ran")
        ledger.running[name] = self.pid
        ledger.starts[name] = ledger.starts.get(name, 0) + 1
        ledger.log.append(("start", name))

    async def terminate(self, reason: Any) -> None:
        await self.sleep(0.05)
        self.ledger.log.append(("stop", self.name_))

    def handle_info(self, message: Any) -> Any:
        if message == "crash":
            raise RuntimeError("told to crash")
        if type(message) is Exit:
            return None
        return super().handle_info(message)


class Stubborn(GenServer):
    """A child that will not stop."""

    def init(self) -> None:
        self.trap_exit = True

    async def terminate(self, reason: Any) -> None:
        await self.sleep(3600.0)


NAMES = ("one", "two", "three", "four")


async def end_of(node: Node, ledger: Ledger, name: str) -> None:
    """End a child, by a crash of its own or a kill."""
    pid = ledger.running[name]
    if ledger.chance.random() < 0.5:
        node.send(pid, "crash")
    else:
        node.exit(pid, KILL)
    await node.wait(pid)


def runs(node: Node, ledger: Ledger, names: Sequence[str]) -> bool:
    return all(name in ledger.running and node.is_alive(ledger.running[name]) for name in names)


async def restarts(node: Node, ledger: Ledger) -> None:
    """One child ends; the strategy says who begins anew, and in which order."""
    chance = ledger.chance
    strategy = chance.choice(["one_for_one", "one_for_all", "rest_for_one"])
    specs = [ChildSpec(name, Worker, (ledger, name)) for name in NAMES]
    tree = await node.start_server(Supervisor, specs, strategy=strategy, intensity=3, period_s=5.0)
    for _ in range(6):
        await one_ends(node, ledger, strategy)
        await settle(node, lambda: False, within_s=8.0)
    if not node.is_alive(tree):
        raise Broken("a supervisor gave up although the restarts were far apart")
    node.exit(tree, KILL)
    await node.wait(tree)


async def one_ends(node: Node, ledger: Ledger, strategy: str) -> None:
    chance = ledger.chance
    before = dict(ledger.starts)
    ledger.log.clear()
    name = chance.choice(NAMES)
    flaky = chance.choice([0, 0, 1])
    expected = {
        "one_for_one": (name,),
        "one_for_all": NAMES,
        "rest_for_one": NAMES[NAMES.index(name) :],
    }[strategy]
    ledger.flaky[chance.choice(expected)] = flaky
    await end_of(node, ledger, name)

    def all_again() -> bool:
        again = all(ledger.starts[each] > before[each] for each in expected)
        return again and runs(node, ledger, NAMES)

    await settle(node, all_again, within_s=5.0)
    await settle(node, lambda: False, within_s=0.5)
    again = tuple(each for each in NAMES if ledger.starts[each] > before[each])
    if not runs(node, ledger, NAMES):
        raise Broken(f"not all children of a {strategy} supervisor run again")
    if set(again) != set(expected):
        raise Broken(f"{strategy}: {name} ended, {again} were restarted")
    in_order(strategy, ledger, flaky)


def in_order(strategy: str, ledger: Ledger, flaky: int) -> None:
    if flaky or strategy == "one_for_one":
        return
    started = [name for what, name in ledger.log if what == "start"]
    if started != [name for name in NAMES if name in started]:
        raise Broken(f"{strategy}: restarted in the order {started}")
    stops = [index for index, (what, _) in enumerate(ledger.log) if what == "stop"]
    starts = [index for index, (what, _) in enumerate(ledger.log) if what == "start"]
    if stops and starts and max(stops) > min(starts):
        raise Broken(f"{strategy}: a child was restarted before the others had stopped")


async def gives_up(node: Node, ledger: Ledger) -> None:
    """More restarts than it may: the supervisor stops, and its children with it."""
    specs = [ChildSpec(name, Worker, (ledger, name)) for name in NAMES]
    tree = await node.start_server(Supervisor, specs, intensity=3, period_s=5.0)
    for number in range(4):
        if not node.is_alive(tree):
            raise Broken(f"a supervisor gave up after {number} restarts; it may have 3")
        await end_of(node, ledger, NAMES[0])
        await settle(node, lambda: runs(node, ledger, NAMES[:1]), within_s=0.3)
    await settle(node, lambda: not node.is_alive(tree), within_s=2.0)
    if node.is_alive(tree):
        raise Broken("a supervisor goes on after more restarts than it may have")
    if any(node.is_alive(pid) for pid in ledger.running.values()):
        raise Broken("children outlive the supervisor that gave up")


async def temporary(node: Node, ledger: Ledger) -> None:
    """A temporary child ends for good; a permanent one beside it is restarted."""
    tree = await node.start_server(DynamicSupervisor, intensity=3)
    for name, restart in (("guest", "temporary"), ("host", "permanent")):
        spec = ChildSpec(name, Worker, (ledger, name), restart=restart)  # type: ignore[arg-type]
        await node.call(tree, StartChild(spec))
    before = dict(ledger.starts)
    for name in ("guest", "host"):
        await end_of(node, ledger, name)
    await settle(node, lambda: False, within_s=1.0)
    if ledger.starts["guest"] > before["guest"]:
        raise Broken("a temporary child was restarted")
    if not runs(node, ledger, ["host"]):
        raise Broken("a permanent child was not restarted")
    node.exit(tree, KILL)
    await node.wait(tree)


async def stubborn(node: Node, ledger: Ledger) -> None:
    """A child that does not stop is killed when its time is up."""
    specs = [ChildSpec("stubborn", Stubborn, shutdown_s=1.0)]
    tree = await node.start_server(Supervisor, specs)
    began_s = node.clock.monotonic()
    await node.call(tree, TerminateChild("stubborn"), timeout_s=60.0)
    took_s = node.clock.monotonic() - began_s
    if not 0.9 <= took_s <= 2.0:
        raise Broken(f"a child that may take 1 s to stop was given {took_s:.1f} s")
    node.exit(tree, KILL)
    await node.wait(tree)


async def supervision(world: World) -> None:
    """Every kind of supervisor and of end, one after the other."""

    async def play(node: Node, chance: Random) -> None:
        for part in (restarts, gives_up, temporary, stubborn):
            ledger = Ledger(Random(chance.random()))
            await part(node, ledger)
            if ledger.broken:
                raise Broken(ledger.broken[0])

    await on_node(world, play, crashes=True)
