"""The scenarios that mutations are hunted with, by name."""

from __future__ import annotations

from signal_scenarios import names, signals
from supervision_scenarios import supervision

from palaver.actors.simulation.world.running import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: dict[str, Scenario] = {
    "names": names,
    "signals": signals,
    "supervision": supervision,
}
