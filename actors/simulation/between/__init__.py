"""Processes of several simulated nodes reach each other, with the semantics of Erlang/OTP."""

from palaver.actors.distribution.addresses import RemoteName, RemotePid
from palaver.actors.distribution.crossing import CannotCross
from palaver.actors.distribution.distribution import Carrier, Distribution
from palaver.actors.distribution.nodes import Nodedown, Nodeup
from palaver.actors.simulation.between.fabric import Fabric
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
