"""`GenStatem`: what its callbacks get and may return; the order of events is in the peer's test."""

from __future__ import annotations

import ast
import asyncio
import gc
import re
import weakref
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Any

import pytest
from runtime_kit import World, inside, run

from palaver.actors.behaviours import (
    POSTPONE,
    Event,
    EventTimeout,
    GenericTimeout,
    GenStatem,
    KeepState,
    NextEvent,
    NextState,
    RepeatState,
    ReplyTo,
    StateTimeout,
    StopAndReply,
    TimeoutEvent,
    Transition,
)
from palaver.actors.runtime import (
    HIBERNATE,
    KILL,
    KILLED,
    NOREPLY,
    NORMAL,
    SHUTDOWN,
    BadReturn,
    CalleeExited,
    CallTimeout,
    Crash,
    Exit,
    From,
    Ignore,
    MailboxLimit,
    Overflow,
    ProcessContext,
    StartError,
    StartIgnored,
    Stop,
)


class Light(StrEnum):
    RED = auto()
    GREEN = auto()


class Lights(GenStatem[Light, int]):
    """Counts its changes; asks to be told when it is green."""

    async def init(self, green_s: float) -> Any:
        self.green_s = green_s
        await self.sleep(0)
        return NextState(Light.RED, data=0)

    def red(self, event: Event, content: Any) -> Transition:
        match event, content:
            case "cast", "go":
                return NextState(
                    Light.GREEN, StateTimeout(self.green_s, "enough"), data=self.data + 1
                )
            case From(), "green?":
                return POSTPONE
            case From() as from_, "count":
                return ReplyTo(from_, self.data)
        return self.unexpected(event, content)

    def green(self, event: Event, content: Any) -> Transition:
        match event, content:
            case "state_timeout", "enough":
                return NextState(Light.RED)
            case From() as from_, "green?":
                return KeepState(ReplyTo(from_, True))
            case From() as from_, "count":
                return [ReplyTo(from_, self.data), HIBERNATE]
        return self.unexpected(event, content)


class Told(GenStatem[Any, Any]):
    """Does what the functions it is sent say; remembers all else."""

    callback_mode = "handle_event_function"

    def init(self, first: Any = "a", *actions: Any, trap: bool = False) -> Any:
        self.trap_exit = trap
        self.log: list[Any] = []
        return first if not isinstance(first, str) else NextState(first, *actions, data="data")

    def handle_event(self, event: Event, content: Any) -> Any:
        if callable(content):
            return content(self)
        if content == "log":
            assert isinstance(event, From)
            return ReplyTo(event, list(self.log))
        self.log.append((self.state, "call" if isinstance(event, From) else event, content))
        if callable(self.data):
            return self.data(self, event, content)
        return None

    def terminate(self, reason: object) -> None:
        self.log.append((self.state, "terminate", reason))


class TellsOfEnter(Told):
    state_enter = True


async def log_of(w: World, pid: Any) -> Any:
    return await w.node.call(pid, "log")


def test_states_are_methods_and_postponed_calls_are_answered_after_a_change() -> None:
    async def test(w: World) -> None:
        lights = await w.node.start_server(Lights, 10)
        waiting = asyncio.ensure_future(w.node.call(lights, "green?", timeout_s=None))
        await asyncio.sleep(0)
        await w.settle()
        assert not waiting.done()
        assert await w.node.call(lights, "count") == 0
        w.node.cast(lights, "go")
        assert await waiting is True
        assert await w.node.call(lights, "count") == 1
        await w.advance(10)
        w.node.cast(lights, "go")
        assert await w.node.call(lights, "count") == 2
        w.node.cast(lights, "go")  # green does not expect that
        reason = await w.node.wait(lights)
        assert isinstance(reason, Crash)
        assert "does not expect 'cast' with 'go' in the state <Light.GREEN" in str(reason.exception)

    run(test)


def test_a_plain_enumeration_and_names_that_cannot_be_states() -> None:
    class Color(Enum):
        RED = 1
        MISSING = 2
        SEND = 3

    class Colors(GenStatem[Any, None]):
        def init(self, first: Any) -> Any:
            return NextState(first)

        def red(self, event: Event, content: Any) -> Transition:
            assert isinstance(event, From)
            return ReplyTo(event, self.system_get_state())

    async def test(w: World) -> None:
        colors = await w.node.start_server(Colors, Color.RED)
        assert await w.node.call(colors, "state") == (Color.RED, None)
        for first, text in [
            (Color.MISSING, "has no method 'missing'"),
            (Color.SEND, "cannot be called 'send'"),
            (7, "names no method"),
        ]:
            with pytest.raises(StartError) as caught:
                await w.node.start_server(Colors, first)
            assert isinstance(caught.value.reason, Crash)
            assert isinstance(caught.value.reason.exception, BadReturn)
            assert text in str(caught.value.reason.exception)

    run(test)


def test_init_may_ignore_or_stop_and_its_actions_are_done_before_any_message() -> None:
    async def test(w: World) -> None:
        with pytest.raises(StartIgnored):
            await w.node.start_server(Told, Ignore())
        with pytest.raises(StartError) as caught:
            await w.node.start_server(Told, Stop("odd"))
        assert caught.value.reason == "odd"
        first = [NextEvent("internal", 1), EventTimeout(0, 3), NextEvent("info", 2), POSTPONE]
        pid = w.node.spawn(TellsOfEnter, "a", *first)
        w.node.cast(pid, 4)
        assert await log_of(w, pid) == [
            ("a", "enter", "a"),
            ("a", "internal", 1),
            ("a", "info", 2),
            ("a", "cast", 4),
        ]  # the event timeout of 0 was stopped by the events that were queued

    run(test)


def test_a_subclass_may_go_through_its_parents_init() -> None:
    class Parent(Told):
        def init(self, *args: Any, **options: Any) -> Any:
            return NextState("a", data=1)

    class Child(Parent):
        def init(self, *args: Any, **options: Any) -> Any:
            first = super().init()
            self.log = []
            return NextState(first.state, data=first.data + 1)

    async def test(w: World) -> None:
        child = await w.node.start_server(Child)
        w.node.cast(child, lambda s: s.log.append(s.system_get_state()))
        assert await log_of(w, child) == [("a", 2)]

    run(test)


def test_the_three_kinds_of_timeouts_run_for_their_time() -> None:
    async def test(w: World) -> None:
        pid = await w.node.start_server(Told)
        actions = [EventTimeout(1, "e"), StateTimeout(2, "s"), GenericTimeout("x", 3, "x")]
        w.node.cast(pid, lambda s: actions)
        await w.advance(0.9)
        await w.advance(0.1)
        await w.advance(2)
        assert await log_of(w, pid) == [
            ("a", "timeout", "e"),
            ("a", "state_timeout", "s"),
            ("a", TimeoutEvent("x"), "x"),
        ]
        assert len(w.node.timers) <= 1  # the call's lane

    run(test)


def test_any_event_stops_the_event_timeout_and_a_new_state_the_state_timeout() -> None:
    async def test(w: World) -> None:
        pid = await w.node.start_server(Told)
        w.node.cast(
            pid,
            lambda s: [
                EventTimeout(1),
                StateTimeout(1),
                GenericTimeout("x", 1),
                GenericTimeout("y", 1),
            ],
        )
        w.node.cast(pid, "plain")
        w.node.cast(pid, lambda s: NextState("b", GenericTimeout.cancel("y")))
        await w.advance(5)
        assert await log_of(w, pid) == [("a", "cast", "plain"), ("b", TimeoutEvent("x"), None)]

    run(test)


def test_a_timeout_is_started_anew_updated_and_absolute() -> None:
    async def test(w: World) -> None:
        pid = await w.node.start_server(Told)
        start_s = w.clock.monotonic()
        w.node.cast(
            pid, lambda s: [GenericTimeout("x", 1, 1), StateTimeout(5, "old"), EventTimeout(1)]
        )
        w.node.cast(pid, lambda s: [GenericTimeout("x", 2, 2), StateTimeout.update("new")])
        w.node.cast(pid, lambda s: GenericTimeout("abs", start_s + 3, "abs", absolute=True))
        w.node.cast(pid, lambda s: GenericTimeout.update("none runs", "at once"))
        await w.advance(1.5)
        assert await log_of(w, pid) == [("a", TimeoutEvent("none runs"), "at once")]
        await w.advance(5)
        assert (await log_of(w, pid))[1:] == [
            ("a", TimeoutEvent("x"), 2),
            ("a", TimeoutEvent("abs"), "abs"),
            ("a", "state_timeout", "new"),
        ]
        with pytest.raises(ValueError, match="in the future"):
            EventTimeout(-1)

    run(test)


def test_a_timeout_that_is_stopped_while_its_event_is_in_the_mailbox_does_not_come() -> None:
    async def test(w: World) -> None:
        async def busy(s: Told) -> Any:
            await s.sleep(2)  # meanwhile the timeouts ring
            return [GenericTimeout.cancel("x"), GenericTimeout("y", 1, "second")]

        pid = await w.node.start_server(Told)
        w.node.cast(pid, lambda s: [GenericTimeout("x", 1), GenericTimeout("y", 1, "first")])
        w.node.cast(pid, busy)
        await w.advance(10)
        assert await log_of(w, pid) == [("a", TimeoutEvent("y"), "second")]

    run(test)


def test_a_full_mailbox_loses_no_timeout() -> None:
    async def test(w: World) -> None:
        async def busy(s: Told) -> None:
            await s.sleep(2)

        pid = await w.node.start_server(Told, mailbox=MailboxLimit(2, "drop_oldest"))
        w.node.cast(pid, lambda s: GenericTimeout("x", 1))
        await w.settle()
        w.node.cast(pid, busy)
        await w.settle()
        for n in range(3):
            w.node.cast(pid, n)
        await w.advance(1.5)
        for n in range(3, 5):
            w.node.cast(pid, n)
        await w.advance(1)
        assert [entry[1:] for entry in await log_of(w, pid)] == [
            (TimeoutEvent("x"), None),
            ("cast", 3),
            ("cast", 4),
        ]

    run(test)


def test_enter_calls_get_the_old_state_and_cannot_change_it() -> None:
    async def test(w: World) -> None:
        pid = await w.node.start_server(TellsOfEnter)
        w.node.cast(pid, lambda s: NextState("b", data="more"))
        w.node.cast(pid, lambda s: NextState("b"))  # no other state: no enter call
        w.node.cast(pid, lambda s: RepeatState())
        assert await log_of(w, pid) == [
            ("a", "enter", "a"),
            ("b", "enter", "a"),
            ("b", "enter", "b"),
        ]
        for bad in (NextState("d"), POSTPONE, NextEvent("internal")):
            pid = await w.node.start_server(TellsOfEnter)
            w.node.cast(pid, lambda s, bad=bad: NextState("c", data=lambda s, e, c: bad))
            reason = await w.node.wait(pid)
            assert isinstance(reason, Crash)
            assert "in an enter call" in str(reason.exception)

    run(test)


def test_an_enter_call_may_be_a_coroutine_with_timeouts() -> None:
    class Enters(GenStatem[str, Any]):
        state_enter = True

        def init(self, log: list[Any]) -> Any:
            return NextState("first", data=log)

        async def first(self, event: Event, content: Any) -> Any:
            self.data.append(("first", event, content))
            await self.sleep(1)
            return StateTimeout(0, "on") if event == "enter" else NextState("second")

        def second(self, event: Event, content: Any) -> Any:
            self.data.append(("second", event, content))

    async def test(w: World) -> None:
        log: list[Any] = []
        pid = w.node.spawn(Enters, log)
        w.node.cast(pid, "waits")
        await w.advance(5)
        assert log == [
            ("first", "enter", "first"),
            ("first", "state_timeout", "on"),
            ("second", "enter", "first"),
            ("second", "cast", "waits"),
        ]

    run(test)


@pytest.mark.parametrize(
    ("result", "answer", "reason"),
    [
        (lambda from_: Stop("odd"), CalleeExited, "odd"),
        (lambda from_: Stop(NORMAL, "bye"), "bye", NORMAL),
        (lambda from_: StopAndReply(SHUTDOWN, ReplyTo(from_, 1), data="last"), 1, SHUTDOWN),
        (lambda from_: 7, CalleeExited, BadReturn),
        (lambda from_: [NORMAL], CalleeExited, BadReturn),
    ],
)
def test_the_ways_to_stop(result: Any, answer: Any, reason: Any) -> None:
    class Ends(GenStatem[str, str]):
        def init(self, ends: list[Any]) -> Any:
            self.ends = ends
            return NextState("on", data="first")

        def on(self, event: Event, content: Any) -> Any:
            return result(event)

        def terminate(self, reason: object) -> None:
            self.ends.append((reason, self.data))

    async def test(w: World) -> None:
        ends: list[Any] = []
        pid = await w.node.start_server(Ends, ends)
        if answer is CalleeExited:
            with pytest.raises(CalleeExited):
                await w.node.call(pid, "x")
        else:
            assert await w.node.call(pid, "x") == answer
        ended, data = ends[0]
        assert data == ("last" if reason is SHUTDOWN else "first")
        if reason is BadReturn:
            assert isinstance(ended.exception, BadReturn)
        else:
            assert ended == reason

    run(test)


def test_a_reply_in_stop_needs_a_call() -> None:
    async def test(w: World) -> None:
        pid = await w.node.start_server(Told)
        w.node.cast(pid, lambda s: Stop(NORMAL, "to nobody"))
        reason = await w.node.wait(pid)
        assert isinstance(reason, Crash)
        assert "there is no call" in str(reason.exception)

    run(test)


def test_a_queued_call_is_stopped_with_a_reply_of_its_own() -> None:
    async def test(w: World) -> None:
        calls: list[Any] = []

        def decide(s: Told, event: Event, content: Any) -> Any:
            if content == "stop":
                return Stop(NORMAL, "stopped")
            return None

        async def body(ctx: ProcessContext) -> Any:
            pid = ctx.spawn(Told)
            first = ctx.send_request(pid, "first")  # kept without an answer
            ctx.send_request(pid, lambda s: POSTPONE)
            ctx.cast(pid, lambda s: KeepState(NextEvent("cast", "x"), data=decide))
            last = ctx.send_request(pid, "stop")
            answers = [await ctx.receive() for _ in range(3)]
            calls.append(len(answers))
            by_ref = {answer.ref: answer for answer in answers}
            assert by_ref[last].value == "stopped"
            assert by_ref[first].error.reason is NORMAL
            return True

        assert await inside(w, body)
        assert calls == [3]

    run(test)


def test_what_is_postponed_has_a_limit() -> None:
    class Patient(Told):
        max_postponed = 3

    async def test(w: World) -> None:
        pid = await w.node.start_server(Patient)
        for _ in range(3):
            w.node.cast(pid, lambda s: POSTPONE)
        await w.settle()
        assert w.node.is_alive(pid)
        w.node.cast(pid, lambda s: POSTPONE)
        assert await w.node.wait(pid) == Overflow(3)

    run(test)


def test_an_endless_chain_of_events_lets_others_run_and_can_be_ended() -> None:
    async def test(w: World) -> None:
        again = NextEvent("internal", "again")
        pid = await w.node.start_server(Told)
        w.node.cast(pid, lambda s: KeepState(again, data=lambda s, e, c: again))
        other = await w.node.start_server(Told)
        w.node.cast(other, "one")
        assert len(await log_of(w, other)) == 1
        assert w.node.is_alive(pid)
        w.node.exit(pid, KILL)
        assert await w.node.wait(pid) is KILLED

    run(test)


def test_signals_are_infos_and_a_trapping_machine_terminates() -> None:
    async def test(w: World) -> None:
        pid = await w.node.start_server(Told, trap=True)

        async def other(ctx: ProcessContext) -> None:
            ctx.exit(pid, "odd")

        stranger = w.node.spawn(other)
        await w.settle()
        assert await log_of(w, pid) == [("a", "info", Exit(stranger, "odd"))]

    run(test)


def test_a_call_that_nobody_answers_times_out_and_may_be_answered_later() -> None:
    async def test(w: World) -> None:
        kept: list[From] = []

        def keep(s: Told, event: Event, content: Any) -> Any:
            if isinstance(event, From):
                kept.append(event)
                return None
            return [ReplyTo(from_, content) for from_ in kept]

        pid = await w.node.start_server(Told)
        w.node.cast(pid, lambda s: KeepState(data=keep))
        late = asyncio.ensure_future(w.node.call(pid, "q", timeout_s=1))
        await asyncio.sleep(0)
        await w.advance(2)
        with pytest.raises(CallTimeout):
            await late
        asked = asyncio.ensure_future(w.node.call(pid, "q"))
        await asyncio.sleep(0)
        w.node.cast(pid, "answer")
        assert await asked == "answer"

    run(test)


def test_state_and_data_can_be_replaced_from_outside_of_the_machine() -> None:
    class Two(GenStatem[str, int]):
        state_enter = True

        def init(self) -> Any:
            return NextState("one", data=0)

        def one(self, event: Event, content: Any) -> Any:
            if event == "cast":
                self.system_replace_state(lambda old: ("two", old[1] + 5))

        def two(self, event: Event, content: Any) -> Any:
            assert event != "enter"  # it is no transition
            assert isinstance(event, From)
            return ReplyTo(event, self.system_get_state())

    async def test(w: World) -> None:
        pid = await w.node.start_server(Two)
        w.node.cast(pid, "replace")
        assert await w.node.call(pid, "?") == ("two", 5)

    run(test)


def test_a_machine_that_ended_is_freed_at_once_with_its_timers() -> None:
    async def test(w: World) -> None:
        refs: list[Any] = []
        pid = await w.node.start_server(Told)
        w.node.cast(pid, lambda s: refs.append(weakref.ref(s)))
        w.node.cast(pid, lambda s: [StateTimeout(1), GenericTimeout("x", 0), POSTPONE])
        w.node.cast(pid, lambda s: GenericTimeout("y", 1000))
        await w.settle()
        gc.disable()
        try:
            w.node.exit(pid, KILL)
            await w.node.wait(pid)
            assert refs[0]() is None
            assert len(w.node.timers) == 0
        finally:
            gc.enable()

    run(test)


def test_what_is_missing_is_named() -> None:
    class NoInit(GenStatem[Any, Any]):
        pass

    class NoFirst(GenStatem[Any, Any]):
        def init(self) -> Any:
            self.data = 1

    class NoHandler(GenStatem[Any, Any]):
        callback_mode = "handle_event_function"

        def init(self) -> Any:
            return NextState(1)

    async def test(w: World) -> None:
        for kind, text in [
            (NoInit, "NoInit has no init"),
            (NoFirst, "NoFirst returned None from init"),
        ]:
            with pytest.raises(StartError) as caught:
                await w.node.start_server(kind)
            assert isinstance(caught.value.reason, Crash)
            assert text in str(caught.value.reason.exception)
        pid = await w.node.start_server(NoHandler)
        w.node.cast(pid, 1)
        reason = await w.node.wait(pid)
        assert isinstance(reason, Crash)
        assert "has no handle_event, but got 'cast'" in str(reason.exception)

    run(test)


@pytest.mark.parametrize("value", [Stop("odd"), NOREPLY, Ignore(), None, [1]])
def test_whatever_is_replied_is_a_value(value: Any) -> None:
    class Answers(GenStatem[str, Any]):
        def init(self) -> Any:
            return NextState("on", data=value)

        def on(self, event: Event, content: Any) -> Any:
            assert isinstance(event, From)
            return ReplyTo(event, self.data)

    async def test(w: World) -> None:
        pid = await w.node.start_server(Answers)
        assert await w.node.call(pid, "?") is value
        assert w.node.is_alive(pid)

    run(test)


def test_a_hibernating_machine_goes_on_where_it_was() -> None:
    async def test(w: World) -> None:
        pid = await w.node.start_server(Told)
        w.node.cast(pid, lambda s: [HIBERNATE, NextEvent("internal", 1), GenericTimeout("x", 1)])
        w.node.cast(pid, lambda s: HIBERNATE)
        await w.advance(2)
        w.node.cast(pid, lambda s: HIBERNATE)
        assert await log_of(w, pid) == [
            ("a", "internal", 1),
            ("a", TimeoutEvent("x"), None),
        ]

    run(test)


def test_reprs_say_what_they_are() -> None:
    from_ = object()
    texts = {
        repr(NextState("a", POSTPONE, data=1)): "NextState('a', *(POSTPONE,), data=1)",
        repr(KeepState(HIBERNATE)): "KeepState(*(HIBERNATE,), data=SAME)",
        repr(RepeatState()): "RepeatState(*(), data=SAME)",
        repr(GenericTimeout("x", 1, 2)): "GenericTimeout(TimeoutEvent(name='x'), 1, 2)",
        repr(EventTimeout.update(3)): "EventTimeout('timeout', UPDATE, 3)",
        repr(StateTimeout.cancel()): "StateTimeout('state_timeout', None, None)",
        repr(NextEvent("internal", 1)): "NextEvent('internal', 1)",
        repr(StopAndReply(NOREPLY)): "StopAndReply(NOREPLY, *(), data=SAME)",
        repr(ReplyTo(from_, 1)): f"ReplyTo({from_!r}, 1)",  # type: ignore[arg-type]
    }
    assert list(texts) == list(texts.values())
    with pytest.raises(ValueError, match="enter call"):
        NextEvent("enter")


def test_the_worked_example_of_the_docs_is_true() -> None:
    page = (Path(__file__).parents[2] / "docs" / "behaviours.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        compile(block, "docs/behaviours.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    (door_block,) = [block for block in blocks if "class Door" in block]
    names: dict[str, Any] = dict(globals())
    exec(door_block.split("\ndoor = ")[0], names)

    async def test(w: World) -> None:
        door = await w.node.start_server(names["Door"], "1234")
        passing = asyncio.ensure_future(w.node.call(door, "pass", timeout_s=None))
        await asyncio.sleep(0)
        w.node.cast(door, "wrong")
        await w.advance(2)
        assert not passing.done()
        w.node.cast(door, "1234")
        assert await passing == "welcome"
        assert await w.node.call(door, "pass") == "welcome"
        await w.advance(10)
        late = asyncio.ensure_future(w.node.call(door, "pass", timeout_s=1))
        await asyncio.sleep(0)
        await w.advance(1)
        with pytest.raises(CallTimeout):
            await late
        assert not w.observer.crashes

    run(test)
