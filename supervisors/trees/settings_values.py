"""Readers of single settings: from what a file, a variable or a flag holds to a checked value.

Each reader takes the raw value (a TOML value, or text from the environment or a flag) and returns
the typed one, or raises `ValueError` whose text completes the sentence "KEY must be ...".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_TIME_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LARGEST = 1e20  # more than any limit here; leaves TOML's inf and nan out
_AMOUNT = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?|\.[0-9]{1,20})\s*([a-zA-Z]*)\s*\Z")
_NODE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}@[A-Za-z0-9_.-]{1,128}\Z")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}\Z")
_BLOB_SCHEMES = ("s3", "gs", "az", "file", "memory", "http", "https")


def integer(low: int, high: int) -> Callable[[object], int]:
    """A whole number from `low` to `high`."""

    def read(raw: object) -> int:
        wanted = f"a whole number from {low} to {high}"
        if isinstance(raw, str):
            try:
                raw = int(raw.replace("_", ""), 10)
            except ValueError:
                raise ValueError(wanted) from None
        if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
            raise ValueError(wanted)
        return raw

    return read


def power_of_two(high: int) -> Callable[[object], int]:
    """A power of two from 1 to `high`."""
    whole = integer(1, high)

    def read(raw: object) -> int:
        try:
            value = whole(raw)
        except ValueError:
            value = 0
        if value < 1 or value & (value - 1):
            raise ValueError(f"a power of two from 1 to {high}")
        return value

    return read


def size(low: int, high: int) -> Callable[[object], int]:
    """A size in bytes: a number, or text with a unit (`"64 KiB"`, `"2GiB"`, `"500 MB"`)."""

    def read(raw: object) -> int:
        wanted = f"a size from {size_text(low)} to {size_text(high)}, such as 1048576 or '1 MiB'"
        amount, factor = _amount(raw, _SIZE_UNITS, wanted)
        value = int(amount * factor)
        if not low <= value <= high:
            raise ValueError(wanted)
        return value

    return read


def seconds(low: float, high: float) -> Callable[[object], float]:
    """A length of time in seconds: a number, or text with a unit (`"500ms"`, `"10s"`, `"24h"`)."""

    def read(raw: object) -> float:
        wanted = f"a time from {low:g} to {high:g} seconds, such as 30, '30s', '5m' or '24h'"
        amount, factor = _amount(raw, _TIME_UNITS, wanted)
        value = amount * factor
        if not low <= value <= high:
            raise ValueError(wanted)
        return value

    return read


def choice(*names: str) -> Callable[[object], str]:
    """One of the given words."""

    def read(raw: object) -> str:
        if not isinstance(raw, str) or raw.strip().lower() not in names:
            raise ValueError("one of " + ", ".join(names))
        return raw.strip().lower()

    return read


def host(raw: object) -> str:
    """A host name or an address to listen on."""
    if not isinstance(raw, str) or not raw.strip() or any(c in raw for c in "/ \t\n\0"):
        raise ValueError("a host name or address, such as 127.0.0.1, 0.0.0.0 or ::1")
    return raw.strip()


def node_name(raw: object) -> str:
    """A node's name, `name@host`."""
    if not isinstance(raw, str) or not _NODE_NAME.match(raw):
        raise ValueError("a node name of the form name@host, such as palaver@local")
    return raw


def word(raw: object) -> str:
    """A short name of letters, digits, - and _."""
    if not isinstance(raw, str) or not _WORD.match(raw):
        raise ValueError("1 to 32 letters, digits, - or _, beginning with a letter")
    return raw


def _several(raw: object, wanted: str) -> list[str]:
    parts = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(wanted)
    return [part.strip() for part in parts if part.strip()]


def addresses(raw: object) -> tuple[str, ...]:
    """Addresses `host:port`, as a list or as text with commas."""
    wanted = "host:port, several with commas, such as 10.0.0.1:6222,10.0.0.2:6222"
    found = _several(raw, wanted)
    for part in found:
        try:
            split = urlsplit("//" + part)
            good = bool(split.hostname) and split.port is not None and split.netloc == part
        except ValueError:
            good = False
        if not good:
            raise ValueError(wanted)
    return tuple(found)


def _urls(*schemes: str) -> Callable[[object], tuple[str, ...]]:
    def read(raw: object) -> tuple[str, ...]:
        wanted = f"{schemes[0]}://host:port, several with commas"
        found = _several(raw, wanted)
        for part in found:
            split = urlsplit(part)
            if split.scheme not in schemes or not split.hostname:
                raise ValueError(wanted)
        return tuple(found)

    return read


nats_urls = _urls("nats", "tls")
"""Addresses of NATS servers."""

http_urls = _urls("http", "https")
"""Addresses over HTTP."""


def redis_url(raw: object) -> str:
    """The address of a Redis."""
    if not isinstance(raw, str) or urlsplit(raw).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("an address such as redis://127.0.0.1:6379/0")
    return raw


def path(raw: object) -> Path:
    """A path; `~` is the home folder."""
    if not isinstance(raw, Path) and (not isinstance(raw, str) or not raw or "\0" in raw):
        raise ValueError("a path")
    try:
        return Path(raw).expanduser()
    except RuntimeError:  # ~ of somebody who is not there
        raise ValueError("a path, and ~ the home folder of a user of this machine") from None


def blob_url(raw: object) -> str:
    """The address of a blob store, such as `s3://bucket/prefix`."""
    if not isinstance(raw, str) or urlsplit(raw).scheme not in _BLOB_SCHEMES:
        raise ValueError("an address such as s3://bucket/prefix or file:///srv/palaver/media")
    return raw


def optional(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """What `read` reads, or None for an empty text."""

    def read_optional(raw: object) -> T | None:
        return None if raw is None or raw == "" else read(raw)

    return read_optional


def size_text(size_bytes: int) -> str:
    """A size as a person writes it; exact, so the text reads back as the same number."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = _SIZE_UNITS[unit.lower()]
        if size_bytes >= factor and size_bytes % factor == 0:
            return f"{size_bytes // factor} {unit}"
    return f"{size_bytes} B"


def _amount(
    raw: object, units: dict[str, int] | dict[str, float], wanted: str
) -> tuple[float, float]:
    if isinstance(raw, bool):
        raise ValueError(wanted)
    if isinstance(raw, int | float) and abs(raw) <= _LARGEST:
        return raw, 1
    if isinstance(raw, str):
        match = _AMOUNT.match(raw.replace("_", ""))
        if match and match[2].lower() in units:
            text = match[1]
            return (float(text) if "." in text else int(text)), units[match[2].lower()]
    raise ValueError(wanted)
