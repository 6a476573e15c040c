"""A node's one connection to NATS, shared by the fabric, the journals and the registers.

    connection = await NatsConnection.open(NatsSettings(urls=("127.0.0.1:4222",), name="a@host"))
    context = connection.client.jetstream()

Once made it is kept for ever: servers that end, hang or refuse are left for others, with a pause
that chance makes longer. Nobody waits for it: what is posted meanwhile is refused, and
subscriptions are made anew by themselves. Whoever has to know registers with `on_change`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from typing import Any, Final, Self

import structlog
from nats import errors as nats_errors
from nats.aio.client import Server
from nats.aio.subscription import Subscription

from .errors import (
    NatsClosed,
    NatsError,
    NatsRefused,
    NatsSettingsWrong,
    NatsTooBig,
    NatsUnreachable,
    NatsUntrusted,
)
from .nats_client import Handler, NatsClient, NoTls
from .nats_settings import NatsSettings, NatsStats

__all__ = ["NatsConnection", "NatsSubscription"]

log = structlog.get_logger("palaver.nats")

_REPEAT_S: Final = 10.0
"""An error that repeats is written to the log so often."""


class NatsSubscription:
    """A subject is being listened to; ends by `close`."""

    __slots__ = ("_subscription",)

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def close(self) -> None:
        """Listen no more; harmless when repeated, or when the connection is closed."""
        with contextlib.suppress(nats_errors.Error):
            await self._subscription.unsubscribe()


async def _unused(_message: Any) -> None:
    """Stand in for the handler that nats-py wants; the client calls ours before."""


class NatsConnection:
    """A connection to a cluster of NATS servers; make it by `open`, on the loop that uses it.

    Attributes:
        settings: what it was made with.
        client: nats-py's client, for JetStream; the same one for as long as the connection lives.
        stats: counters.
    """

    __slots__ = (
        "_closing", "_last_error", "_last_logged_s", "_listeners", "_opening", "_random",
        "_refusals", "client", "settings", "stats",
    )  # fmt: skip

    def __init__(self, settings: NatsSettings, chance: random.Random | None = None) -> None:
        self.settings = settings
        self.client = NatsClient()
        self.stats = NatsStats()
        self._random = chance or random.SystemRandom()
        self._listeners: dict[Callable[[bool], None], None] = {}
        self._closing = False
        self._last_error = "no answer"
        self._last_logged_s = 0.0
        self._refusals = 0
        # While it is being opened: what ends that early.
        self._opening: asyncio.Future[NatsError] | None = None

    def __repr__(self) -> str:
        return f"<nats connection of {self.settings.name} to {self.server or 'none'}>"

    # -- opening and closing -------------------------------------------------------------------

    @classmethod
    async def open(cls, settings: NatsSettings, chance: random.Random | None = None) -> Self:
        """Connect to one of the servers; `chance` lengthens the pauses between attempts.

        Raises:
            NatsUnreachable: none has answered within `first_timeout_s`.
            NatsRefused: all refuse the credentials.
            NatsUntrusted: TLS fails with all.
        NatsSettingsWrong: nats-py cannot use the settings.
        """
        self = cls(settings, chance)
        self._opening = asyncio.get_running_loop().create_future()
        connecting = asyncio.ensure_future(self._connect())
        try:
            await asyncio.wait(
                (connecting, self._opening),
                timeout=settings.first_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if connecting.done():
                try:
                    connecting.result()
                except (nats_errors.Error, ValueError) as exc:
                    raise NatsSettingsWrong(f"NATS cannot be used: {exc}") from exc
                log.info("nats connected", name=settings.name, server=self.server)
                return self
            if self._opening.done():
                raise self._opening.result()
            raise NatsUnreachable(settings.urls, settings.first_timeout_s, self._last_error)
        finally:
            self._opening = None
            if not connecting.done():
                self._closing = True
                while not connecting.done():  # nats-py may swallow it once
                    connecting.cancel()
                    await asyncio.wait((connecting,), timeout=settings.connect_timeout_s)
                self.client.abort()

    async def _connect(self) -> None:
        await self.client.connect(
            **self.settings.options(),
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            lame_duck_mode_cb=self._on_lame_duck,
            reconnect_to_server_handler=self._choose,
        )

    async def drain(self) -> None:
        """Work off what has arrived, send what was published, and close."""
        self._closing = True
        with contextlib.suppress(nats_errors.Error, TimeoutError):
            async with asyncio.timeout(self.settings.drain_timeout_s * 2):
                await self.client.drain()
        await self.close()

    async def close(self) -> None:
        """Send what was published, within `close_timeout_s`, and close; harmless when repeated."""
        self._closing = True
        with contextlib.suppress(nats_errors.Error, TimeoutError):
            async with asyncio.timeout(self.settings.close_timeout_s):
                if self.client.is_connected:
                    await self.client.flush()
        if not self.client.is_connected:
            self.client.abort()
        try:
            async with asyncio.timeout(self.settings.close_timeout_s):
                await self.client.close()
        except (TimeoutError, OSError, RuntimeError):  # uvloop's word for a socket that has gone
            self.client.abort()
            log.warning("nats closed the hard way", name=self.settings.name)

    # -- use -----------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a server now."""
        return self.client.is_connected

    @property
    def server(self) -> str | None:
        """The address of the server it is connected to."""
        url = self.client.connected_url
        return None if url is None else url.netloc.rpartition("@")[2]

    @property
    def max_payload_bytes(self) -> int:
        """The largest message that the servers take."""
        return int(self.client.max_payload)

    def post(self, subject: bytes, payload: bytes) -> bool:
        """Publish without waiting; False if it cannot be sent now, and then it never is.

        Raises:
            NatsTooBig: the payload is larger than `max_payload_bytes`.
        """
        if len(payload) > self.client._max_payload:  # noqa: SLF001 - its property costs too much
            raise NatsTooBig(len(payload), self.max_payload_bytes)
        if self.client.post(subject, payload):
            return True
        self.stats.refused += 1
        return False

    async def listen(self, subject: str, handler: Handler) -> NatsSubscription:
        """Have `handler` called with the payload of every message to a subject.

        It is called at once where the message is read, and must not raise. What the handler cannot
        take in time waits in the socket, and then in the server, which ends the connection of a
        client that is too slow; so a handler keeps what it does short.

        Raises:
            NatsClosed: the connection is closed.
        """
        try:
            subscription = await self.client.subscribe(subject, cb=_unused)
        except nats_errors.Error as exc:
            raise NatsClosed(f"cannot listen to {subject}: {exc}") from exc
        self.client.direct[subscription._id] = handler  # noqa: SLF001 - it has no other name
        return NatsSubscription(subscription)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until the server has taken what was published; False if it has not in time."""
        if not self.connected:
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await self.client.flush()
        except (nats_errors.Error, TimeoutError):
            return False
        return True

    def on_change(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        """Call `listener(connected)` when the connection is lost and made; returns its end."""
        self._listeners[listener] = None
        return lambda: self._listeners.pop(listener, None)

    # -- what nats-py tells --------------------------------------------------------------------

    def _choose(self, servers: list[Server], _info: dict[str, Any]) -> tuple[Server | None, float]:
        """Choose the server that has failed least, after a pause that grows with its failures."""
        best = min(servers, key=lambda server: (server.reconnects, self._random.random()))
        if not best.reconnects:
            return best, self._random.uniform(0.0, self.settings.reconnect_wait_s)
        wait_s = self.settings.reconnect_wait_s * min(best.reconnects, 10)
        return best, wait_s * (1.0 + self._random.random())

    async def _on_error(self, error: Exception) -> None:
        self.stats.errors += 1
        if self._closing:
            return
        if isinstance(error, nats_errors.SlowConsumerError):
            self.stats.slow_consumers += 1
        text = str(error) or type(error).__name__
        now_s = asyncio.get_running_loop().time()
        if text != self._last_error or now_s >= self._last_logged_s + _REPEAT_S:
            self._last_error, self._last_logged_s = text, now_s
            log.warning("nats error", name=self.settings.name, error=text)
        if self._opening is not None and not self._opening.done():
            self._judge(error, text, self._opening)

    def _judge(self, error: Exception, text: str, opening: asyncio.Future[NatsError]) -> None:
        """End the opening if all servers refuse; one that does not answer may come up yet."""
        refused = isinstance(error, nats_errors.AuthorizationError) or "uthorization" in text
        untrusted = isinstance(error, ssl.SSLError | NoTls)
        self._refusals = self._refusals + 1 if refused or untrusted else 0
        if self._refusals >= len(self.client._server_pool):  # noqa: SLF001 - with those learned
            kind = NatsRefused if refused else NatsUntrusted
            opening.set_result(kind(self.settings.urls, text))

    async def _on_disconnected(self) -> None:
        if self._opening is None and not self._closing:
            self.stats.disconnects += 1
            log.warning("nats disconnected", name=self.settings.name, server=self.server)
            self._tell(connected=False)

    async def _on_reconnected(self) -> None:
        self.stats.reconnects += 1
        log.info("nats reconnected", name=self.settings.name, server=self.server)
        self._tell(connected=True)

    async def _on_closed(self) -> None:
        if self._opening is None:
            self._tell(connected=False)
            if not self._closing:
                log.error("nats connection ended", name=self.settings.name, error=self._last_error)

    async def _on_lame_duck(self) -> None:
        log.info("nats server is about to stop", name=self.settings.name, server=self.server)

    def _tell(self, *, connected: bool) -> None:
        for listener in list(self._listeners):
            listener(connected)
