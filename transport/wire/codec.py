"""CBOR in and out: one strict decoder for everything that arrives, cheap joining for what leaves.

`decode_frame` accepts less than CBOR allows, because each thing left out is one an attacker
could use and no client needs: no tags (so no bignums, dates, shared references, sets), no
indefinite lengths, no duplicate or odd map keys, no nesting deeper than `MAX_DEPTH`, and the
whole buffer is one item. Types that the grammar does not use (floats, undefined, simple values)
are well-formed CBOR and stop at the checks of each field, one layer up.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

from cbor2 import CBORDecodeEOF, CBORDecodeError, CBORDecoder, dumps, loads

from .constants import MAX_DEPTH, MAX_FRAME_BYTES, MAX_FRAME_OPS

# The tags that cbor2 decodes itself, before it asks tag_hook; found by trying all of them.
_BUILT_IN_TAGS: Final = (
    *range(6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100,
    256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip


class BadFrame(Exception):
    """The bytes are not a frame of this protocol; the peer is at fault (close code 4400).

    `kind` is a short stable word for counters: ``malformed``, ``trailing``, ``too_large``,
    ``not_a_list`` or ``too_many``, and ``grammar`` for a server's frame that a client refuses.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def _reject_tag(_value: object, _immutable: bool) -> Any:
    raise ValueError("tags are not part of the protocol")


_TAG_DECODERS: Final = dict.fromkeys(_BUILT_IN_TAGS, _reject_tag)

# cbor2.loads stops after the first item and says nothing of what follows. So the item is put
# into a list of two whose second item is this mark: if the mark is not what comes next, something
# else stood behind the item. The mark has no border and its header byte is not in it, so it can
# be met early only if the data itself contains it, and such data takes the slower road.
_MARK: Final = b"\x01palaver"
_MARK_ITEM: Final = b"\x48" + _MARK


def decode(data: bytes) -> Any:
    """Decode exactly one CBOR item under the protocol's restrictions.

    Raises:
        BadFrame: the bytes are not one well-formed item within the restrictions.
    """
    try:
        if _MARK in data:
            return _decode_marked(data)
        value, mark = loads(
            b"\x82" + data + _MARK_ITEM,
            tag_hook=_reject_tag,
            semantic_decoders=_TAG_DECODERS,
            max_depth=MAX_DEPTH + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except CBORDecodeError as exc:
        raise BadFrame("malformed", str(exc)) from exc
    if mark != _MARK:
        raise BadFrame("trailing", "there are bytes behind the frame")
    return value


def _decode_marked(data: bytes) -> Any:
    decoder = CBORDecoder(
        BytesIO(data),
        tag_hook=_reject_tag,
        semantic_decoders=_TAG_DECODERS,
        max_depth=MAX_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    value = decoder.decode()
    try:
        decoder.read(1)
    except CBORDecodeEOF:
        return value
    raise BadFrame("trailing", "there are bytes behind the frame")


def decode_frame(data: bytes) -> list[list[Any]]:
    """Decode a WebSocket message into its operations: 1 to 256 non-empty lists.

    Only the outer shape is checked here; `parse_request` and `parse_reply` check an operation.

    Raises:
        BadFrame: the message is no frame. Nothing else is ever raised, whatever the bytes.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise BadFrame("too_large", f"a frame has at most {MAX_FRAME_BYTES} bytes")
    ops = decode(data)
    if type(ops) is not list:
        raise BadFrame("not_a_list", "a frame is a list of operations")
    if not 0 < len(ops) <= MAX_FRAME_OPS:
        raise BadFrame("too_many", f"a frame has 1 to {MAX_FRAME_OPS} operations")
    for op in ops:
        if type(op) is not list or not op:
            raise BadFrame("not_a_list", "an operation is a list that begins with its code")
    return ops


def encode(value: Any) -> bytes:
    """Encode plain data (int, bytes, str, bool, None, lists, tuples, dicts) as CBOR.

    Raises:
        cbor2.CBOREncodeError: the value holds something that CBOR has no type for.
    """
    return dumps(value)


def _short_heads(major: int) -> tuple[bytes, ...]:
    base = major << 5
    return tuple(
        bytes((base | n,)) if n < 24 else bytes((base | 24, n))
        for n in range(256)  # every head of one or two bytes
    )


_UINT_HEADS: Final = _short_heads(0)
_ARRAY_HEADS: Final = _short_heads(4)


def uint(n: int) -> bytes:
    """Encode an unsigned integer below 2**64, the short way."""
    if n < 256:
        return _UINT_HEADS[n]
    if n < 65536:
        return b"\x19" + n.to_bytes(2, "big")
    if n < 4294967296:
        return b"\x1a" + n.to_bytes(4, "big")
    return b"\x1b" + n.to_bytes(8, "big")


def array_head(n: int) -> bytes:
    """Encode the head of an array of `n` items; the items follow as they are."""
    if n < 256:
        return _ARRAY_HEADS[n]
    return b"\x99" + n.to_bytes(2, "big")


def frame(ops: Sequence[bytes]) -> bytes:
    """Join encoded operations into one frame.

    The caller keeps to `MAX_FRAME_OPS` and `MAX_FRAME_BYTES`; the edge splits where needed.
    """
    return array_head(len(ops)) + b"".join(ops)
