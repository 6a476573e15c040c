"""A FastAPI program with actors inside: its lifespan starts and stops the node.

Serve it with `uvicorn examples.fastapi_app:app`; run it with `python examples/fastapi_app.py` to
see it serve itself some requests. Each room is a supervised process; a room that crashes is begun
anew and harms no other.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException, Request

from palaver.actors.runtime import CallFailed, From, GenServer, NameTaken, Node, NullObserver
from palaver.supervisors import ChildSpec, DynamicSupervisor, StartChild


class Room(GenServer):
    __slots__ = ("lines",)

    def init(self) -> None:
        self.lines: list[str] = []

    def handle_call(self, request: Any, from_: From) -> list[str]:
        if request == "/crash":
            raise RuntimeError("somebody asked for it")
        if request is not None:
            self.lines.append(request)
        return list(self.lines)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Node("rooms@local", observer=NullObserver()) as node:
        app.state.node = node
        await node.start_server(DynamicSupervisor, name="rooms", intensity=100)
        yield


app = FastAPI(lifespan=lifespan)


async def ask(node: Node, room: str, request: str | None) -> list[str]:
    """Ask a room; the first who does starts it."""
    name = f"room {room}"
    if node.whereis(name) is None:
        with suppress(NameTaken):  # somebody else was first
            await node.call("rooms", StartChild(ChildSpec(room, Room, name=name)))
    try:
        lines: list[str] = await node.call(name, request)
    except CallFailed as error:
        raise HTTPException(503, f"room {room} is being restarted: {error.reason}") from error
    return lines


@app.get("/rooms/{room}")
async def read(room: str, request: Request) -> list[str]:
    return await ask(request.app.state.node, room, None)


@app.post("/rooms/{room}")
async def say(room: str, line: str, request: Request) -> list[str]:
    return await ask(request.app.state.node, room, line)


async def main() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        transport = httpx.AsyncHTTPTransport(retries=50)  # until it serves
        async with httpx.AsyncClient(base_url=url, transport=transport) as client:
            for line in ("hello", "anybody here?"):
                answer = await client.post("/rooms/tea", params={"line": line})
            print("tea:", answer.json())
            answer = await client.post("/rooms/tea", params={"line": "/crash"})
            print("crash:", answer.status_code, answer.json()["detail"])
            print("tea again:", (await client.get("/rooms/tea")).json())
        server.should_exit = True
        await serving
    print("stopped; processes left:", app.state.node.stats().processes)


if __name__ == "__main__":
    asyncio.run(main())
