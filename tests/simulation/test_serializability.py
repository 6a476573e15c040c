from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from history_kit import explained, in_time
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.simulation import (
    UNKNOWN,
    Append,
    Model,
    NotSerializable,
    Operation,
    Read,
    Transaction,
    Write,
    check_transactions,
)
from palaver.actors.simulation.histories.history import from_events


class Lists(Model):
    """The lists that the check is about, for the checker that tries every order."""

    def init(self) -> Any:
        return ()

    def step(self, state: Any, operation: Any, result: Any) -> Iterable[Any]:
        lists = dict(state)
        told = result if result is not UNKNOWN else [UNKNOWN] * len(operation.steps)
        for step, answer in zip(operation.steps, told, strict=True):
            if isinstance(step, Append):
                lists[step.key] = (*lists.get(step.key, ()), step.value)
            elif answer is not UNKNOWN and answer != lists.get(step.key, ()):
                return ()
        return (tuple(sorted(lists.items())),)


def transactions(
    chance: random.Random, *, clients: int, count: int, view: Callable[..., Any], all_seen: bool
) -> list[Operation]:
    """Make transactions on three lists; `view` chooses which of the states until now one sees."""
    now = itertools.count(1)
    values = itertools.count(1)
    states: list[dict[str, tuple[int, ...]]] = [{}]
    operations: list[Operation] = []
    waiting: dict[int, int] = {}
    done: dict[int, tuple[int, Any]] = {}
    while len(operations) < count or waiting or done:
        lane = chance.randrange(clients)
        if lane in waiting:
            number = waiting.pop(lane)
            began = operations[number].invoked
            seen = dict(view(chance, states, began))
            latest = dict(states[-1])
            results: list[Any] = []
            for step in operations[number].operation.steps:
                if isinstance(step, Append):
                    seen[step.key] = (*seen.get(step.key, ()), step.value)
                    latest[step.key] = (*latest.get(step.key, ()), step.value)
                    results.append(None)
                else:
                    results.append(seen.get(step.key, ()))
            states.append(latest)
            done[lane] = (number, tuple(results))
        elif lane in done:
            number, result = done.pop(lane)
            operations[number] = replace(operations[number], result=result, responded=next(now))
        elif len(operations) < count:
            steps = tuple(
                chance.choice([Read(key), Append(next(values), key)])
                for key in chance.choices("xyz", k=chance.randrange(1, 4))
            )
            waiting[lane] = len(operations)
            operations.append(
                Operation(len(operations), lane, Transaction(steps), UNKNOWN, next(now), None)
            )
    if all_seen:
        final = Transaction(tuple(Read(key) for key in "xyz"))
        last = tuple(states[-1].get(key, ()) for key in "xyz")
        operations.append(Operation(count, "last", final, last, next(now), next(now)))
    return operations


def newest(_: random.Random, states: list[Any], __: int) -> Any:
    return states[-1]


def older(chance: random.Random, states: list[Any], _: int) -> Any:
    return states[-1 - chance.randrange(min(len(states), 3))]


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32), clients=st.integers(1, 8), count=st.integers(1, 80))
def test_one_after_the_other_is_accepted(seed: int, clients: int, count: int) -> None:
    chance = random.Random(seed)
    operations = transactions(
        chance, clients=clients, count=count, view=newest, all_seen=chance.random() < 0.5
    )
    check_transactions(operations).require()


@settings(deadline=None, max_examples=400)
@given(seed=st.integers(0, 2**32), clients=st.integers(2, 4), count=st.integers(2, 5))
def test_it_agrees_with_trying_every_order(seed: int, clients: int, count: int) -> None:
    """Where everything that was appended has been seen, nothing found means that there is an order.

    What is found is always wrong.
    """
    for all_seen in (True, False):
        operations = transactions(
            random.Random(seed), clients=clients, count=count, view=older, all_seen=all_seen
        )
        found = not check_transactions(operations).serializable
        wrong = not explained(operations, Lists())
        assert found == wrong if all_seen else found <= wrong
        loose = not check_transactions(operations, strict=False).serializable
        timeless = [replace(one, invoked=0) for one in operations]
        assert in_time(timeless)
        wrong = not explained(timeless, Lists())
        assert loose == wrong if all_seen else loose <= wrong


def tx(*steps: Any) -> Transaction:
    return Transaction(steps)


def kinds(*done: tuple[str, Transaction, Any], strict: bool = True) -> list[str]:
    """What is found when these were all open at once."""
    asked = [(client, operation) for client, operation, _ in done]
    report = check_transactions(from_events([*asked, *done]), strict=strict)
    return [one.kind for one in report.anomalies]


X1, X2, X3, Y1, Y2 = Append(1, "x"), Append(2, "x"), Append(3, "x"), Append(1, "y"), Append(2, "y")
RX, RY = Read("x"), Read("y")


def test_interleaved_writes() -> None:
    both = ("r", tx(RX, RY), ((1, 2), (2, 1)))
    assert kinds(("a", tx(X1, Y1), (None,) * 2), ("b", tx(X2, Y2), (None,) * 2), both) == ["G0"]


def test_information_in_a_circle() -> None:
    assert kinds(("a", tx(X1, RY), (None, (2,))), ("b", tx(Y2, RX), (None, (1,)))) == ["G1c"]


def test_a_lost_update_and_a_read_skew() -> None:
    assert kinds(
        ("a", tx(RX, X1), ((), None)), ("b", tx(RX, X2), ((), None)), ("r", tx(RX), ((1, 2),))
    ) == ["G-single"]
    assert kinds(("a", tx(X1, Y1), (None, None)), ("r", tx(RX, RY), ((), (1,)))) == ["G-single"]


def test_a_write_skew() -> None:
    assert kinds(("a", tx(RX, Y1), ((), None)), ("b", tx(RY, X1), ((), None))) == ["G2"]


def test_a_read_of_what_was_never_there() -> None:
    assert kinds(("a", tx(RX), ((9,),))) == ["nobody's value"]
    assert "G1b" in kinds(("a", tx(X1, X2), (None, None)), ("r", tx(RX), ((1,),)))
    assert kinds(("a", tx(X1, RX), (None, ()))) == ["internal"]
    assert kinds(("a", tx(X1), (None,)), ("r", tx(RX, RX), ((), (1,)))) == ["internal"]
    writers = [("a", tx(X1), (None,)), ("b", tx(X2), (None,))]
    assert "two orders" in kinds(*writers, ("r", tx(RX), ((1, 2),)), ("s", tx(RX), ((2, 1),)))


def test_an_order_that_contradicts_the_clock() -> None:
    write, read = tx(X1), tx(RX)
    events: list[Any] = [("a", write), ("a", write, (None,)), ("b", read), ("b", read, ((),))]
    (found,) = check_transactions(from_events(events)).anomalies
    assert found.kind == "G-single-realtime"
    assert {one.client for one in found.transactions} == {"a", "b"}
    assert check_transactions(from_events(events), strict=False).serializable
    with pytest.raises(NotSerializable, match="which did not see the append of"):
        check_transactions(from_events(events)).require()


def test_what_got_no_response_counts_when_it_was_seen() -> None:
    events: list[Any] = [("lost", tx(X1, Y1)), ("r", tx(RX, RY))]
    for seen, fine in [(((), ()), True), (((1,), (1,)), True), (((1,), ()), False)]:
        report = check_transactions(from_events([*events, ("r", tx(RX, RY), seen)]))
        assert report.serializable == fine, report


def test_values_have_to_be_unique_and_steps_known() -> None:
    with pytest.raises(ValueError, match="appended twice"):
        kinds(("a", tx(X1), (None,)), ("b", tx(X1), (None,)))
    with pytest.raises(ValueError, match="appended twice"):
        kinds(("a", tx(X1, X1), (None, None)))
    with pytest.raises(TypeError, match="neither an Append nor a Read"):
        kinds(("a", tx(Write(1)), (None,)))


def test_thousands_of_transactions_of_many_clients() -> None:
    operations = transactions(random.Random(1), clients=30, count=3000, view=newest, all_seen=True)
    report = check_transactions(operations)
    report.require()
    assert str(report) == "serializable: 3001 transactions"
