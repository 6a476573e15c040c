"""Media over HTTP: resumable upload by tus 1.0.0 and download by ranges.

    OPTIONS /media/uploads          what the server can do
    POST    /media/uploads          begin an upload                -> 201, Location
    HEAD    /media/uploads/{id}     how far it is                  -> 200, Upload-Offset
    PATCH   /media/uploads/{id}     send a piece                   -> 204, Upload-Offset
    DELETE  /media/uploads/{id}     give it up                     -> 204
    GET     /media/{sha256 hex}     fetch a file, or one range     -> 200, 206
    HEAD    /media/{sha256 hex}     its size and type              -> 200

All but OPTIONS need `Authorization: Bearer TOKEN`. The answer that completes an upload, and every
later HEAD of it, carries `Palaver-File-Id: <sha256 hex>`. Every error is
`{"error": code, "text": sentence}` with a code of `MediaCode`.

The handlers stand over a `MediaPort` and hold no file and no account. A transfer costs at most
two pieces of `piece_bytes` here, whatever the size of the file; a peer that stops reading or
sending is dropped after `idle_timeout_s`, and what it had sent is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from aiohttp import hdrs, web

from . import tus
from .media_errors import Handler, RangeRefused, json_errors
from .media_port import (
    MediaCode,
    MediaPort,
    MediaRefused,
    StoredFile,
    UploadPiece,
    UploadState,
)
from .ranges import Span, Unsatisfiable, parse_range

FILE_ID_HEADER: Final = "Palaver-File-Id"

_MAX_TOKEN_CHARS: Final = 1024


@dataclass(frozen=True, slots=True)
class MediaHttpLimits:
    """Bounds of the HTTP side; beyond the first two a request is refused with 429 or 503."""

    max_transfers_per_account: int = 8
    max_transfers: int = 512
    idle_timeout_s: float = 30.0
    """How long a peer may neither send nor take a byte."""
    piece_bytes: int = 256 * 1024
    """How much of an upload is collected before it is handed on."""


def app(port: MediaPort, limits: MediaHttpLimits | None = None) -> web.Application:
    """An aiohttp application that serves media and nothing else."""
    application = web.Application(middlewares=[json_errors(port.refused)])
    application.add_routes(routes(port, limits))
    return application


def routes(port: MediaPort, limits: MediaHttpLimits | None = None) -> list[web.RouteDef]:
    """The media routes, for an application that also serves other things.

    Give that application the middleware `json_errors(port.refused)`.
    """
    media = _Media(port, limits or MediaHttpLimits())
    one = tus.UPLOADS_PATH + "/{upload:[0-9a-f]{32}}"
    file = "/media/{file:[0-9a-f]{64}}"
    return [
        web.options(tus.UPLOADS_PATH, media.discover),
        web.post(tus.UPLOADS_PATH, media.create),
        web.options(one, media.discover),
        web.head(one, media.state),
        # PATCH answers `Expect: 100-continue` itself, after its checks.
        web.patch(one, media.patch, expect_handler=_expect_later),
        web.delete(one, media.terminate),
        web.post(one, media.overridden, expect_handler=_expect_later),
        web.get(file, media.fetch, allow_head=False),
        web.head(file, media.fetch),
    ]


class _Transfers:
    """Counts running transfers, in all and by account."""

    __slots__ = ("_by_account", "_limits", "_running")

    def __init__(self, limits: MediaHttpLimits) -> None:
        self._limits = limits
        self._running = 0
        self._by_account: dict[str, int] = {}

    @contextlib.contextmanager
    def hold(self, account: str) -> Iterator[None]:
        mine = self._by_account.get(account, 0)
        if mine >= self._limits.max_transfers_per_account:
            raise MediaRefused(MediaCode.TOO_MANY, "too many transfers of this account at once")
        if self._running >= self._limits.max_transfers:
            raise MediaRefused(MediaCode.OVERLOADED, "too many transfers at once")
        self._running += 1
        self._by_account[account] = mine + 1
        try:
            yield
        finally:
            self._running -= 1
            left = self._by_account[account] - 1
            if left:
                self._by_account[account] = left
            else:
                del self._by_account[account]


class _Media:
    """The handlers."""

    __slots__ = ("_limits", "_port", "_transfers")

    def __init__(self, port: MediaPort, limits: MediaHttpLimits) -> None:
        self._port = port
        self._limits = limits
        self._transfers = _Transfers(limits)

    async def _account(self, request: web.Request) -> str:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        token = token.strip()
        account = None
        if scheme.lower() == "bearer" and 0 < len(token) <= _MAX_TOKEN_CHARS:
            account = await self._port.authenticate(token)
        if account is None:
            raise MediaRefused(MediaCode.NOT_AUTHENTICATED, "a valid bearer token is needed")
        return account

    async def _tus_account(self, request: web.Request) -> str:
        """Authenticates a tus request and checks its protocol version."""
        account = await self._account(request)
        if request.headers.get("Tus-Resumable") != tus.VERSION:
            raise MediaRefused(MediaCode.UNSUPPORTED_VERSION, f"say Tus-Resumable: {tus.VERSION}")
        return account

    async def discover(self, request: web.Request) -> web.StreamResponse:
        """OPTIONS: the protocol versions, extensions and limits; needs no token."""
        return web.Response(
            status=204,
            headers={
                "Tus-Version": tus.VERSION,
                "Tus-Extension": tus.EXTENSIONS,
                "Tus-Max-Size": str(self._port.max_file_bytes),
                "Tus-Checksum-Algorithm": ",".join(tus.CHECKSUM_BYTES),
            },
        )

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST: begins an upload of the length and metadata in the headers; takes no body."""
        account = await self._tus_account(request)
        if request.can_read_body:
            raise tus.bad("creation takes no body: send the content by PATCH")
        new = tus.new_upload(
            request.headers.get("Upload-Length"),
            request.headers.get("Upload-Defer-Length"),
            request.headers.get("Upload-Metadata"),
        )
        state = await self._port.create_upload(account, new)
        headers = _state_headers(state)
        headers[hdrs.LOCATION] = f"{tus.UPLOADS_PATH}/{state.upload_id}"
        return web.Response(status=201, headers=headers)

    async def state(self, request: web.Request) -> web.StreamResponse:
        """HEAD: the offset from which to go on."""
        account = await self._tus_account(request)
        state = await self._port.upload_state(account, request.match_info["upload"])
        headers = _state_headers(state)
        headers["Upload-Length"] = str(state.size_bytes)
        if state.metadata:
            headers["Upload-Metadata"] = state.metadata
        return web.Response(status=200, headers=headers)

    async def terminate(self, request: web.Request) -> web.StreamResponse:
        """DELETE: gives the upload up."""
        account = await self._tus_account(request)
        await self._port.terminate_upload(account, request.match_info["upload"])
        return web.Response(status=204)

    async def overridden(self, request: web.Request) -> web.StreamResponse:
        """POST with `X-HTTP-Method-Override`, for clients that can send no PATCH or DELETE."""
        method = request.headers.get("X-HTTP-Method-Override", "").upper()
        handlers: dict[str, Handler] = {
            "PATCH": self.patch,
            "DELETE": self.terminate,
            "HEAD": self.state,
            "OPTIONS": self.discover,
        }
        if method not in handlers:
            raise web.HTTPMethodNotAllowed("POST", ["DELETE", "HEAD", "OPTIONS", "PATCH"])
        return await handlers[method](request)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """PATCH: takes the bytes that follow the offset; a cut connection keeps what arrived."""
        account = await self._tus_account(request)
        if request.content_type != tus.PIECE_TYPE:
            raise MediaRefused(MediaCode.WRONG_CONTENT_TYPE, f"say Content-Type: {tus.PIECE_TYPE}")
        if hdrs.CONTENT_ENCODING in request.headers:
            raise MediaRefused(MediaCode.WRONG_CONTENT_TYPE, "no Content-Encoding is taken")
        offset = tus.number("Upload-Offset", request.headers.get("Upload-Offset"))
        checksum = tus.checksum(request.headers.get("Upload-Checksum"))
        with self._transfers.hold(account):
            piece = await self._port.begin_piece(
                account, request.match_info["upload"], offset, request.content_length, checksum
            )
            try:
                await _go_ahead(request)
                await self._receive(request, piece)
                state = await piece.finish()
            finally:
                await piece.release()
        return web.Response(status=204, headers=_state_headers(state))

    async def _receive(self, request: web.Request, piece: UploadPiece) -> None:
        """Hands the body to the piece in parts of about `piece_bytes`, each when it is full."""
        collected = bytearray()
        try:
            while True:
                async with asyncio.timeout(self._limits.idle_timeout_s):
                    data = await request.content.readany()
                if len(collected) + len(data) > piece.remaining_bytes:
                    await piece.discard()
                    raise MediaRefused(MediaCode.TOO_LARGE, "more bytes than the upload's length")
                collected += data
                if len(collected) >= self._limits.piece_bytes or (collected and not data):
                    full, collected = collected, bytearray()
                    await piece.write(full)
                if not data:
                    return
        except TimeoutError:
            await _write_rest(piece, collected)
            raise MediaRefused(MediaCode.TIMEOUT, "the body stopped arriving") from None
        except (ConnectionError, web.RequestPayloadError):
            await _write_rest(piece, collected)
            raise MediaRefused(MediaCode.CUT, "the body broke off") from None

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD of a file: whole or one range of it."""
        account = await self._account(request)
        name = request.match_info["file"]
        file = await self._port.find_file(account, bytes.fromhex(name))
        if file is None:
            raise MediaRefused(MediaCode.NO_SUCH_FILE, "there is no such file")
        etag = f'"{name}"'
        if not _matches(request.headers.get(hdrs.IF_MATCH, "*"), etag):
            raise MediaRefused(MediaCode.PRECONDITION_FAILED, "the file has another ETag")
        headers = _file_headers(file, etag)
        if _matches(request.headers.get(hdrs.IF_NONE_MATCH, ""), etag):
            return web.Response(status=304, headers=headers)
        try:
            span = _wanted_span(request, etag, file.size_bytes)
        except Unsatisfiable:
            raise RangeRefused(file.size_bytes) from None
        response = web.StreamResponse(status=200 if span is None else 206, headers=headers)
        response.content_type = file.media_type
        if span is not None:
            response.headers[hdrs.CONTENT_RANGE] = (
                f"bytes {span.start}-{span.end - 1}/{file.size_bytes}"
            )
        span = span or Span(0, file.size_bytes)
        response.content_length = span.end - span.start
        with self._transfers.hold(account):
            await response.prepare(request)
            if request.method != hdrs.METH_HEAD:
                await self._send(request, response, file, span)
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, file: StoredFile, span: Span
    ) -> None:
        """Streams the span; the reader's pace sets the pace of the reads."""
        chunks = self._port.open_range(file.file_id, span.start, span.end)
        try:
            async for chunk in chunks:
                async with asyncio.timeout(self._limits.idle_timeout_s):
                    await response.write(chunk)
            async with asyncio.timeout(self._limits.idle_timeout_s):
                await response.write_eof()
        except ConnectionError:
            return  # the reader went away, which is its right
        except (TimeoutError, MediaRefused):
            # The head with the length is out: cutting the connection is the one way left to say
            # that the rest will not come.
            if request.transport is not None:
                request.transport.abort()


async def _write_rest(piece: UploadPiece, collected: bytearray) -> None:
    """Keeps what had arrived when the body broke off."""
    if collected:
        await piece.write(collected)


async def _expect_later(request: web.Request) -> None:
    """Leaves `Expect: 100-continue` to the handler: the go-ahead comes after the checks."""


async def _go_ahead(request: web.Request) -> None:
    """Tells a client that waits for it to send the body."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        transport = request.transport
        if transport is not None:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _state_headers(state: UploadState) -> dict[str, str]:
    headers = {
        "Upload-Offset": str(state.offset_bytes),
        "Upload-Expires": formatdate(state.expires_ms / 1000, usegmt=True),
        "Cache-Control": "no-store",
    }
    if state.file_id is not None:
        headers[FILE_ID_HEADER] = state.file_id.hex()
    return headers


def _file_headers(file: StoredFile, etag: str) -> dict[str, str]:
    """Headers of a file's answers: content never changes, and a browser must never run it."""
    return {
        hdrs.ETAG: etag,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: "private, max-age=31536000, immutable",
        hdrs.CONTENT_DISPOSITION: "attachment",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


def _matches(header: str, etag: str) -> bool:
    """Whether a list of entity tags, or `*`, holds the tag."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in tags or "*" in tags


def _wanted_span(request: web.Request, etag: str, size_bytes: int) -> Span | None:
    """The range to send, or None for the whole: HEAD has no ranges, a stale If-Range drops them."""
    if request.method != hdrs.METH_GET:
        return None
    condition = request.headers.get(hdrs.IF_RANGE)
    if condition is not None and condition.strip() != etag:
        return None
    if len(request.headers.getall(hdrs.RANGE, [])) > 1:
        return None
    return parse_range(request.headers.get(hdrs.RANGE), size_bytes)
