"""What a client's requests give: the result of each OK, typed by the request it answers."""

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
    exact_bytes,
    fields,
    positive,
    text,
    unsigned,
    unsigned_or_none,
)
from .codec import BadFrame

_MAX_TEXT_BYTES: Final = 1024


class Welcome(NamedTuple):
    """The result of HELLO: the version chosen, the nonce to sign, the limits that apply."""

    version: int
    server: str
    nonce: bytes
    limits: dict[str, int]


class SignedUp(NamedTuple):
    """The result of SIGNUP."""

    account: str
    device: int


class Authenticated(NamedTuple):
    """The result of AUTH: how many events wait, the next position, the server's clock."""

    pending: int
    next_pos: int
    now_ms: int


class Sent(NamedTuple):
    """The result of SEND, GROUP and MEMBERS: the place of the message, durable."""

    conv: bytes
    seq: int
    stamp: int


class ConversationInfo(NamedTuple):
    """One conversation of CONVERSATIONS."""

    conv: bytes
    kind: int
    name: str
    members: tuple[str, ...]
    last_seq: int


class Mark(NamedTuple):
    """One member's marks of MARKS."""

    account: str
    delivered: int
    read: int


class PresenceState(NamedTuple):
    """The result of WATCH; hidden looks as (False, None)."""

    online: bool
    last_seen_ms: int | None


class DeviceInfo(NamedTuple):
    """One device of DEVICES."""

    device: int
    name: str
    created_ms: int
    last_seen_ms: int | None
    current: bool


class MediaToken(NamedTuple):
    """The result of TOKEN: the bearer token for HTTP and when it ends, in Unix milliseconds."""

    token: str
    expires_ms: int


Result: TypeAlias = (
    Welcome | SignedUp | Authenticated | Sent | PresenceState | MediaToken
    | list[ConversationInfo] | list[Mark] | list[DeviceInfo] | None
)  # fmt: skip


def parse_result(opcode: int, result: Any) -> Result:
    """Check the result of an OK, given the code of the request that it answers.

    Raises:
        BadFrame: the server broke the grammar.
    """
    try:
        return _RESULTS[opcode](result)
    except Invalid as exc:
        raise BadFrame("grammar", str(exc)) from exc


def presence_state(r: Any) -> PresenceState:
    """Check a presence, which is also a part of PRESENCE."""
    r = fields(r, 2, "a presence")
    return PresenceState(boolean(r[0], "online"), unsigned_or_none(r[1], "last_seen_ms"))


def _welcome(r: Any) -> Welcome:
    r = fields(r, 4, "the result of HELLO")
    limits = r[3]
    if type(limits) is not dict:
        raise Invalid("limits is not a map")
    for name, value in limits.items():
        text(name, "a limit's name", c.MAX_NAME_BYTES)
        unsigned(value, "a limit")
    return Welcome(
        positive(r[0], "version"),
        text(r[1], "server", c.MAX_AGENT_BYTES, 0),
        exact_bytes(r[2], "nonce", c.NONCE_BYTES),
        limits,
    )


def _sent(r: Any) -> Sent:
    r = fields(r, 3, "the result of SEND")
    return Sent(conversation(r[0]), positive(r[1], "seq"), unsigned(r[2], "stamp"))


def _signed_up(r: Any) -> SignedUp:
    r = fields(r, 2, "the result of SIGNUP")
    return SignedUp(account(r[0], "account"), positive(r[1], "device"))


def _authenticated(r: Any) -> Authenticated:
    r = fields(r, 3, "the result of AUTH")
    return Authenticated(
        unsigned(r[0], "pending"), unsigned(r[1], "next position"), unsigned(r[2], "now_ms")
    )


def _token(r: Any) -> MediaToken:
    r = fields(r, 2, "the result of TOKEN")
    return MediaToken(text(r[0], "token", _MAX_TEXT_BYTES), unsigned(r[1], "expires_ms"))


def _conversation_info(r: Any) -> ConversationInfo:
    r = fields(r, 5, "a conversation")
    return ConversationInfo(
        conversation(r[0]),
        unsigned(r[1], "kind"),
        text(r[2], "name", c.MAX_NAME_BYTES, 0),
        accounts(r[3], "members", c.MAX_MEMBERS),
        unsigned(r[4], "last_seq"),
    )


def _mark(r: Any) -> Mark:
    r = fields(r, 3, "a mark")
    return Mark(account(r[0], "account"), unsigned(r[1], "delivered"), unsigned(r[2], "read"))


def _device_info(r: Any) -> DeviceInfo:
    r = fields(r, 5, "a device")
    return DeviceInfo(
        positive(r[0], "device"),
        text(r[1], "name", c.MAX_DEVICE_NAME_BYTES),
        unsigned(r[2], "created_ms"),
        unsigned_or_none(r[3], "last_seen_ms"),
        boolean(r[4], "current"),
    )


def _nothing(r: Any) -> None:
    if r is not None:
        raise Invalid("the result is not null")


def _items(r: Any) -> list[Any]:
    if type(r) is not list:
        raise Invalid("the result is not a list")
    return r


_RESULTS: Final[dict[int, Callable[[Any], Result]]] = {
    c.HELLO: _welcome,
    c.CODE: _nothing,
    c.SIGNUP: _signed_up,
    c.AUTH: _authenticated,
    c.SEND: _sent,
    c.GROUP: _sent,
    c.MEMBERS: _sent,
    c.CONVERSATIONS: lambda r: [_conversation_info(each) for each in _items(r)],
    c.MARKS: lambda r: [_mark(each) for each in _items(r)],
    c.READ: _nothing,
    c.WATCH: presence_state,
    c.UNWATCH: _nothing,
    c.PRIVACY: _nothing,
    c.BLOCK: _nothing,
    c.DEVICES: lambda r: [_device_info(each) for each in _items(r)],
    c.REVOKE: _nothing,
    c.TOKEN: _token,
}
