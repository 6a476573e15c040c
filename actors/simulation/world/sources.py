"""Sources of choices: none at all, a seed, what was recorded."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from palaver.actors.simulation.world.tape import Deviations, Draw, kind_of

__all__ = ["Quiet", "Recorded", "Seeded"]

#: What swarm testing makes of the rates of one kind in one run (Groce et al., Swarm Testing, 2012):
#: runs in which some faults never happen find what runs with a little of everything do not.
_SWARM = (0.0, 0.0, 0.3, 1.0, 1.0, 3.0)

#: Kinds that are no faults: what people do in a scenario is done in every run.
_ALWAYS = frozenset({"work"})


def _quiet(_number: int, _options: int) -> int:
    return 0


class Quiet:
    """Nothing is ever wrong."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def open(self, name: str, rate: float) -> Draw:
        """A stream of zeros."""
        return _quiet


class Seeded:
    """Chance: every stream deviates at its rate, with equal chances for all other options.

    Args:
        seed: of choices and values.
        swarm: let the seed switch whole kinds off, down or up; but not ``work``, what people do.
        rates: rates of kinds to be taken in place of those that the world names.
    """

    def __init__(
        self, seed: int, *, swarm: bool = True, rates: Mapping[str, float] | None = None
    ) -> None:
        self.seed = seed
        self._swarm = swarm
        self._rates = dict(rates or {})
        self._factors: dict[str, float] = {}

    def open(self, name: str, rate: float) -> Draw:
        """A stream that deviates by chance."""
        kind = kind_of(name)
        rate = min(1.0, self._rates.get(kind, rate) * self._factor(kind))
        if rate <= 0.0:
            return _quiet
        chance = random.Random(f"{self.seed}/choices/{name}")  # noqa: S311
        scale = None if rate >= 1.0 else math.log1p(-rate)
        draw, below = chance.random, chance.randrange
        # The distance to the next deviation is drawn, not each choice: most are quiet.
        due = _skip(draw(), scale)

        def choose(number: int, options: int) -> int:
            nonlocal due
            if number < due:
                return 0
            due = number + 1 + _skip(draw(), scale)
            return 1 + below(options - 1)

        return choose

    def _factor(self, kind: str) -> float:
        if not self._swarm or kind in _ALWAYS:
            return 1.0
        factor = self._factors.get(kind)
        if factor is None:
            chance = random.Random(f"{self.seed}/swarm/{kind}")  # noqa: S311
            factor = self._factors[kind] = chance.choice(_SWARM)
        return factor


def _skip(drawn: float, scale: float | None) -> int:
    """How many quiet choices come first, geometrically distributed."""
    return 0 if scale is None else int(math.log1p(-drawn) / scale)


class Recorded:
    """What was recorded, and the quiet choice for everything else.

    A recorded option that does not exist any more becomes the last one.
    """

    def __init__(self, deviations: Deviations, seed: int = 0) -> None:
        self.seed = seed
        self._streams: dict[str, dict[int, int]] = {}
        for (name, number), value in deviations.items():
            self._streams.setdefault(name, {})[number] = value

    def open(self, name: str, rate: float) -> Draw:
        """A stream that deviates where it is recorded."""
        recorded = self._streams.get(name)
        if recorded is None:
            return _quiet
        get = recorded.get

        def choose(number: int, options: int) -> int:
            value = get(number, 0)
            return value if value < options else options - 1

        return choose
