"""What the edge allows and what it has counted: `EdgeLimits` and `EdgeStats`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from palaver.transport.wire.constants import MAX_FRAME_BYTES, CloseCode

_STANDARD_CODES: Final = (1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011)
_COUNTED_CODES: Final = frozenset((*_STANDARD_CODES, *CloseCode))


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """The limits of one listener; each names what happens when it is reached.

    Attributes:
        max_frame_bytes: a larger message is not read, the connection is closed with 1009.
        head_bytes: a longer request head is answered 431.
        head_timeout_s: a head that is not complete by then is answered 408.
        ping_s: so long after the last byte from the peer, a ping is sent.
        pong_timeout_s: so long after a ping without any byte, the connection is aborted.
        half_message_timeout_s: a message begun and not finished by then closes with 4408.
        write_high_water_bytes: above it `Connection.writable` is false and nothing is read.
        write_hard_limit_bytes: above it the connection is aborted at once.
        write_timeout_s: a connection not writable for so long is aborted.
        patience_s: what is sent by `Connection.send_patiently` waits no longer than this.
        max_connections: WebSockets and HTTP together; one more is answered 503 with Retry-After.
        max_connections_per_address: the same for one peer address; None sets no limit.
        max_refusals: so many are told 503 at a time, further ones are aborted without a word.
        retry_after_s: what the 503 says.
        close_timeout_s: so long a closed connection may take to say goodbye, then it is aborted.
        http_idle_s: an HTTP connection with no request for so long is closed.
        backlog: connections that the operating system keeps waiting to be accepted.
    """

    max_frame_bytes: int = MAX_FRAME_BYTES
    head_bytes: int = 8 * 1024
    head_timeout_s: float = 10.0
    ping_s: float = 30.0
    pong_timeout_s: float = 15.0
    half_message_timeout_s: float = 20.0
    write_high_water_bytes: int = 64 * 1024
    write_hard_limit_bytes: int = 4 * 1024 * 1024
    write_timeout_s: float = 30.0
    patience_s: float = 0.025
    max_connections: int = 100_000
    max_connections_per_address: int | None = None
    max_refusals: int = 1_000
    retry_after_s: int = 5
    close_timeout_s: float = 5.0
    http_idle_s: float = 75.0
    backlog: int = 4_096

    @property
    def tick_s(self) -> float:
        """How coarse deadlines are: an eighth of the shortest, at most a second."""
        shortest = min(
            self.head_timeout_s,
            self.ping_s,
            self.pong_timeout_s,
            self.half_message_timeout_s,
            self.write_timeout_s,
            self.close_timeout_s,
        )
        return min(1.0, max(0.005, shortest / 8))


@dataclass(slots=True)
class EdgeStats:
    """Plain counters of one or several listeners, for the metrics to read.

    The keys of the three dictionaries come from small fixed sets, whatever peers send:
    `refused_total` by reason (``max_connections``, ``max_per_address``, ``stopping``),
    `closed_total` by close code (0 for codes of the peer's own making), `bad_input_total` by kind.
    """

    connections_open: int = 0
    http_open: int = 0
    heads_open: int = 0
    opened_total: int = 0
    http_total: int = 0
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    pings_sent: int = 0
    refused_total: dict[str, int] = field(default_factory=dict)
    closed_total: dict[int, int] = field(default_factory=dict)
    bad_input_total: dict[str, int] = field(default_factory=dict)

    def refused(self, reason: str) -> None:
        """Count a connection that was turned away."""
        self.refused_total[reason] = self.refused_total.get(reason, 0) + 1

    def closed(self, code: int) -> None:
        """Count a WebSocket that ended with this close code."""
        key = code if code in _COUNTED_CODES else 0
        self.closed_total[key] = self.closed_total.get(key, 0) + 1

    def bad_input(self, kind: str) -> None:
        """Count something a peer did that it should not have."""
        self.bad_input_total[kind] = self.bad_input_total.get(kind, 0) + 1
