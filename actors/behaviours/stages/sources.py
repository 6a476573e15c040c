"""Producers of what an iterator or an asynchronous iterator gives."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import islice
from typing import Any, TypeVar

from palaver.actors.behaviours.stages.dispatchers import Dispatcher
from palaver.actors.behaviours.stages.producer import Producer
from palaver.actors.runtime import KILL, Pid, ProcessContext

__all__ = ["AsyncIteratorProducer", "IteratorProducer"]

E = TypeVar("E")


class IteratorProducer(Producer[Any]):
    """Produces what an iterable gives, and exits `NORMAL` after the last event was sent.

    Each event is taken when it is asked for. The iterator runs in the event loop: one that blocks
    or computes for long belongs into a thread, behind an asynchronous iterator.
    """

    __slots__ = ("_iterator",)

    def init(self, events: Iterable[E], *, dispatcher: Dispatcher[E] | None = None) -> None:
        """Take the events from `events`."""
        self._iterator = iter(events)
        if dispatcher is not None:
            self.dispatch_by(dispatcher)

    def handle_demand(self, demand: int) -> list[Any]:
        """Take as many."""
        events = list(islice(self._iterator, demand))
        if len(events) < demand:
            self.finish()
        return events


class _Pumped:
    """From the pump: an event, or the end."""

    __slots__ = ("events",)

    def __init__(self, events: tuple[Any, ...] | None) -> None:
        self.events = events


class AsyncIteratorProducer(Producer[Any]):
    """Produces what an asynchronous iterable of asyncio code gives; else as `IteratorProducer`.

    Another process, linked, waits for the iterator, so that this one always listens. If the
    iterator raises, both exit with that.
    """

    __slots__ = ("_pump",)

    def init(self, events: AsyncIterable[E], *, dispatcher: Dispatcher[E] | None = None) -> None:
        """Take the events from `events`."""
        if dispatcher is not None:
            self.dispatch_by(dispatcher)
        self._pump: Pid = self.spawn_link(_pump, self.pid, events)

    def handle_demand(self, demand: int) -> None:
        """Let the pump take as many."""
        self.send(self._pump, demand)

    def handle_info(self, message: Any) -> None:
        """An event has come, or the end."""
        if type(message) is _Pumped:
            if message.events is None:
                self.finish()
            else:
                self.emit(message.events)

    def terminate(self, reason: object) -> None:
        """End the pump: by its link alone it would survive a normal end."""
        self.exit(self._pump, KILL)


async def _pump(ctx: ProcessContext, producer: Pid, events: AsyncIterable[Any]) -> None:
    iterator = aiter(events)
    while True:
        for _ in range(await ctx.receive()):
            taken = await ctx.bridge(_next(iterator))
            ctx.send(producer, _Pumped(taken))
            if taken is None:
                return


async def _next(iterator: AsyncIterator[Any]) -> tuple[Any, ...] | None:
    try:
        return (await anext(iterator),)
    except StopAsyncIteration:
        return None
