"""Packets between nodes, in order or not at all, over NATS core messaging.

`NatsConnection` is a node's one connection to NATS, for whatever needs it; `Fabric` stands on it.
"""

from __future__ import annotations

from .errors import (
    NatsClosed,
    NatsError,
    NatsRefused,
    NatsSettingsWrong,
    NatsTooBig,
    NatsUnreachable,
    NatsUntrusted,
    PacketTooBig,
)
from .fabric import Fabric, Told
from .limits import FabricLimits, FabricStats
from .nats import NatsConnection, NatsSubscription
from .nats_settings import NatsSettings, NatsStats, mutual_tls
from .neighbours import Known

__all__ = [
    "Fabric",
    "FabricLimits",
    "FabricStats",
    "Known",
    "NatsClosed",
    "NatsConnection",
    "NatsError",
    "NatsRefused",
    "NatsSettings",
    "NatsSettingsWrong",
    "NatsStats",
    "NatsSubscription",
    "NatsTooBig",
    "NatsUnreachable",
    "NatsUntrusted",
    "PacketTooBig",
    "Told",
    "mutual_tls",
]
