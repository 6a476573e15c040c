"""The observer of a running node, over its socket or over the page that it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from palaver.supervisors.cli.admin_client import node_listens
from palaver.supervisors.cli.output import EXIT_USAGE, CommandError
from palaver.transport.http.unix import unix_address

__all__ = ["RemoteObserver", "open_observer"]

TIMEOUT_S = 15.0


class RemoteObserver:
    """Asks a node for what its observer sees; answers are the JSON of `transport.http.observer`."""

    def __init__(self, http: aiohttp.ClientSession, where: str) -> None:
        self._http = http
        self._where = where

    async def node(self) -> dict[str, Any]:
        """The node as a whole."""
        figures: dict[str, Any] = await self._get("node")
        return figures

    async def processes(self, sort: str, limit: int, offset: int, search: str) -> dict[str, Any]:
        """A page of processes."""
        page: dict[str, Any] = await self._get(
            "processes", sort=sort, limit=str(limit), offset=str(offset), search=search
        )
        return page

    async def tree(self, per_parent: int) -> list[dict[str, Any]]:
        """The supervision tree."""
        tree: list[dict[str, Any]] = await self._get("tree", per_parent=str(per_parent))
        return tree

    async def _get(self, name: str, **params: str) -> Any:
        try:
            async with self._http.get(f"/observer/v1/{name}", params=params) as answer:
                if answer.status != 200:
                    raise CommandError(
                        f"{self._where} answers {answer.status} {answer.reason}",
                        "it may be a node of another version, or no node at all",
                    )
                return await answer.json()
        except PermissionError as error:
            raise CommandError(
                f"{self._where} belongs to another user", "run the command as the node's user"
            ) from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise CommandError(f"{self._where} does not answer ({error})") from error


@asynccontextmanager
async def open_observer(data_dir: Path | None, url: str | None) -> AsyncIterator[RemoteObserver]:
    """The observer of the node at `url`, else of the one that runs on a data folder.

    Raises `CommandError` if there is none.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise CommandError(
                f"{url!r} is no address of a page", "such as http://127.0.0.1:4401", code=EXIT_USAGE
            )
        base = f"{parts.scheme}://{parts.netloc}"
        async with aiohttp.ClientSession(base, timeout=timeout) as http:
            yield RemoteObserver(http, base)
        return
    assert data_dir is not None
    path = data_dir / "admin.sock"
    if not node_listens(path):
        raise CommandError(
            f"no node runs on {data_dir}", f"palaver serve --data {data_dir}, or name its --url"
        )
    with unix_address(path.absolute()) as address:
        connector = aiohttp.UnixConnector(address)
        async with aiohttp.ClientSession(
            "http://node", connector=connector, timeout=timeout
        ) as http:
            yield RemoteObserver(http, str(path))
