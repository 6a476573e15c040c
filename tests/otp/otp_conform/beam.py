"""The BEAM, kept running: takes programs, gives back what was observed."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from otp_conform.language import Program

__all__ = ["ESCRIPT", "Beam", "BeamFailed"]

ESCRIPT = shutil.which("escript")
INTERPRETER = Path(__file__).parent.parent / "beam" / "interpreter.escript"


class BeamFailed(Exception):
    """The Erlang interpreter ended, or did not answer in time: a fault of the harness."""


class Beam:
    """An Erlang interpreter of programs, used by `with`."""

    def __init__(self, timeout_s: float = 20.0) -> None:
        self.timeout_s = timeout_s
        self.process: subprocess.Popen[str] | None = None

    def run(self, program: Program, schedule: int = 0) -> Any:
        """What is observed: `[[log of each step], what is there at the end]`."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # then there is no answer either
            process.stdin.write(program.erlang(schedule))
            process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self.timeout_s)
        line = process.stdout.readline() if ready else ""
        if not line:
            self.close()  # a fresh one for the next program
            why = "ended" if ready else f"did not answer within {self.timeout_s:g} s"
            raise BeamFailed(f"the Erlang interpreter {why}; the program was\n{program}")
        return json.loads(line)

    def _started(self) -> subprocess.Popen[str]:
        if self.process is None:
            assert ESCRIPT is not None
            self.process = subprocess.Popen(
                [ESCRIPT, str(INTERPRETER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self.process

    def close(self) -> None:
        """End the interpreter."""
        process, self.process = self.process, None
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
