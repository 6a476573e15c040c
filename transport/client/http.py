"""HTTP requests with the client's bearer token; refusals are typed, retries are bounded."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp

from palaver.transport import wire
from palaver.transport.client.engine import Engine
from palaver.transport.client.errors import (
    ClientError,
    ConnectionFailed,
    NotAuthenticated,
    ProtocolViolation,
    RequestTimeout,
    ServerError,
    TransientError,
    server_error,
)
from palaver.transport.client.link import pause

__all__ = ["Again", "Http", "Tries"]

#: Statuses after which the same request may succeed: 401 with a new token, 409 and 460 after
#: asking for the offset, the others later.
_AGAIN: Final = frozenset({401, 408, 409, 423, 425, 429, 460, 500, 502, 503, 504})
#: Codes of the media service that the wire does not know.
_CODES: Final = {"upload_busy": "unavailable", "no_space": "unavailable"}
_TOKEN_MARGIN_MS: Final = 60_000
_MAX_ERROR_BYTES: Final = 4_096
_IDLE_S: Final = 30.0


class Again(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, error: ClientError, retry_after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s


class Tries:
    """Counts attempts without progress and pauses between them; the last one's error is raised."""

    __slots__ = ("_count", "_http", "_max_tries")

    def __init__(self, http: Http, max_tries: int = 8) -> None:
        self._http = http
        self._max_tries = max_tries
        self._count = 0

    def progress(self) -> None:
        """Something got through: begin to count anew."""
        self._count = 0

    async def pause(self, again: Again) -> None:
        """Wait before the next attempt, or raise what failed where it was the last."""
        self._count += 1
        if self._count >= self._max_tries:
            raise again.error from again
        settings = self._http.engine.settings
        if again.retry_after_s is not None:
            delay_s = settings.backoff.after_s(again.retry_after_s, settings.chance)
        else:
            delay_s = settings.backoff.delay_s(self._count - 1, settings.chance)
        await pause(settings.clock, delay_s)


class Http:
    """The HTTP side of the server that the engine is connected to."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._ssl = engine.settings.ssl
        self._session: aiohttp.ClientSession | None = None
        self._token = ""
        self._token_expires_ms = 0
        self._token_for = ""

    @property
    def base(self) -> str:
        """The HTTP root of the server that the client is connected to, or tries next."""
        parts = urlsplit(self.engine.core.servers.current)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        return urlunsplit((scheme, parts.netloc, "/", "", ""))

    def url(self, path: str) -> str:
        """Return the absolute URL of a path, which must stay on this server."""
        base = self.base
        url = urljoin(base, path)
        if urlsplit(url)[:2] != urlsplit(base)[:2]:
            # The token is for this server only.
            raise ProtocolViolation(f"the server points elsewhere: {url}")
        return url

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _bearer(self) -> str:
        late = self.engine.settings.clock.time_ms() >= self._token_expires_ms - _TOKEN_MARGIN_MS
        if late or self._token_for != self.base:
            result = await self.engine.ask(wire.Token(0))
            assert isinstance(result, wire.MediaToken)
            self._token, self._token_expires_ms = result.token, result.expires_ms
            # The server that answered: the client may have gone from one to another meanwhile.
            self._token_for = self.base
        return self._token

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        *,
        accept: frozenset[int],
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one request and give its response, whose status is one of ``accept``.

        Raises:
            Again: It failed in a way that may pass; also when the body breaks off.
            ServerError: It was refused for good.
        """
        _ = self.engine.core  # Raises where the client is over.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_IDLE_S, sock_read=_IDLE_S),
                auto_decompress=False,
            )
        try:
            bearer = {"Authorization": f"Bearer {await self._bearer()}", **headers}
        except (RequestTimeout, TransientError) as error:
            # A node that is restarted meanwhile answers no TOKEN: a try that failed, as any other.
            raise Again(error, getattr(error, "retry_after_s", None)) from error
        try:
            async with self._session.request(
                method,
                self.url(path),
                headers=bearer,
                # From a file, aiohttp sends in pieces and lets others run in between.
                data=None if data is None else io.BytesIO(data),
                # The token must not follow a redirect.
                allow_redirects=False,
                ssl=self._ssl if self._ssl is not None else True,
            ) as response:
                if response.status not in accept:
                    raise await self.refusal(response)
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            failed = ConnectionFailed(f"{method} {path}: {error!r}")
            failed.__cause__ = error
            raise Again(failed) from error

    async def refusal(self, response: aiohttp.ClientResponse) -> Exception:
        """Return the exception that a response of another status than wanted stands for."""
        code, text = "", response.reason or ""
        try:
            said = json.loads(await response.content.read(_MAX_ERROR_BYTES))
            code, text = str(said["error"]), str(said["text"])
        except (ValueError, TypeError, KeyError):
            code = f"http_{response.status}"  # Something between here and the server answered.
        error: ServerError = server_error(_CODES.get(code, code), text)
        if response.status == 401:
            self._token_expires_ms = 0
            error = NotAuthenticated(text)
        if response.status not in _AGAIN:
            return error
        after = response.headers.get("Retry-After", "")
        return Again(error, float(after) if after.isascii() and after.isdigit() else None)
