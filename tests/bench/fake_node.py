"""A small node that speaks Palaver's wire from memory: a program for the load client's tests.

    python fake_node.py ANNOUNCE [fault]

It keeps its promises unless it is told to break one: `lose` drops the 50th event, `double`
pushes it twice, `swap` exchanges it with the next one, `refuse` answers the 50th send with an
error, `silent` leaves it unanswered.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from palaver.supervisors.cli.bench.identities import account, device_key
from palaver.transport import wire

AT = 50
USERS = {account(n): n for n in range(2000)}


class FakeNode:
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.queues: dict[str, list[list[Any]]] = {name: [] for name in USERS}
        self.first_pos = dict.fromkeys(USERS, 1)
        self.seqs: dict[bytes, int] = {}
        self.online: dict[str, ServerConnection] = {}
        self.sends = 0
        self.stamps = itertools.count(1 << 40)

    async def serve(self, connection: ServerConnection) -> None:
        nonce, name = secrets.token_bytes(32), ""
        try:
            async for data in connection:
                assert isinstance(data, bytes)
                for op in wire.decode_frame(data):
                    request = wire.parse_request(op)
                    if isinstance(request, wire.Hello):
                        welcome = [1, "fake", nonce, {"open_requests": 64}]
                        await self.say(connection, [wire.OK, request.id, welcome])
                    elif isinstance(request, wire.Auth):
                        name = await self.authenticate(connection, nonce, request)
                    elif isinstance(request, wire.Send):
                        await self.accept(connection, name, request)
                    elif isinstance(request, wire.Ack):
                        await self.acknowledge(name, request.pos)
                    elif isinstance(request, wire.Devices):
                        await self.say(connection, [wire.OK, request.id, []])
        except ConnectionClosed:
            pass
        finally:
            if self.online.get(name) is connection:
                del self.online[name]

    async def authenticate(
        self, connection: ServerConnection, nonce: bytes, request: wire.Auth
    ) -> str:
        name = request.account
        key = device_key(USERS[name]).public_key()
        try:
            key.verify(request.signature, wire.auth_payload(nonce, name, request.device))
        except InvalidSignature:
            await self.say(connection, [wire.ERROR, request.id, "auth_failed", "no", None])
            return ""
        queue, first = self.queues[name], self.first_pos[name]
        await self.say(connection, [wire.OK, request.id, [len(queue), first, 0]])
        self.online[name] = connection
        for at in range(0, len(queue), 100):
            await self.say(connection, [wire.PUSH, first + at, queue[at : at + 100]])
        return name

    async def accept(self, connection: ServerConnection, name: str, request: wire.Send) -> None:
        self.sends += 1
        assert isinstance(request.to, str)
        if self.sends == AT and self.fault == "refuse":
            await self.say(connection, [wire.ERROR, request.id, "overloaded", "no", 10])
            return
        conv = wire.direct_conversation(name, request.to)
        seq = self.seqs[conv] = self.seqs.get(conv, 0) + 1
        stamp = next(self.stamps)
        event = [
            *(1, conv, seq, stamp, request.seen, name, 1, request.cid, request.to),
            *(request.type, request.body, None),
        ]
        if not (self.sends == AT and self.fault == "silent"):
            await self.say(connection, [wire.OK, request.id, [conv, seq, stamp]])
        events = [event]
        if self.sends == AT and self.fault == "lose":
            events = []
        if self.sends == AT and self.fault == "double":
            events = [event, event]
        queue = self.queues[request.to]
        pos = self.first_pos[request.to] + len(queue)
        queue.extend(events)
        if self.fault == "swap" and self.sends == AT:
            self.held = event
            del queue[-1]
            return
        if self.fault == "swap" and self.sends == AT + 1:
            events.append(self.held)
            queue.append(self.held)
        if events and (receiver := self.online.get(request.to)) is not None:
            await self.say(receiver, [wire.PUSH, pos, events])

    async def acknowledge(self, name: str, pos: int) -> None:
        queue = self.queues[name]
        taken = queue[: pos + 1 - self.first_pos[name]]
        del queue[: len(taken)]
        self.first_pos[name] += len(taken)
        if taken and (sender := self.online.get(taken[-1][5])) is not None:
            await self.say(sender, [wire.RECEIPT, taken[-1][1], name, taken[-1][2], 0])

    async def say(self, connection: ServerConnection, op: list[Any]) -> None:
        with suppress(ConnectionClosed):
            await connection.send(wire.encode([op]))


async def main(announce: Path, fault: str) -> None:
    node = FakeNode(fault)
    async with serve(node.serve, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        half_made = announce.with_suffix(".tmp")
        half_made.write_text(json.dumps({"port": port, "pid": os.getpid()}))
        half_made.rename(announce)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
