"""The `Range` request header, for one range of bytes (RFC 9110, section 14)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_ONE_RANGE: Final = re.compile(
    r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*\Z", re.ASCII | re.IGNORECASE
)


class Span(NamedTuple):
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range lies wholly outside the file: the answer is 416."""


def parse_range(header: str | None, size_bytes: int) -> Span | None:
    """The span that a `Range` header asks for, or None where the whole file is the answer.

    A header that is malformed, in another unit, or asks for several ranges is ignored, as the
    standard allows; an end past the file is cut.

    Raises:
        Unsatisfiable: the range begins at or after the end, or is empty.
    """
    found = None if header is None else _ONE_RANGE.match(header.strip())
    if found is None:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), size_bytes
        if last:
            if int(last) < start:
                return None
            end = min(size_bytes, int(last) + 1)
    if start >= end:
        raise Unsatisfiable
    return Span(start, end)
