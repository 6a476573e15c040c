"""`Consumer` and `ProducerConsumer`: the stages that take events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar

from palaver.actors.behaviours.stages.inlet import Inlet, Supply
from palaver.actors.behaviours.stages.producer import Producer
from palaver.actors.behaviours.stages.protocol import (
    Cancel,
    Cancelled,
    CancelMode,
    Events,
    SubscribeTo,
    Subscription,
)
from palaver.actors.behaviours.stages.stage import COROUTINES, Stage
from palaver.actors.runtime import NORMAL, BadReturn, Dest, Down, Stop, is_abnormal

__all__ = ["Consumer", "ProducerConsumer"]

In = TypeVar("In")
Out = TypeVar("Out")


class Consumer(Stage, Generic[In]):
    """Takes events from producers, as many as it has asked for."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._inlet = Inlet()

    # -- to be overridden ---------------------------------------------------------------------

    def handle_events(self, events: list[In], subscription: Subscription) -> Any:
        """Handle events: at most `max_demand - min_demand` at a time, unless it is manual.

        Plain or `async def`; while it waits, nothing more is asked for. May return `Stop`.
        """
        raise BadReturn(f"{type(self).__qualname__} has no handle_events")

    # -- for callbacks ------------------------------------------------------------------------

    def subscribe(
        self,
        producer: Dest,
        *,
        max_demand: int = 1000,
        min_demand: int | None = None,
        cancel: CancelMode = "permanent",
        manual: bool = False,
        **options: Any,
    ) -> Subscription:
        """Subscribe to a producer; the arguments are the attributes of `Subscription`.

        `min_demand` is the half of `max_demand` if not given; other `options` go to the producer's
        dispatcher. If there is no such producer, the subscription ends at once, with `NOPROC`.
        """
        pid = self.whereis(producer)
        subscription = Subscription(
            producer if pid is None else pid,
            self.pid,
            max_demand,
            min_demand,
            cancel,
            manual,
            options,
        )
        self._inlet.subscribe(self, subscription)
        return subscription

    def ask(self, subscription: Subscription, count: int) -> None:
        """Ask for more, where that is manual; nothing happens if the subscription has ended.

        Within `handle_events`, its events count as handled. Raises ValueError if more than
        `max_demand` would be on their way.
        """
        supply = self._inlet.get(subscription)
        if supply is not None:
            self._inlet.ask(self, supply, count)

    def cancel(self, subscription: Subscription, reason: object = NORMAL) -> None:
        """End a subscription; this stage goes on, whatever `cancel` says.

        What is on its way is still handled; `handle_cancel` is called after the last of it.
        """
        supply = self._inlet.get(subscription)
        if supply is not None and not supply.ending:
            supply.ending = True
            self.send(subscription.producer, Cancel(subscription, reason))

    @property
    def subscriptions(self) -> list[Subscription]:
        """The subscriptions that this stage has."""
        return self._inlet.subscriptions()

    # -- what producers say -------------------------------------------------------------------

    def _subscribe_to(self, message: SubscribeTo) -> Any:
        self.subscribe(message.producer, **message.options)

    def _arrived(self, message: Events) -> Any:
        supply = self._inlet.get(message.subscription)
        if supply is None or self._finishing is not None:
            return None
        self._inlet.take(supply, message.events)
        return self._work()

    def _cancelled(self, message: Cancelled) -> Any:
        supply = self._inlet.get(message.subscription)
        return None if supply is None else self._ended(supply, message.reason)

    def _down(self, message: Down) -> Any:
        supply = self._inlet.of_monitor(message.ref)
        if supply is None:
            return super()._down(message)
        return self._ended(supply, message.reason)

    def _ended(self, supply: Supply, reason: object) -> Any:
        subscription = supply.subscription
        self._inlet.end(self, supply)
        stop = self.handle_cancel(reason, subscription)
        if stop is not None or supply.ending:
            return stop
        mode = subscription.cancel
        if mode == "permanent" or (mode == "transient" and is_abnormal(reason)):
            return self._orphaned(reason)
        return None

    def _orphaned(self, reason: object) -> Any:
        return Stop(reason)

    # -- the work -----------------------------------------------------------------------------

    def _work(self) -> Any:
        """Handle what has come."""
        waiting = self._inlet.waiting
        while waiting and self._may_work():
            supply, events = self._inlet.next()
            count = len(events)
            result = self.handle_events(events, supply.subscription)
            if type(result) in COROUTINES:
                return self._work_later(result, supply, count)
            stop = self._handled(result, supply, count)
            if stop is not None:
                return stop
        return self._worked()

    async def _work_later(self, result: Any, supply: Supply, count: int) -> Any:
        """`_work`, where the handler is a coroutine."""
        waiting = self._inlet.waiting
        while True:
            if type(result) in COROUTINES:
                result = await result
            stop = self._handled(result, supply, count)
            if stop is not None:
                return stop
            if not (waiting and self._may_work()):
                return self._worked()
            supply, events = self._inlet.next()
            count = len(events)
            result = self.handle_events(events, supply.subscription)

    def _handled(self, result: Any, supply: Supply, count: int) -> Stop | None:
        if type(result) is Stop:
            return result
        self._made(result)
        self._inlet.handled(self, supply, count)
        return None

    def _made(self, result: Any) -> None:
        if result is not None:
            raise BadReturn(
                f"{type(self).__qualname__} returned {result!r} from handle_events; "
                "only a ProducerConsumer returns events"
            )

    def _may_work(self) -> bool:
        return True

    def _worked(self) -> Stop | None:
        return None


class ProducerConsumer(Consumer[In], Producer[Out], Generic[In, Out]):
    """Takes events and makes others of them: `handle_events` returns those, any number.

    It handles events only when its own consumers have asked: so the pressure goes back through it,
    and what it holds is at most `max_demand` events of each producer and what it made of one batch.
    When a producer has ended normally (and its subscription is permanent), it handles and sends
    what it has, then exits too.
    """

    __slots__ = ()

    buffer_size: ClassVar[int | None] = None  # what it made of one batch

    def emit(self, events: Iterable[Out]) -> None:
        """Send events to the consumers."""
        self._outlet.emit(self, events)

    def _serve(self) -> Any:
        return self._work()

    def _made(self, result: Any) -> None:
        if result is not None:
            self.emit(result)

    def _may_work(self) -> bool:
        return self._outlet.room() > 0

    def _worked(self) -> Stop | None:
        return self._finished()

    def _finished(self) -> Stop | None:
        return None if self._inlet.waiting else super()._finished()

    def _orphaned(self, reason: object) -> Any:
        if is_abnormal(reason):
            return Stop(reason)
        self._finishing = reason
        return self._work()
