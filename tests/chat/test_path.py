"""The message path over real sockets: what DESIGN promises, one behaviour after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from chat_kit import Device, Line, Refused, phone, running

from palaver.actors.chat import requests
from palaver.actors.chat.state import commands as cmd
from palaver.transport import wire

Run = Callable[[Coroutine[Any, Any, None]], None]
ANN, BOB, CID, DAN = phone(1), phone(2), phone(3), phone(4)


@pytest.fixture(params=[1, 4], ids=["one partition", "four partitions"])
def partitions(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def receipts(device: Device) -> list[tuple[str, int, int]]:
    return [tuple(op[2:5]) for op in device.hints if op[0] == wire.RECEIPT]


def test_a_message_is_ordered_delivered_and_receipted(
    run: Run, tmp_path: Path, partitions: int
) -> None:
    async def main() -> None:
        async with running(tmp_path, partitions=partitions) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            conversation, seq, stamp = await ann.send(BOB, b"hello")
            assert (conversation, seq) == (wire.direct_conversation(ANN, BOB), 1)
            await bob.until(lambda: bob.bodies == [b"hello"])
            event = bob.events[0]
            assert event[:4] == [wire.EVENT_MESSAGE, conversation, 1, stamp]
            assert event[5:7] == [ANN, ann.number]
            await ann.until(lambda: receipts(ann) == [(BOB, 1, 0)])
            await bob.ask(wire.READ, conversation, 1)
            await ann.until(lambda: receipts(ann)[-1] == (BOB, 1, 1))
            _, seq, later = await bob.send(ANN, b"hi", seen=1, after=stamp)
            assert seq == 2
            assert later > stamp
            await ann.until(lambda: ann.bodies == [b"hi"])
            assert ann.events[0][4] == 1  # what Bob had seen
            await bob.until(lambda: receipts(bob) == [(ANN, 2, 0)])
            assert await ann.ask(wire.MARKS, conversation) == [[ANN, 2, 0], [BOB, 1, 1]]

    run(main())


def test_what_is_sent_to_an_absent_device_waits_in_order(
    run: Run, tmp_path: Path, partitions: int
) -> None:
    async def main() -> None:
        async with running(tmp_path, partitions=partitions) as place:
            ann, bob = await place.online(ANN), await place.sign_up(BOB)
            for n in range(300):
                await ann.send(BOB, b"%d" % n)
            pending, first, _ = await bob.connect()
            assert first == 1
            if partitions == 1:
                assert pending == 300
            await bob.until(lambda: len(bob.bodies) == 300)
            assert bob.bodies == [b"%d" % n for n in range(300)]
            assert [event[2] for event in bob.events] == list(range(1, 301))

    run(main())


def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            bob.auto_ack = False
            for n in range(10):
                await ann.send(BOB, b"%d" % n)
            await bob.until(lambda: bob.seen == 10)
            await bob.ack(4)
            await ann.until(lambda: (BOB, 4, 0) in receipts(ann))
            await bob.hang_up()
            pending, first, _ = await bob.connect()
            assert (pending, first) == (6, 5)
            await bob.until(lambda: bob.repeats == 6)

    run(main())


def test_a_retry_gets_the_first_answer_also_after_a_restart(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            first = await ann.send(BOB, b"once", cid=7, low=1)
            assert await ann.send(BOB, b"once", cid=7, low=1) == first
            key = ann.key
        async with running(tmp_path) as place:
            again = Device(place.url, ANN, ann.number, key)
            place.devices.append(again)
            await again.connect()
            assert await again.send(BOB, b"once", cid=7, low=1) == first
            bob.url = place.url
            place.devices.append(bob)
            await bob.connect()
            _, seq, _ = await again.send(BOB, b"new", cid=8, low=1)
            assert seq == 2
            await bob.until(lambda: bob.bodies == [b"once", b"new"])

    run(main())


def test_answers_below_the_floor_are_forgotten_and_their_ids_refused(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, _ = await place.online(ANN), await place.sign_up(BOB)
            for cid in range(1, 101):
                await ann.send(BOB, b"m", cid=cid, low=cid)
            assert place.system.store.view(0, lambda txn: txn.count("answers")) <= 64
            with pytest.raises(Refused, match="stale_id"):
                await ann.send(BOB, b"m", cid=1, low=1)

    run(main())


def test_a_client_id_belongs_to_one_conversation(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, _, _ = (
                await place.online(ANN), await place.sign_up(BOB), await place.sign_up(CID)
            )  # fmt: skip
            await ann.send(BOB, b"m", cid=1)
            with pytest.raises(Refused, match="id_conflict"):
                await ann.send(CID, b"m", cid=1)

    run(main())


def test_every_device_of_both_sides_gets_the_same_order(
    run: Run, tmp_path: Path, partitions: int
) -> None:
    async def main() -> None:
        async with running(tmp_path, partitions=partitions) as place:
            ann, tablet = await place.online(ANN), await place.online(ANN, "tablet")
            bob, laptop = await place.online(BOB), await place.online(BOB, "laptop")
            assert (ann.number, tablet.number) == (1, 2)
            await asyncio.gather(
                *(ann.send(BOB, b"a%d" % n) for n in range(20)),
                *(laptop.send(ANN, b"l%d" % n) for n in range(20)),
            )
            await bob.until(lambda: len(bob.bodies) == 40)
            await tablet.until(lambda: len(tablet.bodies) == 40)
            order = [(event[2], event[10]) for event in bob.events]
            assert order == [(event[2], event[10]) for event in tablet.events]
            assert [seq for seq, _ in order] == list(range(1, 41))
            assert [body for _, body in order if body[:1] == b"a"] == [
                b"a%d" % n for n in range(20)
            ]
            await ann.until(lambda: len(ann.bodies) == 20)

    run(main())


def test_a_group_has_one_order_and_changes_of_members_are_part_of_it(
    run: Run, tmp_path: Path, partitions: int
) -> None:
    async def main() -> None:
        async with running(tmp_path, partitions=partitions) as place:
            ann, bob, cid, dan = [await place.online(who) for who in (ANN, BOB, CID, DAN)]
            group, seq, _ = await ann.ask(wire.GROUP, 1, 1, "friends", [BOB, CID])
            ann.next_cid = 2
            assert seq == 1
            assert await ann.ask(wire.GROUP, 1, 1, "friends", [BOB, CID]) == [group, seq, _]
            await bob.until(lambda: bob.seen == 1)
            assert bob.events[0][7:] == ["friends", [ANN, BOB, CID], [ANN, BOB, CID], []]
            await bob.send(group, b"hi all")
            await cid.until(lambda: cid.bodies == [b"hi all"])
            with pytest.raises(Refused, match="not_a_member"):
                await dan.send(group, b"me too")
            with pytest.raises(Refused, match="not_allowed"):
                await bob.ask(wire.MEMBERS, 2, 2, group, [DAN], [])
            bob.next_cid = 3
            await ann.ask(wire.MEMBERS, 2, 2, group, [DAN], [CID])
            ann.next_cid = 3
            await ann.send(group, b"after")
            await dan.until(lambda: dan.bodies == [b"after"])
            await cid.until(lambda: cid.events[-1][-1] == [CID])
            with pytest.raises(Refused, match="not_a_member"):
                await cid.send(group, b"still here?")
            await bob.ask(wire.MEMBERS, 3, 3, group, [], [BOB])  # leave
            listed = await ann.ask(wire.CONVERSATIONS, None, 10)
            assert listed == [[group, 1, "friends", [ANN, DAN], 5]]
            assert await cid.ask(wire.CONVERSATIONS, None, 10) == []
            with pytest.raises(Refused, match="no_such_conversation"):
                await cid.ask(wire.MARKS, group)

    run(main())


def test_a_page_of_large_conversations_fits_a_frame(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann = await place.online(ANN)
            members = [f"+4915112{n:06d}" for n in range(255)]
            for number in range(0, 255, 51):
                place.system.store.apply_now(
                    0,
                    [
                        (cmd.REGISTER_DEVICE, member, member.encode(), "d", 1)
                        for member in members[number : number + 51]
                    ],
                )
            for cid in range(1, 71):
                await ann.ask(wire.GROUP, cid, cid, "large", members)
            after, found = None, []
            while page := await ann.ask(wire.CONVERSATIONS, after, 256):
                found += page
                after = page[-1][0]
            assert len({row[0] for row in found}) == len(found) == 70

    run(main())


def test_typing_reaches_the_other_and_is_never_stored(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            conversation, *_ = await ann.send(BOB, b"x")
            await ann.until(lambda: receipts(ann))
            assert ann.line is not None
            await ann.line.say(wire.TYPING, BOB, True)
            await bob.until(lambda: [wire.TYPING_FROM, conversation, ANN, True] in bob.hints)
            await bob.ask(wire.BLOCK, ANN, True)
            await ann.line.say(wire.TYPING, BOB, False)
            await ann.ask(wire.DEVICES)
            await bob.ask(wire.DEVICES)
            assert [wire.TYPING_FROM, conversation, ANN, False] not in bob.hints
            assert place.system.store.view(0, lambda txn: txn.count("queues")) == 0

    run(main())


def presence(device: Device, account: str) -> list[list[Any]]:
    return [op[2:] for op in device.hints if op[0] == wire.PRESENCE and op[1] == account]


def test_presence_follows_the_reciprocal_rule(run: Run, tmp_path: Path, partitions: int) -> None:
    async def main() -> None:
        async with running(tmp_path, partitions=partitions) as place:
            ann, bob = await place.online(ANN), await place.sign_up(BOB)
            assert await ann.ask(wire.WATCH, BOB) == [False, None]
            assert await ann.ask(wire.WATCH, phone(99)) == [False, None]  # nobody
            await bob.connect()
            await ann.until(lambda: presence(ann, BOB)[-1:] and presence(ann, BOB)[-1][0] is True)
            await bob.hang_up()
            await ann.until(lambda: presence(ann, BOB)[-1][0] is False)
            seen = presence(ann, BOB)[-1][1]
            assert isinstance(seen, int)
            # Who hides theirs sees nobody's.
            await ann.ask(wire.PRIVACY, True)
            await ann.until(lambda: presence(ann, BOB)[-1] == [False, None])
            await bob.connect()
            assert await bob.ask(wire.WATCH, ANN) == [False, None]
            await ann.ask(wire.PRIVACY, False)
            await bob.until(lambda: presence(bob, ANN)[-1:] and presence(bob, ANN)[-1][0] is True)
            # A block hides both from each other.
            await bob.ask(wire.BLOCK, ANN, True)
            await ann.until(lambda: presence(ann, BOB)[-1] == [False, None])
            await bob.ask(wire.BLOCK, ANN, False)
            await ann.until(lambda: presence(ann, BOB)[-1][0] is True)
            await ann.ask(wire.UNWATCH, BOB)

    run(main())


def test_a_connection_watches_so_many_accounts_over_all_partitions(
    run: Run, tmp_path: Path, partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MAX_WATCHES", 5)

    async def main() -> None:
        async with running(tmp_path, partitions=partitions) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            for number in range(10, 15):
                await ann.ask(wire.WATCH, phone(number))
            await ann.ask(wire.WATCH, phone(10))  # it watches that already
            with pytest.raises(Refused, match="too_many"):
                await ann.ask(wire.WATCH, BOB)
            await bob.ask(wire.WATCH, ANN)  # others have their own limit
            await ann.ask(wire.UNWATCH, phone(12))
            assert (await ann.ask(wire.WATCH, BOB))[0] is True

    run(main())


def test_somebody_who_signs_up_later_is_seen(run: Run, tmp_path: Path, partitions: int) -> None:
    async def main() -> None:
        async with running(tmp_path, partitions=partitions) as place:
            ann = await place.online(ANN)
            assert await ann.ask(wire.WATCH, BOB) == [False, None]
            bob = await place.online(BOB)
            await ann.until(lambda: presence(ann, BOB)[-1:] and presence(ann, BOB)[-1][0] is True)
            assert (await bob.ask(wire.WATCH, ANN))[0] is True

    run(main())


def test_last_seen_survives_a_restart_and_never_goes_back(
    run: Run, tmp_path: Path, partitions: int
) -> None:
    async def main() -> None:
        async with running(tmp_path, partitions=partitions) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            await ann.ask(wire.WATCH, BOB)
            await bob.hang_up()
            await ann.until(lambda: presence(ann, BOB)[-1:] and presence(ann, BOB)[-1][0] is False)
            seen = presence(ann, BOB)[-1][1]
            await place.system.drain()
        async with running(tmp_path, partitions=partitions) as place:
            ann.url = place.url
            place.devices.append(ann)
            await ann.connect()
            online, last_seen = await ann.ask(wire.WATCH, BOB)
            assert online is False
            assert last_seen >= seen

    run(main())


def test_a_block_and_an_unknown_account_look_the_same(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            await bob.ask(wire.BLOCK, ANN, True)
            with pytest.raises(Refused) as blocked:
                await ann.send(BOB, b"hello?")
            with pytest.raises(Refused) as unknown:
                await ann.send(phone(98), b"hello?")
            assert blocked.value.args == unknown.value.args
            await bob.ask(wire.BLOCK, ANN, False)
            _, seq, _ = await ann.send(BOB, b"again friends")
            assert seq == 1
            # Nobody is told of the block: no conversation was opened by it.
            await bob.until(lambda: bob.bodies == [b"again friends"])
            assert len(await bob.ask(wire.CONVERSATIONS, None, 10)) == 1

    run(main())


def test_a_revoked_device_is_cut_at_once_and_cannot_return(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, tablet = await place.online(ANN), await place.online(ANN, "tablet")
            rows = await ann.ask(wire.DEVICES)
            assert [(row[0], row[1], row[4]) for row in rows] == [
                (1, "phone", True), (2, "tablet", False),
            ]  # fmt: skip
            await ann.ask(wire.REVOKE, 2)
            assert tablet.line is not None
            assert await tablet.line.closed() == wire.CloseCode.REVOKED
            with pytest.raises(Refused, match="revoked"):
                await tablet.connect()
            assert tablet.line is not None
            assert await tablet.line.closed() == wire.CloseCode.REVOKED
            again = await place.online(ANN, "tablet 2")
            assert again.number == 3

    run(main())


def test_a_newer_connection_of_a_device_replaces_the_older(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, gateways=2) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            for _ in range(4):  # connections are dealt to both gateways in turn
                old = bob.line
                await bob.connect()
                assert old is not None
                assert await old.closed() == wire.CloseCode.REPLACED
            await ann.send(BOB, b"to the newest")
            await bob.until(lambda: bob.bodies == [b"to the newest"])

    run(main())


def test_hints_find_their_way_between_gateways_and_are_cached(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, gateways=3) as place:
            ann, bob, cid = [await place.online(who) for who in (ANN, BOB, CID)]
            for n in range(5):
                conversation, *_ = await ann.send(BOB, b"%d" % n)
                await ann.until(lambda n=n: (BOB, n + 1, 0) in receipts(ann))  # type: ignore[misc]
                await cid.send(ANN, b"%d" % n)
                await cid.until(lambda n=n: (ANN, n + 1, 0) in receipts(cid))  # type: ignore[misc]
            assert ann.line is not None
            await ann.line.say(wire.TYPING, BOB, True)
            await bob.until(lambda: [wire.TYPING_FROM, conversation, ANN, True] in bob.hints)
            stats = place.system.stats
            assert sum(stats.cache_hits.values()) > sum(stats.cache_misses.values()) // 2

    run(main())


async def _challenge(line: Line) -> bytes:
    nonce: bytes = (await line.ask(wire.HELLO, [1], "test"))[2]
    return nonce


def test_a_signature_proves_nothing_about_another_connection(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann = await place.sign_up(ANN)
            line = await Line.open(place.url)
            nonce = await _challenge(line)
            signature = ann.key.sign(wire.auth_payload(nonce, ANN, 1))
            await line.ask(wire.AUTH, ANN, 1, signature)
            replay = await Line.open(place.url)
            assert await _challenge(replay) != nonce
            with pytest.raises(Refused, match="auth_failed"):
                await replay.ask(wire.AUTH, ANN, 1, signature)
            assert await replay.closed() == wire.CloseCode.AUTH_FAILED
            await line.close()

    run(main())


def test_sign_up_counts_wrong_codes_and_limits_requests(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, codes_per_hour=2, code_attempts=2) as place:
            line = await Line.open(place.url)
            await _challenge(line)
            key = bytes(32)
            with pytest.raises(Refused, match="code_expired"):
                await line.ask(wire.SIGNUP, ANN, "000000", key, "x")
            await line.ask(wire.CODE, ANN)
            code = await place.codes.next_for(ANN)
            wrong = "000000" if code != "000000" else "000001"
            for expected in ("code_wrong", "code_wrong", "code_expired"):
                with pytest.raises(Refused, match=expected):
                    await line.ask(wire.SIGNUP, ANN, wrong, key, "x")
            await line.ask(wire.CODE, ANN)
            await place.codes.next_for(ANN)
            with pytest.raises(Refused, match="rate_limited") as refused:
                await line.ask(wire.CODE, ANN)
            assert refused.value.retry_after_ms > 0
            await line.close()

    run(main())


def test_draining_answers_what_was_accepted_and_sends_clients_away(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.sign_up(BOB)
            assert ann.line is not None
            answers = []
            for n in range(50):
                op, answer = ann.line.begin(
                    wire.SEND, BOB, n + 1, 1, 0, 0, "text", b"%d" % n, None
                )  # fmt: skip
                await ann.line.ws.send(wire.encode([op]))
                answers.append(answer)
            await answers[0]
            await place.system.drain()
            assert await ann.line.closed() == wire.CloseCode.GOING_AWAY
            going = [op for op in ann.hints if op[0] == wire.GOING]
            assert len(going) == 1
            results = await asyncio.gather(*answers, return_exceptions=True)
            accepted = [r for r in results if not isinstance(r, BaseException)]
            assert [r[1] for r in accepted] == list(range(1, len(accepted) + 1))
            assert await place.system.not_ready()
        async with running(tmp_path) as place:
            bob.url = place.url
            place.devices.append(bob)
            await bob.connect()
            await bob.until(lambda: len(bob.bodies) >= len(accepted))

    run(main())


def test_two_who_watch_each_other_are_both_told(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, bob = await place.online(ANN), await place.online(BOB)
            await ann.ask(wire.WATCH, BOB)
            await bob.ask(wire.WATCH, ANN)
            await bob.hang_up()
            await ann.until(lambda: presence(ann, BOB)[-1:] and presence(ann, BOB)[-1][0] is False)
            await bob.connect()
            await ann.until(lambda: presence(ann, BOB)[-1][0] is True)

    run(main())


def test_a_watch_that_is_overtaken_by_its_end_is_answered(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as place:
            ann, _ = await place.online(ANN), await place.sign_up(BOB)
            assert ann.line is not None
            begin, began = ann.line.begin(wire.WATCH, BOB)
            end, ended = ann.line.begin(wire.UNWATCH, BOB)
            await ann.line.ws.send(wire.encode([begin, end]))
            assert await began == [False, None]
            assert await ended is None

    run(main())
