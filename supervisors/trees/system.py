"""A whole chat node: its store, its processes, its sockets; started, drained and stopped.

Everything that is not deterministic is made here and handed down: clock, randomness, the store,
the listener, the sender of codes. A program may hold several of these.
"""

from __future__ import annotations

import asyncio
import random as random_module
import ssl as ssl_module
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from palaver.actors.chat.access import Ledger, NodeTables
from palaver.actors.chat.accounts import CodeSender
from palaver.actors.chat.address_book import ClusterBook, LocalBook
from palaver.actors.chat.context import Acceptor
from palaver.actors.chat.media import MediaService
from palaver.actors.chat.media_ports import Blobs, MediaLimits
from palaver.actors.chat.media_shared import SharedBlobs
from palaver.actors.chat.media_tokens import TokenSigner
from palaver.actors.chat.names import Places
from palaver.actors.chat.registry import ConnectionRegistry, MemoryRegistry
from palaver.actors.chat.state import ChatMachine
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import Clock, Node, NodeStats, SystemClock
from palaver.storage import Machine, Store, StoreStats
from palaver.storage.blobs import BlobStore
from palaver.storage.replicated.machine import JournalMachine
from palaver.supervisors.observer_page import NodeObserver
from palaver.supervisors.trees.listener import ListenerPort
from palaver.supervisors.trees.metrics import MetricSources, registry_of
from palaver.supervisors.trees.operator import Operator
from palaver.supervisors.trees.running import ChatPorts, RunningChat, edge_limits
from palaver.supervisors.trees.settings import Settings
from palaver.transport.edge import EdgeStats
from palaver.transport.http import media as media_http
from palaver.transport.http.admin import AdminServer

if TYPE_CHECKING:
    from palaver.supervisors.trees.cluster import ClusterPart

__all__ = ["ChatSystem", "program_version"]


def program_version() -> str:
    """The version of the installed package, or "unknown"."""
    try:
        return version("palaver")
    except PackageNotFoundError:
        return "unknown"


class ChatSystem:
    """A chat node in this process, on the running asyncio loop.

    Args:
        settings: every value an operator may choose.
        code_sender: brings one-time codes to phones.
        registries: makes what keeps the connections of a partition's accounts; in memory by
            default, or in Redis by the settings.
        clock, random: the ports for time and chance; the system's by default.

    Raises (from `start`):
        StoreUnusable: the data folder cannot be used; the text says why and what to do.
        OSError: an address cannot be listened on.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        code_sender: CodeSender,
        registries: Callable[[int], ConnectionRegistry] | None = None,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
    ) -> None:
        self.settings = settings
        self.stats = ChatStats()
        self.edge_stats = EdgeStats()
        self._code_sender = code_sender
        self._registries = registries
        self._clock = clock or SystemClock()
        # Codes, nonces and upload ids must not be guessable.
        self._random = random or random_module.SystemRandom()
        self._run = self._random.randbytes(8).hex()
        self._store: Store | None = None
        self._cluster: ClusterPart | None = None
        self._node: Node | None = None
        self._chat: RunningChat | None = None
        self._media: MediaService | None = None
        self._shared: SharedBlobs | None = None
        self._listener: ListenerPort | None = None
        self._admin: AdminServer | None = None

    # -- where it is -------------------------------------------------------------------------------

    @property
    def ws_url(self) -> str:
        """Where clients connect."""
        return f"{'wss' if self.settings.tls else 'ws'}://{self._address()}/ws"

    @property
    def http_url(self) -> str:
        """Where media go over HTTP."""
        return f"{'https' if self.settings.tls else 'http'}://{self._address()}"

    @property
    def admin_url(self) -> str:
        """Where metrics and health are."""
        assert self._admin is not None, "the system is not started"
        return f"http://{_bracketed(self.settings.admin_host)}:{self._admin.port}"

    def _address(self) -> str:
        assert self._listener is not None, "the system is not started"
        return f"{_bracketed(self.settings.host)}:{self._listener.port}"

    @property
    def node(self) -> Node:
        """The runtime's node, to look into it."""
        assert self._node is not None, "the system is not started"
        return self._node

    @property
    def media(self) -> MediaService:
        """Uploads and downloads."""
        assert self._media is not None, "the system is not started"
        return self._media

    @property
    def store(self) -> Store:
        """The tables."""
        assert self._store is not None, "the system is not started"
        return self._store

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the data folder, start the tree and the sockets; undone in order if it fails."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self.settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        store = self._store = self._open_tables()
        node = self._node = Node(settings.name, clock=self._clock, random=self._random)
        await node.start()
        cluster = self._cluster = await self._stand_on_cluster(node, store)
        tables = NodeTables(node, Places(settings.partitions))
        media = self._media = await self._open_media(Ledger(tables))
        chat = self._chat = await RunningChat.start(
            settings,
            ChatPorts(
                node=node,
                store=store if cluster is None else cluster.store,
                registries=self._registries or self._make_registry,
                code_sender=self._code_sender,
                media=media,
                listener=lambda acceptor: self._listener_port(acceptor, media),
                stats=self.stats,
                server=f"palaver/{program_version()}",
                at=None if cluster is None else cluster.distribution.at,
                owned=None if cluster is None else (),
            ),
        )
        operator = Operator(tables, chat.stamps, node, settings, self.info, store)
        self._admin = await AdminServer.start(
            registry=registry_of(self._metric_sources()),
            health=self,
            host=settings.admin_host,
            port=settings.admin_port,
            admin=operator,
            socket_path=settings.socket_path,
            observer=NodeObserver(node),
            show_state=settings.observer_state == "shown",
            cluster=None if cluster is None else cluster.operator,
        )
        if cluster is not None:
            await cluster.join(
                chat,
                ws_url=self.ws_url,
                http_url=self.http_url,
                version=program_version(),
            )

    def _open_tables(self) -> Store:
        settings, loop = self.settings, asyncio.get_running_loop()
        partitions = settings.partitions

        def machine(number: int) -> Machine:
            chat = ChatMachine(number, partitions)
            return JournalMachine(chat) if settings.clustered else chat

        return Store.open(
            settings.data_dir,
            machine,
            partitions=partitions,
            post=loop.call_soon_threadsafe,
            defer=loop.call_soon,
            max_map_bytes=settings.max_map_bytes,
            max_batch=settings.max_batch,
            max_backlog=settings.max_backlog,
            stall_ms=5.0,
        )

    async def _stand_on_cluster(self, node: Node, store: Store) -> ClusterPart | None:
        if not self.settings.clustered:
            return None
        # Its packages are an extra: a node that stands alone does without.
        from palaver.supervisors.trees.cluster import ClusterPart

        cluster = self._cluster = ClusterPart(self.settings, node)
        await cluster.start(store)
        return cluster

    def _make_registry(self, number: int) -> ConnectionRegistry:
        settings, node = self.settings, self.node
        if settings.cluster_registry_url is None:
            return MemoryRegistry()
        from palaver.actors.chat.registry_redis import RedisRegistry

        cluster = self._cluster
        book = (
            LocalBook(node, self._run)
            if cluster is None
            else ClusterBook(cluster.distribution.directory)
        )
        return RedisRegistry(
            settings.cluster_registry_url,
            book,
            prefix=f"palaver:{settings.cluster_name or settings.name}:{number}",
            random=self._random,
        )

    async def _open_media(self, ledger: Ledger) -> MediaService:
        settings = self.settings
        data = settings.data_dir
        media = MediaService(
            clock=self._clock,
            random_bytes=self._random.randbytes,
            blobs=await self._blobs(data),
            folder=data / "uploads",
            ledger=ledger,
            signer=self._signer(data),
            is_device_valid=ledger.is_device_valid,
            limits=MediaLimits(
                max_file_bytes=settings.media_max_bytes,
                quota_bytes=settings.media_quota_bytes,
                upload_ttl_s=settings.upload_expiry_s,
                max_open_uploads=settings.media_max_uploads,
                token_ttl_s=settings.token_ttl_s,
            ),
        )
        await media.open()
        return media

    def _signer(self, data: Path) -> TokenSigner:
        if self._cluster is not None:  # one node's token is good at all of them
            return TokenSigner(self._cluster.keys.media_key())
        return TokenSigner.open(data / "keys" / "media.key", self._random.randbytes)

    async def _blobs(self, data: Path) -> Blobs:
        url, cluster = self.settings.blob_url, self._cluster
        if url is not None or cluster is None:  # a bucket is everybody's
            return BlobStore.open(url or data / "blobs")
        shared = self._shared = await cluster.share(BlobStore.open(data / "blobs"), data / "copies")
        return shared

    def _listener_port(self, acceptor: Acceptor, media: MediaService) -> ListenerPort:
        settings = self.settings
        self._listener = ListenerPort(
            acceptor,
            lambda: media_http.app(media),
            host=settings.host,
            port=settings.port,
            ssl=_tls(settings),
            limits=edge_limits(settings),
            stats=self.edge_stats,
        )
        return self._listener

    async def drain(self) -> None:
        """Take no new connection, answer what was accepted, tell every client to come back.

        Takes at most `drain_s` seconds; what is still connected then is closed by `stop`.
        """
        if self._cluster is not None:
            await self._cluster.release()
        if self._chat is not None and self._node is not None:
            await self._chat.drain()

    async def stop(self) -> None:
        """Stop the tree in reverse order, then close the store. What was acknowledged is safe."""
        if self._admin is not None:
            await self._admin.close()
            self._admin = None
        if self._listener is not None:
            await self._listener.close()
        if self._shared is not None:
            await self._shared.close()
            self._shared = None
        if self._media is not None:
            await self._media.close()
            self._media = None
        if self._cluster is not None:
            await self._leave_cluster(self._cluster)
            self._cluster = None
        if self._node is not None:
            await self._node.stop()
            self._node = None
        if self._store is not None:
            await self._store.close()
            self._store = None

    async def _leave_cluster(self, cluster: ClusterPart) -> None:
        """What stands on the other nodes ends first, then the connections to them."""
        await cluster.leave()
        if self._chat is not None:
            await self._chat.end()
        await cluster.stop()
        self._store = None if cluster.closed_tables else self._store

    async def wait_failed(self) -> str:
        """Wait until the tree has ended by itself (its supervisors gave up); the reason."""
        assert self._chat is not None, "the system is not started"
        if self._cluster is None:
            return await self._chat.wait_failed()
        waits = [
            asyncio.ensure_future(self._chat.wait_failed()),
            asyncio.ensure_future(self._cluster.wait_failed()),
        ]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()

    @property
    def removed(self) -> bool:
        """Whether the node ends because an operator has removed it from its cluster."""
        return self._cluster is not None and self._cluster.removed

    # -- to look into it ---------------------------------------------------------------------------

    async def not_ready(self) -> Sequence[str]:
        """Why the node should get no new clients now; empty when it is ready."""
        why = []
        chat = self._chat
        if chat is not None and (chat.draining or chat.away):
            why.append("the node is draining")
        if self._listener is None or not self._listener.is_listening:
            why.append("the node does not listen")
        if self.stats.storage_failing:
            why.append(f"nothing can be stored: {self.stats.storage_failing}")
        if self._node is None or chat is None or not chat.is_alive:
            why.append("the supervision tree has ended")
        if self._cluster is not None:
            why += self._cluster.not_ready()
        return why

    def info(self) -> tuple[ChatStats, NodeStats, StoreStats, EdgeStats]:
        """The counters of all parts."""
        return self.stats, self.node.stats(), self.store.stats(), self.edge_stats

    def _metric_sources(self) -> MetricSources:
        return MetricSources(
            chat=lambda: self.stats,
            runtime=self.node.stats,
            store=self.store.stats,
            edge=lambda: self.edge_stats,
            media=lambda: self.media,
            cluster=lambda: None if self._cluster is None else self._cluster.numbers(),
            version=program_version(),
            started_s=self._clock.time_ms() / 1000,
        )


def _tls(settings: Settings) -> ssl_module.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl_module.create_default_context(ssl_module.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
