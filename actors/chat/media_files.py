"""Half-done uploads on disk: a record and a part file each, so that a restart loses no upload.

`uploads/<id>.json` says whose upload it is, how large it will be, and up to which byte it is
durable; it is replaced atomically (temporary file, fsync, rename, fsync of the folder).
`uploads/<id>.part` holds the bytes. What the part holds beyond the record's offset had not been
promised to anyone and is cut off when the upload goes on.

Everything here blocks and belongs in a thread. An id is 32 hex digits made by the server; names
that clients give are fields of the record and never part of a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from palaver.storage.blob_local import sync_path

if TYPE_CHECKING:
    from hashlib import _Hash

_ID: Final = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)
_RECORD_VERSION: Final = 1
_READ_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class UploadRecord:
    """One upload as it is on disk."""

    upload_id: str
    account: str
    size_bytes: int
    offset_bytes: int
    media_type: str
    name: str | None
    metadata: str
    created_ms: int
    expires_ms: int
    expected: str | None = None
    """The content's SHA-256 in hex as its sender told it, if at all."""
    digest: str | None = None
    """The content's SHA-256 in hex once every byte is here."""
    stored: bool = False
    """Whether the file is a blob, noted in the ledger; the part file is gone then."""
    version: int = field(default=_RECORD_VERSION)

    @property
    def complete(self) -> bool:
        """Whether every byte is here."""
        return self.offset_bytes == self.size_bytes


@dataclass(slots=True)
class LoadedUploads:
    """What a start found in the folder."""

    records: list[UploadRecord]
    damaged: list[str]
    """Names of files that made no upload; they are removed."""


class UploadFolder:
    """The folder of half-done uploads; one node process owns it."""

    __slots__ = ("_root",)

    def __init__(self, root: Path) -> None:
        self._root = root

    def load(self) -> LoadedUploads:
        """Reads every record, makes record and part agree, and clears what belongs to none."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = LoadedUploads([], [])
        for path in sorted(self._root.glob("*.json")):
            record = self._read(path)
            if record is None or not self._fits(record):
                found.damaged.append(path.name)
                path.unlink()
            else:
                found.records.append(record)
        known = {f"{each.upload_id}.json" for each in found.records}
        known |= {f"{each.upload_id}.part" for each in found.records if not each.stored}
        for path in self._root.iterdir():
            if path.name not in known and path.suffix in {".part", ".tmp"}:
                path.unlink()
        return found

    def create(self, record: UploadRecord) -> None:
        """Makes the part file and the record, durably."""
        os.close(os.open(self.part(record.upload_id), os.O_CREAT | os.O_EXCL, 0o600))
        try:
            self.save(record)
        except OSError:
            self.remove(record.upload_id)
            raise

    def save(self, record: UploadRecord) -> None:
        """Replaces the record; when this returns, a power cut keeps it."""
        path = self._path(record.upload_id, "json")
        temporary = self._path(record.upload_id, "tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_path(self._root)

    def remove(self, upload_id: str) -> None:
        """Removes record and part; what is not there is no error."""
        # The record first: a part without a record is cleared by the next start.
        for kind in ("json", "part", "tmp"):
            with contextlib.suppress(FileNotFoundError):
                self._path(upload_id, kind).unlink()

    def remove_part(self, upload_id: str) -> None:
        """Removes the part of an upload whose file is stored."""
        with contextlib.suppress(FileNotFoundError):
            self.part(upload_id).unlink()

    def part(self, upload_id: str) -> Path:
        """The part file's path."""
        return self._path(upload_id, "part")

    def _path(self, upload_id: str, kind: str) -> Path:
        assert _ID.match(upload_id) is not None, "an upload id that the server did not make"
        return self._root / f"{upload_id}.{kind}"

    def _read(self, path: Path) -> UploadRecord | None:
        try:
            fields: dict[str, Any] = json.loads(path.read_bytes())
            record = UploadRecord(**fields)
            hashes = [bytes.fromhex(each) for each in (record.expected, record.digest) if each]
            sound = (
                path.name == f"{record.upload_id}.json"
                and _ID.match(record.upload_id) is not None
                and record.version == _RECORD_VERSION
                and 0 <= record.offset_bytes <= record.size_bytes
                and isinstance(record.account, str)
                and isinstance(record.expires_ms, int)
                and all(len(each) == hashlib.sha256().digest_size for each in hashes)
            )
        except (ValueError, TypeError):
            return None
        return record if sound else None

    def _fits(self, record: UploadRecord) -> bool:
        """Whether the part file holds at least the bytes that the record promises."""
        if record.stored:
            return True
        try:
            return self.part(record.upload_id).stat().st_size >= record.offset_bytes
        except FileNotFoundError:
            return False


class PartWriter:
    """Appends to one part file and keeps the running hash of the whole and of the piece.

    Calls come from threads, one at a time.
    """

    __slots__ = ("_before", "_check", "_descriptor", "_start", "end", "hasher")

    def __init__(self, path: Path, start: int, hasher: _Hash | None, check: str | None) -> None:
        self._descriptor = os.open(path, os.O_WRONLY)
        self._start = start
        # Bytes that are taken back must leave the hash as well.
        self._before = None if hasher is None else hasher.copy()
        self._check = None if check is None else hashlib.new(check)
        self.hasher = hasher
        """The running hash of the whole file, None when its beginning was not seen."""
        self.end = start
        """Up to where the file is written."""
        try:
            os.ftruncate(self._descriptor, start)
        except OSError:
            os.close(self._descriptor)
            raise

    @property
    def check_digest(self) -> bytes | None:
        """The digest of what was written since the writer was opened."""
        return None if self._check is None else self._check.digest()

    def write(self, data: bytes | bytearray) -> None:
        """Appends all of `data`, or, when the disk refuses, none of it.

        Raises:
            OSError: the disk is full or broken.
        """
        view = memoryview(data)
        at = self.end
        try:
            while view:
                written = os.pwrite(self._descriptor, view, at)
                at += written
                view = view[written:]
        except OSError:
            os.ftruncate(self._descriptor, self.end)
            raise
        self.end = at
        if self.hasher is not None:
            self.hasher.update(data)
        if self._check is not None:
            self._check.update(data)

    def sync(self) -> None:
        """Blocks until what was written is on the disk."""
        os.fdatasync(self._descriptor)

    def rewind(self) -> None:
        """Takes back everything that was written since the writer was opened."""
        os.ftruncate(self._descriptor, self._start)
        self.end = self._start
        self.hasher = self._before

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


def hash_file(path: Path, size_bytes: int) -> bytes:
    """The SHA-256 of a file's first `size_bytes`.

    Raises:
        OSError: the file cannot be read or is shorter.
    """
    hasher = hashlib.sha256()
    left = size_bytes
    with path.open("rb") as file:
        while left:
            data = file.read(min(left, _READ_BYTES))
            if not data:
                raise OSError(f"{path} ends {left} bytes early")
            hasher.update(data)
            left -= len(data)
    return hasher.digest()
