"""The form of a journal's entries, and which of them have an effect.

An entry is CBOR: `[kind, epoch, number, payload]`. Whether it counts is decided by the entries
before it and nothing else, so everybody who reads the journal decides the same:

* TAKEOVER counts where its epoch is greater than the current one. From there on that epoch is the
  current one, its publisher the owner, and the last number 0.
* COMMANDS and CHECKPOINT count where their epoch is the current one and their number the last one
  plus one. Anything else is skipped: a deposed owner's entry, one that was published twice, one
  that overtook another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cbor2

__all__ = [
    "CHECKPOINT",
    "COMMANDS",
    "ENTRY_OVERHEAD_BYTES",
    "PART_OVERHEAD_BYTES",
    "TAKEOVER",
    "Body",
    "Part",
    "Standing",
    "Unreadable",
    "pack",
    "pack_commands",
    "parts_of",
    "unpack",
]

TAKEOVER, COMMANDS, CHECKPOINT = 1, 2, 3

ENTRY_OVERHEAD_BYTES = 64
"""What an entry needs at most beside its parts."""
PART_OVERHEAD_BYTES = 16
"""What a part of an entry needs at most beside its commands."""

_TEXT_BYTES = 512


class Unreadable(Exception):
    """These bytes are no entry that this version knows."""


class Body(NamedTuple):
    """What an entry says.

    Attributes:
        kind: TAKEOVER, COMMANDS or CHECKPOINT.
        epoch: of its publisher.
        number: of the entry within the epoch, from 1; 0 for a takeover.
        payload: (owner, token) of a takeover; the parts of commands; None of a checkpoint.
    """

    kind: int
    epoch: int
    number: int
    payload: Any


class Part(NamedTuple):
    """Commands that were appended together.

    Attributes:
        expected: the sequence at which they are to be applied; None: at any.
        encoded: the commands.
    """

    expected: int | None
    encoded: bytes


class Standing(NamedTuple):
    """What someone knows who has read a journal up to a position.

    Attributes:
        position: the last one that was read.
        epoch: the current one; 0 before the first takeover.
        number: the last one that counted in this epoch.
        owner: the node whose epoch it is.
        token: of its takeover: distinguishes two of the same node.
    """

    position: int = 0
    epoch: int = 0
    number: int = 0
    owner: str = ""
    token: str = ""

    def after(self, position: int, body: Body) -> tuple[Standing, bool]:
        """Return the standing behind an entry, and whether it counts."""
        if body.kind == TAKEOVER:
            if body.epoch > self.epoch:
                return Standing(position, body.epoch, 0, *body.payload), True
        elif body.epoch == self.epoch and body.number == self.number + 1:
            return self.counted(position), True
        return self._replace(position=position), False

    def counted(self, position: int) -> Standing:
        """Return the standing behind the owner's next entry."""
        return Standing(position, self.epoch, self.number + 1, self.owner, self.token)


def pack(kind: int, epoch: int, number: int, payload: Any) -> bytes:
    """Return the bytes of an entry."""
    return cbor2.dumps((kind, epoch, number, payload))


def pack_commands(epoch: int, number: int, parts: Sequence[Part]) -> bytes:
    """Return the bytes of an entry of commands."""
    payload = [
        part.encoded if part.expected is None else (part.expected, part.encoded) for part in parts
    ]
    return pack(COMMANDS, epoch, number, payload)


def unpack(body: bytes) -> Body:
    """Read an entry.

    Raises:
        Unreadable: it is none, or of a newer form.
    """
    try:
        found = cbor2.loads(body)
    except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
        raise Unreadable(f"it is no CBOR: {error}") from error
    if not isinstance(found, list) or len(found) != 4:
        raise Unreadable("it is no list of four")
    kind, epoch, number, payload = found
    if kind not in (TAKEOVER, COMMANDS, CHECKPOINT):
        raise Unreadable(f"its kind is {kind!r}")
    if type(epoch) is not int or type(number) is not int or epoch < 1 or number < 0:
        raise Unreadable("its epoch or number is no natural number")
    if kind == TAKEOVER and not _is_takeover(payload):
        raise Unreadable("it is a takeover by nobody")
    if kind == COMMANDS and not isinstance(payload, list):
        raise Unreadable("its commands are no list")
    return Body(kind, epoch, number, payload)


def _is_takeover(payload: Any) -> bool:
    return (
        isinstance(payload, list)
        and len(payload) == 2
        and all(isinstance(text, str) and len(text) <= _TEXT_BYTES for text in payload)
    )


def parts_of(payload: Sequence[Any]) -> list[Part]:
    """Return the parts of an entry of commands.

    Raises:
        Unreadable: they are none.
    """
    parts: list[Part] = []
    for found in payload:
        if isinstance(found, bytes):
            parts.append(Part(None, found))
        elif (
            isinstance(found, list)
            and len(found) == 2
            and type(found[0]) is int
            and isinstance(found[1], bytes)
        ):
            parts.append(Part(*found))
        else:
            raise Unreadable("a part of it is no commands")
    return parts
