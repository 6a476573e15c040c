"""The real HTTP media handlers over files in memory, beside the fake server's WebSocket."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import WSMsgType, web
from client_kit import Line, ModelServer

from palaver.transport.http.media import routes
from palaver.transport.http.media_errors import json_errors
from palaver.transport.http.media_port import (
    Checksum,
    MediaCode,
    MediaRefused,
    NewUpload,
    StoredFile,
    UploadState,
)

TOKEN = "secret-token"


@dataclass
class MemoryMedia:
    """A media port in memory, with knobs for what goes wrong."""

    max_file_bytes: int = 1 << 40
    uploads: dict[str, tuple[NewUpload, bytearray]] = field(default_factory=dict)
    files: dict[bytes, bytes] = field(default_factory=dict)
    refusals: list[MediaCode] = field(default_factory=list)
    largest_piece: int = 0
    token: str = TOKEN
    next_id: int = 0
    corrupt: bool = False
    break_after: list[int] = field(default_factory=list)
    on_piece: Callable[[], None] = lambda: None

    def refused(self, code: MediaCode) -> None:
        self.refusals.append(code)

    async def authenticate(self, token: str) -> str | None:
        return "+491701234567" if token == self.token else None

    def _state(self, upload_id: str) -> UploadState:
        new, data = self.uploads[upload_id]
        file_id = None
        if len(data) == new.size_bytes:
            file_id = hashlib.sha256(data).digest()
            self.files[file_id] = bytes(data)
        return UploadState(upload_id, new.size_bytes, len(data), 2**40, new.metadata, file_id)

    def _known(self, upload_id: str) -> None:
        if upload_id not in self.uploads:
            raise MediaRefused(MediaCode.NO_SUCH_UPLOAD, "there is no such upload")

    async def create_upload(self, account: str, new: NewUpload) -> UploadState:
        if new.size_bytes > self.max_file_bytes:
            raise MediaRefused(MediaCode.QUOTA, "the quota is used up")
        self.next_id += 1
        upload_id = f"{self.next_id:032x}"
        self.uploads[upload_id] = (new, bytearray())
        return self._state(upload_id)

    async def upload_state(self, account: str, upload_id: str) -> UploadState:
        self._known(upload_id)
        return self._state(upload_id)

    async def begin_piece(
        self,
        account: str,
        upload_id: str,
        offset_bytes: int,
        length_bytes: int | None,
        checksum: Checksum | None,
    ) -> Any:
        self._known(upload_id)
        if offset_bytes != len(self.uploads[upload_id][1]):
            raise MediaRefused(MediaCode.WRONG_OFFSET, "the upload is elsewhere")
        return _Piece(self, upload_id, checksum)

    async def terminate_upload(self, account: str, upload_id: str) -> None:
        del self.uploads[upload_id]

    async def find_file(self, account: str, file_id: bytes) -> StoredFile | None:
        data = self.files.get(file_id)
        return None if data is None else StoredFile(file_id, len(data), "image/png")

    async def open_range(self, file_id: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        limit = self.break_after.pop(0) if self.break_after else None
        data = self.files[file_id]
        for at in range(start, end, 50_000):
            chunk = data[at : min(at + 50_000, end)]
            if limit is not None and at - start >= limit:
                raise MediaRefused(MediaCode.UNAVAILABLE, "the store is gone")
            yield bytes(len(chunk)) if self.corrupt else chunk


class _Piece:
    def __init__(self, media: MemoryMedia, upload_id: str, checksum: Checksum | None) -> None:
        self.media = media
        self.upload_id = upload_id
        self.new, self.data = media.uploads[upload_id]
        self.checksum = checksum
        self.piece = bytearray()

    @property
    def remaining_bytes(self) -> int:
        return self.new.size_bytes - len(self.data) - len(self.piece)

    async def write(self, data: bytes | bytearray) -> None:
        self.piece += data

    async def finish(self) -> UploadState:
        self.media.largest_piece = max(self.media.largest_piece, len(self.piece))
        if self.checksum is None or hashlib.sha256(self.piece).digest() != self.checksum.digest:
            raise MediaRefused(MediaCode.CHECKSUM_MISMATCH, "the piece is another")
        self.media.on_piece()
        self.data += self.piece
        return self.media._state(self.upload_id)

    async def discard(self) -> None:
        self.piece.clear()

    async def release(self) -> None:
        pass


class MediaServer:
    """WebSocket and media on one port, as a node has them."""

    def __init__(self) -> None:
        self.model = ModelServer()
        self.media = MemoryMedia()
        self.port = 0
        self.seen: list[tuple[str, str]] = []
        self.fault: Callable[[web.Request], str | None] = lambda _request: None
        self.lines: dict[Line, Any] = {}

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._faults, json_errors(self.media.refused)])
        app.add_routes(routes(self.media))
        app.router.add_get("/ws", self._websocket)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def _faults(self) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
            self.seen.append((request.method, request.path))
            fault = self.fault(request)
            if fault == "cut before":
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
            if fault is not None and fault.isdigit():
                return web.json_response({"error": "unavailable", "text": "x"}, status=int(fault))
            response = await handler(request)
            if fault == "cut after":
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
            return response

        return middleware

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        line = Line(self.model)
        self.lines[line] = request.transport
        async for message in websocket:
            assert message.type is WSMsgType.BINARY
            line.received(message.data)
            for frame in line.frames():
                # The token that the media side knows now.
                await websocket.send_bytes(frame.replace(TOKEN.encode(), self.media.token.encode()))
        line.lost()
        del self.lines[line]
        return websocket

    def leave(self) -> None:
        """Break every connection, and serve nothing any more."""
        self.fault = lambda _request: "cut before"
        for transport in list(self.lines.values()):
            transport.abort()
