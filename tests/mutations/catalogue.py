"""The scenarios that mutations are hunted with, by name."""

from __future__ import annotations

from log_scenarios import fenced
from signal_scenarios import names, signals
from supervision_scenarios import supervision
from town_scenarios import cuts, hasty, jumpy, returning

from palaver.actors.simulation.world.running import Scenario
from palaver.supervisors.simulations import scenarios

__all__ = ["SCENARIOS"]

SCENARIOS: dict[str, Scenario] = {
    "names": names,
    "signals": signals,
    "supervision": supervision,
    "cuts": cuts,
    "fenced": fenced,
    "hasty": hasty,
    "jumpy": jumpy,
    "returning": returning,
    **scenarios.SCENARIOS,
}
