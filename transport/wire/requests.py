"""What a client says: one NamedTuple for each operation, its fields in the order of the wire.

`parse_request` is the server's side, `encode_request` the client's. SEND and ACK arrive once for
every message, so they are checked by straight-line code; the rest goes through `checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from cbor2 import dumps

from . import constants as c
from .checks import (
    Invalid,
    account,
    accounts,
    boolean,
    conversation,
    exact_bytes,
    is_account,
    is_type,
    positive,
    text,
)
from .constants import MAX_BODY_BYTES, MAX_UINT, ErrorCode


class BadRequest(Exception):
    """An operation that the grammar forbids; the connection can go on if it has an id.

    Attributes:
        code: what the ERROR answer says.
        text: one sentence for a person.
        request_id: the id to answer to. None if it could not be read or the operation is a
            notice: nothing can be answered then, and the connection is closed with 4400.
    """

    def __init__(self, code: ErrorCode, text: str, request_id: int | None) -> None:
        super().__init__(code, text, request_id)
        self.code = code
        self.text = text
        self.request_id = request_id


class Hello(NamedTuple):
    """Opens the conversation: the protocol versions the client speaks, and what it is."""

    id: int
    versions: tuple[int, ...]
    agent: str


class Code(NamedTuple):
    """Asks for a one-time code to be sent to a phone."""

    id: int
    phone: str


class SignUp(NamedTuple):
    """Registers a device: the code that was sent, and the device's Ed25519 public key."""

    id: int
    phone: str
    code: str
    public_key: bytes
    device_name: str


class Auth(NamedTuple):
    """Proves which device this connection is, by a signature over `auth_payload`."""

    id: int
    account: str
    device: int
    signature: bytes


class Send(NamedTuple):
    """Sends a message to an account (str) or a conversation (bytes)."""

    id: int
    to: str | bytes
    cid: int
    low: int
    seen: int
    after: int
    type: str
    body: bytes
    file: bytes | None


class Group(NamedTuple):
    """Makes a conversation of several members; the creator is one without being named."""

    id: int
    cid: int
    low: int
    name: str
    members: tuple[str, ...]


class Members(NamedTuple):
    """Adds members to a group and removes others; to leave is to remove oneself."""

    id: int
    cid: int
    low: int
    conv: bytes
    add: tuple[str, ...]
    remove: tuple[str, ...]


class Conversations(NamedTuple):
    """Asks for a page of the account's conversations, those with an id greater than `after`."""

    id: int
    after: bytes | None
    limit: int


class Marks(NamedTuple):
    """Asks how far each member of a conversation has received and read."""

    id: int
    conv: bytes


class Read(NamedTuple):
    """Says that the account has read a conversation up to and including `seq`."""

    id: int
    conv: bytes
    seq: int


class Watch(NamedTuple):
    """Subscribes to an account's presence for as long as this connection lasts."""

    id: int
    account: str


class Unwatch(NamedTuple):
    """Ends a presence subscription."""

    id: int
    account: str


class Privacy(NamedTuple):
    """Hides or shows when this account was last seen; who hides it does not see others'."""

    id: int
    hide_last_seen: bool


class Block(NamedTuple):
    """Blocks an account, or ends that."""

    id: int
    account: str
    blocked: bool


class Devices(NamedTuple):
    """Asks for the account's devices."""

    id: int


class Revoke(NamedTuple):
    """Takes a device of this account its right to connect."""

    id: int
    device: int


class Token(NamedTuple):
    """Asks for a bearer token for media over HTTP."""

    id: int


class Ack(NamedTuple):
    """Says that every event up to and including position `pos` is safe on the device."""

    pos: int


class Typing(NamedTuple):
    """Says that a person is typing to an account (str) or a conversation (bytes), or stopped."""

    to: str | bytes
    on: bool


Request: TypeAlias = (
    Hello | Code | SignUp | Auth | Send | Group | Members | Conversations | Marks | Read
    | Watch | Unwatch | Privacy | Block | Devices | Revoke | Token
)  # fmt: skip
Notice: TypeAlias = Ack | Typing
ClientOp: TypeAlias = Request | Notice


OPCODES: Final[dict[type[ClientOp], int]] = {
    Hello: c.HELLO,
    Code: c.CODE,
    SignUp: c.SIGNUP,
    Auth: c.AUTH,
    Send: c.SEND,
    Group: c.GROUP,
    Members: c.MEMBERS,
    Conversations: c.CONVERSATIONS,
    Marks: c.MARKS,
    Read: c.READ,
    Watch: c.WATCH,
    Unwatch: c.UNWATCH,
    Privacy: c.PRIVACY,
    Block: c.BLOCK,
    Devices: c.DEVICES,
    Revoke: c.REVOKE,
    Token: c.TOKEN,
    Ack: c.ACK,
    Typing: c.TYPING,
}
"""The operation code of each type."""


def encode_request(op: ClientOp) -> bytes:
    """Encode a request or notice as an operation; `frame` joins operations."""
    return dumps([OPCODES[type(op)], *op])


def parse_request(op: list[Any]) -> ClientOp:
    """Check one operation of `decode_frame` and give it its type.

    Raises:
        BadRequest: the operation is unknown or a field is not what the grammar says.
    """
    opcode = op[0]
    if opcode == c.SEND and type(opcode) is int:
        return _send(op)
    if opcode == c.ACK and type(opcode) is int:
        if len(op) == 2:
            pos = op[1]
            if type(pos) is int and 0 <= pos <= MAX_UINT:
                return Ack(pos)
        raise BadRequest(ErrorCode.BAD_REQUEST, "ACK is [32, position]", None)
    return _parse_other(op)


def _send(op: list[Any]) -> Send:
    if len(op) != 10:
        _refuse(op, "SEND has 10 items")
    _, request_id, to, cid, low, seen, after, kind, body, file = op
    if type(request_id) is not int or not 0 <= request_id <= c.MAX_REQUEST_ID:
        _refuse(op, "the request's id is not an unsigned integer of 32 bits")
    if type(to) is bytes:
        if len(to) != c.CONVERSATION_BYTES:
            _refuse(op, "to is not a conversation of 16 bytes")
    elif not is_account(to):
        _refuse(op, "to is neither an account nor a conversation")
    if type(cid) is not int or not 0 < cid <= MAX_UINT:
        _refuse(op, "cid is not an integer from 1 to 2**63 - 1")
    if type(low) is not int or not 0 < low <= cid:
        _refuse(op, "low is not an integer from 1 to cid")
    if type(seen) is not int or not 0 <= seen <= MAX_UINT:
        _refuse(op, "seen is not an unsigned integer below 2**63")
    if type(after) is not int or not 0 <= after <= MAX_UINT:
        _refuse(op, "after is not an unsigned integer below 2**63")
    if not is_type(kind):
        _refuse(op, "type is not 1 to 64 printable characters of ASCII")
    if type(body) is not bytes:
        _refuse(op, "body is not a byte string")
    if len(body) > MAX_BODY_BYTES:
        raise BadRequest(
            ErrorCode.TOO_LARGE, f"a body has at most {MAX_BODY_BYTES} bytes", request_id
        )
    if file is not None and (type(file) is not bytes or len(file) != c.FILE_BYTES):
        _refuse(op, "file is neither null nor a byte string of 32 bytes")
    return Send(request_id, to, cid, low, seen, after, kind, body, file)


def _request_id(op: list[Any]) -> int | None:
    """Return the id of a request, however wrong the rest is; None if there is none to answer."""
    if type(op[0]) is not int or c.ACK <= op[0] < c.OK or len(op) < 2:
        return None
    request_id = op[1]
    if type(request_id) is int and 0 <= request_id <= c.MAX_REQUEST_ID:
        return request_id
    return None


def _refuse(op: list[Any], text: str) -> NoReturn:
    raise BadRequest(ErrorCode.BAD_REQUEST, text, _request_id(op))


def _parse_other(op: list[Any]) -> ClientOp:
    opcode = op[0]
    rule = _RULES.get(opcode) if type(opcode) is int else None
    if rule is None:
        _refuse(op, "there is no such operation")
    length, parse = rule
    if len(op) != length:
        _refuse(op, f"operation {opcode} has {length} items")
    if length > 1 and opcode != c.TYPING and _request_id(op) is None:
        _refuse(op, "the request's id is not an unsigned integer of 32 bits")
    try:
        return parse(op)
    except Invalid as exc:
        _refuse(op, str(exc))


def _destination(value: Any) -> str | bytes:
    return conversation(value, "to") if type(value) is bytes else account(value, "to")


def _cid_and_low(cid: Any, low: Any) -> tuple[int, int]:
    cid = positive(cid, "cid")
    return cid, positive(low, "low", cid)


def _hello(op: list[Any]) -> Hello:
    versions = op[2]
    if type(versions) is not list or not 0 < len(versions) <= c.MAX_VERSIONS:
        raise Invalid(f"versions is not a list of 1 to {c.MAX_VERSIONS} integers")
    checked = tuple([positive(each, "a version") for each in versions])
    return Hello(op[1], checked, text(op[3], "agent", c.MAX_AGENT_BYTES, 0))


def _sign_up(op: list[Any]) -> SignUp:
    return SignUp(
        op[1],
        account(op[2], "phone"),
        text(op[3], "code", c.MAX_CODE_BYTES),
        exact_bytes(op[4], "public key", c.PUBLIC_KEY_BYTES),
        text(op[5], "device name", c.MAX_DEVICE_NAME_BYTES),
    )


def _auth(op: list[Any]) -> Auth:
    return Auth(
        op[1],
        account(op[2], "account"),
        positive(op[3], "device"),
        exact_bytes(op[4], "signature", c.SIGNATURE_BYTES),
    )


def _group(op: list[Any]) -> Group:
    cid, low = _cid_and_low(op[2], op[3])
    name = text(op[4], "name", c.MAX_NAME_BYTES)
    return Group(op[1], cid, low, name, accounts(op[5], "members", c.MAX_MEMBERS, 1))


def _members(op: list[Any]) -> Members:
    cid, low = _cid_and_low(op[2], op[3])
    conv = conversation(op[4])
    add = accounts(op[5], "add", c.MAX_MEMBERS)
    remove = accounts(op[6], "remove", c.MAX_MEMBERS)
    if not add and not remove:
        raise Invalid("neither add nor remove names anyone")
    return Members(op[1], cid, low, conv, add, remove)


def _conversations(op: list[Any]) -> Conversations:
    after = None if op[2] is None else conversation(op[2], "after")
    return Conversations(op[1], after, positive(op[3], "limit", c.MAX_PAGE))


_RULES: Final[dict[int, tuple[int, Callable[[list[Any]], ClientOp]]]] = {
    c.HELLO: (4, _hello),
    c.CODE: (3, lambda op: Code(op[1], account(op[2], "phone"))),
    c.SIGNUP: (6, _sign_up),
    c.AUTH: (5, _auth),
    c.GROUP: (6, _group),
    c.MEMBERS: (7, _members),
    c.CONVERSATIONS: (4, _conversations),
    c.MARKS: (3, lambda op: Marks(op[1], conversation(op[2]))),
    c.READ: (4, lambda op: Read(op[1], conversation(op[2]), positive(op[3], "seq"))),
    c.WATCH: (3, lambda op: Watch(op[1], account(op[2], "account"))),
    c.UNWATCH: (3, lambda op: Unwatch(op[1], account(op[2], "account"))),
    c.PRIVACY: (3, lambda op: Privacy(op[1], boolean(op[2], "hide_last_seen"))),
    c.BLOCK: (4, lambda op: Block(op[1], account(op[2], "account"), boolean(op[3], "blocked"))),
    c.DEVICES: (2, lambda op: Devices(op[1])),
    c.REVOKE: (3, lambda op: Revoke(op[1], positive(op[2], "device"))),
    c.TOKEN: (2, lambda op: Token(op[1])),
    c.TYPING: (3, lambda op: Typing(_destination(op[1]), boolean(op[2], "on"))),
}
