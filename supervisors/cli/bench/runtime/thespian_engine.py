"""The work for Thespian's `simpleSystemBase`: all actors in one thread, its fastest base.

An actor has no call: it sends a request and handles the answer as the next message. The parent of
an actor that dies is sent `ChildActorExited`, and here creates the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from thespian.actors import Actor, ActorExitRequest, ActorSystem, ChildActorExited

from palaver.supervisors.cli.bench.runtime.results import (
    BURST,
    Result,
    Scale,
    Watch,
    Work,
    WorkFailed,
    waves,
)

WAIT = timedelta(seconds=120)


@dataclass(slots=True)
class Job:
    """What the driver is to do."""

    figure: str
    count: int
    width: int


@dataclass(slots=True)
class Goal:
    """Who is told whenever so many more messages have come."""

    driver: Any
    step: int


@dataclass(slots=True)
class Send:
    """Send so many to that one."""

    server: Any
    each: int


@dataclass(slots=True)
class Meet:
    """Get to know the neighbour in the ring."""

    neighbour: Any
    driver: Any


class Idle(Actor):  # type: ignore[misc]
    """Answers pings."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - Thespian's name
        """Answer."""
        if message == "ping":
            self.send(sender, "pong")


class Counter(Actor):  # type: ignore[misc]
    """Counts, answers requests, tells the driver when the goal is reached."""

    count = 0
    next = 0
    goal: Goal | None = None

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        """Count one."""
        if isinstance(message, Goal):
            self.goal = message
            self.next = message.step
        elif message == "add":
            self.count += 1
            if self.count == self.next:
                assert self.goal is not None
                self.next += self.goal.step
                self.send(self.goal.driver, self.count)
        elif message == "ask":
            self.count += 1
            self.send(sender, self.count)


class Sender(Actor):  # type: ignore[misc]
    """Sends when told."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        """Send some, then the rest: what is sent waits in one queue, slower the longer it is."""
        if isinstance(message, Send):
            now = min(message.each, BURST)
            for _ in range(now):
                self.send(message.server, "add")
            if message.each > now:
                self.send(self.myAddress, Send(message.server, message.each - now))


class Member(Actor):  # type: ignore[misc]
    """One of a ring: passes the token on."""

    meet: Meet | None = None

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        """Pass the token on; get to know the neighbour."""
        if isinstance(message, Meet):
            self.meet = message
        elif isinstance(message, int):
            assert self.meet is not None
            if message:
                self.send(self.meet.neighbour, message - 1)
            else:
                self.send(self.meet.driver, message)


class Child(Actor):  # type: ignore[misc]
    """Says that it is up, when greeted."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        """Say so."""
        if message == "ping":
            self.send(sender, "up")


class Driver(Actor):  # type: ignore[misc]
    """Does one job; the result goes to who gave it."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        """Begin the job, or go on with it."""
        if isinstance(message, Job):
            self.job, self.client = message, sender
            self.left = message.count
            getattr(self, f"begin_{message.figure}")(message.count, message.width)
        else:
            getattr(self, f"go_on_{self.job.figure}")(message)

    def finish(self, result: Result) -> None:
        """Answer."""
        self.send(self.client, result)

    def begin_spawn(self, count: int, width: int) -> None:
        """Create actors: each is there when `createActor` returns."""
        self.watch = Watch()
        self.children = [self.createActor(Idle) for _ in range(count)]
        self.finish(self.watch.stop(count))

    def begin_bytes_per_process(self, count: int, width: int) -> None:
        """Weigh idle ones."""
        scale = Scale()
        self.children = [self.createActor(Idle) for _ in range(count)]
        self.finish(scale.stop(count))

    def begin_cast(self, count: int, width: int) -> None:
        """Send to one actor from another, until all has been handled."""
        self.begin_waves(1, count, 1)

    def go_on_cast(self, seen: int) -> None:
        """All has arrived."""
        self.go_on_fan_in(seen)

    def begin_call(self, count: int, width: int) -> None:
        """Send one actor a request, the next when the answer is there."""
        self.server = self.createActor(Counter)
        self.send(self.server, Goal(self.myAddress, 0))
        self.watch = Watch()
        self.send(self.server, "ask")

    def go_on_call(self, seen: int) -> None:
        """Ask again, or finish."""
        if seen < self.job.count:
            self.send(self.server, "ask")
        else:
            self.finish(self.watch.stop(seen))

    def begin_ring(self, count: int, width: int) -> None:
        """Let one token go round a ring of `width` actors."""
        members = [self.createActor(Member) for _ in range(width)]
        for member, neighbour in zip(members, members[1:] + members[:1], strict=True):
            self.send(member, Meet(neighbour, self.myAddress))
        self.watch = Watch()
        self.send(members[0], count - 1)

    def go_on_ring(self, left: int) -> None:
        """The token has gone all its way."""
        self.finish(self.watch.stop(self.job.count))

    def begin_fan_in(self, count: int, width: int) -> None:
        """Send to one actor from `width` others, in waves that wait until all is handled."""
        self.begin_waves(width, *waves(count, width))

    def begin_waves(self, width: int, each: int, left: int) -> None:
        """Create the actors, and begin with the first wave."""
        server = self.createActor(Counter)
        self.send(server, Goal(self.myAddress, each * width))
        self.senders = [self.createActor(Sender) for _ in range(width)]
        self.left, self.wave = left, Send(server, each)
        self.watch = Watch()
        self.begin_wave()

    def begin_wave(self) -> None:
        """Let all send."""
        self.left -= 1
        for sender in self.senders:
            self.send(sender, self.wave)

    def go_on_fan_in(self, seen: int) -> None:
        """All of a wave has arrived."""
        if self.left:
            self.begin_wave()
        else:
            self.finish(self.watch.stop(seen))

    def begin_restart(self, count: int, width: int) -> None:
        """End actors one after the other, each when the one before has been replaced."""
        self.children = [self.createActor(Child) for _ in range(width)]
        self.victims = iter(self.children[:count])
        self.watch = Watch()
        self.send(next(self.victims), ActorExitRequest())

    def go_on_restart(self, message: Any) -> None:
        """Create the successor of one that has ended; end the next when it is up."""
        if isinstance(message, ChildActorExited):
            self.send(self.createActor(Child), "ping")
        elif message == "up":
            self.left -= 1
            if self.left:
                self.send(next(self.victims), ActorExitRequest())
            else:
                self.finish(self.watch.stop(self.job.count))


def _in_a_system(figure: str) -> Work:
    def work(count: int, width: int) -> Result:
        system = ActorSystem("simpleSystemBase", logDefs=False)
        try:
            answer = system.ask(system.createActor(Driver), Job(figure, count, width), WAIT)
        finally:
            system.shutdown()
        if not isinstance(answer, dict):
            raise WorkFailed(f"the driver answered {answer!r}")
        return answer

    return work


def works() -> dict[str, Work]:
    """Return the work of each figure."""
    names = ("spawn", "bytes_per_process", "cast", "call", "ring", "fan_in", "restart")
    return {name: _in_a_system(name) for name in names}
