"""A chat over two nodes: who is connected where, and which node owns what, makes no difference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from chat_kit import Device, Refused, phone
from two_nodes_kit import PARTITIONS, Cluster, two_nodes

from palaver.actors.chat import names
from palaver.actors.chat.messages import Ask, WhoIsOnline
from palaver.actors.chat.queries import QUERIES
from palaver.actors.chat.state import commands as cmd
from palaver.actors.runtime import KILL
from palaver.transport import wire

Run = Callable[[Coroutine[Any, Any, None]], None]
ANN, BOB, CID = phone(1), phone(2), phone(3)

OWNERS = [
    pytest.param(("a", "a", "a", "a"), id="all at a"),
    pytest.param(("b", "b", "b", "b"), id="all at b"),
    pytest.param(("a", "b", "a", "b"), id="a and b"),
    pytest.param(("b", "b", "a", "a"), id="b and a"),
]


async def say(device: Device, to: str | bytes, body: bytes) -> None:
    """Send a message as a client does: again, under the same id, if it is refused for a moment."""
    cid, device.next_cid = device.next_cid, device.next_cid + 1
    async with asyncio.timeout(20.0):
        while True:
            try:
                await device.send(to, body, cid=cid)
            except Refused as refused:
                if refused.code not in {"unavailable", "timeout"}:
                    raise
                await asyncio.sleep(0.02)
            else:
                return


@pytest.mark.parametrize("owners", OWNERS)
def test_people_at_two_nodes_are_in_one_chat(
    run: Run, tmp_path: Path, owners: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, owners) as cluster:
            ann, bob = await cluster.online("a", ANN), await cluster.online("b", BOB)
            assert await ann.ask(wire.WATCH, BOB) == [True, None]
            await bob.ask(wire.WATCH, ANN)
            await ann.send(BOB, b"hello")
            await bob.until(lambda: bob.bodies == [b"hello"])
            await bob.send(ANN, b"hi")
            await ann.until(lambda: ann.bodies == [b"hi"])
            # Receipts, typing hints and presence find their way to the other node.
            await ann.until(lambda: any(op[0] == wire.RECEIPT for op in ann.hints))
            assert ann.line is not None
            await ann.line.say(wire.TYPING, BOB, True)
            await bob.until(lambda: any(op[0] == wire.TYPING_FROM for op in bob.hints))
            group = (await ann.ask(wire.GROUP, 90, 90, "us", [BOB]))[0]
            await say(bob, group, b"in the group")
            await ann.until(lambda: b"in the group" in ann.bodies)
            pages = await bob.ask(wire.CONVERSATIONS, None, 10)
            assert len(pages) == 2
            await bob.hang_up()
            await ann.until(lambda: any(op[:3] == [wire.PRESENCE, BOB, False] for op in ann.hints))

    run(main())


def test_a_device_that_connects_at_another_node_is_replaced_there(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path) as cluster:
            ann = await cluster.online("a", ANN)
            assert ann.line is not None
            first = ann.line
            ann.url = cluster.cells["b"].url
            await ann.connect()
            assert await first.closed() == wire.CloseCode.REPLACED

    run(main())


@pytest.mark.parametrize("owners", OWNERS)
def test_a_revoked_device_is_disconnected_wherever_it_is(
    run: Run, tmp_path: Path, owners: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, owners) as cluster:
            one = await cluster.online("a", ANN, "phone")
            other = await cluster.online("b", ANN, "tablet")
            await one.ask(wire.REVOKE, other.number)
            assert other.line is not None
            assert await other.line.closed() == wire.CloseCode.REVOKED

    run(main())


def _revoke_in_the_tables(cluster: Cluster, device: Device) -> None:
    command = (cmd.REVOKE_DEVICE, device.account, device.number)
    cluster.store.append(cluster.places.number_of(device.account), [command], lambda outcomes: None)


def test_a_device_that_is_revoked_while_its_partition_moves_is_disconnected(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            ann = await cluster.online("b", ANN)
            number = cluster.places.number_of(ANN)
            await cluster.give(number, None)
            _revoke_in_the_tables(cluster, ann)  # nobody is told of it
            await cluster.give(number, "b")
            assert ann.line is not None
            assert await ann.line.closed() == wire.CloseCode.REVOKED

    run(main())


def test_partitions_move_while_people_talk_and_nobody_is_disconnected(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path) as cluster:
            people = [
                await cluster.online(cell, account)
                for cell, account in (("a", ANN), ("b", BOB), ("a", CID))
            ]
            accounts = [ANN, BOB, CID]

            async def talk(device: Device) -> None:
                for number in range(12):
                    for other in accounts:
                        if other != device.account:
                            await say(device, other, f"{device.account} {number}".encode())

            async def move() -> None:
                for owners in ("bbaa", "aaaa", "bbbb", "abab"):
                    await cluster.give_all(owners)

            await asyncio.gather(move(), *map(talk, people))
            for device in people:
                await device.until(lambda device=device: len(device.events) == 24)
                for other in accounts:
                    if other != device.account:
                        mine = [b for b in device.bodies if b.startswith(other.encode())]
                        assert mine == [f"{other} {n}".encode() for n in range(12)]
            stamps = [event[3] for device in people for event in device.events]
            assert len(stamps) == 72

    run(main())


@pytest.mark.parametrize("whose", ["partition", "presence", "manager", "proxy"])
def test_whatever_dies_elsewhere_the_connection_stays(run: Run, tmp_path: Path, whose: str) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            ann, bob = await cluster.online("a", ANN), await cluster.online("b", BOB)
            await bob.ask(wire.WATCH, ANN)
            for number in range(PARTITIONS):
                if whose == "proxy":
                    node, name = cluster.cells["b"].node, names.partition_name(number)
                else:
                    node, name = cluster.cells["a"].node, f"{whose}.{number}"
                pid = node.whereis(name)
                assert pid is not None
                node.exit(pid, KILL)
            await say(ann, BOB, b"still there?")
            await bob.until(lambda: bob.bodies == [b"still there?"])
            await ann.hang_up()
            await bob.until(lambda: any(op[:3] == [wire.PRESENCE, ANN, False] for op in bob.hints))
            assert not cluster.crashes.gave_up

    run(main())


def test_a_lost_connection_between_the_nodes_is_made_up_for(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            ann, bob = await cluster.online("a", ANN), await cluster.online("b", BOB)
            await ann.ask(wire.WATCH, BOB)
            await ann.send(BOB, b"one")
            await bob.until(lambda: bob.bodies == [b"one"])
            cluster.wires.cut()
            # Of bob's node nothing is known now: nobody there is online as far as is known here.
            await ann.until(lambda: any(op[:3] == [wire.PRESENCE, BOB, False] for op in ann.hints))
            await ann.send(BOB, b"two")
            with pytest.raises(Refused, match="unavailable") as refused:
                await bob.send(ANN, b"nobody hears")
            assert refused.value.retry_after_ms
            with pytest.raises(Refused, match="unavailable"):
                await bob.ask(wire.DEVICES)
            cluster.wires.connect()
            await bob.until(lambda: bob.bodies == [b"one", b"two"])
            await say(bob, ANN, b"again")
            await ann.until(lambda: ann.bodies == [b"again"])
            await ann.until(lambda: ann.hints[-1][:3] == [wire.PRESENCE, BOB, True])

    run(main())


def test_without_an_owner_everything_is_refused_for_a_moment(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            ann = await cluster.online("b", ANN)
            await cluster.give_all([None] * PARTITIONS)
            with pytest.raises(Refused, match="unavailable"):
                await ann.send(BOB, b"hello")
            for op in (
                (wire.DEVICES,), (wire.CONVERSATIONS, None, 10), (wire.WATCH, BOB),
                (wire.PRIVACY, True), (wire.BLOCK, BOB, True),
            ):  # fmt: skip
                with pytest.raises(Refused, match="unavailable"):
                    await ann.ask(*op)
            with pytest.raises(Refused, match="unavailable"):
                await cluster.sign_up("b", CID)
            await cluster.give_all(["b"] * PARTITIONS)
            assert [row[0] for row in await ann.ask(wire.DEVICES)] == [1]

    run(main())


def test_an_acknowledgement_that_was_lost_is_repeated(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            ann, bob = await cluster.online("a", ANN), await cluster.online("b", BOB)
            number = cluster.places.number_of(BOB)

            def acked() -> int:
                login = cluster.store.view(number, lambda txn: QUERIES["login"](txn, BOB, 1))
                return int(login.acked)

            bob.auto_ack = False
            await ann.send(BOB, b"hello")
            await bob.until(lambda: bob.seen == 1)
            await cluster.give(number, None)
            await bob.ack()
            assert bob.line is not None
            with pytest.raises(Refused):  # so the acknowledgement before it was handled
                await bob.ask(wire.DEVICES)
            assert acked() == 0
            await cluster.give(number, "b")
            await cluster.until(lambda: acked() == 1)

    run(main())


def test_privacy_reaches_who_watches_at_other_partitions(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path) as cluster:
            ann, bob = await cluster.online("a", ANN), await cluster.online("b", BOB)
            assert await ann.ask(wire.WATCH, BOB) == [True, None]
            await ann.ask(wire.PRIVACY, True)  # who hides does not see
            await ann.until(lambda: [wire.PRESENCE, BOB, False, None] in ann.hints)
            await ann.ask(wire.PRIVACY, False)
            await ann.until(lambda: ann.hints[-1][:3] == [wire.PRESENCE, BOB, True])
            await bob.ask(wire.BLOCK, ANN, True)
            await ann.until(lambda: ann.hints[-1][:3] == [wire.PRESENCE, BOB, False])

    run(main())


def test_a_call_is_answered_through_a_stand_in_and_fails_with_it(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            await cluster.online("a", ANN)
            node = cluster.cells["b"].node
            online = await node.call(cluster.places.presence_of(ANN), WhoIsOnline((ANN, BOB)))
            assert online == {ANN: (1,)}
            login = await node.call(cluster.places.of(ANN), Ask(None, None, "login", (ANN, 1)))
            assert login.public_key is not None

    run(main())


def test_a_stamp_of_an_earlier_owner_is_not_given_out_again(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            ann = await cluster.online("a", ANN)
            await cluster.sign_up("a", BOB)
            ahead = cluster.cells["a"].chat.stamps
            ahead.observe(ahead.take() + (3_600_000 << 16))  # an hour
            before = (await ann.send(BOB, b"one"))[2]
            await cluster.give_all(["b"] * PARTITIONS)
            assert cluster.cells["b"].chat.stamps.take() > before

    run(main())


HOUR_MS = 3_600_000


def test_an_honest_stamp_is_believed_at_a_node_whose_clock_is_an_hour_behind(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["b"] * PARTITIONS, HOUR_MS) as cluster:
            ann, bob = await cluster.online("a", ANN), await cluster.online("b", BOB)
            stamp = (await bob.send(ANN, b"from the future"))[2]
            await ann.until(lambda: ann.bodies == [b"from the future"])
            # What comes behind the message whose stamp is being asked about does not overtake it.
            first = ann.send(BOB, b"one", after=stamp)
            second = ann.send(BOB, b"two")
            one, two = await asyncio.gather(first, second)
            assert stamp < one[2] < two[2]
            await bob.until(lambda: bob.bodies == [b"one", b"two"])

    run(main())


def test_a_stamp_that_nobody_gave_out_is_refused_and_moves_no_clock(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path) as cluster:
            ann = await cluster.online("a", ANN)
            await cluster.sign_up("a", BOB)
            lie = (ann_clock := cluster.cells["a"].chat.stamps).take() + (HOUR_MS << 16)
            with pytest.raises(Refused, match="bad_request"):
                await ann.send(BOB, b"lie", after=lie)
            assert ann_clock.latest < lie - (HOUR_MS // 2 << 16)
            await ann.send(BOB, b"truth")

    run(main())


def test_a_stamp_that_cannot_be_asked_about_is_refused_for_a_moment(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["b"] * PARTITIONS, HOUR_MS) as cluster:
            ann, bob = await cluster.online("a", ANN), await cluster.online("b", BOB)
            stamp = (await bob.send(ANN, b"hello"))[2]
            other = next(n for n in range(PARTITIONS) if n != cluster.places.number_of(ANN))
            await cluster.give(other, None)
            with pytest.raises(Refused, match="unavailable"):
                await ann.send(BOB, b"one", after=stamp, cid=1)
            await cluster.give(other, "b")
            await say(ann, BOB, b"two")

    run(main())
