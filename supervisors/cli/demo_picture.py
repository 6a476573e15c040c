"""A picture made from nothing: a valid PNG of any size, the same for the same seed."""

from __future__ import annotations

import math
import struct
import zlib


def picture(width: int = 640, height: int = 400, seed: int = 7) -> bytes:
    """A PNG (8-bit RGB) of a sunset over waves, `width` x `height` pixels."""
    rows = bytearray()
    horizon = height * 0.6
    sun_x, sun_y, radius = width * (0.3 + 0.05 * (seed % 9)), horizon * 0.75, height * 0.14
    for y in range(height):
        rows.append(0)  # filter: none
        for x in range(width):
            rows += _pixel(x, y, horizon, math.hypot(x - sun_x, y - sun_y) - radius, seed)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(bytes(rows), 6)),
            _chunk(b"IEND", b""),
        )
    )


def _pixel(x: int, y: int, horizon: float, from_sun: float, seed: int) -> bytes:
    if y < horizon:
        if from_sun < 0:
            return bytes((255, 220, 120))
        glow = math.exp(-from_sun / 90)
        sky = y / horizon
        return bytes((int(40 + 180 * max(sky, glow)), int(50 + 90 * max(sky * sky, glow)), 110))
    wave = math.sin(x / 17 + seed) + math.sin((y * y) / 900 + x / 41)
    return bytes((int(60 + 20 * wave), int(70 + 18 * wave), int(120 + 25 * wave)))


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
