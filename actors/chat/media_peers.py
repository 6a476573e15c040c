"""Files between nodes over the distribution: what a node asks of others, and what it does for them.

On every node of a cluster runs a process `media.peers`. It answers calls whose requests and answers
are plain data: `(verb, ...)` and `(True, value)` or `(False, reason)`. Each request is served by a
process of its own, so that a slow disk holds up nobody else; beyond a number of them it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

from palaver.actors.distribution import Distribution
from palaver.actors.runtime import (
    NOREPLY,
    Down,
    From,
    GenServer,
    NoReply,
    ProcessContext,
    RuntimeFault,
)
from palaver.storage.blobs import CHUNK_BYTES, BlobError

from .media_shared import PeerFailed, SharedBlobs

__all__ = ["MEDIA_PEERS", "DistributedPeers", "MediaPeers"]

MEDIA_PEERS: Final = "media.peers"
"""The name under which a node serves its files to the others."""

ASK_TIMEOUT_S: Final = 10.0
"""How long a node may take for one chunk, or to say what it has."""
KEEP_TIMEOUT_S: Final = 600.0
"""How long a node may take to copy a whole file; a lost connection ends it sooner."""
MAX_SERVED: Final = 128
"""Requests that one node serves at once."""
_MAX_ASKED: Final = 500


class DistributedPeers:
    """The other nodes over the distribution; a `BlobPeers`.

    Args:
        distribution: this node's.
        members: the names of all nodes that belong to the cluster, up or not, this one included.
    """

    def __init__(self, distribution: Distribution, members: Callable[[], Sequence[str]]) -> None:
        self._distribution = distribution
        self._members = members

    def nodes(self) -> Sequence[str]:
        """The other members that are connected."""
        members = frozenset(self._members())
        return [each for each in self._distribution.nodes() if each in members]

    def is_alone(self) -> bool:
        """Whether this is the only member."""
        return set(self._members()) <= {self._distribution.name}

    async def size(self, node: str, file_id: bytes) -> int | None:
        """How large a file is that a node has; None if it does not have it."""
        return cast("int | None", await self._ask(node, ("size", file_id)))

    async def fetch(self, node: str, file_id: bytes, offset: int, length: int) -> bytes:
        """`length` bytes of a file that a node has."""
        return cast("bytes", await self._ask(node, ("fetch", file_id, offset, length)))

    async def keep(self, node: str, file_id: bytes) -> None:
        """Have a node keep a file that this one has; on return it is durable there."""
        request = ("keep", file_id, self._distribution.name)
        if await self._ask(node, request, KEEP_TIMEOUT_S) is not True:
            raise PeerFailed(f"{node} could not copy {file_id.hex()}")

    async def lacking(self, node: str, file_ids: Sequence[bytes]) -> list[bytes]:
        """Those of some files that a node does not have."""
        return list(await self._ask(node, ("lacking", list(file_ids))))

    async def _ask(self, node: str, request: Any, timeout_s: float = ASK_TIMEOUT_S) -> Any:
        there = self._distribution.at(node, MEDIA_PEERS)
        try:
            done, value = await self._distribution.node.call(there, request, timeout_s=timeout_s)
        except RuntimeFault as error:
            raise PeerFailed(f"{node}: {error}") from error
        if not done:
            raise PeerFailed(f"{node}: {value}")
        return value


class MediaPeers(GenServer):
    """Serves this node's files to the others; registered as `MEDIA_PEERS`."""

    __slots__ = ("_blobs", "_serving")

    def init(self, blobs: SharedBlobs) -> None:
        """Serve these files."""
        self._blobs = blobs
        self._serving: set[Any] = set()

    def handle_call(self, request: Any, from_: From) -> NoReply | tuple[bool, str]:
        """Let a process serve a request of another node, which may be any data."""
        if len(self._serving) >= MAX_SERVED:
            return False, "too many requests at once"
        work = self._work(request)
        if work is None:
            return False, "not understood"
        self._serving.add(self.monitor(self.spawn(_serve, work, from_)))
        return NOREPLY

    def handle_info(self, message: Any) -> None:
        """One is served."""
        if isinstance(message, Down):
            self._serving.discard(message.ref)

    def _work(self, request: Any) -> Callable[[], Awaitable[Any]] | None:
        blobs = self._blobs
        match request:
            case ("size", bytes(file_id)) if len(file_id) == 32:
                return lambda: blobs.local.size(file_id)
            case ("fetch", bytes(file_id), int(offset), int(length)) if (
                len(file_id) == 32 and offset >= 0 and 0 <= length <= CHUNK_BYTES
            ):
                return lambda: _read(blobs, file_id, offset, length)
            case ("keep", bytes(file_id), str(holder)) if len(file_id) == 32:
                return lambda: blobs.fetch(file_id, first=holder)
            case ("lacking", [*file_ids]) if len(file_ids) <= _MAX_ASKED and all(
                isinstance(each, bytes) and len(each) == 32 for each in file_ids
            ):
                return lambda: _lacking(blobs, file_ids)
        return None


async def _serve(ctx: ProcessContext, work: Callable[[], Awaitable[Any]], from_: From) -> None:
    try:
        ctx.reply(from_, (True, await ctx.bridge(work())))
    except (BlobError, asyncio.CancelledError) as error:
        ctx.reply(from_, (False, str(error) or "this node is going down"))


async def _read(blobs: SharedBlobs, file_id: bytes, offset: int, length: int) -> bytes:
    chunks = [each async for each in blobs.local.open_range(file_id, offset, offset + length)]
    return b"".join(chunks)


async def _lacking(blobs: SharedBlobs, file_ids: Sequence[bytes]) -> list[bytes]:
    return [each for each in file_ids if await blobs.local.size(each) is None]
