"""The run queue of a simulated node: who has the next turn is a choice."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from palaver.actors.simulation.world.tape import Stream
    from palaver.actors.simulation.world.trace import Trace

__all__ = ["TapeQueue"]

_CANDIDATES: Final = 8
"""Among so many, the first of the queue, the next turn is chosen."""


class TapeQueue(deque[Any]):
    """A run queue in which anyone may be next, and a slice may end after any turn.

    Both are what a scheduler may do: nothing is promised of the order in which processes run, or
    of when a node gives the event loop its turn.

    Args:
        order: the choices of who is next.
        slices: the choices of whether a slice ends.
        trace: is told of every turn.
    """

    def __init__(self, order: Stream, slices: Stream, trace: Trace) -> None:
        super().__init__()
        self._order = order
        self._slices = slices
        self._trace = trace
        self._ended = False

    def popleft(self) -> Any:
        """Take whose turn it is."""
        count = len(self)
        if count > 1:
            chosen = self._order.choose(min(count, _CANDIDATES))
            if chosen:
                process = self[chosen]
                del self[chosen]
                self._trace.feed(process.pid.serial)
                return process
        process = super().popleft()
        self._trace.feed(process.pid.serial)
        return process

    def __bool__(self) -> bool:
        # The scheduler asks before each turn, and once more when a slice has ended.
        if not len(self):
            return False
        if self._ended:
            self._ended = False
            return True
        self._ended = bool(self._slices.choose(2))
        return not self._ended
