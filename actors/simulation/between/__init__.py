"""Processes of several simulated nodes reach each other, with the semantics of Erlang/OTP."""

from palaver.actors.simulation.between.addresses import RemoteName, RemotePid
from palaver.actors.simulation.between.crossing import CannotCross
from palaver.actors.simulation.between.distribution import Carrier, Distribution
from palaver.actors.simulation.between.fabric import Fabric
from palaver.actors.simulation.between.nodes import Nodedown, Nodeup
from palaver.actors.simulation.between.probe import Probe, ProbeFailed
from palaver.actors.simulation.between.wholeness import assert_tree_whole

__all__ = [
    "CannotCross",
    "Carrier",
    "Distribution",
    "Fabric",
    "Nodedown",
    "Nodeup",
    "Probe",
    "ProbeFailed",
    "RemoteName",
    "RemotePid",
    "assert_tree_whole",
]
