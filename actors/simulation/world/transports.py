"""The two ends of a simulated TCP connection, as asyncio transports.

Bytes of one direction arrive in order and whole, in whatever pieces, after whatever time; they
are lost only with the connection. What the other side's kernel would do is done here: a connection
whose program has ended is closed or reset, and bytes for a closed one are answered by a reset.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from palaver.actors.simulation.world.place import Handle, Place
from palaver.actors.simulation.world.sockets import SimulatedSocket

if TYPE_CHECKING:
    from palaver.actors.simulation.world.network import Link, Network

__all__ = ["KERNEL_BYTES", "SimulatedTransport"]

KERNEL_BYTES: Final = 64 * 1024
"""What is written and not read yet, up to which a transport's own buffer stays empty."""

_HIGH_WATER: Final = 64 * 1024

_EOF: Final = b""

#: How long the other side may be silent with bytes on their way to it (Linux: tcp_retries2).
GIVE_UP_S: Final = 924.0


class SimulatedTransport(asyncio.Transport):
    """One end of a connection.

    Attributes:
        place: whose end it is.
        peer: the other end.
        closed: `connection_lost` was called, or the program has ended.
        gone: this end is closed: what comes to it is answered by a reset.
        unknown: its machine was without power since: so is even an end of the stream.
    """

    def __init__(
        self, network: Network, place: Place, link: Link, here: tuple[str, int],
        there: tuple[str, int],
    ) -> None:  # fmt: skip
        super().__init__(
            {"peername": there, "sockname": here, "socket": SimulatedSocket(here, there)}
        )
        self.place = place
        self.peer: SimulatedTransport
        self.closed = False
        self.gone = False
        self.unknown = False
        self._network = network
        self._loop = network.loop
        self._link = link  # the way from here to there
        self._protocol: Any = None
        self._closing = False
        self._eof_sent = False
        self._reading = True
        self._at_end = False  # the other side's end of the stream was read
        self._begun = False  # the protocol knows of the connection
        self._losing = False  # `_lose` is about to be called
        self._failure: Exception | None = None
        self._held: deque[bytes] = deque()  # arrived, and not read by the protocol
        self._held_bytes = 0
        # The way out: what is on its way (None: a reset), and when the first of it arrives.
        self._sent: deque[bytes | None] = deque()
        self._underway = 0
        self._arrival: Handle | None = None
        self._last_s = 0.0
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._paused = False
        self._deadline: Handle | None = None

    # -- what the program calls ----------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what arrives to another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets what arrives."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection is lost."""
        return self._closing or self.closed

    def is_reading(self) -> bool:
        """Whether what arrives is given to the protocol."""
        return self._reading and not self.is_closing()

    def pause_reading(self) -> None:
        """Keep what arrives; the other side will come to notice."""
        self._reading = False

    def resume_reading(self) -> None:
        """Give what was kept, and what arrives, to the protocol."""
        if self._reading or self.is_closing():
            return
        self._reading = True
        if self._held or self._failure is not None:
            self._loop.call_soon(self._read, context=self.place.context)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's; raises ValueError if `low` is above `high`."""
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._sync_writing()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high mark."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken."""
        return max(0, self._underway - KERNEL_BYTES)

    def can_write_eof(self) -> bool:
        """Whether a connection can be half closed: it can."""
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, in order; dropped if the connection is closed or gone.

        Raises:
            RuntimeError: `write_eof` was called.
            TypeError: not bytes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        if self.is_closing() or not data:
            return
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._failure is not None:  # Now the program hears of it.
            self._fail(self._failure)
            return
        piece = bytes(data)
        self._underway += len(piece)
        for part in self._link.pieces(piece):
            self._send(part)
        self._sync_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of them."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Say that nothing more comes; what the other side sends still arrives.

        Raises:
            OSError: the connection was reset, and the program has not heard of it yet; so does
                asyncio's transport.
        """
        if not (self._eof_sent or self.is_closing()):
            if self._failure is not None:
                self._eof_sent = True
                raise OSError(107, "Transport endpoint is not connected")
            self._send_eof()

    def close(self) -> None:
        """Send what was written, then the end; nothing is given to the protocol any more.

        If something has arrived by then and is not read, the other side gets a reset, as from a
        kernel.
        """
        if self.is_closing():
            return
        self._closing = True
        if self.get_write_buffer_size() == 0:
            self._lose_soon(None)

    def abort(self) -> None:
        """End at once; what the kernel has not taken yet is lost, and then it is as `close`."""
        if self.closed or self._losing:
            return
        self._closing = True
        self._drop_unsent()
        self._lose_soon(None)

    # -- out -----------------------------------------------------------------------------------

    def _send(self, piece: bytes | None) -> None:
        self._sent.append(piece)
        if self._arrival is None:
            self.schedule()

    def _send_eof(self) -> None:
        if not self._eof_sent:
            self._eof_sent = True
            self._send(_EOF)

    def _drop_unsent(self) -> None:
        """Forget what the kernel has not taken: it ends with the program."""
        excess = self.get_write_buffer_size()
        self._underway -= excess
        while excess > 0 and self._sent:
            piece = self._sent.pop()
            if piece == _EOF:
                self._eof_sent = False
            elif piece is not None:
                if len(piece) > excess:
                    self._sent.append(piece[: len(piece) - excess])
                excess -= len(piece)

    def schedule(self) -> None:
        """Let the first piece arrive, if there is one and the way is free."""
        if self._arrival is not None or not self._sent:
            return
        peer = self.peer
        if not peer.place.alive:
            if peer.gone:  # its kernel lives, or lives again
                if self._is_refused():
                    self._link.reset_answer(self)
                self._sent.clear()
            else:
                self._wait_long()
            return
        arrives_s = self._link.arrival_s()
        if arrives_s is None:
            self._link.stuck(self)
            self._wait_long()
            return
        # Never before what was sent earlier.
        self._last_s = arrives_s = max(arrives_s, self._last_s)
        self._arrival = self._loop.deliver_at(arrives_s, self.peer.place, self._arrive)

    def _is_refused(self) -> bool:
        """Whether what is on its way is answered by a reset: the other end is gone."""
        return self.peer.gone and (self.peer.unknown or any(self._sent))

    def _wait_long(self) -> None:
        """Nobody answers: the kernel tries for a quarter of an hour."""
        if self._deadline is None and self.place.alive:
            self._deadline = self._loop.deliver_at(
                self._loop.time() + GIVE_UP_S, self.place, self._give_up
            )

    def _arrive(self) -> None:
        """The first piece has come to the other side (this runs in its place)."""
        self._arrival = None
        if self._link.is_blocked:  # cut off meanwhile: it will be sent again, but for a reset
            if None in self._sent:
                self._sent.clear()
            self.schedule()
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if not self._sent:
            return
        peer = self.peer
        if peer.gone:
            refused = self._is_refused()
            self._sent.clear()
            self._underway = 0
            if refused:
                self.reset(ConnectionResetError(104, "Connection reset by peer"))
            return
        piece = self._sent.popleft()
        if piece is None:
            peer.reset(ConnectionResetError(104, "Connection reset by peer"))
            return
        room = peer.room_bytes
        if len(piece) > room:  # It has not opened its window for more: the rest waits here.
            self._sent.appendleft(piece[room:])
            if not room:
                return
            piece = piece[:room]
        self._network.trace.feed(crc32(piece))
        peer.arrived(piece)
        self.schedule()

    @property
    def room_bytes(self) -> int:
        """How much its kernel takes now; as much as comes, while its program reads."""
        if self._reading and self._begun and not self._held:
            return sys.maxsize
        return max(0, KERNEL_BYTES - self._held_bytes)

    def arrived(self, piece: bytes) -> None:
        """Bytes, or the end of the stream, have come to this end."""
        self._held.append(piece)
        self._held_bytes += len(piece)
        self._read()

    def _read(self) -> None:
        """Give the protocol what has arrived."""
        while self._held and self._reading and self._begun and not self.is_closing():
            piece = self._held.popleft()
            if piece == _EOF:
                self._end_of_stream()
                continue
            self._held_bytes -= len(piece)
            self.peer.was_read(len(piece))
            self._protocol.data_received(piece)
        if self._failure is not None and self._reading and self._begun and not self._at_end:
            self._fail(self._failure)

    def _end_of_stream(self) -> None:
        self._at_end = True
        keep_open = self._protocol.eof_received()
        if not keep_open:
            self.close()

    def was_read(self, size: int) -> None:
        """The other side's program has taken so many bytes."""
        self._underway = max(0, self._underway - size)
        self.schedule()
        if self._closing and self.get_write_buffer_size() == 0:
            self._lose_soon(None)
        self._sync_writing()

    def _sync_writing(self) -> None:
        """Tell the protocol when the buffer is above its mark, and when below again."""
        size = self.get_write_buffer_size()
        if self._paused:
            if size <= self._low and not self.closed:
                self._paused = False
                self._loop.call_soon(self._resume, context=self.place.context)
        elif size > self._high and not self.is_closing():
            self._paused = True
            self._protocol.pause_writing()

    def _resume(self) -> None:
        if not self.closed and not self._paused:
            self._protocol.resume_writing()

    # -- the end -------------------------------------------------------------------------------

    def _lose_soon(self, error: Exception | None) -> None:
        if not (self._losing or self.closed):
            self._losing = True
            self._loop.call_soon(self._lose, error, context=self.place.context)

    def _lose(self, error: Exception | None) -> None:
        """Tell the protocol that it is over, once; the kernel closes what is open."""
        if self.closed:
            return
        self.closed = self._closing = True
        if not self.gone:
            self._hang_up()
        self.gone = True
        self._held.clear()
        if self._deadline is not None:
            self._deadline.cancel()
        self._network.ended(self)
        self._protocol.connection_lost(error)

    def _hang_up(self) -> None:
        """What a kernel does at the end of a socket: FIN, or RST if something was not read."""
        if any(self._held):
            self.reset_peer()
        else:
            self._send_eof()

    def _give_up(self) -> None:
        self._sent.clear()
        self.reset(TimeoutError(110, "Connection timed out"))

    def begin(self) -> None:
        """The protocol knows of the connection: what has arrived is for it."""
        self._begun = True
        self._read()

    def reset(self, error: Exception) -> None:
        """The connection is lost, with an error.

        The program hears of it when it reads or writes: one that reads nothing (any more), and has
        nothing to write, does not look at its socket.
        """
        if self.closed or self.gone:
            return
        self.gone = True
        self._failure = error
        looks = self._closing or self.get_write_buffer_size() > 0
        if self._begun and (looks or (self._reading and not self._at_end)):
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._closing = True
        self._held.clear()
        self._lose_soon(error)

    def reset_peer(self) -> None:
        """Send the other side a reset, behind what is on its way or instead of it: a choice."""
        self.gone = True
        if self._sent and not self._link.is_blocked and not self._link.loses():
            self._send(None)
            return
        self._sent.clear()
        self._underway = 0
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        self._link.reset(self.peer)

    def end(self, *, reset: bool) -> None:
        """The program has ended without a word; the kernel closes or resets the connection."""
        self.closed = True
        if self.gone:
            return
        self._drop_unsent()
        if reset:
            self.reset_peer()
        else:
            self._hang_up()
        self.gone = True

    def forgotten(self) -> None:
        """The machine at the other end is up again, and knows nothing of this connection."""
        if self._sent:
            self._sent.clear()
            self._link.reset_answer(self)
        self.peer.gone = self.peer.unknown = True

    def vanish(self) -> None:
        """The machine has lost power: nothing that was on its way from here arrives."""
        self.closed = True
        self._sent.clear()
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        self.peer.lost_touch()

    def lost_touch(self) -> None:
        """The other side's program has ended: what is on its way finds its kernel, or nobody."""
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        if self._sent:
            self.schedule()
