"""The real command in real processes, for tests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

from palaver.supervisors.cli.app import run

WAIT_S = 30.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "palaver.supervisors.cli", *arguments]


def environment(**more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PALAVER_")}
    return {**clean, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONWARNINGS": "error", **more}


def palaver(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, text=True, timeout=WAIT_S,
        env=environment(**env), check=False,
    )  # fmt: skip


def inside(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command in this process: for those that do not run on, and much faster."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(), clear=True),
        mock.patch.object(sys, "argv", ["palaver", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


class Program:
    """A running command: lines go in, what it writes is waited for."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.process = subprocess.Popen(
            command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, bufsize=1, env=environment(**env),
        )  # fmt: skip
        self.output = ""
        self._seen = 0
        self._over = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.output += line
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def _find(self, pattern: str) -> re.Match[str] | None:
        return re.search(pattern, self.output[self._seen :])

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def expect(self, pattern: str) -> re.Match[str]:
        """The next place in the output, after the last one expected, that matches."""
        with self._news:
            self._news.wait_for(lambda: self._find(pattern) or self._over, WAIT_S)
            found = self._find(pattern)
            assert found, f"{pattern!r} never came in\n{self.output}"
            self._seen += found.end()
            return found

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def wait(self) -> int:
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Node(Program):
    """`palaver serve` on a folder, on free ports."""

    def __init__(self, folder: Path, *options: str, **env: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.codes = folder / "codes"
        announce = folder / "announce.json"
        super().__init__(
            "serve", "--data", str(self.data), "--port", "0", "--admin-port", "0",
            "--announce", str(announce), "--code-file", str(self.codes),
            "--log-format", "json", *options, **env,
        )  # fmt: skip
        try:
            self.expect('"message": "node up"')
            self.where: dict[str, Any] = wait_for(lambda: read_json(announce))
        except BaseException:
            self.close()
            raise

    def code_for(self, phone: str) -> str:
        def sent() -> str | None:
            lines = self.codes.read_text().splitlines() if self.codes.exists() else []
            codes = [c["code"] for c in map(json.loads, lines) if c["phone"] == phone]
            return codes[-1] if codes else None

        return str(wait_for(sent))


def read_json(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else None


def wait_for(look: Any) -> Any:
    """What `look` finds, looked for again and again: other processes give no event."""
    ends = time.monotonic() + WAIT_S
    while time.monotonic() < ends:
        found = look()
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")
