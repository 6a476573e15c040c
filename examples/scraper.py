"""A supervised web scraper, against a small web site of its own.

Run it with `python examples/scraper.py`. One process, the frontier, knows what is to be fetched;
each page is fetched by a worker under a `DynamicSupervisor`. A worker that fails just crashes: the
frontier hears of it by a monitor and tries the page again, a few times. It is polite: there are
never more than so many workers at a time, and never more than so many requests a second.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

from palaver.actors.runtime import (
    NOREPLY,
    NORMAL,
    Down,
    From,
    GenServer,
    Node,
    NullObserver,
    Pid,
    ProcessContext,
    Ref,
)
from palaver.supervisors import (
    ChildSpec,
    DynamicSupervisor,
    StartChild,
    Supervisor,
    SupervisorFlags,
)

LINK = re.compile(r'href="([^"]+)"')
WORKERS, INTERVAL_S, ATTEMPTS, RETRY_S = 4, 0.01, 3, 0.05


@dataclass
class Result:
    titles: dict[str, str] = field(default_factory=dict)
    given_up: dict[str, str] = field(default_factory=dict)
    retries: int = 0


async def fetch(ctx: ProcessContext, http: ClientSession, path: str) -> None:
    """Fetch one page, tell the frontier, and end; whatever goes wrong is the end as well."""

    async def get() -> str:
        async with http.get(path) as response:
            response.raise_for_status()
            return await response.text()

    ctx.cast("frontier", (path, await ctx.bridge(get())))


class Frontier(GenServer):
    """What is to be fetched, what is being fetched, and what came of it."""

    __slots__ = ("attempts", "http", "result", "ticking", "todo", "waiting", "workers")

    def init(self, http: ClientSession) -> None:
        self.http = http
        self.result = Result()
        self.attempts: dict[str, int] = {}
        self.todo: deque[str] = deque()
        self.workers: dict[Ref, str] = {}
        self.waiting: From | None = None
        self.ticking = False

    def handle_call(self, start: str, from_: From) -> Any:
        self.waiting = from_
        self.add(start)
        return NOREPLY

    def handle_cast(self, page: tuple[str, str]) -> None:
        path, text = page
        self.result.titles[path] = text.partition("\n")[0]
        for link in LINK.findall(text):
            self.add(link)

    def add(self, path: str) -> None:
        if path not in self.attempts:
            self.attempts[path] = 0
            self.todo.append(path)
            self.tick_soon()

    def tick_soon(self) -> None:
        if not self.ticking and self.todo and len(self.workers) < WORKERS:
            self.ticking = True
            self.send_after(INTERVAL_S, self.pid, "tick")

    async def handle_info(self, message: Any) -> None:
        if message == "tick":
            self.ticking = False
            await self.begin(self.todo.popleft())
        elif isinstance(message, Down):
            self.ended(self.workers.pop(message.ref), message.reason)
        elif isinstance(message, tuple):  # ("again", path)
            self.todo.append(message[1])
        self.tick_soon()

    async def begin(self, path: str) -> None:
        self.attempts[path] += 1
        spec = ChildSpec(path, fetch, (self.http, path), restart="temporary")
        worker: Pid = await self.call("workers", StartChild(spec))
        self.workers[self.monitor(worker)] = path

    def ended(self, path: str, reason: object) -> None:
        done = reason is NORMAL or path in self.result.titles
        if not done and self.attempts[path] < ATTEMPTS:
            self.result.retries += 1
            self.send_after(RETRY_S * 2 ** self.attempts[path], self.pid, ("again", path))
        elif not done:
            self.result.given_up[path] = str(reason)
        settled = len(self.result.titles) + len(self.result.given_up)
        if self.waiting is not None and settled == len(self.attempts) and not self.workers:
            self.reply(self.waiting, self.result)


class Scraper(Supervisor):
    def specification(self, http: ClientSession) -> Any:
        return SupervisorFlags("rest_for_one"), [
            ChildSpec("workers", DynamicSupervisor, kind="supervisor", name="workers"),
            ChildSpec("frontier", Frontier, (http,), name="frontier"),
        ]


class Site:
    """Twenty pages that link to each other; every third fails at first, and one always does."""

    def __init__(self) -> None:
        self.visits: dict[int, int] = {}

    async def page(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        self.visits[number] = self.visits.get(number, 0) + 1
        if number == 13 or (number % 3 == 0 and self.visits[number] == 1):
            raise web.HTTPServiceUnavailable
        links = [f'<a href="/page/{n}">' for n in (2 * number, 2 * number + 1) if n <= 20]
        return web.Response(text="\n".join([f"Page {number}", *links]))


async def main() -> None:
    site = web.Application()
    site.router.add_get("/page/{number}", Site().page)
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with (
            ClientSession(f"http://{host}:{port}", timeout=ClientTimeout(total=5)) as http,
            Node("scraper@local", observer=NullObserver()) as node,
        ):
            await node.start_server(Scraper, http)
            result = await node.call("frontier", "/page/1", timeout_s=30)
            print(f"fetched {len(result.titles)} pages, retried {result.retries} times")
            for path, reason in result.given_up.items():
                print(f"gave up {path}: {reason}")
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
