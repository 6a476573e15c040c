"""Objects in message bodies: canonical CBOR of plain data, and nothing else.

Only null, booleans, integers of 64 bits, floats, text, bytes, lists and maps with text or bytes
as keys travel. Tags are refused in both directions: the body comes from another person, and a tag
would make the decoder build things.
"""

from __future__ import annotations

from typing import Any

import cbor2

from palaver.transport.client.errors import BadMessage
from palaver.transport.wire import MAX_DEPTH, BadFrame, decode

__all__ = ["decode_object", "encode_object"]

_SCALARS = (bool, float, str, bytes, type(None))


def encode_object(value: Any) -> bytes:
    """Return the canonical CBOR of a plain object.

    Raises:
        BadMessage: It nests deeper than MAX_DEPTH or holds something other than plain data.
    """
    _check(value, MAX_DEPTH)
    try:
        return cbor2.dumps(value, canonical=True)
    except (cbor2.CBOREncodeError, ValueError, OverflowError) as error:
        raise BadMessage(f"the object cannot be encoded: {error}") from error


def decode_object(body: bytes) -> Any:
    """Return the object in a body.

    Raises:
        BadMessage: The body is not one plain CBOR item within the limits.
    """
    try:
        return decode(body)
    except BadFrame as error:
        raise BadMessage(f"the body is not an object: {error}") from error


def _check(value: Any, depth: int) -> None:
    # Exact types: a subclass may encode as something else than it looks like.
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is int:
        if not -(2**64) <= value < 2**64:
            raise BadMessage("integers in an object have at most 64 bits")
        return
    if depth == 0:
        raise BadMessage(f"objects nest at most {MAX_DEPTH} deep")
    if kind in (list, tuple):
        for item in value:
            _check(item, depth - 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) not in (str, bytes):
                raise BadMessage(f"a {type(key).__name__} cannot be a key in an object")
            _check(item, depth - 1)
    else:
        raise BadMessage(f"a {kind.__name__} cannot travel in an object")
