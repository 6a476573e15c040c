"""What stages say to each other: GenStage's protocol.

A consumer sends `Subscribe`, then `Ask` for as many events as it can take; the producer sends
`Events`, never more than were asked for. Either side ends it: the consumer by `Cancel`, which the
producer confirms by `Cancelled`; the producer by `Cancelled`; both by exiting, for they monitor
each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from palaver.actors.runtime import Dest, Pid, Ref, RuntimeFault

__all__ = [
    "Ask",
    "Cancel",
    "CancelMode",
    "Cancelled",
    "Events",
    "ForwardDemand",
    "Subscribe",
    "SubscribeTo",
    "Subscription",
    "SubscriptionRefused",
]

CancelMode: TypeAlias = Literal["permanent", "transient", "temporary"]


class SubscriptionRefused(RuntimeFault):
    """A producer's dispatcher does not take a subscription; the reason why it is cancelled."""


class Subscription(Ref):
    """One consumer's subscription to one producer.

    Attributes:
        producer: Who sends the events.
        consumer: Who gets them.
        max_demand: How many events may be on their way or not handled yet, at most.
        min_demand: When no more than this many are, the consumer asks for more.
        cancel: Whether the consumer exits when the subscription ends: ``permanent``: always, with
            the same reason; ``transient``: if the reason is abnormal; ``temporary``: never.
        manual: The consumer asks itself, by `Consumer.ask`.
        options: What the producer's dispatcher wants to know.
    """

    __slots__ = ("cancel", "consumer", "manual", "max_demand", "min_demand", "options", "producer")

    def __init__(
        self,
        producer: Dest,
        consumer: Pid,
        max_demand: int,
        min_demand: int | None,
        cancel: CancelMode,
        manual: bool,
        options: Mapping[str, Any],
    ) -> None:
        if max_demand < 1:
            raise ValueError("max_demand is at least 1")
        if min_demand is None:
            min_demand = max_demand // 2
        if not 0 <= min_demand < max_demand:
            raise ValueError("min_demand is at least 0 and less than max_demand")
        if cancel not in ("permanent", "transient", "temporary"):
            raise ValueError(f"unknown cancel {cancel!r}")
        self.producer = producer
        self.consumer = consumer
        self.max_demand = max_demand
        self.min_demand = min_demand
        self.cancel: CancelMode = cancel
        self.manual = manual
        self.options = options


class SubscribeTo:
    """Sent to a consumer by anybody: subscribe to this producer; see `Consumer.subscribe`."""

    __slots__ = ("options", "producer")

    def __init__(self, producer: Dest, **options: Any) -> None:
        self.producer = producer
        self.options = options


class ForwardDemand:
    """Sent to a producer by anybody: begin; see `Producer.accumulate_demand`."""

    __slots__ = ()


@dataclass(slots=True)
class Subscribe:
    """From a consumer: send me events when I ask."""

    subscription: Subscription


@dataclass(slots=True)
class Ask:
    """From a consumer: I can take `count` more events."""

    subscription: Subscription
    count: int


@dataclass(slots=True)
class Events:
    """From a producer: some of the events that you have asked for."""

    subscription: Subscription
    events: list[Any]


@dataclass(slots=True)
class Cancel:
    """From a consumer: send no more."""

    subscription: Subscription
    reason: object


@dataclass(slots=True)
class Cancelled:
    """From a producer: no more will come."""

    subscription: Subscription
    reason: object
