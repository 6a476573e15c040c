"""A listening socket whose connections become WebSockets or HTTP exchanges."""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Callable, Collection

from aiohttp import web

from palaver.transport.wire.constants import CloseCode

from .connection import Connection
from .head import HeadReader
from .hub import Acceptor, Hub
from .limits import EdgeLimits, EdgeStats


class Listener:
    """A running listener; made by `listen`."""

    __slots__ = ("_hub", "_runner", "_server", "host", "port")

    def __init__(self, hub: Hub, server: asyncio.Server, runner: web.AppRunner | None) -> None:
        self._hub = hub
        self._server = server
        self._runner = runner
        self.host, self.port = server.sockets[0].getsockname()[:2]

    @property
    def connections(self) -> Collection[Connection]:
        """The WebSockets that are open now; a live view, copy it before anything may close."""
        return self._hub.connections.keys()

    @property
    def stats(self) -> EdgeStats:
        """The counters that were given to `listen`."""
        return self._hub.stats

    def stop_accepting(self) -> None:
        """Take no new connection; those that exist go on."""
        self._hub.stopping = True
        self._server.close()

    async def close(
        self,
        *,
        code: int = CloseCode.GOING_AWAY,
        reason: str = "going away",
        timeout_s: float | None = None,
    ) -> None:
        """Stop accepting, close every connection and wait until all are gone.

        Each WebSocket is closed with `code` after what was sent to it; HTTP exchanges may finish.
        What is still there after `timeout_s` (by default `EdgeLimits.close_timeout_s`) is
        aborted, so this always ends.
        """
        hub = self._hub
        patience_s = hub.limits.close_timeout_s if timeout_s is None else timeout_s
        self.stop_accepting()
        for head in list(hub.heads):
            head.abort()
        for conn in list(hub.connections):
            conn.close(code, reason)
        http = asyncio.ensure_future(self._close_http())
        if not await self._all_gone(patience_s):
            for conn in list(hub.connections):
                conn.abort()
            for head in list(hub.heads):
                head.abort()
        await http
        await self._all_gone(patience_s)  # The loop tells of an abort a turn later.
        hub.wheel.stop()

    async def _all_gone(self, patience_s: float) -> bool:
        try:
            async with asyncio.timeout(patience_s):
                await self._hub.gone.wait()
        except TimeoutError:
            return False
        return True

    async def _close_http(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


async def listen(
    acceptor: Acceptor,
    http_app: web.Application | None,
    *,
    host: str,
    port: int,
    ssl: ssl_module.SSLContext | None = None,
    limits: EdgeLimits | None = None,
    stats: EdgeStats | None = None,
) -> Listener:
    """Listen on `host` and `port` (0 for any free one) and give each WebSocket to `acceptor`.

    Whatever is not a WebSocket on ``/ws`` is served by `http_app` on the same port, or answered
    404 if there is none. An upgrade must be the first request of its TCP connection.

    Raises:
        OSError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    limits = limits or EdgeLimits()
    hub = Hub(loop, acceptor, limits, stats or EdgeStats())
    runner: web.AppRunner | None = None
    factory: Callable[[], asyncio.Protocol] | None = None
    if http_app is not None:
        runner = web.AppRunner(
            http_app,
            handle_signals=False,
            access_log=None,
            keepalive_timeout=limits.http_idle_s,
            shutdown_timeout=limits.close_timeout_s,
        )
        await runner.setup()
        factory = runner.server
    try:
        server = await loop.create_server(
            lambda: HeadReader(hub, factory),
            host,
            port,
            ssl=ssl,
            backlog=limits.backlog,
            ssl_handshake_timeout=limits.head_timeout_s if ssl else None,
            ssl_shutdown_timeout=limits.close_timeout_s if ssl else None,
        )
    except OSError:
        hub.wheel.stop()
        if runner is not None:
            await runner.cleanup()
        raise
    return Listener(hub, server, runner)
