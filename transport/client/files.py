"""The part of the client that moves files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import overload

from palaver.transport.client.download import Download, Range, fetch, save
from palaver.transport.client.errors import NotOwnAccount
from palaver.transport.client.http import Http
from palaver.transport.client.identity import Identity
from palaver.transport.client.model import FileId
from palaver.transport.client.upload import Progress, Source, upload

__all__ = ["Files"]


class Files:
    """Uploads and downloads of one client."""

    identity: Identity
    _http: Http

    def _own(self, account: str, role: str) -> None:
        own = self.identity.account
        if account != own:
            raise NotOwnAccount(f"the {role} must be the own account {own}")

    async def upload_file(
        self,
        type: str,  # noqa: A002
        file: Source,
        *,
        progress: Progress | None = None,
    ) -> FileId:
        """Upload a file in resumable pieces and return its id.

        ``type`` is a media type such as "image/png", or a word such as "image". ``file`` is a
        path, bytes, or an open seekable binary file. ``progress(done, total)`` is called with
        bytes. A failed piece is sent again from where the server has it; memory is one piece.

        Raises:
            TooLarge, QuotaExceeded: The server does not take it.
            ConnectionFailed: The server could not be reached for too long.
            OSError: The file cannot be read.
        """
        return await upload(self._http, type, file, progress)

    @overload
    async def download_file(
        self,
        user: str,
        file_id: FileId,
        *,
        to: None = None,
        range: Range | None = None,
        progress: Progress | None = None,
    ) -> bytes: ...

    @overload
    async def download_file(
        self,
        user: str,
        file_id: FileId,
        *,
        to: str | os.PathLike[str],
        range: Range | None = None,
        progress: Progress | None = None,
    ) -> Path: ...

    async def download_file(
        self,
        user: str,
        file_id: FileId,
        *,
        to: str | os.PathLike[str] | None = None,
        range: Range | None = None,  # noqa: A002
        progress: Progress | None = None,
    ) -> bytes | Path:
        """Fetch a file and return its bytes, or write it to the path ``to`` and return that.

        ``range`` is (first byte, end) with the end not included, None for the file's end. A
        broken download goes on where it stopped. A whole file is verified against its id, and
        stands under its name only then. Without ``to`` at most 64 MiB are taken into memory.

        Raises:
            NotOwnAccount: ``user`` is not the own account.
            NoSuchFile: There is none, or this account may not fetch it.
            HashMismatch: What came is not that file.
            TooLarge: It is too large for memory.
        """
        self._own(user, "user")
        if to is None:
            return await fetch(Download(self._http, file_id, range), progress)
        target, download = Path(to), Download(self._http, file_id, range)
        await save(download, file_id, target, whole=range is None, progress=progress)
        return target

    def stream_file(
        self,
        user: str,
        file_id: FileId,
        *,
        range: Range | None = None,  # noqa: A002
    ) -> AsyncIterator[bytes]:
        """Iterate over a file's bytes in pieces; errors as in ``download_file``.

        A whole file's hash is known only at its end: HashMismatch comes after the last piece.
        """
        self._own(user, "user")
        return Download(self._http, file_id, range).chunks()
