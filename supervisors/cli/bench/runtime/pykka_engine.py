"""The work for Pykka's `ThreadingActor`: a thread for each actor.

Pykka has no supervisor. Its documented place to react to a crash is the actor's `on_failure`,
which here starts the successor.
"""

from __future__ import annotations

import logging
import queue
from typing import Any

import pykka

from palaver.supervisors.cli.bench.runtime.results import (
    Result,
    Scale,
    Watch,
    Work,
    check_count,
    waves,
)

Driver = queue.SimpleQueue[Any]
WAIT_S = 120.0


class Idle(pykka.ThreadingActor):
    """Does nothing."""


class Counter(pykka.ThreadingActor):
    """Counts messages; tells the driver whenever `step` more have come."""

    def __init__(self, driver: Driver, step: int) -> None:
        super().__init__()
        self.driver, self.step, self.goal, self.count = driver, step, step, 0

    def on_receive(self, message: Any) -> int:
        """Count one, or only say how many there were."""
        if message != "count":
            self.count += 1
            if self.count == self.goal:
                self.goal += self.step
                self.driver.put("done")
        return self.count


class Member(pykka.ThreadingActor):
    """One of a ring: passes the token on."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver
        self.next: Any = None

    def on_receive(self, message: Any) -> None:
        """Pass the token on; get to know the neighbour."""
        if not isinstance(message, int):
            self.next = message
        elif message:
            self.next.tell(message - 1)
        else:
            self.driver.put("done")


class Sender(pykka.ThreadingActor):
    """Sends `each` messages when told."""

    def __init__(self, server: Any, each: int) -> None:
        super().__init__()
        self.server, self.each = server, each

    def on_receive(self, message: Any) -> None:
        """Send them."""
        for _ in range(self.each):
            self.server.tell("add")


class Caller(pykka.ThreadingActor):
    """Asks `each` times when told, one request after the other."""

    def __init__(self, server: Any, each: int) -> None:
        super().__init__()
        self.server, self.each = server, each

    def on_receive(self, message: Any) -> bool:
        """Ask."""
        for _ in range(self.each):
            self.server.ask("add")
        return True


class Child(pykka.ThreadingActor):
    """Says when it is up; starts its successor when it crashes."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver

    def on_start(self) -> None:
        """Say so."""
        self.driver.put(self.actor_ref)

    def on_receive(self, message: Any) -> None:
        """Crash."""
        raise RuntimeError(message)

    def on_failure(self, *_: Any) -> None:
        """Start the next one."""
        Child.start(self.driver)


def spawn(count: int, width: int) -> Result:
    """Start actors: each has a running thread when `start` returns."""
    watch = Watch()
    refs = [Idle.start() for _ in range(count)]
    return watch.stop(len(refs))


def bytes_per_process(count: int, width: int) -> Result:
    """Weigh idle ones."""
    scale = Scale()
    refs = [Idle.start() for _ in range(count)]
    return scale.stop(len(refs))


def cast(count: int, width: int) -> Result:
    """Tell one actor from another, until all has been handled."""
    return _tells(count, 1, count, 1)


def call(count: int, width: int) -> Result:
    """Ask one actor from another, one request after the other."""
    server = Counter.start(Driver(), 0)
    caller = Caller.start(server, count)
    watch = Watch()
    caller.ask("go", timeout=WAIT_S)
    result = watch.stop(count)
    check_count(server.ask("count", block=True), count, "requests")
    return result


def ring(count: int, width: int) -> Result:
    """Let one token go round a ring of `width` actors."""
    driver = Driver()
    members = [Member.start(driver) for _ in range(width)]
    for member, neighbour in zip(members, members[1:] + members[:1], strict=True):
        member.tell(neighbour)
    watch = Watch()
    members[0].tell(count - 1)
    driver.get(timeout=WAIT_S)
    return watch.stop(count)


def fan_in(count: int, width: int) -> Result:
    """Tell one actor from `width` others, in waves that wait until all has been handled."""
    each, left = waves(count, width)
    return _tells(each * width * left, width, each, left)


def _tells(total: int, width: int, each: int, left: int) -> Result:
    driver = Driver()
    server = Counter.start(driver, each * width)
    senders = [Sender.start(server, each) for _ in range(width)]
    watch = Watch()
    for _ in range(left):
        for sender in senders:
            sender.tell("go")
        driver.get(timeout=WAIT_S)
    result = watch.stop(total)
    check_count(server.ask("count", block=True), total, "messages")
    return result


def restart(count: int, width: int) -> Result:
    """Let actors crash one after the other, each when the one before has been replaced."""
    logging.disable(logging.CRITICAL)  # reports of the crashes
    driver = Driver()
    for _ in range(width):
        Child.start(driver)
    refs = [driver.get(timeout=WAIT_S) for _ in range(width)]
    watch = Watch()
    for ref in refs[:count]:
        ref.tell("crash")
        driver.get(timeout=WAIT_S)
    result = watch.stop(min(count, width))
    check_count(len(pykka.ActorRegistry.get_by_class(Child)), width, "children")
    return result


def _then_stop(work: Work) -> Work:
    def run(count: int, width: int) -> Result:
        try:
            return work(count, width)
        finally:
            pykka.ActorRegistry.stop_all(timeout=WAIT_S)

    return run


def works() -> dict[str, Work]:
    """Return the work of each figure."""
    found = (spawn, bytes_per_process, cast, call, ring, fan_in, restart)
    return {work.__name__: _then_stop(work) for work in found}
