"""nats-py's client, with what a node needs besides: it never gives up, and has a short way.

nats-py ends for good when a server says an error that it does not know, waits for ever for a server
that was paused to read what was written to it, goes on in the clear with a server that has no TLS,
and sends a flush's ping ahead of what was to be flushed. Each of these is mended in a method of its
own here; `tests/fabric` states each against a real server, so that a new version of nats-py which
does otherwise is noticed.

The short way: `post` queues a message without a coroutine, and a handler in `direct` is called from
where a message is read, without a queue and a task in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from nats import errors
from nats.aio.client import PING_PROTO, Client, Srv
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AUTHORIZATION_VIOLATION, PERMISSIONS_ERR

__all__ = ["Handler", "NatsClient", "NoTls"]

Handler: TypeAlias = Callable[[bytes], None]
"""What a message's payload is given to."""

# The server says these and goes on.
_HARMLESS: Final = (PERMISSIONS_ERR, "invalid subject", "invalid publish subject")


class NoTls(errors.Error):
    """The server offers no TLS, and it was asked for."""

    def __str__(self) -> str:
        return "the server does not demand TLS"


class NatsClient(Client):
    """A client that connects again for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[int, Handler] = {}
        """Handlers by subscription; they must not raise."""

    # -- the short way -------------------------------------------------------------------------

    def post(self, subject: bytes, payload: bytes) -> bool:
        """Queue a message; False, and nothing is queued, without a connection or with too much."""
        queue = self._flush_queue
        if (
            self._status != Client.CONNECTED
            or queue is None
            or self._pending_data_size + len(payload) > self._max_pending_size
        ):
            return False
        head = b"PUB %b %d\r\n" % (subject, len(payload))
        socket = self._socket()
        if socket is None:
            return False
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(payload)
        if not self._pending and not socket.get_write_buffer_size():
            # Nothing is before it: without a turn of the loop for the task that flushes.
            socket.write(b"".join((head, payload, b"\r\n")))
            return True
        self._pending += (head, payload, b"\r\n")
        self._pending_data_size += len(head) + len(payload) + 2
        if queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())  # wakes that task
        return True

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        handler = self.direct.get(sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        handler(data)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        # nats-py's own goes past what is queued, so that a flush would say nothing of it.
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(PING_PROTO)
        await self._flush_pending()

    async def _process_pong(self) -> None:
        # Somebody may have waited for it, and waits no more: nats-py would end its reading by that.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self.direct.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    # -- never giving up -----------------------------------------------------------------------

    def _socket(self) -> asyncio.WriteTransport | None:
        """The socket to the server, if it is open."""
        transport = self._transport
        if not isinstance(transport, TcpTransport) or transport._io_writer is None:  # noqa: SLF001
            return None
        socket = transport._io_writer.transport  # noqa: SLF001
        return None if socket.is_closing() else socket

    def abort(self) -> None:
        """Close the socket without waiting for what was written to leave."""
        transport = self._transport
        if isinstance(transport, TcpTransport) and transport._io_writer is not None:  # noqa: SLF001
            transport._io_writer.transport.abort()  # noqa: SLF001

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if self._socket() is None:  # uvloop raises at a write to it
            self._pending = []
            self._pending_data_size = 0
        await super()._close(status, do_cbs)

    async def _connect_to_server(self, s: Srv) -> None:
        self.abort()  # what is left of an attempt that came halfway
        await super()._connect_to_server(s)

    async def _process_err(self, err_msg: str) -> None:
        if any(harmless in err_msg for harmless in _HARMLESS):
            await self._error_cb(errors.Error(f"nats: {err_msg}"))
            return
        error = (
            errors.AuthorizationError()
            if AUTHORIZATION_VIOLATION in err_msg
            else errors.Error(f"nats: {err_msg}")
        )
        self._err = error
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _attempt_reconnect(self) -> None:
        self.abort()
        while not self.is_closed:
            try:
                await super()._attempt_reconnect()
            except Exception as exc:  # noqa: BLE001 - reported; it would end the task for good
                await self._error_cb(exc)
                self._status = Client.RECONNECTING
                self.abort()
                await asyncio.sleep(self.options["reconnect_time_wait"])
            else:
                return

    def _connect_command(self) -> bytes:
        if self.options.get("tls") is not None and not self._server_info.get("tls_required"):
            raise NoTls  # before the password is said
        command: Any = super()._connect_command()
        return bytes(command)
