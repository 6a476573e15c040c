"""The floors: what this machine can do at best with the parts that Palaver stands on.

`echo`: a bare `websockets` server that returns each 200-byte message. `commits`: bare LMDB
transactions of as many puts as the server's median commit had, each fsynced.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import lmdb
from websockets.asyncio.server import ServerConnection, serve

from palaver.supervisors.cli.bench import procfs
from palaver.supervisors.cli.bench.children import Child
from palaver.supervisors.cli.bench.load import BODY_BYTES, Meter, until_none
from palaver.supervisors.cli.bench.scenarios import Round, Window
from palaver.supervisors.cli.bench.wireload import masked_frame, split_frames

_ECHO = masked_frame(0x82, bytes(BODY_BYTES))
_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: cGFsYXZlciBpcyBiZW5jaA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_MAP_BYTES = 1 << 30


class EchoServer:
    """A bare `websockets` asyncio server in a child process."""

    def __init__(self, folder: Path, cores: frozenset[int]) -> None:
        """Start it and wait until it is up."""
        announce = folder / "echo.port"
        self._child = Child(
            [sys.executable, "-m", "palaver.supervisors.cli.bench.floors", str(announce)],
            cores=cores,
            log_path=folder / "echo.log",
        )
        self._child.wait_until(announce.exists, timeout_s=20, what="the echo server")
        self.port = int(announce.read_text())
        self.pid = self._child.pid

    def stop(self) -> None:
        """End it."""
        self._child.kill()


async def _echo_back(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _serve(announce: Path) -> None:
    async with serve(_echo_back, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        half_made = announce.with_suffix(".tmp")
        half_made.write_text(str(port))
        half_made.rename(announce)
        await server.serve_forever()


class _Echo(asyncio.Protocol):
    """A connection that keeps messages in flight to the echo server."""

    def __init__(self, meter: Meter, window: int) -> None:
        self._meter = meter
        self._window = window
        self._rest = b""
        self.upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_UPGRADE)

    def begin(self) -> None:
        for _ in range(self._window):
            self._transport.write(_ECHO)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self.upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            self.upgraded = bool(end)
            self._rest = head if not end else data
            return
        frames, self._rest = split_frames(data)
        count = len(frames)
        self._meter.delivered += count
        if self._meter.recording:
            self._transport.write(_ECHO * count)


async def echo(server_pid: int, job: dict[str, Any]) -> list[Round]:
    """Measure the echo server: CPU for each echo, memory for each idle connection."""
    loop = asyncio.get_running_loop()
    meter = Meter()
    await asyncio.sleep(job["settle_s"])
    before = procfs.memory(server_pid)
    idle = [await _connect(loop, meter, job) for _ in range(job["idle"])]
    await until_none(
        lambda: sum(not one.upgraded for one in idle),
        meter,
        timeout_s=30,
        what="connections were not upgraded",
    )
    await asyncio.sleep(job["settle_s"])
    grown_kb = procfs.memory(server_pid).anonymous_kb - before.anonymous_kb
    meter.recording = True
    for one in idle[: job["pairs"]]:
        one.begin()
    rounds: list[Round] = []
    await asyncio.sleep(job["warmup_s"])
    for _ in range(job["rounds"]):
        window = Window(server_pid)
        meter.reset()
        window.open()
        await asyncio.sleep(job["round_s"])
        rounds.append(window.close(meter.delivered, "echo") | {"idle_kb": grown_kb / len(idle)})
    meter.recording = False
    return rounds


async def _connect(loop: asyncio.AbstractEventLoop, meter: Meter, job: dict[str, Any]) -> _Echo:
    _, protocol = await loop.create_connection(
        lambda: _Echo(meter, job["window"]), "127.0.0.1", job["endpoint"]["port"]
    )
    return protocol


async def commits(_server_pid: int, job: dict[str, Any]) -> list[Round]:
    """Measure fsynced LMDB transactions of `batch` puts of a message each."""
    batch, value = job["batch"], bytes(BODY_BYTES + 100)
    rounds: list[Round] = []
    with lmdb.open(job["folder"], map_size=_MAP_BYTES, subdir=True, max_dbs=1) as env:
        table = env.open_db(b"messages")
        done = 0
        for _ in range(job["rounds"]):
            ends_s, began = perf_counter() + job["round_s"], done
            window = Window(os.getpid())
            window.open()
            while perf_counter() < ends_s:
                with env.begin(write=True, db=table) as txn:
                    for n in range(done, done + batch):
                        # Sixteen conversations that grow, as a table of messages is filled.
                        txn.put((n % 16).to_bytes(16, "big") + n.to_bytes(8, "big"), value)
                done += batch
            found = window.close(done - began, "put")
            rounds.append(found | {"commits_per_s": found["puts_per_s"] / batch})
    return rounds


FLOORS: dict[str, Callable[[int, dict[str, Any]], Awaitable[list[Round]]]] = {
    "echo": echo,
    "commits": commits,
}


def main() -> None:
    """Run the echo server, on uvloop where it is installed, as a Palaver node does."""
    procfs.raise_file_limit()
    serving = _serve(Path(sys.argv[1]))
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


if __name__ == "__main__":
    main()
