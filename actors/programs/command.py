"""What to run, what comes of it, and the port to the operating system."""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from os import PathLike, fsencode
from typing import Literal, Protocol, TypeAlias

from palaver.actors.runtime import RuntimeFault

__all__ = [
    "Command",
    "Drained",
    "Ended",
    "ExitStatus",
    "LauncherLost",
    "Output",
    "OutputClosed",
    "ProgramEvent",
    "ProgramLauncher",
    "ProgramNotFound",
    "ProgramNotPermitted",
    "ProgramStartError",
    "ProgramStartTimeout",
    "Refused",
    "Released",
    "RunningProgram",
    "Started",
    "StderrMode",
    "StopSteps",
]

StderrMode: TypeAlias = Literal["log", "merge", "deliver", "inherit", "discard"]


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: no shell reads it.

    Args:
        argv: The program and its arguments. A program without a slash is looked for in the `PATH`
            that it will have itself.
        cwd: Its working directory; that of this Python process if None.
        env: Added to the environment of this Python process; a value of None takes one out.
        clean_env: Begin with an empty environment instead.
        stderr: ``log``: each line is logged. ``merge``: it goes where stdout goes. ``deliver``: the
            owner gets it in `Stderr` messages. ``inherit``: that of this Python process.
            ``discard``: nowhere.
    """

    argv: tuple[str | bytes | PathLike[str], ...]
    _: KW_ONLY
    cwd: str | PathLike[str] | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)
    clean_env: bool = False
    stderr: StderrMode = "log"

    def __post_init__(self) -> None:
        if isinstance(self.argv, (str, bytes)) or not self.argv:
            raise ValueError("argv is a tuple of the program and its arguments, not a command line")
        if self.stderr not in ("log", "merge", "deliver", "inherit", "discard"):
            raise ValueError(f"unknown stderr {self.stderr!r}")
        object.__setattr__(self, "argv", tuple(self.argv))
        texts = [fsencode(arg) for arg in self.argv]
        texts += [fsencode(text) for item in self.env.items() for text in item if text is not None]
        if any(b"\0" in text for text in texts) or any(not n or "=" in n for n in self.env):
            raise ValueError("no argument or variable has a NUL in it, no variable's name a `=`")

    @property
    def name(self) -> str:
        """The program, for people."""
        program = self.argv[0]
        return program.decode(errors="replace") if isinstance(program, bytes) else str(program)


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a program ended: with an exit code, or by a signal; the other is None."""

    code: int | None = None
    signal: int | None = None

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with code 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit status {self.code}"
        try:
            return f"ended by {signals.Signals(self.signal).name}"
        except ValueError:  # a real-time signal has no name
            return f"ended by signal {self.signal}"


@dataclass(frozen=True, slots=True)
class StopSteps:
    """How long a program that is to stop may take for each step, in seconds; 0 goes on at once.

    Together with a second for the rest they should be less than the `shutdown_s` of its
    `ChildSpec`.
    """

    close_s: float = 1.0
    term_s: float = 2.0
    kill_s: float = 1.0


# -- failures: the `reason` of the StartError ------------------------------------------------------


class ProgramStartError(RuntimeFault):
    """A program did not start; `errno` is the operating system's reason, if there is one."""

    verb = "did not start"

    def __init__(self, program: str, text: str, errno: int | None = None) -> None:
        super().__init__(f"{program} {self.verb}: {text}")
        self.program = program
        self.errno = errno


class ProgramNotFound(ProgramStartError):
    """There is no such program (or no interpreter that its first line names, or no such `cwd`)."""


class ProgramNotPermitted(ProgramStartError):
    """The program, or its `cwd`, may not be used by this user."""


class ProgramStartTimeout(ProgramStartError):
    """The operating system has not started it in time."""


class LauncherLost(ProgramStartError):
    """The helper process that starts programs has ended: what it had started was killed."""

    verb = "was lost"


# -- what a launcher tells -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The program runs."""

    os_pid: int


@dataclass(frozen=True, slots=True)
class Refused:
    """It did not start; nothing else is told of it."""

    error: ProgramStartError


@dataclass(slots=True)
class Output:
    """It has written this; to be answered by `RunningProgram.consumed`."""

    data: bytes
    is_stderr: bool


@dataclass(frozen=True, slots=True)
class OutputClosed:
    """Nothing more comes from its stdout and stderr."""


@dataclass(frozen=True, slots=True)
class Drained:
    """Less than half of what may wait to be written waits now."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It has exited, and what was left of its process group was killed; None: nobody knows how."""

    status: ExitStatus | None


@dataclass(frozen=True, slots=True)
class Released:
    """After `release`: the program is gone, and all that belonged to it. Nothing more is told."""


ProgramEvent: TypeAlias = Started | Refused | Output | OutputClosed | Drained | Ended | Released


class RunningProgram(Protocol):
    """A program that a launcher has started, or is about to."""

    @property
    def buffered(self) -> int:
        """How many bytes wait to be written to its stdin."""

    @property
    def stdin_open(self) -> bool:
        """Whether it can still be written to."""

    def write(self, data: bytes) -> None:
        """Write to its stdin, as soon as it reads; `Drained` tells when little is left.

        Dropped if stdin is closed.
        """

    def close_stdin(self) -> None:
        """Let it read the end of its input, after what waits to be written."""

    def consumed(self) -> None:
        """One `Output` has been dealt with: without this, after a few no more is read."""

    def signal(self, number: int) -> None:
        """Send a signal to its process group, if it has not ended."""

    def release(self) -> None:
        """Let go of it: kill its process group if it still runs, close what is open."""


class ProgramLauncher(Protocol):
    """Port to the operating system: starts programs."""

    def start(self, command: Command, tell: Callable[[ProgramEvent], None]) -> RunningProgram:
        """Begin to start a program; `tell` is called with what becomes of it.

        Raises an `OSError` where there are no means to begin, as file descriptors.
        """
