"""The observer over HTTP: a page that shows a node live, and the JSON that it is made of.

| Request | Answer |
|---|---|
| `GET /observer` | the page; `/observer/app.js`, `/observer/style.css` belong to it |
| `GET /observer/v1/node` | the figures of the node |
| `GET /observer/v1/processes?sort=&limit=&offset=&search=` | a page of processes |
| `GET /observer/v1/tree?root=&depth=&per_parent=` | the supervision tree |
| `GET /observer/v1/process?pid=` | one process in full |
| `GET /observer/v1/state?pid=` | its state, where that may be shown |

Nothing here changes the node. What a server's class has made for showing (`format_status`) everyone
may see. The bare state may hold secrets and contents: it is shown only with `with_state`, and then
only to a local client that names this host by an address or as ``localhost``: so no foreign web
page that has its own name point here can read it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from aiohttp import web

from palaver.transport.http.observer_port import SORTS, ObserverPort

__all__ = ["add_observer", "observer_app"]

MAX_SEARCH = 200

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

PAGES = {
    "/observer": ("observer.html", "text/html"),
    "/observer/app.js": ("observer.js", "text/javascript"),
    "/observer/style.css": ("observer.css", "text/css"),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def observer_app(port: ObserverPort, *, with_state: bool = True) -> web.Application:
    """An application that serves the page and nothing else; `/` leads to it."""

    async def to_page(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/observer")

    app = web.Application()
    app.router.add_get("/", to_page)
    add_observer(app, port, with_state=with_state)
    return app


def add_observer(
    app: web.Application, port: ObserverPort, *, with_state: bool = True, trusted: bool = False
) -> None:
    """Add the page and its JSON to an application.

    With `trusted`, whoever can connect may see states: for a Unix socket.
    """
    api = _Api(port, with_state, trusted)
    folder = files("palaver.transport.http") / "pages"
    for path, (name, content_type) in PAGES.items():
        body = (folder / name).read_bytes()
        app.router.add_get(path, _static(body, content_type))
    for name, handler in (
        ("node", api.node),
        ("processes", api.processes),
        ("tree", api.tree),
        ("process", api.process),
        ("state", api.state),
    ):
        app.router.add_get(f"/observer/v1/{name}", handler)


def _static(body: bytes, content_type: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=HEADERS)

    return answer


class _Api:
    def __init__(self, port: ObserverPort, with_state: bool, trusted: bool) -> None:
        self._port = port
        self._with_state = with_state
        self._trusted = trusted

    async def node(self, _: web.Request) -> web.StreamResponse:
        return _json(await self._port.figures())

    async def processes(self, request: web.Request) -> web.StreamResponse:
        sort = request.query.get("sort", "mailbox")
        if sort not in SORTS:
            return _bad(f"sort must be one of {', '.join(SORTS)}")
        search = request.query.get("search", "")
        if len(search) > MAX_SEARCH:
            return _bad(f"search has at most {MAX_SEARCH} characters")
        limit = _whole(request, "limit", 50, 1, 1000)
        offset = _whole(request, "offset", 0, 0, 100_000)
        if limit is None or offset is None:
            return _bad("limit is a number from 1 to 1000, offset from 0 to 100000")
        return _json(await self._port.processes(sort, limit, offset, search))

    async def tree(self, request: web.Request) -> web.StreamResponse:
        depth = _whole(request, "depth", 32, 1, 32)
        per_parent = _whole(request, "per_parent", 50, 1, 1000)
        if depth is None or per_parent is None:
            return _bad("depth is a number from 1 to 32, per_parent from 1 to 1000")
        root = request.query.get("root", "")[:MAX_SEARCH] or None
        return _json(await self._port.tree(root, depth, per_parent))

    async def process(self, request: web.Request) -> web.StreamResponse:
        found = await self._port.process(request.query.get("pid", "")[:MAX_SEARCH])
        if found is None:
            return _error(404, "no_such_process", "there is no such process, or it has exited")
        return _json(found)

    async def state(self, request: web.Request) -> web.StreamResponse:
        pid = request.query.get("pid", "")[:MAX_SEARCH]
        return _json(await self._port.state(pid, self._may_see_state(request)))

    def _may_see_state(self, request: web.Request) -> bool:
        if self._trusted:
            return True
        return self._with_state and _is_loopback(request.remote) and _by_address(request.host)


def _is_loopback(address: str | None) -> bool:
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _by_address(host: str) -> bool:
    """Whether a `Host` header names an address, not a name that someone could point here."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _whole(request: web.Request, name: str, default: int, low: int, high: int) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    good = text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high
    return int(text) if good else None


def _json(value: Any) -> web.Response:
    return web.json_response(value, headers=HEADERS)


def _bad(text: str) -> web.Response:
    return _error(400, "bad_request", text)


def _error(status: int, code: str, text: str) -> web.Response:
    return web.json_response(
        {"error": {"code": code, "text": text}}, status=status, headers=HEADERS
    )
