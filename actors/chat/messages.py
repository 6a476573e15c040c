"""What the chat actors say to each other: plain immutable tuples with names."""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.actors.chat.state.commands import Command, Fresh, Refusal
from palaver.actors.runtime import Pid
from palaver.transport.edge import Connection

__all__ = [
    "AckUpTo",
    "Announce",
    "AnnounceAgain",
    "Answer",
    "Append",
    "Applied",
    "Ask",
    "AttachAgain",
    "AttachQueue",
    "ClientAck",
    "Close",
    "ConnectionEnded",
    "Drain",
    "FindSequencer",
    "Forget",
    "GatewayUp",
    "LookUp",
    "Missed",
    "NewEvents",
    "Opened",
    "Placement",
    "PresenceChanged",
    "PresenceIs",
    "Present",
    "RegisterSession",
    "Release",
    "Reload",
    "Revoked",
    "Rewatch",
    "Route",
    "RouteHere",
    "SequencerIs",
    "SessionOp",
    "Submit",
    "SubmitGroup",
    "SubmitMembers",
    "TypingHint",
    "Unwatch",
    "Watch",
    "Watched",
    "Welcome",
    "WhoIsOnline",
    "Withdraw",
    "Writable",
    "WriteLastSeen",
]


# -- with a partition ------------------------------------------------------------------------


class Append(NamedTuple):
    """Append a command to the partition's log; answered by `Applied` when it is durable."""

    reply_to: Pid | None
    tag: Any
    command: Command


class Applied(NamedTuple):
    """A command was applied and is durable (`error` is None), or it was not."""

    tag: Any
    value: Any
    error: Exception | None


class Ask(NamedTuple):
    """Run a named query of :mod:`palaver.actors.chat.queries`; answered by `Answer`."""

    reply_to: Pid | None
    tag: Any
    query: str
    args: tuple[Any, ...]


class Answer(NamedTuple):
    """What a query found."""

    tag: Any
    value: Any
    error: BaseException | None


class AttachQueue(NamedTuple):
    """From now on tell this queue of every event that is put into the device's queue.

    `as_of` is from the answer that told where the queue stands; if events may have come since, the
    queue is told so by `Missed`.
    """

    account: str
    device: int
    queue: Pid
    as_of: tuple[int, int]


class AttachAgain(NamedTuple):
    """The queue is not attached: it has to ask first where it stands, and whether it still may."""


class Revoked(NamedTuple):
    """The queue's device was revoked, and its session must end; the queue is not attached."""


class NewEvents(NamedTuple):
    """Events became durable in a device's queue, at positions from `first` on."""

    first: int
    events: list[bytes]


class Missed(NamedTuple):
    """Events may have become durable before the attachment: read the table."""


class AckUpTo(NamedTuple):
    """The device has every event up to this position; nobody waits for the outcome."""

    account: str
    device: int
    position: int


class FindSequencer(NamedTuple):
    """Which process orders this conversation? It is started if need be."""

    reply_to: Pid
    conversation: bytes


class SequencerIs(NamedTuple):
    """The process that orders a conversation; None if it could not be started."""

    conversation: bytes
    pid: Pid | None


# -- with a sequencer ------------------------------------------------------------------------


class Submit(NamedTuple):
    """Messages of one device for one conversation, in order; answered by `Applied`.

    `pair` names the two of a direct conversation, which may not exist yet; None otherwise. `after`
    is the latest stamp that the sender's node knows of: these come after it.
    """

    reply_to: Pid
    tag: Any
    pair: tuple[str, str] | None
    sender: str
    device: int
    low: int
    previous: int
    messages: list[Fresh]
    after: int = 0


class SubmitGroup(NamedTuple):
    """Make this conversation, a group; answered by `Applied`."""

    reply_to: Pid
    tag: Any
    sender: str
    device: int
    client_id: int
    low: int
    name: str
    members: tuple[str, ...]
    after: int = 0


class SubmitMembers(NamedTuple):
    """Change who belongs to this group; answered by `Applied`."""

    reply_to: Pid
    tag: Any
    sender: str
    device: int
    client_id: int
    low: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    after: int = 0
    previous: int = 0


class TypingHint(NamedTuple):
    """Tell the other members, by way of `gateway`, that someone types; never stored."""

    gateway: Pid
    account: str
    on: bool


class Reload(NamedTuple):
    """The conversation's members or blocks changed: read them again."""


# -- with a session or a queue ---------------------------------------------------------------


class ClientAck(NamedTuple):
    """The device has every event up to this position."""

    position: int


class SessionOp(NamedTuple):
    """An encoded operation for the client; a later one with the same key may replace it."""

    key: Any
    op: bytes


class ConnectionEnded(NamedTuple):
    """The connection is gone."""

    code: int
    reason: str


class Writable(NamedTuple):
    """The client reads again."""


class Close(NamedTuple):
    """End the session: say GOING if `reconnect_after_ms` is given, then close with `code`."""

    code: int
    reason: str
    reconnect_after_ms: int | None


# -- with a gateway and the manager ----------------------------------------------------------


class Opened(NamedTuple):
    """The listener accepted a WebSocket."""

    connection: Connection


class Announce(NamedTuple):
    """A device of an account is connected at this gateway, in this session."""

    gateway: Pid
    account: str
    device: int
    session: Pid


class Withdraw(NamedTuple):
    """A device's session at this gateway ended; `last` if it was the account's last one here."""

    gateway: Pid
    account: str
    device: int
    session: Pid
    last: bool


class LookUp(NamedTuple):
    """Which gateways hold sessions of this account? The manager tells of changes from now on."""

    gateway: Pid
    account: str


class Forget(NamedTuple):
    """The gateway no longer wants to hear about this account."""

    gateway: Pid
    account: str


class Placement(NamedTuple):
    """The gateways that hold sessions of an account."""

    account: str
    gateways: tuple[Pid, ...]


class Release(NamedTuple):
    """A newer session of this device is elsewhere: end the one here, if it is not that one."""

    account: str
    device: int
    newer: Pid


class GatewayUp(NamedTuple):
    """A gateway serves; it announces its sessions after this."""

    gateway: Pid


class AnnounceAgain(NamedTuple):
    """The registry of a partition's manager has lost sessions: announce them again."""

    number: int


class Route(NamedTuple):
    """Hand an operation to every session of these accounts, wherever they are; never stored."""

    accounts: tuple[str, ...]
    key: Any
    op: bytes


class RouteHere(NamedTuple):
    """As `Route`, from another gateway: only to the sessions here."""

    account: str
    key: Any
    op: bytes


class RegisterSession(NamedTuple):
    """A session has authenticated as a device of an account."""

    account: str
    device: int
    session: Pid
    connection: Connection


class Drain(NamedTuple):
    """Call: send all clients away, and take no new ones; answered when all have gone.

    Attributes:
        least_ms, spread_ms: clients leave this node alone for `least_ms` plus up to `spread_ms`.
        paced: whether they are told so one after the other over `spread_ms`, so that they do not
            come to another node all at once; else all now.
    """

    least_ms: int
    spread_ms: int
    paced: bool = False


class Welcome(NamedTuple):
    """Take clients again, after a `Drain`."""


class Rewatch(NamedTuple):
    """The presence of a partition began anew: subscribe again to the accounts that live there."""

    number: int


# -- with presence ---------------------------------------------------------------------------


class Present(NamedTuple):
    """A session of an account, at a gateway, began or ended."""

    gateway: Pid
    account: str
    device: int
    session: Pid
    present: bool


class Watch(NamedTuple):
    """Subscribe a session to an account's presence; answered by `Watched`.

    `mark` is another one each time. It comes with what presence says from then on, so that the
    session knows what an earlier presence has said, on another node perhaps, and is late.
    """

    session: Pid
    mark: int
    tag: Any
    viewer: str
    account: str


class Unwatch(NamedTuple):
    """End a subscription."""

    session: Pid
    account: str


class Watched(NamedTuple):
    """The answer to `Watch`, or its refusal."""

    mark: int
    tag: Any
    online: bool
    last_seen_ms: int | None
    refused: Refusal | None


class PresenceIs(NamedTuple):
    """What a session that watches an account is to tell its client, encoded; see `Watch`."""

    account: str
    mark: int
    op: bytes


class WriteLastSeen(NamedTuple):
    """Call: write what is unwritten; the reply comes when it is durable."""


class WhoIsOnline(NamedTuple):
    """Call: the devices with sessions of each of these accounts that is online."""

    accounts: tuple[str, ...]


class PresenceChanged(NamedTuple):
    """Privacy or blocks of an account changed: decide again who sees what.

    A partition's process says so to every presence that has asked it for a row.
    """

    account: str
