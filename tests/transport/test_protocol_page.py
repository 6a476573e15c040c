"""The page for people who write clients says what the code does: frames, vectors, tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from palaver.transport import edge, wire

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()

ADA = "+491701234567"
BOB = "+14155550123"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NONCE = bytes(range(32))
PAYLOAD = wire.auth_payload(NONCE, ADA, 1)
CONV = wire.direct_conversation(ADA, BOB)
STAMP = (1_700_000_000_000 << 16) | 1
EVENT = wire.MessageEvent(CONV, 1, STAMP, 0, ADA, 1, 1, BOB, "text", b"hi", None)

OPERATIONS: dict[str, bytes] = {
    "HELLO": wire.encode_request(wire.Hello(1, (1,), "example/1")),
    "welcome": wire.welcome(1, 1, "palaver/0.1.0", NONCE, {"body_bytes": 65536}),
    "AUTH": wire.encode_request(wire.Auth(2, ADA, 1, KEY.sign(PAYLOAD))),
    "SEND": wire.encode_request(wire.Send(7, BOB, 1, 1, 0, 0, "text", b"hi", None)),
    "sent": wire.sent(7, CONV, 1, STAMP),
    "PUSH": wire.push(1, [wire.message_event(*EVENT)]),
    "ACK": wire.encode_request(wire.Ack(1)),
    "RECEIPT": wire.receipt(CONV, BOB, 1, 0),
    "ERROR": wire.error(8, wire.ErrorCode.OVERLOADED, "the server is busy", 250),
}


def blocks(kind: str) -> dict[str, str]:
    found = re.findall(rf"<!-- {kind}: (\w+) -->\n```text\n(.*?)```", PAGE, re.DOTALL)
    return dict(found)


def dumped(block: str) -> bytes:
    """The bytes of a dump: pairs of hexadecimal digits, up to the remark on each line."""
    data = b""
    for line in block.splitlines():
        code = re.match(r"\s*((?:(?:[0-9a-f]{2})+ ?)*)(?:\s|$)", line)
        assert code is not None
        data += bytes.fromhex(code[1])
    return data


def test_every_frame_is_on_the_page() -> None:
    assert blocks("frame").keys() == OPERATIONS.keys()


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_dumps_are_what_is_sent(name: str) -> None:
    assert dumped(blocks("frame")[name]).hex(" ") == wire.frame([OPERATIONS[name]]).hex(" ")


def test_the_vectors() -> None:
    auth = blocks("vector")["auth"]
    for value in (
        KEY.private_bytes_raw(),
        KEY.public_key().public_bytes_raw(),
        NONCE,
        PAYLOAD,
        KEY.sign(PAYLOAD),
    ):
        assert value.hex() in re.sub(r"\s+", "", auth)
    assert CONV.hex() in blocks("vector")["direct"]


def table(heading: str) -> list[list[str]]:
    """The rows of all tables under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not row[0].startswith(("-", " -"))]


def test_the_table_of_operations() -> None:
    found = {
        int(match[1]): match[2]
        for row in table("Requests, answers, notices")
        if (match := re.match(r"(\d+) `(\w+)`", row[0]))
    }
    wanted: dict[int, str] = {
        opcode: kind.__name__.upper() for kind, opcode in wire.OPCODES.items()
    }
    for name in ("OK", "ERROR", "PUSH", "RECEIPT", "PRESENCE", "GOING"):
        wanted[getattr(wire, name)] = name
    wanted[wire.TYPING_FROM] = "TYPING"
    assert found == wanted


def test_the_table_of_errors() -> None:
    codes = [row[0].strip("`") for row in table("Errors")[1:]]
    assert codes == [str(code) for code in wire.ErrorCode]


def test_the_table_of_close_codes() -> None:
    codes = [int(row[0]) for row in table("Close codes")[1:]]
    assert codes == sorted(wire.CloseCode)


def test_the_table_of_limits() -> None:
    found = {row[0]: row[1] for row in table("Flow control and limits")[1:]}
    limits: dict[str, Any] = {
        "bytes of a frame": wire.MAX_FRAME_BYTES,
        "operations of a frame": wire.MAX_FRAME_OPS,
        "nesting of a frame": wire.MAX_DEPTH,
        "bytes of a body": wire.MAX_BODY_BYTES,
        "open requests": wire.MAX_OPEN_REQUESTS,
        "members of a group": wire.MAX_MEMBERS,
        "conversations of a page": wire.MAX_PAGE,
        "bytes of a message's type": wire.MAX_TYPE_BYTES,
        "bytes of a group's name": wire.MAX_NAME_BYTES,
        "bytes of a device's name": wire.MAX_DEVICE_NAME_BYTES,
    }
    for name, value in limits.items():
        assert found[name] == str(value)
    assert found["a message begun and not finished"] == (
        f"{edge.EdgeLimits().half_message_timeout_s:.0f} s"
    )
    assert edge.EdgeLimits().ping_s == 30
    assert edge.EdgeLimits().pong_timeout_s == 15
    assert edge.EdgeLimits().write_timeout_s == 30


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    for link in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert link in anchors
