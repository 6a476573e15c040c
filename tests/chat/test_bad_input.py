"""Whatever a client sends: a typed error or an orderly close, counted, and nobody else notices."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import resource
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from chat_kit import PATIENCE_S, Device, Line, Place, Refused, phone, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kill_kit import Crashes
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from palaver.actors.chat.device_queue import WINDOW_BYTES
from palaver.actors.chat.names import presence_name
from palaver.actors.chat.presence import WriteLastSeen
from palaver.actors.chat.state import commands as cmd
from palaver.transport import wire

Run = Callable[[Coroutine[Any, Any, None]], None]
ANN, BOB, CAT, DOG, NOBODY = phone(1), phone(2), phone(3), phone(4), phone(99)


async def counted(place: Place, kind: str) -> int:
    """How much bad input of a kind /metrics tells of."""
    async with aiohttp.ClientSession() as http, http.get(place.system.admin_url + "/metrics") as r:
        text = await r.text()
    name = rf'palaver_bad_input_total{{kind="{kind}"}}'
    found = re.search(rf"^{name} ([0-9.e+]+)$", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


class Bystanders:
    """Two who talk to each other all the time, and want to notice nothing."""

    def __init__(self, cat: Device, dog: Device) -> None:
        self.cat = cat
        self.dog = dog
        self.said = 0
        self.tired = False

    async def talk_once(self) -> None:
        for one, other, name in ((self.cat, self.dog, DOG), (self.dog, self.cat, CAT)):
            self.said += 1
            body = b"%d" % self.said
            await one.send(name, body)
            await other.until(lambda other=other, body=body: body in other.bodies[-8:])  # type: ignore[misc]

    async def talk(self) -> None:
        while not self.tired:
            await self.talk_once()


@contextlib.asynccontextmanager
async def undisturbed(folder: Path, **settings: Any) -> AsyncIterator[Place]:
    """A node under abuse: two bystanders talk meanwhile, no process crashes, nothing leaks."""
    async with running(folder, **settings) as place:
        crashes = place.system.node.observer = Crashes()
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        both = Bystanders(await place.online(CAT), await place.online(DOG))
        await both.talk_once()
        task = asyncio.ensure_future(both.talk())
        try:
            yield place
            before = both.said
            await both.dog.until(lambda: task.done() or both.said >= before + 4)
        finally:
            both.tired = True
            await task
        assert not crashes.reports, "\n".join(map(str, crashes.reports))
        assert not errors


class Abuser:
    """A connection whose close is waited for."""

    def __init__(self, place: Place, device: Device | None = None) -> None:
        self.place = place
        self.device = device
        self.line: Line | None = None

    async def open(self) -> Line:
        if self.device is not None:
            await self.device.connect()
            self.line = self.device.line
        else:
            self.line = await Line.open(self.place.url)
        assert self.line is not None
        return self.line

    async def closed_by(self, frame: bytes | str) -> int:
        line = await self.open()
        with contextlib.suppress(ConnectionClosed):
            await line.ws.send(frame)
        return await line.closed()


def nested(depth: int) -> bytes:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return wire.encode(value)


FRAMES: dict[str, tuple[bytes | str, int, str]] = {
    "not cbor": (b"\xff\xff\xff", 4400, "bad_frame"),
    "cut short": (wire.encode([[1, 1, [1], "x"]])[:-1], 4400, "bad_frame"),
    "nothing": (b"", 4400, "bad_frame"),
    "trailing byte": (wire.encode([[1, 1, [1], "x"]]) + b"\x00", 4400, "bad_frame"),
    "too deep": (nested(9), 4400, "bad_frame"),
    "very deep": (b"\x81" * 100_000 + b"\x00", 4400, "bad_frame"),
    "duplicate key": (b"\x81\x83\x18\x63\x01\xa2\x01\x01\x01\x02", 4400, "bad_frame"),
    "tag": (b"\x81\x83\x18\x63\x01\xc1\x01", 4400, "bad_frame"),
    "bignum": (wire.encode([[wire.ACK, 2**64]]), 4400, "bad_frame"),
    "shared reference": (b"\x81\x83\x18\x63\xd8\x1c\x80\xd8\x1d\x00", 4400, "bad_frame"),
    "indefinite length": (b"\x9f\x83\x0f\x01\x01\xff", 4400, "bad_frame"),
    "huge announced length": (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 4400, "bad_frame"),
    "huge announced text": (b"\x81\x7b\x7f\xff\xff\xff\xff\xff\xff\xff", 4400, "bad_frame"),
    "text that is not utf-8": (b"\x81\x84\x01\x01\x81\x01\x62\xff\xfe", 4400, "bad_frame"),
    "no list": (b"\x01", 4400, "bad_frame"),
    "no operation": (b"\x80", 4400, "bad_frame"),
    "an empty operation": (b"\x81\x80", 4400, "bad_frame"),
    "an operation that is none": (b"\x81\x01", 4400, "bad_frame"),
    "too many operations": (wire.encode([[wire.ACK, 0]] * 257), 4400, "bad_frame"),
    "unknown notice": (wire.encode([[63]]), 4400, "bad_request"),
    "an id that is negative": (wire.encode([[wire.DEVICES, -1]]), 4400, "bad_request"),
    "an id that is too large": (wire.encode([[wire.DEVICES, 2**32]]), 4400, "bad_request"),
    "an id that is text": (wire.encode([[wire.DEVICES, "1"]]), 4400, "bad_request"),
    "an id that is true": (wire.encode([[wire.DEVICES, True]]), 4400, "bad_request"),
    "negative ack": (wire.encode([[wire.ACK, -1]]), 4400, "bad_request"),
    "ack beyond the protocol": (wire.encode([[wire.ACK, 2**63]]), 4400, "bad_request"),
    "ack of a float": (wire.encode([[wire.ACK, 1.5]]), 4400, "bad_request"),
    "typing to nobody": (wire.encode([[wire.TYPING, "nobody", True]]), 4400, "bad_request"),
    "text frame": ("hello", 1003, "text_frame"),
    "too big": (b"\x00" * (wire.MAX_FRAME_BYTES + 1), 1009, "too_big"),
}


@pytest.mark.parametrize("authenticated", [False, True], ids=["stranger", "device"])
def test_a_bad_frame_ends_its_connection_with_the_right_code(
    run: Run, tmp_path: Path, authenticated: bool
) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            ann = await place.sign_up(ANN) if authenticated else None
            abuser = Abuser(place, ann)
            for name, (frame, code, kind) in FRAMES.items():
                before = await counted(place, kind)
                assert await abuser.closed_by(frame) == code, name
                assert await counted(place, kind) == before + 1, name

    run(main())


def test_raw_websocket_errors_end_the_connection(run: Run, tmp_path: Path) -> None:
    cases = {
        "reserved bits": (b"\xf2\x80\x00\x00\x00\x00", 1002, "protocol_error"),
        "not masked": (b"\x82\x01\x00", 1002, "protocol_error"),
        "long ping": (b"\x89\xfe\x00\xff\x00\x00\x00\x00" + bytes(255), 1002, "protocol_error"),
        "2**63 bytes": (b"\x82\xff\x7f" + b"\xff" * 7 + bytes(4), 1009, "too_big"),
        "continuation of nothing": (b"\x80\x80\x00\x00\x00\x00", 1002, "protocol_error"),
    }

    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            for name, (data, code, kind) in cases.items():
                before = await counted(place, kind)
                line = await Line.open(place.url)
                line.ws.transport.write(data)
                assert await line.closed() == code, name
                assert await counted(place, kind) == before + 1, name

    run(main())


SEND = [wire.SEND, 9, BOB, 1, 1, 0, 0, "text", b"x", None]
GOOD: dict[int, list[Any]] = {
    wire.HELLO: [wire.HELLO, 9, [1], "test"],
    wire.CODE: [wire.CODE, 9, ANN],
    wire.SIGNUP: [wire.SIGNUP, 9, ANN, "123456", bytes(32), "phone"],
    wire.AUTH: [wire.AUTH, 9, ANN, 1, bytes(64)],
    wire.SEND: SEND,
    wire.GROUP: [wire.GROUP, 9, 1, 1, "friends", [BOB]],
    wire.MEMBERS: [wire.MEMBERS, 9, 1, 1, bytes(16), [BOB], []],
    wire.CONVERSATIONS: [wire.CONVERSATIONS, 9, None, 10],
    wire.MARKS: [wire.MARKS, 9, bytes(16)],
    wire.READ: [wire.READ, 9, bytes(16), 1],
    wire.WATCH: [wire.WATCH, 9, BOB],
    wire.UNWATCH: [wire.UNWATCH, 9, BOB],
    wire.PRIVACY: [wire.PRIVACY, 9, True],
    wire.BLOCK: [wire.BLOCK, 9, BOB, True],
    wire.DEVICES: [wire.DEVICES, 9],
    wire.REVOKE: [wire.REVOKE, 9, 7],
    wire.TOKEN: [wire.TOKEN, 9],
}
WRONG: list[Any] = [None, -1, 2**63, 2**64 - 1, 1.5, float("nan"), "x", "\x00", b"x", [], [[]], {}]


def wrong_requests() -> list[list[Any]]:
    """Every request with one field of a wrong type or value, one too few, one too many."""
    bad: list[list[Any]] = [[99, 9], [wire.OK, 9, None], [18, 9], [0, 9, None], [-1, 9], ["5", 9]]
    for good in GOOD.values():
        bad += [[*good, ANN], good[:-1] if len(good) > 2 else [*good, 1]]
        for at in range(2, len(good)):
            for value in WRONG:
                changed = [*good[:at], value, *good[at + 1 :]]
                with contextlib.suppress(wire.BadRequest):
                    wire.parse_request(changed)
                    continue  # it is right after all
                bad.append(changed)
    return bad


async def answer_to(line: Line, op: list[Any]) -> list[Any]:
    """The answer to an operation whose id is 9 here; a fresh one takes its place."""
    request, answer = line.begin(0)
    with contextlib.suppress(IndexError):
        op = [op[0], request[1], *op[2:]]
    await line.ws.send(wire.encode([op]))
    try:
        return [wire.OK, await asyncio.wait_for(answer, PATIENCE_S)]
    except Refused as refused:
        return [wire.ERROR, refused.code]


@pytest.mark.parametrize("authenticated", [False, True], ids=["stranger", "device"])
def test_a_wrong_request_gets_a_typed_error_and_the_connection_goes_on(
    run: Run, tmp_path: Path, authenticated: bool
) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            ann = await place.sign_up(ANN)
            line = await Abuser(place, ann if authenticated else None).open()
            bad = [op for op in wrong_requests() if type(op[0]) is int and op[0] >= 0]
            before = await counted(place, "bad_request")
            for op in bad:
                assert await answer_to(line, op) == [wire.ERROR, "bad_request"], op
            assert await counted(place, "bad_request") == before + len(bad)
            big = [*SEND[:8], bytes(wire.MAX_BODY_BYTES + 1), None]
            assert await answer_to(line, big) == [wire.ERROR, "too_large"]
            assert (await answer_to(line, GOOD[wire.HELLO]))[0] == (
                wire.ERROR if authenticated else wire.OK
            )
            await line.close()

    run(main())


def test_nothing_is_done_before_authentication(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            await place.sign_up(BOB)
            for hello in (False, True):
                line = await Line.open(place.url)
                if hello:
                    await line.ask(wire.HELLO, [1], "test")
                early = [
                    op for code, op in GOOD.items()
                    if code > wire.AUTH or (not hello and code != wire.HELLO)
                ]  # fmt: skip
                before = await counted(place, "not_authenticated")
                for op in early:
                    assert await answer_to(line, op) == [wire.ERROR, "not_authenticated"], op
                assert await counted(place, "not_authenticated") == before + len(early)
                await line.say(wire.ACK, 5)
                await line.say(wire.TYPING, BOB, True)
                assert (await answer_to(line, GOOD[wire.HELLO]))[0] == wire.OK
                await line.close()

    run(main())


def test_versions_signatures_and_challenges(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            ann = await place.sign_up(ANN)
            line = await Line.open(place.url)
            with pytest.raises(Refused, match="unsupported_version"):
                await line.ask(wire.HELLO, [2, 3, 2**63 - 1], "test")
            assert place.system.stats.errors["unsupported_version"] == 1
            nonce = (await line.ask(wire.HELLO, [7, 1], "test"))[2]
            signature = ann.key.sign(wire.auth_payload(nonce, ANN, 1))
            # A second HELLO makes the first challenge worthless, on this connection too.
            await line.ask(wire.HELLO, [1], "test")
            with pytest.raises(Refused, match="auth_failed"):
                await line.ask(wire.AUTH, ANN, 1, signature)
            assert await line.closed() == wire.CloseCode.AUTH_FAILED
            # Nobody learns whether an account, a device or only the signature was wrong.
            for account, device in ((ANN, 1), (ANN, 2**40), (NOBODY, 1)):
                line = await Line.open(place.url)
                await line.ask(wire.HELLO, [1], "test")
                with pytest.raises(Refused) as refused:
                    await line.ask(wire.AUTH, account, device, bytes(64))
                assert refused.value.args == ("auth_failed", "authentication failed", None)
                assert await line.closed() == wire.CloseCode.AUTH_FAILED
            assert place.system.stats.login_failures == 4
            # One signature, two connections at once.
            await ann.connect()
            with pytest.raises(Refused, match="already_authenticated"):
                await ann.ask(wire.AUTH, ANN, 1, signature)

    run(main())


def test_a_block_and_an_unknown_account_take_the_same_path(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            await bob.ask(wire.BLOCK, ANN, True)
            # Nothing else is written now.
            await place.system.node.call(presence_name(0), WriteLastSeen())
            done = []
            for _ in range(2):  # with a new sequencer, and with one that knows already
                for who in (BOB, NOBODY):
                    before = place.system.store.stats()
                    with pytest.raises(Refused) as refused:
                        await ann.send(who, b"hello?")
                    after = place.system.store.stats()
                    done.append(
                        (
                            refused.value.args, after.commands - before.commands,
                            after.reads - before.reads, after.rejected - before.rejected,
                        )
                    )  # fmt: skip
            assert done[0] == done[1]
            assert done[2] == done[3]

    run(main())


def test_the_sender_is_who_the_connection_is(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            for forged in ([*SEND, CAT], [*SEND[:2], CAT, *SEND[2:]], {"from": CAT}):
                assert ann.line is not None
                op = forged if isinstance(forged, list) else [*SEND[:8], forged, None]
                assert await answer_to(ann.line, op) == [wire.ERROR, "bad_request"]
            await ann.send(BOB, b"it is me")
            await bob.until(lambda: bob.bodies == [b"it is me"])
            assert bob.events[0][5:7] == [ANN, ann.number]
            # Somebody else's conversation, by its id.
            private = wire.direct_conversation(CAT, DOG)
            assert await answer_to(ann.line, [*SEND[:2], private, 7, *SEND[4:]]) == [
                wire.ERROR, "not_a_member",
            ]  # fmt: skip
            for op in ([wire.MARKS, 9, private], [wire.READ, 9, private, 1]):
                assert (await answer_to(ann.line, op))[0] == wire.ERROR
            assert await answer_to(ann.line, [wire.MEMBERS, 9, 8, 7, private, [ANN], []]) == [
                wire.ERROR, "not_a_member",
            ]  # fmt: skip

    run(main())


def test_numbers_at_and_beyond_their_ends(run: Run, tmp_path: Path) -> None:
    most = 2**63 - 1

    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            with pytest.raises(Refused, match="bad_request"):
                await ann.send(BOB, b"x", after=most)  # a stamp from the far future
            conversation, seq, _ = await ann.send(BOB, b"1", seen=most)
            await bob.until(lambda: bob.seen == 1)
            assert bob.events[0][4] == 0
            await bob.ask(wire.READ, conversation, most)
            assert [BOB, 1, 1] in await bob.ask(wire.MARKS, conversation)
            # An acknowledgement of what never was pushed is one of all that was.
            for position in (most, 10**9, 0, 1):
                await bob.ack(position)
            await ann.send(BOB, b"2")
            await bob.until(lambda: bob.bodies == [b"1", b"2"])
            await bob.hang_up()
            await ann.send(BOB, b"3")
            assert (await bob.connect())[1] <= 3
            await bob.until(lambda: bob.bodies == [b"1", b"2", b"3"])
            # The last id there is; then nothing is above it, and what is below is refused.
            await ann.send(BOB, b"4", cid=most, low=most)
            with pytest.raises(Refused, match="stale_id"):
                await ann.send(BOB, b"5", cid=1000, low=1000)
            with pytest.raises(Refused, match="bad_request"):
                await ann.ask(wire.REVOKE, most)
            assert seq == 1

    run(main())


def test_request_ids_and_how_many_may_be_open(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            assert ann.line is not None
            twice = [SEND, [*SEND[:3], 2, *SEND[4:]]]
            answer = ann.line._open[9] = asyncio.get_running_loop().create_future()
            await ann.line.ws.send(wire.encode(twice))
            assert await ann.line.closed() == wire.CloseCode.BAD_FRAME
            assert await counted(place, "id_in_use") == 1
            with pytest.raises(ConnectionError):
                await answer
            # Far more requests than may be open: they wait unread, and each gets its one answer.
            await ann.connect()
            assert ann.line is not None
            answers = []
            for frame in range(10):
                ops = []
                for n in range(256):
                    cid = 100 + frame * 256 + n
                    op, answer = ann.line.begin(
                        wire.SEND, BOB, cid, 100, 0, 0, "text", b"%d" % cid, None
                    )  # fmt: skip
                    ops.append(op)
                    answers.append(answer)
                await ann.line.ws.send(wire.encode(ops))
            results = await asyncio.wait_for(asyncio.gather(*answers), PATIENCE_S)
            assert [r[1] for r in results] == list(range(results[0][1], results[0][1] + 2560))
            await bob.until(lambda: bob.bodies[-1:] == [b"%d" % (100 + 2559)])

    run(main())


def test_files_of_others_names_with_paths_and_ranges_past_the_end(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path) as place, aiohttp.ClientSession() as http:
            ann, bob = await place.online(ANN), await place.online(BOB)
            media = place.system.http_url + "/media"
            mine, theirs = [
                {"Authorization": "Bearer " + (await device.ask(wire.TOKEN))[0]}
                for device in (ann, bob)
            ]
            tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}

            async def begin(name: bytes) -> aiohttp.ClientResponse:
                metadata = "filename " + base64.b64encode(name).decode()
                headers = {**mine, **tus, "Upload-Metadata": metadata}
                return await http.post(media + "/uploads", headers=headers)

            for name in (b"../../etc/passwd", b"/etc/passwd", b"a\\b", b"..", b"a\x00b", b"\xff"):
                assert (await begin(name)).status == 400, name
            place_of = (await begin(b"hello.txt")).headers["Location"]
            url = place_of if place_of.startswith("http") else place.system.http_url + place_of
            headers = {
                **mine, "Tus-Resumable": "1.0.0", "Upload-Offset": "0",
                "Content-Type": "application/offset+octet-stream",
            }  # fmt: skip
            # Somebody else can neither see nor go on with nor end an upload.
            for method in ("HEAD", "PATCH", "DELETE"):
                async with http.request(method, url, headers={**headers, **theirs}) as r:
                    assert r.status == 404, method
            async with http.patch(url, headers=headers, data=b"hello") as r:
                assert r.status == 204
                file = r.headers["Palaver-File-Id"]

            async def fetch(name: str, headers: dict[str, str]) -> tuple[int, bytes]:
                async with http.get(f"{media}/{name}", headers=headers) as r:
                    return r.status, await r.read()

            assert await fetch(file, mine) == (200, b"hello")
            unknown = await fetch("0" * 64, theirs)
            assert unknown[0] == 404
            assert await fetch(file, theirs) == unknown
            assert (await fetch(file, {}))[0] == 401
            assert (await fetch(file, {"Authorization": "Bearer " + "x" * 3000}))[0] == 401
            assert (await fetch("..%2f..%2fkeys%2fmedia.key", mine))[0] == 404
            async with http.get(f"{media}/{file}", headers={**mine, "Range": "bytes=5-"}) as r:
                assert r.status == 416
                assert r.headers["Content-Range"] == "bytes */5"
            async with http.get(
                f"{media}/{file}", headers={**mine, "Range": "bytes=3-999999999999999999"}
            ) as r:
                assert (r.status, await r.read()) == (206, b"lo")
            # Sending it gives nothing to whom it does not belong.
            for name in (file, "0" * 64):
                with pytest.raises(Refused, match="no_such_file"):
                    await bob.send(ANN, b"look", file=bytes.fromhex(name))
            await ann.send(BOB, b"look", file=bytes.fromhex(file))
            await bob.until(lambda: bob.bodies == [b"look"])
            assert await fetch(file, theirs) == (200, b"hello")
            refused = place.system._media.stats.refused  # type: ignore[union-attr]
            assert refused["bad_request"] >= 6
            assert refused["no_such_file"] >= 2
            assert refused["range_not_satisfiable"] == 1

    run(main())


QUEUED = 100_000


def test_a_hundred_thousand_queued_messages_are_drained_in_order(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path) as place:
            await place.sign_up(ANN)
            bob = await place.sign_up(BOB)
            await queue_up(place, QUEUED, 20)
            line = await Drain.open(place, bob)
            tracemalloc.start(1)
            try:
                await line.until(QUEUED)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            # Far more waited than may be in memory at once; the client's part counts here too.
            assert peak < 8 * 1024 * 1024, peak
            await line.close()

    run(main())


async def queue_up(place: Place, count: int, size_bytes: int) -> None:
    """Put messages into Bob's queue, by big batches."""
    conversation = wire.direct_conversation(ANN, BOB)
    store, loop = place.system.store, asyncio.get_running_loop()
    stamp = place.system.node.clock.time_ms() << 16
    for first in range(1, count + 1, 500):
        messages = [
            cmd.Fresh(n, 0, "text", struct.pack(">Q", n) + bytes(size_bytes - 8), None)
            for n in range(first, min(first + 500, count + 1))
        ]
        done = loop.create_future()
        command = (
            cmd.SEND, conversation, (ANN, BOB), True, ANN, 1, stamp + first, first, 0, messages
        )  # fmt: skip
        store.append(store.partition_of(conversation), [command], done.set_result)
        (outcome,) = await done
        assert not isinstance(outcome, Exception), outcome


class Drain:
    """A device that counts what it gets and keeps nothing."""

    def __init__(self) -> None:
        self.got = 0
        self.line: Line | None = None

    @classmethod
    async def open(cls, place: Place, device: Device) -> Drain:
        drain = cls()
        drain.line = line = await Line.open(place.url, drain.take)
        nonce = (await line.ask(wire.HELLO, [1], "test"))[2]
        signature = device.key.sign(wire.auth_payload(nonce, device.account, device.number))
        await line.ask(wire.AUTH, device.account, device.number, signature)
        return drain

    async def take(self, op: list[Any]) -> None:
        if op[0] == wire.PUSH:
            for position, event in enumerate(op[2], op[1]):
                assert position == self.got + 1
                assert event[2] == struct.unpack_from(">Q", event[10])[0] == position
                self.got = position
            assert self.line is not None
            await self.line.say(wire.ACK, self.got)

    async def until(self, count: int) -> None:
        assert self.line is not None
        async with asyncio.timeout(100):
            while self.got < count:
                await self.line.until(lambda before=self.got: self.got > before)  # type: ignore[misc]

    async def close(self) -> None:
        assert self.line is not None
        await self.line.close()


def test_a_client_that_never_reads_costs_a_window_and_is_cut(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path, ping_s=0.5, pong_timeout_s=0.5) as place:
            await place.sign_up(ANN)
            bob = await place.sign_up(BOB)
            await queue_up(place, 1_000, 60_000)  # 60 MB
            listener = place.system._listener._listener  # type: ignore[union-attr]
            known = set(listener.connections)  # type: ignore[union-attr]
            bob.auto_ack = False
            line = await Line.open(place.url)
            nonce = (await line.ask(wire.HELLO, [1], "test"))[2]
            signature = bob.key.sign(wire.auth_payload(nonce, BOB, 1))
            line.ws.transport.get_extra_info("socket").setsockopt(1, 8, 4096)
            (connection,) = set(listener.connections) - known  # type: ignore[union-attr]
            tracemalloc.start(1)
            try:
                line.ws.transport.pause_reading()
                op, _ = line.begin(wire.AUTH, BOB, 1, signature)
                await line.ws.send(wire.encode([op]))
                most = 0
                async with asyncio.timeout(PATIENCE_S):
                    # The window fits into what the kernel buffers; the ping gets no answer.
                    while await counted(place, "pong_timeout") == 0:
                        most = max(most, connection.buffered_bytes)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert most <= WINDOW_BYTES + 128 * 1024
            assert peak < 8 * 1024 * 1024, peak
            line.ws.transport.resume_reading()
            await line.closed()
            # Nothing is lost by it.
            drain = await Drain.open(place, bob)
            await drain.until(1_000)
            await drain.close()

    run(main())


def test_half_a_frame_and_then_silence(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path, half_message_timeout_s=0.3) as place:
            ann = await place.sign_up(ANN)
            for device in (None, ann):
                before = await counted(place, "half_message")
                line = await Abuser(place, device).open()
                line.ws.transport.write(b"\x82\xff" + struct.pack(">Q", 200_000) + bytes(100_000))
                assert await line.closed() == wire.CloseCode.TOO_SLOW
                assert await counted(place, "half_message") == before + 1
                # A message whose fragments never end.
                line = await Abuser(place, device).open()
                line.ws.transport.write(b"\x02\x81\x00\x00\x00\x00\x01")
                assert await line.closed() == wire.CloseCode.TOO_SLOW
                assert await counted(place, "half_message") == before + 2

    run(main())


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)


async def say_nothing(port: int) -> int:
    """Open a WebSocket, say nothing, and wait for the server's close; its code."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    try:
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        head = await reader.readexactly(2)
        assert head[0] == 0x88, head
        payload = await reader.readexactly(head[1])
        return int(struct.unpack_from(">H", payload)[0])
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def check_silent_crowd(run: Run, folder: Path, wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(wanted, (hard - 200) // 2)

    async def main() -> None:
        async with undisturbed(folder, auth_timeout_s=3.0) as place:
            port = int(place.system.http_url.rsplit(":", 1)[1])
            processes = len(list(place.system.node.processes()))
            before = await counted(place, "deadline")
            asleep = [asyncio.ensure_future(say_nothing(port)) for _ in range(count)]
            codes = await asyncio.wait_for(asyncio.gather(*asleep), 100)
            assert set(codes) == {wire.CloseCode.TOO_SLOW}
            assert await counted(place, "deadline") == before + count
            edge = place.system.edge_stats
            async with asyncio.timeout(PATIENCE_S):
                while edge.connections_open > 2:  # both ends have to see the close
                    await asyncio.sleep(0.01)
            assert edge.closed_total[wire.CloseCode.TOO_SLOW] == count
            # Nothing of them is left, as far as nothing new began meanwhile.
            assert len(list(place.system.node.processes())) <= processes + 2
            assert all(not dealt or len(dealt) <= 2 for dealt in _dealt(place))

    try:
        run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _dealt(place: Place) -> Any:
    return place.system._listener._acceptor._dealt  # type: ignore[union-attr]


def test_connections_that_never_say_hello_are_closed_in_order(run: Run, tmp_path: Path) -> None:
    check_silent_crowd(run, tmp_path, 1_000)


@pytest.mark.long
def test_ten_thousand_connections_that_never_say_hello(run: Run, tmp_path: Path) -> None:
    check_silent_crowd(run, tmp_path, 10_000)


def test_http_that_is_no_websocket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with undisturbed(tmp_path, head_timeout_s=0.3) as place:
            port = int(place.system.http_url.rsplit(":", 1)[1])
            cases = {
                b"\x16\x03\x01\x02\x00": (b"400", "not_http"),
                b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n": (b"426", "bad_upgrade"),
                b"GET /ws HTTP/1.1\r\nX: " + b"x" * 20_000: (b"431", "head_too_large"),
                b"GET /ws HT": (b"408", "head_timeout"),
            }
            for data, (status, kind) in cases.items():
                before = await counted(place, kind)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                line = await asyncio.wait_for(reader.readline(), PATIENCE_S)
                assert line.split()[1] == status, line
                await reader.read()
                writer.close()
                assert await counted(place, kind) == before + 1

    run(main())


# -- anything at all -----------------------------------------------------------------------------

TEXTS = st.one_of(st.text(max_size=20), st.sampled_from([CAT, DOG, ANN, NOBODY, "text", "1"]))
NUMBERS = st.one_of(
    st.integers(0, 40), st.integers(-(2**64), 2**64 - 1), st.sampled_from([2**63 - 1, 2**63, -1])
)
BLOBS = st.one_of(
    st.binary(max_size=70),
    st.sampled_from([bytes(16), bytes(32), bytes(64), wire.direct_conversation(CAT, DOG)]),
)
ATOMS = st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), TEXTS, BLOBS)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.one_of(NUMBERS, TEXTS), inner, max_size=3)
    ),
    max_leaves=12,
)


def _garbled(good: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.tuples(
        st.just(good[0]), st.integers(0, 3), *(st.one_of(st.just(f), VALUES) for f in good[2:])
    ).map(list)


#: Right and half right requests, of which some do something.
REQUESTS = st.one_of(*(_garbled(good) for good in GOOD.values()))
NOTICES = st.one_of(
    st.tuples(st.just(wire.ACK), NUMBERS).map(list),
    st.tuples(st.just(wire.TYPING), st.one_of(TEXTS, BLOBS), st.booleans()).map(list),
)
OPERATIONS = st.one_of(
    REQUESTS, REQUESTS, NOTICES, st.tuples(NUMBERS, VALUES).map(list), st.lists(VALUES, max_size=6)
)
FUZZ = st.one_of(
    st.binary(max_size=200),
    VALUES.map(wire.encode),
    st.lists(OPERATIONS, max_size=6).map(wire.encode),
    st.lists(OPERATIONS, min_size=1, max_size=6).map(wire.encode),
    st.tuples(st.lists(OPERATIONS, min_size=1, max_size=3).map(wire.encode), st.integers(0, 400))
    .map(lambda cut: cut[0][: cut[1]]),
)  # fmt: skip


class Fuzzed:
    """A node for many examples, each of which ends at most its own connection."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self._world = running(folder)
        self._next = 100
        self.crashes = Crashes()
        self.errors: list[dict[str, Any]] = []
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        self.place = await self._world.__aenter__()
        self.place.system.node.observer = self.crashes
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.errors.append(context)
        )
        cat, dog = await self.place.online(CAT), await self.place.online(DOG)
        self.bystanders = Bystanders(cat, dog)

    async def example(self, frames: list[bytes], authenticated: bool) -> None:
        async with connect(self.place.url, compression=None, ping_interval=None) as ws:
            if authenticated:
                self._next += 1
                device = await self.place.sign_up(f"+491511234{self._next:04d}")
                self.place.devices.remove(device)
                await ws.send(wire.encode([[wire.HELLO, 1, [1], "fuzz"]]))
                nonce = wire.decode_frame(await ws.recv())[0][2][2]  # type: ignore[arg-type]
                payload = wire.auth_payload(nonce, device.account, device.number)
                signature = device.key.sign(payload)
                await ws.send(
                    wire.encode([[wire.AUTH, 1, device.account, device.number, signature]])
                )
                assert wire.decode_frame(await ws.recv())[0][0] == wire.OK  # type: ignore[arg-type]
            probe = 4_000_000_000
            with contextlib.suppress(ConnectionClosed):
                for frame in frames:
                    await ws.send(frame)
                await ws.send(wire.encode([[wire.DEVICES, probe]]))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._answers(ws, probe)
            except ConnectionClosed:
                assert ws.close_code in (4400, 4401, 4403), ws.close_code
        await self.bystanders.talk_once()
        assert not self.crashes.reports, "\n".join(map(str, self.crashes.reports))
        assert not self.errors, self.errors

    async def _answers(self, ws: Any, probe: int) -> None:
        """Every operation that comes is one of the protocol, until the probe is answered."""
        while True:
            for op in wire.decode_frame(await ws.recv()):
                wire.parse_reply(op)
                if op[0] in (wire.OK, wire.ERROR) and op[1] == probe:
                    return

    def close(self) -> None:
        self.runner.run(self._world.__aexit__(None, None, None))
        self.runner.close()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    fuzzed = Fuzzed(tmp_path_factory.mktemp("fuzzed"))
    yield fuzzed
    fuzzed.close()


FUZZING = settings(
    deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large,
                           HealthCheck.function_scoped_fixture],
)  # fmt: skip


@settings(FUZZING, max_examples=150)
@given(frames=st.lists(FUZZ, min_size=1, max_size=4), authenticated=st.booleans())
def test_anything_ends_its_own_connection_at_most(
    fuzzed: Fuzzed, frames: list[bytes], authenticated: bool
) -> None:
    fuzzed.runner.run(fuzzed.example(frames, authenticated))


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(FUZZING, max_examples=10_000)
@given(frames=st.lists(FUZZ, min_size=1, max_size=6), authenticated=st.booleans())
def test_anything_at_all_ends_its_own_connection_at_most(
    fuzzed: Fuzzed, frames: list[bytes], authenticated: bool
) -> None:
    fuzzed.runner.run(fuzzed.example(frames, authenticated))
