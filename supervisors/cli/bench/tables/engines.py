"""Who does the work: where an engine is found, and the OS process that does jobs on it."""

from __future__ import annotations

import json
import os
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

from palaver.supervisors.cli.bench.children import BenchFailed, kill_tree
from palaver.supervisors.cli.bench.runtime.engines import compiled_erlang, output_of
from palaver.supervisors.cli.bench.runtime.plan import PALAVER
from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.tables.plan import Peer, Size

ALL_DURABLE = "every commit is durable"
_STOP_S = 30.0
_PACKAGE = "palaver.supervisors.cli.bench.tables"


@dataclass(frozen=True, slots=True)
class TablesEngine:
    """One that is installed.

    Args:
        name: As in the figures.
        version: Of the library or system.
        command: What is started; its folder and the number of records follow.
        without: Works that it has no notion of, and why.
    """

    name: str
    version: str
    command: tuple[str, ...]
    without: Mapping[str, str] = field(default_factory=dict)

    def session(self, folder: Path, records: int) -> Session:
        """Start the engine's process over a folder."""
        return Session(self.name, (*self.command, str(folder), str(records)), folder)


class Session:
    """The process of one engine: it is given jobs, and idles in between."""

    __slots__ = ("_log", "_name", "_process")

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self._name = name
        self._log = folder.with_name(folder.name + ".log")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env=os.environ | {"ERL_CRASH_DUMP": os.devnull},
                start_new_session=True,  # so that Ctrl-C is ours to pass on
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.kill()
        self.close()

    def do(self, work: str, size: Size, *, timeout_s: float) -> Result:
        """Do one piece of work.

        Raises:
            BenchFailed: it failed, or is not done within the timeout, or the process has ended.
        """
        job = f"{work} {size.count} {size.width} {round(size.limit_s * 1000)}\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(job.encode())
        except BrokenPipeError:
            raise self._ended(work) from None
        line = self._line(work, timeout_s)
        try:
            result: Result = json.loads(line)
        except ValueError:
            raise BenchFailed(f"{work} ({self._name}) printed no result: {line[:200]!r}") from None
        if "failed" in result:
            raise BenchFailed(f"{work} ({self._name}): {result['failed']}")
        return result

    def _line(self, work: str, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        ends = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n"):
            left = ends - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self.kill()  # it is in the middle of a work that nobody waits for any more
                raise BenchFailed(f"{work} ({self._name}) was not done in {timeout_s:.0f} s")
            piece = os.read(self._process.stdout.fileno(), 65_536)
            if not piece:
                raise self._ended(work)
            line += piece
        return line

    def _ended(self, work: str) -> BenchFailed:
        self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["no reason given"]
        return BenchFailed(f"{work} ({self._name}): its process has ended: {lines[-1]}")

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def close(self) -> None:
        """Let the process close its folder and end; with -9 when that takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()

    def kill(self) -> None:
        """End the process at once."""
        if self.alive:
            kill_tree(self._process.pid)
            self._process.wait()


def palaver() -> TablesEngine:
    """Return Palaver's tables."""
    return _python(PALAVER, version("palaver"), {})


def find(peer: Peer, folder: Path) -> TablesEngine | str:
    """Return an engine, or a sentence of why there is none and what to install.

    `folder` is where something may be compiled.
    """
    if peer is Peer.MNESIA:
        return _mnesia(folder)
    if peer is Peer.SQLITE:
        return _python(peer, sqlite3.sqlite_version, {})
    without = dict.fromkeys(("transaction", "dirty_write"), ALL_DURABLE)
    return _python(peer, version("lmdb"), without)


def _python(name: str, found: str, without: Mapping[str, str]) -> TablesEngine:
    return TablesEngine(name, found, (sys.executable, "-m", f"{_PACKAGE}.worker", name), without)


def _mnesia(folder: Path) -> TablesEngine | str:
    found = compiled_erlang(files(_PACKAGE) / "palaver_tables_bench.erl", folder)
    if isinstance(found, str):
        return found
    erl, _ = found
    ask = (
        "application:load(mnesia), {ok, Version} = application:get_key(mnesia, vsn), "
        "io:put_chars(Version), halt()."
    )
    mnesia = output_of([erl, "-noinput", "-noshell", "-eval", ask])
    if mnesia is None:
        return "Mnesia is not installed (Debian: apt install erlang-mnesia)"
    start = ("-noinput", "-noshell", "-pa", str(folder), "-run", "palaver_tables_bench", "main")
    return TablesEngine(Peer.MNESIA, mnesia, (erl, *start))
