"""Mnesia, kept running: takes programs, gives back what was observed."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mnesia_conform.language import Program

__all__ = ["Mnesia", "MnesiaFailed", "folder_for_tests", "missing"]

INTERPRETER = Path(__file__).parent.parent / "beam" / "interpreter.escript"


def missing() -> str | None:
    """What has to be installed, or None if Mnesia is there."""
    escript = shutil.which("escript")
    if escript is None:
        return "no `escript` here: install Erlang/OTP (Debian: erlang-base)"
    libraries = Path(escript).resolve().parent.parent / "lib"
    if any(libraries.glob("mnesia-*")):
        return None
    return "no Mnesia here: install it (Debian: erlang-mnesia)"


def folder_for_tests() -> tempfile.TemporaryDirectory[str]:
    """A folder that is fast: in memory where there is such a place."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


class MnesiaFailed(Exception):
    """The Erlang interpreter ended, or did not answer in time: a fault of the harness."""


class Mnesia:
    """An Erlang interpreter of programs, used by `with`; one with a folder and one without."""

    def __init__(self, timeout_s: float = 30.0) -> None:
        self.interpreters = {disc: _Interpreter(timeout_s, disc=disc) for disc in (False, True)}

    def run(self, program: Program) -> Any:
        """What is observed: a list of `[instruction, table, ["value" | "error", ...]]`."""
        return self.interpreters[program.disc].run(program)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for interpreter in self.interpreters.values():
            interpreter.close()


class _Interpreter:
    def __init__(self, timeout_s: float, *, disc: bool) -> None:
        self.timeout_s = timeout_s
        self.disc = disc
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.process: subprocess.Popen[str] | None = None

    def run(self, program: Program) -> Any:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # then there is no answer either
            process.stdin.write(program.erlang())
            process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self.timeout_s)
        line = process.stdout.readline() if ready else ""
        if not line:
            if not ready:
                process.kill()
            self.close()  # a fresh one for the next program
            why = "ended" if ready else f"did not answer within {self.timeout_s:g} s"
            raise MnesiaFailed(f"the Erlang interpreter {why}; the program was\n{program}")
        return json.loads(line)

    def _started(self) -> subprocess.Popen[str]:
        if self.process is None:
            self.folder = folder_for_tests()
            schema = Path(self.folder.name, "schema")
            backups = Path(self.folder.name, "backups")
            backups.mkdir()
            where = str(schema) if self.disc else "-"
            self.process = subprocess.Popen(
                ["escript", str(INTERPRETER), where, str(backups)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self.process

    def close(self) -> None:
        """End the interpreter."""
        process, self.process = self.process, None
        folder, self.folder = self.folder, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if folder is not None:
            folder.cleanup()
