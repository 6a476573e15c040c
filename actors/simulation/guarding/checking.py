"""Two runs of one tape must be the same; if they are not, where they part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from palaver.actors.simulation.errors import Violation
from palaver.actors.simulation.guarding.elsewhere import perform_elsewhere
from palaver.actors.simulation.guarding.recording import Replay, Run, Step, perform
from palaver.actors.simulation.world.running import Scenario
from palaver.actors.simulation.world.sources import Seeded
from palaver.actors.simulation.world.tape import Source
from palaver.actors.simulation.world.world import DEFAULT_MAX_STEPS, DEFAULT_MAX_VIRTUAL_S

__all__ = ["Diverged", "check_deterministic"]

_BEFORE: Final = 8
"""So many steps that are the same are shown before the first that is not."""


class Diverged(Violation):
    """Two runs of one tape were not the same: something besides the tape has a say.

    Attributes:
        step: the number of the first thing that is not the same in both; -1 if it was not found.
    """

    def __init__(self, text: str, step: int = -1) -> None:
        super().__init__("two runs of one tape differ", text)
        self.step = step


def check_deterministic(
    scenario: Scenario,
    seed: int = 0,
    *,
    source: Source | None = None,
    hash_seeds: Sequence[int] = (1, 2),
    strict: bool = True,
    allow: Iterable[str] = (),
    max_virtual_s: float = DEFAULT_MAX_VIRTUAL_S,
    max_steps: int = DEFAULT_MAX_STEPS,
) -> int:
    """Run a scenario several times on one tape: twice here, and in interpreters of their own.

    Those have other values of PYTHONHASHSEED, so that sets of text have another order. All runs
    must have the same trace hash, which is returned, and fail in the same way if they do.

    Args:
        scenario: an `async def` at the top level of a module.
        seed: of the first run, if there is no
        source: where its choices come from; the other runs are replays of what it chose.
        hash_seeds: one further interpreter for each; none are started if it is empty.
        strict: let the guard look at every call.
        allow: packages that may ask for time and chance; see `World`.
        max_virtual_s: limits of a run, as of `run`.
        max_steps: the same.

    Raises:
        Diverged: two runs differ; the text shows the first step that does, in both.
        SimulationError: the scenario cannot be run in another interpreter.
    """
    source = Seeded(seed) if source is None else source
    replay = Replay(source.seed, [], strict, list(allow), max_virtual_s, max_steps)
    first = perform(scenario, replay, source)
    chosen = [(name, number, value) for (name, number), value in first.deviations.items()]
    replay = replay._replace(deviations=chosen)

    def here(record: bool) -> Run:
        return perform(scenario, replay, record=record)

    _compare(first, here, here, "again in this interpreter")
    for hash_seed in hash_seeds:

        def elsewhere(record: bool, hash_seed: int = hash_seed) -> Run:
            return perform_elsewhere(scenario, replay, hash_seed, record=record)

        _compare(first, here, elsewhere, f"with PYTHONHASHSEED={hash_seed}")
    return first.hash


def _compare(
    first: Run, here: Callable[[bool], Run], other: Callable[[bool], Run], where: str
) -> None:
    second = other(False)
    if (first.hash, first.failure) == (second.hash, second.failure):
        return
    one, two = here(True), other(True)
    step = _first_difference(one.steps, two.steps)
    if step is None:
        ends = f"{first.failure or 'all well'}, and {second.failure or 'all well'}"
        raise Diverged(f"run once, and {where}; they ended with {ends}. Run again, they agreed")
    raise Diverged(f"run once, and {where}\n{_shown(one.steps, two.steps, step)}", step)


def _first_difference(one: list[Step], two: list[Step]) -> int | None:
    for number, (mine, yours) in enumerate(zip(one, two, strict=False)):
        if mine != yours:
            return number
    return min(len(one), len(two)) if len(one) != len(two) else None


def _shown(one: list[Step], two: list[Step], step: int) -> str:
    lines = [f"    {each.text}" for each in one[max(0, step - _BEFORE) : step]]
    for sign, steps in (("one:", one), ("two:", two)):
        text = steps[step].text if step < len(steps) else "nothing more"
        lines.append(f"{sign}{text}")
    return "\n".join(lines)
