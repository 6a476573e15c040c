"""A gateway that is drained: who is told to go when, and who is taken afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.chat.context import Acceptor, SessionLimits
from palaver.actors.chat.gateway import Gateway
from palaver.actors.chat.messages import Close, Drain, Welcome
from palaver.actors.chat.names import Places, gateway_name, sessions_name
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import NORMAL, GenServer, Node, Stop
from palaver.actors.simulation import Host, World
from palaver.supervisors import DynamicSupervisor
from palaver.transport.wire import CloseCode


class Line:
    """A connection, as far as a gateway and an acceptor have to do with one."""

    def __init__(self, told: list[tuple[float, int | None]]) -> None:
        self.told = told
        self.closed: list[int] = []
        self.attachment = None

    def close(self, code: int, reason: str) -> None:
        self.closed.append(code)

    def set_deadline(self, seconds: float) -> None:
        pass


class Session(GenServer):
    """Notes when it is told to close, and ends."""

    def init(self, line: Line, *_: Any) -> None:
        self.line = line

    def handle_info(self, message: Any) -> Any:
        assert isinstance(message, Close)
        self.line.told.append((self.clock.monotonic(), message.reconnect_after_ms))
        return Stop(NORMAL)


class Stage:
    """One gateway with some sessions."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.told: list[tuple[float, int | None]] = []
        self.lines: list[Line] = []
        self.acceptor = Acceptor(node, 1, SessionLimits())

    async def begin(self, count: int) -> None:
        await self.node.start_server(DynamicSupervisor, name=sessions_name(0))
        context = SimpleNamespace(places=Places(1))
        await self.node.start_server(
            Gateway, 0, Session, context, ChatStats(), self.acceptor.hang_up, name=gateway_name(0)
        )
        for _ in range(count):
            self.opens()
        await asyncio.sleep(0.01)

    def opens(self) -> Line:
        line = Line(self.told)
        self.lines.append(line)
        self.acceptor.on_open(line)  # type: ignore[arg-type]
        return line

    async def drain(self, spread_ms: int, *, paced: bool) -> float:
        """Drain it; when it began."""
        began_s = self.node.clock.monotonic()
        await self.node.call(gateway_name(0), Drain(200, spread_ms, paced), timeout_s=None)
        return began_s


def on_a_node(play: Callable[[Stage], Awaitable[None]]) -> None:
    async def boot(host: Host) -> None:
        await play(Stage(await host.node()))

    with World() as world:
        world.run(world.host("a", boot).start())


@settings(max_examples=10)
@given(st.integers(0, 120), st.integers(20, 5_000), st.integers(1, 1_000))
def test_clients_are_sent_away_one_after_the_other(
    count: int, spread_ms: int, window_ms: int
) -> None:
    async def play(stage: Stage) -> None:
        await stage.begin(count)
        began_s = await stage.drain(spread_ms, paced=True)
        times_ms = [(at_s - began_s) * 1000 for at_s, _ in stage.told]
        assert len(times_ms) == count
        # What docs/operations.md promises: within any time, its part of the spread, and what is
        # told in one step of 20 ms.
        step = ceil(count * 20 / spread_ms) + 1
        for first in times_ms:
            within = sum(first <= each < first + window_ms for each in times_ms)
            assert within <= step * ceil((window_ms + 20) / max(20, spread_ms / max(1, count)))
        assert not times_ms or times_ms[-1] <= spread_ms + 20
        assert all(200 <= (ms or 0) <= 200 + spread_ms for _, ms in stage.told)

    on_a_node(play)


def test_those_of_a_node_that_stands_alone_are_told_at_once() -> None:
    async def play(stage: Stage) -> None:
        await stage.begin(50)
        began_s = await stage.drain(5_000, paced=False)
        assert {at_s - began_s < 0.01 for at_s, _ in stage.told} == {True}
        assert max(ms or 0 for _, ms in stage.told) > 2_000

    on_a_node(play)


@pytest.mark.parametrize("paced", [True, False])
def test_a_drained_gateway_takes_clients_again_when_it_is_told(paced: bool) -> None:
    async def play(stage: Stage) -> None:
        await stage.begin(3)
        await stage.drain(100, paced=paced)
        late = stage.opens()
        await asyncio.sleep(0.1)
        assert late.closed == [CloseCode.GOING_AWAY]
        stage.node.send(gateway_name(0), Welcome())
        taken = stage.opens()
        await asyncio.sleep(0.1)
        assert not taken.closed
        assert len(stage.told) == 3

    on_a_node(play)


def test_a_drain_that_is_called_off_sends_nobody_more_away() -> None:
    async def play(stage: Stage) -> None:
        await stage.begin(100)
        draining = asyncio.ensure_future(stage.drain(10_000, paced=True))
        await asyncio.sleep(2.0)
        stage.node.send(gateway_name(0), Welcome())
        await draining
        told = len(stage.told)
        assert 0 < told < 40
        await asyncio.sleep(20.0)
        assert len(stage.told) == told

    on_a_node(play)


def test_an_acceptor_turns_away_whatever_becomes_of_the_gateway() -> None:
    async def play(stage: Stage) -> None:
        stage.acceptor.turning_away = True
        line = stage.opens()
        assert line.closed == [CloseCode.GOING_AWAY]
        stage.acceptor.turning_away = False
        await stage.begin(0)
        assert not stage.opens().closed
        stage.acceptor.hang_up_all()
        assert stage.lines[-1].closed == [CloseCode.GOING_AWAY]

    on_a_node(play)
