"""A real Redis server on a free loopback port, started and killed by a test."""

from __future__ import annotations

import asyncio
import shutil
import socket
from types import TracebackType
from typing import Self

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

import standing

_PROGRAM = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")


class RedisServer:
    """Keeps nothing on a disk: what it forgets when it is killed is gone."""

    def __init__(self) -> None:
        if _PROGRAM is None:
            pytest.skip("needs redis-server (Debian: apt-get install redis-server)")
        self._program = _PROGRAM
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            self._program, "--bind", "127.0.0.1", "--port", str(self.port),
            "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", "/tmp",
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(20):
            while not await self._answers():
                await asyncio.sleep(0.01)  # there is nothing that tells of it

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, "redis-server has ended"
        try:
            async with Redis.from_url(self.url) as client:
                await client.ping()
        except (RedisError, OSError):
            return False
        return True

    async def kill(self) -> None:
        """As `kill -9`."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    async def flush(self) -> None:
        async with Redis.from_url(self.url) as client:
            await client.flushall()

    async def forget(self, part: str) -> None:
        """As Redis does when its memory is full."""
        async with Redis.from_url(self.url, decode_responses=True) as client:
            for key in await client.keys(f"*{part}*"):
                await client.delete(key)

    def pause(self, on: bool) -> None:
        """Let it answer nothing, or go on."""
        assert self._process is not None
        (standing.stop if on else standing.go_on)(self._process.pid)

    async def keys(self) -> list[str]:
        async with Redis.from_url(self.url, decode_responses=True) as client:
            return sorted(await client.keys("*"))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.kill()
