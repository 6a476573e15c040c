"""The side of a stage that sends events: its buffer, its dispatcher, its books of demand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import structlog

from palaver.actors.behaviours.stages.dispatchers import Dispatcher
from palaver.actors.behaviours.stages.protocol import (
    Cancelled,
    Events,
    Subscription,
    SubscriptionRefused,
)
from palaver.actors.runtime import ExitProcess, GenServer, Overflow, Ref

__all__ = ["BufferKeep", "Outlet"]

log = structlog.get_logger("palaver.actors")

BufferKeep: TypeAlias = Literal["last", "first", "exit"]


class Outlet:
    """Sends the events of one stage to its consumers.

    It does not keep the stage, which comes with every call: a cycle would keep a stage alive that
    has exited.
    """

    __slots__ = (
        "_monitors",
        "_subscriptions",
        "accumulating",
        "buffer",
        "dispatcher",
        "dropped",
        "keep",
        "outstanding",
        "size",
    )

    def __init__(self, dispatcher: Dispatcher[Any], size: int | None, keep: BufferKeep) -> None:
        self.dispatcher = dispatcher
        self.size = size
        self.keep = keep
        self.buffer: deque[Any] = deque()
        self.dropped = 0
        self.accumulating = False  # nothing is asked for
        # How many events the stage was asked for and has not emitted yet.
        self.outstanding = 0
        self._monitors: dict[Subscription, Ref] = {}
        self._subscriptions: dict[Ref, Subscription] = {}

    def subscribers(self) -> list[Subscription]:
        """Who is subscribed."""
        return list(self._monitors)

    def drained(self) -> bool:
        """Whether every event was sent to somebody."""
        return not self.buffer and not self.dispatcher.held()

    def subscribe(self, stage: GenServer, subscription: Subscription) -> None:
        """Begin to serve a consumer, or tell it why not."""
        try:
            self.dispatcher.subscribe(subscription)
        except ValueError as error:
            refused = Cancelled(subscription, SubscriptionRefused(str(error)))
            stage.send(subscription.consumer, refused)
            return
        monitor = stage.monitor(subscription.consumer)
        self._monitors[subscription] = monitor
        self._subscriptions[monitor] = subscription

    def ask(self, stage: GenServer, subscription: Subscription, count: int) -> None:
        """A consumer can take more; nothing happens if it has been cancelled meanwhile."""
        if subscription in self._monitors:
            self.dispatcher.ask(subscription, count)
            self.deliver(stage)

    def cancel(self, stage: GenServer, subscription: Subscription) -> bool:
        """Serve a consumer no more; whether it was served."""
        monitor = self._monitors.pop(subscription, None)
        if monitor is None:
            return False
        del self._subscriptions[monitor]
        stage.demonitor(monitor)
        self.dispatcher.cancel(subscription)
        self.deliver(stage)  # it may have held up the others
        return True

    def of_monitor(self, monitor: Ref) -> Subscription | None:
        """The subscription whose consumer this monitor watches."""
        return self._subscriptions.get(monitor)

    def emit(self, stage: GenServer, events: Iterable[Any]) -> None:
        """Send events, or keep them until somebody asks."""
        buffer = self.buffer
        before = len(buffer)
        buffer.extend(events)
        self.outstanding = max(0, self.outstanding - (len(buffer) - before))
        self.deliver(stage)
        if self.size is not None and len(buffer) > self.size:
            self._overflow(stage, self.size)

    def deliver(self, stage: GenServer) -> None:
        """Send what can be sent."""
        for subscription, events in self.dispatcher.dispatch(self.buffer):
            stage.send(subscription.consumer, Events(subscription, events))

    def room(self) -> int:
        """How many events would be sent at once."""
        if self.accumulating:
            return 0
        return max(0, self.dispatcher.demand() - len(self.buffer))

    def wanted(self) -> int:
        """How many events the stage has not been asked for yet."""
        return max(0, self.room() - self.outstanding)

    def _overflow(self, stage: GenServer, size: int) -> None:
        excess = len(self.buffer) - size
        if self.keep == "exit":
            raise ExitProcess(Overflow(size))
        if not self.dropped:
            log.warning("events dropped", stage=str(stage.pid), keep=self.keep, buffer_size=size)
        self.dropped += excess
        drop = self.buffer.popleft if self.keep == "last" else self.buffer.pop
        for _ in range(excess):
            drop()
