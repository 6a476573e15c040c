"""Who gets an event: the dispatchers of a producer.

A dispatcher is plain code over plain data: it keeps the books of who has asked for how much, and
says to whom the events of the producer's buffer go. It never gives a subscription more than that
has asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, Protocol, TypeAlias, TypeVar

from palaver.actors.behaviours.stages.protocol import Subscription

__all__ = [
    "BroadcastDispatcher",
    "Deliveries",
    "DemandDispatcher",
    "Dispatcher",
    "PartitionDispatcher",
]

E = TypeVar("E")

Deliveries: TypeAlias = list[tuple[Subscription, list[E]]]


class Dispatcher(Protocol[E]):
    """Decides to whom events go."""

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to serve; raises ValueError to refuse it."""

    def cancel(self, subscription: Subscription) -> None:
        """Serve it no more; what it has asked for is forgotten."""

    def ask(self, subscription: Subscription, count: int) -> None:
        """It can take `count` more."""

    def demand(self) -> int:
        """How many more events can be taken now; never more than were asked for."""

    def dispatch(self, buffer: deque[E]) -> Deliveries[E]:
        """Take what can be taken from the left of the buffer; what is to be sent to whom."""

    def held(self) -> int:
        """How many events were taken and are not sent yet."""


class DemandDispatcher(Generic[E]):
    """An event goes to one consumer: the one that has asked for most, of equals the first."""

    def __init__(self) -> None:
        self._asked: dict[Subscription, int] = {}
        self._total = 0

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to serve it."""
        self._asked[subscription] = 0

    def cancel(self, subscription: Subscription) -> None:
        """Serve it no more."""
        self._total -= self._asked.pop(subscription)

    def ask(self, subscription: Subscription, count: int) -> None:
        """It can take `count` more."""
        # Behind those that have asked before: that is the order among equals.
        self._asked[subscription] = self._asked.pop(subscription) + count
        self._total += count

    def demand(self) -> int:
        """All that was asked for."""
        return self._total

    def dispatch(self, buffer: deque[E]) -> Deliveries[E]:
        """Send as much as was asked for."""
        deliveries: Deliveries[E] = []
        if not buffer:
            return deliveries
        for subscription, asked in sorted(self._asked.items(), key=lambda item: -item[1]):
            count = min(asked, len(buffer))
            if count == 0:
                break
            deliveries.append((subscription, [buffer.popleft() for _ in range(count)]))
            self._asked[subscription] = asked - count
            self._total -= count
        return deliveries

    def held(self) -> int:
        """Nothing is held."""
        return 0


class BroadcastDispatcher(Generic[E]):
    """An event goes to every consumer, as soon as all have asked: the slowest sets the pace.

    A subscription's option ``selector``, a function, says which events it wants; others are not
    sent to it. A consumer gets the events from when it has first asked on: to have several begin
    together, see `Producer.accumulate_demand`.
    """

    def __init__(self) -> None:
        self._asked: dict[Subscription, int] = {}

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to serve it."""
        selector = subscription.options.get("selector")
        if selector is not None and not callable(selector):
            raise ValueError("a selector is a function that says whether an event is wanted")
        self._asked[subscription] = 0

    def cancel(self, subscription: Subscription) -> None:
        """Serve it no more."""
        del self._asked[subscription]

    def ask(self, subscription: Subscription, count: int) -> None:
        """It can take `count` more."""
        self._asked[subscription] += count

    def demand(self) -> int:
        """As much as everyone has asked for."""
        return min(self._asked.values(), default=0)

    def dispatch(self, buffer: deque[E]) -> Deliveries[E]:
        """Send to all as much as all have asked for."""
        deliveries: Deliveries[E] = []
        count = min(self.demand(), len(buffer))
        if count == 0:
            return deliveries
        batch = [buffer.popleft() for _ in range(count)]
        for subscription in self._asked:
            selector = subscription.options.get("selector")
            wanted = batch.copy() if selector is None else [e for e in batch if selector(e)]
            if wanted:
                deliveries.append((subscription, wanted))
                self._asked[subscription] -= len(wanted)
        return deliveries

    def held(self) -> int:
        """Nothing is held."""
        return 0


class PartitionDispatcher(Generic[E]):
    """An event goes to the consumer of its partition; one consumer per partition.

    A subscription names its partition by its option ``partition``. Events whose partition has not
    asked wait here, in order, and count against the demand: together never more than all
    consumers have asked for. So a partition without consumer, or with a slow one, in the end stops
    the others too, instead of gathering events without a limit.

    Args:
        partitions: Their names, or how many (they are 0, 1, ... then).
        key: The partition of an event; with a number, any integer, taken modulo it. It must not
            depend on the run, as `hash` of a text does.
    """

    def __init__(self, partitions: int | Iterable[Hashable], key: Callable[[E], Hashable]) -> None:
        self._modulo = partitions if isinstance(partitions, int) else None
        names = range(partitions) if isinstance(partitions, int) else partitions
        self._waiting: dict[Hashable, deque[E]] = {name: deque() for name in names}
        if not self._waiting:
            raise ValueError("there is at least one partition")
        self._key = key
        self._of: dict[Subscription, Hashable] = {}
        self._subscribed: dict[Hashable, Subscription] = {}
        self._asked: dict[Subscription, int] = {}
        self._total = 0
        self._held = 0

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to serve a partition."""
        name = subscription.options.get("partition")
        if name not in self._waiting:
            raise ValueError(f"no partition {name!r}: there are {list(self._waiting)}")
        if name in self._subscribed:
            raise ValueError(f"the partition {name!r} has a consumer")
        self._subscribed[name] = subscription
        self._of[subscription] = name
        self._asked[subscription] = 0

    def cancel(self, subscription: Subscription) -> None:
        """Its partition waits for another consumer."""
        del self._subscribed[self._of.pop(subscription)]
        self._total -= self._asked.pop(subscription)

    def ask(self, subscription: Subscription, count: int) -> None:
        """It can take `count` more."""
        self._asked[subscription] += count
        self._total += count

    def demand(self) -> int:
        """All that was asked for, less what waits."""
        return max(0, self._total - self._held)

    def dispatch(self, buffer: deque[E]) -> Deliveries[E]:
        """Sort events by their partition, and send as much as that has asked for."""
        for _ in range(min(self.demand(), len(buffer))):
            event = buffer.popleft()
            self._waiting[self._partition(event)].append(event)
            self._held += 1
        deliveries: Deliveries[E] = []
        for subscription, name in self._of.items():
            waiting = self._waiting[name]
            count = min(self._asked[subscription], len(waiting))
            if count:
                deliveries.append((subscription, [waiting.popleft() for _ in range(count)]))
                self._asked[subscription] -= count
                self._total -= count
                self._held -= count
        return deliveries

    def held(self) -> int:
        """How many events wait for their partition."""
        return self._held

    def _partition(self, event: E) -> Hashable:
        name = self._key(event)
        if self._modulo is not None and isinstance(name, int):
            name %= self._modulo
        if name not in self._waiting:
            raise ValueError(f"{event!r} is of the partition {name!r}, which does not exist")
        return name
