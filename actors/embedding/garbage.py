"""The garbage collector of a program that is a node and nothing else."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["calm_garbage_collector"]

CALM_THRESHOLDS = (50_000, 20, 100)


@contextmanager
def calm_garbage_collector() -> Iterator[None]:
    """Let Python look for cycles less often meanwhile, and spare what is there already.

    Messages and processes make no cycles: counting references frees them at once. With the usual
    thresholds the collector walks through every living process again and again while more are
    spawned, which is a third of the time of a spawn. It is a setting of the whole program, so only
    who owns the program may use this; what was set before is set again at the end.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*CALM_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
