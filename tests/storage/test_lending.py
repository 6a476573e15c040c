from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from palaver.storage.lending import LentThread

Step = Callable[[LentThread[str]], None]


class World:
    """An owner without a loop: what is posted is collected and run by hand."""

    def __init__(self, step: Step, *, stall_s: float = 5.0) -> None:
        self.posted: list[Callable[[], None]] = []
        self.arrived = threading.Semaphore(0)
        self.deferred: list[Callable[[], None]] = []
        self.collected: list[str] = []
        self.now_s = 0.0
        self.thread: LentThread[str] = LentThread(
            "test",
            lambda _job: step(self.thread),
            post=self.post,
            defer=self.deferred.append,
            collect=self.collect,
            clock=lambda: self.now_s,
            stall_s=stall_s,
        )

    def post(self, message: Callable[[], None]) -> None:
        self.posted.append(message)
        self.arrived.release()

    def turn(self) -> None:
        """Wait for the next posted message and run it."""
        assert self.arrived.acquire(timeout=10)
        self.posted.pop(0)()

    def collect(self) -> None:
        while self.thread.finished:
            self.collected.append(self.thread.finished.popleft())


def test_the_owner_waits_for_a_short_job_and_needs_no_message() -> None:
    world = World(lambda _: None)
    world.thread.hand_over("job")
    assert list(world.thread.finished) == ["job"]
    assert not world.posted
    world.deferred.pop()()
    assert world.collected == ["job"]
    world.thread.stop()


def test_the_owner_goes_on_when_the_worker_rests() -> None:
    disk = threading.Event()

    def step(thread: LentThread[str]) -> None:
        thread.rest()
        disk.wait()

    world = World(step)
    world.thread.hand_over("job")
    assert not world.thread.finished  # the disk is at work, and the owner is here
    disk.set()
    world.turn()
    assert world.collected == ["job"]
    assert world.thread.late_turns == 0
    world.thread.stop()


def test_the_wait_is_bounded_and_the_job_goes_on_without_the_lend() -> None:
    slow = threading.Event()
    world = World(lambda _: slow.wait() and None, stall_s=0.001)
    world.thread.hand_over("job")
    assert world.thread.late_turns == 1
    assert not world.thread.finished
    slow.set()
    world.turn()
    assert world.collected == ["job"]
    world.thread.stop()


def test_a_long_job_gives_the_loop_its_turn_and_asks_for_another() -> None:
    turns: list[int] = []

    def step(thread: LentThread[str]) -> None:
        for number in range(3):
            turns.append(number)
            world.now_s += 100.0  # the turn is over
            thread.pause_if_due()

    world = World(step)
    world.thread.hand_over("job")
    for expected in ([0], [0, 1], [0, 1, 2]):
        assert turns == expected  # the worker stands still while the loop runs
        world.turn()
    assert world.deferred
    world.deferred.pop()()
    assert world.collected == ["job"]
    world.thread.stop()


def test_a_worker_that_gets_no_other_turn_goes_on_alone() -> None:
    def step(thread: LentThread[str]) -> None:
        for _ in range(50):
            world.now_s += 100.0
            thread.pause_if_due()

    world = World(step)
    world.thread.hand_over("job")
    assert len(world.posted) == 1  # asks once, waits for its patience, and asks no more
    world.thread.wait()
    world.collect()
    assert world.collected == ["job"]
    assert len(world.posted) <= 2
    for message in world.posted:
        message()  # too late: harmless
    world.thread.stop()


def test_without_a_stall_nothing_is_lent() -> None:
    world = World(lambda thread: thread.pause_if_due(), stall_s=0)
    world.thread.hand_over("job")
    world.turn()
    assert world.collected == ["job"]
    world.thread.stop()


def test_a_glance_lets_a_worker_finish_that_should_be_back() -> None:
    disk = threading.Event()

    def step(thread: LentThread[str]) -> None:
        thread.rest(usual_s=7.0)
        disk.wait()

    world = World(step)
    world.thread.hand_over("job")
    world.thread.glance()  # too early: costs nothing
    assert not world.collected
    disk.set()
    while not world.collected:
        world.now_s += 1.0
        world.thread.glance()
        world.collect()
    assert world.collected == ["job"]
    world.thread.stop()


def test_glances_are_bounded_by_the_stall() -> None:
    disk = threading.Event()

    def step(thread: LentThread[str]) -> None:
        thread.rest(usual_s=0.0)
        disk.wait()

    world = World(step, stall_s=0.0005)
    world.thread.hand_over("job")
    for _ in range(1000):
        world.now_s += 1.0
        world.thread.glance()
    assert world.thread._look_s is None
    disk.set()
    world.turn()
    assert world.collected == ["job"]
    world.thread.stop()


def test_a_job_may_finish_after_its_loop_was_closed() -> None:
    disk = threading.Event()
    loop = asyncio.new_event_loop()

    def work(_job: str) -> None:
        thread.rest()
        disk.wait()

    thread: LentThread[str] = LentThread(
        "test",
        work,
        post=loop.call_soon_threadsafe,
        defer=loop.call_soon,
        collect=lambda: None,
        clock=loop.time,
        stall_s=1.0,
    )
    thread.hand_over("job")
    loop.close()
    disk.set()
    thread.wait()
    assert list(thread.finished) == ["job"]
    assert thread.unattended
    thread.stop()
