"""The server as a process: what a large file costs it, and what a kill -9 loses."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

SERVER = Path(__file__).with_name("server.py")
PIECE = "application/offset+octet-stream"
MIB = 1024 * 1024


class Server:
    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        port, token = self.process.stdout.readline().split()
        self.url = f"http://127.0.0.1:{port}"
        self.headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}

    def peak_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def server(root: Path) -> Iterator[Server]:
    made = Server(root)
    try:
        yield made
    finally:
        made.kill()


def test_a_large_file_costs_megabytes_both_ways(tmp_path: Path) -> None:
    size, block = 256 * MIB, random.Random(1).randbytes(MIB)
    digest = hashlib.sha256()
    for _ in range(size // MIB):
        digest.update(block)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // MIB):
            yield block

    async def main(s: Server) -> None:
        async with aiohttp.ClientSession(s.url, headers=s.headers) as session:
            small = await begin(session, 3 * MIB)
            await send(session, small, 0, block * 3)
            before = s.peak_kib()
            path = await begin(session, size)
            answer = await send(session, path, 0, body())
            name = answer["Palaver-File-Id"]
            assert name == digest.hexdigest()
            assert s.peak_kib() - before < 24 * 1024
            got = hashlib.sha256()
            async with session.get(f"/media/{name}") as response:
                async for chunk in response.content.iter_chunked(MIB):
                    got.update(chunk)
            assert got.digest() == digest.digest()
            assert s.peak_kib() - before < 24 * 1024

    with server(tmp_path) as s:
        asyncio.run(main(s))


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    """Every answered byte survives kill -9; of an unanswered piece at most a checkpoint is lost."""
    data = random.Random(2).randbytes(60 * MIB)

    async def first(s: Server) -> str:
        async with aiohttp.ClientSession(s.url, headers=s.headers) as session:
            path = await begin(session, len(data))
            await send(session, path, 0, data[: 5 * MIB])
            record = tmp_path / "uploads" / (path.rsplit("/", 1)[1] + ".json")

            async def then_kill() -> AsyncIterator[bytes]:
                for at in range(5 * MIB, len(data), MIB):
                    # The server has to have made a checkpoint within the running piece.
                    if at >= 45 * MIB:
                        async with asyncio.timeout(20):
                            while f'"offset_bytes": {5 * MIB}' in record.read_text():
                                await asyncio.sleep(0.01)
                        s.kill()
                    yield data[at : at + MIB]

            try:
                await send(session, path, 5 * MIB, then_kill())
            except aiohttp.ClientError:
                return path
            raise AssertionError("the server answered after its death")

    async def second(s: Server, path: str) -> None:
        async with aiohttp.ClientSession(s.url, headers=s.headers) as session:
            async with session.head(path) as response:
                assert response.status == 200
                offset = int(response.headers["Upload-Offset"])
            assert 21 * MIB <= offset <= 45 * MIB
            answer = await send(session, path, offset, data[offset:])
            assert answer["Palaver-File-Id"] == hashlib.sha256(data).hexdigest()

    dying = Server(tmp_path)
    path = asyncio.run(first(dying))
    with server(tmp_path) as s:
        asyncio.run(second(s, path))


async def begin(session: aiohttp.ClientSession, size: int) -> str:
    async with session.post("/media/uploads", headers={"Upload-Length": str(size)}) as response:
        assert response.status == 201
        return response.headers["Location"]


async def send(session: aiohttp.ClientSession, path: str, offset: int, data: Any) -> Any:
    if isinstance(data, bytes):
        data = blocks(data)
    headers = {"Upload-Offset": str(offset), "Content-Type": PIECE}
    async with session.patch(path, data=data, headers=headers) as response:
        assert response.status == 204, await response.text()
        return response.headers


async def blocks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), MIB):
        yield data[at : at + MIB]
