"""Who among the NATS servers counts: those of nodes that are gone are forgotten by JetStream.

Each server counts for the quorum of JetStream, and has copies of the streams, until JetStream is
told that it will not come back. Without that a cluster that has replaced nodes would come to a
stand at the next loss, with machines enough.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsPyError

from palaver.actors.cluster.errors import CannotRebalance
from palaver.storage.jetstream.journals import JetStreamJournals
from palaver.storage.replicated.ports import JournalError
from palaver.transport.fabric import NatsConnection, NatsError, NatsSettings

__all__ = ["NatsPeers", "Peer"]

log = structlog.get_logger("palaver.cluster")

_ASK_S: Final = 3.0
_POLL_S: Final = 0.25
_SILENT_NS: Final = 5_000_000_000
_COPIED_S: Final = 120.0
_PEERS: Final = "$SYS.REQ.SERVER.PING.JSZ"
_REMOVE: Final = "$JS.API.SERVER.REMOVE"
_NO_PEER: Final = 10044
_OTHER_CHANGE: Final = 10202
"""JetStream changes its members one after the other."""
_TRIES: Final = 40


@dataclass(frozen=True, slots=True)
class Peer:
    """A server, as the leader of JetStream sees it.

    `absent`: it said that it stops, or has answered no heartbeat (they come each second) for long.
    """

    name: str
    absent: bool


class NatsPeers:
    """The `Machines` of a cluster whose nodes run their NATS servers themselves.

    Args:
        system: how to connect to the servers' system account.
        journals: of the cluster.
        partitions: how many there are.
        replicas: copies of each journal.
        patience_s: how long JetStream may be without a leader, and a node may take to end.
    """

    def __init__(
        self,
        system: NatsSettings,
        journals: JetStreamJournals,
        partitions: int,
        replicas: int,
        *,
        patience_s: float = 45.0,
    ) -> None:
        self._patience_s = patience_s
        self._system = system
        self._journals = journals
        self._partitions = partitions
        self._replicas = replicas

    async def forget(self, gone: str, nodes: Collection[str]) -> str:
        """Forget the servers that are absent and no node's of these; see `Machines`.

        Raises:
            CannotRebalance: NATS cannot be asked, or does not get on with the copies.
        """
        try:
            connection = await NatsConnection.open(self._system)
            try:
                return await self._forget(connection.client, gone, nodes)
            finally:
                await connection.close()
        except (NatsError, NatsPyError, TimeoutError, ValueError) as error:
            raise CannotRebalance(
                f"NATS could not be told of the servers that are gone "
                f"({error or type(error).__name__}): `palaver cluster rebalance` tries again"
            ) from error

    async def _forget(self, nc: Client, gone: str, nodes: Collection[str]) -> str:
        peers = await self._until_absent(nc, gone)
        unknown = [peer.name for peer in peers if peer.absent and peer.name not in nodes]
        if not unknown:
            return "all NATS servers are those of nodes"
        left = len(peers) - len(unknown)
        if left < self._replicas:
            return (
                f"the journals keep a place for {', '.join(unknown)}, since {left} servers are too "
                f"few for {self._replicas} copies: let another node join, then `rebalance`"
            )
        for name in unknown:
            await _remove(nc, name)
            log.info("NATS forgets a server", server=name)
        await self._until_copied(unknown)
        return f"the journals have {self._replicas} copies, none of them at {', '.join(unknown)}"

    async def _until_absent(self, nc: Client, gone: str) -> Sequence[Peer]:
        """Wait until a node's server has ended, as far as it does."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._patience_s
        while True:
            late = loop.time() > until_s
            try:
                peers = await _peers(nc)
            except (NatsPyError, ValueError):  # another leader is elected
                if late:
                    raise
            else:
                if late or all(peer.absent for peer in peers if peer.name == gone):
                    return peers
            await asyncio.sleep(_POLL_S)

    async def _until_copied(self, gone: Collection[str]) -> None:
        """Wait until each journal has all of its copies, and none at the servers that are gone.

        Two looks have to agree: a server may answer that has not heard of the latest.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _COPIED_S
        good_looks = 0
        while True:
            lagging: set[str] = set()
            try:
                for partition in range(self._partitions):
                    lagging.update(await self._journals.lagging(partition))
                    lagging.update(await self._kept_by(partition) & set(gone))
            except JournalError as error:
                lagging.add(str(error))
            good_looks = 0 if lagging else good_looks + 1
            if good_looks == 2:
                return
            if loop.time() > until_s:
                raise TimeoutError(f"the journals wait for {', '.join(sorted(lagging))}")
            await asyncio.sleep(_POLL_S)

    async def _kept_by(self, partition: int) -> set[str]:
        """The servers that have, or had, a copy of a journal, as its leader knows them."""
        cluster = (await self._journals(partition).info()).cluster
        if cluster is None:
            return set()
        names = [cluster.leader, *(peer.name for peer in cluster.replicas or ())]
        return {name for name in names if name}


async def _peers(nc: Client) -> Sequence[Peer]:
    """Ask who there is; only the leader of JetStream answers."""
    said = await _asked(nc, _PEERS, {"leader_only": True})
    meta = (said.get("data") or {}).get("meta_cluster") or {}
    if not meta.get("leader"):
        raise ValueError("nobody leads JetStream now")
    replicas = meta.get("replicas") or ()
    if 1 + len(replicas) < meta.get("cluster_size", 0):
        raise ValueError("the leader of JetStream has just begun, and does not know all servers")
    others = [Peer(str(each["name"]), _is_absent(each)) for each in replicas]
    return [Peer(str(meta["leader"]), absent=False), *others]


def _is_absent(peer: dict[str, Any]) -> bool:
    silent_ns = peer.get("active", 0)
    # A new leader that has never heard of a server says that it was active just now.
    never_heard = not silent_ns and not peer.get("current")
    return bool(peer.get("offline")) or never_heard or silent_ns > _SILENT_NS


async def _remove(nc: Client, name: str) -> None:
    error: dict[str, Any] = {}
    for _ in range(_TRIES):
        said = await _asked(nc, _REMOVE, {"peer": name})
        error = said.get("error") or {}
        if not error or error.get("err_code") == _NO_PEER:
            return
        if error.get("err_code") != _OTHER_CHANGE:
            break
        await asyncio.sleep(_POLL_S)
    raise ValueError(f"{name}: {error.get('description')}")


async def _asked(nc: Client, subject: str, question: dict[str, Any]) -> dict[str, Any]:
    answer = await nc.request(subject, json.dumps(question).encode(), timeout=_ASK_S)
    said = json.loads(answer.data)
    if not isinstance(said, dict):
        raise ValueError(f"{subject}: no answer that NATS gives")
    return said
