"""Looking at an LMDB data file from outside, before the engine gets to see it.

LMDB maps the file into memory and believes it: a file that was cut short or overwritten may end
the process by a signal instead of raising. So the cheap questions are asked here at every opening,
and the whole structure is walked (by py-lmdb's verifier, plain Python over bytes, about 100 MB/s)
where they leave a doubt, and in a check.
"""

from __future__ import annotations

import os
import struct
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb.verify

from .errors import StoreCorrupt

MAX_PROBLEMS = 1000
"""Findings that are collected at most."""

WALK_BYTES = 16 << 20
"""Up to this size a file is walked through at every opening, which takes a sixth of a second."""

# LMDB's meta page: a page header of 16 bytes; magic, version, map address, map size; the record of
# the free table (it begins with the page size) and of the main one; last page, transaction id.
_META = struct.Struct("=16x II 16x I 92x QQ")
_META_BYTES = _META.size
_PAGE_BYTES = struct.Struct("=I")
_PAGE_BYTES_AT = 40
_LMDB_MAGIC = 0xBEEFC0DE
_LMDB_FORMAT = 1
_SMALLEST_PAGE_BYTES = 512
HEAD_BYTES = 512
"""Length of the sector that holds all of a head."""
_LARGEST_PAGE_BYTES = 65536


# Untyped, and not of its public face; see `_bigdata` for why.
_Verifier: Any = lmdb.verify._Verifier  # noqa: SLF001


class _Walk(_Verifier):  # type: ignore[misc]
    """py-lmdb's verifier, with what LMDB really does with large values."""

    def _bigdata(
        self, ctx: Any, pgno: int, i: int, buf: Any, doff: int, dsize: int, want_bytes: bool
    ) -> bytes | None:
        """Look at a value that has pages of its own.

        A large value that is replaced by a smaller one within one transaction keeps all its pages
        (mdb_cursor_put), and gives them all free later; the verifier takes the pages that are too
        many for damage. And it looks at the first page only, where reading the value needs all.
        """
        first = self.read_page(int.from_bytes(buf[doff : doff + 8], "little"))
        size = dsize
        if first is not None:
            pages = max((self.hdrsz - 1 + dsize) // self.psize + 1, self._pg_pages(first, 0))
            size = pages * self.psize - self.hdrsz
            if self._pg_pgno(first, 0) + pages > self.filesize // self.psize:
                self.err(f"a value of {dsize} bytes on page {pgno} ends beyond the end of the file")
                return None
        found: bytes | None = super()._bigdata(ctx, pgno, i, buf, doff, size, want_bytes)
        return found if found is None else found[:dsize]


def inspect(path: Path, *, live: bool = False) -> None:
    """Raise StoreCorrupt unless LMDB can be trusted with the data file `path`.

    A small file is walked through whole; a large one only when it is shorter than its head says.

    Args:
        path: the data file.
        live: another process may be writing to it: its length and its pages say nothing then.
    """
    needed = _inspect_head(path, live=live)
    size = path.stat().st_size
    if live or (size >= needed and size > WALK_BYTES):
        return
    problems = structure_problems(path)
    if problems and size < needed:
        # A short file is sound when no page in use lies beyond its end (`Environment.measure`).
        raise StoreCorrupt(
            path, f"it has {size} bytes of the {needed} that its head names ({problems[0]})"
        )
    if problems:
        raise StoreCorrupt(path, problems[0])


def structure_problems(path: Path) -> list[str]:
    """Walk the whole file; return what is wrong with it, a sentence each, MAX_PROBLEMS at most."""
    try:
        _inspect_head(path)
        with path.open("rb") as file:
            return list(islice(_Walk(file, path.stat().st_size).verify(), MAX_PROBLEMS))
    except StoreCorrupt as error:
        return [error.problem]
    except lmdb.verify.VerifyError as error:
        return [str(error)]


def head_offsets(descriptor: int) -> tuple[int, int]:
    """Return where the two heads of a sound data file begin."""
    (page_bytes,) = _PAGE_BYTES.unpack(os.pread(descriptor, _PAGE_BYTES.size, _PAGE_BYTES_AT))
    return 0, page_bytes


def _inspect_head(path: Path, *, live: bool = False) -> int:
    """Read both meta pages; return the number of bytes that the newer one speaks of."""
    try:
        with path.open("rb") as file:
            head = file.read(_LARGEST_PAGE_BYTES + _META_BYTES)
    except FileNotFoundError:
        raise StoreCorrupt(path, "the file is missing") from None
    if not head:
        raise StoreCorrupt(path, "the file is empty")
    page_bytes, *first = _read_meta(path, head, 0)
    _, *second = _read_meta(path, head, page_bytes)
    even, odd = first[0], second[0]
    # Transaction n writes the page of its parity: so the two are neighbours. The heads have no
    # checksum, and with a flipped bit here LMDB would take the older one without a word.
    if not live and (even or odd) and (even % 2 or abs(even - odd) != 1):
        raise StoreCorrupt(path, f"its two heads, of transactions {even} and {odd}, are no pair")
    last_page = max(first, second)[1]
    return (last_page + 1) * page_bytes


def _read_meta(path: Path, head: bytes, offset: int) -> tuple[int, int, int]:
    """Return (page size, transaction id, last page number) of the meta page at `offset`."""
    if len(head) < offset + _META_BYTES:
        raise StoreCorrupt(path, "the file ends within its head")
    magic, version, page_bytes, last_page, transaction = _META.unpack_from(head, offset)
    if magic != _LMDB_MAGIC:
        raise StoreCorrupt(path, f"byte {offset} does not begin an LMDB meta page")
    if version != _LMDB_FORMAT:
        raise StoreCorrupt(path, f"it has LMDB data format {version}, expected {_LMDB_FORMAT}")
    if not _SMALLEST_PAGE_BYTES <= page_bytes <= _LARGEST_PAGE_BYTES:
        raise StoreCorrupt(path, f"it names a page size of {page_bytes} bytes")
    return page_bytes, transaction, last_page
