"""What the fabric allows, and what it has counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["PACKET_COST_BYTES", "FabricLimits", "FabricStats"]

PACKET_COST_BYTES: Final = 64
"""What a packet that waits is counted for besides its bytes: small ones take memory too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricLimits:
    """The times and sizes of one node's fabric; nodes of a cluster should have the same.

    Attributes:
        net_ticktime_s: a connection over which nothing has come for so long is given up (OTP's
            `net_ticktime`). A quarter of it after the last message a tick is sent.
        heartbeat_s: so often a node tells all others that it is here.
        setup_s: so long an attempt to connect may take.
        window_bytes: so much may be under way to a node, not acknowledged; more waits here.
        hard_limit_bytes: so much may wait and be under way; with more the connection is given up.
        max_packet_bytes: a larger packet is refused; 64 KiB more than the distribution's messages.
        frame_bytes: no message to NATS is larger, if `max_payload` of the servers allows that much;
            larger packets are sent in pieces.
        max_nodes: so many names are remembered; further nodes are not met.
        stop_timeout_s: so long `stop` waits for what is queued to leave.
    """

    net_ticktime_s: float = 2.5
    heartbeat_s: float = 0.5
    setup_s: float = 1.0
    window_bytes: int = 2 * 1024 * 1024
    hard_limit_bytes: int = 64 * 1024 * 1024
    max_packet_bytes: int = 16 * 1024 * 1024 + 64 * 1024
    frame_bytes: int = 256 * 1024
    max_nodes: int = 4_096
    stop_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        for name in ("net_ticktime_s", "heartbeat_s", "setup_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0")
        if self.frame_bytes < 4_096:
            raise ValueError("frame_bytes must be at least 4096")
        if self.hard_limit_bytes < self.max_packet_bytes + self.window_bytes:
            raise ValueError("hard_limit_bytes must be at least max_packet_bytes + window_bytes")
        if self.window_bytes < self.frame_bytes:
            raise ValueError("window_bytes must be at least frame_bytes")

    @property
    def beat_s(self) -> float:
        """So often the clock is looked at: an eighth of the shortest of the times."""
        return min(self.net_ticktime_s, self.heartbeat_s * 4, self.setup_s * 4) / 8


@dataclass(slots=True)
class FabricStats:
    """Plain counters of a fabric, for the metrics to read."""

    connected: int = 0
    ups: int = 0
    downs: int = 0
    silent: int = 0
    """Connections that were given up because nothing came."""
    gaps: int = 0
    """Connections that were given up because NATS had lost something."""
    overflows: int = 0
    """Connections that were given up because too much waited."""
    bad_frames: int = 0
    """What came and was no frame, or one that its sender must not send."""
    strays: int = 0
    """What came too late: of an earlier connection or life of a node."""
    conflicts: int = 0
    """Signs of another node of the same name, begun later."""
    frames_in: int = 0
    frames_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
