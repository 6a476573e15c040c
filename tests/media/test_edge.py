"""The media application behind the real listener, on the port of the WebSockets."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import aiohttp

from palaver.transport.edge import listen
from palaver.transport.http.media import app


class NoSockets:
    """An acceptor for a listener that gets no WebSocket in these tests."""

    def on_open(self, conn: Any) -> None:
        raise AssertionError("nobody opens a WebSocket here")

    def on_frame(self, conn: Any, data: bytes) -> None:
        raise AssertionError("nobody opens a WebSocket here")

    def on_close(self, conn: Any, code: int, reason: str) -> None:
        raise AssertionError("nobody opens a WebSocket here")

    def on_writable(self, conn: Any) -> None:
        raise AssertionError("nobody opens a WebSocket here")


def test_media_is_served_beside_the_websockets(kit: Any, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)

    async def main() -> None:
        async with kit.world(tmp_path) as w:
            await w.session.close()
            listener = await listen(NoSockets(), app(w.service), host="127.0.0.1", port=0)
            w.port = listener.port
            w.session = aiohttp.ClientSession(f"http://127.0.0.1:{w.port}")
            path = await w.begin(len(data))
            await w.cut(path, 0, data[:2_000_000], len(data))
            offset = await w.offset(path)
            last = await w.patch(path, offset, io.BytesIO(data[offset:]))
            assert last.headers["Palaver-File-Id"] == kit.sha(data)
            got = await w.get(kit.sha(data), Range="bytes=5-4000000")
            assert (got.status, got.body) == (206, data[5:4_000_001])
            path = await w.begin(5)
            reader, writer = await w.half(path, 0, b"", 5, Expect="100-continue")
            assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"hello")
            assert b"204" in await reader.readline()
            writer.transport.abort()
            await listener.close()

    asyncio.run(main())
