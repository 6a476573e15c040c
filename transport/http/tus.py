"""The tus 1.0.0 headers as values: pure functions from header text to checked data.

Everything here raises `MediaRefused` and touches neither socket nor file.
Source: the tus resumable upload protocol 1.0.0 (https://tus.io/protocols/resumable-upload).
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from typing import Final

from .media_port import Checksum, MediaCode, MediaRefused, NewUpload

UPLOADS_PATH: Final = "/media/uploads"
VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,expiration,checksum,termination"
CHECKSUM_BYTES: Final = {"sha1": 20, "sha256": 32}
PIECE_TYPE: Final = "application/offset+octet-stream"

MAX_METADATA_BYTES: Final = 4096
MAX_METADATA_KEYS: Final = 16
MAX_NAME_BYTES: Final = 255
DEFAULT_TYPE: Final = "application/octet-stream"

_NUMBER: Final = re.compile(r"[0-9]{1,18}\Z", re.ASCII)
# RFC 6838, section 4.2: restricted names of at most 127 characters.
_MEDIA_TYPE: Final = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z", re.ASCII
)
_KEY: Final = re.compile(r"[!-+\--~]{1,64}\Z", re.ASCII)  # printable ASCII, no space, no comma
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
_JOINERS: Final = "\u200c\u200d"
_HEX_HASH: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)


def bad(text: str) -> MediaRefused:
    """The refusal of a request that is wrong in itself."""
    return MediaRefused(MediaCode.BAD_REQUEST, text)


def number(header: str, text: str | None) -> int:
    """A header's value as a whole number >= 0 of at most 18 digits."""
    if text is None:
        raise bad(f"{header} is missing")
    if _NUMBER.match(text) is None:
        raise bad(f"{header} is not a whole number")
    return int(text)


def metadata(header: str | None) -> dict[str, bytes]:
    """The `Upload-Metadata` header's keys and decoded values.

    Refused beyond 4 KiB or 16 keys, with a key twice, or with a value that is not base64.
    """
    if header is None or not header.strip():
        return {}
    if len(header) > MAX_METADATA_BYTES:
        raise bad(f"Upload-Metadata is longer than {MAX_METADATA_BYTES} bytes")
    found: dict[str, bytes] = {}
    for pair in header.split(","):
        key, _, value = pair.strip().partition(" ")
        if _KEY.match(key) is None:
            raise bad("Upload-Metadata has a key that is empty, too long or not printable ASCII")
        if key in found:
            raise bad("Upload-Metadata has a key twice")
        try:
            found[key] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise bad("Upload-Metadata has a value that is not base64") from None
        if len(found) > MAX_METADATA_KEYS:
            raise bad(f"Upload-Metadata has more than {MAX_METADATA_KEYS} keys")
    return found


def file_name(raw: bytes) -> str:
    """A file name for people: UTF-8, 1 to 255 bytes, no control character, no path part."""
    if not 0 < len(raw) <= MAX_NAME_BYTES:
        raise bad(f"the file name must have 1 to {MAX_NAME_BYTES} bytes")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise bad("the file name is not UTF-8") from None
    # Cc are the control characters; Cf also turns the reading direction around ("exe.gpj");
    # line and paragraph separators break a line in someone's terminal. Joiners belong to scripts
    # and emoji.
    for character in name:
        if (
            unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}
            and character not in _JOINERS
        ):
            raise bad("the file name has a control character")
    if "/" in name or "\\" in name or name in {".", ".."}:
        raise bad("the file name has a path in it")
    return name


def media_type(raw: bytes) -> str:
    """A media type `type/subtype`, lower case; parameters are refused."""
    text = raw.decode("ascii", "replace").lower()
    if _MEDIA_TYPE.match(text) is None:
        raise bad("the file type is not of the form type/subtype")
    return text


def new_upload(length: str | None, deferred: str | None, header: str | None) -> NewUpload:
    """The creation request that the three headers describe.

    `filename`, `filetype` and `sha256` (64 hex digits) are read from the metadata; other keys
    are only given back.
    """
    if deferred is not None:
        raise bad("Upload-Defer-Length is not supported: say Upload-Length")
    size_bytes = number("Upload-Length", length)
    fields = metadata(header)
    expected: bytes | None = None
    if "sha256" in fields:
        text = fields["sha256"].decode("ascii", "replace").lower()
        if _HEX_HASH.match(text) is None:
            raise bad("the metadata sha256 is not 64 hex digits")
        expected = bytes.fromhex(text)
    return NewUpload(
        size_bytes=size_bytes,
        media_type=media_type(fields["filetype"]) if "filetype" in fields else DEFAULT_TYPE,
        name=file_name(fields["filename"]) if "filename" in fields else None,
        metadata="" if header is None else header.strip(),
        sha256=expected,
    )


def checksum(header: str | None) -> Checksum | None:
    """The `Upload-Checksum` header: an algorithm of `CHECKSUM_BYTES` and a base64 digest."""
    if header is None:
        return None
    algorithm, _, value = header.strip().partition(" ")
    if algorithm not in CHECKSUM_BYTES:
        raise bad(f"Upload-Checksum knows only {' and '.join(CHECKSUM_BYTES)}")
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise bad("Upload-Checksum is not base64") from None
    if len(digest) != CHECKSUM_BYTES[algorithm]:
        raise bad("Upload-Checksum has the wrong length")
    return Checksum(algorithm, digest)
