"""A node as a child process: started by the real command, stopped, or killed without warning."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palaver.supervisors.cli.output import CommandError

_START_S = 20.0
_STOP_S = 20.0
_POLL_S = 0.02
_LOG_TAIL_BYTES = 4000


class NodeProcess:
    """`palaver serve` on a data folder, with its log, its codes and its addresses in files.

    The first start takes free ports; later ones take the same again, so that clients find it.

    Args:
        folder: of its files; made by the caller.
        options: further ones of the command.
        codes: where it writes sign-up codes; by default a file of its own.
        start_s: how long it may take to be up.
        before: what the command is run by, such as `ip netns exec NAME`; it has to become it.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = (),
        *,
        codes: Path | None = None,
        start_s: float = _START_S,
        before: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "node.log"
        self.codes = codes or folder / "codes.jsonl"
        self.ws_url = ""
        self.admin_url = ""
        self._announce = folder / "node.json"
        self._options = list(options)
        self._before = list(before)
        self._port = 0
        self._start_s = start_s
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process' number; 0 while none runs."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start the node and wait until it is up; `CommandError` when it does not come up."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._announce)  # noqa: PTH108 - a killed node leaves it
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PALAVER_")}
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._before, sys.executable, "-m", "palaver.supervisors.cli", "serve",
                "--data", str(self.data), "--port", str(self._port), "--admin-port", "0",
                "--announce", str(self._announce), "--code-file", str(self.codes),
                "--log-format", "json", *self._options,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        finally:
            os.close(log)
        try:
            async with asyncio.timeout(self._start_s):
                where = await self._up(self._process)
        except TimeoutError:
            await self.kill()
            raise CommandError(
                f"the node is not up after {self._start_s:g} s\n{self.tail()}"
            ) from None
        self.ws_url, self.admin_url = where["ws"], where["admin"]
        self._port = int(self.ws_url.split(":")[2].split("/")[0])

    async def _up(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        # The file appears whole, by a rename; there is nothing to wait on but its appearance.
        while process.returncode is None:
            if (text := _read(self._announce)) is not None:
                where: dict[str, Any] = json.loads(text)
                return where
            await asyncio.sleep(_POLL_S)
        raise CommandError(f"the node ended with exit code {process.returncode}\n{self.tail()}")

    async def code_for(self, phone: str, *, nth: int = 1) -> str:
        """The `nth` sign-up code that was sent to this number."""
        async with asyncio.timeout(_START_S):
            while True:
                lines = (_read(self.codes) or "").splitlines()
                sent = [c for c in map(json.loads, lines) if c["phone"] == phone]
                if len(sent) >= nth:
                    return str(sent[nth - 1]["code"])
                await asyncio.sleep(_POLL_S)

    def send_signal(self, signum: signal.Signals) -> None:
        """Send it a signal; nothing if it does not run."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    async def kill(self) -> None:
        """End it as a power cut does: SIGKILL, no last words."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to end (SIGTERM) and return its exit code; kills it when it does not."""
        try:
            async with asyncio.timeout(_STOP_S):
                return await self._end(signal.SIGTERM)
        except TimeoutError:
            await self.kill()
            return -signal.SIGKILL

    async def wait(self) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        process = self._process
        if process is None:
            return 0
        code = await process.wait()
        self._process = None
        return code

    async def _end(self, signum: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signum)
        code = await process.wait()
        self._process = None
        return code

    def tail(self) -> str:
        """The end of its log."""
        return (_read(self.log) or "")[-_LOG_TAIL_BYTES:]


def _read(file: Path) -> str | None:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return None
