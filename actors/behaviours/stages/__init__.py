"""Stages with demand: streams of events with back-pressure; after Elixir's GenStage.

    class Numbers(Producer[int]):
        def init(self) -> None:
            self.next = 0

        def handle_demand(self, demand: int) -> list[int]:
            start, self.next = self.next, self.next + demand
            return list(range(start, self.next))

    class Printer(Consumer[int]):
        def init(self) -> None:
            self.subscribe("numbers", max_demand=10)

        async def handle_events(self, events: list[int], subscription: Subscription) -> None:
            ...

Events flow only where they were asked for: of each subscription at most `max_demand` are on their
way, waiting or being handled, however slow the consumer is. Producer and consumer are plain
servers: `init`, `handle_call`, `handle_cast`, `handle_info`, `terminate` are the user's own.

A stage should have no `MailboxLimit`: demand is its limit.

See https://hexdocs.pm/gen_stage/GenStage.html.
"""

from palaver.actors.behaviours.stages.consumer import Consumer, ProducerConsumer
from palaver.actors.behaviours.stages.dispatchers import (
    BroadcastDispatcher,
    DemandDispatcher,
    Dispatcher,
    PartitionDispatcher,
)
from palaver.actors.behaviours.stages.outside import EventStream, stream
from palaver.actors.behaviours.stages.producer import Producer
from palaver.actors.behaviours.stages.protocol import (
    CancelMode,
    ForwardDemand,
    SubscribeTo,
    Subscription,
    SubscriptionRefused,
)
from palaver.actors.behaviours.stages.sources import AsyncIteratorProducer, IteratorProducer

__all__ = [
    "AsyncIteratorProducer",
    "BroadcastDispatcher",
    "CancelMode",
    "Consumer",
    "DemandDispatcher",
    "Dispatcher",
    "EventStream",
    "ForwardDemand",
    "IteratorProducer",
    "PartitionDispatcher",
    "Producer",
    "ProducerConsumer",
    "SubscribeTo",
    "Subscription",
    "SubscriptionRefused",
    "stream",
]
