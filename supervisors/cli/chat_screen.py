"""Screens of a chat: plain lines for a pipe or a dumb terminal.

A screen shows a `Room` and gives the lines that the person enters; the window for a full terminal
is in `chat_window`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Protocol, TextIO

from palaver.supervisors.cli.chat_model import Entry, Room, Tick

_MAX_LINE_BYTES = 64 * 1024
_MAX_WAITING_LINES = 64


class Screen(Protocol):
    """What a chat draws on."""

    def show(self, room: Room) -> None:
        """Show this room from now on."""

    def added(self, entry: Entry) -> None:
        """An entry was added to the room that is shown."""

    def changed(self, entry: Entry) -> None:
        """The tick or the progress of a shown entry changed."""

    def status(self) -> None:
        """What the other side does changed."""

    def lines(self) -> AsyncIterator[str]:
        """The lines that the person enters, until the end of the input."""

    def on_typing(self, told: Callable[[bool], None]) -> None:
        """Call `told` when the person begins to type, and when they stop."""


def clock(ms: int) -> str:
    """A time as hours and minutes; with its date where it is not today's."""
    when = datetime.fromtimestamp(ms / 1000, tz=UTC).astimezone()
    today = datetime.now(tz=UTC).astimezone().date()
    return when.strftime("%H:%M" if when.date() == today else "%Y-%m-%d %H:%M")


class LineInput:
    """The lines of a descriptor, read by a thread: it may be a file, a pipe or a pty.

    At most 64 lines wait; a line longer than 64 KiB is cut into several. Make it and read from it
    within one event loop.
    """

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(_MAX_WAITING_LINES)
        self._ended = False
        threading.Thread(target=self._read, name="palaver-chat-input", daemon=True).start()

    async def next(self) -> str | None:
        """The next line without its end, or None at the end of the input."""
        if self._ended:
            return None
        line = await self._lines.get()
        self._ended = line is None
        return line

    def _read(self) -> None:
        # os.read and not sys.stdin: a buffered read that is still waiting when the program ends
        # would hold a lock that the interpreter wants.
        rest = b""
        while True:
            try:
                piece = os.read(self._fd, 4096)
            except OSError:  # a pty's other side has gone
                piece = b""
            *whole, rest = (rest + piece).split(b"\n")
            if rest and (not piece or len(rest) > _MAX_LINE_BYTES):
                whole, rest = [*whole, rest], b""
            for line in whole:
                if not self._put(line.decode("utf-8", "replace").rstrip("\r")):
                    return
            if not piece:
                self._put(None)
                return

    def _put(self, line: str | None) -> bool:
        work = self._lines.put(line)
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except RuntimeError:  # the loop has gone: nobody wants lines any more
            work.close()
            return False
        return True


class LineScreen:
    """One line for each thing that happens; ticks say which message they are about.

    The format is stable, for programs: `[12:03] +4917...: text` is a message, a line that begins
    with `*` is a note, `✓`, `✓✓` or `✗` begins a tick and names the message's number.
    """

    def __init__(self, lines: LineInput, out: TextIO | None = None) -> None:
        self._input = lines
        self._out = out or sys.stdout
        self._room: Room | None = None
        self._status = ""
        self._quarters: dict[int, int] = {}

    def show(self, room: Room) -> None:
        """Say whom the lines are for, and what was said before."""
        self._room = room
        self._status = ""
        self._write(f"* {room.peer}")
        for entry in room.entries:
            self.added(entry)
        self.status()

    def added(self, entry: Entry) -> None:
        """Write the entry."""
        if entry.is_note:
            self._write(f"* {entry.text}")
            return
        text = entry.text.replace("\n", "\n    ")
        mark = f" {entry.tick.mark}" if entry.tick is not None and entry.seq is not None else ""
        who = "me" if entry.mine else entry.who
        number = f" #{entry.seq}" if entry.seq is not None else ""
        self._write(f"[{clock(entry.when_ms)}]{number} {who}: {text}{mark}")

    def changed(self, entry: Entry) -> None:
        """Write the new tick, or each quarter of a transfer."""
        if entry.progress is not None:
            quarter = int(entry.progress * 4)
            if quarter > self._quarters.get(id(entry), 0):
                self._quarters[id(entry)] = quarter
                self._write(f"* {entry.file_name} {quarter * 25}%")
        elif entry.tick is Tick.FAILED:
            self._write(f"{entry.tick.mark} not sent: {entry.text[:60]}")
        elif entry.tick is not None and entry.seq is not None:
            self._write(f"{entry.tick.mark} #{entry.seq} {entry.tick.word}")

    def status(self) -> None:
        """Write what the other side does, when it is something new."""
        room = self._room
        if room is None:
            return
        seen = clock(room.last_seen_ms) if room.last_seen_ms is not None else None
        status = room.status(seen)
        if status and status != self._status:
            self._write(f"* {room.peer} {status}")
        self._status = status

    def on_typing(self, told: Callable[[bool], None]) -> None:
        """Lines arrive whole: nobody is seen typing them."""

    async def lines(self) -> AsyncIterator[str]:
        """The lines of the input."""
        while (line := await self._input.next()) is not None:
            yield line

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()
