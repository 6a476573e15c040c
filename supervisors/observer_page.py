"""The observer's page for any node: for programs that embed one.

page = await serve_observer(node)
print(page.url)                 # http://127.0.0.1:49152/observer
...
await page.close()
"""

from __future__ import annotations

from typing import Any, Self, cast

from aiohttp import web

from palaver.actors.observing.observatory import Observatory
from palaver.actors.observing.records import SortKey, plain
from palaver.actors.runtime import Node
from palaver.transport.http.observer import observer_app

__all__ = ["NodeObserver", "ObserverPage", "serve_observer"]


class NodeObserver:
    """An `ObserverPort` (see `transport.http.observer_port`) that looks at one node."""

    def __init__(self, node: Node) -> None:
        self._observatory = Observatory(node)

    async def figures(self) -> dict[str, Any]:
        """The node as a whole."""
        return cast("dict[str, Any]", plain(await self._observatory.figures()))

    async def processes(self, sort: str, limit: int, offset: int, search: str) -> dict[str, Any]:
        """A page of processes."""
        key = cast("SortKey", sort)
        page = await self._observatory.processes(key, limit=limit, offset=offset, search=search)
        return cast("dict[str, Any]", plain(page))

    async def tree(self, root: str | None, depth: int, per_parent: int) -> list[dict[str, Any]]:
        """The supervision tree; nothing if `root` is not there."""
        pid = None
        if root is not None:
            pid = self._observatory.find(root)
            if pid is None:
                return []
        tree = await self._observatory.tree(pid, depth=depth, per_parent=per_parent)
        return cast("list[dict[str, Any]]", plain(tree))

    async def process(self, pid: str) -> dict[str, Any] | None:
        """One process in full."""
        return cast("dict[str, Any] | None", plain(await self._observatory.details(pid)))

    async def state(self, pid: str, raw: bool) -> dict[str, Any]:
        """The state of a server."""
        return cast("dict[str, Any]", plain(await self._observatory.state(pid, raw=raw)))


class ObserverPage:
    """A page that is being served."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self.port = port
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/observer"

    async def close(self) -> None:
        """Stop serving it."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def serve_observer(
    node: Node, *, host: str = "127.0.0.1", port: int = 0, show_state: bool = True
) -> ObserverPage:
    """Serve the observer's page for a node until `close`; port 0 takes a free one.

    Who can connect sees names, figures and links of all processes; so it listens on the loopback
    unless told otherwise. Bare states (of servers without a `format_status`) are shown to local
    clients only, and to nobody if `show_state` is false.

    Raises `OSError` if the address cannot be listened on.
    """
    app = observer_app(NodeObserver(node), with_state=show_state)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return ObserverPage(runner, host, runner.addresses[0][1])
