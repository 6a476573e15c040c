"""A source of choices that Hypothesis draws, while the run goes on.

Not every choice is drawn, but for each stream the distance to its next deviation (0: there is none
any more), then what is chosen there. So what is drawn grows with the deviations and not with the
choices: a run of a hundred thousand choices fits into Hypothesis' buffer, and its shrinker, which
makes fewer and smaller draws, makes fewer deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from hypothesis import strategies as st

from palaver.actors.simulation.world.tape import Draw, kind_of

__all__ = ["Drawn"]

MAX_DEVIATIONS: Final = 50
MAX_DISTANCE: Final = 2000

_ON: Final = st.booleans()


class Drawn:
    """What a Hypothesis test draws; made by `tapes`, used in one run.

    Args:
        draw: Draws from a strategy.
        seed: Of values.
        kinds: Only choices of these kinds deviate; all if None.
        max_deviations: After so many, everything is quiet.
        max_distance: Quiet choices between two deviations of a stream, at most.
    """

    def __init__(
        self,
        draw: Callable[[st.SearchStrategy[Any]], Any],
        *,
        seed: int = 0,
        kinds: Collection[str] | None = None,
        max_deviations: int = MAX_DEVIATIONS,
        max_distance: int = MAX_DISTANCE,
    ) -> None:
        self.seed = seed
        self._draw_from = draw
        self._kinds = None if kinds is None else frozenset(kinds)
        self._left = max_deviations
        self._max_distance = max_distance
        self._on: dict[str, bool] = {}
        self._stopped: BaseException | None = None

    def __repr__(self) -> str:
        return "<a tape, drawn as the run goes on>"

    def open(self, name: str, rate: float) -> Draw:
        """Begin a stream: draw whether its kind deviates at all, and where it does first."""
        kind = kind_of(name)
        if rate <= 0.0 or (self._kinds is not None and kind not in self._kinds):
            return _quiet
        on = self._on.get(kind)
        if on is None:
            on = self._on[kind] = bool(self._draw(_ON))
        if not on:
            return _quiet
        # On average a stream deviates about as often as the world says it should.
        distances = st.integers(0, max(1, min(self._max_distance, round(2 / rate))))
        due = self._draw(distances) - 1

        def choose(number: int, options: int) -> int:
            nonlocal due
            if number != due or self._left <= 0:
                return 0
            self._left -= 1
            value = 1 if options == 2 else 1 + self._draw(st.integers(0, options - 2))
            further = self._draw(distances)
            due = number + further if further else -1
            return value

        return choose

    def _draw(self, strategy: st.SearchStrategy[Any]) -> int:
        """Draw, unless Hypothesis has had enough: then 0 for ever.

        What Hypothesis raises to end an example must not be raised here, in the middle of an
        actor, where it would be taken for a crash; `check` does it.
        """
        if self._stopped is not None:
            return 0
        try:
            return int(self._draw_from(strategy))
        except BaseException as stop:  # noqa: BLE001 - raised by `check`
            self._stopped = stop
            return 0

    def check(self) -> None:
        """To be called after the run: raises what Hypothesis raised meanwhile, if it did."""
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            raise stopped


def _quiet(_number: int, _options: int) -> int:
    return 0
