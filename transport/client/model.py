"""The values that a client's callers see."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, Self

from palaver.transport.client.errors import BadMessage
from palaver.transport.client.objects import decode_object

__all__ = [
    "Conversation",
    "Device",
    "Event",
    "FileId",
    "Mark",
    "MembersChanged",
    "Message",
    "Presence",
    "Receipt",
    "SentMessage",
    "Typing",
]


class FileId(bytes):
    """The name of a file: the SHA-256 of its content, 32 bytes, shown as 64 hex digits."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Take 32 bytes; anything else raises BadMessage."""
        if len(raw) != 32:
            raise BadMessage(f"a file id has 32 bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: str) -> FileId:
        """Return the id that ``str(file_id)`` shows; raises BadMessage where it is none."""
        try:
            return cls(bytes.fromhex(text))
        except (ValueError, TypeError) as error:
            raise BadMessage(f"not a file id: {text[:80]!r}") from error

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"FileId({self.hex()})"


class SentMessage(NamedTuple):
    """Where the server durably put a message: its conversation, place in it, and time stamp."""

    conv: bytes
    seq: int
    stamp: int


class _Message(NamedTuple):
    conv: bytes
    seq: int
    stamp: int
    seen: int
    sender: str
    device: int
    cid: int
    to: str | None
    type: str
    body: bytes
    file: FileId | None
    position: int


class Message(_Message):
    """A message as it arrived.

    ``seq`` is its place in its conversation (gap-free, the same for everyone), ``stamp`` a hybrid
    logical clock, ``seen`` the last seq its sender had seen, ``to`` the receiver of a direct
    message (None in a group), ``position`` its place in this device's queue. Messages that
    another device of this same account sent arrive too, with ``sender`` the own account.
    """

    @cached_property
    def text(self) -> str:
        """The body as UTF-8 text; invalid bytes show as U+FFFD, for the sender chose them."""
        return self.body.decode("utf-8", "replace")

    @cached_property
    def object(self) -> Any:
        """The body as the object that was sent; raises BadMessage where it is none."""
        return decode_object(self.body)

    @property
    def sent_ms(self) -> int:
        """The server's time of acceptance, unix milliseconds."""
        return self.stamp >> 16


class _MembersChanged(NamedTuple):
    conv: bytes
    seq: int
    stamp: int
    sender: str
    device: int
    cid: int
    name: str
    members: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    position: int


class MembersChanged(_MembersChanged):
    """A group was made, or its members changed; ``members`` is who belongs to it from here on."""

    @property
    def sent_ms(self) -> int:
        """The server's time of acceptance, unix milliseconds."""
        return self.stamp >> 16


Event = Message | MembersChanged
"""What a device's queue holds."""

EVENT_TYPES = (Message, MembersChanged)


class Receipt(NamedTuple):
    """Up to which seq of a conversation an account's devices have received, and it has read."""

    conv: bytes
    account: str
    delivered: int
    read: int


class Mark(NamedTuple):
    """One member's watermarks in a conversation."""

    account: str
    delivered: int
    read: int


class Presence(NamedTuple):
    """Whether an account is online and when it was last seen (unix ms); hidden is None."""

    account: str
    online: bool
    last_seen_ms: int | None


class Typing(NamedTuple):
    """An account began (``on``) or ended typing in a conversation."""

    conv: bytes
    account: str
    on: bool


class Conversation(NamedTuple):
    """A conversation of this account; ``name`` is empty for a direct one."""

    conv: bytes
    is_group: bool
    name: str
    members: tuple[str, ...]
    last_seq: int


class Device(NamedTuple):
    """A device of this account; ``current`` is the one that asks."""

    device: int
    name: str
    created_ms: int
    last_seen_ms: int | None
    current: bool
