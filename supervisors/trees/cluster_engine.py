"""What a node of a cluster stands on: NATS, the connections to other nodes, the replicated store.

Nothing here knows of chat or of who owns what. It is started in order and stopped in reverse:
nats-server as a supervised program (unless there is a NATS already), one connection to it, which
the fabric, the journals and the registers share, the distribution, the tables' replicas.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import structlog

from palaver.actors.cluster.events import ClusterStats
from palaver.actors.cluster.records import CLUSTER, ClusterRecord, decoded
from palaver.actors.distribution import Distribution, LinkCarrier, Vocabulary
from palaver.actors.runtime import Node, Pid
from palaver.storage import Store
from palaver.storage.jetstream.identities import JournalIdentities
from palaver.storage.jetstream.journal import JournalLimits
from palaver.storage.jetstream.journals import JetStreamJournals
from palaver.storage.jetstream.registers import JetStreamRegisters
from palaver.storage.replicated.ports import JournalGone, RegistersUnavailable
from palaver.storage.replicated.settings import Codec, FetchSnapshot, Limits, ReplicaState
from palaver.storage.replicated.store import ReplicatedStore
from palaver.supervisors import Supervisor
from palaver.supervisors.trees.cluster_keys import NodeKeys
from palaver.supervisors.trees.cluster_metrics import ClusterNumbers
from palaver.supervisors.trees.nats_config import CLIENT_USER, SYSTEM_USER, NatsConfig
from palaver.supervisors.trees.nats_existing import check_existing_nats
from palaver.supervisors.trees.nats_peers import NatsPeers
from palaver.supervisors.trees.nats_server import AwaitReady, nats_server_spec
from palaver.supervisors.trees.settings import Settings
from palaver.transport.fabric import Fabric, FabricLimits
from palaver.transport.fabric.nats import NatsConnection
from palaver.transport.fabric.nats_settings import NatsSettings

__all__ = ["ClusterEngine", "Hooks"]

log = structlog.get_logger("palaver.cluster")

#: A cluster that is being founded waits so long for a majority of its servers.
_READY_S = 300.0
_AGAIN_S = 0.5
_NATS = "nats"
_NATS_INTENSITY = 1000


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom the replicated store asks and tells.

    Attributes:
        fetch_snapshot: brings a partition's snapshot from another replica.
        on_trouble: a replica cannot go on, or (None) can again.
    """

    fetch_snapshot: FetchSnapshot
    on_trouble: Callable[[int, Exception | None], None]


class ClusterEngine:
    """NATS, fabric, distribution, registers and replicas of one node; see the module.

    Attributes:
        distribution: of the node.
        registers: the cluster's.
        store: the tables, replicated.
    """

    distribution: Distribution
    registers: JetStreamRegisters
    store: ReplicatedStore

    def __init__(self, settings: Settings, keys: NodeKeys, node: Node, creation: int) -> None:
        self._settings = settings
        self._keys = keys
        self._node = node
        self._creation = creation
        self._supervisor: Pid | None = None
        self._nats: NatsConnection | None = None
        self._fabric: Fabric | None = None
        self._own_url = ""
        self._journals: JetStreamJournals | None = None
        self._registers: JetStreamRegisters | None = None

    # -- life --------------------------------------------------------------------------------------

    async def start(
        self, tables: Store, codec: Codec, vocabulary: Vocabulary, hooks: Hooks
    ) -> None:
        """Start it all; `stop` undoes what has begun if it fails.

        Raises:
            EngineError: NATS cannot be run or used; the text says why and what to do.
            StartError: its program does not run.
            NatsError: there is no way to it.
            JournalError, RegistersUnavailable: no majority of its servers within five minutes.
        """
        settings = self._settings
        url = await self._run_nats()
        nats = self._nats = await NatsConnection.open(self._nats_settings(url))
        if settings.cluster_nats:
            await check_existing_nats(
                nats.client,
                replicas=settings.cluster_replicas,
                monitors=settings.cluster_nats_monitor,
            )
        await self._connect(nats, vocabulary)
        await self._open_log(nats)
        assert self._journals is not None
        self.store = ReplicatedStore(
            tables,
            self._journals,
            codec,
            node_name=settings.name,
            incarnation=str(self._creation),
            limits=Limits(
                max_backlog=settings.max_backlog,
                # What comes between two truncations needs room, too.
                tail_bytes=settings.cluster_journal_bytes // 8,
            ),
            fetch_snapshot=hooks.fetch_snapshot,
            on_trouble=hooks.on_trouble,
        )

    async def stop(self) -> None:
        """Close the tables, if the replicated store was made, then the connections."""
        if self.has_store:
            await self.store.close()
        if self._fabric is not None:
            await self._fabric.stop()
            self._fabric = None
        if self._registers is not None:
            await self._registers.close()
            self._registers = None
        if self._journals is not None:
            await self._journals.close()
            self._journals = None
        if self._nats is not None:
            await self._nats.close()
            self._nats = None

    @property
    def has_store(self) -> bool:
        """Whether the replicated store was made, to which the tables belong since then."""
        return hasattr(self, "store")

    @property
    def connected(self) -> bool:
        """Whether there is a connection to NATS now."""
        return self._nats is not None and self._nats.connected

    @property
    def nats_url(self) -> str:
        """The server that the node is connected to, "" when to none."""
        return "" if self._nats is None else self._nats.server or ""

    def numbers(self, stats: ClusterStats, replicas: Sequence[ReplicaState]) -> ClusterNumbers:
        """What the metrics show, with what others have counted."""
        assert self._fabric is not None
        assert self._nats is not None
        assert self._journals is not None
        return ClusterNumbers(
            stats,
            replicas,
            self._fabric.stats,
            self._nats.stats,
            self._nats.connected,
            self._journals.stats(),
        )

    # -- NATS --------------------------------------------------------------------------------------

    async def _run_nats(self) -> str:
        """Run the node's own server, if it has one; where it is."""
        settings = self._settings
        if settings.cluster_nats:
            return ""
        assert settings.cluster_name is not None
        config = NatsConfig(
            node=settings.name,
            cluster=settings.cluster_name,
            folder=settings.data_dir / "nats",
            keys=self._keys,
            host=settings.cluster_host,
            client_port=settings.cluster_client_port,
            cluster_port=None if self._alone else settings.cluster_port,
            routes=settings.cluster_join,
        )
        self._supervisor = await self._node.start_server(
            Supervisor,
            [nats_server_spec(config, name=_NATS)],
            intensity=_NATS_INTENSITY,
            period_s=60.0,
            name="engine",
        )
        log.info("nats-server runs; waiting for a majority of the cluster's", joins=config.routes)
        state = await self._node.call(_NATS, AwaitReady(), timeout_s=_READY_S)
        self._own_url = str(state.url)
        return self._own_url

    def machines(self) -> NatsPeers | None:
        """What keeps the journals, where these are the nodes' own servers."""
        if not self._own_url or self._alone:
            return None
        assert self._journals is not None
        settings = self._settings
        system = NatsSettings(
            urls=(self._own_url,),
            name=f"{settings.name} (operator)",
            user=SYSTEM_USER,
            password=self._keys.password("system"),
            tls=self._keys.client_tls(),
        )
        return NatsPeers(system, self._journals, settings.partitions, settings.cluster_replicas)

    @property
    def _alone(self) -> bool:
        return self._settings.cluster_founders == 1 and not self._settings.cluster_join

    def _nats_settings(self, own: str) -> NatsSettings:
        settings, keys = self._settings, self._keys
        user, password = CLIENT_USER, keys.password("node")
        urls = []
        for url in settings.cluster_nats:
            parts = urlsplit(url)
            if parts.username:
                user, password = parts.username, parts.password or ""
            host = parts.netloc.rpartition("@")[2]
            urls.append(urlunsplit((parts.scheme, host, "", "", "")))
        secure = own or all(urlsplit(url).scheme == "tls" for url in settings.cluster_nats)
        return NatsSettings(
            urls=(own,) if own else tuple(urls),
            name=settings.name,
            user=user,
            password=password,
            tls=keys.client_tls() if secure else None,
            inbox_prefix=f"_INBOX_{settings.cluster_name}",
        )

    async def _is_founded(self, registers: JetStreamRegisters) -> bool:
        """Whether there is a cluster; a register may have no leader for a moment.

        Raises:
            WrongCluster: there is one, and this node is set up for another.
        """
        settings = self._settings
        assert settings.cluster_name is not None
        asked = ClusterRecord(settings.cluster_name, settings.partitions)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _READY_S
        while True:
            try:
                register = await registers.read(CLUSTER)
                if register is not None:
                    # Before it waits for journals that there are not.
                    asked.check(decoded(ClusterRecord, register.value))
                return register is not None
            except RegistersUnavailable:
                if loop.time() > until_s:
                    raise
                await asyncio.sleep(_AGAIN_S)

    # -- what stands on it -------------------------------------------------------------------------

    async def _connect(self, nats: NatsConnection, vocabulary: Vocabulary) -> None:
        settings, node = self._settings, self._node
        assert settings.cluster_name is not None
        carrier = LinkCarrier(node, self._creation, vocabulary)
        self.distribution = carrier.distribution
        fabric = self._fabric = Fabric(
            nats,
            cluster=settings.cluster_name,
            name=settings.name,
            creation=self._creation,
            told=carrier,
            greeting=carrier.greeting,
            limits=FabricLimits(net_ticktime_s=settings.cluster_tick_s),
        )
        carrier.open(fabric)
        await fabric.start()

    async def _open_log(self, nats: NatsConnection) -> None:
        """Open the registers and the journals; make them, if the cluster is being founded."""
        settings = self._settings
        assert settings.cluster_name is not None
        replicas = settings.cluster_replicas
        registers = JetStreamRegisters(nats.client, settings.cluster_name, replicas=replicas)
        self._registers = self.registers = registers
        await registers.found(timeout_s=_READY_S)
        founded = await self._is_founded(registers)
        journals = self._journals = JetStreamJournals(
            nats.client,
            settings.cluster_name,
            replicas=replicas,
            identities=JournalIdentities(settings.data_dir / "journals.json"),
            limits=JournalLimits(max_bytes=settings.cluster_journal_bytes),
        )
        everything: Sequence[int] = range(settings.partitions)
        if founded:
            await journals.open(everything, timeout_s=_READY_S, gone=_tell_gone)
        else:
            await journals.found(everything, timeout_s=_READY_S)


def _tell_gone(partition: int, error: JournalGone) -> None:
    """Say it at once; the partition's replica stops with it, and the others go on."""
    log.error("a journal is gone", partition=partition, why=str(error))
