"""Stand-ins: they pass on, refuse, and end, each when it is due."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from palaver.actors.chat import proxies
from palaver.actors.chat.accounts import IssueCode, RequestCode, SignUpAnswer, VerifyCode
from palaver.actors.chat.messages import (
    AckUpTo,
    Answer,
    Append,
    Applied,
    Ask,
    AttachAgain,
    AttachQueue,
    FindSequencer,
    LookUp,
    Placement,
    SequencerIs,
    Submit,
    SubmitGroup,
    SubmitMembers,
    Watch,
    Watched,
)
from palaver.actors.chat.owned import Greet, Owned, PassedOn
from palaver.actors.chat.proxies import Proxy
from palaver.actors.chat.refusals import RETRY_AFTER_MS, Unavailable, refusal_of
from palaver.actors.chat.state import commands as cmd
from palaver.actors.runtime import (
    KILL,
    CalleeExited,
    Down,
    From,
    Node,
    Pid,
    ProcessContext,
    Shutdown,
)
from palaver.actors.simulation import Host, World
from palaver.transport.wire import ErrorCode

REAL, NAME = "real", "stand-in"


class Real(Owned):
    """Notes what it is told, and echoes what it is asked."""

    def init(self, told: list[Any]) -> None:
        self.told = told

    def handle_info(self, message: Any) -> Any:
        if type(message) is PassedOn:
            return super().handle_info(message)
        self.told.append(message)
        return None

    def handle_call(self, request: Any, from_: From) -> Any:
        if request == "hold":
            self.told.append("held")
            return proxies.NOREPLY
        return ("echo", request) if type(request) is not Greet else self.pid


class Stage:
    """A node with a stand-in, and perhaps with whom it stands in for."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.told: list[Any] = []
        self.heard: list[Any] = []
        self.ends: list[object] = []

    async def real(self) -> Pid:
        return await self.node.start_server(Real, self.told, name=REAL)

    async def proxy(self, owner: str | None = REAL) -> Pid:
        pid = await self.node.start_server(Proxy, owner, name=NAME)
        self.node.spawn(self._watch, pid)
        return pid

    async def _watch(self, ctx: ProcessContext, pid: Pid) -> None:
        ctx.monitor(pid)
        down: Down = await ctx.receive()
        self.ends.append(down.reason)

    def ear(self) -> Pid:
        """A process whose messages are heard."""

        async def listen(ctx: ProcessContext) -> None:
            while True:
                self.heard.append(await ctx.receive())

        return self.node.spawn(listen)


def on_a_node(play: Callable[[Stage], Awaitable[None]]) -> None:
    async def boot(host: Host) -> None:
        await play(Stage(await host.node()))

    with World() as world:
        world.run(world.host("a", boot).start())


def test_messages_go_to_the_real_one_in_order_from_the_first_on() -> None:
    async def play(stage: Stage) -> None:
        await stage.real()
        await stage.proxy()
        for number in range(50):
            stage.node.send(NAME, number)
        await asyncio.sleep(0.1)
        for number in range(50, 60):
            stage.node.send(NAME, number)
        assert await stage.node.call(NAME, "hello") == ("echo", "hello")
        assert stage.told == list(range(60))

    on_a_node(play)


def test_it_ends_with_the_real_one_and_so_do_the_calls_it_has_passed_on() -> None:
    async def play(stage: Stage) -> None:
        real = await stage.real()
        await stage.proxy()
        waiting = asyncio.ensure_future(stage.node.call(NAME, "hold", timeout_s=None))
        await asyncio.sleep(0.1)
        assert stage.told == ["held"]
        stage.node.exit(real, KILL)
        with pytest.raises(CalleeExited):
            await waiting
        await asyncio.sleep(0.1)
        assert len(stage.ends) == 1
        assert isinstance(stage.ends[0], Shutdown)

    on_a_node(play)


def test_it_goes_on_if_it_has_turned_nobody_away_before_the_real_one_came() -> None:
    async def play(stage: Stage) -> None:
        await stage.proxy()
        await asyncio.sleep(5.0)
        await stage.real()
        await asyncio.sleep(2.0)
        assert not stage.ends
        stage.node.send(NAME, "hello")
        await asyncio.sleep(0.1)
        assert stage.told == ["hello"]

    on_a_node(play)


def test_if_it_has_turned_somebody_away_everybody_begins_anew_with_the_real_one() -> None:
    async def play(stage: Stage) -> None:
        await stage.proxy()
        await asyncio.sleep(1.0)
        stage.node.send(NAME, "a hint")
        await asyncio.sleep(5.0)
        assert not stage.ends
        await stage.real()
        await asyncio.sleep(2.0)
        assert stage.ends == [Shutdown("the owner can be reached now")]
        assert not stage.told

    on_a_node(play)


def test_it_greets_at_least_once_a_second() -> None:
    async def play(stage: Stage) -> None:
        await stage.proxy()
        await asyncio.sleep(60.0)
        await stage.real()
        await asyncio.sleep(1.1)
        assert await stage.node.call(NAME, "hello") == ("echo", "hello")

    on_a_node(play)


def test_two_that_stand_in_for_each_other_pass_nothing_on() -> None:
    async def play(stage: Stage) -> None:
        await stage.node.start_server(Proxy, NAME, name=REAL)
        await stage.proxy(REAL)
        await asyncio.sleep(1.0)
        with pytest.raises(Unavailable):
            await stage.node.call(NAME, "hello")

    on_a_node(play)


def test_what_waits_for_the_greeting_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "MAX_WAITING", 3)

    async def play(stage: Stage) -> None:
        ear = stage.ear()

        async def silent(ctx: ProcessContext) -> None:
            await ctx.receive(lambda message: message == "never")

        stage.node.spawn(silent, name=REAL)
        await stage.proxy()
        for tag in range(5):
            stage.node.send(NAME, Ask(ear, tag, "devices", ()))
        await asyncio.sleep(0.1)
        assert [answer.tag for answer in stage.heard] == [3, 4]

    on_a_node(play)


COMMAND: cmd.Command = (cmd.READ, b"c", "a", 1)
REFUSED: list[tuple[str, Callable[[Pid], Any], Any]] = [
    ("Append", lambda me: Append(me, 1, COMMAND), Applied(1, None, Unavailable())),
    ("Ask", lambda me: Ask(me, 1, "devices", ("a",)), Answer(1, None, Unavailable())),
    (
        "Submit", lambda me: Submit(me, 1, None, "a", 1, 0, 0, []),
        Applied(1, None, Unavailable()),
    ),
    (
        "SubmitGroup", lambda me: SubmitGroup(me, 1, "a", 1, 1, 0, "g", ()),
        Applied(1, None, Unavailable()),
    ),
    (
        "SubmitMembers", lambda me: SubmitMembers(me, 1, "a", 1, 1, 0, (), ()),
        Applied(1, None, Unavailable()),
    ),
    ("FindSequencer", lambda me: FindSequencer(me, b"c"), SequencerIs(b"c", None)),
    ("AttachQueue", lambda me: AttachQueue("a", 1, me, (1, 1)), AttachAgain()),
    ("LookUp", lambda me: LookUp(me, "a"), Placement("a", ())),
    (
        "Watch", lambda me: Watch(me, 7, "b", "a", "b"),
        Watched(7, "b", False, None, cmd.Refusal("unavailable", refusal_of(Unavailable())[1])
        ),
    ),
    (
        "RequestCode", lambda me: RequestCode(me, 1, "+49", "addr"),
        SignUpAnswer(
            1, None, ErrorCode.UNAVAILABLE, refusal_of(Unavailable())[1], RETRY_AFTER_MS
        ),
    ),
    (
        "VerifyCode", lambda me: VerifyCode(me, 1, "+49", "1", b"k", "phone"),
        SignUpAnswer(
            1, None, ErrorCode.UNAVAILABLE, refusal_of(Unavailable())[1], RETRY_AFTER_MS
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "answer"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_without_an_owner_who_asks_is_refused(message: Callable[[Pid], Any], answer: Any) -> None:
    async def play(stage: Stage) -> None:
        await stage.proxy(None)
        stage.node.send(NAME, message(stage.ear()))
        stage.node.send(NAME, AckUpTo("a", 1, 1))  # nobody waits for an answer
        await asyncio.sleep(0.1)
        (heard,) = stage.heard
        if hasattr(answer, "error"):
            assert isinstance(heard.error, Unavailable)
            assert heard[:2] == answer[:2]
        else:
            assert heard == answer

    on_a_node(play)


@pytest.mark.parametrize("request_", [
    Ask(None, None, "devices", ("a",)), Append(None, None, COMMAND), IssueCode("+49"), Greet(),
])  # fmt: skip
def test_without_an_owner_calls_are_refused(request_: Any) -> None:
    async def play(stage: Stage) -> None:
        await stage.proxy(None)
        with pytest.raises(Unavailable):
            await stage.node.call(NAME, request_)

    on_a_node(play)


def test_a_refusal_tells_a_client_to_come_again() -> None:
    code, text, retry_after_ms = refusal_of(Unavailable())
    assert (code, retry_after_ms) == (ErrorCode.UNAVAILABLE, RETRY_AFTER_MS)
    assert "try again" in text
