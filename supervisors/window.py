"""How many restarts within how much time."""

from __future__ import annotations

from collections import deque

__all__ = ["RestartWindow"]


class RestartWindow:
    """Counts restarts: whether there were more than `intensity` within `period_s`.

    A restart costs the same however many came before; at most `intensity` + 1 are remembered.
    """

    __slots__ = ("_times", "intensity", "period_s")

    def __init__(self, intensity: int, period_s: float) -> None:
        self.intensity = intensity
        self.period_s = period_s
        self._times: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        """Count a restart that is wanted now; False if it is one too many."""
        times = self._times
        times.append(now_s)
        oldest_s = now_s - self.period_s
        while times[0] < oldest_s:
            times.popleft()
        return len(times) <= self.intensity

    def count(self, now_s: float) -> int:
        """How many restarts there were within the period."""
        return sum(time_s >= now_s - self.period_s for time_s in self._times)

    def change(self, intensity: int, period_s: float) -> None:
        """Set other limits; the restarts so far stay counted."""
        self.intensity = intensity
        self.period_s = period_s
