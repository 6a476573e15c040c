"""The process that sweeps from time to time: expired uploads, files that a home lacks."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, Protocol

import structlog

from palaver.actors.runtime import Continue, GenServer

SWEEP_EVERY_S: Final = 300.0
_SWEEP: Final = "sweep"


class Sweepable(Protocol):
    """What is swept."""

    def sweep(self, now_ms: int) -> Awaitable[int]:
        """Removes what has expired by `now_ms`; how much that was."""


class MediaSweeper(GenServer):
    """Calls `sweep` of what it is given every `every_s` seconds, by the node's clock.

    `counted` is what the log calls the number that a sweep returns.

    A sweep that fails ends the process: its supervisor starts it again, and the first thing
    that a new one does is sweep.
    """

    __slots__ = ("_counted", "_every_s", "_media")

    _media: Sweepable
    _every_s: float
    _counted: str

    def init(
        self, media: Sweepable, every_s: float = SWEEP_EVERY_S, counted: str = "uploads"
    ) -> Continue:
        """Begins with a sweep."""
        self._media = media
        self._counted = counted
        self._every_s = every_s
        return Continue(_SWEEP)

    async def handle_continue(self, arg: object) -> None:
        """The first sweep."""
        await self._sweep()

    async def handle_info(self, message: object) -> None:
        """The timer's message: the next sweep. Nothing else is known here."""
        if message == _SWEEP:
            await self._sweep()

    async def _sweep(self) -> None:
        removed = await self.bridge(self._media.sweep(self.clock.time_ms()))
        if removed:
            log = structlog.get_logger("palaver.media")
            log.info("media_swept", **{self._counted: removed})
        self.send_after(self._every_s, self.pid, _SWEEP)
