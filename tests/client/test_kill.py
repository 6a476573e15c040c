"""A program that uses the client, killed again and again: what it shows and sends, once each."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

from client_kit import DEVICE, ME, PEER, FakeServer, run

from palaver.transport.client import Identity, new_key

PROGRAM = """
import asyncio, os, sys
from palaver.transport.client import Client, FileState, Identity

async def main(url, folder, peer):
    identity = Identity.load(folder + "/identity")
    shown = os.open(folder + "/shown", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    written = os.open(folder + "/written", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with Client(url, identity, state=FileState(folder + "/state")) as client:
        async def write():
            while True:
                sent = await client.send_message(client.account, peer, "text", text="x")
                os.write(written, b"%d\\n" % sent.seq)

        writer = asyncio.create_task(write())
        while True:
            for message in await client.get_messages(client.account, limit=3, wait_s=1.0):
                os.write(shown, message.body + b"\\n")

asyncio.run(main(*sys.argv[1:]))
"""


def _lines(path: Path) -> list[int]:
    return [int(line) for line in path.read_bytes().split()] if path.exists() else []


def test_a_killed_program_shows_and_sends_everything_once(tmp_path: Path) -> None:
    async def main() -> None:
        chance = random.Random(11)
        key = new_key()
        Identity(ME, DEVICE, key).save(tmp_path / "identity")
        async with FakeServer() as server:
            model = server.model
            model.public_key = key.public_key().public_bytes_raw()
            number = 0
            for _ in range(4):
                program = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", PROGRAM, server.url, os.fspath(tmp_path), PEER
                )
                stored, acked = len(model.stored), model.acked
                for _ in range(chance.randint(5, 20)):
                    number += 1
                    await server.deliver(b"%d" % number)
                await server.until(
                    lambda s=stored, a=acked: len(model.stored) > s + 5 and model.acked > a + 4
                )
                program.send_signal(signal.SIGKILL)
                await program.wait()
                await server.until(lambda: not server.lines)
            shown = _lines(tmp_path / "shown")
            # A batch is acknowledged when it is handed over, and a kill can fall between that and
            # the program's own writing: nothing is shown twice, and nothing out of order.
            assert shown == sorted(set(shown))
            assert len(shown) >= model.acked - 3 * 4
            written = _lines(tmp_path / "written")
            assert written == sorted(set(written))
            cids = [cid for cid, _ in model.stored]
            assert cids == sorted(set(cids))

    run(main())
