"""Python's collector of cyclic garbage, kept from acting at moments that nobody chose."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["calm_collector"]


@contextmanager
def calm_collector() -> Iterator[None]:
    """Leave garbage alone for the length of a block, and then free what came up in it.

    When finalizers run must not depend on what else the program has allocated: so nothing is
    collected but by `gc.collect()`, and that sees nothing that was there before. Afterwards a
    collection of what is new is cheap; left to itself it would wait in the oldest generation, and
    a search of thousands of worlds would grow without end.
    """
    collects = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        if collects:
            gc.enable()
