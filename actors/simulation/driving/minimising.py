"""The search for the fewest deviations that still fail: ddmin by kinds, by streams and one by one.

It knows nothing of worlds: it is given a function that tries some deviations, and tries ever fewer.
After Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002); but chunks
are taken out from the end to the start and are halved, as Hypothesis' shrinker does, which needs
about 2·k·log(n) tries for k needed deviations among n.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from palaver.actors.simulation.world.tape import Address, Deviations, kind_of

__all__ = ["Attempt", "BudgetSpent", "Minimiser", "Trial"]

K = TypeVar("K", bound=Hashable)

MAX_REMEMBERED: Final = 100_000
"""Sets of deviations that are known not to fail, so as not to try them twice."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that failed as it should."""

    deviations: Deviations
    """Those that took effect: a run may end before some, or never come to them."""
    steps: int

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """What is to become small: deviations, then values, then steps, then numbers."""
        return (
            len(self.deviations),
            sum(self.deviations.values()),
            self.steps,
            sum(number for _, number in self.deviations),
        )


Trial: TypeAlias = Callable[[Deviations], Attempt | None]
"""Runs some deviations; None if that did not fail, or not in the same way."""


class BudgetSpent(Exception):
    """Raised by a trial that may not run any more."""


class Minimiser:
    """Makes a failing run smaller, as long as its `trial` lets it.

    Args:
        start: The run to begin with.
        trial: Tries some deviations.
    """

    def __init__(self, start: Attempt, trial: Trial) -> None:
        self.best = start
        self.tries = 0
        self._trial = trial
        self._seen: set[frozenset[tuple[Address, int]]] = {frozenset(start.deviations.items())}

    def minimise(self) -> bool:
        """Make it smaller until nothing helps: then True, or False if the budget was spent."""
        try:
            self._attempt({})  # is it the quiet run that fails?
            while True:
                before = self.best.weight
                self._drop_groups(kind_of)
                self._drop_groups(str)
                self._drop_single()
                self._lower_values()
                self._move_earlier()
                if self.best.weight == before:
                    return True
        except BudgetSpent:
            return False

    def _attempt(self, candidate: dict[Address, int]) -> bool:
        key = frozenset(candidate.items())
        if key in self._seen:
            return False
        if len(self._seen) < MAX_REMEMBERED:
            self._seen.add(key)
        self.tries += 1
        attempt = self._trial(candidate)
        if attempt is None or attempt.weight >= self.best.weight:
            return False
        self._seen.add(frozenset(attempt.deviations.items()))
        self.best = attempt
        return True

    # -- fewer --------------------------------------------------------------------------------

    def _drop_groups(self, group_of: Callable[[str], str]) -> None:
        """Drop whole groups of streams: many at once, then each alone."""

        def groups() -> list[str]:
            counts: dict[str, int] = {}
            for stream, _ in self.best.deviations:
                group = group_of(stream)
                counts[group] = counts.get(group, 0) + 1
            # The largest last: they are tried first.
            return sorted(counts, key=lambda group: (counts[group], group))

        def drop(chosen: Sequence[str]) -> bool:
            gone = set(chosen)
            return self._attempt(
                {c: v for c, v in self.best.deviations.items() if group_of(c[0]) not in gone}
            )

        self._halving(groups, drop)

    def _drop_single(self) -> None:
        def drop(chosen: Sequence[Address]) -> bool:
            gone = set(chosen)
            return self._attempt({c: v for c, v in self.best.deviations.items() if c not in gone})

        self._halving(lambda: list(self.best.deviations), drop)

    def _halving(self, parts: Callable[[], list[K]], drop: Callable[[Sequence[K]], bool]) -> None:
        """Drop chunks from the end to the start; halve them; end when no single one can go."""
        size = max(1, len(parts()) // 2)
        while True:
            dropped = False
            end = len(parts())
            while end > 0:
                now = parts()
                end = min(end, len(now))
                if end and drop(now[max(0, end - size) : end]):
                    dropped = True  # others have moved up to there, or it is the new end
                end -= size
            if size == 1 and not dropped:
                return
            size = max(1, min(size // 2, len(parts()) // 2))

    # -- smaller ------------------------------------------------------------------------------

    def _lower_values(self) -> None:
        """Choose the least that will do: 1, else by halving the way down."""
        for choice, value in list(self.best.deviations.items()):

            def lower(_: int, to: int, choice: Address = choice) -> bool:
                if choice not in self.best.deviations:
                    return False
                return self._attempt({**self.best.deviations, choice: to})

            _least(1, value, lower)

    def _move_earlier(self) -> None:
        """Let a deviation happen sooner in its stream: the run until the failure is shorter."""
        for stream, number in list(self.best.deviations):

            def move(at: int, to: int, stream: str = stream) -> bool:
                now = self.best.deviations
                if (stream, at) not in now or (stream, to) in now:
                    return False
                # In its place, so that the order stays about that in which they happen.
                return self._attempt(
                    {((stream, to) if c == (stream, at) else c): v for c, v in now.items()}
                )

            _least(0, number, move)


def _least(low: int, high: int, attempt: Callable[[int, int], bool]) -> None:
    """Go from `high` to the least number that will do: `low`, else by halving the way down.

    `attempt` is given the number that does, and the one to try.
    """
    to = low
    while low < high:
        if attempt(high, to):
            high = to
        else:
            low = to + 1
        to = (low + high) // 2
