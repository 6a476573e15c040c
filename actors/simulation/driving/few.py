"""A source with few deviations, anywhere: for what is too large to be explored as a whole."""

from __future__ import annotations

import random
from collections.abc import Collection

from palaver.actors.simulation.world.tape import Draw, kind_of

__all__ = ["Few"]


class Few:
    """So many deviations, at choices that chance picks among all of a run.

    As probabilistic concurrency testing (Burckhardt and others, ASPLOS 2010) it finds a bug that
    needs few deviations with a probability that has a lower bound: one that needs `deviations` of
    them, among `choices` with at most v options beside the quiet one, is found by a run with at
    least 1 / (choices · v) to the power of `deviations`, however seldom a source of chance with
    fixed rates would come to just these and no others.

    Args:
        seed: Of choices and values.
        deviations: How many; a run that is shorter than `choices` may have fewer.
        choices: How many a run makes about: `outcome.tape.choices` of the quiet one.
        kinds: Only choices of these kinds are counted and deviate; all if None.
    """

    def __init__(
        self, seed: int, deviations: int, choices: int, *, kinds: Collection[str] | None = None
    ) -> None:
        if deviations < 0 or choices < 1:
            raise ValueError("some choices, and no less than no deviations")
        self.seed = seed
        self._kinds = None if kinds is None else frozenset(kinds)
        self._chance = random.Random(f"{seed}/few")  # noqa: S311 - a simulation has no secrets
        picked = self._chance.sample(range(choices), min(deviations, choices))
        self._due = sorted(picked, reverse=True)
        self._count = 0

    def open(self, name: str, rate: float) -> Draw:
        """A stream that deviates when the run has come to a choice that was picked."""
        if self._kinds is not None and kind_of(name) not in self._kinds:
            return _quiet

        def choose(number: int, options: int) -> int:
            at = self._count
            self._count = at + 1
            if not self._due or self._due[-1] != at:
                return 0
            self._due.pop()
            return 1 + self._chance.randrange(options - 1)

        return choose


def _quiet(_number: int, _options: int) -> int:
    return 0
