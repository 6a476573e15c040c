"""The client as a state machine without I/O: what happened goes in, what to do comes out.

Every input method changes plain data only. The shell then runs turns::

    turn = core.begin()          # what must be kept, and what must be done after that
    state.commit(turn.change)
    core.finish(turn)            # now it counts: it may be sent, acknowledged, forgotten
    perform(turn.effects)
    while frame := core.transmit(now): send(frame)

Time comes in as ``now_s`` (monotonic seconds), chance and the signature through ports, so the same
inputs always give the same outputs. What a server's operation does is in `reactions`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import cbor2

from palaver.transport import wire
from palaver.transport.client import effects as fx
from palaver.transport.client import reactions
from palaver.transport.client.errors import (
    AuthFailed,
    BadMessage,
    ClientError,
    LimitReached,
    ProtocolViolation,
    Replaced,
    RequestTimeout,
    Revoked,
)
from palaver.transport.client.inbox import Inbox, Knowledge, Skipped
from palaver.transport.client.model import Event
from palaver.transport.client.outbox import Outbox
from palaver.transport.client.ports import Backoff
from palaver.transport.client.receipts import Receipts
from palaver.transport.client.requests import Pending, Requests
from palaver.transport.client.servers import Servers
from palaver.transport.client.session import Phase, Session, command
from palaver.transport.client.state import OutboxItem, Snapshot, StateChange

__all__ = ["Core", "Limits", "Timeouts"]

_MAX_OWN_REQUESTS: Final = 16


class Limits(NamedTuple):
    """The client's bounds; what happens at each is said where it is used."""

    outbox_messages: int = 10_000
    outbox_bytes: int = 64 * 1024 * 1024
    in_flight: int = 48
    inbox_events: int = 4_096
    inbox_bytes: int = 32 * 1024 * 1024
    requests: int = 1_000
    followed_messages: int = 10_000
    conversations: int = 10_000
    stream_items: int = 1_024
    watched: int = 1_000


class Timeouts(NamedTuple):
    """How long the client waits, in seconds."""

    handshake_s: float = 10.0
    request_s: float = 10.0
    answer_s: float = 30.0
    """For the answer to a message; after that the connection counts as dead."""
    ping_s: float = 20.0
    close_s: float = 5.0
    next_server_s: float = 4.0
    """With several servers: how long one may take to open a connection before the next is tried."""
    unavailable_s: float = 15.0
    """With several servers: how long one may answer nothing but ``unavailable``."""


class Core:
    """One device's client state machine. Its attributes are for this package only."""

    def __init__(
        self,
        account: str,
        device: int,
        sign: Callable[[bytes], bytes],
        snapshot: Snapshot,
        *,
        first_cid: int,
        chance: random.Random,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        backoff: Backoff | None = None,
        agent: str = "palaver-python",
        urls: Sequence[str] = ("",),
        near_first: bool = False,
    ) -> None:
        self.account = account
        self.device = device
        self.limits = limits = limits or Limits()
        self.timeouts = timeouts = timeouts or Timeouts()
        self.backoff = backoff or Backoff()
        self.chance = chance
        self.next_cid = snapshot.next_cid or first_cid
        self.session = Session(account, device, sign, agent=agent, timeout_s=timeouts.handshake_s)
        self.outbox = Outbox(
            snapshot.outbox.values(),
            max_items=limits.outbox_messages,
            max_bytes=limits.outbox_bytes,
            max_in_flight=limits.in_flight,
        )
        self.inbox = Inbox(
            snapshot.position, max_events=limits.inbox_events, max_bytes=limits.inbox_bytes
        )
        self.knowledge = Knowledge(
            snapshot.after, snapshot.seen, max_conversations=limits.conversations
        )
        self.receipts = Receipts(
            account,
            snapshot.awaited,
            max_messages=limits.followed_messages,
            max_conversations=limits.conversations,
        )
        self.requests = Requests(limits.requests)
        self.watched: dict[str, None] = {}  # in the order in which it was asked for
        self.failed: ClientError | None = None
        self.change = StateChange()
        self.effects: list[fx.Effect] = []
        # What the client itself asks: MARKS of these conversations, WATCH of these accounts.
        self.marks_due: dict[bytes, None] = {}
        self.watch_due: dict[str, None] = {}
        self.own_requests: set[int] = set()
        self.reconnect_after_s: float | None = None
        self.ack_position = snapshot.position
        self.queued_upto = 0
        self.servers = Servers(urls, self.backoff, chance, near_first=near_first)
        self._ready_since_s: float | None = None
        self._lost_s = 0.0
        self._unavailable_since_s: float | None = None
        self._dropping = False

    # -- the application's side ----------------------------------------------------------------

    def send(self, to: str | bytes, kind: str, body: bytes, file: bytes | None) -> int:
        """Put a message on the outbox and return its id.

        Raises:
            BadMessage: The wire has no room for it.
            OutboxFull: Too much waits already.
        """
        conv = wire.direct_conversation(self.account, to) if isinstance(to, str) else to
        seen = self.knowledge.seen(conv)
        # Both are said of the moment of writing; they stay the same on every try.
        return self._enqueue(wire.SEND, (to, seen, self.knowledge.after, kind, body, file))

    def make_group(self, name: str, members: Sequence[str]) -> int:
        """Put the making of a group on the outbox and return its id; raises as ``send``."""
        return self._enqueue(wire.GROUP, (name, list(members)))

    def change_members(self, conv: bytes, add: Sequence[str], remove: Sequence[str]) -> int:
        """Put a change of a group's members on the outbox; raises as ``send``."""
        return self._enqueue(wire.MEMBERS, (conv, list(add), list(remove)))

    def _enqueue(self, op: int, args: tuple[Any, ...]) -> int:
        cid = self.next_cid
        try:
            item = OutboxItem(cid, op, cbor2.dumps(args))
        except (cbor2.CBOREncodeError, UnicodeEncodeError) as error:
            raise BadMessage(f"this cannot be encoded: {error}") from error
        check(command(item, 0, 1))
        self.outbox.add(item)
        self.next_cid = cid + 1
        self.change.next_cid = self.next_cid
        self.change.added.append(item)
        return cid

    def request(self, op: wire.Request, now_s: float, timeout_s: float) -> int:
        """Ask the server something that may be asked twice; returns a token for the answer.

        Raises:
            BadMessage: The wire has no room for it.
            LimitReached: Too many requests wait, or too many accounts are watched.
        """
        check(op)
        if isinstance(op, wire.Watch) and len(self.watched) >= self.limits.watched:
            raise LimitReached(f"{self.limits.watched} accounts are watched already")
        if isinstance(op, wire.Unwatch):
            self.watched.pop(op.account, None)
            self.watch_due.pop(op.account, None)
        return self.requests.add(op, now_s + timeout_s)

    def give_up(self, token: int) -> None:
        """Nobody waits for this request any more."""
        pending = self.requests.done(token)
        if pending is not None:
            self._given_up(pending)

    def _given_up(self, pending: Pending) -> None:
        """Ask again for what the answer, which nobody takes any more, may tell of the presence."""
        if isinstance(pending.op, wire.Watch) and pending.op.account in self.watched:
            self.watch_due[pending.op.account] = None
            if self.session.phase is Phase.READY:  # or the next connection asks for all
                self.ask_own()

    def hint(self, to: str | bytes, on: bool) -> None:
        """Say that the user is typing, if there is a connection; hints are never kept."""
        check(wire.Typing(to, on))
        self.session.hint(wire.Typing(to, on))

    def take(self) -> Event | None:
        """Hand out the next event; the application says ``handled`` when it is past it."""
        while (event := self.inbox.take()) is not None:
            if not isinstance(event, Skipped):
                self.knowledge.shown(event.conv, event.seq, event.stamp)
                self.note_knowledge(event.conv)
                return event
            self.handled(event.position)
        return None

    def handled(self, position: int) -> None:
        """The application is past the event at this position: it will not be shown again."""
        if self.inbox.handled(position):
            self.change.position = self.inbox.position

    @property
    def caught_up(self) -> bool:
        """Whether everything that was queued at the last sign-in has arrived."""
        return self.inbox.received >= self.queued_upto

    def note_knowledge(self, conv: bytes) -> None:
        """Keep what is known of a conversation with the next step that is urgent."""
        self.change.after = self.knowledge.after
        self.change.seen[conv] = self.knowledge.seen(conv)
        for gone in self.knowledge.evict():
            self.change.seen[gone] = None

    # -- turns ---------------------------------------------------------------------------------

    def begin(self) -> fx.Turn | None:
        """Return what is to be kept and done, or None where nothing is."""
        change = None
        if self.change.urgent:
            change, self.change = self.change, StateChange()
        effects, self.effects = self.effects, []
        return fx.Turn(change, effects) if change is not None or effects else None

    def finish(self, turn: fx.Turn) -> None:
        """The turn's change is durable."""
        if turn.change is None:
            return
        for item in turn.change.added:
            self.outbox.kept(item.cid)
        for cid in turn.change.removed:
            self.outbox.forget(cid)
        if turn.change.position is not None:
            self.ack_position = turn.change.position

    # -- the connection's side -----------------------------------------------------------------

    def connected(self, now_s: float) -> None:
        """A WebSocket is open."""
        self._dropping = False
        self.session.connected(now_s)

    def received(self, data: bytes, now_s: float) -> None:
        """A binary message arrived. One that breaks the protocol ends the connection."""
        if self._dropping or self.failed is not None:
            return
        try:
            for op in wire.decode_frame(data):
                reactions.react(self, wire.parse_reply(op), now_s)
        except (wire.BadFrame, ProtocolViolation) as error:
            self.drop(wire.CloseCode.PROTOCOL_ERROR, str(error))
            return
        if self.session.phase is Phase.LEAVING and not self.session.open:
            self.drop(wire.CloseCode.NORMAL, "the server goes")

    def now_ready(self, now_s: float) -> None:
        """The server accepted this device: catch up with what was missed."""
        self._ready_since_s = now_s
        self.servers.accepted()
        self.watch_due = dict.fromkeys(self.watched)
        self.marks_due = dict.fromkeys(self.receipts.open_conversations())
        self.ask_own()

    def ask_own(self) -> None:
        """Ask what the client itself wants to know, a few requests at a time."""
        while len(self.own_requests) < _MAX_OWN_REQUESTS and (self.marks_due or self.watch_due):
            op: wire.Request
            if self.marks_due:
                conv = next(iter(self.marks_due))
                del self.marks_due[conv]
                op = wire.Marks(0, conv)
            else:
                account = next(iter(self.watch_due))
                del self.watch_due[account]
                op = wire.Watch(0, account)
            self.own_requests.add(self.requests.add(op, None))

    def disconnected(self, code: int | None, reason: str, now_s: float) -> None:
        """The connection is gone, closed with this code (None where it never was open)."""
        if self._ready_since_s is not None and self._unavailable_since_s is None:
            self.servers.held(now_s - self._ready_since_s)
        self._ready_since_s = self._unavailable_since_s = None
        self._lost_s = now_s
        self.session.lost()
        self.outbox.lost()
        # The next connection asks for itself again.
        for token in self.own_requests:
            self.requests.done(token)
        self.own_requests.clear()
        self.requests.lost()
        if code == wire.CloseCode.AUTH_FAILED:
            self.fail(AuthFailed(reason))
        elif code == wire.CloseCode.REVOKED:
            self.fail(Revoked(reason))
        elif code == wire.CloseCode.REPLACED:
            self.fail(Replaced(reason))
        elif code in _SERVER_REFUSES:
            self.fail(ProtocolViolation(f"the server closed with {code}: {reason}"))
        elif code == wire.CloseCode.TOO_MANY:
            self.servers.crowded()

    def reconnect_delay_s(self) -> float:
        """Choose the server to try next, and say how long to wait before that, in seconds."""
        asked, self.reconnect_after_s = self.reconnect_after_s, None
        return self.servers.failed(asked, self._lost_s)

    def served(self) -> None:
        """The server did what was asked of it."""
        self._unavailable_since_s = None

    def unserved(self, now_s: float) -> None:
        """The server answered ``unavailable``; where it does so for long, another one may serve."""
        if self._unavailable_since_s is None:
            self._unavailable_since_s = now_s
        unserved_s = now_s - self._unavailable_since_s
        if self.servers.several and unserved_s >= self.timeouts.unavailable_s:
            self.drop(wire.CloseCode.NORMAL, "the server has been unavailable for too long")

    def transmit(self, now_s: float) -> bytes | None:
        """Return the next frame to send, or None where there is nothing to say."""
        if self._dropping or self.failed is not None:
            return None
        return self.session.transmit(now_s, self.outbox, self.requests, self.ack_position)

    def drop(self, code: int, reason: str) -> None:
        """End this connection; the shell comes back with a new one."""
        if not self._dropping and self.session.phase is not Phase.OFFLINE:
            self._dropping = True
            self.effects.append(fx.Drop(code, reason))

    def fail(self, error: ClientError) -> None:
        """End the client: nothing that it could do would help. The outbox stays in the state."""
        if self.failed is None:
            self.failed = error
            self.effects += [fx.Failed(each.token, error) for each in self.requests.clear()]
            self.effects.append(fx.Fatal(error))

    # -- time ----------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        for late in self.requests.expired(now_s):
            name = type(late.op).__name__.upper()
            self.effects.append(fx.Failed(late.token, RequestTimeout(f"no answer to {name}")))
            self._given_up(late)
        deadline = self.session.deadline_s
        if deadline is not None and now_s >= deadline:
            self.drop(wire.CloseCode.NORMAL, "the server did not answer in time")
        oldest = self.outbox.oldest_sent_s
        if oldest is not None and now_s >= oldest + self.timeouts.answer_s:
            self.drop(wire.CloseCode.NORMAL, "no answer to a message in time")

    def next_deadline_s(self, now_s: float) -> float | None:
        """When ``tick`` or ``transmit`` has something to do without any other input."""
        due = [self.requests.next_deadline_s(now_s)]
        if not self._dropping and self.session.phase is not Phase.OFFLINE:
            due.append(self.session.deadline_s)
            due.append(self.outbox.next_deadline_s(self.timeouts.answer_s, now_s))
        return min((each for each in due if each is not None), default=None)


_SERVER_REFUSES: Final = frozenset(
    {wire.CloseCode.TEXT_FRAME, wire.CloseCode.TOO_BIG, wire.CloseCode.BAD_FRAME}
)


def check(op: wire.ClientOp) -> None:
    """Raise BadMessage where the wire's grammar does not allow an operation."""
    fields = [list(each) if isinstance(each, tuple) else each for each in op]
    try:
        wire.parse_request([wire.OPCODES[type(op)], *fields])
    except wire.BadRequest as error:
        raise BadMessage(error.text) from error
    except UnicodeEncodeError as error:
        raise BadMessage(f"text that is not Unicode: {error}") from error
