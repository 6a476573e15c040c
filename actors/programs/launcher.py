"""`SystemLauncher`: programs of the operating system, started and guarded by a helper process.

Why a helper process. Three promises are hard to keep for a Python program that forks by itself: a
program must die with it even when it is killed by -9, which leaves no time to clean up; so must
what the program has started; and to fork in a process with threads is unsafe as soon as anything
has to be done between fork and exec. `PR_SET_PDEATHSIG` must be set just there, is sent when the
*thread* ends that forked, and does not reach grandchildren; a wrapper for each program costs its
time and memory again and again. So one small helper (`child_setup.py`) forks for all programs of a
launcher, as Erlang's `erl_child_setup` does: it sees the end of its socket, however this process
ended, and kills the process groups.

The helper is started with the first program (some 40 ms, in its own time) and ends with the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from palaver.actors.programs.command import (
    Command,
    Drained,
    Ended,
    ExitStatus,
    LauncherLost,
    Output,
    OutputClosed,
    ProgramEvent,
    ProgramStartError,
    Refused,
    Released,
    Started,
)
from palaver.actors.programs.pipes import PipeReader, PipeWriter
from palaver.actors.programs.translation import (
    environment_of,
    folder_of,
    latin_text,
    start_error,
)

__all__ = ["SystemLauncher"]

HELPER: Final = Path(__file__).with_name("child_setup.py")
MAX_UNCONSUMED: Final = 8
"""How many `Output` events may wait: 64 KiB each at the most."""
DRAINED_BYTES: Final = 65536
"""`Drained` is told when no more than this waits to be written."""
REAP_S: Final = 0.002
"""How soon to look again whether the helper has ended; doubled up to fifty times that."""


@dataclass(slots=True)
class _Request:
    """Bytes on their way to the helper, with descriptors that go along with the first of them."""

    data: memoryview
    fds: tuple[int, ...]


class SystemLauncher:
    """Starts programs on this machine (Linux); a `ProgramLauncher` for one event loop at a time.

    Every `Program` has one of its own unless it is given one. To share a helper among many programs
    hand the same launcher to all of them; to keep it running between them, and to wait until
    everything is gone, use it as a context manager, around the node:

        async with SystemLauncher() as launcher, Node() as node:
            ...

    Args:
        python: The interpreter that runs the helper; this one's if None.
    """

    def __init__(self, *, python: str | None = None) -> None:
        self._python = python
        self._held = False
        self._helper: _Helper | None = None

    def start(self, command: Command, tell: Callable[[ProgramEvent], None]) -> SystemProgram:
        """Begin to start a program; raises `OSError`, or `RuntimeError` in another event loop."""
        helper = self._helper
        loop = asyncio.get_running_loop()
        if helper is None or helper.over or helper.loop.is_closed():
            helper = self._helper = _Helper(loop, self._python or sys.executable, self)
        elif helper.loop is not loop:
            raise RuntimeError("this launcher has programs running in another event loop")
        return helper.start(command, tell)

    @property
    def os_pid(self) -> int | None:
        """The helper process; None if there is none now."""
        helper = self._helper
        return None if helper is None or helper.over else helper.os_pid

    @property
    def held(self) -> bool:
        """Whether the helper is to stay although no program runs."""
        return self._held

    async def __aenter__(self) -> Self:
        self._held = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Kill every program that still runs, end the helper, and wait until all are gone."""
        self._held = False
        helper = self._helper
        if helper is not None:
            for program in list(helper.programs.values()):
                program.release()
            helper.close_if_unused()
            await helper.gone.wait()


class _Helper:
    """The helper process, and the programs it has."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, python: str, launcher: SystemLauncher
    ) -> None:
        self.loop = loop
        self.launcher = launcher
        self.programs: dict[int, SystemProgram] = {}
        self.over = False  # it takes no further program
        self.gone = asyncio.Event()
        self._number = 0
        self._requests: deque[_Request] = deque()
        self._heard = bytearray()
        self._released: list[SystemProgram] = []
        self._sock, theirs = socket.socketpair()
        try:
            self._sock.setblocking(False)
            with theirs, open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
                self.os_pid = os.posix_spawn(
                    python,
                    [python, "-I", "-S", str(HELPER)],
                    os.environ,
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                        (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1),
                    ],
                )
        except BaseException:
            self._sock.close()
            raise
        loop.add_reader(self._sock, self._hear)

    # -- to the helper ------------------------------------------------------------------------

    def start(self, command: Command, tell: Callable[[ProgramEvent], None]) -> SystemProgram:
        self._number += 1
        program = SystemProgram(self, self._number, command, tell)
        self.programs[self._number] = program
        message = {
            "id": self._number,
            "argv": [latin_text(os.fsencode(arg)) for arg in command.argv],
            "env": environment_of(command),
            "cwd": folder_of(command),
        }
        self.ask(message, program.their_ends)
        return program

    def ask(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        text = json.dumps(message).encode()
        data = len(text).to_bytes(4, "big") + text
        self._requests.append(_Request(memoryview(data), fds))
        if len(self._requests) == 1:
            self._say()

    def _say(self) -> None:
        """Send what can be sent now."""
        requests = self._requests
        try:
            while requests:
                request = requests[0]
                if request.fds:
                    sent = socket.send_fds(self._sock, [request.data], list(request.fds))
                    _close_all(request.fds)
                    request.fds = ()
                else:
                    sent = self._sock.send(request.data)
                request.data = request.data[sent:]
                if not request.data:
                    requests.popleft()
        except (BlockingIOError, InterruptedError):
            self.loop.add_writer(self._sock, self._say)
            return
        except OSError:
            return  # it has ended: `_hear` sees it as well
        self.loop.remove_writer(self._sock)

    # -- from the helper ----------------------------------------------------------------------

    def _hear(self) -> None:
        try:
            data = self._sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        heard = self._heard
        heard += data
        while len(heard) >= 4:
            end = 4 + int.from_bytes(heard[:4], "big")
            if len(heard) < end:
                break
            message = json.loads(heard[4:end])
            del heard[:end]
            program = self.programs.get(message["id"])
            if program is not None:
                self._tell(program, message)
        if not data:
            self._lost()

    def _tell(self, program: SystemProgram, message: dict[str, Any]) -> None:
        if "pid" in message:
            program.started(message["pid"])
        elif "failed" in message:
            program.refused(start_error(program.command, message["failed"], message["errno"]))
        else:
            code = message["status"]
            program.ended(ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code))

    # -- the end ------------------------------------------------------------------------------

    def forget(self, program: SystemProgram) -> None:
        """A program is gone and released."""
        if self.programs.pop(program.number, None) is not None:
            self._released.append(program)
            self.close_if_unused()

    def close_if_unused(self) -> None:
        """End the helper with the last program; else only tell who was released."""
        if not self.programs and not self.launcher.held and not self.over:
            self._close()
        if not self.over or self.gone.is_set():
            released, self._released = self._released, []
            for program in released:
                program.tell(Released())

    def _lost(self) -> None:
        """The helper has ended although nobody told it to; the programs die with it."""
        if not self.over:
            self._close()
            for program in list(self.programs.values()):
                program.lost()

    def _close(self) -> None:
        self.over = True
        self.loop.remove_reader(self._sock)
        self.loop.remove_writer(self._sock)
        self._sock.close()
        for request in self._requests:
            _close_all(request.fds)
        self._requests.clear()
        self._reap(REAP_S)

    def _reap(self, delay_s: float) -> None:
        """Wait for the helper, which has nothing more to do, without blocking."""
        try:
            pid, _ = os.waitpid(self.os_pid, os.WNOHANG)
        except ChildProcessError:  # the embedding program waits for all children itself
            pid = self.os_pid
        if pid == 0:
            self.loop.call_later(delay_s, self._reap, min(2 * delay_s, 50 * REAP_S))
            return
        self.gone.set()
        self.close_if_unused()


class SystemProgram:
    """A `RunningProgram` of the operating system."""

    __slots__ = (
        "_helper",
        "_open_readers",
        "_pid",
        "_readers",
        "_released",
        "_status_known",
        "_unconsumed",
        "_writer",
        "command",
        "number",
        "tell",
        "their_ends",
    )

    def __init__(
        self,
        helper: _Helper,
        number: int,
        command: Command,
        tell: Callable[[ProgramEvent], None],
    ) -> None:
        self._helper = helper
        self.number = number
        self.command = command
        self.tell = tell
        self._pid: int | None = None
        self._status_known = False
        self._released = False
        self._unconsumed = 0
        loop = helper.loop
        with contextlib.ExitStack() as undo:  # should there be no more descriptors
            stdin, to_stdin = _pipe(undo)
            from_stdout, stdout = _pipe(undo)
            ours = [(from_stdout, False)]
            if command.stderr in ("log", "deliver"):
                from_stderr, stderr = _pipe(undo)
                ours.append((from_stderr, True))
            elif command.stderr == "discard":
                stderr = os.open(os.devnull, os.O_WRONLY)
            else:
                stderr = os.dup(2 if command.stderr == "inherit" else stdout)
            self.their_ends = (stdin, stdout, stderr)
            undo.pop_all()
        self._writer = PipeWriter(loop, to_stdin, DRAINED_BYTES, lambda: self.tell(Drained()))
        self._open_readers = len(ours)
        self._readers = [self._reader(loop, fd, is_stderr) for fd, is_stderr in ours]

    def _reader(self, loop: asyncio.AbstractEventLoop, fd: int, is_stderr: bool) -> PipeReader:
        return PipeReader(loop, fd, lambda data: self._read(data, is_stderr), self._read_all)

    @property
    def buffered(self) -> int:
        """How many bytes wait to be written to its stdin."""
        return self._writer.buffered

    @property
    def stdin_open(self) -> bool:
        """Whether it can still be written to."""
        return self._writer.open

    def write(self, data: bytes) -> None:
        """Write to its stdin, as soon as it reads."""
        self._writer.write(data)

    def close_stdin(self) -> None:
        """Let it read the end of its input, after what waits to be written."""
        self._writer.close_soon()

    def consumed(self) -> None:
        """One `Output` has been dealt with."""
        self._unconsumed -= 1
        if self._unconsumed == MAX_UNCONSUMED - 1:
            for reader in self._readers:
                reader.resume()

    def signal(self, number: int) -> None:
        """Send a signal to its process group, if it has not ended."""
        if not self._status_known and not self._helper.over:
            self._helper.ask({"id": self.number, "signal": int(number)})

    def release(self) -> None:
        """Let go of it: kill its process group if it still runs, close what is open."""
        if not self._released:
            self._released = True
            self._close()
            self.signal(signal.SIGKILL)
            self._forget_if_over()

    # -- what the helper says -----------------------------------------------------------------

    def started(self, pid: int) -> None:
        """It runs."""
        self._pid = pid
        self.tell(Started(pid))

    def refused(self, error: ProgramStartError) -> None:
        """It does not run."""
        self._status_known = True
        self._close()
        self.tell(Refused(error))
        self._forget_if_over()

    def ended(self, status: ExitStatus | None) -> None:
        """It has ended."""
        self._status_known = True
        self._writer.close()
        self.tell(Ended(status))
        self._forget_if_over()

    def lost(self) -> None:
        """The helper has ended: the program was killed with it, and here follows its group."""
        if self._pid is None:
            text = "the helper process that starts programs has ended"
            self.refused(LauncherLost(self.command.name, text))
        elif not self._status_known:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
            self.ended(None)

    # -- within -------------------------------------------------------------------------------

    def _read(self, data: bytes, is_stderr: bool) -> None:
        self._unconsumed += 1
        if self._unconsumed >= MAX_UNCONSUMED:
            for reader in self._readers:
                reader.pause()
        self.tell(Output(data, is_stderr))

    def _read_all(self) -> None:
        self._open_readers -= 1
        if not self._open_readers:
            self.tell(OutputClosed())

    def _close(self) -> None:
        self._writer.close()
        for reader in self._readers:
            reader.close()

    def _forget_if_over(self) -> None:
        if self._released and self._status_known:
            self._helper.forget(self)


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    undo.callback(_close_all, ends)
    return ends


def _close_all(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
