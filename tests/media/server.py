"""A media server in a process of its own: prints its port and a token, runs until killed.

python server.py FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import kit


async def main() -> None:
    world = kit.World(Path(sys.argv[1]))
    await world.start()
    print(world.port, world.token(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await world.stop()


asyncio.run(main())
