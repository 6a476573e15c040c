"""The media service: uploads, quotas and downloads of files, over a blob store and a ledger.

It is the `MediaPort` behind the HTTP handlers and knows nothing about chat: who may fetch what
is the `FileLedger`'s answer. An upload's life:

1. `create_upload` reserves its full size in the account's quota and makes its record durable.
2. Pieces append to the part file. An offset that was answered is durable; after a crash at most
   `checkpoint_bytes` of a running piece are sent again.
3. With the last byte the content's hash is known. It is noted in the record, the blob is stored,
   the ledger told, and the record marked as stored, each step durable before the next and each
   harmless to repeat: a crash between any two is made good by the next start.
4. The finished record stays until the upload's expiry, so that a client whose last answer was
   lost learns the file's id from `HEAD`. What is unfinished at its expiry is removed by `sweep`.

One event loop owns the service; files are touched in its threads only.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from palaver.storage.blobs import BlobError
from palaver.transport.http.media_port import (
    Checksum,
    MediaCode,
    MediaRefused,
    NewUpload,
    StoredFile,
    UploadPiece,
    UploadState,
)

from .media_book import UploadBook
from .media_files import PartWriter, UploadFolder, UploadRecord, hash_file
from .media_piece import EmptyPiece, Piece, Upload, abandon
from .media_ports import Blobs, FileInfo, FileLedger, MediaLimits, MediaStats, WallClock
from .media_refusals import blob_refusal, disk_refusal
from .media_tokens import MediaKeyError, TokenClaims, TokenSigner

__all__ = [
    "FileInfo",
    "FileLedger",
    "MediaKeyError",
    "MediaLimits",
    "MediaService",
    "MediaStats",
    "TokenClaims",
    "TokenSigner",
    "WallClock",
]

T = TypeVar("T")


class MediaService:
    """Implements `MediaPort`. Call `open` before, and `close` after everything else.

    Args:
        clock: the wall clock.
        random_bytes: a source of unguessable bytes (upload ids).
        blobs: where whole files go: a `BlobStore`, or `SharedBlobs` on a node of a cluster.
        folder: where half-done uploads lie; made if missing.
        ledger: who uploaded and who may fetch.
        signer: makes and checks the bearer tokens.
        is_device_valid: whether an account's device exists and is not revoked.
        limits: see `MediaLimits`.
    """

    def __init__(
        self,
        *,
        clock: WallClock,
        random_bytes: Callable[[int], bytes],
        blobs: Blobs,
        folder: Path,
        ledger: FileLedger,
        signer: TokenSigner,
        is_device_valid: Callable[[str, int], Awaitable[bool]],
        limits: MediaLimits | None = None,
    ) -> None:
        self.limits = limits or MediaLimits()
        self.files = UploadFolder(folder)
        self.stats = MediaStats()
        self._clock = clock
        self._random_bytes = random_bytes
        self._blobs = blobs
        self._ledger = ledger
        self._signer = signer
        self._is_device_valid = is_device_valid
        self._book = UploadBook()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Takes up the uploads that an earlier run left, and finishes what it had all bytes of."""
        self._threads = ThreadPoolExecutor(self.limits.threads, thread_name_prefix="media")
        found = await self.blocking(self.files.load)
        self.stats.records_damaged += len(found.damaged)
        if found.damaged:
            structlog.get_logger("palaver.media").warning("media_damaged", files=found.damaged)
        for record in found.records:
            self._book.enter(Upload(record))
        if any(each.complete and not each.stored for each in found.records):
            self.background(self._finish_left_over())

    async def close(self) -> None:
        """Refuses new work, waits for what is under way, ends the threads. Close the HTTP first."""
        self._closing = True
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown)

    async def sweep(self, now_ms: int) -> int:
        """Removes what expired by `now_ms` and is not in use; the number. Nothing after `close`."""
        removed = 0
        for upload in [each for each in self._book if each.expired(now_ms)]:
            if self._closing:
                break
            await self._expire(upload)
            removed += 1
        return removed

    @property
    def open_uploads(self) -> int:
        """How many uploads are begun and not stored yet."""
        return self._book.open

    # MediaPort

    @property
    def max_file_bytes(self) -> int:
        """The largest file that is taken."""
        return self.limits.max_file_bytes

    def refused(self, code: MediaCode) -> None:
        """Counts a refusal."""
        self.stats.refused[code.value] += 1

    def issue_token(self, account: str, device: int) -> tuple[str, int]:
        """A bearer token for the device and its expiry in unix milliseconds."""
        expires_ms = self._clock.time_ms() + int(self.limits.token_ttl_s * 1000)
        return self._signer.sign(account, device, expires_ms), expires_ms

    async def authenticate(self, token: str) -> str | None:
        """The account of a valid token whose device is still valid."""
        claims = self._signer.verify(token, self._clock.time_ms())
        if claims is None or not await self._is_device_valid(claims.account, claims.device):
            return None
        return claims.account

    async def create_upload(self, account: str, new: NewUpload) -> UploadState:
        """Begins an upload; one of no bytes is finished at once."""
        self._check_open()
        if new.size_bytes > self.limits.max_file_bytes:
            raise MediaRefused(MediaCode.TOO_LARGE, f"files end at {self.limits.max_file_bytes}")
        now_ms = self._clock.time_ms()
        upload = Upload(
            UploadRecord(
                upload_id=self._random_bytes(16).hex(),
                account=account,
                size_bytes=new.size_bytes,
                offset_bytes=0,
                media_type=new.media_type,
                name=new.name,
                metadata=new.metadata,
                created_ms=now_ms,
                expires_ms=now_ms + int(self.limits.upload_ttl_s * 1000),
                expected=None if new.sha256 is None else new.sha256.hex(),
            )
        )
        await self._admit(upload, now_ms)
        await asyncio.shield(self.background(self._make(upload)))
        return await self.completed(upload)

    async def upload_state(self, account: str, upload_id: str) -> UploadState:
        """How far the upload is; stores the file first if only that is missing."""
        return await self.completed(self._find(account, upload_id))

    async def begin_piece(
        self,
        account: str,
        upload_id: str,
        offset_bytes: int,
        length_bytes: int | None,
        checksum: Checksum | None,
    ) -> UploadPiece:
        """Opens the upload for a piece; one at a time."""
        upload = self._find(account, upload_id)
        record = upload.record
        if upload.busy:
            raise MediaRefused(MediaCode.UPLOAD_BUSY, "another request writes to this upload")
        if record.offset_bytes != offset_bytes:
            raise MediaRefused(MediaCode.WRONG_OFFSET, f"the upload is at {record.offset_bytes}")
        if length_bytes is not None and offset_bytes + length_bytes > record.size_bytes:
            raise MediaRefused(MediaCode.TOO_LARGE, "more bytes than the upload's length")
        if record.complete:
            return EmptyPiece(self, upload, checksum)
        upload.busy = True
        algorithm = None if checksum is None else checksum.algorithm
        part = self.files.part(upload_id)
        opening = self.blocking(PartWriter, part, offset_bytes, upload.hasher, algorithm)
        try:
            writer = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(partial(abandon, upload))
            raise
        except OSError as error:
            upload.busy = False
            raise disk_refusal(error) from error
        return Piece(self, upload, writer, checksum)

    async def terminate_upload(self, account: str, upload_id: str) -> None:
        """Removes the upload; a file that it has already become stays."""
        upload = self._find(account, upload_id)
        if upload.busy or upload.storing is not None:
            raise MediaRefused(MediaCode.UPLOAD_BUSY, "another request writes to this upload")
        await self._drop(upload)

    async def find_file(self, account: str, file_id: bytes) -> StoredFile | None:
        """The file if the ledger allows it; a blob that should be there and is not is an error."""
        self._check_open()
        info = await self._ledger.may_fetch(account, file_id)
        if info is None:
            return None
        try:
            size_bytes = await self._blobs.size(file_id)
        except BlobError as error:
            raise blob_refusal(error) from error
        if size_bytes != info.size_bytes:
            structlog.get_logger("palaver.media").error("media_blob_wrong", file=file_id.hex())
            raise MediaRefused(MediaCode.UNAVAILABLE, "the file cannot be read now")
        return StoredFile(file_id, info.size_bytes, info.media_type)

    async def open_range(self, file_id: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a found file from `start` up to, not including, `end`."""
        try:
            async for chunk in self._blobs.open_range(file_id, start, end):
                self.stats.sent_bytes += len(chunk)
                yield chunk
        except BlobError as error:
            raise blob_refusal(error) from error

    # What pieces use

    def blocking(self, fn: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Runs `fn` in one of the service's threads."""
        return asyncio.get_running_loop().run_in_executor(self._threads, fn, *args)

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` in a task that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Forgets a task; a defect is logged, because perhaps nobody waits for it any more."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, MediaRefused):
            structlog.get_logger("palaver.media").error("media_task_failed", exc_info=error)

    async def completed(self, upload: Upload) -> UploadState:
        """The upload's state, after storing the file if every byte is here."""
        if upload.record.complete and not upload.record.stored:
            if upload.storing is None:
                upload.storing = self.background(self._store(upload))
                upload.storing.add_done_callback(partial(_stored, upload))
            await asyncio.shield(upload.storing)
        record = upload.record
        return UploadState(
            upload_id=record.upload_id,
            size_bytes=record.size_bytes,
            offset_bytes=record.offset_bytes,
            expires_ms=record.expires_ms,
            metadata=record.metadata,
            file_id=bytes.fromhex(record.digest) if record.stored and record.digest else None,
        )

    # Inside

    def _check_open(self) -> None:
        if self._closing or self._threads is None:
            raise MediaRefused(MediaCode.GOING_AWAY, "the server is going down")

    def _find(self, account: str, upload_id: str) -> Upload:
        """The account's upload; someone else's is as unknown as one that never was."""
        self._check_open()
        upload = self._book.find(account, upload_id)
        if upload is None:
            raise MediaRefused(MediaCode.NO_SUCH_UPLOAD, "there is no such upload")
        if upload.expired(self._clock.time_ms()):
            raise MediaRefused(MediaCode.UPLOAD_EXPIRED, "the upload has expired")
        return upload

    async def _admit(self, upload: Upload, now_ms: int) -> None:
        """Enters a new upload, if number and quota allow it."""
        record = upload.record
        held = self._book.begin(record.account)
        try:
            for each in [each for each in held.uploads.values() if each.expired(now_ms)]:
                await self._expire(each)
            # A file that is stored while the ledger answers may be missing in the answer and no
            # longer be reserved: then the ledger is asked again.
            settled = -1
            while settled != held.settled:
                settled = held.settled
                used_bytes = await self._ledger.used_bytes(record.account)
            # From here to the entry nothing waits: two requests cannot take the same room.
            if held.open >= self.limits.max_open_uploads:
                raise MediaRefused(MediaCode.TOO_MANY, "too many open uploads of this account")
            if self._book.open >= self.limits.max_uploads:
                raise MediaRefused(MediaCode.OVERLOADED, "too many open uploads")
            if used_bytes + held.reserved_bytes + record.size_bytes > self.limits.quota_bytes:
                raise MediaRefused(MediaCode.QUOTA, "the account's storage is used up")
            upload.busy = True
            self._book.enter(upload)
        finally:
            self._book.end_begin(record.account)

    async def _make(self, upload: Upload) -> None:
        """Makes an admitted upload durable, or takes its entry back."""
        try:
            await self.blocking(self.files.create, upload.record)
        except OSError as error:
            self._book.remove(upload)
            raise disk_refusal(error) from error
        upload.busy = False
        self.stats.uploads_created += 1

    async def _store(self, upload: Upload) -> None:
        """Makes a complete upload a file. Every step is durable and may be repeated."""
        files, part = self.files, self.files.part(upload.record.upload_id)
        try:
            if upload.record.digest is None:
                if upload.hasher is not None:
                    digest = upload.hasher.digest()
                else:
                    digest = await self.blocking(hash_file, part, upload.record.size_bytes)
                if upload.record.expected not in {None, digest.hex()}:
                    await self._drop(upload)
                    raise MediaRefused(MediaCode.CHECKSUM_MISMATCH, "the file has another hash")
                record = dataclasses.replace(upload.record, digest=digest.hex())
                await self.blocking(files.save, record)
                upload.record = record
            record = upload.record
            digest = bytes.fromhex(record.digest or "")
            await self._blobs.put_file(part, digest)
            await self._ledger.record_file(
                record.account, digest, record.size_bytes, record.media_type
            )
            record = dataclasses.replace(record, stored=True)
            await self.blocking(files.save, record)
            await self.blocking(files.remove_part, record.upload_id)
        except BlobError as error:
            raise blob_refusal(error) from error
        except OSError as error:
            raise disk_refusal(error) from error
        self._book.settle(upload)
        upload.record = record
        upload.hasher = None
        self.stats.uploads_finished += 1
        for old in self._book.stored_beyond(record.account, self.limits.max_open_uploads):
            await self._drop(old)

    async def _finish_left_over(self) -> None:
        """Stores, one by one, the complete uploads of an earlier run."""
        for upload in [each for each in self._book if each.record.complete]:
            if self._closing:
                return
            with contextlib.suppress(MediaRefused):  # logged where it arose, tried again by HEAD
                await self.completed(upload)

    async def _expire(self, upload: Upload) -> None:
        if not upload.record.stored:
            self.stats.uploads_expired += 1
        await self._drop(upload)

    async def _drop(self, upload: Upload) -> None:
        """Forgets an upload and removes its files."""
        if self._book.remove(upload):
            try:
                await self.blocking(self.files.remove, upload.record.upload_id)
            except OSError as error:
                raise disk_refusal(error) from error


def _stored(upload: Upload, _task: asyncio.Task[None]) -> None:
    """After an attempt to store: the next request may try again."""
    upload.storing = None
