"""Snapshots of partitions, from one node to another: in pieces that are asked for one by one.

The one who needs it asks for each piece, so it sets the pace; a piece that does not come is asked
for again; and what has come is checked as a whole before anybody uses it. A node sends a few at a
time, fetches a few at a time, and holds one piece of each in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from palaver.actors.cluster.background import Finished, begin
from palaver.actors.cluster.errors import NotReplica, SnapshotError, TooManyTransfers
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.ports import ClusterStore, SnapshotFiles
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.runtime import (
    NOREPLY,
    Down,
    Exit,
    From,
    GenServer,
    Pid,
    ProcessContext,
    Ref,
    Stop,
    is_abnormal,
)
from palaver.storage.installing import SnapshotInfo

__all__ = ["CloseSnapshot", "OpenSnapshot", "Opened", "ReadChunk", "SnapshotServer"]


class OpenSnapshot(NamedTuple):
    """Call: make a snapshot of a partition ready; it is there for as long as `reader` is alive.

    Fails with `TooManyTransfers` or `NotReplica`.
    """

    partition: int
    reader: Pid


class Opened(NamedTuple):
    """The answer: how to ask for the pieces, and what they come to."""

    transfer: int
    info: SnapshotInfo


class ReadChunk(NamedTuple):
    """Call: the bytes from an offset on, at most `chunk_bytes`; fails with `SnapshotError`."""

    transfer: int
    offset: int


class CloseSnapshot(NamedTuple):
    """Cast: it is not needed any more."""

    transfer: int


class _Sweep(NamedTuple):
    pass


@dataclass(slots=True)
class _Transfer:
    file: str
    monitor: Ref
    used_s: float
    info: SnapshotInfo | None = None


class SnapshotServer(GenServer):
    """Gives other nodes snapshots of the replicas that this one keeps.

    Args of `init`: the store; where its files are, for it alone; the settings; the recorder.
    """

    __slots__ = ("_files", "_last", "_recorder", "_settings", "_store", "_transfers")

    def init(
        self,
        store: ClusterStore,
        files: SnapshotFiles,
        settings: ClusterSettings,
        recorder: Recorder,
    ) -> None:
        """Remove what an earlier one has left."""
        self.trap_exit = True
        self._store = store
        self._files = files
        self._settings = settings
        self._recorder = recorder
        self._last = 0
        self._transfers: dict[int, _Transfer] = {}
        files.clear()
        self.send_after(settings.transfer_idle_s, self.pid, _Sweep())

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `OpenSnapshot` and `ReadChunk`, when the disk has."""
        if isinstance(request, OpenSnapshot):
            self._open(request, from_)
        elif isinstance(request, ReadChunk):
            self._read(request, from_)
        else:
            return super().handle_call(request, from_)
        return NOREPLY

    def _open(self, request: OpenSnapshot, from_: From) -> None:
        number = request.partition
        if len(self._transfers) >= self._settings.max_transfers:
            self.reply_error(from_, TooManyTransfers("this node sends as many as it may"))
            return
        state = self._store.state(number)
        if state is None or state.catching_up:
            self.reply_error(from_, NotReplica(f"there is no whole replica of {number} here"))
            return
        self._last += 1
        file = _name(number, self._last)
        transfer = _Transfer(file, self.monitor(request.reader), self.clock.monotonic())
        self._transfers[self._last] = transfer
        store, place = self._store, self._files.place(file)

        async def make(ctx: ProcessContext) -> SnapshotInfo:
            info: SnapshotInfo = await ctx.run_blocking(store.snapshot, number, place)
            return info

        begin(self, ("opened", self._last, from_), make)

    def _read(self, request: ReadChunk, from_: From) -> None:
        transfer = self._transfers.get(request.transfer)
        if transfer is None or transfer.info is None:
            self.reply_error(from_, SnapshotError("there is no such transfer (any more)"))
            return
        transfer.used_s = self.clock.monotonic()
        file, size, files = transfer.file, self._settings.chunk_bytes, self._files

        async def read(ctx: ProcessContext) -> bytes:
            return await ctx.run_blocking(files.read, file, request.offset, size)

        begin(self, ("read", request.transfer, from_), read)

    def handle_cast(self, message: Any) -> None:
        """See to `CloseSnapshot`."""
        if isinstance(message, CloseSnapshot):
            if message.transfer in self._transfers:
                self._recorder.stats.snapshots_sent += 1
            self._close(message.transfer)
        else:
            super().handle_cast(message)

    def handle_info(self, message: Any) -> Any:
        """See to finished work, to readers that have gone, and to the time."""
        if isinstance(message, Finished):
            self._finished(message)
        elif isinstance(message, Down):
            for number, transfer in list(self._transfers.items()):
                if transfer.monitor is message.ref:
                    self._close(number)
        elif isinstance(message, _Sweep):
            idle_s = self._settings.transfer_idle_s
            self.send_after(idle_s / 2, self.pid, _Sweep())
            before_s = self.clock.monotonic() - idle_s
            for number, transfer in list(self._transfers.items()):
                if transfer.info is not None and transfer.used_s < before_s:
                    self._close(number)
        elif isinstance(message, Exit):
            return Stop(message.reason) if is_abnormal(message.reason) else None
        return None

    def _finished(self, done: Finished) -> None:
        what, number, from_ = done.what
        transfer = self._transfers.get(number)
        if done.error is not None:
            self._close(number)
            self.reply_error(from_, SnapshotError(f"{type(done.error).__name__}: {done.error}"))
        elif what == "read":
            self._recorder.stats.snapshot_bytes += len(done.value)
            self.reply(from_, done.value)
        elif transfer is None:  # its reader has gone while it was made
            self._files.remove(_name(done.value.partition, number))
        else:
            transfer.info = done.value
            transfer.used_s = self.clock.monotonic()
            self.reply(from_, Opened(number, done.value))

    def _close(self, number: int) -> None:
        transfer = self._transfers.pop(number, None)
        if transfer is not None:
            self.demonitor(transfer.monitor)
            self._files.remove(transfer.file)

    def terminate(self, reason: Any) -> None:
        """Remove the files."""
        for number in list(self._transfers):
            self._close(number)


def _name(partition: int, transfer: int) -> str:
    return f"{partition}-{transfer}"
