"""What the media service needs from the rest of a node, and its limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol


class WallClock(Protocol):
    """The one thing the media service asks a clock."""

    def time_ms(self) -> int:
        """The wall clock in unix milliseconds."""


class Blobs(Protocol):
    """Where whole files lie: a `BlobStore`, or one that nodes share. All raise `BlobError`."""

    async def put_file(self, path: Path, sha256: bytes) -> None:
        """Stores the file at `path`; when this returns it is as safe as it will be."""

    async def size(self, sha256: bytes) -> int | None:
        """The blob's size in bytes, or None when there is no such blob."""

    def open_range(self, sha256: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in chunks."""


class FileInfo(NamedTuple):
    """A file as the ledger knows it."""

    size_bytes: int
    media_type: str


class FileLedger(Protocol):
    """The durable knowledge of files: who uploaded them and who may fetch them."""

    async def record_file(self, account: str, file_id: bytes, size: int, type: str) -> None:  # noqa: A002
        """Notes that the account uploaded the file; durable on return; again is no change."""

    async def may_fetch(self, account: str, file_id: bytes) -> FileInfo | None:
        """The file, if the account uploaded it or belongs to a conversation it was sent in."""

    async def used_bytes(self, account: str) -> int:
        """The bytes of all files the account uploaded, the same content counted once."""


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Bounds of media; what would exceed one is refused before any byte is taken."""

    max_file_bytes: int = 2 * 1024**3
    quota_bytes: int = 10 * 1024**3
    """Per account: stored files and the full size of open uploads."""
    upload_ttl_s: float = 24 * 3600.0
    """An upload that is not finished this long after it began is removed."""
    max_open_uploads: int = 16
    """Per account; as many finished ones are remembered for `HEAD`."""
    max_uploads: int = 10_000
    """Open uploads of all accounts."""
    checkpoint_bytes: int = 16 * 1024**2
    """How much of a running piece may be lost when the node dies."""
    threads: int = 4
    """How many threads write, sync and hash."""
    token_ttl_s: float = 3600.0


@dataclass(slots=True)
class MediaStats:
    """Counters since the start, for the metrics page."""

    received_bytes: int = 0
    sent_bytes: int = 0
    uploads_created: int = 0
    uploads_finished: int = 0
    uploads_expired: int = 0
    records_damaged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Refused requests by error code."""
