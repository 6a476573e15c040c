"""How bytes of a program become frames, and frames bytes: pure, without any input or output.

Lines(limit=4096)      lines, without their newline (OTP: `{line, L}`)
Packets(4)             a length in 1, 2 or 4 bytes, big-endian, before each frame (`{packet, N}`)
Netstrings()           `5:hello,` (https://cr.yp.to/proto/netstrings.txt)
Raw()                  chunks as they come (`stream`)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

__all__ = ["BadFrame", "Decoder", "Framing", "Lines", "Netstrings", "Packets", "Piece", "Raw"]

MAX_FRAME: Final = 1 << 20
MAX_LINE: Final = 1 << 16

Piece: TypeAlias = tuple[bytes, bool]
"""A frame, and whether it is whole: a line beyond its limit comes in pieces."""


class BadFrame(Exception):
    """What was read or is to be written is no frame; the text says why.

    A `Program` that reads one exits with it as its reason: what follows cannot be understood.
    """


class Decoder(Protocol):
    """Takes bytes in, gives frames out; one for each stream."""

    def feed(self, data: bytes) -> list[Piece]:
        """The frames that are complete now; raises `BadFrame`, after which it is of no use."""

    def finish(self) -> list[Piece]:
        """What is left at the end of the stream. Part of a packet is nothing."""


class Framing(Protocol):
    """A way to tell one frame from the next."""

    def encode(self, frame: bytes) -> bytes:
        """The bytes to write; raises `BadFrame` for what cannot be a frame."""

    def decoder(self) -> Decoder:
        """A fresh decoder."""


@dataclass(frozen=True, slots=True)
class Raw:
    """No frames: chunks of at most 64 KiB, as the operating system hands them over."""

    def encode(self, frame: bytes) -> bytes:
        """The bytes themselves."""
        return frame

    def decoder(self) -> Decoder:
        """One that keeps nothing."""
        return _RawDecoder()


class _RawDecoder:
    __slots__ = ()

    def feed(self, data: bytes) -> list[Piece]:
        return [(data, True)] if data else []

    def finish(self) -> list[Piece]:
        return []


@dataclass(frozen=True, slots=True)
class Lines:
    r"""Lines that end in `\n`, which is taken off.

    A line longer than `limit` bytes comes in pieces of that length: all but the last are marked as
    not whole, as OTP's `noeol`; so is a last line without a newline.
    """

    limit: int = MAX_LINE

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError("a line has room for at least one byte")

    def encode(self, frame: bytes) -> bytes:
        """The line with its newline; `BadFrame` if there is one in it."""
        if b"\n" in frame:
            raise BadFrame("a line has no newline in it: write the lines one by one")
        return frame + b"\n"

    def decoder(self) -> Decoder:
        """One that keeps less than `limit` bytes and a chunk."""
        return _LineDecoder(self.limit)


class _LineDecoder:
    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[Piece]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        limit = self._limit
        pieces: list[Piece] = []
        for line in lines:
            tail = line
            while len(tail) > limit:
                pieces.append((tail[:limit], False))
                tail = tail[limit:]
            pieces.append((tail, True))
        while len(self._rest) > limit:
            pieces.append((self._rest[:limit], False))
            self._rest = self._rest[limit:]
        return pieces

    def finish(self) -> list[Piece]:
        rest, self._rest = self._rest, b""
        return [(rest, False)] if rest else []


@dataclass(frozen=True, slots=True)
class Packets:
    """Frames with their length, in `size` bytes, before them; at most `limit` bytes long."""

    size: Literal[1, 2, 4] = 4
    limit: int = MAX_FRAME

    def __post_init__(self) -> None:
        if self.size not in (1, 2, 4):
            raise ValueError("a length has 1, 2 or 4 bytes")
        if self.limit < 1:
            raise ValueError("a frame has room for at least one byte")

    @property
    def longest(self) -> int:
        """The longest frame, in bytes: `limit`, or what the length can say."""
        most: int = 256**self.size - 1
        return min(self.limit, most)

    def encode(self, frame: bytes) -> bytes:
        """The frame with its length before it."""
        if len(frame) > self.longest:
            raise BadFrame(f"a frame of {len(frame)} bytes: the limit is {self.longest}")
        return len(frame).to_bytes(self.size, "big") + frame

    def decoder(self) -> Decoder:
        """One that keeps at most one frame and a chunk."""
        return _PacketDecoder(self)


class _PacketDecoder:
    __slots__ = ("_buffer", "_packets")

    def __init__(self, packets: Packets) -> None:
        self._packets = packets
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Piece]:
        buffer = self._buffer
        buffer += data
        size = self._packets.size
        pieces: list[Piece] = []
        at = 0
        while len(buffer) - at >= size:
            length = int.from_bytes(buffer[at : at + size], "big")
            if length > self._packets.longest:
                raise BadFrame(f"a frame of {length} bytes: the limit is {self._packets.longest}")
            end = at + size + length
            if len(buffer) < end:
                break
            pieces.append((bytes(buffer[at + size : end]), True))
            at = end
        del buffer[:at]
        return pieces

    def finish(self) -> list[Piece]:
        self._buffer.clear()
        return []


@dataclass(frozen=True, slots=True)
class Netstrings:
    """Frames as netstrings: the length in decimal, a colon, the bytes, a comma."""

    limit: int = MAX_FRAME

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError("a frame has room for at least one byte")

    def encode(self, frame: bytes) -> bytes:
        """The netstring."""
        if len(frame) > self.limit:
            raise BadFrame(f"a frame of {len(frame)} bytes: the limit is {self.limit}")
        return b"%d:%b," % (len(frame), frame)

    def decoder(self) -> Decoder:
        """One that keeps at most one frame and a chunk."""
        return _NetstringDecoder(self.limit)


class _NetstringDecoder:
    __slots__ = ("_buffer", "_digits", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._digits = len(str(limit))
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Piece]:
        buffer = self._buffer
        buffer += data
        pieces: list[Piece] = []
        at = 0
        while at < len(buffer):
            colon = buffer.find(b":", at, at + self._digits + 1)
            digits = bytes(buffer[at:colon]) if colon >= 0 else bytes(buffer[at:])
            self._check(digits, whole=colon >= 0)
            if colon < 0:
                break
            length = int(digits)
            if length > self._limit:
                raise BadFrame(f"a frame of {length} bytes: the limit is {self._limit}")
            end = colon + 1 + length
            if len(buffer) <= end:
                break
            if buffer[end] != ord(","):
                raise BadFrame("a netstring ends in a comma")
            pieces.append((bytes(buffer[colon + 1 : end]), True))
            at = end + 1
        del buffer[:at]
        return pieces

    def _check(self, digits: bytes, *, whole: bool) -> None:
        """Refuse what cannot be a length, or the beginning of one."""
        if not digits:
            if whole:
                raise BadFrame("a netstring begins with its length")
            return
        if not digits.isdigit() or (len(digits) > 1 and digits[:1] == b"0"):
            raise BadFrame(f"a netstring begins with its length, not with {digits[:16]!r}")
        if len(digits) > self._digits:
            raise BadFrame(f"a frame longer than the limit of {self._limit} bytes")

    def finish(self) -> list[Piece]:
        self._buffer.clear()
        return []
