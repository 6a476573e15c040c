"""`Producer`: the stage that a stream begins with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar

from palaver.actors.behaviours.stages.dispatchers import DemandDispatcher, Dispatcher
from palaver.actors.behaviours.stages.outlet import BufferKeep, Outlet
from palaver.actors.behaviours.stages.protocol import (
    Ask,
    Cancel,
    Cancelled,
    ForwardDemand,
    Subscribe,
    Subscription,
)
from palaver.actors.behaviours.stages.stage import COROUTINES, MORE, Stage
from palaver.actors.runtime import NORMAL, Down, Stop

__all__ = ["Producer"]

Out = TypeVar("Out")


class Producer(Stage, Generic[Out]):
    """Makes events, when they are asked for.

    Events that nobody has asked for yet (from `emit`, outside of `handle_demand`) wait in a buffer
    of `buffer_size` events; beyond it `buffer_keep` decides: ``last`` drops the oldest, ``first``
    the newest, ``exit`` ends the stage with `Overflow`.
    """

    __slots__ = ()

    buffer_size: ClassVar[int | None] = 10_000
    buffer_keep: ClassVar[BufferKeep] = "last"

    def __init__(self) -> None:
        super().__init__()
        self._outlet = Outlet(DemandDispatcher(), self.buffer_size, self.buffer_keep)

    # -- to be overridden ---------------------------------------------------------------------

    def handle_demand(self, demand: int) -> Any:
        """The consumers can take `demand` more events: return them, some of them, or None.

        What is missing is still owed: `emit` it later. May be an `async def`, and return `Stop`.
        """

    def handle_subscribe(self, subscription: Subscription) -> None:
        """A consumer has subscribed."""

    # -- for callbacks ------------------------------------------------------------------------

    def dispatch_by(self, dispatcher: Dispatcher[Out]) -> None:
        """Choose who gets which events, in `init`; a `DemandDispatcher` if not chosen."""
        if self._outlet.subscribers():
            raise ValueError("the dispatcher is chosen before the first consumer subscribes")
        self._outlet.dispatcher = dispatcher

    def emit(self, events: Iterable[Out]) -> None:
        """Send events to the consumers, from whatever callback; see above for the limit."""
        self._outlet.emit(self, events)
        if self._outlet.wanted():  # events that no selector wanted: the demand is still there
            self.send(self.pid, MORE)

    def accumulate_demand(self) -> None:
        """Ask for nothing until `forward_demand`: gather consumers first, in `init`, say."""
        self._outlet.accumulating = True

    def forward_demand(self) -> None:
        """Ask for what the consumers want, from now on; who is outside sends `ForwardDemand()`."""
        self._outlet.accumulating = False
        self.send(self.pid, MORE)

    def finish(self, reason: object = NORMAL) -> None:
        """Exit with `reason` when all that was emitted has been sent; ask for no more."""
        self._finishing = reason
        self.send(self.pid, MORE)

    def unsubscribe(self, subscription: Subscription, reason: object = NORMAL) -> None:
        """Send no more to a consumer; what then happens there says its `cancel`."""
        if self._outlet.cancel(self, subscription):
            self.send(subscription.consumer, Cancelled(subscription, reason))

    @property
    def subscribers(self) -> list[Subscription]:
        """The subscriptions of the consumers."""
        return self._outlet.subscribers()

    @property
    def dropped_total(self) -> int:
        """How many events the buffer had no room for."""
        return self._outlet.dropped

    # -- what consumers say -------------------------------------------------------------------

    def _subscribed(self, message: Subscribe) -> Any:
        self._outlet.subscribe(self, message.subscription)
        self.handle_subscribe(message.subscription)

    def _asked(self, message: Ask) -> Any:
        self._outlet.ask(self, message.subscription, message.count)
        return self._serve()

    def _cancel_asked(self, message: Cancel) -> Any:
        if not self._outlet.cancel(self, message.subscription):
            return None
        self.send(message.subscription.consumer, Cancelled(message.subscription, message.reason))
        return self._left(message.subscription, message.reason)

    def _down(self, message: Down) -> Any:
        subscription = self._outlet.of_monitor(message.ref)
        if subscription is None:
            return super()._down(message)
        self._outlet.cancel(self, subscription)
        return self._left(subscription, message.reason)

    def _left(self, subscription: Subscription, reason: object) -> Any:
        stop = self.handle_cancel(reason, subscription)
        return self._serve() if stop is None else stop

    def _forward(self, message: ForwardDemand) -> None:
        self.forward_demand()

    def _more(self, message: Any) -> Any:
        return self._serve()

    def _serve(self) -> Any:
        """Ask for what the consumers want; the end, if this stage is to end and has sent all."""
        if self._finishing is not None:
            return self._finished()
        wanted = self._outlet.wanted()
        if not wanted:
            return None
        self._outlet.outstanding += wanted
        result = self.handle_demand(wanted)
        if type(result) in COROUTINES:
            return self._serve_later(result)
        return self._supplied(result)

    async def _serve_later(self, result: Any) -> Any:
        return self._supplied(await result)

    def _supplied(self, result: Any) -> Any:
        if type(result) is Stop:
            return result
        if result is not None:
            self.emit(result)
        return self._finished()

    def _finished(self) -> Stop | None:
        if self._finishing is not None and self._outlet.drained():
            return Stop(self._finishing)
        return None
