"""Two ways in which messages cross: copied within one program, or as bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from palaver.actors.distribution.crossing import CannotCross, copied, copied_reason, shown
from palaver.actors.distribution.encoding import Encoder, printable
from palaver.actors.distribution.peer import Peer
from palaver.actors.distribution.signals import Where
from palaver.actors.distribution.vocabulary import Unreadable, Vocabulary
from palaver.actors.runtime import Crash

__all__ = ["MAX_MESSAGE_BYTES", "Bytes", "Copies", "Packing"]

MAX_MESSAGE_BYTES: Final = 15 * 1024 * 1024
"""The most that one message may take between nodes, unless the carrier says otherwise."""


class Packing(Protocol):
    """What a message becomes for its way, and what is made of it there."""

    def pack(self, value: Any) -> Any:
        """A message as it crosses; raises `CannotCross`."""

    def pack_reason(self, reason: Any) -> Any:
        """An exit reason or an error, which has to arrive: as a text if it cannot else."""

    def unpack(self, peer: Peer, packed: Any) -> Any:
        """A message of a node; raises `Unreadable`."""


class Copies:
    """Values are copied: for nodes of one program."""

    def __init__(self, where: Callable[[Any], Where], found: Callable[[Where], Any]) -> None:
        self._where = where
        self._found = found

    def pack(self, value: Any) -> Any:
        """A copy, with `Where`s for addresses."""
        return copied(value, self._where)

    def pack_reason(self, reason: Any) -> Any:
        """The same; as a text, if that cannot be."""
        return copied_reason(reason, self._where)

    def unpack(self, peer: Peer, packed: Any) -> Any:
        """A copy of the copy, with what its addresses mean here."""
        return copied(packed, self._found)


class Bytes:
    """Values are bytes, by a vocabulary."""

    def __init__(
        self, vocabulary: Vocabulary, where: Callable[[Any], Where], max_bytes: int
    ) -> None:
        self._encoder = Encoder(vocabulary, where, max_bytes)

    def pack(self, value: Any) -> bytes:
        """One CBOR item."""
        return self._encoder.encode(value)

    def pack_reason(self, reason: Any) -> bytes:
        """One CBOR item; of a text, if that cannot be."""
        try:
            return self._encoder.encode(reason)
        except CannotCross as error:
            told = CannotCross(printable(f"{shown(reason)} (as a text: {error})"))
            return self._encoder.encode(told if isinstance(reason, BaseException) else Crash(told))

    def unpack(self, peer: Peer, packed: Any) -> Any:
        """What the CBOR decoder has made of the item, read in the language of its node."""
        if peer.dialect is None:
            raise Unreadable(f"{peer.name} has not said what its numbers mean")
        return peer.dialect.read(packed)
