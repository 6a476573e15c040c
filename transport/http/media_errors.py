"""Refusals as HTTP: a status and a small JSON object, whatever went wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from . import tus
from .media_port import MediaCode, MediaRefused

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUS: Final = {
    MediaCode.BAD_REQUEST: 400,
    MediaCode.CUT: 400,
    MediaCode.NOT_AUTHENTICATED: 401,
    MediaCode.NO_SUCH_UPLOAD: 404,
    MediaCode.NO_SUCH_FILE: 404,
    MediaCode.NOT_FOUND: 404,
    MediaCode.METHOD_NOT_ALLOWED: 405,
    MediaCode.TIMEOUT: 408,
    MediaCode.WRONG_OFFSET: 409,
    MediaCode.UPLOAD_EXPIRED: 410,
    MediaCode.UNSUPPORTED_VERSION: 412,
    MediaCode.PRECONDITION_FAILED: 412,
    MediaCode.TOO_LARGE: 413,
    MediaCode.WRONG_CONTENT_TYPE: 415,
    MediaCode.RANGE: 416,
    MediaCode.UPLOAD_BUSY: 423,
    MediaCode.TOO_MANY: 429,
    MediaCode.CHECKSUM_MISMATCH: 460,
    MediaCode.INTERNAL: 500,
    MediaCode.UNAVAILABLE: 503,
    MediaCode.OVERLOADED: 503,
    MediaCode.GOING_AWAY: 503,
    MediaCode.QUOTA: 507,
    MediaCode.NO_SPACE: 507,
}
_REASON: Final = {460: "Checksum Mismatch"}
_RETRY_SOON: Final = frozenset({423, 429, 503})


class RangeRefused(MediaRefused):
    """A range outside the file; the answer tells the file's size."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(MediaCode.RANGE, "the range lies outside the file")
        self.size_bytes = size_bytes


def json_errors(on_refused: Callable[[MediaCode], None]) -> Middleware:
    """Makes the middleware that turns whatever goes wrong into the JSON error answer.

    Refusals, HTTP errors of aiohttp and defects all end in one error code, which `on_refused`
    is told. So does a lost connection, whose answer nobody reads.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except (
            MediaRefused,
            ConnectionError,
            web.HTTPNotFound,
            web.HTTPMethodNotAllowed,
        ) as error:
            refused = _as_refusal(error)
            on_refused(refused.code)
            response = error_response(refused)
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - logged here; the client learns only that it happened
            structlog.get_logger("palaver.media").exception("media_failed", path=request.path)
            on_refused(MediaCode.INTERNAL)
            response = error_response(MediaRefused(MediaCode.INTERNAL, "the server failed"))
        if not response.prepared and request.path.startswith(tus.UPLOADS_PATH):
            response.headers["Tus-Resumable"] = tus.VERSION
        return response

    return middleware


def _as_refusal(error: Exception) -> MediaRefused:
    if isinstance(error, MediaRefused):
        return error
    if isinstance(error, ConnectionError):
        return MediaRefused(MediaCode.CUT, "the connection was cut")
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MediaRefused(MediaCode.METHOD_NOT_ALLOWED, "this method is not served here")
    return MediaRefused(MediaCode.NOT_FOUND, "there is nothing here")


def error_response(refused: MediaRefused) -> web.Response:
    """The JSON error answer of a refusal."""
    status = _STATUS[refused.code]
    response = web.json_response(
        {"error": refused.code.value, "text": refused.text},
        status=status,
        reason=_REASON.get(status),
    )
    response.headers["Cache-Control"] = "no-store"
    if status in _RETRY_SOON:
        response.headers["Retry-After"] = "1"
    if refused.code is MediaCode.NOT_AUTHENTICATED:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if refused.code is MediaCode.UNSUPPORTED_VERSION:
        response.headers["Tus-Version"] = tus.VERSION
    if isinstance(refused, RangeRefused):
        response.headers[hdrs.CONTENT_RANGE] = f"bytes */{refused.size_bytes}"
    return response
