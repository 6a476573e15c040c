"""What the observer's page and `palaver top` ask of a node, as a port that answers in JSON."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["SORTS", "ObserverPort"]

SORTS = ("mailbox", "reductions", "rate", "memory", "pid")


class ObserverPort(Protocol):
    """A node as it is seen from outside. All answers are plain JSON values, bounded in size."""

    async def figures(self) -> dict[str, Any]:
        """The node as a whole."""
        ...

    async def processes(self, sort: str, limit: int, offset: int, search: str) -> dict[str, Any]:
        """A page: `{"total", "offset", "rows"}`; `sort` is one of `SORTS`."""
        ...

    async def tree(self, root: str | None, depth: int, per_parent: int) -> list[dict[str, Any]]:
        """The supervision tree, or what is below `root`."""
        ...

    async def process(self, pid: str) -> dict[str, Any] | None:
        """One process in full; None if there is no such process."""
        ...

    async def state(self, pid: str, raw: bool) -> dict[str, Any]:
        """The state of a server, as short texts; without `raw` only what is made for showing."""
        ...
