"""Arriving events, one consumer at a time each."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from typing import Generic, Self, TypeVar

from palaver.transport.client.engine import Engine
from palaver.transport.client.errors import ClientClosed
from palaver.transport.client.model import Event

__all__ = ["Arriving"]

E = TypeVar("E", bound=Event)


class Arriving(AsyncIterator[E], Generic[E]):
    """Arriving events for one consumer; the one before counts as handled when the next is asked.

    A consumer that goes away was past its last event, unless the program died with it. Events of
    another kind than ``wanted`` are passed over.
    """

    __slots__ = ("__weakref__", "_cell", "_engine", "_wanted")

    def __init__(self, engine: Engine, wanted: tuple[type[E], ...]) -> None:
        self._engine = engine
        self._wanted = wanted
        self._cell = [0]
        engine.link.consumers.add(self)
        weakref.finalize(self, _confirm, engine, self._cell).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        engine = self._engine
        if self._cell[0]:
            position, self._cell[0] = self._cell[0], 0
            await engine.past(position)
        while True:
            try:
                event = engine.take()
            except ClientClosed:
                raise StopAsyncIteration from None
            if event is None:
                await engine.board.arrival.wait()
            elif isinstance(event, self._wanted):
                self._cell[0] = event.position
                return event
            else:
                engine.handled(event.position)


def _confirm(engine: Engine, cell: list[int]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return  # The loop is over; the next start shows the event again.
    if cell[0]:
        engine.handled(cell[0])
