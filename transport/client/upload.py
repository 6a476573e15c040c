"""One resumable upload by tus 1.0: creation, pieces with checksums, resumption by HEAD.

Source of the semantics: https://tus.io/protocols/resumable-upload, version 1.0.0.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import mimetypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from palaver.transport.client.errors import (
    BadMessage,
    HashMismatch,
    ProtocolViolation,
    ServerError,
)
from palaver.transport.client.http import Again, Http, Tries
from palaver.transport.client.model import FileId

__all__ = ["DEFAULT_PIECE_BYTES", "Progress", "Source", "upload"]

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""
Source = str | os.PathLike[str] | bytes | BinaryIO
"""What can be uploaded: a path, bytes, or an open seekable binary file."""

DEFAULT_PIECE_BYTES: Final = 4 * 1024 * 1024
_MAX_RESTARTS: Final = 3
#: An upload that finds another server so often in its middle is given up.
_MAX_MOVES: Final = 32
_CREATE = "/media/uploads"
_FILE_ID = "Palaver-File-Id"
_TUS: Final = {"Tus-Resumable": "1.0.0"}
_GONE: Final = frozenset({"no_such_upload", "upload_expired"})


class _Content:
    """The bytes to upload, read piece by piece in a worker thread and hashed on the way."""

    def __init__(self, source: Source) -> None:
        self._owned = isinstance(source, str | bytes | os.PathLike)
        self.name = ""
        if isinstance(source, bytes):
            self._file: BinaryIO = io.BytesIO(source)
        elif isinstance(source, str | os.PathLike):
            self.name = Path(source).name
            self._file = Path(source).open("rb")  # noqa: SIM115 - closed by close()
        else:
            self._file = source
        self.size_bytes = self._file.seek(0, os.SEEK_END)
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0

    def close(self) -> None:
        if self._owned:
            self._file.close()

    def piece(self, offset: int, max_bytes: int) -> tuple[bytes, str]:
        """Return the bytes from an offset on, and their SHA-256 in base64."""
        self._file.seek(offset)
        wanted = min(max_bytes, self.size_bytes - offset)
        data = self._file.read(wanted)
        if len(data) != wanted:
            raise BadMessage("the file became shorter while it was uploaded")
        fresh = self._hashed_bytes - offset
        if 0 <= fresh < len(data):
            self._hash.update(memoryview(data)[fresh:])
            self._hashed_bytes = offset + len(data)
        return data, base64.b64encode(hashlib.sha256(data).digest()).decode()

    def verify(self, file_id: FileId) -> None:
        """Raise HashMismatch where the server stored something else than what was read."""
        if self._hashed_bytes == self.size_bytes and self._hash.digest() != file_id:
            raise HashMismatch(f"the server stored {file_id}, not what was sent")


async def upload(
    http: Http,
    kind: str,
    source: Source,
    progress: Progress | None,
    piece_bytes: int = DEFAULT_PIECE_BYTES,
) -> FileId:
    """Upload a file and return its id; errors as in ``Client.upload_file``."""
    content = await asyncio.to_thread(_Content, source)
    try:
        return await _Upload(http, kind, content, progress, piece_bytes).run()
    finally:
        await asyncio.to_thread(content.close)


class _Upload:
    def __init__(
        self, http: Http, kind: str, content: _Content, progress: Progress | None, piece_bytes: int
    ) -> None:
        self._http = http
        self._kind = kind
        self._content = content
        self._progress = progress
        self._piece_bytes = piece_bytes
        self._path: str | None = None
        self._offset = 0
        self._ask_offset = False
        self._restarts = 0
        self._base = ""
        self._moves = 0

    async def run(self) -> FileId:
        tries = Tries(self._http)
        while True:
            self._follow()
            before = self._offset
            try:
                file_id = await self._step()
            except Again as again:
                await tries.pause(again)
                self._ask_offset = True
                continue
            except ServerError as error:
                if error.code not in _GONE or self._restarts >= _MAX_RESTARTS:
                    raise
                # The server gave the upload up (it expired, or its disk was replaced).
                self._restarts += 1
                self._path = None
                continue
            if self._offset > before:
                tries.progress()
            if self._progress is not None:
                self._progress(self._offset, self._content.size_bytes)
            if file_id is not None:
                self._content.verify(file_id)
                return file_id

    def _follow(self) -> None:
        """An unfinished upload is on its server only: on another one it begins anew."""
        base = self._http.base
        if self._path is not None and base != self._base and self._moves < _MAX_MOVES:
            self._moves += 1
            self._path = None
        if self._path is None:
            self._base = base
            self._offset = 0

    async def _step(self) -> FileId | None:
        if self._path is None:
            return await self._create()
        if self._ask_offset or self._offset == self._content.size_bytes:
            return await self._resume(self._path)
        return await self._send_piece(self._path)

    async def _create(self) -> FileId | None:
        headers = {
            **_TUS,
            "Upload-Length": str(self._content.size_bytes),
            "Upload-Metadata": _metadata(self._kind, self._content.name),
        }
        accept = frozenset({201})
        async with self._http.request("POST", _CREATE, headers, accept=accept) as response:
            self._path = response.headers.get("Location")
            if not self._path:
                raise ProtocolViolation("an upload was created without a Location")
            self._offset = 0
            self._ask_offset = False
            return _file_id(response.headers.get(_FILE_ID))

    async def _resume(self, path: str) -> FileId | None:
        accept = frozenset({200, 204})
        async with self._http.request("HEAD", path, _TUS, accept=accept) as response:
            self._offset = self._checked(response.headers.get("Upload-Offset"))
            file_id = _file_id(response.headers.get(_FILE_ID))
        self._ask_offset = False
        if file_id is None and self._offset == self._content.size_bytes:
            raise Again(ProtocolViolation("the upload is whole, but the server does not store it"))
        return file_id

    async def _send_piece(self, path: str) -> FileId | None:
        data, digest = await asyncio.to_thread(self._content.piece, self._offset, self._piece_bytes)
        headers = {
            **_TUS,
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(self._offset),
            "Upload-Checksum": f"sha256 {digest}",
        }
        accept = frozenset({204})
        async with self._http.request("PATCH", path, headers, data, accept=accept) as response:
            self._offset = self._checked(response.headers.get("Upload-Offset"))
            return _file_id(response.headers.get(_FILE_ID))

    def _checked(self, offset: str | None) -> int:
        if offset is None or not (offset.isascii() and offset.isdigit() and len(offset) < 19):
            raise ProtocolViolation(f"an Upload-Offset of {offset!r}")
        if int(offset) > self._content.size_bytes:
            raise ProtocolViolation("an Upload-Offset beyond the file's end")
        return int(offset)


def _file_id(text: str | None) -> FileId | None:
    if text is None:
        return None
    try:
        return FileId.parse(text)
    except BadMessage as error:
        raise ProtocolViolation(f"{_FILE_ID} is no file id") from error


def _metadata(kind: str, name: str) -> str:
    """The Upload-Metadata header: the media type, and the file's name without its path."""
    media_type = kind if "/" in kind else mimetypes.guess_type(name)[0]
    fields = {"filetype": media_type or "application/octet-stream"}
    if name:
        fields["filename"] = name
    return ",".join(
        f"{key} {base64.b64encode(value.encode(errors='replace')).decode()}"
        for key, value in fields.items()
    )
