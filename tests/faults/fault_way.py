"""One direction of a connection through the fault proxy: bytes in, held, and out again.

A way never reorders, doubles or changes bytes: TCP does not. Once it has lost some (`swallowing`)
the connection cannot go on: it is reset as soon as bytes would pass again.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

End = Literal["cut", "reset", "half_close"]
"""How a connection ends: both sides closed in order, both reset, or only this way at its end."""

CHUNK_BYTES = 16 * 1024
HELD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a way treats what it carries; changed at any time, also while bytes wait.

    Attributes:
        delay_s: so long each chunk is held; order is kept.
        jitter_s: up to so much more, drawn for each chunk.
        rate_bytes_s: no more than this passes in a second; None: as fast as it goes.
        segment_bytes: no more than this is written at once; None: as it came.
        stalled: nothing is written; when `HELD_BYTES` wait, nothing is read any more either.
        swallowing: what is read is thrown away in silence.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    rate_bytes_s: float | None = None
    segment_bytes: int | None = None
    stalled: bool = False
    swallowing: bool = False


class Way:
    """From one socket to another, under `Conditions`."""

    __slots__ = (
        "_chance", "_due", "_end", "_ending", "_finished", "_held", "_held_bytes", "_left", "_sink",
        "_source", "_wake", "conditions", "passed_bytes", "swallowed_bytes",
    )  # fmt: skip

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        conditions: Conditions,
        chance: random.Random,
        ending: Callable[[End], None],
    ) -> None:
        self.conditions = conditions
        self.passed_bytes = 0
        self.swallowed_bytes = 0
        self._source = source
        self._sink = sink
        self._chance = chance
        self._ending = ending
        self._held: deque[tuple[float, bytes]] = deque()  # b"" is the end
        self._held_bytes = 0
        self._due = 0.0
        self._wake = asyncio.Event()
        self._left: int | None = None
        self._end: End = "cut"
        self._finished = False

    # What the tester calls.

    def change(self, conditions: Conditions) -> None:
        """Treat what comes, and what is held, in another way from now on."""
        if not conditions.delay_s:
            self._due = 0.0
        self.conditions = conditions
        self._wake.set()

    def end_after(self, count: int, end: End) -> None:
        """End the connection behind exactly `count` further bytes of this way."""
        self._left, self._end = count, end
        self._wake.set()

    def close(self) -> None:
        """Give the reader its end of file, behind what is held; what comes later is lost."""
        if not self._finished:
            self._finished = True
            self._held.append((0.0, b""))
            self._wake.set()

    @property
    def held_bytes(self) -> int:
        """How many bytes wait in here."""
        return self._held_bytes

    async def arrived(self, count: int) -> None:
        """Wait until so many bytes have come in here, in all."""
        while self.passed_bytes + self._held_bytes + self.swallowed_bytes < count:
            await self._woken()

    # The two halves; a connection runs both.

    async def take(self) -> None:
        """Read until the end; an `OSError` is the writer's side having failed."""
        loop = asyncio.get_running_loop()
        while True:
            while self._held_bytes >= HELD_BYTES:
                await self._woken()
            data = await loop.sock_recv(self._source, CHUNK_BYTES)
            if not data:
                self.close()
                return
            if self._finished or self.conditions.swallowing:
                self.swallowed_bytes += len(data)
            elif self.swallowed_bytes:
                self._ending("reset")  # There is a hole in the stream.
            else:
                self._hold(loop.time(), data)

    def _hold(self, now_s: float, data: bytes) -> None:
        conditions = self.conditions
        if conditions.delay_s or conditions.jitter_s:
            delay_s = conditions.delay_s + self._chance.random() * conditions.jitter_s
            self._due = max(self._due, now_s + delay_s)
        self._held.append((self._due, data))
        self._held_bytes += len(data)
        self._wake.set()

    async def give(self) -> None:
        """Write what was read, when its time has come, until the end."""
        while True:
            if self._left == 0:
                self._end_here()
                return
            data = await self._next()
            if not data:
                self._sink.shutdown(socket.SHUT_WR)
                return
            await self._write(data)

    def _end_here(self) -> None:
        """As `end_after` said; what is held is lost."""
        self._finished = True
        self._held.clear()
        self._held_bytes = 0
        self._wake.set()
        if self._end == "half_close":
            self._sink.shutdown(socket.SHUT_WR)
        self._ending(self._end)

    async def _next(self) -> bytes:
        """What is to be written next: as much as the conditions of this moment allow."""
        while True:
            wait_s = self._wait_s()
            if wait_s == 0.0:
                break
            await self._woken(wait_s)
        _, data = self._held[0]
        if not data:
            return data
        limits = (self.conditions.segment_bytes, self._left)
        size = min(len(data), *(limit for limit in limits if limit is not None), CHUNK_BYTES)
        piece, rest = data[:size], data[size:]
        if rest:
            self._held[0] = (self._held[0][0], rest)
        else:
            self._held.popleft()
        return piece

    def _wait_s(self) -> float | None:
        """How long to wait before the next write; None: until something changes."""
        if not self._held or self.conditions.stalled or self._left == 0:
            return None
        if not self.conditions.delay_s and not self.conditions.jitter_s:
            return 0.0
        return max(0.0, self._held[0][0] - asyncio.get_running_loop().time())

    async def _write(self, piece: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sink, piece)
        self.passed_bytes += len(piece)
        self._held_bytes = max(0, self._held_bytes - len(piece))
        self._wake.set()
        if self._left is not None:
            self._left = max(0, self._left - len(piece))
        rate = self.conditions.rate_bytes_s
        if rate is not None:
            await self._woken_by_change(len(piece) / rate)

    async def _woken(self, within_s: float | None = None) -> None:
        """Return when something changed, or after so many seconds."""
        self._wake.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _woken_by_change(self, within_s: float) -> None:
        """Return after so many seconds, or when the way has other conditions."""
        loop = asyncio.get_running_loop()
        before, until = self.conditions, loop.time() + within_s
        while self.conditions is before and (left_s := until - loop.time()) > 0:
            await self._woken(left_s)
