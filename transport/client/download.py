"""One download by ranges: resumed where it broke, verified against the file's id."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

import aiohttp

from palaver.transport.client.errors import HashMismatch, Misuse, ProtocolViolation, TooLarge
from palaver.transport.client.http import Again, Http, Tries
from palaver.transport.client.model import FileId
from palaver.transport.client.upload import Progress

__all__ = ["MAX_IN_MEMORY_BYTES", "Download", "Range", "fetch", "save"]

Range = tuple[int, int | None]
"""First byte, and the end that is not included; None is the file's end."""

MAX_IN_MEMORY_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_WRITE_BYTES: Final = 1024 * 1024
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})\Z", re.ASCII)


class Download:
    """The bytes of a file, or of a range of it, as an async iterator.

    ``total_bytes`` is how many there are, known from the first piece on.
    """

    def __init__(self, http: Http, file_id: FileId, wanted: Range | None) -> None:
        start, end = wanted or (0, None)
        if start < 0 or (end is not None and end <= start):
            raise Misuse(f"not a range of bytes: {wanted}")
        self._http = http
        self._path = f"/media/{FileId(file_id)}"
        self._file_id = file_id
        self._start = start
        self._end = end
        self._position = start
        self._hash = hashlib.sha256() if wanted is None else None
        self.total_bytes: int | None = None

    @property
    def done_bytes(self) -> int:
        """How many bytes are here."""
        return self._position - self._start

    def had(self, data: bytes) -> None:
        """These bytes are here from an earlier try; go on behind them."""
        self._position += len(data)
        if self._hash is not None:
            self._hash.update(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes; raises HashMismatch at the end of a whole file that is another.

        Raises:
            NoSuchFile, ConnectionFailed, ...: It cannot be had.
        """
        tries = Tries(self._http)
        while not self._complete():
            try:
                async for chunk in self._one_try():
                    self.had(chunk)
                    tries.progress()
                    yield chunk
            except Again as again:
                await tries.pause(again)
        if self._hash is not None and self._hash.digest() != self._file_id:
            raise HashMismatch(f"what arrived is not {self._file_id}")

    def _complete(self) -> bool:
        return self.total_bytes is not None and self.done_bytes >= self.total_bytes

    async def _one_try(self) -> AsyncIterator[bytes]:
        headers = {}
        if self._position or self._end is not None:
            last = "" if self._end is None else str(self._end - 1)
            headers["Range"] = f"bytes={self._position}-{last}"
        accept = frozenset({206, 416} if headers else {200})
        async with self._http.request("GET", self._path, headers, accept=accept) as response:
            if response.status == 416:
                await self._beyond(response)
                return
            if headers:
                self._begin_range(response.headers.get("Content-Range", ""))
            else:
                self.total_bytes = response.content_length
            if self.total_bytes is None:
                raise ProtocolViolation("a download without a length")
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                if self.done_bytes + len(chunk) > self.total_bytes:
                    raise ProtocolViolation("a download longer than it said")
                yield chunk

    async def _beyond(self, response: aiohttp.ClientResponse) -> None:
        """Nothing lies behind what is here: it is the whole, or it is no part of this file."""
        size = response.headers.get("Content-Range", "").removeprefix("bytes */")
        if not self.done_bytes or not (size.isascii() and size.isdigit()):
            raise await self._http.refusal(response)
        if int(size) != self._position:
            raise HashMismatch(f"{self._position} bytes are here, but {self._file_id} has {size}")
        self.total_bytes = self.done_bytes

    def _begin_range(self, content_range: str) -> None:
        found = _CONTENT_RANGE.match(content_range)
        if found is None or int(found[1]) != self._position:
            raise ProtocolViolation(f"asked from byte {self._position}, got {content_range!r}")
        self.total_bytes = int(found[2]) + 1 - self._start


async def fetch(download: Download, progress: Progress | None) -> bytes:
    """Take a download into memory; raises TooLarge beyond MAX_IN_MEMORY_BYTES."""
    data = bytearray()
    async for chunk in download.chunks():
        if (download.total_bytes or 0) > MAX_IN_MEMORY_BYTES:
            raise TooLarge(f"{download.total_bytes} bytes are too many for memory: give a path")
        data += chunk
        if progress is not None:
            progress(download.done_bytes, download.total_bytes or 0)
    return bytes(data)


async def save(
    download: Download, file_id: FileId, to: Path, *, whole: bool, progress: Progress | None
) -> None:
    """Write a download to a path, which exists only when everything is there and verified.

    A part that an earlier try left beside it is used again.
    """
    part = to.with_name(f".{to.name}.{str(file_id)[:16]}.part")
    file = await asyncio.to_thread(_open_part, part, whole)
    try:
        if whole:
            while data := await asyncio.to_thread(file.read, _WRITE_BYTES):
                download.had(data)
        await _write_all(download, file, progress)
        await asyncio.to_thread(_sync, file)
    except HashMismatch:
        await asyncio.to_thread(_discard, file, part)
        raise
    finally:
        await asyncio.to_thread(file.close)
    await asyncio.to_thread(part.replace, to)


async def _write_all(download: Download, file: BinaryIO, progress: Progress | None) -> None:
    buffer = bytearray()
    try:
        async for chunk in download.chunks():
            buffer += chunk
            if len(buffer) >= _WRITE_BYTES:
                full, buffer = buffer, bytearray()
                await asyncio.to_thread(file.write, full)
            if progress is not None:
                progress(download.done_bytes, download.total_bytes or 0)
    finally:
        # What arrived before a failure is where the next try begins.
        file.write(buffer)


def _open_part(part: Path, keep: bool) -> BinaryIO:
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | (0 if keep else os.O_TRUNC), 0o600)
    return os.fdopen(descriptor, "r+b")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _discard(file: BinaryIO, part: Path) -> None:
    file.truncate(0)
    part.unlink(missing_ok=True)
