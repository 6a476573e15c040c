"""Files on every node: each is kept on two nodes, and found from all of them.

For a cluster whose nodes keep blobs in folders of their own (with an object store all nodes share
one, and none of this is needed). A file has two *homes*: the two nodes, of those that are up, that
score highest for its hash (rendezvous hashing), so that all nodes agree on them without asking.

* An upload is acknowledged when the node that took it has it, and one of its homes besides.
* A download on a node that does not have the file fetches it, from its homes first, then from
  anyone, and keeps it. The content is checked against its hash before a byte of it is given out.
* `sweep` gives a file again to a home that does not have it: one that was away, or is new.

Copies between nodes are pulled by who needs them, in chunks of 256 KiB with a few under way, into a
file that becomes a blob when its hash is right. Memory is `WINDOW` chunks for each copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from palaver.storage.blobs import CHUNK_BYTES, BlobError, BlobStore

from .media_files import PartWriter, hash_file

__all__ = ["BlobPeers", "PeerFailed", "SharedBlobs", "homes"]

HOMES: Final = 2
WINDOW: Final = 4
"""Chunks of one copy that are under way at once."""
MAX_COPIES: Final = 4
"""Copies that one node makes at once; more wait."""
_ASKED_AT_ONCE: Final = 500


class PeerFailed(Exception):
    """Another node did not do what it was asked: it is gone, or its disk refused."""


class BlobPeers(Protocol):
    """The other nodes of the cluster, as far as files go. All raise `PeerFailed`."""

    def nodes(self) -> Sequence[str]:
        """The other nodes that are up."""

    def is_alone(self) -> bool:
        """Whether the cluster has no other node than this one, up or not."""

    async def size(self, node: str, file_id: bytes) -> int | None:
        """How large a file is that a node has; None if it does not have it."""

    async def fetch(self, node: str, file_id: bytes, offset: int, length: int) -> bytes:
        """`length` bytes of a file that a node has, at most `CHUNK_BYTES`."""

    async def keep(self, node: str, file_id: bytes) -> None:
        """Have a node keep a file that this one has; on return it is durable there."""

    async def lacking(self, node: str, file_ids: Sequence[bytes]) -> list[bytes]:
        """Those of at most 500 files that a node does not have."""


def homes(file_id: bytes, nodes: Iterable[str]) -> list[str]:
    """Nodes in the order in which they are homes of a file; the first `HOMES` are."""

    def score(node: str) -> tuple[bytes, str]:
        return hashlib.sha256(node.encode() + b"\0" + file_id).digest(), node

    return sorted(nodes, key=score, reverse=True)


class SharedBlobs:
    """One node's view of the files of all; implements `Blobs`.

    Call `open` before everything else, and `close` before that of the media service, which waits
    for what is under way here.

    Args:
        local: this node's own blobs, in a folder.
        folder: where copies are made; on the same file system as the blobs, so that a finished
            one is linked.
        peers: the other nodes.
        node_name: this node.
    """

    def __init__(self, local: BlobStore, folder: Path, peers: BlobPeers, node_name: str) -> None:
        self.local = local
        self._folder = folder
        self._peers = peers
        self._name = node_name
        self._copies: dict[bytes, asyncio.Task[bool]] = {}
        self._seconds: set[asyncio.Task[bool]] = set()
        self._room = asyncio.Semaphore(MAX_COPIES)
        self._numbers = 0
        self._closing = False

    async def open(self) -> None:
        """Clears what an earlier run left unfinished."""

        def clear() -> None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in self._folder.glob("*.part"):
                path.unlink()

        await asyncio.to_thread(clear)

    async def close(self) -> None:
        """Ends the copies that are being made, here and for uploads of this node."""
        self._closing = True
        ending = [*self._copies.values(), *self._seconds]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    # -- Blobs ---------------------------------------------------------------------------------

    async def put_file(self, path: Path, sha256: bytes) -> None:
        """Stores the file here, and on a home of it besides; both are durable on return.

        Raises:
            BlobError: the disk failed, or no other node could keep it now. Trying again may help.
        """
        await self.local.put_file(path, sha256)
        if self._closing:
            raise BlobError("this node is going down")
        second = asyncio.get_running_loop().create_task(self._second_copy(sha256))
        self._seconds.add(second)
        second.add_done_callback(self._seconds.discard)
        try:
            kept = await asyncio.shield(second)
        except asyncio.CancelledError:
            if second.cancelled() and self._closing:
                raise BlobError("this node is going down") from None
            raise
        if not kept and not self._peers.is_alone():
            raise BlobError(f"no second node keeps blob {sha256.hex()} now")

    async def size(self, sha256: bytes) -> int | None:
        """The file's size in bytes, wherever it is; None if no node that answers has it.

        Raises:
            BlobError: it is not here, and not all nodes could be asked.
        """
        size = await self.local.size(sha256)
        if size is not None:
            return size
        failed: PeerFailed | None = None
        for node in self._sources(sha256):
            try:
                size = await self._peers.size(node, sha256)
            except PeerFailed as error:
                failed = error
                continue
            if size is not None:
                return size
        if failed is not None:
            raise BlobError(f"cannot look everywhere for blob {sha256.hex()}") from failed
        return None

    async def open_range(self, sha256: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """Yields the bytes from `start` up to `end`; the file is fetched first where need be.

        Raises:
            BlobMissing: no node has it.
            BlobError: none that has it could be reached, or a disk failed.
        """
        if await self.local.size(sha256) is None:
            await self.fetch(sha256)
        async for chunk in self.local.open_range(sha256, start, end):
            yield chunk

    # -- copies --------------------------------------------------------------------------------

    async def fetch(self, sha256: bytes, *, first: str | None = None) -> bool:
        """Have a file here; whether it is. `first` is a node that has it.

        Several who ask at once share one copy, which goes on when one of them gives up.

        Raises:
            BlobError: the own disk failed.
        """
        if await self.local.size(sha256) is not None:
            return True
        if self._closing:
            raise BlobError("this node is going down")
        task = self._copies.get(sha256)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._copy(sha256, first))
            self._copies[sha256] = task
            task.add_done_callback(lambda done: self._copied(sha256, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and self._closing:
                raise BlobError("this node is going down") from None
            raise

    def _copied(self, sha256: bytes, task: asyncio.Task[bool]) -> None:
        del self._copies[sha256]
        if not task.cancelled() and task.exception() is not None:
            log = structlog.get_logger("palaver.media")
            log.warning("media_copy_failed", file=sha256.hex(), error=str(task.exception()))

    def _sources(self, sha256: bytes, first: str | None = None) -> list[str]:
        """The other nodes in the order in which they are likely to have a file."""
        sources = homes(sha256, self._peers.nodes())
        return sources if first is None else [first, *(each for each in sources if each != first)]

    async def _copy(self, sha256: bytes, first: str | None) -> bool:
        async with self._room:
            self._numbers += 1
            part = self._folder / f"{sha256.hex()}.{self._numbers}.part"
            try:
                sources = self._sources(sha256, first)
                # Where one breaks off, the next goes on. If the whole is wrong then, nobody knows
                # whose fault that is: each must give it alone.
                if await self._take(part, sha256, sources):
                    return True
                for source in sources:
                    if len(sources) > 1 and await self._take(part, sha256, [source]):
                        return True
                return False
            except OSError as error:
                raise BlobError(f"cannot copy blob {sha256.hex()}: {error}") from error
            finally:
                with contextlib.suppress(FileNotFoundError):
                    part.unlink()

    async def _take(self, part: Path, sha256: bytes, sources: Sequence[str]) -> bool:
        """Copy a file from some nodes, the first that has it first; whether it is a blob now."""
        await asyncio.to_thread(part.touch)
        writer = await asyncio.to_thread(PartWriter, part, 0, hashlib.sha256(), None)
        size: int | None = None
        try:
            for source in sources:
                try:
                    found = await self._peers.size(source, sha256)
                    if found is None or (size is not None and found != size):
                        continue
                    size = found
                    await self._fill(writer, source, sha256, size)
                except PeerFailed:
                    continue
                break
        finally:
            await asyncio.to_thread(writer.close)
        if size is None or writer.end != size:
            return False
        if await asyncio.to_thread(hash_file, part, size) != sha256:
            log = structlog.get_logger("palaver.media")
            log.error("media_copy_wrong", file=sha256.hex(), nodes=list(sources))
            return False
        await self.local.put_file(part, sha256)
        return True

    async def _fill(self, writer: PartWriter, source: str, sha256: bytes, size: int) -> None:
        """Fetch from where the copy is up to the end, some chunks ahead; raises PeerFailed."""
        asked_to = writer.end
        under_way: deque[asyncio.Task[bytes]] = deque()
        try:
            while writer.end < size:
                while asked_to < size and len(under_way) < WINDOW:
                    length = min(CHUNK_BYTES, size - asked_to)
                    asking = self._peers.fetch(source, sha256, asked_to, length)
                    under_way.append(asyncio.ensure_future(asking))
                    asked_to += length
                expected = min(CHUNK_BYTES, size - writer.end)
                data = await under_way[0]
                under_way.popleft()
                if len(data) != expected:
                    raise PeerFailed(f"{source} sent {len(data)} bytes, not {expected}")
                await asyncio.to_thread(writer.write, data)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _second_copy(self, sha256: bytes) -> bool:
        """Have another node keep a file that is here, its homes first; whether one does."""
        for node in self._sources(sha256):
            try:
                await self._peers.keep(node, sha256)
            except PeerFailed:
                continue
            return True
        return False

    # -- what was away -------------------------------------------------------------------------

    async def sweep(self, now_ms: int) -> int:
        """Gives the files that are here to those of their homes that lack them; how many copies.

        What fails is left to the next sweep.
        """
        made, waiting = 0, dict[str, list[bytes]]()
        try:
            async for sha256 in self.local.hashes():
                for node in homes(sha256, [*self._peers.nodes(), self._name])[:HOMES]:
                    due = waiting.setdefault(node, [])
                    due.append(sha256)
                    if len(due) >= _ASKED_AT_ONCE:
                        made += await self._give(node, waiting.pop(node))
            for node, due in waiting.items():
                made += await self._give(node, due)
        except BlobError as error:
            structlog.get_logger("palaver.media").warning("media_sweep_failed", error=str(error))
        return made

    async def _give(self, node: str, sha256s: list[bytes]) -> int:
        made = 0
        if node == self._name or self._closing:
            return made
        with contextlib.suppress(PeerFailed):
            for sha256 in await self._peers.lacking(node, sha256s):
                await self._peers.keep(node, sha256)
                made += 1
        return made
