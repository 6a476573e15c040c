"""The files of a `ThespianWatch`: an actor hears when one of them can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["WatchedFiles"]


class WatchedFiles:
    """What one actor watches; only in the thread of the loop.

    Args:
        loop: The event loop that watches.
        ready: Called with the number of a file that can be read, or has come to its end; once, then
            the file is no longer watched.
    """

    __slots__ = ("_filenos", "_loop", "_ready")

    def __init__(self, loop: asyncio.AbstractEventLoop, ready: Callable[[int], None]) -> None:
        self._loop = loop
        self._ready = ready
        self._filenos: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._filenos)

    def watch(self, filenos: set[int]) -> None:
        """Watch these, and no others; raises `OSError` for what cannot be watched."""
        for fileno in self._filenos - filenos:
            self._loop.remove_reader(fileno)
        wanted = filenos - self._filenos
        self._filenos &= filenos
        for fileno in wanted:
            self._loop.add_reader(fileno, self._can_be_read, fileno)
            self._filenos.add(fileno)

    def _can_be_read(self, fileno: int) -> None:
        self._loop.remove_reader(fileno)
        self._filenos.discard(fileno)
        self._ready(fileno)
