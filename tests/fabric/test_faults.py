"""Real faults: servers that are killed or paused, a paused node, owners that raise, wrong sizes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import standing
from palaver.transport.fabric import FabricLimits, PacketTooBig, mutual_tls

pytestmark = pytest.mark.peer

Run = Callable[[Coroutine[Any, Any, None]], None]

A, B, C = "a@host", "b@host", "c@host"


async def until_all_are_up(*members: Any) -> None:
    for member in members:
        await member.until_up(*(other.name for other in members if other is not member))


def check_history(member: Any) -> None:
    """Each connection's packets are numbered without a gap; up and down alternate."""
    up: dict[str, int] = {}
    for what, name, *rest in member.owner.told:
        if what == "up":
            assert name not in up
            up[name] = 0
        elif what == "down":
            del up[name]
        else:
            up[name] += 1
            assert rest[0] == b"%d" % up[name]


class Talker:
    """Sends numbered packets to all, from 1 for each connection."""

    def __init__(self, member: Any) -> None:
        self.member = member
        self.numbers: dict[str, tuple[int, int]] = {}

    def send(self, count: int) -> None:
        owner = self.member.owner
        for name in self.member.fabric.nodes():
            ups = len(owner.of("up", name))
            began, number = self.numbers.get(name, (ups, 0))
            if not owner.is_up(name):
                continue
            if began != ups:
                number = 0
            for _ in range(count):
                number += 1
                self.member.fabric.send(name, b"%d" % number)
            self.numbers[name] = (ups, number)


async def talk_until(talkers: list[Talker], done: Callable[[], bool]) -> None:
    """Let all talk with all, a little after each round trip to the servers, until `done`."""
    while not done():
        for talker in talkers:
            talker.send(3)
        await asyncio.gather(*(talker.member.connection.flush(0.05) for talker in talkers))


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_server_of_three_fails_and_its_nodes_find_another(
    run: Run, servers: Any, town: Any, fault: str
) -> None:
    cluster = servers.start_cluster(3)

    async def main() -> None:
        async with town() as join:
            members = [
                await join(name, to=(server.url,))
                for name, server in zip((A, B, C), cluster, strict=True)
            ]
            await until_all_are_up(*members)
            a, b, c = members
            getattr(cluster[1], fault)()
            moved = b.connection
            talkers = [Talker(member) for member in members]

            def done() -> bool:
                here = moved.connected and f":{cluster[1].port}" not in (moved.server or "")
                lost = {m.name for m in members if not m.owner.is_up(B)} - {B}
                return here and not lost and b.owner.is_up(A) and b.owner.is_up(C)

            await talk_until(talkers, done)
            await until_all_are_up(*members)
            assert not a.owner.of("down", C), "they have nothing to do with it"
            for member in members:
                check_history(member)
            if fault == "pause":
                cluster[1].resume()
            before = len(c.owner.packets(B))
            await talk_until(talkers, lambda: len(c.owner.packets(B)) > before)
            check_history(c)

    run(main())


def test_the_only_server_is_killed_and_comes_back(run: Run, servers: Any, town: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A), await join(B)
            await until_all_are_up(a, b)
            server.kill()
            await asyncio.gather(a.until_down(B), b.until_down(A))
            server.start()
            await until_all_are_up(a, b)
            a.fabric.send(B, b"1")
            await b.owner.until(lambda: b.owner.packets(A) == [b"1"])

    run(main())


def test_a_restart_of_the_server_that_is_over_soon_loses_no_packet_that_waited(
    run: Run, servers: Any, town: Any
) -> None:
    server = servers.start()
    patient = FabricLimits(net_ticktime_s=4.0, heartbeat_s=0.1, setup_s=0.5)

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A, limits=patient), await join(B, limits=patient)
            await until_all_are_up(a, b)
            assert await a.connection.flush(5)
            gone = asyncio.get_running_loop().create_future()
            a.connection.on_change(lambda now: gone.done() or gone.set_result(now))
            server.kill()
            await gone
            a.fabric.send(B, b"1")
            a.fabric.send(B, b"2")
            server.start()
            # It comes, unless B was not back when it was sent: then both hear of the loss.
            await b.owner.until(lambda: b.owner.packets(A) == [b"1", b"2"] or b.owner.of("down", A))
            check_history(b)
            await until_all_are_up(a, b)

    run(main())


def test_a_paused_node_is_given_up_and_notices_it_when_it_wakes(
    run: Run, servers: Any, town: Any
) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            a = await join(A)
            child = await asyncio.create_subprocess_exec(
                sys.executable, str(Path(__file__).with_name("child.py")), server.url, B,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            assert child.stdout is not None
            try:
                await a.until_up(B)
                assert await child.stdout.readline() == b"up a@host\n"
                standing.stop(child.pid)
                a.fabric.send(B, b"into the pause")
                await a.until_down(B)
                standing.go_on(child.pid)
                assert (await child.stdout.readline()).startswith(b"down a@host")
                assert await child.stdout.readline() == b"up a@host\n"
                await a.until_up(B)
                a.fabric.send(B, b"after it")
                await a.owner.until(lambda: b"after it" in a.owner.packets(B))
                assert a.owner.packets(B)[-1] == b"after it"
            finally:
                child.kill()
                await child.wait()

    run(main())


def test_clusters_on_the_same_servers_do_not_hear_each_other(
    run: Run, servers: Any, town: Any
) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A), await join(B)
            c = await join(C, cluster="another town")
            await until_all_are_up(a, b)
            a.fabric.announce(b"news")
            await b.owner.until(lambda: (A, 1, b"news") in b.owner.heard)
            assert {known.name for known in a.fabric.known()} == {B}
            assert c.fabric.known() == []
            assert c.owner.told == []

    run(main())


def test_tls_and_a_password_keep_all_else_out(
    run: Run, servers: Any, town: Any, servers_kit: ModuleType, tmp_path: Path
) -> None:
    authority = servers_kit.Authority(tmp_path, "town")
    certificate, key = authority.issue("server")
    server = servers.start(
        f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.path}", '
        'verify: true }\nauthorization { user: palaver, password: "the secret" }'
    )

    async def main() -> None:
        context = mutual_tls(authority.path, *authority.issue("node"))
        nats = {"tls": context, "user": "palaver", "password": "the secret"}
        async with town(server.url) as join:
            a, b = await join(A, nats=nats), await join(B, nats=nats)
            await until_all_are_up(a, b)
            a.fabric.send(B, bytes(1_000_000))
            await b.owner.until(lambda: b.owner.packets(A) == [bytes(1_000_000)])

    run(main())


def test_an_owner_that_raises_ends_one_connection_only(run: Run, servers: Any, town: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            a, b, c = await join(A), await join(B), await join(C)
            await until_all_are_up(a, b, c)

            def refuse(name: str, packet: bytes) -> None:
                if packet == b"bad":
                    raise ValueError("what a packet")

            b.owner.on_arrived = refuse
            for packet in (b"good", b"bad", b"never seen"):
                a.fabric.send(B, packet)
            await a.until_down(B)
            await b.until_down(A)
            assert a.owner.of("down", B)[0][2] == f"{B} says: internal error: ValueError"
            assert b.owner.packets(A) == [b"good", b"bad"]
            await until_all_are_up(a, b, c)
            assert not b.owner.of("down", C)

    run(main())


def test_packets_above_the_limit_are_refused_and_small_messages_of_the_servers_do(
    run: Run, servers: Any, town: Any
) -> None:
    server = servers.start("max_payload: 10000")
    limits = FabricLimits(
        net_ticktime_s=0.8, heartbeat_s=0.1, setup_s=0.5, max_packet_bytes=100_000
    )

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A, limits=limits), await join(B, limits=limits)
            await until_all_are_up(a, b)
            with pytest.raises(PacketTooBig, match="100001 bytes"):
                a.fabric.send(B, bytes(100_001))
            a.fabric.send(B, bytes(100_000))
            a.fabric.send("nobody", b"dropped")
            await b.owner.until(lambda: b.owner.packets(A) == [bytes(100_000)])
            assert not a.owner.of("down")

    run(main())


def test_stopping_sends_what_is_queued_first(run: Run, servers: Any, town: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A), await join(B)
            await until_all_are_up(a, b)
            for _ in range(12):
                a.fabric.send(B, bytes(1_000_000))  # more than a window
            await a.fabric.stop()
            await b.until_down(A)
            assert b.owner.packets(A) == [bytes(1_000_000)] * 12
            assert b.owner.of("down", A) == [("down", A, f"{A} says: the node stops")]
            a.fabric.send(B, b"nothing happens")

    run(main())
