"""The end of a stream in ordinary asyncio code: `async for event in stream(node, producer)`."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from palaver.actors.behaviours.stages.consumer import Consumer
from palaver.actors.behaviours.stages.protocol import Subscription
from palaver.actors.runtime import NORMAL, SHUTDOWN, CalleeExited, Crash, Dest, Node

__all__ = ["EventStream", "stream"]

E = TypeVar("E")


class _Port(Protocol):
    """Where a relay puts events."""

    def put(self, events: list[Any]) -> None:
        """Some have come."""


class _Relay(Consumer[Any]):
    """The consumer within the node: it asks for as many as were taken out there."""

    __slots__ = ("_port", "_subscription")

    def init(self, port: _Port, producer: Dest, max_demand: int, options: dict[str, Any]) -> None:
        self._port = port
        self._subscription = self.subscribe(producer, max_demand=max_demand, manual=True, **options)
        self.ask(self._subscription, max_demand)

    def handle_events(self, events: list[Any], subscription: Subscription) -> None:
        self._port.put(events)

    def handle_cast(self, taken: int) -> None:
        self.ask(self._subscription, taken)


class EventStream(Generic[E]):
    """The events of a producer, as an asynchronous iterator; made by `stream`.

    It ends when the producer exits normally. If the producer exits otherwise, `CalleeExited` is
    raised after the last event, with the exception that is the cause, if one is. Close it, or use
    it in an `async with`: it is a process of the node. For code in the node's own event loop.
    """

    def __init__(
        self, node: Node, producer: Dest, *, max_demand: int, options: dict[str, Any]
    ) -> None:
        self._node = node
        self._events: deque[E] = deque()
        self._taken = 0
        self._ask_at = max(1, max_demand // 2)
        self._closed = False
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._pid = node.spawn(_Relay, self, producer, max_demand, options)
        self._end = asyncio.ensure_future(node.wait(self._pid))
        self._end.add_done_callback(lambda _: self._wake())

    def put(self, events: list[E]) -> None:
        """From the node: events have come."""
        self._events.extend(events)
        self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        while not self._events:
            if self._end.done():
                reason = self._end.result()
                if reason is NORMAL or self._closed:
                    raise StopAsyncIteration
                cause = reason.exception if isinstance(reason, Crash) else None
                raise CalleeExited(self._pid, reason) from cause
            waiting = asyncio.get_running_loop().create_future()
            self._waiting[waiting] = None
            try:
                await waiting
            finally:
                self._waiting.pop(waiting, None)
        self._taken += 1
        if self._taken >= self._ask_at:
            self._node.cast(self._pid, self._taken)
            self._taken = 0
        return self._events.popleft()

    async def aclose(self) -> None:
        """Take no more; returns when the node has nothing left of it."""
        self._closed = True
        self._node.exit(self._pid, SHUTDOWN)
        await self._end
        self._events.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


def stream(
    node: Node, producer: Dest, *, max_demand: int = 100, **options: Any
) -> EventStream[Any]:
    """Subscribe asyncio code to a producer; at most `max_demand` events wait to be taken.

    Other `options` go to the producer's dispatcher.
    """
    return EventStream(node, producer, max_demand=max_demand, options=options)
