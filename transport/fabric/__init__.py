"""Packets between nodes, in order or not at all, over NATS core messaging."""

from __future__ import annotations

from .errors import (
    NatsClosed,
    NatsError,
    NatsRefused,
    NatsSettingsWrong,
    NatsTooBig,
    NatsUnreachable,
    NatsUntrusted,
)
from .nats import NatsConnection, NatsSubscription
from .nats_settings import NatsSettings, NatsStats, mutual_tls

__all__ = [
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
    "mutual_tls",
]
