"""The bytes of an outgoing WebSocket message.

The header of the WebSocket message, the head of the list of operations and the operations are
put into one buffer. That header is three lines of RFC 6455 (section 5.2; a server masks nothing)
and saves two copies of everything sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Final

from palaver.transport.wire.codec import array_head
from palaver.transport.wire.constants import MAX_FRAME_BYTES, MAX_FRAME_OPS

_MAX_REASON_BYTES: Final = 123


def message(ops: Sequence[bytes], size: int) -> bytes:
    """Make one WebSocket message of operations that have `size` bytes together."""
    count = array_head(len(ops))
    size += len(count)
    if size < 126:
        head = bytes((0x82, size))
    elif size < 65536:
        head = pack("!BBH", 0x82, 126, size)
    else:
        head = pack("!BBQ", 0x82, 127, size)
    return b"".join((head, count, *ops))


def split(ops: Sequence[bytes]) -> list[list[bytes]]:
    """Divide operations into lists that each fit in one frame."""
    parts: list[list[bytes]] = []
    size = 0
    for op in ops:
        size += len(op)
        if not parts or len(parts[-1]) == MAX_FRAME_OPS or size > MAX_FRAME_BYTES - 3:
            parts.append([])
            size = len(op)
        parts[-1].append(op)
    return parts


def short_reason(reason: str) -> str:
    """Cut a reason to what fits in a closing frame."""
    return reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
