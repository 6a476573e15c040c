"""Blobs: whole files kept under the SHA-256 of their content.

A blob never changes: its name is its hash, so storing the same content twice stores it once,
a reader may cache it for ever, and a copy can always be checked. The store keeps no other fact
about a file; who may read it and what type it has is the tables' knowledge.

Engines, all read through `obstore`:

* a local folder (the default),
* anything `obstore` opens by URL: `s3://bucket/prefix` (configured by the usual `AWS_*`
  variables), `gs://`, `az://`,
* `memory:///` for tests.

A blob lies at `aa/bb/<64 hex digits>`, where `aabb` begins its hash: 65,536 folders keep each
of them small. `put_file` returns when the blob is durable. The local engine does not write
through `obstore`, whose local writer renames without any fsync; see `blob_local`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from .blob_local import blob_path, put_durably

if TYPE_CHECKING:
    from obstore.store import ObjectStore

HASH_BYTES: Final = 32
CHUNK_BYTES: Final = 256 * 1024
"""No chunk of `open_range` is larger."""

# A range is fetched window by window instead of as one stream: a stream that a slow reader
# keeps open for minutes runs into the HTTP client's timeout, a window does not.
_LOCAL_WINDOW_BYTES: Final = CHUNK_BYTES
_REMOTE_WINDOW_BYTES: Final = 4 * 1024 * 1024

_LISTED_AT_ONCE: Final = 500
_BLOB_NAME: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)

_PART_BYTES: Final = 8 * 1024 * 1024
_PARTS_AT_ONCE: Final = 4
_MAX_PARTS: Final = 9_000  # S3 takes 10,000


class BlobError(Exception):
    """The blob engine failed: unreachable, refused, out of space. Trying again may help."""


class BlobMissing(BlobError):
    """There is no blob of that hash."""


class BlobStore:
    """Content-addressed files in a local folder or an object store.

    All methods belong to one event loop; what blocks runs in threads. Memory is bounded by
    32 MiB per remote `put_file`, by 4 MiB per open remote range and 256 KiB per local one.
    """

    __slots__ = ("_folder", "_store", "_url", "_window_bytes")

    def __init__(self, store: ObjectStore, *, url: str, folder: Path | None = None) -> None:
        self._store = store
        self._url = url
        self._folder = folder
        self._window_bytes = _REMOTE_WINDOW_BYTES if folder is None else _LOCAL_WINDOW_BYTES

    @classmethod
    def open(cls, where: Path | str) -> BlobStore:
        """Opens the store in a folder (made if missing) or behind a URL.

        Raises:
            BlobError: the URL names no engine, or its configuration is wrong.
        """
        text = str(where)
        if isinstance(where, str) and "://" in text:
            parts = urlsplit(text)
            if parts.scheme != "file":
                try:
                    return cls(from_url(text), url=text)
                except (BaseError, ValueError) as error:
                    raise BlobError(f"cannot open the blob store {text}: {error}") from error
            where = unquote(parts.path)
        folder = Path(where).resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(LocalStore(prefix=folder), url=folder.as_uri(), folder=folder)

    @property
    def url(self) -> str:
        """Where the blobs lie, for people: `file:///...`, `s3://...`, `memory:///`."""
        return self._url

    async def put_file(self, path: Path, sha256: bytes) -> None:
        """Stores the file at `path`; when this returns, the blob survives a power cut.

        The caller vouches that `sha256` is the hash of the content, and from now on does not
        change the file (the local engine links it instead of copying it) but may delete it.
        Content that is there already is left as it is.

        Raises:
            BlobError: the engine failed; nothing can be read under that hash because of this.
        """
        key = blob_path(sha256)
        try:
            if self._folder is not None:
                await asyncio.to_thread(put_durably, path, self._folder, key)
                return
            size_bytes = (await asyncio.to_thread(path.stat)).st_size
            if await self.size(sha256) == size_bytes:
                return
            await obstore.put_async(
                self._store,
                key,
                path,
                chunk_size=max(_PART_BYTES, -(-size_bytes // _MAX_PARTS)),
                max_concurrency=_PARTS_AT_ONCE,
            )
        except (BaseError, OSError) as error:
            raise BlobError(f"cannot store blob {sha256.hex()}: {error}") from error

    async def size(self, sha256: bytes) -> int | None:
        """The blob's size in bytes, or None when there is no such blob."""
        try:
            meta = await obstore.head_async(self._store, blob_path(sha256))
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise BlobError(f"cannot look for blob {sha256.hex()}: {error}") from error
        return int(meta["size"])

    async def exists(self, sha256: bytes) -> bool:
        """Whether there is such a blob."""
        return await self.size(sha256) is not None

    async def open_range(self, sha256: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """Yields the bytes from `start` up to, not including, `end`, in chunks <= 256 KiB.

        Nothing is read ahead of the consumer by more than one window.

        Raises:
            BlobMissing: there is no such blob (any more).
            BlobError: the engine failed, or the blob is shorter than `end`.
        """
        if not 0 <= start <= end:
            raise ValueError(f"not a range: {start} to {end}")
        key = blob_path(sha256)
        while start < end:
            stop = min(end, start + self._window_bytes)
            try:
                window = await obstore.get_range_async(self._store, key, start=start, end=stop)
            except FileNotFoundError as error:
                raise BlobMissing(f"there is no blob {sha256.hex()}") from error
            except (BaseError, OSError) as error:
                raise BlobError(f"cannot read blob {sha256.hex()}: {error}") from error
            if len(window) != stop - start:
                raise BlobError(f"blob {sha256.hex()} ends before byte {stop}")
            view = memoryview(window)
            for at in range(0, len(view), CHUNK_BYTES):
                yield bytes(view[at : at + CHUNK_BYTES])
            start = stop

    async def hashes(self) -> AsyncIterator[bytes]:
        """The hashes of all blobs, in no order; what is stored or deleted meanwhile may be missed.

        Raises:
            BlobError: the engine failed.
        """
        try:
            async for metas in obstore.list(self._store, chunk_size=_LISTED_AT_ONCE):
                for meta in metas:
                    name = str(meta["path"]).rpartition("/")[2]
                    if _BLOB_NAME.match(name):
                        yield bytes.fromhex(name)
        except (BaseError, OSError) as error:
            raise BlobError(f"cannot list the blobs: {error}") from error

    async def delete(self, sha256: bytes) -> None:
        """Removes the blob; removing one that is not there is no error."""
        try:
            await obstore.delete_async(self._store, blob_path(sha256))
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise BlobError(f"cannot delete blob {sha256.hex()}: {error}") from error
