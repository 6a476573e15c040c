"""What nodes tell each other, as bytes: one CBOR list per NATS message.

[0, version, name, creation, payload]                                   here: to everybody
[1, version, name, creation, payload]                                   call me: to one node
[2, version, name, creation, attempt, window, greeting]                 hello
[3, version, name, creation, to, attempt, window, greeting]             welcome
[4, name, creation, to, attempt, sequence, acknowledged, [packet...]]   data, or a tick without any
[5, name, creation, to, attempt, reason]                                bye

`creation` is the sender's incarnation, `to` that of the node that it means: a frame of another one
is none of a connection that exists. `attempt` is the dialling node's number for the connection.
`sequence` counts data frames from 1; a tick repeats the last. A packet is its bytes, or, of one
that is sent in pieces, a list of how many bytes are still to come and these ones.

What stands behind the fields that are known here is ignored: a later version may add to them.
"""

from __future__ import annotations

from typing import Any, Final

from cbor2 import dumps

from palaver.transport.wire.codec import BadFrame, decode

from .subjects import MAX_NAME_BYTES

__all__ = [
    "BYE",
    "CALL_ME",
    "DATA",
    "FRAME_OVERHEAD_BYTES",
    "HELLO",
    "HERE",
    "MAX_GREETING_BYTES",
    "MAX_PAYLOAD_BYTES",
    "PACKET_OVERHEAD_BYTES",
    "VERSION",
    "WELCOME",
    "BadFrame",
    "bye",
    "call_me",
    "data",
    "hello",
    "here",
    "parse",
    "welcome",
]

VERSION: Final = 1
"""Of this protocol; nodes of a later one answer in the lower of both."""

HERE: Final = 0
CALL_ME: Final = 1
HELLO: Final = 2
WELCOME: Final = 3
DATA: Final = 4
BYE: Final = 5

MAX_GREETING_BYTES: Final = 64 * 1024
MAX_PAYLOAD_BYTES: Final = 4 * 1024
MAX_REASON_CHARACTERS: Final = 200

PACKET_OVERHEAD_BYTES: Final = 16
"""The most that a packet, or a piece of one, takes besides its bytes."""

FRAME_OVERHEAD_BYTES: Final = MAX_NAME_BYTES + 64
"""The most that a data frame takes besides its packets."""

_SHAPES: Final[dict[int, tuple[type, ...]]] = {
    HERE: (int, int, str, int, bytes),
    CALL_ME: (int, int, str, int, bytes),
    HELLO: (int, int, str, int, int, int, bytes),
    WELCOME: (int, int, str, int, int, int, int, bytes),
    DATA: (int, str, int, int, int, int, int, list),
    BYE: (int, str, int, int, int, str),
}


def parse(raw: bytes) -> list[Any]:
    """Return the fields of a frame, of the types that its kind has; raises `BadFrame`."""
    fields = decode(raw)
    if type(fields) is not list or not fields or type(fields[0]) is not int:
        raise BadFrame("not_a_list", "a frame is a list that begins with its kind")
    shape = _SHAPES.get(fields[0])
    if shape is None:
        raise BadFrame("kind", f"there is no frame of kind {fields[0]}")
    if len(fields) < len(shape):
        raise BadFrame("fields", f"a frame of kind {fields[0]} has {len(shape)} fields")
    for field, wanted in zip(fields, shape, strict=False):
        if type(field) is not wanted:
            raise BadFrame("type", f"{type(field).__name__} where {wanted.__name__} belongs")
        if type(field) is int and field < 0:
            raise BadFrame("number", "a number is negative")
    _check_sizes(fields)
    return fields


def _check_sizes(fields: list[Any]) -> None:
    kind = fields[0]
    name = fields[1] if kind >= DATA else fields[2]
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES:
        raise BadFrame("name", "a node's name is empty or too long")
    if kind < DATA:
        limit = MAX_GREETING_BYTES if kind in (HELLO, WELCOME) else MAX_PAYLOAD_BYTES
        if len(fields[len(_SHAPES[kind]) - 1]) > limit:
            raise BadFrame("too_large", f"a frame of kind {kind} carries at most {limit} bytes")
    elif kind == BYE and len(fields[5]) > MAX_REASON_CHARACTERS:
        raise BadFrame("too_large", "a reason is too long")


def here(name: str, creation: int, payload: bytes) -> bytes:
    """Encode that a node is here."""
    return dumps([HERE, VERSION, name, creation, payload])


def call_me(name: str, creation: int, payload: bytes) -> bytes:
    """Encode that a node wants to be called."""
    return dumps([CALL_ME, VERSION, name, creation, payload])


def hello(name: str, creation: int, attempt: int, window: int, greeting: bytes) -> bytes:
    """Encode an attempt to connect."""
    return dumps([HELLO, VERSION, name, creation, attempt, window, greeting])


def welcome(name: str, creation: int, to: int, attempt: int, window: int, greeting: bytes) -> bytes:
    """Encode the answer to a hello."""
    return dumps([WELCOME, VERSION, name, creation, to, attempt, window, greeting])


def data(
    name: str,
    creation: int,
    to: int,
    attempt: int,
    sequence: int,
    acknowledged: int,
    packets: list[Any],
) -> bytes:
    """Encode packets, or a tick."""
    return dumps([DATA, name, creation, to, attempt, sequence, acknowledged, packets])


def bye(name: str, creation: int, to: int, attempt: int, reason: str) -> bytes:
    """Encode that a connection is over."""
    return dumps([BYE, name, creation, to, attempt, reason[:MAX_REASON_CHARACTERS]])
