"""Processes that are made to stand still, for tests of all kinds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_PATIENCE_S = 30.0


def stop(pid: int) -> None:
    """Stop a process by SIGSTOP, and return when all of its threads stand still.

    The signal stops a process a moment after it was sent: a thread on another core may answer
    meanwhile.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _PATIENCE_S
    while not _stands_still(pid):
        assert time.monotonic() < deadline, f"{pid} does not stop"


def go_on(pid: int) -> None:
    """Let a process that was stopped go on."""
    os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue  # this thread has ended
        if state not in "TtZX":
            return False
    return True
