"""Processes of several nodes reach each other, with the semantics of Erlang/OTP."""

from palaver.actors.distribution.addresses import RemoteName, RemotePid
from palaver.actors.distribution.crossing import CannotCross
from palaver.actors.distribution.distribution import Carrier, Distribution
from palaver.actors.distribution.global_names import GlobalName, GlobalNames, GlobalServer
from palaver.actors.distribution.links import LinkCarrier, Links, LinksTold
from palaver.actors.distribution.nodes import Nodedown, Nodeup
from palaver.actors.distribution.requests import (
    GlobalNameConflict,
    RpcBusy,
    RpcError,
    RpcExited,
    RpcRaised,
    RpcUnknown,
)
from palaver.actors.distribution.rpc import Rpc, RpcServer
from palaver.actors.distribution.vocabulary import RemoteError, Unreadable, Vocabulary

__all__ = [
    "CannotCross",
    "Carrier",
    "Distribution",
    "GlobalName",
    "GlobalNameConflict",
    "GlobalNames",
    "GlobalServer",
    "LinkCarrier",
    "Links",
    "LinksTold",
    "Nodedown",
    "Nodeup",
    "RemoteError",
    "RemoteName",
    "RemotePid",
    "Rpc",
    "RpcBusy",
    "RpcError",
    "RpcExited",
    "RpcRaised",
    "RpcServer",
    "RpcUnknown",
    "Unreadable",
    "Vocabulary",
]
