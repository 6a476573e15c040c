"""OTP's `sys`: look at, hold, trace and change servers while they run."""

from __future__ import annotations

import asyncio
from types import coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import Server, Trapper, World, inside, run

from palaver.actors.observing import sys
from palaver.actors.observing.asking import CallbackFailed, NotAServer
from palaver.actors.observing.changing import NotSuspended
from palaver.actors.runtime import (
    HIBERNATE,
    KILL,
    NOREPLY,
    SHUTDOWN,
    TIMEOUT,
    BadReturn,
    CalleeExited,
    CallFailed,
    CallTimeout,
    Continue,
    From,
    GenServer,
    MailboxLimit,
    NoProcess,
    ProcessContext,
    Reply,
    Stop,
    Timeout,
)


async def begun(work: Any) -> asyncio.Future[Any]:
    """A task that has come to its first wait."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task


class Counter(GenServer):
    __slots__ = ("__secret", "n", "unset")

    def init(self, n: int = 0) -> None:
        self.n = n
        self.__secret = "hidden"

    def handle_cast(self, step: int) -> Any:
        self.n += step
        return None

    def handle_call(self, request: Any, from_: From) -> Any:
        if request == "later":
            return NOREPLY
        if request == "async":
            return self.slow()
        if request == "reply":
            return Reply(self.n, Continue("more"))
        if request == "stop":
            return Stop(SHUTDOWN, "bye")
        if request == "hang":
            return self.sleep(1000)
        return self.n

    async def slow(self) -> int:
        await self.sleep(1)
        return self.n

    def handle_continue(self, arg: Any) -> None:
        self.n += 100


class Plain(GenServer):
    def init(self) -> None:
        self.items = [1]


def test_the_state_is_every_attribute_that_is_set() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter, 3, name="counter")
        assert await sys.get_state(w.node, "counter") == {"n": 3, "_Counter__secret": "hidden"}
        assert await sys.get_state(w.node, w.node.spawn(Plain)) == {"items": [1]}
        assert await inside(w, lambda ctx: sys.get_state(ctx, counter)) == {
            "n": 3,
            "_Counter__secret": "hidden",
        }

    run(test)


def test_the_state_is_replaced_or_the_caller_hears_why_not() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        new = await sys.replace_state(w.node, counter, lambda state: {**state, "n": 7})
        assert new["n"] == 7
        assert await w.node.call(counter, "n") == 7
        with pytest.raises(CallbackFailed, match="KeyError") as caught:
            await sys.replace_state(w.node, counter, lambda state: state["none"])
        assert isinstance(caught.value.__cause__, KeyError)
        for bad in ({"n": 1, "other": 2}, {"n": 1, "process_": None}, [1]):
            with pytest.raises(CallbackFailed, match="TypeError"):
                await sys.replace_state(w.node, counter, lambda _, bad=bad: bad)
        assert await w.node.call(counter, "n") == 7
        plain = w.node.spawn(Plain)
        await sys.replace_state(w.node, plain, lambda _: {"more": 1})
        assert await sys.get_state(w.node, plain) == {"more": 1}
        assert not w.observer.crashes

    run(test)


def test_a_behaviour_says_itself_what_its_state_is() -> None:
    class Machine(GenServer):
        def init(self) -> None:
            self.state, self.data = "off", 0

        def system_get_state(self) -> Any:
            return self.state, self.data

        def system_replace_state(self, change: Any) -> Any:
            self.state, self.data = change((self.state, self.data))
            return self.state, self.data

    async def test(w: World) -> None:
        machine = w.node.spawn(Machine)
        assert await sys.get_state(w.node, machine) == ("off", 0)
        assert await sys.replace_state(w.node, machine, lambda _: ("on", 1)) == ("on", 1)
        assert await sys.get_state(w.node, machine) == ("on", 1)

    run(test)


def test_the_status_shows_what_format_status_does() -> None:
    class Discreet(Counter):
        def format_status(self) -> Any:
            return "nothing to see"

    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        await sys.trace(w.node, counter, True, to=lambda _: None)
        status = await sys.get_status(w.node, counter)
        assert (status.pid, status.status, status.parent) == (counter, "running", None)
        assert status.behaviour.endswith("test_sys.Counter")
        assert status.debug == ("trace",)
        assert status.state["n"] == 0
        assert (await sys.get_status(w.node, w.node.spawn(Discreet))).state == "nothing to see"

    run(test)


def test_a_suspended_server_handles_system_requests_only() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        w.node.cast(counter, 1)
        await sys.suspend(w.node, counter)
        await sys.suspend(w.node, counter)
        for _ in range(100):
            w.node.cast(counter, 1)
        answer = await begun(w.node.call(counter, "n"))
        await w.settle()
        assert (await sys.get_state(w.node, counter))["n"] == 1
        assert (await sys.get_status(w.node, counter)).status == "suspended"
        assert not answer.done()
        await sys.resume(w.node, counter)
        assert await answer == 101
        await sys.resume(w.node, counter)
        assert counter.process_ is not None
        assert counter.process_.inspection is None  # and it pays nothing any more
        assert counter.process_.fast is counter.process_.context

    run(test)


def test_a_suspended_server_can_still_be_ended() -> None:
    async def test(w: World) -> None:
        killed, ended, linked = w.node.spawn(Server), w.node.spawn(Trapper), w.node.spawn(Server)
        for pid in (killed, ended, linked):
            w.node.cast(pid, lambda s: None)
            await sys.suspend(w.node, pid)
            w.node.cast(pid, "waits")
        w.node.exit(killed, KILL)
        w.node.exit(ended, SHUTDOWN)
        w.node.exit(linked, "because")
        await w.settle()
        assert w.node.stats().processes == 0

    run(test)


def test_the_node_stops_with_suspended_servers() -> None:
    async def test(w: World) -> None:
        for kind in (Server, Trapper):
            pid = w.node.spawn(kind)
            await sys.suspend(w.node, pid)
            w.node.cast(pid, 1)

    run(test)


def test_a_busy_server_answers_when_it_is_free() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        slow = await begun(w.node.call(counter, "async"))
        await w.settle()
        state = await begun(sys.get_state(w.node, counter))
        await w.settle()
        assert not state.done()
        await w.advance(1)
        assert (await state)["n"] == await slow == 0

    run(test)


def test_a_request_whose_time_is_up_is_not_carried_out_any_more() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        slow = await begun(w.node.call(counter, "async"))
        await w.settle()
        state = await begun(sys.suspend(w.node, counter, timeout_s=0.5))
        await w.advance(0.5)
        with pytest.raises(CallTimeout, match=r"0\.5 s"):
            await state
        await w.advance(1)
        assert await slow == 0
        assert (await sys.get_status(w.node, counter)).status == "running"
        assert not counter.process_.watchers  # type: ignore[union-attr]

    run(test)


def test_who_cannot_answer_is_told_apart() -> None:
    async def test(w: World) -> None:
        async def function(ctx: ProcessContext) -> None:
            await ctx.receive()

        with pytest.raises(NoProcess):
            await sys.get_state(w.node, "nobody")
        with pytest.raises(NotAServer, match="plain function"):
            await sys.get_state(w.node, w.node.spawn(function))
        server = w.node.spawn(Server)
        w.node.cast(server, lambda s: Stop("enough"))
        with pytest.raises(CalleeExited, match="enough"):
            await sys.get_state(w.node, server)
        with pytest.raises(NoProcess):
            await sys.get_state(w.node, server)

        def ask_itself(s: Server, from_: From) -> Any:
            return sys.get_state(s, s.pid)

        w.node.cast(w.node.spawn(Server), lambda s: sys.get_state(s, s.pid))
        await w.settle()
        (crash,) = w.observer.crashes[1:]
        assert isinstance(crash.reason.exception, CallFailed)  # type: ignore[attr-defined]

    run(test)


def test_an_asker_that_is_killed_leaves_nothing_behind() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        w.node.cast(counter, 1)
        hanging = await begun(w.node.call(counter, "hang"))
        await w.settle()

        async def asker(ctx: ProcessContext) -> None:
            await sys.suspend(ctx, counter)

        pid = w.node.spawn(asker)
        await w.settle()
        assert counter.process_ is not None
        assert counter.process_.watchers
        w.node.exit(pid, KILL)
        await w.settle()
        assert not counter.process_.watchers
        hanging.cancel()
        await w.advance(1000)
        assert (await sys.get_status(w.node, counter)).status == "running"

    run(test)


def test_a_server_is_terminated_with_a_reason() -> None:
    async def test(w: World) -> None:
        ends: list[Any] = []
        pid = w.node.spawn(Trapper, ends)
        await sys.terminate(w.node, pid, "enough")
        await w.settle()
        assert ends == ["enough"]
        assert not w.node.is_alive(pid)

    run(test)


def test_system_requests_leave_a_timeout_alone() -> None:
    class Idler(GenServer):
        def init(self) -> None:
            self.heard: list[Any] = []

        def handle_cast(self, message: Any) -> Any:
            return Timeout(10)

        def handle_info(self, message: Any) -> None:
            self.heard.append(message)

    async def test(w: World) -> None:
        looked_at, held, spoken_to = [w.node.spawn(Idler) for _ in range(3)]
        for pid in (looked_at, held, spoken_to):
            w.node.cast(pid, "go")
        await w.advance(4)
        for pid in (looked_at, spoken_to):
            await sys.get_state(w.node, pid)
        await sys.suspend(w.node, held)
        w.node.send(spoken_to, "hello")
        await w.advance(5.9)
        assert (await sys.get_state(w.node, looked_at))["heard"] == []
        await w.advance(0.2)
        assert (await sys.get_state(w.node, looked_at))["heard"] == [TIMEOUT]
        assert (await sys.get_state(w.node, spoken_to))["heard"] == ["hello"]
        await w.advance(100)
        await sys.resume(w.node, held)
        await w.advance(5.9)
        assert (await sys.get_state(w.node, held))["heard"] == []
        await w.advance(0.2)
        assert (await sys.get_state(w.node, held))["heard"] == [TIMEOUT]

    run(test)


def test_every_event_is_traced() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        events: list[sys.Event] = []
        await sys.trace(w.node, counter, True, to=events.append)
        caller: list[Any] = []

        async def ask(ctx: ProcessContext) -> None:
            caller.append(ctx.pid)
            await ctx.call(counter, "n")

        w.node.cast(counter, 2)
        w.node.spawn(ask)
        await w.settle()
        w.node.send(counter, "info")
        assert await w.node.call(counter, "reply") == 2
        slow = await begun(w.node.call(counter, "async"))
        await w.advance(1)
        assert await slow == 102
        assert await w.node.call(counter, "stop") == "bye"
        assert [(e.kind, e.how, e.message) for e in events] == [
            ("in", "cast", 2), ("noreply", "cast", 2),
            ("in", "call", "n"), ("out", "call", 2),
            ("in", "info", "info"), ("noreply", "info", "info"),
            ("in", "call", "reply"), ("out", "call", 2),
            ("in", "continue", "more"), ("noreply", "continue", "more"),
            ("in", "call", "async"), ("out", "call", 102),
            ("in", "call", "stop"), ("out", "call", "bye"),
        ]  # fmt: skip
        assert events[2].peer == caller[0]
        assert str(events[2]) == f"{counter} got call 'n' from {caller[0]}"
        assert str(events[5]) == f"{counter} is done with info 'info'"
        assert str(events[7]) == f"{counter} sent 2 to the outside"

    run(test)


def test_handlers_that_are_generators_are_traced_too() -> None:
    @coroutine
    def old_style(self: Any) -> Any:
        yield from self.sleep(1)
        return "done"

    class Old(GenServer):
        def handle_call(self, request: Any, from_: From) -> Any:
            return old_style(self)

    async def test(w: World) -> None:
        pid = w.node.spawn(Old)
        events: list[sys.Event] = []
        await sys.trace(w.node, pid, True, to=events.append)
        answer = await begun(w.node.call(pid, 1))
        await w.advance(1)
        assert await answer == "done"
        assert events[1].message == "done"

    run(test)


def test_a_trace_ends_when_asked_and_when_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        events: list[sys.Event] = []

        def failing(event: sys.Event) -> None:
            events.append(event)
            raise ValueError("full")

        await sys.trace(w.node, counter, True, to=failing)
        w.node.cast(counter, 1)
        w.node.cast(counter, 1)
        assert (await sys.get_state(w.node, counter))["n"] == 2
        assert len(events) == 1
        await sys.trace(w.node, counter, True)
        w.node.cast(counter, 41)
        await sys.trace(w.node, counter, False)
        w.node.cast(counter, 42)
        assert (await sys.get_state(w.node, counter))["n"] == 85

    run(test)
    out = capsys.readouterr().out
    assert "a debug function failed" in out
    assert "got cast 41" in out
    assert "got cast 42" not in out


def test_the_log_keeps_the_last_events(capsys: pytest.CaptureFixture[str]) -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        assert await sys.log(w.node, counter, "get") == []
        await sys.log(w.node, counter, True)
        for n in range(20):
            w.node.cast(counter, n)
        events = await sys.log(w.node, counter, "get")
        assert [e.message for e in events if e.kind == "in"] == [15, 16, 17, 18, 19]
        await sys.log(w.node, counter, 3)  # another size keeps what fits
        assert len(await sys.log(w.node, counter, "print")) == 3
        assert len(await sys.log(w.node, counter, False)) == 3
        assert await sys.log(w.node, counter, "get") == []
        for size in (0, -1, 10_001):
            with pytest.raises(ValueError, match="10000"):
                await sys.log(w.node, counter, size)

    run(test)
    assert "got cast 19" in capsys.readouterr().out


def test_statistics_count_while_they_are_on() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        assert await sys.statistics(w.node, counter, "get") is None
        w.node.cast(counter, 1)
        await sys.statistics(w.node, counter, True)
        w.node.cast(counter, 1)
        await w.node.call(counter, "reply")
        await w.advance(2)
        got = await sys.statistics(w.node, counter, "get")
        assert got is not None
        assert (got.messages_in, got.messages_out) == (2, 1)
        assert got.current_time_s - got.start_time_s == 2
        assert got.reductions == 4  # with the `Continue` and the request itself
        await sys.statistics(w.node, counter, False)
        assert await sys.statistics(w.node, counter, "get") is None
        assert counter.process_.inspection is None  # type: ignore[union-attr]

    run(test)


def test_debug_functions_have_a_state_and_can_be_done() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        seen: list[Any] = []

        def until_three(state: int, event: sys.Event, server: Any) -> Any:
            if event.kind == "noreply":
                return state
            seen.append((state, event.message, server.n))
            return sys.DONE if state == 3 else state + 1

        await sys.install(w.node, counter, until_three, 1)
        await sys.install(w.node, counter, until_three, 10)  # is there already
        for _ in range(5):
            w.node.cast(counter, 1)
        await w.settle()
        assert seen == [(1, 1, 0), (2, 1, 1), (3, 1, 2)]
        await sys.install(w.node, counter, until_three, 20, key="mine")
        assert len((await sys.get_status(w.node, counter)).debug) == 1
        await sys.remove(w.node, counter, "mine")
        await sys.remove(w.node, counter, "mine")
        await sys.install(w.node, counter, until_three, 1)
        await sys.log(w.node, counter, True)
        await sys.no_debug(w.node, counter)
        assert (await sys.get_status(w.node, counter)).debug == ()
        w.node.cast(counter, 1)
        await w.settle()
        assert len(seen) == 3

    run(test)


def test_the_code_of_a_suspended_server_is_changed() -> None:
    class Doubler(Counter):
        __vsn__ = 2

        def handle_cast(self, step: int) -> None:
            self.n += 2 * step

        def code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> None:
            assert (old_version, state["n"]) == (1, 5)
            self.n = extra

    async def test(w: World) -> None:
        counter = w.node.spawn(Counter, 5)
        with pytest.raises(NotSuspended, match=r"sys\.suspend"):
            await sys.change_code(w.node, counter, Doubler, 1, 50)
        await sys.suspend(w.node, counter)
        w.node.cast(counter, 1)
        await sys.change_code(w.node, counter, Doubler, 1, 50)
        await sys.resume(w.node, counter)
        assert await w.node.call(counter, "n") == 52
        await sys.suspend(w.node, counter)
        with pytest.raises(CallbackFailed, match="GenServer"):
            await sys.change_code(w.node, counter, dict, 1)  # type: ignore[arg-type]

    run(test)


def test_a_bounded_server_is_looked_into_too() -> None:
    async def test(w: World) -> None:
        counter = w.node.spawn(Counter, mailbox=MailboxLimit(2, "drop_oldest"))
        await w.settle()
        await sys.suspend(w.node, counter)
        for n in range(10):
            w.node.cast(counter, n)
        assert (await sys.get_state(w.node, counter))["n"] == 0
        await sys.resume(w.node, counter)
        assert await w.node.call(counter, "n") == 17
        events: list[sys.Event] = []
        await sys.trace(w.node, counter, True, to=events.append)
        w.node.cast(counter, 1)
        await w.settle()
        assert len(events) == 2

    run(test)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["cast", "call", "suspend", "resume", "trace", "untrace", "look", "turn"]),
        max_size=40,
    )
)
def test_looking_in_never_loses_or_reorders_a_message(steps: list[str]) -> None:
    """Whatever is held, traced or looked at in whatever order."""

    class Noter(GenServer):
        def init(self) -> None:
            self.got: list[Any] = []

        def handle_cast(self, message: Any) -> Any:
            self.got.append(message)
            return HIBERNATE if message % 5 == 0 else None

        def handle_call(self, request: Any, from_: From) -> Any:
            self.got.append(request)
            return self.later(request) if request % 2 else request

        async def later(self, request: Any) -> Any:
            await self.sleep(0)
            return request

    async def test(w: World) -> None:
        noter = w.node.spawn(Noter)
        requests: list[asyncio.Future[Any]] = []
        calls: list[tuple[int, asyncio.Future[Any]]] = []
        sent = 0
        for step in steps:
            if step == "cast":
                w.node.cast(noter, sent)
                sent += 1
            elif step == "call":
                calls.append((sent, await begun(w.node.call(noter, sent))))
                sent += 1
            elif step == "turn":
                await w.settle()
            else:
                request: Any = {
                    "suspend": lambda: sys.suspend(w.node, noter),
                    "resume": lambda: sys.resume(w.node, noter),
                    "trace": lambda: sys.trace(w.node, noter, True, to=lambda _: None),
                    "untrace": lambda: sys.trace(w.node, noter, False),
                    "look": lambda: sys.get_state(w.node, noter),
                }[step]()
                requests.append(await begun(request))
        await sys.resume(w.node, noter)
        for request in requests:
            await request
        for number, call in calls:
            assert await call == number
        assert (await sys.get_state(w.node, noter))["got"] == list(range(sent))
        assert not w.observer.crashes

    run(test)


def test_a_code_change_that_is_async_is_refused() -> None:
    class Slow(Counter):
        async def code_change(self, *_: Any) -> None:  # type: ignore[override]
            pass

    async def test(w: World) -> None:
        counter = w.node.spawn(Counter)
        await sys.suspend(w.node, counter)
        with pytest.raises(BadReturn, match="plain def"):
            await sys.change_code(w.node, counter, Slow)
        assert type(counter.process_.context) is Counter  # type: ignore[union-attr]

    run(test)


def test_requests_that_come_while_a_handler_receives_keep_their_order() -> None:
    async def test(w: World) -> None:
        async def wait_for_go(s: Server, _: Any) -> Any:
            return await s.receive(lambda message: message == "go")

        server = await w.node.start_server(Server)
        answer = await begun(w.node.call(server, wait_for_go))
        await w.settle()
        suspending = await begun(sys.suspend(w.node, server))
        resuming = await begun(sys.resume(w.node, server))
        w.node.send(server, "first")
        w.node.send(server, "go")
        assert await answer == "go"
        await suspending
        await resuming
        assert (await sys.get_status(w.node, server)).status == "running"
        assert await w.node.call(server, "log") == ["first"]

    run(test)
