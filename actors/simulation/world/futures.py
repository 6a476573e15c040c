"""Futures and tasks whose hash is a number that counts up, not their address.

asyncio keeps tasks in sets, and so do programs (`asyncio.wait` gives sets): in which order they
are cancelled or looked at must not depend on where they lie in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

__all__ = ["SimulatedFuture", "SimulatedTask"]


class SimulatedFuture(asyncio.Future[Any]):
    """A future, the `number`th of its loop."""

    __slots__ = ("number",)

    def __init__(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimulatedTask(asyncio.Task[Any]):
    """A task, the `number`th of its loop."""

    __slots__ = ("number",)

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        loop: asyncio.AbstractEventLoop,
        number: int,
        name: str | None,
        context: Context | None,
    ) -> None:
        self.number = number  # first: it enters a set of all tasks
        super().__init__(coro, loop=loop, name=name or f"Task-{number}", context=context)

    def __hash__(self) -> int:
        return self.number
