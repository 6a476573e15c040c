from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from history_kit import OBJECTS, answer, arbitrary, ask_map, explained, in_time, possible, record
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.simulation import (
    EMPTY,
    UNKNOWN,
    Add,
    Bag,
    CompareAndSet,
    Counter,
    Dequeue,
    Enqueue,
    History,
    HistoryError,
    Insert,
    Items,
    Map,
    Model,
    NotLinearizable,
    Operation,
    Queue,
    Read,
    ReadAll,
    Register,
    Remove,
    Transaction,
    Undecided,
    Write,
    check,
)
from palaver.actors.simulation.histories.history import from_events
from palaver.actors.simulation.histories.linearizability import components

# -- against a checker that tries every order ----------------------------------------------------


@pytest.mark.parametrize("name", OBJECTS)
@settings(deadline=None, max_examples=400)
@given(seed=st.integers(0, 2**32), clients=st.integers(2, 4), count=st.integers(1, 6))
def test_it_agrees_with_trying_every_order(name: str, seed: int, clients: int, count: int) -> None:
    model, ask = OBJECTS[name]
    operations = arbitrary(
        random.Random(seed), ask, [None, 0, 1, 2, 3], clients=clients, count=count
    )
    verdict = check(operations, model)
    assert verdict.linearizable == explained(operations, model)
    assert verdict.answer != "undecided"
    if verdict.linearizable:
        for order in verdict.orders:
            assert in_time(order)
            assert possible(order, model)
        placed = {one.number for order in verdict.orders for one in order}
        assert placed >= {one.number for one in operations if not one.pending}
    else:
        assert_smallest_prefix(operations, model, verdict.culprit)


def assert_smallest_prefix(
    operations: list[Operation], model: Model, culprit: Operation | None
) -> None:
    """All responses before the culprit's can be explained, and not with it."""
    assert culprit is not None
    assert culprit.responded is not None
    (group,) = [group for group in components(operations, model) if culprit in group]
    if not isinstance(model, Queue):  # which looks ahead
        assert not explained(until(group, culprit.responded), model)
    assert explained(until(group, culprit.responded - 1), model)


def until(operations: tuple[Operation, ...], moment: int) -> list[Operation]:
    """What had been invoked up to a moment; what is open then may still happen, or not."""
    return [
        one
        if one.responded is not None and one.responded <= moment
        else replace(one, responded=None)
        for one in operations
        if one.invoked <= moment
    ]


def ask_unique_items(chance: random.Random) -> Any:
    return Enqueue(chance.randrange(10**9)) if chance.random() < 0.5 else Dequeue()


@pytest.mark.parametrize("name", ["register", "counter", "queue", "map"])
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), clients=st.integers(1, 6), count=st.integers(1, 60))
def test_what_happened_one_at_a_time_is_accepted(
    name: str, seed: int, clients: int, count: int
) -> None:
    model, ask = OBJECTS[name]
    state = {"x": 0, "y": 0} if name == "map" else {None: 0} if name == "counter" else {}
    operations = record(random.Random(seed), ask, state, clients=clients, count=count, lose=0.1)
    verdict = check(operations, model)
    verdict.require()
    assert all(in_time(order) and possible(order, model) for order in verdict.orders)


# -- seeded faults: a correct history, and one thing wrong ----------------------------------------


def ask_unique(chance: random.Random) -> Any:
    return Read("x") if chance.random() < 0.5 else Write(chance.randrange(10**9), "x")


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), clients=st.integers(2, 5))
def test_a_stale_read_is_caught(seed: int, clients: int) -> None:
    chance = random.Random(seed)
    operations = record(chance, ask_unique, {}, clients=clients, count=60)
    # A value that was overwritten, for certain, before the read began.
    reads = [one for one in operations if isinstance(one.operation, Read)]
    writes = [one for one in operations if isinstance(one.operation, Write)]
    stale = [
        (read, old)
        for read in reads
        for old in writes
        for new in writes
        if old.responded < new.invoked and new.responded < read.invoked  # type: ignore[operator]
    ]
    if not stale:
        return
    read, old = chance.choice(stale)
    operations[read.number] = replace(read, result=old.operation.value)
    verdict = check(operations, Register())
    assert not verdict.linearizable
    with pytest.raises(NotLinearizable):
        verdict.require()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), clients=st.integers(2, 5))
def test_a_lost_update_is_caught(seed: int, clients: int) -> None:
    chance = random.Random(seed)
    operations = record(chance, lambda _: Add(1), {}, clients=clients, count=40)
    victim = chance.choice(operations[1:])
    # Two increments that answer the same number: one of them is lost.
    twin = chance.choice([one for one in operations if one.number != victim.number])
    operations[victim.number] = replace(victim, result=twin.result)
    assert not check(operations, Counter()).linearizable


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), clients=st.integers(2, 4))
def test_an_item_taken_twice_and_one_out_of_order_are_caught(seed: int, clients: int) -> None:
    chance = random.Random(seed)
    numbers = iter(range(10**6))

    def ask(chance: random.Random) -> Any:
        return Enqueue(next(numbers)) if chance.random() < 0.5 else Dequeue()

    operations = record(chance, ask, {}, clients=clients, count=25)
    taken = [
        one for one in operations if type(one.operation) is Dequeue and one.result is not EMPTY
    ]
    if len(taken) < 2:
        return
    one, other = chance.sample(taken, 2)
    twice = list(operations)
    twice[one.number] = replace(one, result=other.result)
    assert not check(twice, Queue()).linearizable
    if one.responded < other.invoked:  # type: ignore[operator]
        swapped = list(twice)
        swapped[other.number] = replace(other, result=one.result)
        certain = [
            (put, later)
            for put in operations
            for later in operations
            if put.operation == Enqueue(one.result) and later.operation == Enqueue(other.result)
            if put.responded is not None and put.responded < later.invoked
        ]
        assert not certain or not check(swapped, Queue()).linearizable


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), clients=st.integers(2, 5))
def test_a_transaction_that_saw_half_of_another_is_caught(seed: int, clients: int) -> None:
    chance = random.Random(seed)
    numbers = iter(range(1, 10**6))

    def ask(chance: random.Random) -> Any:
        if chance.random() < 0.5:
            return Transaction((Read("x"), Read("y")))
        number = next(numbers)
        return Transaction((Write(number, "x"), Write(number, "y")))

    operations = record(chance, ask, {}, clients=clients, count=50)
    reads = [
        one
        for one in operations
        if type(one.operation.steps[0]) is Read and one.result != (None, None)
    ]
    if not reads:
        return
    read = chance.choice(reads)
    operations[read.number] = replace(read, result=(read.result[0], chance.choice([None, -1])))
    verdict = check(operations, Map())
    assert not verdict.linearizable


# -- examples with names -------------------------------------------------------------------------


def test_a_value_seen_and_then_not_seen() -> None:
    # Herlihy and Wing, figure 1: once somebody has read the new value, nobody reads the old one.
    write, read = Write(1), Read()
    verdict = check(
        from_events(
            [
                ("a", write),
                ("b", read),
                ("b", read, 1),
                ("b", read),
                ("b", read, None),
                ("a", write, None),
            ]
        ),
        Register(),
    )
    assert verdict.answer == "not linearizable"
    assert verdict.culprit is not None
    assert (verdict.culprit.client, verdict.culprit.result) == ("b", None)
    assert [one.operation for one in verdict.prefix] == [write, read]
    assert verdict.ends == (1,)
    assert str(verdict).splitlines() == [
        "not linearizable: no place for operation 2 of b: = None",
        "",
        "a | [:= 1--------------..",
        "b |   [= 1-] [= None-]",
        "  |          ^^^^^^^^^",
        "",
        "before its response 2 operations have been placed, the last ones:",
        "  0 of a: := 1",
        "  1 of b: = 1",
        "and the state may have been:",
        "  1",
    ]


def test_the_same_read_beside_the_write_is_fine() -> None:
    write, read = Write(1), Read()
    events: list[Any] = [("a", write), ("b", read), ("b", read, None), ("b", read), ("b", read, 1)]
    check(from_events([*events, ("a", write, None)]), Register()).require()
    check(from_events(events), Register()).require()  # it got no response, and has happened


def test_what_got_no_response_may_happen_late_or_never_but_not_twice() -> None:
    add, read = Add(1), Read()
    lost: list[Any] = [("lost", add)]
    for seen, fine in [((0, 0, 1, 1), True), ((0, 0), True), ((1, 0), False), ((0, 2), False)]:
        reads = [event for value in seen for event in (("b", read), ("b", read, value))]
        assert check(from_events(lost + reads), Counter()).linearizable == fine


def test_many_equal_operations_without_a_response_cost_little() -> None:
    read = Read()
    events: list[Any] = [(f"lost {n}", Add(1)) for n in range(40)]
    for value in (0, 3, 17, 40):
        events += [("b", read), ("b", read, value)]
    verdict = check(from_events(events), Counter())
    verdict.require()
    assert verdict.states < 200
    assert not check(from_events([*events, ("b", read), ("b", read, 41)]), Counter()).linearizable


def test_write_skew_is_no_serial_order() -> None:
    one = Transaction((Read("x"), Write(1, "y")))
    other = Transaction((Read("y"), Write(1, "x")))
    events: list[Any] = [("a", one), ("b", other), ("a", one, (0, None)), ("b", other, (0, None))]
    assert not check(from_events(events), Map({"x": 0, "y": 0})).linearizable
    events[-1] = ("b", other, (1, None))
    check(from_events(events), Map({"x": 0, "y": 0})).require()


def test_a_phantom_is_no_serial_order() -> None:
    scan, insert = ReadAll(), Write(1, "new")
    twice = Transaction((scan, scan))
    events: list[Any] = [("a", twice), ("b", insert), ("b", insert, None)]
    assert not check(from_events([*events, ("a", twice, ({}, {"new": 1}))]), Map()).linearizable
    for seen in ({}, {"new": 1}):
        check(from_events([*events, ("a", twice, (seen, seen))]), Map()).require()


def test_what_each_model_answers() -> None:
    def alone(model: Model, *done: tuple[Any, Any]) -> bool:
        events = [event for ask, told in done for event in (("a", ask), ("a", ask, told))]
        return check(from_events(events), model).linearizable

    swap = CompareAndSet(1, 2)
    assert alone(Register(1), (swap, True), (Read(), 2), (swap, False), (Read(), 2))
    assert not alone(Register(1), (swap, False))
    assert alone(Counter(5), (Add(2), 7), (Add(-7), None), (Read(), 0))
    assert not alone(Counter(), (Add(2), 3))
    twice = ((Insert("i"), None), (Insert("i"), None))
    assert alone(Bag(), *twice, (Items(), ["i", "i"]), (Remove("i"), True), (Items(), []))
    assert alone(Bag(distinct=True), *twice, (Items(), ["i"]), (Remove("j"), False))
    assert not alone(Bag(), *twice, (Items(), ["i"]))
    assert not alone(Bag(), (Remove("i"), True))
    assert alone(
        Queue(), (Dequeue(), EMPTY), (Enqueue(1), None), (Enqueue(2), None), (Dequeue(), 1)
    )
    assert not alone(Queue(), (Enqueue(1), None), (Dequeue(), EMPTY))
    assert not alone(Queue(), (Enqueue(1), None), (Enqueue(2), None), (Dequeue(), 2))
    steps = Transaction((Add(1, "n"), Remove(key="n"), Read("n"), CompareAndSet(None, 1, "n")))
    assert alone(Map({"n": 1}), (steps, (2, None, None, True)), (Read("n"), 1))
    assert not alone(Map({"n": 1}), (steps, (2, None, 2, True)))
    with pytest.raises(ValueError, match="4 steps and 1 results"):
        alone(Map(), (steps, (2,)))
    for model in (Register(), Counter(), Bag(), Queue()):
        with pytest.raises(TypeError, match="no operation of the model"):
            alone(model, (Foreign(), None))


class Foreign:
    key = None


# -- many objects ---------------------------------------------------------------------------------


def test_objects_that_nothing_connects_are_checked_apart() -> None:
    chance = random.Random(5)

    def ask(chance: random.Random) -> Any:
        group = chance.randrange(50)
        return Transaction((Read((group, chance.randrange(2))), Write(chance.random(), (group, 1))))

    operations = record(chance, ask, {}, clients=8, count=1500)
    groups = components(operations, Map())
    assert 50 <= len(groups) <= 101
    assert sorted(one.number for group in groups for one in group) == list(range(1500))
    check(operations, Map()).require()
    everything = Operation(1500, "z", ReadAll(), UNKNOWN, 10**6, None)
    assert len(components([*operations, everything], Map())) == 1


def test_thousands_of_operations_on_one_object_take_a_few_states_each() -> None:
    for name, state in (("register", {}), ("counter", {None: 0}), ("queue", {})):
        model, ask = OBJECTS[name]
        ask = ask_unique_items if name == "queue" else ask
        operations = record(random.Random(1), ask, dict(state), clients=6, count=3000)
        verdict = check(operations, model)
        verdict.require()
        assert verdict.states < 40 * len(operations), name
    operations = record(random.Random(1), ask_map, {"x": 0, "y": 0}, clients=6, count=2000)
    check(operations, Map({"x": 0, "y": 0})).require()


def test_a_model_may_leave_several_states() -> None:
    class Coin(Model):
        """A toss shows one side or the other; nobody is told which."""

        def init(self) -> str:
            return "heads"

        def step(self, state: Any, operation: Any, result: Any) -> Iterator[str]:
            if operation == "toss":
                yield from ("heads", "tails")
            elif result == state:
                yield state

    events: list[Any] = [("a", "toss"), ("a", "toss", None), ("a", "look"), ("a", "look", "tails")]
    check(from_events(events), Coin()).require()
    events += [("a", "look"), ("a", "look", "heads")]
    verdict = check(from_events(events), Coin())
    assert not verdict.linearizable
    assert "'look' 'heads'" in verdict.text


# -- limits ----------------------------------------------------------------------------------------


def hard() -> tuple[Operation, ...]:
    """Writers that are all open at once, and a reader who is told what nobody wrote."""
    writes = [(f"w{n}", Write(n)) for n in range(12)]
    return from_events(
        [*writes, *[(*one, None) for one in writes], ("r", Read()), ("r", Read(), "never")]
    )


def test_at_its_limits_it_does_not_guess() -> None:
    verdict = check(hard(), Register(), max_states=500)
    assert verdict.answer == "undecided"
    assert verdict.states == 500
    assert not verdict.linearizable
    with pytest.raises(Undecided, match="limit of 500 states"):
        verdict.require()
    ticks = iter(range(10))
    late = check(hard(), Register(), timeout_s=3, clock=lambda: float(next(ticks)))
    assert late.answer == "undecided"
    assert late.limit == "the limit of 3 s was met"


def test_a_history_has_a_limit_and_takes_one_end_per_operation() -> None:
    history = History(max_operations=2)
    call = history.invoke("a", Read())
    call.respond(1)
    with pytest.raises(HistoryError, match="ended already"):
        call.never()
    history.invoke("b", Read())
    with pytest.raises(HistoryError, match="raise max_operations"):
        history.invoke("b", Read())
    with pytest.raises(HistoryError, match="open operation already"):
        from_events([("a", Read()), ("a", Read())])
    with pytest.raises(HistoryError, match="had not asked"):
        from_events([("a", Read(), 1)])


# -- recording -----------------------------------------------------------------------------------


def test_run_tells_what_happened_from_what_may_have() -> None:
    history = History()

    def fail(error: Exception) -> None:
        raise error

    assert history.run("a", Read(), lambda: 1) == 1
    with pytest.raises(KeyError):
        history.run("b", Write(1), lambda: fail(KeyError()), never=(KeyError,))
    with pytest.raises(OSError, match="gone"):
        history.run("c", Write(2), lambda: fail(OSError("gone")), never=(KeyError,))
    call = history.invoke("d", "nothing yet")
    call.operation = Write(3)
    call.respond()

    async def story() -> None:
        async def read() -> int:
            return 2

        async def refuse() -> None:
            raise KeyError

        assert await history.run_async("e", Read(), read) == 2
        with pytest.raises(KeyError):
            await history.run_async("e", Read(), refuse, never=(KeyError,))

    asyncio.run(story())
    assert [
        (one.number, one.client, one.operation, one.result, one.pending) for one in history
    ] == [
        (0, "a", Read(), 1, False),
        (1, "c", Write(2), UNKNOWN, True),
        (2, "d", Write(3), None, False),
        (3, "e", Read(), 2, False),
    ]


class Locked:
    """A counter that threads share; `careful` says whether it holds its lock from read to write."""

    def __init__(self, careful: bool) -> None:
        self.value = 0
        self.lock = threading.Lock()
        self.careful = careful
        self.between = threading.Barrier(2)

    def add(self) -> int:
        with self.lock:
            value = self.value
            if self.careful:
                self.value = value + 1
                return value + 1
        self.between.wait(30)
        with self.lock:
            self.value = value + 1
        return value + 1


@pytest.mark.parametrize("careful", [True, False])
def test_threads_record_together(careful: bool) -> None:
    history, counter = History(), Locked(careful)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def client(name: str) -> None:
        for _ in range(100):
            history.run(name, Add(1), counter.add)

    threads = [threading.Thread(target=client, args=(f"t{n}",)) for n in range(2)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert len(history) == 200
    verdict = check(history, Counter())
    assert verdict.linearizable == careful
    if not careful:
        assert verdict.culprit is not None
        assert verdict.culprit.number < 4  # the first two have read the same number


# -- the drawing ---------------------------------------------------------------------------------


def test_a_long_history_is_drawn_around_what_is_wrong() -> None:
    operations = record(random.Random(3), ask_unique, {}, clients=4, count=300)
    victim = next(one for one in operations[200:] if isinstance(one.operation, Read) and one.result)
    operations[victim.number] = replace(victim, result="nobody's")
    text = check(operations, Register()).text
    assert "no place for operation" in text
    assert "nobody's" in text
    assert "operations before are not drawn)" in text
    lines = text.splitlines()
    assert max(map(len, lines)) < 130
    assert any(set(line.strip(" |")) == {"^"} for line in lines)


def test_a_client_with_several_open_operations_has_several_lanes() -> None:
    history = History()
    calls = [history.invoke("a", Write(n)) for n in range(3)]
    read = history.invoke("b", Read())
    read.respond(7)
    for call in calls:
        call.respond()
    text = check(history, Register()).text
    assert {"a", "a'", "a''", "b"} <= {line.split(" |")[0].strip() for line in text.splitlines()}


def test_the_plain_objects_of_these_tests_do_what_the_models_say() -> None:
    state, result = answer({"x": 1}, Transaction((Add(1, "x"), Read("x"), ReadAll())))
    assert result == (2, 2, {"x": 2})
    assert state == {"x": 2}
