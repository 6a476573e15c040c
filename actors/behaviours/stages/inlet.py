"""The side of a stage that takes events: its subscriptions, and what is not handled yet."""

from __future__ import annotations

from collections import deque
from typing import Any

from palaver.actors.behaviours.stages.protocol import Ask, Subscribe, Subscription
from palaver.actors.runtime import GenServer, Ref

__all__ = ["Inlet", "Supply"]


class Supply:
    """A subscription, as its consumer keeps it."""

    __slots__ = ("ending", "monitor", "pending", "subscription")

    def __init__(self, subscription: Subscription, monitor: Ref) -> None:
        self.subscription = subscription
        self.monitor = monitor
        # Asked for and not handled yet; `max_demand` at most.
        self.pending = 0
        # The consumer itself has cancelled it.
        self.ending = False


class Inlet:
    """Asks for events, and keeps those that cannot be handled yet."""

    __slots__ = ("_by_monitor", "_supplies", "waiting")

    def __init__(self) -> None:
        self._supplies: dict[Subscription, Supply] = {}
        self._by_monitor: dict[Ref, Supply] = {}
        self.waiting: deque[tuple[Supply, list[Any]]] = deque()

    def subscriptions(self) -> list[Subscription]:
        """What the stage is subscribed to."""
        return list(self._supplies)

    def get(self, subscription: Subscription) -> Supply | None:
        """How it stands with a subscription; None if it has ended."""
        return self._supplies.get(subscription)

    def of_monitor(self, monitor: Ref) -> Supply | None:
        """The subscription whose producer this monitor watches."""
        return self._by_monitor.get(monitor)

    def subscribe(self, stage: GenServer, subscription: Subscription) -> None:
        """Begin; unless it is manual, ask for all that may be asked for."""
        supply = Supply(subscription, stage.monitor(subscription.producer))
        self._supplies[subscription] = supply
        self._by_monitor[supply.monitor] = supply
        stage.send(subscription.producer, Subscribe(subscription))
        if not subscription.manual:
            self.ask(stage, supply, subscription.max_demand)

    def ask(self, stage: GenServer, supply: Supply, count: int) -> None:
        """Ask for `count` more events; raises ValueError if that is more than `max_demand`."""
        subscription = supply.subscription
        if count < 1 or supply.pending + count > subscription.max_demand:
            raise ValueError(
                f"{count} more events cannot be asked for: {supply.pending} are on their way, "
                f"max_demand is {subscription.max_demand}"
            )
        supply.pending += count
        stage.send(subscription.producer, Ask(subscription, count))

    def take(self, supply: Supply, events: list[Any]) -> None:
        """Keep events, in batches after each of which more is asked for."""
        subscription = supply.subscription
        size = subscription.max_demand - subscription.min_demand
        if subscription.manual or len(events) <= size:
            self.waiting.append((supply, events))
            return
        for start in range(0, len(events), size):
            self.waiting.append((supply, events[start : start + size]))

    def next(self) -> tuple[Supply, list[Any]]:
        """The next batch to be handled; where it is manual, as many may be asked for at once."""
        supply, events = self.waiting.popleft()
        if supply.subscription.manual:
            supply.pending -= len(events)
        return supply, events

    def handled(self, stage: GenServer, supply: Supply, count: int) -> None:
        """Events have been handled: ask for more, if it is time."""
        subscription = supply.subscription
        if subscription.manual:
            return
        supply.pending -= count
        if supply.pending > subscription.min_demand:
            return
        if subscription in self._supplies and not supply.ending:
            self.ask(stage, supply, subscription.max_demand - supply.pending)

    def end(self, stage: GenServer, supply: Supply) -> None:
        """It has ended; what has come is still handled."""
        del self._supplies[supply.subscription]
        del self._by_monitor[supply.monitor]
        stage.demonitor(supply.monitor)
