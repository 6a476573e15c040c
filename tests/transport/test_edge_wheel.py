"""The wheel of deadlines and the deadlines of a connection, under a clock that a test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.transport import edge
from palaver.transport.edge.connection import Connection
from palaver.transport.edge.hub import Hub
from palaver.transport.edge.wheel import Wheel


class Loop:
    """As much of an event loop as the edge needs between two packets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, int, Callable[..., None], tuple[Any, ...], Any]] = []
        self.count = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, fn: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, fn, args, self)  # type: ignore[arg-type]
        self.count += 1
        self.calls.append((when, self.count, fn, args, handle))
        return handle

    def call_later(self, delay: float, fn: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, fn, *args)

    def call_soon(self, fn: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        return self.call_at(self.now, fn, *args)

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: object) -> None:
        pass

    def advance(self, until: float) -> None:
        while self.calls:
            self.calls.sort(key=lambda call: call[:2])
            when, _, fn, args, handle = self.calls[0]
            if when > until:
                break
            self.calls.pop(0)
            self.now = max(self.now, when)
            if not handle.cancelled():
                fn(*args)
        self.now = until


class Item:
    def __init__(self, loop: Loop) -> None:
        self.due_tick = 0
        self.loop = loop
        self.looked_at: list[float] = []

    def on_due(self) -> None:
        self.looked_at.append(self.loop.now)


@given(
    delays=st.lists(st.floats(0, 100), min_size=1, max_size=600),
    tick=st.sampled_from([0.1, 0.3, 1.0]),
)
@settings(deadline=None)
def test_items_are_looked_at_after_their_time_and_within_two_ticks(
    delays: list[float], tick: float
) -> None:
    loop = Loop()
    wheel = Wheel(loop, tick)  # type: ignore[arg-type]
    items = [Item(loop) for _ in delays]
    for item, delay in zip(items, delays, strict=True):
        wheel.schedule(item, loop.now + 500)
        wheel.sooner(item, 1000 + delay)
        wheel.sooner(item, 1000 + delay + 50)
    loop.advance(1200)
    for item, delay in zip(items, delays, strict=True):
        (when,) = item.looked_at
        assert 1000 + delay <= when <= 1000 + delay + 2.1 * tick
        assert item.due_tick == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("sc"), st.floats(0, 20))))
def test_only_the_last_word_about_an_item_counts(words: list[tuple[int, str, float]]) -> None:
    loop = Loop()
    wheel = Wheel(loop, 0.5)  # type: ignore[arg-type]
    items = [Item(loop) for _ in range(5)]
    due: dict[int, float] = {}
    for index, word, delay in words:
        if word == "s":
            wheel.schedule(items[index], loop.now + delay)
            due[index] = loop.now + delay
        else:
            wheel.cancel(items[index])
            due.pop(index, None)
    loop.advance(1100)
    assert {i for i, item in enumerate(items) if item.looked_at} == set(due)
    assert all(len(item.looked_at) < 2 for item in items)


class Transport:
    """A transport that takes everything at once."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def connection(kit: Any, **limits: Any) -> tuple[Loop, Any, Connection, Transport]:
    loop, owner, transport = Loop(), kit.Owner(), Transport()
    hub = Hub(loop, owner, edge.EdgeLimits(**limits), edge.EdgeStats())  # type: ignore[arg-type]
    conn = Connection(hub, transport, "here", "here:1")  # type: ignore[arg-type]
    conn.opened(b"")
    return loop, owner, conn, transport


def test_a_stream_of_messages_is_not_taken_for_one_half_message(kit: Any) -> None:
    loop, owner, conn, _ = connection(kit, half_message_timeout_s=10)
    message = kit.masked(2, bytes(1000))
    conn.data_received(message[:500])
    for n in range(50):  # There is always half a message, but never the same.
        loop.advance(loop.now + 3)
        conn.data_received(message[500:] + message[:500])
        assert len(owner.frames) == n + 1
    assert conn.is_open
    loop.advance(loop.now + 12)
    assert not conn.is_open


def test_a_peer_that_trickles_bytes_gains_no_time(kit: Any) -> None:
    loop, owner, conn, _ = connection(kit, half_message_timeout_s=10)
    for byte in kit.masked(2, bytes(100))[:30]:
        loop.advance(loop.now + 0.5)
        conn.data_received(bytes((byte,)))
    assert not conn.is_open
    assert owner.frames == []


def test_time_in_which_the_edge_did_not_read_is_not_the_peers(kit: Any) -> None:
    loop, owner, conn, transport = connection(kit, half_message_timeout_s=10)
    message = kit.masked(2, bytes(1000))
    conn.data_received(message[:500])
    conn.pause_reading()
    assert not transport.reading
    loop.advance(loop.now + 100)
    conn.resume_reading()
    loop.advance(loop.now + 8)
    conn.data_received(message[500:])
    assert conn.is_open
    assert owner.frames == [bytes(1000)]


def test_any_byte_is_a_sign_of_life(kit: Any) -> None:
    loop, _, conn, transport = connection(kit, ping_s=30, pong_timeout_s=10)
    for _ in range(20):
        loop.advance(loop.now + 20)
        conn.data_received(kit.masked(2, b"x"))
    assert transport.written == b""
    for _ in range(20):
        transport.written = b""
        while not transport.written:
            loop.advance(loop.now + 1)
        assert transport.written == b"\x89\x00"
        loop.advance(loop.now + 5)
        conn.data_received(kit.masked(10, b""))
    loop.advance(loop.now + 43)
    assert transport.aborted
