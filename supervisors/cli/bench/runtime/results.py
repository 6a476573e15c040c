"""What a piece of work yields: how much was done, and what time or memory that took."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import TypeAlias

from palaver.supervisors.cli.bench import procfs

Result: TypeAlias = dict[str, float]
"""`ops` with `wall_s` and `cpu_s`, or with `bytes`."""

Work: TypeAlias = Callable[[int, int], Result]
"""Does a count of operations, over a width (ring members, senders, children); its result."""

BURST = 400
"""Messages that the sender of `cast` sends before it lets the others run, where nothing else does.

As many as Erlang's scheduler lets a process send before it is the next one's turn: a process there
has 4,000 reductions, and a cast takes about ten. The receiver's turn there is as long, so that few
messages wait at any time; an engine whose turns are shorter takes smaller bursts for the same.
"""


WAVE = 100
"""Messages of each sender of `fan_in`, before all wait until they have been handled.

Without waves hundreds of thousands of messages would wait in one mailbox, which costs Erlang more
than half of its speed.
"""


class WorkFailed(Exception):
    """A message was lost or doubled, a process did not come up: the figure would be worth nothing.

    Also an engine's own failure, in its words.
    """


class Watch:
    """Measures wall-clock time and the CPU time of all threads, from its creation on."""

    __slots__ = ("_cpu_s", "_wall_s")

    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()

    def stop(self, ops: int) -> Result:
        """Return what `ops` operations took."""
        wall_s = time.perf_counter() - self._wall_s
        cpu_s = time.process_time() - self._cpu_s
        return {"ops": ops, "wall_s": wall_s, "cpu_s": cpu_s}


class Scale:
    """Measures by how much the memory of this OS process grows, from its creation on."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        gc.collect()  # what starting has left
        self._before = anonymous_bytes()

    def stop(self, processes: int) -> Result:
        """Return what `processes` idle ones take."""
        return {"ops": processes, "bytes": anonymous_bytes() - self._before}


def anonymous_bytes() -> int:
    """Private memory of this OS process that no file backs, as the kernel counts it."""
    return procfs.memory(os.getpid()).anonymous_kb * 1024


def waves(count: int, width: int) -> tuple[int, int]:
    """Return how many messages each of `width` senders sends in a wave, and how many waves."""
    each = min(WAVE, count // width)
    return each, count // (each * width)


def check_count(seen: int, expected: int, what: str) -> None:
    """Raise `WorkFailed` where messages were lost or doubled."""
    if seen != expected:
        raise WorkFailed(f"{seen} {what} arrived of {expected}")
