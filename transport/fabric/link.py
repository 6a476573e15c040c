"""One connection to a node: what is numbered, acknowledged, cut into pieces and put together.

It is plain code: no clock, no socket. `Core` owns the connections.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from . import frames
from .frames import FRAME_OVERHEAD_BYTES, PACKET_OVERHEAD_BYTES, BadFrame
from .limits import PACKET_COST_BYTES, FabricLimits

__all__ = ["Gap", "Link"]

_ACK_SHARE: Final = 4
"""A receiver acknowledges when so much of the sender's window has come: a quarter."""


class Gap(Exception):
    """Something that was sent has not come."""


class Link:
    """A connection to one incarnation of a node, from this one's hello or welcome on.

    Attributes:
        name: of the other node.
        creation: which of its incarnations.
        attempt: the dialling node's number for this connection.
        opened: whether both sides have agreed on it.
        over: whether it has ended; then it does nothing any more.
        greeting: what the other side has said in its hello or welcome.
        since_s: when it was begun.
        heard_s: when something of it has come last.
        told_s: when something of it was sent last.
        waiting_bytes: what waits here to be sent.
        unacked_bytes: what is under way.
    """

    __slots__ = (
        "_ack_at_bytes", "_acked_in", "_arriving", "_frame_bytes", "_in", "_limits", "_me", "_out",
        "_partly", "_queue", "_sizes", "_unacked_in_bytes", "attempt", "creation", "dirty",
        "greeting", "heard_s", "name", "opened", "over", "since_s", "told_s", "unacked_bytes",
        "waiting_bytes",
    )  # fmt: skip

    def __init__(
        self,
        me: tuple[str, int],
        them: tuple[str, int],
        attempt: int,
        their_window_bytes: int,
        greeting: bytes,
        limits: FabricLimits,
        frame_bytes: int,
        now_s: float,
    ) -> None:
        self._me = me
        self.name, self.creation = them
        self.attempt = attempt
        self.greeting = greeting
        self.opened = False
        self.over = False
        self.since_s = self.heard_s = self.told_s = now_s
        self._limits = limits
        self._frame_bytes = frame_bytes - FRAME_OVERHEAD_BYTES
        # Out: packets that wait, the rest of one that is partly sent, what is not acknowledged.
        self._queue: deque[bytes] = deque()
        self._partly = 0
        self._out = 0
        self._sizes: deque[tuple[int, int]] = deque()
        self.waiting_bytes = 0
        self.unacked_bytes = 0
        self.dirty = False
        # In: the number of the last frame, what of it is acknowledged, the pieces of a packet.
        self._in = 0
        self._acked_in = 0
        self._unacked_in_bytes = 0
        self._ack_at_bytes = max(1, their_window_bytes // _ACK_SHARE)
        self._arriving: bytearray | None = None

    def __repr__(self) -> str:
        return f"<link to {self.name}#{self.creation}, attempt {self.attempt}>"

    def is_of(self, creation: int, attempt: int) -> bool:
        """Whether a frame with these is one of this connection."""
        return creation == self.creation and attempt == self.attempt

    # -- out -----------------------------------------------------------------------------------

    def push(self, packet: bytes) -> bool:
        """Queue a packet; False if now more waits and is under way than the hard limit allows."""
        self._queue.append(packet)
        self.waiting_bytes += len(packet) + PACKET_COST_BYTES
        return self.waiting_bytes + self.unacked_bytes <= self._limits.hard_limit_bytes

    @property
    def can_send(self) -> bool:
        """Whether something waits, and the window lets it go."""
        return bool(self._queue) and self.unacked_bytes < self._limits.window_bytes

    @property
    def must_ack(self) -> bool:
        """Whether the sender should hear now how much has come."""
        return self._unacked_in_bytes >= self._ack_at_bytes

    @property
    def idle(self) -> bool:
        """Whether all that was sent is known to have come."""
        return not self._queue and not self._sizes

    def next_frame(self, now_s: float) -> bytes:
        """Encode what waits, up to a frame's size; `can_send` holds."""
        packets: list[Any] = []
        room = self._frame_bytes
        queue = self._queue
        size = 0
        while queue:
            packet = queue[0]
            length = len(packet) - self._partly
            if length + PACKET_OVERHEAD_BYTES <= room:
                queue.popleft()
                packets.append([0, packet[self._partly :]] if self._partly else packet)
                self._partly = 0
                self.waiting_bytes -= PACKET_COST_BYTES
            elif not packets or length > self._frame_bytes:
                length = room - PACKET_OVERHEAD_BYTES
                if length <= 0:
                    break
                end = self._partly + length
                packets.append([len(packet) - end, packet[self._partly : end]])
                self._partly = end
            else:
                break
            room -= length + PACKET_OVERHEAD_BYTES
            size += length
        self._out += 1
        self._sizes.append((self._out, size + FRAME_OVERHEAD_BYTES))
        self.waiting_bytes -= size
        self.unacked_bytes += size + FRAME_OVERHEAD_BYTES
        return self._frame(packets, now_s)

    def tick(self, now_s: float) -> bytes:
        """Encode a frame without packets: that we are here, and what has come."""
        return self._frame([], now_s)

    def _frame(self, packets: list[Any], now_s: float) -> bytes:
        self.told_s = now_s
        self._acked_in = self._in
        self._unacked_in_bytes = 0
        name, creation = self._me
        return frames.data(
            name, creation, self.creation, self.attempt, self._out, self._in, packets
        )

    def bye(self, reason: str) -> bytes:
        """Encode the end."""
        return frames.bye(*self._me, self.creation, self.attempt, reason)

    # -- in ------------------------------------------------------------------------------------

    def take(
        self, sequence: int, acknowledged: int, entries: list[Any], size: int, now_s: float
    ) -> list[bytes]:
        """Take a data frame of this connection; return the packets that are whole now.

        A frame that has come before is left aside.

        Raises:
            Gap: one before it is missing; the connection cannot go on.
            BadFrame: the other side has sent what it must not; neither can it.
        """
        self.heard_s = now_s
        self._acknowledge(acknowledged)
        if not entries:
            if sequence > self._in:
                raise Gap(f"frame {self._in + 1} is missing, {sequence} were sent")
            return entries
        if sequence != self._in + 1:
            if sequence <= self._in:
                return []
            raise Gap(f"frame {self._in + 1} is missing, {sequence} has come")
        self._in = sequence
        self._unacked_in_bytes += size
        if self._arriving is None:
            for entry in entries:
                if type(entry) is not bytes:
                    break
            else:
                return entries  # whole packets only, as nearly always
        return [packet for entry in entries if (packet := self._whole(entry)) is not None]

    def _acknowledge(self, acknowledged: int) -> None:
        if acknowledged > self._out:
            raise BadFrame("ack", f"frame {acknowledged} is acknowledged and was not sent")
        sizes = self._sizes
        while sizes and sizes[0][0] <= acknowledged:
            self.unacked_bytes -= sizes.popleft()[1]

    def _whole(self, entry: Any) -> bytes | None:
        """Return a packet that this entry is, or that it completes."""
        if type(entry) is bytes:
            if self._arriving is not None:
                raise BadFrame("piece", "a packet stands between the pieces of another")
            return entry
        if (
            type(entry) is not list
            or len(entry) != 2
            or type(entry[0]) is not int
            or type(entry[1]) is not bytes
        ):
            raise BadFrame("packet", "a packet is bytes, or a piece of one")
        left, piece = entry
        if self._arriving is None:
            self._arriving = bytearray()
        size = len(self._arriving) + len(piece)
        if left < 0 or size + left > self._limits.max_packet_bytes:
            raise BadFrame("too_large", f"a packet of {size + left} bytes")
        self._arriving += piece
        if left:
            return None
        packet, self._arriving = bytes(self._arriving), None
        return packet
