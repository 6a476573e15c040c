"""What every session is given, and the thin shell between the listener and the processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from palaver.actors.chat.messages import ConnectionEnded, Opened, Writable
from palaver.actors.chat.names import Places, gateway_name
from palaver.actors.chat.stamps import StampClock
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import Node, Pid
from palaver.transport import wire
from palaver.transport.edge import Connection
from palaver.transport.wire import CloseCode

__all__ = ["Acceptor", "Inbox", "SessionContext", "SessionLimits", "TokenIssuer"]


class TokenIssuer(Protocol):
    """Makes bearer tokens for media over HTTP."""

    def issue_token(self, account: str, device: int) -> tuple[str, int]:
        """A token and when it expires (unix milliseconds)."""


class SessionLimits(NamedTuple):
    """What one session may do.

    Attributes:
        authenticate_s: a connection that has not authenticated by then is closed with 4408.
        open_requests: beyond this many the server stops reading from the connection.
        lanes: conversations with sends that a session remembers.
        late_ops: hints that wait for a slow reader; beyond that it has to reconnect.
        backlog_bytes: frames read but not handled; beyond that the server stops reading.
        request_s: a question that another process left unanswered for so long is a timeout.
        flush_s: how long a closing session waits for the answers to what it has accepted.
    """

    authenticate_s: float = 10.0
    open_requests: int = wire.MAX_OPEN_REQUESTS
    lanes: int = 256
    late_ops: int = 1_024
    backlog_bytes: int = 512 * 1024
    flush_s: float = 3.0
    request_s: float = 20.0


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What the sessions of a node share."""

    server: str
    places: Places
    stamps: StampClock
    stats: ChatStats
    tokens: TokenIssuer
    limits: SessionLimits = field(default_factory=SessionLimits)

    def announced_limits(self) -> Mapping[str, int]:
        """The limits that the answer to HELLO names."""
        return {
            "frame_bytes": wire.MAX_FRAME_BYTES,
            "frame_ops": wire.MAX_FRAME_OPS,
            "body_bytes": wire.MAX_BODY_BYTES,
            "open_requests": self.limits.open_requests,
            "members": wire.MAX_MEMBERS,
        }


class Inbox:
    """Between a connection and its session: how much was read and is not handled yet."""

    __slots__ = ("session", "waiting_bytes")

    def __init__(self, session: Pid) -> None:
        self.session = session
        self.waiting_bytes = 0


class Acceptor:
    """Turns what happens on a listener's connections into messages.

    Connections are dealt to the gateways in turn. Who was dealt to which is kept here, outside of
    any process, so that no connection stays open behind a gateway that died with its sessions.
    """

    __slots__ = ("_dealt", "_limits", "_next", "_node", "turning_away")

    def __init__(self, node: Node, gateways: int, limits: SessionLimits) -> None:
        self._node = node
        self._limits = limits
        self._next = 0
        #: Whether new connections are closed at once, since the node is drained.
        self.turning_away = False
        self._dealt: tuple[dict[Connection, None], ...] = tuple({} for _ in range(gateways))

    def on_open(self, conn: Connection) -> None:
        """Nothing is read from the connection before its session asks for it."""
        if self.turning_away:
            conn.close(CloseCode.GOING_AWAY, "this server is drained; connect to another one")
            return
        conn.set_deadline(self._limits.authenticate_s)
        self._next = (self._next + 1) % len(self._dealt)
        self._dealt[self._next][conn] = None
        self._node.send(gateway_name(self._next), Opened(conn))

    def hang_up(self, gateway: int) -> None:
        """Close what was dealt to a gateway: it begins anew, and its sessions are gone."""
        for conn in list(self._dealt[gateway]):
            conn.close(CloseCode.GOING_AWAY, "something here begins anew; connect again")

    def hang_up_all(self) -> None:
        """Close whatever is still open."""
        for number in range(len(self._dealt)):
            self.hang_up(number)

    def on_frame(self, conn: Connection, data: bytes) -> None:
        """Hand a frame to the session; stop reading if it does not keep up."""
        inbox: Inbox = conn.attachment
        inbox.waiting_bytes += len(data)
        if inbox.waiting_bytes > self._limits.backlog_bytes:
            conn.pause_reading()
        self._node.send(inbox.session, data)

    def on_close(self, conn: Connection, code: int, reason: str) -> None:
        """Tell the session, if there is one."""
        for dealt in self._dealt:
            dealt.pop(conn, None)
        if conn.attachment is not None:
            self._node.send(conn.attachment.session, ConnectionEnded(code, reason))

    def on_writable(self, conn: Connection) -> None:
        """Tell the session that its client reads again."""
        if conn.attachment is not None:
            self._node.send(conn.attachment.session, Writable())
