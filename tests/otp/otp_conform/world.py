"""Runs programs on Palaver and logs what is observed, in the words of the Erlang interpreter.

This module is the counterpart of `beam/palaver_world.erl`: who has which label, the log, rest and
end. What processes do is in `actor.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

from runtime_kit import ManualClock, Recorder, ShuffledQueue

from otp_conform.language import Desc, Program
from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOCONNECTION,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    CallFailed,
    Crash,
    NamedReason,
    NameTaken,
    Node,
    Pid,
    Shutdown,
)
from palaver.supervisors import FailedToStart

__all__ = ["Identity", "RuntimeBroken", "World", "reason_of", "run_program", "spell"]

Identity = tuple[str, int]
Log = list[list[Any]]

NAMED = {reason.name: reason for reason in (NORMAL, SHUTDOWN, KILL, KILLED, NOPROC, NOCONNECTION)}


def reason_of(term: Any) -> Any:
    """The exit reason that a program means."""
    if isinstance(term, str):
        return NAMED.get(term, term)
    if isinstance(term, tuple) and term[0] == "shutdown" and len(term) == 2:
        return Shutdown(reason_of(term[1]))
    return term


def spell(identity: Identity) -> str:
    """Which process of which label."""
    return f"{identity[0]}#{identity[1]}"


class RuntimeBroken(AssertionError):
    """The runtime itself raised while it ran a program."""


class World:
    """What one program is observed to do."""

    def __init__(self, node: Node, actors: Any) -> None:
        self.node = node
        self.actors = actors
        self.pids: dict[str, Pid] = {}
        self.labels: dict[Pid, Identity] = {}
        self.counts: dict[str, int] = {}
        self.entries: Log = []
        self.supervisors: set[Pid] = set()
        self.aliases: dict[str, Any] = {}

    # -- labels -------------------------------------------------------------------------------

    def next(self, label: str) -> Identity:
        """The identity of the next process with this label."""
        self.counts[label] = self.counts.get(label, 0) + 1
        return (label, self.counts[label])

    def bind(self, identity: Identity, pid: Pid) -> None:
        """The label is this process from now on; its exit is logged."""
        self.labels[pid] = identity
        self.pids[identity[0]] = pid
        # `wait` hears of the exit without a signal to the process, but as a coroutine in a task
        # it would begin to listen too late: so its first step is made here.
        waiting = self.node.wait(pid)
        future = waiting.send(None)

        def exited(_: object) -> None:
            try:
                waiting.send(None)
            except StopIteration as stop:
                self.log(identity, ["died", self.reason(stop.value)])

        future.add_done_callback(exited)

    def name_of(self, pid: Pid | None) -> str:
        """Which process that is."""
        identity = None if pid is None else self.labels.get(pid)
        return "?" if identity is None else spell(identity)

    # -- the log ------------------------------------------------------------------------------

    def log(self, identity: Identity, event: Any) -> None:
        """Remember that a process has observed something."""
        self.entries.append([spell(identity), event])

    def take_log(self) -> Log:
        """What was logged since the last time."""
        entries, self.entries = self.entries, []
        return entries

    def reason(self, reason: Any) -> Any:
        """A reason as both sides spell it."""
        if isinstance(reason, NamedReason):
            return reason.name
        if isinstance(reason, Shutdown):
            return ["shutdown", self.reason(reason.detail)]
        if isinstance(reason, FailedToStart):
            return ["failed_to_start_child", reason.id, self.reason(reason.reason)]
        if isinstance(reason, Crash):
            return "crash"
        if isinstance(reason, NameTaken):
            return ["already_started", self.name_of(reason.pid)]
        if isinstance(reason, CallFailed):
            return self.reason(reason.reason)
        if isinstance(reason, Pid):
            return self.name_of(reason)
        if isinstance(reason, tuple | list):
            return [self.reason(each) for each in reason]
        return reason

    # -- rest and end -------------------------------------------------------------------------

    async def rest(self) -> None:
        """Run until no process has anything to do and every exit is logged."""
        for _ in range(3):  # an exit is logged by two callbacks of the event loop after it
            while self.node.stats().run_queue:
                await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def end_all(self) -> None:
        """Kill all that is left; what is killed first may be restarted, so until nothing is."""
        while living := [info.pid for info in self.node.processes()]:
            for pid in living:
                self.node.exit(pid, KILL)
            await self.rest()

    def final(self) -> list[Any]:
        """Who is alive at the end, and with whom it is linked."""
        return sorted(
            [self.name_of(info.pid), sorted(map(self.name_of, info.links))]
            for info in self.node.processes()
        )

    def spawn_roots(self, roots: Iterable[tuple[str, Desc]]) -> None:
        """Start the processes that nobody is linked to."""
        for label, desc in roots:
            identity = self.next(label)
            self.bind(identity, self.node.spawn(self.actors.plain, self, identity, desc))


async def run_program(program: Program, actors: Any, shuffle: int = 0) -> list[Any]:
    """What is observed: `[[log of each step], what is there at the end]`.

    `actors` is the module `otp_conform.processes` or what a test puts in its place; `shuffle` is 0
    for the usual order of turns, else the seed of another one.
    """
    faults: list[Any] = []  # of the scheduler itself: it must never raise
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    clock = ManualClock()
    node = Node(clock=clock, random=random.Random(1), observer=Recorder())
    if shuffle:
        node.scheduler.queue = ShuffledQueue(random.Random(shuffle))
    async with node:
        world = World(node, actors)
        try:
            return await _run(world, clock, program, faults)
        finally:
            await world.end_all()


async def _run(world: World, clock: ManualClock, program: Program, faults: list[Any]) -> list[Any]:
    world.spawn_roots(program.roots)
    await world.rest()
    logs = [world.take_log()]
    for kind, what, burst in program.steps:
        if kind == "wait":
            await clock.advance(world.node, what / 1000)
        elif what in world.pids and world.pids[what] not in world.supervisors:
            world.node.send(world.pids[what], ("do", burst))
        await world.rest()
        logs.append(world.take_log())
        if faults:
            raise RuntimeBroken(f"after {kind} {what} {burst}\n{program}\n{faults[0]}") from faults[
                0
            ].get("exception")
    return [logs, world.final()]
