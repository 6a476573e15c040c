"""Processes of several nodes reach each other, with the semantics of Erlang/OTP."""

from palaver.actors.distribution.addresses import RemoteName, RemotePid
from palaver.actors.distribution.crossing import CannotCross
from palaver.actors.distribution.distribution import Carrier, Distribution
from palaver.actors.distribution.links import LinkCarrier, Links, LinksTold
from palaver.actors.distribution.nodes import Nodedown, Nodeup
from palaver.actors.distribution.vocabulary import RemoteError, Unreadable, Vocabulary

__all__ = [
    "CannotCross",
    "Carrier",
    "Distribution",
    "LinkCarrier",
    "Links",
    "LinksTold",
    "Nodedown",
    "Nodeup",
    "RemoteError",
    "RemoteName",
    "RemotePid",
    "Unreadable",
    "Vocabulary",
]
