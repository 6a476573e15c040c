"""Processes the benchmark starts, and surely ends again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from palaver.supervisors.cli.bench.procfs import pinned, process_tree


class BenchFailed(Exception):
    """The benchmark cannot go on: a server did not start, a load client failed, a promise broke."""


class Child:
    """A server process of ours: pinned to its cores, logging to a file, ended by its pid."""

    __slots__ = ("log_path", "process")

    def __init__(
        self,
        command: Sequence[str],
        *,
        cores: frozenset[int],
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start the command in a session of its own, so that Ctrl-C is ours to pass on."""
        self.log_path = log_path
        with log_path.open("ab") as log, pinned(cores):
            self.process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The operating system's number of the process."""
        return self.process.pid

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float, what: str) -> None:
        """Wait for a condition; BenchFailed with the log's end when it does not come."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.process.poll() is not None:
                raise BenchFailed(f"{what} ended with {self.process.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                raise BenchFailed(f"{what} was not up within {timeout_s:.0f} s: {self.tail()}")
            time.sleep(0.02)

    def tail(self, *, size_bytes: int = 2000) -> str:
        """Return the end of what the process has printed."""
        with suppress(OSError):
            return self.log_path.read_bytes()[-size_bytes:].decode(errors="replace")
        return ""

    def kill(self) -> None:
        """End the process and its descendants with -9, as a power cut of the process would."""
        if self.process.poll() is None:  # after that the number may be another's
            kill_tree(self.process.pid)
            self.process.wait()

    def stop(self, *, timeout_s: float = 15.0) -> None:
        """End the process in order (SIGTERM); with -9 when that takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        self.kill()


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants; those that have already gone are no error."""
    for each in process_tree(pid):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def run_worker(job: Mapping[str, Any], *, cores: frozenset[int], timeout_s: float) -> Any:
    """Run one job in a load client process of its own and return its result.

    Raises:
        BenchFailed: when it fails or is not done within the timeout.
    """
    command = [sys.executable, "-m", "palaver.supervisors.cli.bench.worker"]
    with pinned(cores):
        process = subprocess.Popen(  # noqa: S603 - this very interpreter
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        out, err = process.communicate(json.dumps(job).encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"{job['scenario']} was not done within {timeout_s:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise BenchFailed(f"{job['scenario']} ({job['engine']}): {lines[-1]}")
    return json.loads(out)
