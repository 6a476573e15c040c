"""One PATCH of an upload: bytes in, durable offset out."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

from palaver.transport.http.media_port import Checksum, MediaCode, MediaRefused, UploadState

from .media_files import PartWriter, UploadFolder, UploadRecord
from .media_ports import MediaLimits, MediaStats
from .media_refusals import disk_refusal

if TYPE_CHECKING:
    from hashlib import _Hash

T = TypeVar("T")


class Upload:
    """An upload in memory: its record, and who is at work on it."""

    __slots__ = ("busy", "hasher", "record", "storing")

    def __init__(self, record: UploadRecord) -> None:
        self.record = record
        self.busy = False
        """Whether a piece (or its creation) holds it."""
        self.storing: asyncio.Task[None] | None = None
        # A running hash cannot be saved: after a restart only an untouched upload can have one,
        # any other is hashed from its part file at the end.
        self.hasher: _Hash | None = None if record.offset_bytes else hashlib.sha256()

    def expired(self, now_ms: int) -> bool:
        """Whether its time is over and nobody is at work on it."""
        at_work = self.busy or self.storing is not None
        return now_ms >= self.record.expires_ms and not at_work


class Workshop(Protocol):
    """What a piece uses of the service that made it."""

    files: UploadFolder
    limits: MediaLimits
    stats: MediaStats

    def blocking(self, fn: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Runs `fn` in one of the service's threads."""

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` so that the end of the service waits for it."""

    def completed(self, upload: Upload) -> Awaitable[UploadState]:
        """Stores the file if every byte is here; then the upload's state."""


class Piece:
    """A running PATCH; holds its upload until it is released.

    The work of a piece goes through threads one job at a time. A cancelled caller leaves its job
    running; whatever comes next waits for it.
    """

    __slots__ = ("_checksum", "_job", "_over", "_promised", "_shop", "_start", "_upload", "_writer")

    def __init__(
        self, shop: Workshop, upload: Upload, writer: PartWriter, checksum: Checksum | None
    ) -> None:
        self._shop = shop
        self._upload = upload
        self._writer = writer
        self._checksum = checksum
        self._start = upload.record.offset_bytes
        # What the record on disk may say: it is ahead of the one in memory while it is written.
        self._promised = self._start
        self._job: asyncio.Future[Any] | None = None
        self._over = False

    @property
    def remaining_bytes(self) -> int:
        """How many bytes the upload still lacks."""
        return self._upload.record.size_bytes - self._writer.end

    async def write(self, data: bytes | bytearray) -> None:
        """Appends `data`; every `checkpoint_bytes` the offset becomes durable on the way."""
        assert len(data) <= self.remaining_bytes, "more bytes than the upload has room for"
        try:
            await self._do(self._writer.write, data)
            self._shop.stats.received_bytes += len(data)
            # A piece with a checksum counts whole or not at all, so nothing of it may become
            # durable before the last byte was checked.
            done = self._writer.end - self._upload.record.offset_bytes
            if self._checksum is None and done >= self._shop.limits.checkpoint_bytes:
                await self._checkpoint(self._writer.end)
        except OSError as error:
            raise disk_refusal(error) from error

    async def finish(self) -> UploadState:
        """Checks the piece, makes it durable, and stores the file if it was the last."""
        if self._checksum is not None and self._writer.check_digest != self._checksum.digest:
            await self.discard()
            raise MediaRefused(MediaCode.CHECKSUM_MISMATCH, "the piece has another checksum")
        self._checksum = None  # satisfied: from here on the piece counts, whatever interrupts
        try:
            await self._checkpoint(self._writer.end)
        except OSError as error:
            raise disk_refusal(error) from error
        await self._close()
        return await self._shop.completed(self._upload)

    async def discard(self) -> None:
        """Takes the piece back."""
        try:
            await self._rewind()
        except OSError as error:
            raise disk_refusal(error) from error
        await self._close()

    async def release(self) -> None:
        """Ends the piece; what arrived without a checksum is kept."""
        if not self._over:
            await asyncio.shield(self._shop.background(self._settle()))

    async def _settle(self) -> None:
        await self._idle()
        try:
            if self._checksum is not None:
                await self._rewind()
            elif self._writer.end > self._upload.record.offset_bytes:
                await self._checkpoint(self._writer.end)
        except OSError as error:
            # The record still tells the last durable offset, and the client is told that one.
            structlog.get_logger("palaver.media").warning(
                "media_piece_lost", upload=self._upload.record.upload_id, error=str(error)
            )
            self._upload.hasher = None
        finally:
            await self._close()

    async def _checkpoint(self, offset: int) -> None:
        """Makes the part durable up to `offset`, then says so in the record."""
        await self._do(self._writer.sync)
        await self._save(offset)

    async def _rewind(self) -> None:
        if self._promised != self._start:
            await self._save(self._start)
        await self._do(self._writer.rewind)

    async def _save(self, offset: int) -> None:
        self._promised = offset
        record = dataclasses.replace(self._upload.record, offset_bytes=offset)
        await self._do(self._shop.files.save, record)
        self._upload.record = record

    async def _close(self) -> None:
        await self._idle()
        if self._over:
            return
        self._over = True
        # The hash may run ahead of what became durable; then it describes bytes that are not
        # part of the upload.
        whole = self._writer.end == self._upload.record.offset_bytes
        self._upload.hasher = self._writer.hasher if whole else None
        self._job = self._shop.blocking(self._writer.close)
        self._job.add_done_callback(self._closed)
        await asyncio.shield(self._job)

    def _closed(self, closing: asyncio.Future[None]) -> None:
        """Lets the upload go, even if whoever closed the piece has been cancelled."""
        self._upload.busy = False
        if not closing.cancelled():
            closing.exception()

    async def _idle(self) -> None:
        """Waits for the job that a cancelled caller left behind."""
        if self._job is not None and not self._job.done():
            await asyncio.wait([self._job])

    async def _do(self, fn: Callable[..., T], *args: Any) -> T:
        await self._idle()
        self._job = self._shop.blocking(fn, *args)
        return await asyncio.shield(self._job)


class EmptyPiece:
    """A PATCH of no bytes at the end of an upload whose every byte is here.

    It lets a client ask again for a file that could not be stored at the first try.
    """

    __slots__ = ("_checksum", "_shop", "_upload")

    def __init__(self, shop: Workshop, upload: Upload, checksum: Checksum | None) -> None:
        self._shop = shop
        self._upload = upload
        self._checksum = checksum

    @property
    def remaining_bytes(self) -> int:
        """Nothing is missing."""
        return 0

    async def write(self, data: bytes | bytearray) -> None:
        """There is nothing to write."""
        assert not data, "a complete upload takes no bytes"

    async def finish(self) -> UploadState:
        """Stores the file if that is still to be done."""
        check = self._checksum
        if check is not None and hashlib.new(check.algorithm).digest() != check.digest:
            raise MediaRefused(MediaCode.CHECKSUM_MISMATCH, "the piece has another checksum")
        return await self._shop.completed(self._upload)

    async def discard(self) -> None:
        """There is nothing to take back."""

    async def release(self) -> None:
        """There is nothing to end."""


def abandon(upload: Upload, opening: asyncio.Future[PartWriter]) -> None:
    """Closes the part file whose opener was cancelled meanwhile."""
    if opening.exception() is None:
        opening.result().close()
    upload.busy = False
