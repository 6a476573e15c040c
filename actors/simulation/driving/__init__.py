"""Ways to drive a scenario: seeds, tapes, systematic exploration; and shrinking what fails.

Hypothesis is in `strategies`, which is imported only where it is asked for.
"""

from palaver.actors.simulation.driving.exploring import Explored, explore
from palaver.actors.simulation.driving.few import Few
from palaver.actors.simulation.driving.replaying import replay
from palaver.actors.simulation.driving.runner import Runner, ScenarioUnknown
from palaver.actors.simulation.driving.seeds import Campaign, Found, check, search
from palaver.actors.simulation.driving.shrinking import NotReproduced, Shrunk, shrink
from palaver.actors.simulation.driving.statistics import Statistics
from palaver.actors.simulation.driving.tapes import RecordedTape, TapeUnreadable
from palaver.actors.simulation.driving.workers import WorkerDied

__all__ = [
    "Campaign",
    "Explored",
    "Few",
    "Found",
    "NotReproduced",
    "RecordedTape",
    "Runner",
    "ScenarioUnknown",
    "Shrunk",
    "Statistics",
    "TapeUnreadable",
    "WorkerDied",
    "check",
    "explore",
    "replay",
    "search",
    "shrink",
]
