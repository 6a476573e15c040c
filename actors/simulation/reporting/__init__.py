"""The report of a failing run: text, sequence diagram, HTML page, the tree of processes."""

from palaver.actors.simulation.reporting.failure import Report, SimulationFailed
from palaver.actors.simulation.reporting.watching import Watch

__all__ = ["Report", "SimulationFailed", "Watch"]
