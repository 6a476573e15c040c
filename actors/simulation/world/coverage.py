"""What was really reached: faults that happened, states that were met.

After FoundationDB's `TEST` macros and Antithesis' *sometimes* assertions: a long search that never
met a state has not tested it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["Coverage"]


class Coverage:
    """Counts of what was reached, in one run or in many.

    Attributes:
        reached: how often, by name; 0 for what was declared and never met.
        runs: in how many runs it was met.
    """

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()

    def declare(self, names: Iterable[str]) -> None:
        """These should be reached in a long search."""
        for name in names:
            self.reached.setdefault(name, 0)

    def reach(self, name: str, times: int = 1) -> None:
        """It was reached."""
        self.reached[name] += times

    def merge(self, other: Coverage) -> None:
        """Add another run, or other runs."""
        self.declare(other.reached)
        self.reached.update(other.reached)
        if other.runs:
            self.runs.update(other.runs)
        else:
            self.runs.update(name for name, times in other.reached.items() if times)

    @property
    def missed(self) -> list[str]:
        """What was declared and never reached."""
        return sorted(name for name, times in self.reached.items() if not times)
