"""`SnapshotFetcher`: gets snapshots of partitions from the other replicas."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from palaver.actors.cluster.background import Finished, begin
from palaver.actors.cluster.errors import ClusterError, SnapshotError
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.membership import GetMembers
from palaver.actors.cluster.names import MEMBERSHIP, OWNERSHIP, SNAPSHOT_SERVER, SNAPSHOTS
from palaver.actors.cluster.ownership_messages import GetPartition, PartitionStatus
from palaver.actors.cluster.ports import SnapshotFiles
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.cluster.snapshots import CloseSnapshot, Opened, OpenSnapshot, ReadChunk
from palaver.actors.distribution import Distribution
from palaver.actors.runtime import (
    NOREPLY,
    CallFailed,
    Exit,
    From,
    GenServer,
    Node,
    ProcessContext,
    RuntimeFault,
    Stop,
    is_abnormal,
)
from palaver.storage.errors import StoreError
from palaver.storage.installing import SnapshotInfo

__all__ = ["FetchSnapshot", "SnapshotFetcher", "snapshot_port"]

_TRIES: Final = 3
"""How often a piece is asked for before the snapshot is asked of another node."""


class FetchSnapshot(NamedTuple):
    """Call: (place, `SnapshotInfo`) of a snapshot that another replica has given, and was checked.

    The file stays until the next snapshot of that partition is asked for, at most for about
    `transfer_idle_s`. Fails with `SnapshotError`. Give it no timeout: it takes as long as it takes.
    """

    partition: int


class _Sweep(NamedTuple):
    pass


def snapshot_port(
    node: Node,
) -> Callable[[int], Awaitable[tuple[str | os.PathLike[str], SnapshotInfo]]]:
    """What a `ReplicatedStore` takes as `fetch_snapshot`; may be made before the cluster's tree."""

    async def fetch(partition: int) -> tuple[str | os.PathLike[str], SnapshotInfo]:
        try:
            place, info = await node.call(SNAPSHOTS, FetchSnapshot(partition), timeout_s=None)
        except (CallFailed, RuntimeFault, ClusterError) as error:
            raise StoreError(f"no snapshot of partition {partition}: {error}") from error
        return place, info

    return fetch


class SnapshotFetcher(GenServer):
    """Fetches a few at a time; the others wait their turn."""

    __slots__ = (
        "_distribution",
        "_files",
        "_kept",
        "_recorder",
        "_running",
        "_settings",
        "_waiting",
    )

    def init(
        self,
        distribution: Distribution,
        files: SnapshotFiles,
        settings: ClusterSettings,
        recorder: Recorder,
    ) -> None:
        """Remove what an earlier one has left."""
        self.trap_exit = True
        self._distribution = distribution
        self._files = files
        self._settings = settings
        self._recorder = recorder
        self._running: dict[int, list[From]] = {}
        self._waiting: deque[tuple[int, From]] = deque()
        self._kept: dict[int, float] = {}  # files that are there, and since when
        files.clear()
        self.send_after(settings.transfer_idle_s, self.pid, _Sweep())

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `FetchSnapshot` when it is there."""
        if not isinstance(request, FetchSnapshot):
            return super().handle_call(request, from_)
        if request.partition in self._running:
            self._running[request.partition].append(from_)
        else:
            self._waiting.append((request.partition, from_))
            self._go_on()
        return NOREPLY

    def _go_on(self) -> None:
        while self._waiting and len(self._running) < self._settings.max_transfers:
            number, from_ = self._waiting.popleft()
            if number in self._running:
                self._running[number].append(from_)
                continue
            self._running[number] = [from_]
            self._kept.pop(number, None)
            fetching = _Fetching(number, self._distribution, self._files, self._settings)
            begin(self, number, fetching.run)

    def handle_info(self, message: Any) -> Any:
        """See to finished work."""
        if isinstance(message, Finished):
            waiting = self._running.pop(message.what)
            self._kept[message.what] = self.clock.monotonic()
            if message.error is None:
                self._recorder.stats.snapshots_fetched += 1
                self._recorder.tell("snapshot fetched", message.what)
            else:
                self._recorder.tell(
                    "no snapshot", message.what, str(message.error), level="warning"
                )
            for from_ in waiting:
                if message.error is None:
                    self.reply(from_, message.value)
                else:
                    self.reply_error(from_, message.error)
            self._go_on()
        elif isinstance(message, _Sweep):
            self._sweep()
        elif isinstance(message, Exit):
            return Stop(message.reason) if is_abnormal(message.reason) else None
        return None

    def _sweep(self) -> None:
        """Remove files that were taken in long ago, or never whole."""
        idle_s = self._settings.transfer_idle_s
        self.send_after(idle_s / 2, self.pid, _Sweep())
        before_s = self.clock.monotonic() - idle_s
        for number in [number for number, at_s in self._kept.items() if at_s < before_s]:
            del self._kept[number]
            self._files.remove(str(number))


class _Fetching:
    """One snapshot, from whoever gives it."""

    def __init__(
        self,
        number: int,
        distribution: Distribution,
        files: SnapshotFiles,
        settings: ClusterSettings,
    ) -> None:
        self._number = number
        self._distribution = distribution
        self._settings = settings
        self._files = files
        self._file = str(number)

    async def run(self, ctx: ProcessContext) -> tuple[str | os.PathLike[str], SnapshotInfo]:
        """Ask one node after the other."""
        peers = await self._peers(ctx)
        told: list[str] = []
        for name in peers:
            try:
                info = await self._from(ctx, name)
            except (CallFailed, ClusterError) as error:
                told.append(f"{name}: {error}")
            else:
                return self._files.place(self._file), info
        raise SnapshotError("; ".join(told) or "no other replica is there now")

    async def _peers(self, ctx: ProcessContext) -> list[str]:
        """The other replicas; the owner last, which has enough to do."""
        members: Members = await ctx.call(MEMBERSHIP, GetMembers())
        status: PartitionStatus = await ctx.call(OWNERSHIP, GetPartition(self._number))
        placement, live = members.placement, members.live()
        placed = () if placement is None else placement.partitions[self._number]
        peers = [name for name in placed if name != members.me and name in live]
        if status.owner and status.owner != members.me and status.owner not in peers:
            peers.append(status.owner)  # one that the placement has just dropped
        ctx.random.shuffle(peers)
        return sorted(peers, key=lambda name: name == status.owner)

    async def _from(self, ctx: ProcessContext, name: str) -> SnapshotInfo:
        server = self._distribution.at(name, SNAPSHOT_SERVER)
        opened: Opened = await ctx.call(
            server, OpenSnapshot(self._number, ctx.pid), timeout_s=self._settings.snapshot_s
        )
        try:
            await self._copy(ctx, server, opened)
        finally:
            ctx.cast(server, CloseSnapshot(opened.transfer))
        return opened.info

    async def _copy(self, ctx: ProcessContext, server: Any, opened: Opened) -> None:
        info, sha256, offset = opened.info, hashlib.sha256(), 0
        if info.partition != self._number:
            raise SnapshotError(f"that is a snapshot of partition {info.partition}")
        await ctx.run_blocking(self._files.empty, self._file)
        while offset < info.size_bytes:
            piece = await self._piece(ctx, server, ReadChunk(opened.transfer, offset))
            offset += len(piece)
            if not piece or offset > info.size_bytes:
                raise SnapshotError(f"it ends at {offset} bytes, not at {info.size_bytes}")
            sha256.update(piece)
            await ctx.run_blocking(self._files.append, self._file, piece)
        if sha256.hexdigest() != info.sha256:
            raise SnapshotError("it has come damaged: its sha256 is another")

    async def _piece(self, ctx: ProcessContext, server: Any, request: ReadChunk) -> bytes:
        for left in reversed(range(_TRIES)):
            try:
                piece: bytes = await ctx.call(
                    server, request, timeout_s=self._settings.peer_timeout_s
                )
            except CallFailed:
                if not left:
                    raise
                await ctx.sleep(self._settings.retry_s * ctx.random.uniform(0.7, 1.3))
            else:
                return piece
        raise AssertionError("unreachable: the last try returns or raises")
