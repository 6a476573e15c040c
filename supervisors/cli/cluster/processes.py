"""A cluster of node processes on this machine: for the demo, the benchmarks and the tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from palaver.supervisors.cli.admin_client import RemoteAdmin
from palaver.supervisors.cli.cluster.keys import make_keys
from palaver.supervisors.cli.node_process import NodeProcess
from palaver.supervisors.cli.output import CommandError
from palaver.transport.http.admin_port import AdminRefused
from palaver.transport.http.cluster_port import ClusterStatus

__all__ = ["ClusterProcesses", "free_ports"]

_START_S = 60.0
_POLL_S = 0.05
_WHOLE_S = 60.0


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses at this moment."""
    with ExitStack() as open_ones:
        ports = []
        for _ in range(count):
            one = open_ones.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            ports.append(int(one.getsockname()[1]))
        return ports


class ClusterProcesses:
    """Nodes `a@...`, `b@...`, ... of one cluster, each with its NATS server, on the loopback.

    Args:
        folder: of all their files; made by the caller.
        names: of the founders; others join by `add`.
        partitions: of the cluster.
        options: further ones of `palaver serve`, for all.
        host_of: the address of a node, by its index; the loopback for all by default.
        before_of: what a node's command is run by, by its index; see `NodeProcess`.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str] = ("a", "b", "c"),
        *,
        partitions: int = 4,
        options: Sequence[str] = (),
        host_of: Callable[[int], str] = lambda _: "127.0.0.1",
        before_of: Callable[[int], Sequence[str]] = lambda _: (),
    ) -> None:
        self.folder = folder
        self.codes = folder / "codes.jsonl"
        self.nodes: dict[str, NodeProcess] = {}
        self._options = options
        self._cluster = "demo"
        self._partitions = partitions
        self._founders = len(names)
        self._host_of = host_of
        self._before_of = before_of
        self._join: list[str] = []
        ports = free_ports(2 * len(names))
        places = list(zip(names, ports[::2], ports[1::2], strict=True))
        self._join = [f"{host_of(at)}:{port}" for at, (_, port, _) in enumerate(places)]
        for name, port, client_port in places:
            self._make(name, port, client_port)

    def _make(self, name: str, port: int, client_port: int) -> NodeProcess:
        index = len(self.nodes)
        host = self._host_of(index)
        full_name = f"{name}@{host}"
        keys = make_keys(self.folder / "keys", full_name, [host], self._cluster)
        place = self.folder / name
        place.mkdir()
        node = self.nodes[full_name] = NodeProcess(
            place,
            [
                *("--set", f"name={full_name}", "--partitions", str(self._partitions)),
                *(
                    "--host",
                    host,
                    "--set",
                    f"cluster_name={self._cluster}",
                    "--set",
                    f"cluster_keys={keys}",
                ),
                *("--join", ",".join(self._join), "--set", f"cluster_host={host}"),
                *("--set", f"cluster_port={port}", "--set", f"cluster_client_port={client_port}"),
                *("--set", f"cluster_founders={self._founders}"),
                *("--set", f"cluster_replicas={min(3, self._founders)}"),
                *self._options,
            ],
            codes=self.codes,
            start_s=_START_S,
            before=self._before_of(index),
        )
        return node

    def add(self, name: str) -> NodeProcess:
        """A node that joins; it is started by the caller."""
        return self._make(name, *free_ports(2))

    async def start(self) -> None:
        """Start all nodes that there are; returns when each is up and every partition is owned."""
        await asyncio.gather(*(node.start() for node in self.nodes.values()))
        await self.whole()

    async def close(self) -> None:
        """End all of them at once."""
        await asyncio.gather(*(node.kill() for node in self.nodes.values()))

    @property
    def urls(self) -> list[str]:
        """Where clients connect."""
        return [node.ws_url for node in self.nodes.values() if node.ws_url]

    async def status(self, name: str | None = None) -> ClusterStatus:
        """The cluster as a node sees it: the given one, or any that runs."""
        running = [node for node in self.nodes.values() if node.pid]
        node = self.nodes[name] if name is not None else running[0]
        async with RemoteAdmin(node.data / "admin.sock") as admin:
            return await admin.cluster_status()

    async def until(
        self,
        what: str,
        holds: Callable[[ClusterStatus], bool],
        *,
        seen_by: str | None = None,
        wait_s: float = _WHOLE_S,
    ) -> ClusterStatus:
        """Wait for a state of the cluster; `CommandError` if it does not come."""
        latest: ClusterStatus | None = None
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    try:
                        latest = await self.status(seen_by)
                    except (AdminRefused, CommandError, OSError):
                        latest = None  # it starts, or it has just been killed
                    if latest is not None and holds(latest):
                        return latest
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise CommandError(f"waited {wait_s:g} s in vain: {what}\n{latest}") from None

    async def whole(self, wait_s: float = _WHOLE_S) -> ClusterStatus:
        """Wait until nothing is wrong."""
        return await self.until("the cluster is whole", lambda s: not s.problems, wait_s=wait_s)

    async def equal_digests(self, wait_s: float = _WHOLE_S) -> ClusterStatus:
        """Wait until all copies of each partition are compared, at one position, and are equal."""

        def equal(status: ClusterStatus) -> bool:
            return not status.problems and all(
                len({(r.digest_position, r.digest) for r in partition.replicas}) == 1
                and partition.replicas[0].digest
                for partition in status.partitions
            )

        return await self.until("all copies are equal", equal, wait_s=wait_s)

    def owner_of(self, status: ClusterStatus, number: int) -> NodeProcess:
        """The node that owns a partition."""
        return self.nodes[status.partitions[number].owner]
