"""What the core asks its shell to do, and what it tells it. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from palaver.transport.client.errors import ClientError
from palaver.transport.client.model import Presence, Receipt, SentMessage, Typing
from palaver.transport.client.state import StateChange
from palaver.transport.wire import Result

__all__ = [
    "Acked",
    "Answered",
    "Arrived",
    "Delivered",
    "Drop",
    "Effect",
    "Failed",
    "Fatal",
    "ReadByAll",
    "Ready",
    "ReceiptsLost",
    "Refused",
    "Shown",
    "Turn",
]


class Acked(NamedTuple):
    """A message is durable on the server."""

    cid: int
    sent: SentMessage
    followed: bool
    """Whether receipts of it will be told."""


class Refused(NamedTuple):
    """A message was refused for good; it left the outbox."""

    cid: int
    error: ClientError


class Delivered(NamedTuple):
    """A message is on a device of everyone it is for."""

    cid: int


class ReadByAll(NamedTuple):
    """A message was read by everyone it is for."""

    cid: int


class ReceiptsLost(NamedTuple):
    """Receipts of a message are no longer followed."""

    cid: int


class Answered(NamedTuple):
    """A request succeeded."""

    token: int
    result: Result


class Failed(NamedTuple):
    """A request failed."""

    token: int
    error: ClientError


class Arrived(NamedTuple):
    """There are new events to take."""


class Shown(NamedTuple):
    """A receipt, a presence or a typing hint for whoever listens."""

    what: Receipt | Presence | Typing


class Ready(NamedTuple):
    """The connection is authenticated; so many events wait at the server, its clock says so."""

    pending: int
    now_ms: int


class Drop(NamedTuple):
    """Close the connection; the client comes back."""

    code: int
    reason: str


class Fatal(NamedTuple):
    """The client cannot go on."""

    error: ClientError


Effect = (
    Acked
    | Refused
    | Delivered
    | ReadByAll
    | ReceiptsLost
    | Answered
    | Failed
    | Arrived
    | Shown
    | Ready
    | Drop
    | Fatal
)


@dataclass(slots=True)
class Turn:
    """One step: commit ``change``, then call ``Core.finish``, then perform the effects."""

    change: StateChange | None
    effects: list[Effect] = field(default_factory=list)
