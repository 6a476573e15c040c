"""A media server on a real socket over real files, with a ledger and a clock to play with."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from palaver.actors.chat.media import (
    FileInfo,
    MediaLimits,
    MediaService,
    TokenSigner,
)
from palaver.storage.blobs import BlobStore
from palaver.transport.http.media import MediaHttpLimits, app

ALICE = "+491701234567"
BOB = "+491707654321"
PIECE = "application/offset+octet-stream"


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def time_ms(self) -> int:
        return self.now_ms


class Ledger:
    def __init__(self) -> None:
        self.files: dict[str, dict[bytes, FileInfo]] = {}
        self.shared: set[tuple[str, bytes]] = set()
        self.failing: Exception | None = None

    async def record_file(
        self,
        account: str,
        file_id: bytes,
        size: int,
        type: str,  # noqa: A002
    ) -> None:
        if self.failing is not None:
            raise self.failing
        self.files.setdefault(account, {}).setdefault(file_id, FileInfo(size, type))

    async def may_fetch(self, account: str, file_id: bytes) -> FileInfo | None:
        for owner, files in self.files.items():
            if file_id in files and (owner == account or (account, file_id) in self.shared):
                return files[file_id]
        return None

    async def used_bytes(self, account: str) -> int:
        return sum(info.size_bytes for info in self.files.get(account, {}).values())


class World:
    """One data folder; `start` and `stop` may alternate: what stays is on disk."""

    def __init__(
        self,
        root: Path,
        limits: MediaLimits | None = None,
        http: MediaHttpLimits | None = None,
        blobs: str | None = None,
    ) -> None:
        self.root = root
        self.limits = limits or MediaLimits()
        self.http = http or MediaHttpLimits()
        self.blobs_at = blobs or str(root / "blobs")
        self.clock = Clock()
        self.ledger = Ledger()
        self.revoked: set[tuple[str, int]] = set()
        self.service: MediaService
        self.shared: Any = None  # what nodes share, in the place of a store of its own
        self.port = 0

    async def start(self) -> None:
        self.service = MediaService(
            clock=self.clock,
            random_bytes=os.urandom,
            blobs=self.shared or BlobStore.open(self.blobs_at),
            folder=self.root / "uploads",
            ledger=self.ledger,
            signer=TokenSigner.open(self.root / "keys" / "media.key", os.urandom),
            is_device_valid=self._valid,
            limits=self.limits,
        )
        await self.service.open()
        served = app(self.service, self.http)
        self._runner = web.AppRunner(served, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}", auto_decompress=False)

    async def stop(self) -> None:
        await self.session.close()
        await self._runner.cleanup()
        await self.service.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def _valid(self, account: str, device: int) -> bool:
        return (account, device) not in self.revoked

    def token(self, account: str = ALICE, device: int = 1) -> str:
        return self.service.issue_token(account, device)[0]

    def auth(self, account: str = ALICE) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(account)}"}

    def tus(self, account: str = ALICE) -> dict[str, str]:
        return {**self.auth(account), "Tus-Resumable": "1.0.0"}

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> Answer:
        async with self.session.request(method, path, headers=headers, data=body) as response:
            return Answer(response.status, response.headers, await response.read())

    async def create(
        self, size: int, account: str = ALICE, metadata: str | None = None, **extra: str
    ) -> Answer:
        headers = {**self.tus(account), "Upload-Length": str(size), **extra}
        if metadata is not None:
            headers["Upload-Metadata"] = metadata
        return await self.ask("POST", "/media/uploads", headers)

    async def begin(self, size: int, account: str = ALICE, **meta: bytes | str) -> str:
        answer = await self.create(size, account, pairs(**meta) if meta else None)
        assert answer.status == 201, answer
        return answer.headers["Location"]

    async def patch(
        self,
        path: str,
        offset: int,
        body: Any,
        account: str = ALICE,
        **extra: str,
    ) -> Answer:
        headers = {**self.tus(account), "Upload-Offset": str(offset), "Content-Type": PIECE}
        headers.update({key.replace("_", "-"): value for key, value in extra.items()})
        return await self.ask("PATCH", path, headers, body)

    async def head(self, path: str, account: str = ALICE) -> Answer:
        return await self.ask("HEAD", path, self.tus(account))

    async def offset(self, path: str) -> int:
        return int((await self.head(path)).headers["Upload-Offset"])

    async def upload(self, data: bytes, account: str = ALICE, **meta: bytes | str) -> str:
        """A whole upload; the file's id in hex."""
        path = await self.begin(len(data), account, **meta)
        answer = await self.patch(path, 0, io.BytesIO(data), account)
        assert answer.status == 204, answer
        assert answer.headers["Palaver-File-Id"] == sha(data)
        return answer.headers["Palaver-File-Id"]

    async def get(self, name: str, account: str = ALICE, **headers: str) -> Answer:
        extra = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.ask("GET", f"/media/{name}", {**self.auth(account), **extra})

    async def cut(self, path: str, offset: int, data: bytes, promised: int, **extra: str) -> None:
        """Begins a PATCH of `promised` bytes with `data`, then tears the connection."""
        upload, cuts = self.find(path), self.service.stats.refused["connection_cut"]
        _, writer = await self.half(path, offset, data, promised, **extra)
        await until(lambda: upload.busy)
        writer.transport.abort()
        await until(lambda: self.service.stats.refused["connection_cut"] > cuts)
        assert not upload.busy

    async def half(
        self, path: str, offset: int, data: bytes, promised: int, **extra: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        headers = {
            **self.tus(),
            "Host": "127.0.0.1",
            "Upload-Offset": str(offset),
            "Content-Type": PIECE,
            "Content-Length": str(promised),
            **{key.replace("_", "-"): value for key, value in extra.items()},
        }
        head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        writer.write(f"PATCH {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        await writer.drain()
        return reader, writer

    def find(self, path: str) -> Any:
        upload = self.service._book.find(ALICE, path.rsplit("/", 1)[1])
        assert upload is not None
        return upload

    async def until_free(self, path: str) -> None:
        """Waits until nobody writes to the upload."""
        upload = self.find(path)
        await until(lambda: not upload.busy)


class Answer:
    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self) -> str:
        return f"{self.status} {dict(self.headers)} {self.body[:200]!r}"

    @property
    def error(self) -> str:
        import json

        found = json.loads(self.body)
        assert set(found) == {"error", "text"}
        return str(found["error"])


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def world(root: Path, **options: Any) -> AsyncIterator[World]:
    made = World(root, **options)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def pairs(**meta: bytes | str) -> str:
    return ",".join(
        f"{key} {base64.b64encode(value.encode() if isinstance(value, str) else value).decode()}"
        for key, value in meta.items()
    )


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def checksum(data: bytes, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, data).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"
