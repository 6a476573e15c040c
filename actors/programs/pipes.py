"""The ends of a program's pipes in this process, on the event loop, without a task for each."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["PipeReader", "PipeWriter"]

CHUNK: Final = 65536
"""The most that is read or written at once, in bytes: what a pipe of Linux holds."""


class PipeReader:
    """Reads a pipe, unless it is paused, and tells what came and when it is over."""

    __slots__ = ("_closed", "_fd", "_got", "_loop", "_paused")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        got: Callable[[bytes], None],
        closed: Callable[[], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._got = got
        self._closed = closed
        self._paused = True
        self.resume()

    def pause(self) -> None:
        """Read no more."""
        if not self._paused and self._fd >= 0:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read again."""
        if self._paused and self._fd >= 0:
            self._paused = False
            self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        """Close this end, and tell nothing more."""
        if self._fd >= 0:
            self.pause()
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        if self._paused:
            return  # paused after the loop had seen that there is something
        try:
            data = os.read(self._fd, CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # a terminal says EIO when its other side has closed
            data = b""
        if data:
            self._got(data)
        else:
            self.close()
            self._closed()


class PipeWriter:
    """Writes to a pipe what the program takes, and keeps the rest until it does."""

    __slots__ = ("_chunks", "_closing", "_drained", "_fd", "_loop", "_low", "_waiting", "buffered")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        low: int,
        drained: Callable[[], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._low = low
        self._drained = drained
        self._chunks: deque[memoryview] = deque()
        self._waiting = False
        self._closing = False
        self.buffered = 0

    @property
    def open(self) -> bool:
        """Whether more can be written."""
        return self._fd >= 0 and not self._closing

    def write(self, data: bytes) -> None:
        """Write now what can be, the rest later."""
        if self.open and data:
            self._chunks.append(memoryview(data))
            self.buffered += len(data)
            if not self._waiting:
                self._write()

    def close_soon(self) -> None:
        """Close this end when all is written."""
        self._closing = True
        if not self._chunks:
            self.close()

    def close(self) -> None:
        """Close this end now; what waits to be written is lost."""
        if self._fd >= 0:
            self._wait(waiting=False)
            os.close(self._fd)
            self._fd = -1
            self._chunks.clear()
            self.buffered = 0

    def _wait(self, *, waiting: bool) -> None:
        if waiting != self._waiting:
            self._waiting = waiting
            if waiting:
                self._loop.add_writer(self._fd, self._write)
            else:
                self._loop.remove_writer(self._fd)

    def _write(self) -> None:
        before, waited = self.buffered, self._waiting
        try:
            while self._chunks:
                chunk = self._chunks[0]
                sent = os.write(self._fd, chunk[:CHUNK])
                self.buffered -= sent
                if sent < len(chunk):
                    self._chunks[0] = chunk[sent:]
                else:
                    self._chunks.popleft()
        except (BlockingIOError, InterruptedError):
            self._wait(waiting=True)
        except OSError:  # nobody reads any more
            self.close()
            self._drained()
            return
        else:
            self._wait(waiting=False)
            if self._closing:
                self.close()
        if waited and (before > self._low >= self.buffered or not self.buffered):
            self._drained()
