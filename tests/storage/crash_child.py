"""Writes until it is killed; every acknowledged (conversation, client id) goes to stdout."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from storage_kit import open_async, say, u64


async def main() -> None:
    path, life = Path(sys.argv[1]), int(sys.argv[2])
    store = open_async(path, partitions=2, map_size_bytes=1 << 20, max_batch=16)
    number = life * 1_000_000

    def go(partition: int) -> None:
        nonlocal number
        number += 1
        size = 1 + number % 3
        commands = [
            say(number * 10 + n, u64(partition * 4 + n), bytes(number * 37 % 3000))
            for n in range(size)
        ]

        def acknowledged(results: list[Any], first: int = number) -> None:
            lines = "".join(
                f"{partition} {partition * 4 + n} {first * 10 + n} {result.value}\n"
                for n, result in enumerate(results)
            )
            os.write(1, lines.encode())
            go(partition)

        store.append(partition, commands, acknowledged)

    for _ in range(10):
        go(0)
        go(1)
    await asyncio.Event().wait()


asyncio.run(main())
