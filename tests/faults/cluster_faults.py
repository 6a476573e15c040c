"""What happens to nodes of a real cluster: kill -9, a pause, a cut in the network, a power cut."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Final

from cluster_grounds import OwnGround
from cluster_town import ClusterTown, Member

import standing
from palaver.supervisors.cli.node_process import NodeProcess
from palaver.supervisors.trees.cluster_keys import NodeKeys
from palaver.supervisors.trees.nats_config import CLIENT_USER
from palaver.transport.client import ClientError, Unavailable
from palaver.transport.fabric.nats import NatsConnection
from palaver.transport.fabric.nats_settings import NatsSettings
from palaver.transport.http.cluster_port import ClusterStatus

_POLL_S: Final = 0.05


class ClusterFaults:
    """Faults for the nodes of a town; each comes to its end, and the cluster is whole again."""

    def __init__(self, town: ClusterTown) -> None:
        self.town = town
        self.cluster = town.cluster

    async def owner(self, partition: int) -> tuple[str, int]:
        """The node that owns a partition, and the epoch in which it does."""
        record = (await self.cluster.whole()).partitions[partition]
        return record.owner, record.epoch

    def _survivor(self, *lost: str) -> str:
        return next(name for name in self.cluster.nodes if name not in lost)

    async def _others_serve(self, lost: str) -> ClusterStatus:
        """Wait until the others own everything, and messages go on."""
        status = await self.cluster.until(
            f"others own what {lost} had",
            lambda status: all(p.owner not in ("", lost) for p in status.partitions),
            seen_by=self._survivor(lost),
        )
        await self.town.goes_on()
        return status

    async def kill_node(self, partition: int) -> None:
        """kill -9 of the node that owns a partition, and its NATS server with it; it comes back."""
        name, _ = await self.owner(partition)
        node = self.cluster.nodes[name]
        nats = nats_of(node)
        await node.kill()
        await gone(nats)
        await self._others_serve(name)
        await node.start()
        await self.cluster.whole()

    async def kill_leader(self, partition: int) -> None:
        """kill -9 of the nats-server that leads a partition's journal; its node starts another."""
        node = self.cluster.nodes[await self._leader(partition)]
        pid, nats = node.pid, nats_of(node)
        os.kill(nats, signal.SIGKILL)
        await gone(nats)
        await self.town.goes_on()
        await self.town.eventually(lambda: nats_of(node), "its node has started another")
        await self.cluster.whole()
        assert node.pid == pid, "the node goes on"

    async def _leader(self, partition: int) -> str:
        """The node whose nats-server leads a partition's journal."""
        name, node = next(iter(self.cluster.nodes.items()))
        configuration = (node.data / "nats" / "nats-server.conf").read_text()
        address = re.search(r'^listen: "(.+)"', configuration, re.MULTILINE)[1]
        keys = NodeKeys.open(self.cluster.folder / "keys" / name)
        settings = NatsSettings(
            urls=(f"tls://{address}",),
            name="test",
            user=CLIENT_USER,
            password=keys.password("node"),
            tls=keys.client_tls(),
            inbox_prefix=f"_INBOX_{keys.cluster}",
        )
        connection = await NatsConnection.open(settings)
        try:
            stream = f"PALAVER_{keys.cluster}_{partition}"
            info = await connection.client.jetstream().stream_info(stream)
        finally:
            await connection.close()
        assert info.cluster is not None
        assert info.cluster.leader is not None
        return info.cluster.leader

    async def pause_owner(self, partition: int) -> None:
        """Let an owner stand still beyond its lease: when it wakes, it is the owner no longer."""
        name, epoch = await self.owner(partition)
        node = self.cluster.nodes[name]
        standing.stop(node.pid)
        try:
            status = await self._others_serve(name)
            assert status.partitions[partition].epoch > epoch
        finally:
            standing.go_on(node.pid)
        await self.cluster.until(
            "it knows that it was overtaken",
            lambda status: status.partitions[partition].owner not in ("", name),
            seen_by=name,
        )
        await self.cluster.whole()

    async def cut_off(self, partition: int, ground: OwnGround) -> None:
        """Cut the owner of a partition off from the other nodes; its clients still reach it.

        It refuses what it cannot keep, and they go elsewhere; healing needs nobody.
        """
        name, _ = await self.owner(partition)
        node = self.cluster.nodes[name]
        index = list(self.cluster.nodes).index(name)
        pids = {each: node.pid for each, node in self.cluster.nodes.items()}
        await self.town.eventually(
            lambda: any(self._is_at(one, node) for one in self.town.members), "it has clients"
        )
        there = [one for one in self.town.members if self._is_at(one, node)]
        ground.cut_off(index)
        try:
            await asyncio.gather(*(self._refused(one, node) for one in there))
            await self._others_serve(name)
            await self.town.eventually(
                lambda: not any(one.server == node.ws_url for one in there), "its clients are gone"
            )
        finally:
            ground.heal(index)
        await self.cluster.whole()
        assert pids == {each: node.pid for each, node in self.cluster.nodes.items()}

    @staticmethod
    def _is_at(one: Member, node: NodeProcess) -> bool:
        client = one.device.client
        return client is not None and client.online and client.server == node.ws_url

    async def _refused(self, one: Member, node: NodeProcess) -> None:
        """Say what was read until that is refused; by then at the latest the client leaves."""
        log = one.device.log
        while self._is_at(one, node):
            client = one.device.client
            assert client is not None
            event = log.events[max(log.events)]
            self.town.chronicle.reading(log, event.conv, event.seq)
            try:
                await client.mark_read(event.conv, event.seq)
                self.town.chronicle.has_read(log, event.conv, event.seq)
            except Unavailable:
                self.town.happened("the minority refused")
                return
            except ClientError:
                pass  # the connection was lost: it goes elsewhere already
            await asyncio.sleep(_POLL_S)

    async def power_cut(self, ground: OwnGround) -> None:
        """Cut the power of all nodes at once; they are started again on what the disks have."""
        nodes = list(self.cluster.nodes.values())
        servers = [nats_of(node) for node in nodes]
        for pid in (*servers, *(node.pid for node in nodes)):
            standing.stop(pid)
        ground.cut_power()
        await self.cluster.close()
        await asyncio.gather(*map(gone, servers))
        ground.power_up()
        await self.cluster.start()


def nats_of(node: NodeProcess) -> int:
    """The process id of a node's nats-server; 0 while none runs."""
    needle = str(node.data / "nats").encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[0].endswith(b"nats-server") and any(needle in word for word in words[1:]):
                return int(entry.name)
    return 0


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    while pid and Path(f"/proc/{pid}").exists():
        await asyncio.sleep(_POLL_S)
