"""Files through real connections that break in the middle, and a node that is killed meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fault_proxy import WAYS, FaultProxy, Passage
from fault_way import End
from real_town import FastClock, RealNode

from palaver.actors.simulation.world.sources import Seeded
from palaver.actors.simulation.world.tape import Tape
from palaver.supervisors.cli.admin_client import open_admin
from palaver.supervisors.simulations.town import Plan
from palaver.transport.client import Backoff, Client, Identity
from palaver.transport.http.admin_port import NewDevice

ACCOUNTS = ("+491511230001", "+491511230002")
SIZE_BYTES = 9 * 1024 * 1024 + 17
BROKEN = 6
"""So many connections end before their time."""
ENDS: tuple[End, ...] = ("reset", "cut", "half_close")
PATIENCE_S = 100.0


class Breaking:
    """Lets the first connections of a proxy end at drawn places."""

    def __init__(self, tape: Tape, proxy: FaultProxy) -> None:
        self._chance = tape.random("files")
        self.broken = 0
        proxy.on_passage = self.comes

    def comes(self, passage: Passage) -> None:
        if self.broken < BROKEN:
            self.broken += 1
            way = self._chance.choice(WAYS)
            most = self._chance.choice((200, 20_000, SIZE_BYTES))
            passage.way(way).end_after(self._chance.randrange(1, most), self._chance.choice(ENDS))


async def people(node: RealNode) -> list[Identity]:
    keys = [Ed25519PrivateKey.generate() for _ in ACCOUNTS]
    new = [
        NewDevice(account, "phone", key.public_key().public_bytes_raw())
        for account, key in zip(ACCOUNTS, keys, strict=True)
    ]
    async with open_admin(node.process.data) as admin:
        added = await admin.add_devices(new)
    return [Identity(one.account, one.device, key) for one, key in zip(added, keys, strict=True)]


async def exchange(folder: Path, tape: Tape) -> None:
    node = RealNode(folder, "a", Plan())
    content = tape.random("content").randbytes(SIZE_BYTES)
    try:
        await node.start()
        sender, receiver = await people(node)
        async with FaultProxy(lambda: node.address) as proxy:
            breaking = Breaking(tape, proxy)

            def client(identity: Identity) -> Client:
                return Client(
                    f"ws://127.0.0.1:{proxy.port}/ws",
                    identity,
                    clock=FastClock(),
                    backoff=Backoff(base_s=0.25, cap_s=4.0),
                    connect_timeout_s=None,
                )

            async with client(sender) as a, client(receiver) as b:
                sending = asyncio.create_task(send(a, b.account, content))
                await node.crash(0.0)
                await sending
                messages = []
                while not messages:
                    messages = await b.get_messages(b.account, wait_s=1.0)
                assert messages[0].file is not None
                breaking.broken = 0  # The way back breaks as well.
                killing = asyncio.create_task(node.crash(0.0))
                assert await b.download_file(b.account, messages[0].file) == content
                await killing
    finally:
        await node.end()


async def send(client: Client, receiver: str, content: bytes) -> None:
    file = await client.upload_file("file", content)
    await client.send_message(client.account, receiver, "file", doc=file)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_file_arrives_whole_through_whatever_breaks(tmp_path: Path, seed: int) -> None:
    asyncio.run(asyncio.wait_for(exchange(tmp_path, Tape(Seeded(seed))), PATIENCE_S))
