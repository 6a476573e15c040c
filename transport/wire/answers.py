"""What a client reads: the server's operations and the events.

The mirror of `replies`. A server is checked as strictly as a client, so a client that runs on
hears of a broken or hostile server at once; only operation codes that this version does not know
are let through, as `Unknown`, so that a newer server can say more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from . import constants as c
from .checks import (
    Invalid,
    account,
    accounts,
    boolean,
    conversation,
    fields,
    is_account,
    is_type,
    positive,
    text,
    unsigned,
    unsigned_or_none,
)
from .codec import BadFrame
from .results import presence_state

_MAX_TEXT_BYTES: Final = 1024


class MessageEvent(NamedTuple):
    """A message as a device's queue holds it; `to` is set in direct conversations."""

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
    file: bytes | None


class MembersEvent(NamedTuple):
    """A change of a group's members; it has a place in the conversation like a message.

    `device` and `cid` are 0 where no device asked for it: an operator deleted the account.
    """

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


class UnknownEvent(NamedTuple):
    """An event of a kind that this version does not know; it is acknowledged and passed over."""

    kind: int


Event: TypeAlias = MessageEvent | MembersEvent | UnknownEvent


class Ok(NamedTuple):
    """The answer to a request that succeeded; `parse_result` gives the result its type."""

    id: int
    result: Any


class Error(NamedTuple):
    """The answer to a request that failed. `code` is an `ErrorCode` or one of a newer server."""

    id: int
    code: str
    text: str
    retry_after_ms: int | None


class Push(NamedTuple):
    """Events from this device's queue, at the positions `first_pos`, `first_pos` + 1, ..."""

    first_pos: int
    events: tuple[Event, ...]


class Receipt(NamedTuple):
    """How far an account has received and read a conversation; never goes back."""

    conv: bytes
    account: str
    delivered: int
    read: int


class Presence(NamedTuple):
    """A watched account came, went, or changed what it shows."""

    account: str
    online: bool
    last_seen_ms: int | None


class TypingFrom(NamedTuple):
    """A member of a conversation is typing, or stopped."""

    conv: bytes
    account: str
    on: bool


class Going(NamedTuple):
    """The server is about to close; come back after so many milliseconds."""

    reason: str
    reconnect_after_ms: int


class Unknown(NamedTuple):
    """An operation of a newer server; clients pass over it."""

    opcode: int


Reply: TypeAlias = Ok | Error | Push | Receipt | Presence | TypingFrom | Going | Unknown


def parse_reply(op: list[Any]) -> Reply:
    """Check one operation from a server and give it its type.

    Raises:
        BadFrame: the server broke the grammar.
    """
    opcode = op[0]
    if type(opcode) is not int:
        raise BadFrame("grammar", "an operation's code is not an integer")
    rule = _REPLIES.get(opcode)
    if rule is None:
        return Unknown(opcode)
    length, parse = rule
    try:
        return parse(fields(op, length, f"operation {opcode}"))
    except Invalid as exc:
        raise BadFrame("grammar", str(exc)) from exc


def parse_event(event: Any) -> Event:
    """Check one event and give it its type.

    Raises:
        BadFrame: it is no event.
    """
    try:
        return _event(event)
    except Invalid as exc:
        raise BadFrame("grammar", str(exc)) from exc


def _event(e: Any) -> Event:
    if type(e) is not list or not e:
        raise Invalid("an event is a list that begins with its kind")
    if e[0] == c.EVENT_MESSAGE:
        return _message(fields(e, 12, "a message"))
    if e[0] == c.EVENT_MEMBERS:
        return _members(fields(e, 11, "a change of members"))
    return UnknownEvent(unsigned(e[0], "an event's kind"))


def _message(e: list[Any]) -> MessageEvent:
    # Once per message that arrives, so straight-line.
    _, conv, seq, stamp, seen, sender, device, cid, to, kind, body, file = e
    if type(conv) is not bytes or len(conv) != c.CONVERSATION_BYTES:
        raise Invalid("a message's conv is not a byte string of 16 bytes")
    for number in (seq, stamp, seen, device, cid):
        if type(number) is not int or not 0 <= number <= c.MAX_UINT:
            raise Invalid("a number of a message is not an unsigned integer below 2**63")
    if not is_account(sender) or not (to is None or is_account(to)):
        raise Invalid("a message's sender or to is not an account")
    if not is_type(kind) or type(body) is not bytes or len(body) > c.MAX_BODY_BYTES:
        raise Invalid("a message's type or body is not what it should be")
    if file is not None and (type(file) is not bytes or len(file) != c.FILE_BYTES):
        raise Invalid("a message's file is neither null nor a byte string of 32 bytes")
    return MessageEvent(conv, seq, stamp, seen, sender, device, cid, to, kind, body, file)


def _members(e: list[Any]) -> MembersEvent:
    return MembersEvent(
        conversation(e[1]),
        positive(e[2], "seq"),
        unsigned(e[3], "stamp"),
        account(e[4], "sender"),
        unsigned(e[5], "device"),
        unsigned(e[6], "cid"),
        text(e[7], "name", c.MAX_NAME_BYTES),
        accounts(e[8], "members", c.MAX_MEMBERS),
        accounts(e[9], "added", c.MAX_MEMBERS),
        accounts(e[10], "removed", c.MAX_MEMBERS),
    )


def _push(op: list[Any]) -> Push:
    if type(op[2]) is not list or not op[2]:
        raise Invalid("PUSH has no events")
    return Push(positive(op[1], "first position"), tuple([_event(each) for each in op[2]]))


def _request_id(value: Any) -> int:
    return unsigned(value, "the request's id", c.MAX_REQUEST_ID)


def _error(op: list[Any]) -> Error:
    return Error(
        _request_id(op[1]),
        text(op[2], "code", 64),
        text(op[3], "text", _MAX_TEXT_BYTES, 0),
        unsigned_or_none(op[4], "retry_after_ms"),
    )


_REPLIES: Final[dict[int, tuple[int, Callable[[list[Any]], Reply]]]] = {
    c.OK: (3, lambda op: Ok(_request_id(op[1]), op[2])),
    c.ERROR: (5, _error),
    c.PUSH: (3, _push),
    c.RECEIPT: (
        5,
        lambda op: Receipt(
            conversation(op[1]),
            account(op[2], "account"),
            unsigned(op[3], "delivered"),
            unsigned(op[4], "read"),
        ),
    ),
    c.PRESENCE: (
        4,
        lambda op: Presence(account(op[1], "account"), *presence_state(op[2:])),
    ),
    c.TYPING_FROM: (
        4,
        lambda op: TypingFrom(conversation(op[1]), account(op[2], "account"), boolean(op[3], "on")),
    ),
    c.GOING: (
        3,
        lambda op: Going(
            text(op[1], "reason", _MAX_TEXT_BYTES, 0), unsigned(op[2], "reconnect_after_ms")
        ),
    ),
}
