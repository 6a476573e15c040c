"""Ways in which a file goes bad: flipped bits, overwritten and misplaced pages, a wrong length."""

from __future__ import annotations

import random
from pathlib import Path

PAGE_BYTES = 4096


def spoil(path: Path, chance: random.Random) -> str:
    """Damage a file in one of several ways; say how."""
    content = bytearray(path.read_bytes())
    if not content:
        path.write_bytes(b"\x00")
        return "a byte in an empty file"
    kinds = [_bit, _bit, _bit, _bits, _bytes, _cut, _longer]
    if len(content) >= 4 * PAGE_BYTES:
        kinds += [_page_zeroed, _page_noise, _pages_swapped, _page_copied, _head_bit, _head_bit]
    how = chance.choice(kinds)(content, chance)
    path.write_bytes(content)
    return f"{path.name}: {how}"


def _flip(content: bytearray, bit: int) -> None:
    content[bit // 8] ^= 1 << bit % 8


def _bit(content: bytearray, chance: random.Random) -> str:
    bit = chance.randrange(len(content) * 8)
    _flip(content, bit)
    return f"bit {bit % 8} of byte {bit // 8} flipped"


def _head_bit(content: bytearray, chance: random.Random) -> str:
    """A bit of what LMDB keeps at the beginning of its two first pages."""
    bit = (chance.randrange(2) * PAGE_BYTES + chance.randrange(152)) * 8 + chance.randrange(8)
    _flip(content, bit)
    return f"bit {bit % 8} of byte {bit // 8} flipped, in a head"


def _bits(content: bytearray, chance: random.Random) -> str:
    bits = [chance.randrange(len(content) * 8) for _ in range(chance.randrange(2, 200))]
    for bit in bits:
        _flip(content, bit)
    return f"{len(bits)} bits flipped, from {min(bits) // 8} to {max(bits) // 8}"


def _bytes(content: bytearray, chance: random.Random) -> str:
    start = chance.randrange(len(content))
    size = min(chance.randrange(1, 600), len(content) - start)
    content[start : start + size] = chance.choice((bytes(size), chance.randbytes(size)))
    return f"{size} bytes at {start} overwritten"


def _cut(content: bytearray, chance: random.Random) -> str:
    size = chance.randrange(len(content))
    if chance.random() < 0.5:
        size = size // PAGE_BYTES * PAGE_BYTES
    del content[size:]
    return f"cut to {size} bytes"


def _longer(content: bytearray, chance: random.Random) -> str:
    size = chance.randrange(1, 3 * PAGE_BYTES)
    content.extend(chance.choice((bytes(size), chance.randbytes(size))))
    return f"{size} bytes appended"


def _page(content: bytearray, chance: random.Random) -> slice:
    start = chance.randrange(len(content) // PAGE_BYTES) * PAGE_BYTES
    return slice(start, start + PAGE_BYTES)


def _page_zeroed(content: bytearray, chance: random.Random) -> str:
    page = _page(content, chance)
    content[page] = bytes(PAGE_BYTES)
    return f"page at {page.start} zeroed"


def _page_noise(content: bytearray, chance: random.Random) -> str:
    page = _page(content, chance)
    content[page] = chance.randbytes(PAGE_BYTES)
    return f"page at {page.start} overwritten"


def _pages_swapped(content: bytearray, chance: random.Random) -> str:
    one, other = _page(content, chance), _page(content, chance)
    content[one], content[other] = content[other], content[one]
    return f"pages at {one.start} and {other.start} exchanged"


def _page_copied(content: bytearray, chance: random.Random) -> str:
    one, other = _page(content, chance), _page(content, chance)
    content[one] = content[other]
    return f"page at {one.start} overwritten with that at {other.start}"
