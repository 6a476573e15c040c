"""Simulation with Hypothesis; needs the package `hypothesis`, as nothing else of the kit does."""

from palaver.actors.simulation.driving.strategies import *  # noqa: F403 - this is its face
from palaver.actors.simulation.driving.strategies import __all__ as _strategies

__all__ = [*_strategies]
