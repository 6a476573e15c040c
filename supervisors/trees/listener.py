"""The listening socket under supervision.

The socket itself belongs to a port outside of the process, so that a killed process never leaves
a socket behind that its successor would find in use.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Callable
from typing import Any

from aiohttp import web

from palaver.actors.runtime import GenServer
from palaver.transport.edge import Acceptor, EdgeLimits, EdgeStats, Listener, listen

__all__ = ["ListenerPort", "ListenerServer"]


class ListenerPort:
    """Opens and closes the one socket on which clients connect.

    One after the other, and each to its end: a process that is killed while it opens the socket
    leaves none behind that nobody owns, which its successor would find in use.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        http_app: Callable[[], web.Application | None],
        *,
        host: str,
        port: int,
        ssl: ssl_module.SSLContext | None,
        limits: EdgeLimits,
        stats: EdgeStats,
    ) -> None:
        self._acceptor = acceptor
        self._http_app = http_app
        self._host = host
        self._ssl = ssl
        self._limits = limits
        self._stats = stats
        self._listener: Listener | None = None
        self._changing = asyncio.Lock()
        self._over = False
        self.port = port
        """The port asked for; once open, the port that is listened on."""

    async def open(self) -> None:
        """Listen, on the same port as before if this is not the first time.

        Raises:
            OSError: the address cannot be listened on.
        """
        opening = asyncio.ensure_future(self._reopen())
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(opening)

    async def _reopen(self) -> None:
        async with self._changing:
            await self._close(None)
            if self._over:
                return
            self._listener = await listen(
                self._acceptor,
                self._http_app(),
                host=self._host,
                port=self.port,
                ssl=self._ssl,
                limits=self._limits,
                stats=self._stats,
            )
            self.port = self._listener.port

    def stop_accepting(self) -> None:
        """Take no new connection."""
        if self._listener is not None:
            self._listener.stop_accepting()

    @property
    def open_connections(self) -> int:
        """WebSockets that are open."""
        return 0 if self._listener is None else len(self._listener.connections)

    @property
    def is_listening(self) -> bool:
        """Whether new connections are taken."""
        return self._listener is not None

    async def close(self, timeout_s: float | None = None) -> None:
        """Close every connection and the socket, for good."""
        self._over = True
        async with self._changing:
            await self._close(timeout_s)

    async def _close(self, timeout_s: float | None) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close(timeout_s=timeout_s)


class ListenerServer(GenServer):
    """Keeps the socket open; if it cannot be opened, its supervisor tries again or gives up."""

    __slots__ = ()

    async def init(self, port: ListenerPort) -> None:
        """Open the socket."""
        await self.bridge(port.open())

    def handle_info(self, message: Any) -> None:
        """Nothing is said to this process."""
        super().handle_info(message)
