"""Every operation: typed, encoded, checked against wire.cddl, decoded, the same again."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.transport import wire

CDDL = Path(wire.__file__).parents[1] / "wire.cddl"


@functools.cache
def schema(rule: str) -> Any:
    """A validator of one rule.

    It is asked about operations one by one, and only whether it accepts what is right: between
    arrays it accepts either.
    """
    pycddl = pytest.importorskip("pycddl", reason="the CDDL validator is not installed")
    # CDDL's regular expressions match the whole text, the validator's any part of it.
    text = re.sub(r'\.regexp "(.*?)"', r'.regexp "^(?:\1)$"', CDDL.read_text())
    return pycddl.Schema(f"root = {rule}\n{text}")


def fits(rule: str, data: bytes) -> bool:
    try:
        schema(rule).validate_cbor(data)
    except pytest.importorskip("pycddl").ValidationError:
        return False
    return True


U63 = st.integers(0, wire.MAX_UINT)
POSITIVE = st.integers(1, wire.MAX_UINT)
ID = st.integers(0, wire.MAX_REQUEST_ID)
ACCOUNT = st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True)
ACCOUNTS = st.lists(ACCOUNT, max_size=4).map(tuple)
CONV = st.binary(min_size=16, max_size=16)
FILE = st.none() | st.binary(min_size=32, max_size=32)
TYPE = st.from_regex(r"[ -~]{1,64}", fullmatch=True)
BODY = st.binary(max_size=300)
MS = st.none() | U63


def text(most: int, least: int = 1) -> st.SearchStrategy[str]:
    """Text of so many bytes of UTF-8."""
    return st.text(max_size=most, min_size=least).filter(
        lambda value: least <= len(value.encode()) <= most
    )


def with_cid(make: Callable[..., Any], *rest: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return POSITIVE.flatmap(
        lambda cid: st.builds(make, ID, st.just(cid), st.integers(1, cid), *rest)
    )


SEND = with_cid(
    lambda i, cid, low, *rest: wire.Send(i, rest[0], cid, low, *rest[1:]),
    ACCOUNT | CONV, U63, U63, TYPE, BODY, FILE,
)  # fmt: skip

CLIENT_OPS: dict[str, st.SearchStrategy[Any]] = {
    "HELLO": st.builds(
        wire.Hello, ID, st.lists(POSITIVE, min_size=1, max_size=16).map(tuple), text(128, 0)
    ),
    "CODE": st.builds(wire.Code, ID, ACCOUNT),
    "SIGNUP": st.builds(
        wire.SignUp, ID, ACCOUNT, text(16), st.binary(min_size=32, max_size=32), text(64)
    ),
    "AUTH": st.builds(wire.Auth, ID, ACCOUNT, POSITIVE, st.binary(min_size=64, max_size=64)),
    "SEND": SEND,
    "GROUP": with_cid(wire.Group, text(128), st.lists(ACCOUNT, min_size=1, max_size=4).map(tuple)),
    "MEMBERS": with_cid(wire.Members, CONV, ACCOUNTS, ACCOUNTS).filter(
        lambda op: op.add or op.remove
    ),
    "CONVERSATIONS": st.builds(wire.Conversations, ID, st.none() | CONV, st.integers(1, 256)),
    "MARKS": st.builds(wire.Marks, ID, CONV),
    "READ": st.builds(wire.Read, ID, CONV, POSITIVE),
    "WATCH": st.builds(wire.Watch, ID, ACCOUNT),
    "UNWATCH": st.builds(wire.Unwatch, ID, ACCOUNT),
    "PRIVACY": st.builds(wire.Privacy, ID, st.booleans()),
    "BLOCK": st.builds(wire.Block, ID, ACCOUNT, st.booleans()),
    "DEVICES": st.builds(wire.Devices, ID),
    "REVOKE": st.builds(wire.Revoke, ID, POSITIVE),
    "TOKEN": st.builds(wire.Token, ID),
    "ACK": st.builds(wire.Ack, U63),
    "TYPING": st.builds(wire.Typing, ACCOUNT | CONV, st.booleans()),
}


def test_the_table_is_complete() -> None:
    assert len(CLIENT_OPS) == len(wire.OPCODES) == len(set(wire.OPCODES.values()))


@pytest.mark.parametrize("rule", CLIENT_OPS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_client_operations(rule: str, data: st.DataObject) -> None:
    op = data.draw(CLIENT_OPS[rule])
    encoded = wire.encode_request(op)
    assert fits(rule, encoded)
    (decoded,) = wire.decode_frame(wire.frame([encoded]))
    assert wire.parse_request(decoded) == op
    assert type(wire.parse_request(decoded)) is type(op)


WRONG: list[Any] = [
    None, True, False, -1, 0, 2**63, 2**64 - 1, 1.5, "", "x", "+", "+0123456789", "+49170123456x",
    "+49²7012345", "+1234567890123456", b"", b"x" * 15, b"x" * 33, [], [1], [None], ["x"], {},
    "ä" * 65, "a" * 129, "a\nb",
]  # fmt: skip


def refusal(op: list[Any]) -> wire.BadRequest | None:
    try:
        wire.parse_request(op)
    except wire.BadRequest as exc:
        return exc
    return None


@pytest.mark.parametrize("rule", CLIENT_OPS)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_wrong_field_is_refused_with_the_requests_id(rule: str, data: st.DataObject) -> None:
    op = data.draw(CLIENT_OPS[rule])
    plain = wire.decode(wire.encode_request(op))
    index = data.draw(st.integers(1, len(plain) - 1))
    plain[index] = data.draw(st.sampled_from(WRONG))
    encoded = wire.encode(plain)
    refused = refusal(wire.decode(encoded))
    if refused is None:
        assert fits(rule, encoded)
        assert wire.encode_request(wire.parse_request(plain)) == encoded
        return
    assert refused.code == "bad_request"
    assert refused.text
    if rule in {"ACK", "TYPING"}:
        assert refused.request_id is None
    elif index == 1:
        assert refused.request_id is None or refused.request_id == plain[1]
    else:
        assert refused.request_id == op.id


@pytest.mark.parametrize("rule", CLIENT_OPS)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_items_too_few_or_too_many(rule: str, data: st.DataObject) -> None:
    plain = wire.decode(wire.encode_request(data.draw(CLIENT_OPS[rule])))
    for op in (plain[:-1], [*plain, None], plain[:1]):
        with pytest.raises(wire.BadRequest):
            wire.parse_request(op)
        assert not fits(rule, wire.encode(op))


@pytest.mark.parametrize("opcode", [0, 18, 31, 34, 63, 64, 66, 99, 2**32, -1, True, "1", None, [1]])
def test_unknown_operations_are_answered_if_they_have_an_id(opcode: Any) -> None:
    with pytest.raises(wire.BadRequest) as info:
        wire.parse_request([opcode, 77, 1])
    request = type(opcode) is int and not 32 <= opcode < 64
    assert info.value.request_id == (77 if request else None)


def test_a_body_that_is_too_large_has_its_own_code() -> None:
    send = wire.Send(7, "+491701234567", 5, 5, 0, 0, "text", bytes(65_536), None)
    (op,) = wire.decode_frame(wire.frame([wire.encode_request(send)]))
    assert wire.parse_request(op) == send
    (op,) = wire.decode_frame(wire.frame([wire.encode_request(send._replace(body=bytes(65_537)))]))
    with pytest.raises(wire.BadRequest) as info:
        wire.parse_request(op)
    assert (info.value.code, info.value.request_id) == ("too_large", 7)


def test_low_is_at_most_cid() -> None:
    for low, good in ((1, True), (5, True), (6, False), (0, False)):
        op = [wire.SEND, 7, "+491701234567", 5, low, 0, 0, "text", b"", None]
        if good:
            assert wire.parse_request(op)
        else:
            with pytest.raises(wire.BadRequest):
                wire.parse_request(op)


MESSAGE = st.builds(
    wire.MessageEvent,
    CONV, POSITIVE, U63, U63, ACCOUNT, POSITIVE, POSITIVE, st.none() | ACCOUNT, TYPE, BODY, FILE,
)  # fmt: skip
MEMBERS = st.builds(
    wire.MembersEvent,
    CONV, POSITIVE, U63, ACCOUNT, U63, U63, text(128), ACCOUNTS, ACCOUNTS, ACCOUNTS,
)  # fmt: skip


def event_bytes(event: wire.Event) -> bytes:
    if isinstance(event, wire.MessageEvent):
        return wire.message_event(*event)
    assert isinstance(event, wire.MembersEvent)
    return wire.members_event(*event)


@given(MESSAGE | MEMBERS)
@settings(deadline=None)
def test_events(event: wire.Event) -> None:
    rule = "message-event" if isinstance(event, wire.MessageEvent) else "members-event"
    data = event_bytes(event)
    assert fits(rule, data)
    assert wire.parse_event(wire.decode(data)) == event


ERROR = st.builds(wire.Error, ID, st.sampled_from(list(wire.ErrorCode)), text(200, 0), MS)
SERVER_OPS: dict[str, tuple[Callable[..., bytes], st.SearchStrategy[Any]]] = {
    "ERROR": (wire.error, ERROR),
    "RECEIPT": (wire.receipt, st.builds(wire.Receipt, CONV, ACCOUNT, U63, U63)),
    "PRESENCE": (wire.presence, st.builds(wire.Presence, ACCOUNT, st.booleans(), MS)),
    "TYPING-FROM": (wire.typing, st.builds(wire.TypingFrom, CONV, ACCOUNT, st.booleans())),
    "GOING": (wire.going, st.builds(wire.Going, text(200, 0), U63)),
    "PUSH": (
        lambda pos, events: wire.push(pos, [event_bytes(event) for event in events]),
        st.builds(
            wire.Push, POSITIVE, st.lists(MESSAGE | MEMBERS, min_size=1, max_size=5).map(tuple)
        ),
    ),
}


@pytest.mark.parametrize("rule", SERVER_OPS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_server_operations(rule: str, data: st.DataObject) -> None:
    build, strategy = SERVER_OPS[rule]
    reply = data.draw(strategy)
    encoded = build(*reply)
    assert fits(rule, encoded)
    (op,) = wire.decode_frame(wire.frame([encoded]))
    assert wire.parse_reply(op) == reply
    assert wire.encode(op) == encoded
    for index in range(1, len(op)):
        for wrong in (1.5, [1], {"a": 1}, -1):
            with pytest.raises(wire.BadFrame):
                wire.parse_reply([*op[:index], wrong, *op[index + 1 :]])


INFO = st.builds(
    wire.ConversationInfo, CONV, st.integers(0, 1), text(128, 0), ACCOUNTS, U63
)  # fmt: skip
DEVICE = st.builds(wire.DeviceInfo, POSITIVE, text(64), U63, MS, st.booleans())
RESULTS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "HELLO": (
        "hello-result",
        st.builds(
            wire.Welcome,
            POSITIVE,
            text(128, 0),
            st.binary(min_size=32, max_size=32),
            st.dictionaries(text(20), U63, max_size=5),
        ),
    ),
    "SIGNUP": ("signup-result", st.builds(wire.SignedUp, ACCOUNT, POSITIVE)),
    "AUTH": ("auth-result", st.builds(wire.Authenticated, U63, U63, U63)),
    "SEND": ("sent", st.builds(wire.Sent, CONV, POSITIVE, U63)),
    "CONVERSATIONS": ("conversations-result", st.lists(INFO, max_size=4)),
    "MARKS": (
        "marks-result",
        st.lists(st.builds(wire.Mark, ACCOUNT, U63, U63), max_size=4),
    ),
    "WATCH": ("watch-result", st.builds(wire.PresenceState, st.booleans(), MS)),
    "DEVICES": ("devices-result", st.lists(DEVICE, max_size=4)),
    "TOKEN": ("token-result", st.builds(wire.MediaToken, text(100), U63)),
    "READ": ("null", st.none()),
}


@pytest.mark.parametrize("name", RESULTS)
@given(data=st.data(), request_id=ID)
@settings(max_examples=20, deadline=None)
def test_results(name: str, data: st.DataObject, request_id: int) -> None:
    rule, strategy = RESULTS[name]
    opcode = getattr(wire, name)
    result = data.draw(strategy)
    encoded = wire.ok(request_id, result)
    if name == "HELLO":
        assert encoded == wire.welcome(request_id, *result)
    elif name == "SEND":
        assert encoded == wire.sent(request_id, *result)
    elif name == "READ":
        assert encoded == wire.ok_null(request_id)
    (op,) = wire.decode_frame(wire.frame([encoded]))
    reply = wire.parse_reply(op)
    assert isinstance(reply, wire.Ok)
    assert reply.id == request_id
    assert fits(rule, wire.encode(reply.result))
    assert wire.parse_result(opcode, reply.result) == result
    for wrong in (1.5, [1.5], {"a": 1}):
        with pytest.raises(wire.BadFrame):
            wire.parse_result(opcode, wrong)


def test_what_a_newer_server_says_is_passed_over() -> None:
    assert wire.parse_reply([71, 1, 2]) == wire.Unknown(71)
    assert wire.parse_event([3, "news"]) == wire.UnknownEvent(3)
    for event in ([], 5, None, ["x"], [True], [-1]):
        with pytest.raises(wire.BadFrame):
            wire.parse_event(event)
    with pytest.raises(wire.BadFrame):
        wire.parse_reply(["64", 1])


def test_every_error_code_is_in_the_grammar() -> None:
    for code in wire.ErrorCode:
        assert fits("error-code", wire.encode(str(code)))
    assert not fits("error-code", wire.encode("other"))


@given(ACCOUNT, ACCOUNT)
@settings(deadline=None)
def test_both_sides_know_a_direct_conversation_by_the_same_name(a: str, b: str) -> None:
    conv = wire.direct_conversation(a, b)
    assert conv == wire.direct_conversation(b, a)
    assert len(conv) == 16
    assert (wire.direct_conversation(a, a) == conv) == (a == b)
