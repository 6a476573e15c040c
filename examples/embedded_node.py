"""A chat node inside a program, with two of its users: no other process, no configuration.

Run it with `python examples/embedded_node.py`.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from pathlib import Path

from palaver.supervisors.trees.settings import Settings
from palaver.supervisors.trees.system import ChatSystem
from palaver.transport.client import Client

ANN, BOB = "+4915112345678", "+4915112345679"


class CodesInMemory:
    """Where a real program would send a text message."""

    def __init__(self) -> None:
        self.arrived: dict[str, asyncio.Future[str]] = {}

    async def send(self, phone: str, code: str) -> None:
        self.of(phone).set_result(code)

    def of(self, phone: str) -> asyncio.Future[str]:
        return self.arrived.setdefault(phone, asyncio.get_running_loop().create_future())


async def main() -> None:
    codes = CodesInMemory()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), port=0, admin_port=0)
        system = ChatSystem(settings, code_sender=codes)
        await system.start()
        try:
            identities = {
                phone: await Client.sign_up(
                    system.ws_url, phone, functools.partial(codes.of, phone), "example"
                )
                for phone in (ANN, BOB)
            }
            async with (
                Client(system.ws_url, identities[ANN]) as ann,
                Client(system.ws_url, identities[BOB]) as bob,
            ):
                sent = await ann.send_message(ANN, BOB, "text", text="hello from a library")
                print(f"stored as seq {sent.seq}")
                async for message in bob.messages():
                    print(f"{message.sender}: {message.text}")
                    break
        finally:
            await system.drain()
            await system.stop()


if __name__ == "__main__":
    asyncio.run(main())
