"""The deterministic world: virtual time, hosts, their network, one tape of choices."""

from palaver.actors.simulation.world.clocks import HostClock
from palaver.actors.simulation.world.coverage import Coverage
from palaver.actors.simulation.world.hosts import Boot, Host
from palaver.actors.simulation.world.nemesis import Fault, Faults, Nemesis
from palaver.actors.simulation.world.network import Link, Network
from palaver.actors.simulation.world.running import Outcome, Scenario, run
from palaver.actors.simulation.world.sources import Quiet, Recorded, Seeded
from palaver.actors.simulation.world.statements import (
    AlwaysViolated,
    NotReached,
    SimulationError,
    Stuck,
    TooLong,
    Unhandled,
    Violation,
)
from palaver.actors.simulation.world.tape import Deviations, Source, Stream, Tape
from palaver.actors.simulation.world.trace import Line, Trace
from palaver.actors.simulation.world.world import World

__all__ = [
    "AlwaysViolated",
    "Boot",
    "Coverage",
    "Deviations",
    "Fault",
    "Faults",
    "Host",
    "HostClock",
    "Line",
    "Link",
    "Nemesis",
    "Network",
    "NotReached",
    "Outcome",
    "Quiet",
    "Recorded",
    "Scenario",
    "Seeded",
    "SimulationError",
    "Source",
    "Stream",
    "Stuck",
    "Tape",
    "TooLong",
    "Trace",
    "Unhandled",
    "Violation",
    "World",
    "run",
]
