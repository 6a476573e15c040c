"""What a `Program` tells its owner, and what it may be asked."""

from __future__ import annotations

from dataclasses import dataclass

from palaver.actors.programs.command import ExitStatus
from palaver.actors.runtime import Pid, RuntimeFault

__all__ = [
    "Ack",
    "Close",
    "CloseStdin",
    "Data",
    "GetInfo",
    "OwnerDown",
    "ProgramExited",
    "ProgramInfo",
    "Signal",
    "Stderr",
    "StdinClosed",
    "TooManyWriters",
    "Write",
]


# -- to the owner ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Data:
    """A frame of a program's stdout; `whole` is False for a part of a line (OTP: `noeol`).

    The owner answers with `cast(program, Ack())` when it has dealt with it.
    """

    program: Pid
    frame: bytes
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Stderr:
    """A line of a program's stderr, with `stderr="deliver"`; to be acknowledged like `Data`."""

    program: Pid
    line: bytes
    whole: bool = True


@dataclass(frozen=True, slots=True)
class ProgramExited:
    """The program has ended, and this is the last that its process says of it.

    `status` is None if its end was not seen: it did not end in time although it was killed, or the
    helper process that would know was lost.
    """

    program: Pid
    status: ExitStatus | None


# -- requests, by `call` ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """Write a frame to stdin; answered with None once there is room for it.

    Fails with `StdinClosed`, `TooManyWriters` or `BadFrame`. If the call times out before there was
    room, nothing of the frame is written.
    """

    frame: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Stop the program, step by step; answered with its `ExitStatus` (None if not seen).

    Its process exits `normal`. Give the call the time that the steps may take.
    """


@dataclass(frozen=True, slots=True)
class GetInfo:
    """Answered with `ProgramInfo`."""


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A program, at one moment."""

    os_pid: int
    buffered: int
    """Bytes that wait to be written to its stdin."""
    writers: int
    """Calls of `Write` that wait for room."""
    unacked: int
    """Frames that the owner has not acknowledged."""
    waiting: int
    """Frames that wait for the owner's acknowledgements."""
    bytes_read: int
    bytes_written: int


# -- by `cast` -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ack:
    """The owner has dealt with `count` frames and takes as many more."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class CloseStdin:
    """Let the program read the end of its input, after all that was written."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal (as `signal.SIGHUP`) to the program's process group."""

    number: int


# -- failures and reasons --------------------------------------------------------------------------


class StdinClosed(RuntimeFault):
    """The program's stdin is closed, by `CloseStdin` or by the program: nothing can be written."""


class TooManyWriters(RuntimeFault):
    """As many writes wait for room as may; the program does not read as fast as is written."""


@dataclass(frozen=True, slots=True)
class OwnerDown:
    """In a `Shutdown`: the program was stopped because its owner has exited, for `reason`."""

    reason: object

    def __str__(self) -> str:
        return f"its owner has exited: {self.reason}"
