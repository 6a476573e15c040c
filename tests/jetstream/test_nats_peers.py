"""Servers that will not come back are forgotten, and their copies made elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats_kit import QUICK, Servers

from palaver.actors.cluster.errors import CannotRebalance
from palaver.storage.jetstream import JetStreamJournals
from palaver.supervisors.trees.nats_config import SYSTEM_USER
from palaver.supervisors.trees.nats_peers import NatsPeers
from palaver.transport.fabric import NatsSettings

pytestmark = pytest.mark.peer


def system_of(servers: Servers, *which: int) -> NatsSettings:
    return NatsSettings(
        urls=tuple(f"nats://127.0.0.1:{servers.client_ports[n]}" for n in which),
        name="operator",
        user=SYSTEM_USER,
        password="secret-system",
        first_timeout_s=3.0,
    )


def test_a_server_that_is_gone_is_forgotten_once_there_are_enough_others(tmp_path: Path) -> None:
    async def main(servers: Servers) -> None:
        names = {config.node for config in servers.configs}
        async with servers.connect([0, 1]) as nc:
            journals = JetStreamJournals(nc, "town", replicas=3, limits=QUICK)
            await journals.found([0])
            info = await journals(0).info()
            assert info.cluster is not None
            kept_by = [info.cluster.leader, *(each.name for each in info.cluster.replicas or [])]
            first = next(n for n in (3, 2) if servers.configs[n].node in kept_by)
            gone = servers.configs[first].node
            peers = NatsPeers(system_of(servers, 0, 1), journals, 1, 3)
            assert await peers.forget("", names) == "all NATS servers are those of nodes"
            servers.kill(first)
            # It may come back: nothing is forgotten while it is a node's.
            assert await peers.forget("", names) == "all NATS servers are those of nodes"
            done = await peers.forget(gone, names - {gone})
            assert done == f"the journals have 3 copies, none of them at {gone}"
            while await journals.lagging(0):  # a new leader knows of the others a moment later
                await asyncio.sleep(0.05)
            # Without that, the loss of one more would be that of the majority.
            second = 5 - first
            other = servers.configs[second].node
            servers.kill(second)
            done = await peers.forget(other, names - {gone, other})
            assert f"keep a place for {other}, since 2 servers are too few for 3 copies" in done
            heard: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            while not isinstance(heard.result() if heard.done() else None, int):
                heard = asyncio.get_running_loop().create_future()
                journals(0).publish("id", b"entry", heard.set_result)
                await heard
            await journals.close()

    with Servers(tmp_path, 4) as servers:
        asyncio.run(main(servers))


def test_without_nats_it_is_said_what_to_do(one: Servers) -> None:
    async def main() -> None:
        async with one.connect() as nc:
            journals = JetStreamJournals(nc, "nobody", replicas=1, limits=QUICK)
            alone = NatsPeers(system_of(one, 0), journals, 0, 1, patience_s=0.0)
            with pytest.raises(CannotRebalance, match="`palaver cluster rebalance` tries again"):
                await alone.forget("", {"n0"})

    asyncio.run(main())
