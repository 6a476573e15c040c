"""Stages: nothing lost, nothing doubled, in order, and never more on its way than was asked for."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import World, run

from palaver.actors.behaviours.stages import (
    AsyncIteratorProducer,
    BroadcastDispatcher,
    Consumer,
    DemandDispatcher,
    ForwardDemand,
    IteratorProducer,
    PartitionDispatcher,
    Producer,
    ProducerConsumer,
    SubscribeTo,
    Subscription,
    SubscriptionRefused,
    stream,
)
from palaver.actors.runtime import (
    KILL,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    BadReturn,
    CalleeExited,
    Crash,
    Overflow,
    Pid,
    ProcessContext,
    Stop,
)

Event = tuple[int, int]  # of which producer, its number


class Books:
    """What was sent and what was handled, by subscription."""

    def __init__(self) -> None:
        self.sent: Counter[Subscription] = Counter()
        self.handled: Counter[Subscription] = Counter()
        # What happens once so many events have been handled.
        self.when: tuple[int, Callable[[], None]] | None = None

    def handle(self, subscription: Subscription, count: int) -> None:
        self.handled[subscription] += count
        if self.when is not None and self.handled.total() >= self.when[0]:
            self.when[1]()

    def send(self, deliveries: Iterable[tuple[Subscription, list[Any]]]) -> None:
        for subscription, events in deliveries:
            assert events
            self.sent[subscription] += len(events)
            on_its_way = self.sent[subscription] - self.handled[subscription]
            assert on_its_way <= subscription.max_demand


def watched(dispatcher: Any, books: Books) -> Any:
    """A dispatcher that writes down what it sends."""
    dispatch = dispatcher.dispatch

    def dispatch_and_note(buffer: deque[Any]) -> Any:
        deliveries = dispatch(buffer)
        books.send(deliveries)
        return deliveries

    dispatcher.dispatch = dispatch_and_note
    return dispatcher


class Source(Producer[Event]):
    """Gives numbers; sometimes less than was asked for, the rest later."""

    def init(self, number: int, count: int, dispatcher: Any, stingy: bool) -> None:
        self.number, self.left, self.given, self.stingy = number, count, 0, stingy
        self.dispatch_by(dispatcher)
        self.accumulate_demand()

    def handle_demand(self, demand: int) -> list[Event]:
        if self.stingy and demand > 1:
            self.send(self.pid, ("later", demand - 1))
            return self.next(1)
        return self.next(demand)

    def handle_info(self, message: Any) -> None:
        self.emit(self.next(message[1]))

    def next(self, count: int) -> list[Event]:
        count = min(count, self.left - self.given)
        start, self.given = self.given, self.given + count
        if self.given == self.left:
            self.finish()
        return [(self.number, n) for n in range(start, self.given)]


class Middle(ProducerConsumer[Event, Event]):
    """Passes every event on, `times` times."""

    def init(
        self, sources: list[Pid], demand: Any, times: int, dispatcher: Any, books: Books
    ) -> None:
        self.times, self.books, self.left = times, books, len(sources)
        self.dispatch_by(dispatcher)
        self.accumulate_demand()
        for source in sources:
            self.subscribe(source, cancel="temporary", **demand)

    async def handle_events(self, events: list[Event], subscription: Subscription) -> Any:
        await self.sleep(0)
        self.books.handled[subscription] += len(events)
        return [event for event in events for _ in range(self.times)]

    def handle_cancel(self, reason: object, subscription: Subscription) -> None:
        if subscription.consumer is self.pid:
            self.left -= 1
            if not self.left:
                self.finish()


class Sink(Consumer[Event]):
    """Keeps what it gets; takes its time now and then."""

    def init(
        self,
        producers: list[Pid],
        demand: Any,
        got: list[Event],
        books: Books,
        slow: bool = False,
        options: Any = None,
    ) -> None:
        self.got, self.books, self.slow = got, books, slow
        for producer in producers:
            one = self.subscribe(producer, cancel="temporary", **demand, **(options or {}))
            if one.manual:
                self.ask(one, one.max_demand)

    def handle_events(self, events: list[Event], subscription: Subscription) -> Any:
        if not subscription.manual:
            assert len(events) <= subscription.max_demand - subscription.min_demand
        return self.later(events, subscription) if self.slow else self.keep(events, subscription)

    async def later(self, events: list[Event], subscription: Subscription) -> None:
        for _ in range(len(events)):
            await self.sleep(0)
        self.keep(events, subscription)

    def keep(self, events: list[Event], subscription: Subscription) -> None:
        self.got.extend(events)
        self.books.handle(subscription, len(events))
        if subscription.manual:
            self.ask(subscription, len(events))


@st.composite
def demands(draw: Any) -> dict[str, Any]:
    most = draw(st.integers(1, 12))
    least = draw(st.none() | st.integers(0, most - 1))
    return {"max_demand": most, "min_demand": least, "manual": draw(st.booleans())}


def automatic(demand: dict[str, Any]) -> dict[str, Any]:
    return {**demand, "manual": False}


SINKS = st.lists(st.tuples(demands(), st.booleans()), min_size=1, max_size=4)
COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=3)


def check_order(got: list[Event], *, times: int = 1) -> None:
    """What came from one producer came in its order."""
    for number in {event[0] for event in got}:
        of_one = [n for source, n in got if source == number]
        assert of_one == sorted(of_one)
        assert max(Counter(of_one).values()) <= times


@given(
    counts=COUNTS,
    sinks=SINKS,
    stingy=st.booleans(),
    dispatcher=st.sampled_from(["demand", "broadcast", "partition"]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=150, deadline=None)
def test_every_event_arrives_once_in_order_and_no_more_than_asked_for(
    counts: list[int], sinks: Any, stingy: bool, dispatcher: str, seed: int
) -> None:
    async def test(w: World) -> None:
        books = Books()
        make: dict[str, Callable[[], Any]] = {
            "demand": DemandDispatcher,
            "broadcast": BroadcastDispatcher,
            "partition": lambda: PartitionDispatcher(len(sinks), lambda event: event[1]),
        }
        sources = [
            w.node.spawn(Source, n, count, watched(make[dispatcher](), books), stingy)
            for n, count in enumerate(counts)
        ]
        gots: list[list[Event]] = [[] for _ in sinks]
        for n, ((demand, slow), got) in enumerate(zip(sinks, gots, strict=True)):
            w.node.spawn(Sink, sources, demand, got, books, slow, {"partition": n})
        await w.settle()
        for source in sources:
            w.node.send(source, ForwardDemand())
        await w.settle()

        everything = [(n, i) for n, count in enumerate(counts) for i in range(count)]
        for n, got in enumerate(gots):
            check_order(got)
            if dispatcher == "broadcast":
                assert sorted(got) == everything
            if dispatcher == "partition":
                assert sorted(got) == [e for e in everything if e[1] % len(sinks) == n]
        if dispatcher == "demand":
            assert sorted(event for got in gots for event in got) == everything
        assert not any(w.node.is_alive(source) for source in sources)
        assert not w.observer.crashes

    run(test, shuffle=random.Random(seed))


@given(
    counts=COUNTS,
    middle=demands().map(automatic),
    times=st.integers(0, 3),
    sinks=SINKS,
    seed=st.integers(0, 2**32),
)
@settings(max_examples=100, deadline=None)
def test_pressure_goes_back_through_a_stage_in_the_middle(
    counts: list[int], middle: Any, times: int, sinks: Any, seed: int
) -> None:
    async def test(w: World) -> None:
        books = Books()
        sources = [
            w.node.spawn(Source, n, count, watched(DemandDispatcher(), books), False)
            for n, count in enumerate(counts)
        ]
        between = w.node.spawn(
            Middle, sources, middle, times, watched(DemandDispatcher(), books), books
        )
        await w.settle()
        for source in sources:
            w.node.send(source, ForwardDemand())
        await w.settle()
        # Nobody has asked the one in the middle: it has asked for its demand, and handled nothing.
        for subscription, sent in books.sent.items():
            assert sent <= subscription.max_demand
        assert not books.handled
        gots: list[list[Event]] = [[] for _ in sinks]
        for (demand, slow), got in zip(sinks, gots, strict=True):
            w.node.spawn(Sink, [between], demand, got, books, slow)
        w.node.send(between, ForwardDemand())
        await w.settle()
        for got in gots:
            check_order(got, times=max(times, 1))
        everything = [(n, i) for n, count in enumerate(counts) for i in range(count)]
        assert sorted(e for got in gots for e in got) == sorted(everything * times)
        assert not w.node.is_alive(between)

    run(test, shuffle=random.Random(seed))


@given(
    count=st.integers(10, 80),
    sinks=st.lists(st.tuples(demands(), st.booleans()), min_size=2, max_size=4),
    steps=st.integers(0, 30),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=80, deadline=None)
def test_a_consumer_that_dies_takes_at_most_its_demand_with_it(
    count: int, sinks: Any, steps: int, seed: int
) -> None:
    async def test(w: World) -> None:
        books = Books()
        source = w.node.spawn(Source, 0, count, watched(DemandDispatcher(), books), False)
        gots: list[list[Event]] = [[] for _ in sinks]
        pids = [
            w.node.spawn(Sink, [source], demand, got, books, True)
            for (demand, _), got in zip(sinks, gots, strict=True)
        ]
        books.when = (steps, lambda: w.node.exit(pids[0], KILL))
        w.node.send(source, ForwardDemand())
        await w.settle()
        got = sorted(event for got in gots for event in got)
        assert len(got) == len(set(got))
        assert len(got) >= count - sinks[0][0]["max_demand"]
        assert not w.node.is_alive(source)

    run(test, shuffle=random.Random(seed))


# -- what happens when --------------------------------------------------------------------------


class Pushed(Producer[Any]):
    """Emits what it is told, whether anybody has asked or not."""

    buffer_size = 5

    def init(self, dispatcher: Any = None) -> None:
        self.asked: list[int] = []
        self.ended: list[object] = []
        if dispatcher is not None:
            self.dispatch_by(dispatcher)

    def handle_demand(self, demand: int) -> None:
        self.asked.append(demand)

    def handle_cast(self, events: Any) -> Any:
        return events(self) if callable(events) else self.emit(events)

    def handle_call(self, request: Any, from_: Any) -> Any:
        return request(self)

    def handle_cancel(self, reason: object, subscription: Subscription) -> None:
        self.ended.append(reason)


class First(Pushed):
    buffer_keep = "first"


class Strict(Pushed):
    buffer_keep = "exit"


class Plain(Consumer[Any]):
    def init(self, got: list[Any], producer: Any = None, **options: Any) -> None:
        self.got, self.ended = got, []
        self.subscription = None if producer is None else self.subscribe(producer, **options)

    def handle_events(self, events: list[Any], subscription: Subscription) -> Any:
        self.got.extend(events)
        if events[0] == "stop":
            return Stop("told")
        return None

    def handle_cancel(self, reason: object, subscription: Subscription) -> None:
        self.ended.append(reason)

    def handle_cast(self, message: Any) -> None:
        message(self)

    def handle_call(self, request: Any, from_: Any) -> Any:
        return request(self)

    def handle_info(self, message: Any) -> None:
        self.got.append(("info", message))


@pytest.mark.parametrize(
    ("kind", "kept", "dropped"), [(Pushed, [3, 4, 5, 6, 7], 3), (First, [0, 1, 2, 3, 4], 3)]
)
def test_what_nobody_asked_for_waits_in_a_buffer_with_a_limit(
    kind: Any, kept: list[int], dropped: int
) -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(kind)
        for n in range(4):
            w.node.cast(producer, [2 * n, 2 * n + 1])
        assert await w.node.call(producer, lambda s: s.dropped_total) == dropped
        got: list[Any] = []
        w.node.spawn(Plain, got, producer, max_demand=7)
        await w.settle()
        assert got == kept
        # What the buffer had was not asked for again.
        assert await w.node.call(producer, lambda s: s.asked) == [2, 4]

    run(test)


def test_a_buffer_may_end_its_stage() -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(Strict)
        w.node.cast(producer, range(6))
        assert await w.node.wait(producer) == Overflow(5)

    run(test)


@pytest.mark.parametrize(
    ("cancel", "reason", "survives"),
    [
        ("permanent", NORMAL, False),
        ("permanent", "odd", False),
        ("transient", NORMAL, True),
        ("transient", SHUTDOWN, True),
        ("transient", "odd", False),
        ("temporary", "odd", True),
    ],
)
def test_the_end_of_a_producer_ends_the_consumer_or_not(
    cancel: str, reason: object, survives: bool
) -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(Pushed)
        consumer = w.node.spawn(Plain, [], producer, cancel=cancel)
        await w.settle()
        w.node.cast(producer, lambda s: Stop(reason))
        await w.node.wait(producer)
        await w.settle()
        assert w.node.is_alive(consumer) is survives
        if survives:
            assert await w.node.call(consumer, lambda s: s.ended) == [reason]
            assert await w.node.call(consumer, lambda s: s.subscriptions) == []

    run(test)


def test_a_producer_that_is_not_there_is_an_end_too() -> None:
    async def test(w: World) -> None:
        consumer = w.node.spawn(Plain, [], "nobody", cancel="permanent")
        assert await w.node.wait(consumer) is NOPROC
        consumer = w.node.spawn(Plain, [], "nobody", cancel="temporary")
        assert await w.node.call(consumer, lambda s: s.ended) == [NOPROC]

    run(test)


def test_a_consumer_cancels_and_goes_on_after_what_was_on_its_way() -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(Pushed)
        got: list[Any] = []
        consumer = w.node.spawn(Plain, got, producer, max_demand=3)
        await w.settle()
        w.node.cast(producer, [1])
        w.node.cast(consumer, lambda s: s.cancel(s.subscription, "enough"))
        w.node.cast(consumer, lambda s: s.cancel(s.subscription, "twice is once"))
        await w.settle()
        w.node.cast(producer, [2])
        await w.settle()
        assert got == [1]
        assert await w.node.call(consumer, lambda s: s.ended) == ["enough"]
        assert await w.node.call(producer, lambda s: s.ended) == ["enough"]
        assert await w.node.call(producer, lambda s: s.subscribers) == []
        w.node.cast(consumer, lambda s: s.ask(s.subscription, 1))  # it has ended: nothing happens
        assert await w.node.call(consumer, lambda s: s.subscriptions) == []

    run(test)


def test_a_producer_may_end_a_subscription() -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(Pushed)
        consumer = w.node.spawn(Plain, [], producer)
        await w.settle()
        w.node.cast(producer, lambda s: s.unsubscribe(s.subscribers[0], "closed"))
        assert await w.node.wait(consumer) == "closed"
        assert w.node.is_alive(producer)

    run(test)


def test_anybody_may_have_a_consumer_subscribe_and_other_messages_are_its_own() -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(Pushed)
        got: list[Any] = []
        consumer = w.node.spawn(Plain, got)
        w.node.send(consumer, SubscribeTo(producer, max_demand=2, cancel="temporary"))
        w.node.send(consumer, "hello")
        await w.settle()
        w.node.cast(producer, [1, 2, 3])
        await w.settle()
        assert got == [("info", "hello"), 1, 2, 3]
        w.node.cast(producer, ["stop"])
        assert await w.node.wait(consumer) == "told"
        await w.settle()
        assert await w.node.call(producer, lambda s: s.ended) == ["told"]

    run(test)


def test_demand_is_what_was_said_and_asking_has_a_limit() -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(Pushed)
        consumer = w.node.spawn(Plain, [], producer, max_demand=10, manual=True)
        await w.settle()
        assert await w.node.call(producer, lambda s: s.asked) == []
        w.node.cast(consumer, lambda s: s.ask(s.subscription, 4))
        await w.settle()
        assert await w.node.call(producer, lambda s: s.asked) == [4]
        w.node.cast(consumer, lambda s: s.ask(s.subscription, 7))
        reason = await w.node.wait(consumer)
        assert isinstance(reason, Crash)
        assert "max_demand is 10" in str(reason.exception)
        for bad in ({"max_demand": 0}, {"max_demand": 2, "min_demand": 2}, {"cancel": "maybe"}):
            consumer = w.node.spawn(Plain, [], producer, **bad)
            reason = await w.node.wait(consumer)
            assert isinstance(reason, Crash)
            assert isinstance(reason.exception, ValueError)

    run(test)


def test_a_selector_filters_and_the_demand_stays() -> None:
    async def test(w: World) -> None:
        got: list[Any] = []
        producer = w.node.spawn(IteratorProducer, range(100), dispatcher=BroadcastDispatcher())
        consumer = w.node.spawn(
            Plain, got, producer, max_demand=4, selector=lambda event: event % 10 == 0
        )
        assert await w.node.wait(consumer) is NORMAL
        assert got == list(range(0, 100, 10))

    run(test)


def test_partitions_have_one_consumer_each_and_wait_for_it_within_the_demand() -> None:
    async def test(w: World) -> None:
        def dispatcher() -> Any:
            return PartitionDispatcher(["even", "odd"], lambda n: "odd" if n % 2 else "even")

        taken: list[int] = []

        def numbers() -> Any:
            for n in range(1000):
                taken.append(n)
                yield n

        producer = w.node.spawn(IteratorProducer, numbers(), dispatcher=dispatcher())
        even: list[Any] = []
        w.node.spawn(Plain, even, producer, max_demand=10, partition="even")
        await w.settle()
        # What is odd has nobody: it waits, and in the end stops what is even.
        assert even == list(range(0, len(taken), 2))
        assert 5 <= len(taken) - len(even) <= 10
        odd: list[Any] = []
        idle = w.node.spawn(Plain, odd, producer, manual=True, partition="odd")
        for bad in ("odd", "none"):
            refused = w.node.spawn(Plain, [], producer, partition=bad)
            assert isinstance(await w.node.wait(refused), SubscriptionRefused)
        w.node.exit(idle, KILL)
        await w.settle()
        last = w.node.spawn(Plain, odd, producer, max_demand=3, partition="odd")
        assert await w.node.wait(last) is NORMAL
        assert (even, odd) == (list(range(0, 1000, 2)), list(range(1, 1000, 2)))

    run(test)


def test_an_event_of_no_partition_is_a_mistake_that_is_named() -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(IteratorProducer, ["x"], dispatcher=PartitionDispatcher([1], str))
        w.node.spawn(Plain, [], producer, partition=1, cancel="temporary")
        reason = await w.node.wait(producer)
        assert isinstance(reason, Crash)
        assert "'x' is of the partition 'x'" in str(reason.exception)
        with pytest.raises(ValueError, match="at least one"):
            PartitionDispatcher(0, str)

    run(test)


def test_a_broadcast_goes_at_the_pace_of_the_slowest_who_may_leave() -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(IteratorProducer, range(50), dispatcher=BroadcastDispatcher())
        w.node.send(producer, "ignored")
        fast: list[Any] = []
        slow: list[Any] = []
        slowest = w.node.spawn(Plain, slow, producer, max_demand=10, manual=True)
        await w.settle()
        quick = w.node.spawn(Plain, fast, producer, max_demand=10)
        await w.settle()
        assert (fast, slow) == ([], [])
        w.node.cast(slowest, lambda s: s.ask(s.subscription, 7))
        await w.settle()
        assert (fast, slow) == (list(range(7)), list(range(7)))
        w.node.exit(slowest, KILL)
        assert await w.node.wait(quick) is NORMAL
        assert fast == list(range(50))

    run(test)


def test_a_finite_chain_ends_from_its_beginning_with_everything_sent() -> None:
    class Twice(ProducerConsumer[int, int]):
        def init(self, producer: Any) -> None:
            self.subscribe(producer, max_demand=3)

        def handle_events(self, events: list[int], subscription: Subscription) -> list[int]:
            return [event for event in events for _ in "ab"]

    async def test(w: World) -> None:
        got: list[Any] = []
        source = w.node.spawn(IteratorProducer, range(20))
        twice = w.node.spawn(Twice, source)
        end = w.node.spawn(Plain, got, twice, max_demand=2)
        assert await w.node.wait(end) is NORMAL
        assert got == [n for n in range(20) for _ in "ab"]

        source = w.node.spawn(Pushed)
        twice = w.node.spawn(Twice, source)
        await w.settle()
        w.node.exit(source, "odd")
        assert await w.node.wait(twice) == "odd"

    run(test)


def test_only_a_stage_in_the_middle_returns_events() -> None:
    class Wrong(Plain):
        def handle_events(self, events: list[Any], subscription: Subscription) -> Any:
            return events

    async def test(w: World) -> None:
        producer = w.node.spawn(IteratorProducer, [1])
        reason = await w.node.wait(w.node.spawn(Wrong, [], producer))
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, BadReturn)

    run(test)


def test_a_producer_may_wait_and_stop() -> None:
    class Slow(Producer[int]):
        async def handle_demand(self, demand: int) -> Any:
            await self.sleep(1)
            self.emit([demand])
            return Stop("done")

    async def test(w: World) -> None:
        got: list[Any] = []
        producer = w.node.spawn(Slow)
        consumer = w.node.spawn(Plain, got, producer, max_demand=4)
        await w.advance(1)
        assert got == [4]
        assert not w.node.is_alive(consumer)

    run(test)


def test_what_other_processes_say_is_the_users() -> None:
    async def idle(ctx: ProcessContext) -> None:
        await ctx.receive()

    async def test(w: World) -> None:
        producer = w.node.spawn(Pushed)
        got: list[Any] = []
        consumer = w.node.spawn(Plain, got, producer)
        other = w.node.spawn(idle)
        w.node.cast(consumer, lambda s: s.monitor(other))
        w.node.cast(producer, lambda s: s.monitor(other) and None)
        await w.settle()
        w.node.exit(other, "odd")
        await w.settle()
        (kind, down) = got[0]
        assert (kind, down.pid, down.reason) == ("info", other, "odd")
        assert w.node.is_alive(producer)

    run(test)


def test_a_stage_may_stop_when_a_subscription_has_ended() -> None:
    class Leaves(Plain):
        def handle_cancel(self, reason: object, subscription: Subscription) -> Stop:
            return Stop(("left", reason))

    class Lonely(Pushed):
        def handle_cancel(self, reason: object, subscription: Subscription) -> Any:
            return Stop("lonely")

    async def test(w: World) -> None:
        producer = w.node.spawn(Lonely)
        consumer = w.node.spawn(Leaves, [], producer, cancel="temporary")
        other = w.node.spawn(Plain, [], producer, cancel="transient")
        await w.settle()
        waits = [asyncio.ensure_future(w.node.wait(pid)) for pid in (producer, consumer)]
        await asyncio.sleep(0)
        w.node.exit(other, KILL)
        assert await asyncio.gather(*waits) == ["lonely", ("left", "lonely")]

    run(test)


def test_what_makes_no_sense_is_refused_or_named() -> None:
    class Deaf(Consumer[Any]):
        def init(self, producer: Any) -> None:
            self.subscribe(producer)

    async def test(w: World) -> None:
        producer = w.node.spawn(Pushed, BroadcastDispatcher())
        refused = w.node.spawn(Plain, [], producer, selector="even")
        assert isinstance(await w.node.wait(refused), SubscriptionRefused)
        w.node.spawn(Plain, [], producer)
        await w.settle()
        w.node.cast(producer, lambda s: s.dispatch_by(DemandDispatcher()))
        reason = await w.node.wait(producer)
        assert isinstance(reason, Crash)
        assert "before the first consumer" in str(reason.exception)
        deaf = w.node.spawn(Deaf, w.node.spawn(IteratorProducer, [1]))
        reason = await w.node.wait(deaf)
        assert isinstance(reason, Crash)
        assert "Deaf has no handle_events" in str(reason.exception)

    run(test)


# -- iterators, and the world outside -------------------------------------------------------------


async def counted(taken: list[int], count: int, fails: bool = False) -> AsyncIterator[int]:
    for n in range(count):
        await asyncio.sleep(0)
        taken.append(n)
        yield n
    if fails:
        raise ValueError("boom")


def test_an_asynchronous_iterator_is_a_producer() -> None:
    async def test(w: World) -> None:
        taken: list[int] = []
        got: list[Any] = []
        producer = w.node.spawn(AsyncIteratorProducer, counted(taken, 20))
        consumer = w.node.spawn(Plain, got, producer, max_demand=3)
        assert await w.node.wait(consumer) is NORMAL
        await w.settle()
        assert got == list(range(20))
        assert w.node.stats().processes == 0

        producer = w.node.spawn(AsyncIteratorProducer, counted(taken, 2, fails=True))
        consumer = w.node.spawn(Plain, got, producer)
        reason = await w.node.wait(consumer)
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, ValueError)

    run(test)


@given(
    count=st.integers(0, 60),
    demand=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    slow=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_asyncio_code_takes_a_stream_at_its_own_pace(
    count: int, demand: int, seed: int, slow: bool
) -> None:
    async def test(w: World) -> None:
        taken: list[int] = []
        got: list[int] = []
        producer = w.node.spawn(AsyncIteratorProducer, counted(taken, count))
        async with stream(w.node, producer, max_demand=demand) as events:
            async for event in events:
                got.append(event)
                assert len(taken) - len(got) < demand + 1
                if slow:
                    await asyncio.sleep(0)
        assert got == list(range(count))
        assert w.node.stats().processes == 0

    run(test, shuffle=random.Random(seed))


def test_a_stream_that_is_left_ends_and_one_that_fails_says_why() -> None:
    async def test(w: World) -> None:
        producer = w.node.spawn(Pushed)
        async with stream(w.node, producer, max_demand=2) as events:
            w.node.cast(producer, [1, 2, 3])
            assert await anext(events) == 1
            waiting = asyncio.ensure_future(anext(events))
            assert await waiting == 2
        assert [event async for event in events] == []
        assert await w.node.call(producer, lambda s: s.subscribers) == []

        taken: list[int] = []
        failing = w.node.spawn(AsyncIteratorProducer, counted(taken, 2, fails=True))
        events = stream(w.node, failing)
        assert [await anext(events), await anext(events)] == [0, 1]
        with pytest.raises(CalleeExited) as caught:
            await anext(events)
        assert isinstance(caught.value.__cause__, ValueError)

        events = stream(w.node, producer)
        waits = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        w.node.cast(producer, ["still"])
        while (event := await anext(events)) != "still":
            assert event == 3  # it was in the buffer
        w.node.exit(producer, SHUTDOWN)
        with pytest.raises(CalleeExited):
            await anext(events)

    run(test)
