"""What the HTTP media handlers need from the system behind them.

`MediaPort` is the only thing that the handlers in `media` know: they translate HTTP to its calls
and its refusals to status codes. Whoever implements it decides about accounts, quotas, files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class MediaCode(StrEnum):
    """Why a media request was refused; stable, the `error` of the JSON answer."""

    BAD_REQUEST = "bad_request"
    CUT = "connection_cut"
    NOT_AUTHENTICATED = "not_authenticated"
    NO_SUCH_UPLOAD = "no_such_upload"
    NO_SUCH_FILE = "no_such_file"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMEOUT = "timeout"
    WRONG_OFFSET = "wrong_offset"
    UPLOAD_EXPIRED = "upload_expired"
    UNSUPPORTED_VERSION = "unsupported_version"
    PRECONDITION_FAILED = "precondition_failed"
    TOO_LARGE = "too_large"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    RANGE = "range_not_satisfiable"
    UPLOAD_BUSY = "upload_busy"
    TOO_MANY = "too_many"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    GOING_AWAY = "going_away"
    QUOTA = "quota"
    NO_SPACE = "no_space"


class MediaRefused(Exception):
    """A media request cannot be served; carries the code and one sentence for people."""

    def __init__(self, code: MediaCode, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class NewUpload:
    """A request to begin an upload, already checked for form."""

    size_bytes: int
    media_type: str
    """`type/subtype`, lower case, no parameters."""
    name: str | None
    """The file's name as its sender calls it: data for people, never part of a path."""
    metadata: str
    """The `Upload-Metadata` header as it came, to be given back by `HEAD`."""
    sha256: bytes | None
    """The content's hash, when the sender told it; another content is then refused."""


@dataclass(frozen=True, slots=True)
class UploadState:
    """How far an upload is."""

    upload_id: str
    """32 lower-case hex digits."""
    size_bytes: int
    offset_bytes: int
    """Bytes that are durable; where the next piece begins."""
    expires_ms: int
    metadata: str
    file_id: bytes | None
    """The content's SHA-256 once the file is stored."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """The digest that a piece must have."""

    algorithm: str
    """`sha1` or `sha256`."""
    digest: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that the asking account may fetch."""

    file_id: bytes
    size_bytes: int
    media_type: str


class UploadPiece(Protocol):
    """One PATCH on its way into an upload, which it holds for itself until `release`."""

    @property
    def remaining_bytes(self) -> int:
        """How many bytes the upload still lacks."""

    async def write(self, data: bytes | bytearray) -> None:
        """Appends at most `remaining_bytes`; returns when they are with the operating system."""

    async def finish(self) -> UploadState:
        """Says that the piece is whole; returns when it is durable and, if last, the file stored.

        Raises:
            MediaRefused: `CHECKSUM_MISMATCH` (the piece is gone), or the file could not be
                stored now (its bytes are kept; asking for the state tries again).
        """

    async def discard(self) -> None:
        """Takes the piece back: the upload is where it was before."""

    async def release(self) -> None:
        """Ends the piece; may be called any number of times.

        Without `finish` or `discard` what arrived is kept, unless it had a checksum, which part
        of a piece cannot satisfy.
        """


class MediaPort(Protocol):
    """The media service as HTTP sees it. Every refusal is a `MediaRefused`."""

    @property
    def max_file_bytes(self) -> int:
        """The largest file that is taken."""

    def refused(self, code: MediaCode) -> None:
        """Takes note that a request was answered with this error, for the metrics."""

    async def authenticate(self, token: str) -> str | None:
        """The account that the bearer token speaks for, or None."""

    async def create_upload(self, account: str, new: NewUpload) -> UploadState:
        """Begins an upload; refuses by size, quota and number before any byte is sent."""

    async def upload_state(self, account: str, upload_id: str) -> UploadState:
        """How far an upload of this account is; another's is `NO_SUCH_UPLOAD`."""

    async def begin_piece(
        self,
        account: str,
        upload_id: str,
        offset_bytes: int,
        length_bytes: int | None,
        checksum: Checksum | None,
    ) -> UploadPiece:
        """Opens an upload for the bytes from `offset_bytes` on; `length_bytes` if it is known."""

    async def terminate_upload(self, account: str, upload_id: str) -> None:
        """Gives up an unfinished upload and frees what it held."""

    async def find_file(self, account: str, file_id: bytes) -> StoredFile | None:
        """The file, if it exists and the account may fetch it; None says no more than that."""

    def open_range(self, file_id: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a found file from `start` up to, not including, `end`, in chunks."""
