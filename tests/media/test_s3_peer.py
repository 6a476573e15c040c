"""Two nodes that share one bucket of an S3 server that is not ours (`moto_server`)."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        importlib.util.find_spec("moto") is None,
        reason="needs an S3 server: pip install 'moto[server]>=5,<6'",
    ),
]

# More than one part of an upload, and more than one window of a download.
CONTENT = random.Random(2).randbytes(17 * 1024 * 1024 + 3)


@asynccontextmanager
async def s3_server() -> AsyncIterator[str]:
    """A server with one bucket, `files`; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                assert process.returncode is None, "moto_server has ended"
                try:
                    async with session.put(f"{url}/files") as response:
                        assert response.status == 200
                        break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)  # there is nothing that tells of it
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_a_file_that_one_node_took_comes_down_from_another(
    tmp_path: Path, kit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with s3_server() as url:
            for name, value in {
                "AWS_ENDPOINT_URL": url,
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": "us-east-1",
            }.items():
                monkeypatch.setenv(name, value)
            one, two = (
                kit.World(tmp_path / each, blobs="s3://files/chat/media") for each in ("a", "b")
            )
            two.ledger = one.ledger
            await one.start()
            await two.start()
            try:
                name = await one.upload(CONTENT)
                for world in (one, two):
                    answer = await world.get(name)
                    assert answer.status == 200
                    assert answer.body == CONTENT
                    part = await world.get(name, Range="bytes=9000000-9000999")
                    assert (part.status, part.body) == (206, CONTENT[9_000_000:9_001_000])
                # The same content from the other node is the same file.
                assert await two.upload(CONTENT, kit.BOB) == name
            finally:
                await one.stop()
                await two.stop()

    asyncio.run(asyncio.wait_for(main(), 120))
