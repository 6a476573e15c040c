"""One scenario, ready to be run with any source of choices."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.world.running import Outcome, Scenario, run
from palaver.actors.simulation.world.tape import Source
from palaver.actors.simulation.world.world import World

__all__ = ["Runner", "ScenarioUnknown", "name_of", "scenario_named"]


class ScenarioUnknown(LookupError):
    """There is no scenario of this name; says what a name looks like."""


def name_of(scenario: Scenario) -> str:
    """``module:function`` of a scenario, by which `scenario_named` finds it again."""
    fn: Any = scenario
    while isinstance(fn, partial):
        fn = fn.func
    module = getattr(fn, "__module__", None) or "?"
    return f"{module}:{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def scenario_named(name: str) -> Scenario:
    """Import the scenario that ``module:function`` names; raises `ScenarioUnknown`."""
    module, _, path = name.partition(":")
    if not module or not path:
        raise ScenarioUnknown(f"{name!r} names no scenario: write 'package.module:function'")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ScenarioUnknown(f"there is no scenario {name!r}: {error}") from error
    if not callable(found):
        raise ScenarioUnknown(f"{name!r} is no function")
    scenario: Scenario = found
    return scenario


@dataclass(frozen=True)
class Runner:
    """Runs one scenario, always within the same limits.

    Args:
        scenario: An ``async def scenario(world)``.
        name: What tapes call it; ``module:function`` if empty.
        options: Further arguments of `run`: ``max_virtual_s``, ``max_steps``.
    """

    scenario: Scenario
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, scenario: Scenario | str | Runner, **options: Any) -> Runner:
        """A runner of a scenario, or of the one that a ``module:function`` names."""
        if isinstance(scenario, Runner):
            return cls(scenario.scenario, scenario.name, {**scenario.options, **options})
        if isinstance(scenario, str):
            return cls(scenario_named(scenario), scenario, options)
        return cls(scenario, name_of(scenario), options)

    def __call__(
        self,
        source: Source,
        *,
        observe: bool = False,
        prepare: Callable[[World], None] | None = None,
    ) -> Outcome:
        """Run it once; see `run`."""
        return run(self.scenario, source, observe=observe, prepare=prepare, **self.options)

    def tape_of(self, outcome: Outcome) -> RecordedTape:
        """What a run was, so that it can be run again."""
        name = self.name or name_of(self.scenario)
        return RecordedTape(name, outcome.tape.seed, dict(outcome.tape.deviations))
