"""`Program`: a process that starts a program of the operating system and owns it; OTP's port.

    pid = await self.start_link(Program, Command(("sort",)), owner=self.pid)
    await self.call(pid, Write(b"pear"))
    self.cast(pid, CloseStdin())
    # ... handle_info: Data(pid, b"pear"), then ProgramExited(pid, ExitStatus(code=0))

The specification:

* It starts when the program runs; else `StartError` says why in its `reason`: `ProgramNotFound`,
  `ProgramNotPermitted`, `ProgramStartError`.
* Each frame of stdout is a `Data` message to the owner. At most `window` of them are on their way:
  the owner acknowledges with `Ack`. Until it does, no more is read, so the program waits. (With
  `window=None` only a `MailboxLimit` of the owner holds it up; a frame that this refuses is tried
  again.)
* A `Write` is answered once there is room: at most `max_buffered` bytes wait for the program (or
  one larger frame), then the callers wait; at most `max_writers` of them, others get
  `TooManyWriters`.
* When the program ends, what is left of its process group is killed. When all that it wrote is
  delivered, the owner gets `ProgramExited`, and the process exits: `normal` after exit code 0, else
  with the `ExitStatus` as the reason.
* Stopped (by its supervisor, by `Close`, because it got a bad frame, or because its owner has
  exited), it closes stdin and waits `close_s`, sends SIGTERM to the program's process group and
  waits `term_s`, sends SIGKILL and waits `kill_s`; what is written meanwhile is dropped.
* However this process ends, the program's process group is killed; so it is when the node stops
  and when the Python process ends, by kill -9 too. Only a program that leaves its session (a
  daemon) escapes.

It differs from OTP's ports: they have no flow control from the owner's side, do not kill a program
(they close its stdin), and are no processes.
"""

from __future__ import annotations

import signal
from collections import deque
from typing import Any, Final

import structlog

from palaver.actors.programs.command import (
    Command,
    Drained,
    Ended,
    ExitStatus,
    LauncherLost,
    Output,
    OutputClosed,
    ProgramLauncher,
    ProgramStartTimeout,
    Refused,
    Released,
    RunningProgram,
    Started,
    StopSteps,
)
from palaver.actors.programs.framing import BadFrame, Framing, Lines
from palaver.actors.programs.guard import Running, guard
from palaver.actors.programs.launcher import SystemLauncher
from palaver.actors.programs.messages import (
    Ack,
    Close,
    CloseStdin,
    Data,
    GetInfo,
    OwnerDown,
    ProgramExited,
    ProgramInfo,
    Signal,
    Stderr,
    StdinClosed,
    TooManyWriters,
    Write,
)
from palaver.actors.programs.notes import Consumed, Linger, Retry
from palaver.actors.programs.writers import Writers
from palaver.actors.runtime import (
    NOREPLY,
    NORMAL,
    BadReturn,
    Dest,
    Down,
    Exit,
    From,
    GenServer,
    MailboxFull,
    ReceiveTimeout,
    Shutdown,
    Stop,
)

__all__ = ["Program"]

log = structlog.get_logger("palaver.actors.programs")

RETRY_S: Final = 0.02
LINGER_S: Final = 0.5
RELEASE_S: Final = 1.0
STDERR_LINE: Final = 4096


class Program(GenServer):
    """A program of the operating system, as a process. See the text of this module."""

    __slots__ = (
        "_bytes_read",
        "_closing",
        "_command",
        "_decoder",
        "_eof",
        "_err_decoder",
        "_framing",
        "_guard",
        "_heard",
        "_os_pid",
        "_owner",
        "_owner_ref",
        "_pending",
        "_released",
        "_retrying",
        "_running",
        "_status",
        "_steps",
        "_unacked",
        "_window",
        "_writers",
    )

    async def init(
        self,
        command: Command,
        *,
        owner: Dest | None = None,
        framing: Framing | None = None,
        window: int | None = 64,
        max_buffered: int = 1 << 20,
        max_writers: int = 256,
        stop: StopSteps | None = None,
        start_timeout_s: float = 10.0,
        launcher: ProgramLauncher | None = None,
    ) -> Any:
        """Start the program and wait until it runs.

        Args:
            command: What to run.
            owner: Who gets its output: a pid or a registered name; if None, the process that
                started this one.
            framing: How its stdin and stdout are cut into frames; `Lines()` if None.
            window: How many frames may wait for the owner's `Ack`; None: any number.
            max_buffered: How many bytes may wait for the program to read them.
            max_writers: How many `Write` calls may wait for room.
            stop: The time for each step of stopping.
            start_timeout_s: How long the operating system may take to start it.
            launcher: Who starts it; a `SystemLauncher` of its own if None.

        Give this process no `MailboxLimit`: what it hears of the program cannot wait, and it is
        killed if something is refused.
        """
        if window is not None and window < 1:
            raise ValueError("a window holds at least one frame")
        owner = self.parent if owner is None else owner
        if owner is None:
            raise ValueError("a program that no process starts needs an owner")
        self.trap_exit = True
        self._command = command
        self._framing = framing or Lines()
        self._decoder = self._framing.decoder()
        self._err_decoder = Lines(STDERR_LINE).decoder()
        self._owner: Dest = owner
        self._window = window
        self._steps = stop or StopSteps()
        self._pending: deque[Data | Stderr | Consumed] = deque()
        self._writers = Writers(command.name, max_buffered, max_writers)
        self._unacked = self._heard = self._bytes_read = 0
        self._eof = self._released = self._retrying = False
        self._status: list[ExitStatus | None] = []
        self._closing: From | None = None
        self._running: RunningProgram | None = None
        self._owner_ref = self.monitor(self._owner)
        self._guard = self.monitor(
            self.spawn(guard, self.pid, launcher or SystemLauncher(), command)
        )
        return await self._wait_until_started(start_timeout_s)

    async def _wait_until_started(self, timeout_s: float) -> Stop | None:
        deadline_s = self.clock.monotonic() + timeout_s
        is_started = False
        while not is_started or self._running is None:
            left_s = max(0.0, deadline_s - self.clock.monotonic())
            try:
                event = await self.receive(self._concerns_start, left_s)
            except ReceiveTimeout:
                text = f"not within {timeout_s:g} s"
                return Stop(ProgramStartTimeout(self._command.name, text))
            if type(event) is Running:
                self._running = event.running
            elif type(event) is Started:
                self._os_pid = event.os_pid
                is_started = True
            else:
                return Stop(event.error if type(event) is Refused else event.reason)
        return None

    def _concerns_start(self, message: Any) -> bool:
        kind = type(message)
        if kind is Down:
            return message.ref is self._guard
        return kind is Running or kind is Started or kind is Refused

    # -- requests -----------------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `Write`, `Close` and `GetInfo`."""
        kind = type(request)
        if kind is Write:
            return self._write(request.frame, from_)
        if kind is GetInfo:
            return self._info()
        if kind is Close:
            self._closing = from_
            return Stop(NORMAL)
        self.reply_error(from_, TypeError(f"a program does not understand {request!r}"))
        return NOREPLY

    def handle_cast(self, message: Any) -> Any:
        """Do what `Ack`, `CloseStdin` and `Signal` say."""
        running = self._alive()
        kind = type(message)
        if kind is Ack:
            self._unacked = max(0, self._unacked - message.count)
            return self._deliver()
        if kind is CloseStdin:
            self._writers.admit(self._alive())
            self._writers.refuse()
            running.close_stdin()
        elif kind is Signal:
            running.signal(message.number)
        else:
            raise BadReturn(f"a program does not understand {message!r}")
        return None

    def _alive(self) -> RunningProgram:
        running = self._running
        assert running is not None
        return running

    def _info(self) -> ProgramInfo:
        return ProgramInfo(
            os_pid=self._os_pid,
            buffered=self._alive().buffered,
            writers=len(self._writers),
            unacked=self._unacked,
            waiting=sum(type(item) is not Consumed for item in self._pending),
            bytes_read=self._bytes_read,
            bytes_written=self._writers.bytes_written,
        )

    # -- what the program writes, and its end -------------------------------------------------

    def handle_info(self, message: Any) -> Any:
        """Handle what is told of the program, and of its owner."""
        kind = type(message)
        if kind is Output:
            return self._output(message)
        if kind is Drained:
            self._writers.admit(self._alive())
        elif kind is OutputClosed:
            return self._output_closed()
        elif kind is Ended:
            self._status.append(message.status)
            self._writers.refuse()
            self._linger()
            return self._deliver()
        elif kind is Released:  # its guard was killed
            self._released = True
            return None if self._eof else self._output_closed()
        elif kind is Retry:
            self._retrying = False
            return self._deliver()
        elif kind is Linger:
            return self._lingered(message)
        elif kind is Down and message.ref is self._owner_ref:
            return Stop(Shutdown(OwnerDown(message.reason)))
        elif kind is Exit and message.reason is not NORMAL:
            return Stop(message.reason)  # as a port, it goes with whom it is linked to
        return None

    def _output(self, output: Output) -> Any:
        self._heard += 1
        self._bytes_read += len(output.data)
        if output.is_stderr:
            self._stderr(self._err_decoder.feed(output.data))
        else:
            try:
                pieces = self._decoder.feed(output.data)
            except BadFrame as error:
                return Stop(error)
            self._pending.extend(Data(self.pid, *piece) for piece in pieces)
        self._pending.append(Consumed())
        return self._deliver()

    def _output_closed(self) -> Any:
        self._eof = True
        self._pending.extend(Data(self.pid, *piece) for piece in self._decoder.finish())
        self._stderr(self._err_decoder.finish())
        return self._deliver()

    def _stderr(self, lines: list[tuple[bytes, bool]]) -> None:
        if self._command.stderr == "deliver":
            self._pending.extend(Stderr(self.pid, line, whole) for line, whole in lines)
            return
        for line, _ in lines:
            log.warning(
                "program says on stderr",
                program=self._command.name,
                pid=str(self.pid),
                os_pid=self._os_pid,
                line=line.decode(errors="replace"),
            )

    def _deliver(self) -> Stop | None:
        """Send the owner what it may have; the end, when that was the last."""
        pending = self._pending
        while pending:
            item = pending[0]
            if type(item) is Consumed:
                self._alive().consumed()
            elif self._window is not None and self._unacked >= self._window:
                return None
            else:
                try:
                    self.send(self._owner, item)
                except MailboxFull:
                    if not self._retrying:
                        self._retrying = True
                        self.send_after(RETRY_S, self.pid, Retry())
                    return None
                self._unacked += 1
            pending.popleft()
        if self._status and self._eof:
            return Stop(self._end_reason(self._status[0]))
        return None

    def _end_reason(self, status: ExitStatus | None) -> object:
        if status is None:
            return LauncherLost(self._command.name, "it was killed with the process that began it")
        return NORMAL if status.ok else status

    def _linger(self) -> None:
        """Wait for the end of the output as long as something comes, but not for ever."""
        self.send_after(LINGER_S, self.pid, Linger(self._heard))

    def _lingered(self, note: Linger) -> Any:
        if self._eof:
            return None
        if self._pending or note.heard != self._heard:  # it is the owner who does not keep up
            self._linger()
            return None
        return self._output_closed()

    # -- what is written to the program -------------------------------------------------------

    def _write(self, frame: bytes, from_: From) -> Any:
        running = self._alive()
        try:
            data = self._framing.encode(frame)
            self._writers.add(running, from_, data)
        except (BadFrame, StdinClosed, TooManyWriters) as error:
            self.reply_error(from_, error)
        return NOREPLY

    # -- the end ------------------------------------------------------------------------------

    async def terminate(self, reason: Any) -> None:
        """Stop the program, step by step, and tell what became of it."""
        running = self._alive()
        steps = self._steps
        running.close_stdin()
        self._drop_output()
        if not await self._ends_within(steps.close_s):
            running.signal(signal.SIGTERM)
            if not await self._ends_within(steps.term_s):
                running.signal(signal.SIGKILL)
                if not await self._ends_within(steps.kill_s):
                    log.error(
                        "program does not end although it was killed",
                        program=self._command.name,
                        os_pid=self._os_pid,
                    )
        running.release()
        if self._status and not self._released:
            await self._hears(Released, RELEASE_S)
        status = self._status[0] if self._status else None
        try:
            self.send(self._owner, ProgramExited(self.pid, status))
        except MailboxFull:
            log.debug("the owner has no room for the end of a program", pid=str(self.pid))
        if self._closing is not None:
            self.reply(self._closing, status)

    def _drop_output(self) -> None:
        for item in self._pending:
            if type(item) is Consumed:
                self._alive().consumed()
        self._pending.clear()

    async def _ends_within(self, seconds: float) -> bool:
        return bool(self._status) or await self._hears(Ended, seconds)

    async def _hears(self, kind: type, seconds: float) -> bool:
        """Wait for an event; whether it came. Output that comes meanwhile is dropped."""
        deadline_s = self.clock.monotonic() + seconds
        while True:
            left_s = max(0.0, deadline_s - self.clock.monotonic())
            try:
                event = await self.receive(lambda m: type(m) in (Output, Ended, Released), left_s)
            except ReceiveTimeout:
                return False
            if type(event) is Output:
                self._alive().consumed()
            elif type(event) is Ended:
                self._status.append(event.status)
            if type(event) is kind:
                return True

    def format_status(self) -> Any:
        """The command's name, and how much waits; arguments and environment may hold secrets."""
        return {
            "program": self._command.name,
            "os_pid": getattr(self, "_os_pid", None),
            "pending": len(self._pending),
            "writers": len(self._writers),
        }
