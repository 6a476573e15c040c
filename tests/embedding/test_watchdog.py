"""The watchdog: tells while a handler hangs, once, and when it is over."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import structlog
from embedding_kit import Hanging, nothing_left
from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.embedding import HangReport, LogHangs, NodeThread, Watchdog
from palaver.actors.embedding.watchdog import HangDetector
from palaver.actors.runtime import Node, NullObserver, ProcessContext

HANG_S = 0.02


class Ears:
    """Hears of hangs."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.heard = threading.Event()
        self.over = threading.Event()

    def handler_hangs(self, report: HangReport) -> None:
        self.told.append(report)
        self.heard.set()

    def hang_over(self, report: HangReport, seconds: float) -> None:
        self.told.append((report, seconds))
        self.over.set()


def watched(ears: Any) -> tuple[NodeThread, Watchdog]:
    node = NodeThread(Node(observer=NullObserver())).start()
    dog = Watchdog(node.node, hang_s=HANG_S, observer=ears)
    node.apply(lambda _: dog.start())
    return node, dog


def test_a_hanging_handler_is_named_while_it_hangs_and_once() -> None:
    ears = Ears()
    entered, let_go = threading.Event(), threading.Event()
    with nothing_left():
        node, dog = watched(ears)
        hanging = node.start_server(Hanging, entered, let_go)
        node.cast(hanging, 1)
        ears.heard.wait()
        [report] = ears.told
        assert report.pid is hanging
        assert report.behaviour.endswith("Hanging")
        assert report.node_name == node.node.name
        assert report.seconds >= HANG_S
        assert "handle_cast" in report.stack
        assert "let_go.wait()" in report.stack
        assert str(report).startswith(f"{report.behaviour} {hanging} has not returned for")
        let_go.set()
        ears.over.wait()
        assert len(ears.told) == 2
        again, seconds = ears.told[1]
        assert again is report
        assert seconds >= report.seconds
        dog.stop()
        node.stop()


def test_each_hang_is_told() -> None:
    node, dog = watched(ears := Ears())
    for n in range(1, 3):
        entered, let_go = threading.Event(), threading.Event()
        ears.heard.clear()
        ears.over.clear()
        node.cast(node.start_server(Hanging, entered, let_go), 1)
        ears.heard.wait()
        let_go.set()
        ears.over.wait()
        assert len(ears.told) == 2 * n
    dog.stop()
    node.stop()


def test_a_callee_within_its_caller_s_turn_is_the_one_named() -> None:
    class Answers(Hanging):
        __slots__ = ()

        def handle_call(self, request: Any, from_: Any) -> str:
            self.let_go.wait()
            return "at last"

    ears = Ears()
    let_go = threading.Event()
    node, dog = watched(ears)
    answers = node.start_server(Answers, threading.Event(), let_go)

    async def caller(ctx: ProcessContext) -> None:
        await ctx.call(answers, 1, timeout_s=None)

    node.spawn(caller)
    ears.heard.wait()
    assert ears.told[0].pid is answers
    let_go.set()
    dog.stop()
    node.stop()


def test_what_is_no_process_is_seen_too() -> None:
    ears = Ears()
    let_go = threading.Event()
    node, dog = watched(ears)
    thread = threading.Thread(target=lambda: node.apply(lambda _: let_go.wait()))
    thread.start()
    ears.heard.wait()
    assert (ears.told[0].pid, ears.told[0].behaviour) == (None, None)
    assert str(ears.told[0]).startswith("the event loop has not returned")
    let_go.set()
    thread.join()
    dog.stop()
    node.stop()


def test_hangs_are_logged() -> None:
    report = HangReport("n", None, "Some", 1.0, "the stack")
    with structlog.testing.capture_logs() as logs:
        LogHangs().handler_hangs(report)
        LogHangs().hang_over(report, 2.0)
    assert [(e["event"], e["log_level"], e["seconds"]) for e in logs] == [
        ("handler hangs", "error", 1.0),
        ("handler no longer hangs", "warning", 2.0),
    ]


def test_an_observer_that_fails_does_not_end_the_watch() -> None:
    class Deaf(Ears):
        def handler_hangs(self, report: HangReport) -> None:
            super().handler_hangs(report)
            raise ValueError("deaf")

    node, dog = watched(ears := Deaf())
    entered, let_go = threading.Event(), threading.Event()
    node.cast(node.start_server(Hanging, entered, let_go), 1)
    ears.heard.wait()
    let_go.set()
    ears.over.wait()
    dog.stop()
    node.stop()


def test_it_begins_and_ends_with_a_block_and_ends_with_its_loop() -> None:
    async def main() -> None:
        async with Node() as node:
            async with Watchdog(node) as dog:
                with pytest.raises(RuntimeError, match="once"):
                    dog.start()
            dog.stop()

    async def forgets() -> Watchdog:
        async with Node() as node:
            dog = Watchdog(node, hang_s=HANG_S)
            dog.start()
            return dog

    with nothing_left():
        asyncio.run(main())
        dog = asyncio.run(forgets())
        assert dog._thread is not None
        dog._thread.join()  # it ends by itself
    with pytest.raises(ValueError, match="hang_s"):
        Watchdog(Node(), hang_s=0)


@given(
    st.lists(st.one_of(st.just("ask"), st.just("answer"), st.just("look"), st.floats(0, 3))),
    st.floats(0.5, 2),
)
def test_a_hang_is_told_once_and_only_when_it_is_one(steps: list[Any], hang_s: float) -> None:
    detector = HangDetector(hang_s)
    now, asked, told = 0.0, None, False
    for step in steps:
        if step == "ask" and asked is None:
            detector.asked(now)
            asked, told = now, False
        elif step == "answer":
            seconds = detector.answered(now)
            assert seconds == (now - asked if told and asked is not None else None)
            asked, told = None, False
        elif step == "look":
            hangs = asked is not None and not told and now - asked >= hang_s
            assert detector.tell(now) == (now - (asked or 0.0) if hangs else None)
            told = told or hangs
        elif isinstance(step, float):
            now += step
        waiting = asked is not None and not told
        assert (detector.wait_s(now) < float("inf")) == waiting
