"""Who waits for room to write to a program, in order."""

from __future__ import annotations

from collections import deque

from palaver.actors.programs.command import RunningProgram
from palaver.actors.programs.messages import StdinClosed, TooManyWriters
from palaver.actors.runtime import From

__all__ = ["Writers"]


class Writers:
    """The writes of one program that wait: at most `max_writers`, for `max_buffered` bytes."""

    __slots__ = ("_max_buffered", "_max_writers", "_program", "_waiting", "bytes_written")

    def __init__(self, program: str, max_buffered: int, max_writers: int) -> None:
        self._program = program
        self._max_buffered = max_buffered
        self._max_writers = max_writers
        self._waiting: deque[tuple[From, bytes]] = deque()
        self.bytes_written = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, running: RunningProgram, from_: From, data: bytes) -> None:
        """Write now and answer, or wait for room; raises `StdinClosed` or `TooManyWriters`."""
        if not running.stdin_open:
            raise StdinClosed(f"the stdin of {self._program} is closed")
        if not self._waiting and self._has_room(running, data):
            self._write(running, from_, data)
            return
        if len(self._waiting) >= self._max_writers:
            self._waiting = deque(entry for entry in self._waiting if entry[0].open)
            if len(self._waiting) >= self._max_writers:
                text = f"{len(self._waiting)} writes to {self._program} wait for room"
                raise TooManyWriters(text)
        self._waiting.append((from_, data))

    def admit(self, running: RunningProgram) -> None:
        """Let those go on for whom there is room now."""
        waiting = self._waiting
        while waiting and running.stdin_open:
            from_, data = waiting[0]
            if from_.open:  # else its call has timed out
                if not self._has_room(running, data):
                    return
                self._write(running, from_, data)
            waiting.popleft()
        if not running.stdin_open:
            self.refuse()

    def refuse(self) -> None:
        """Nothing more is written: tell all who wait."""
        waiting, self._waiting = self._waiting, deque()
        for from_, _ in waiting:
            from_.fail(StdinClosed(f"the stdin of {self._program} is closed"))

    def _has_room(self, running: RunningProgram, data: bytes) -> bool:
        return not running.buffered or running.buffered + len(data) <= self._max_buffered

    def _write(self, running: RunningProgram, from_: From, data: bytes) -> None:
        self.bytes_written += len(data)
        running.write(data)
        from_.deliver(None)
