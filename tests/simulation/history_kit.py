"""Histories to check: random ones, and a checker that tries every order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from palaver.actors.simulation import (
    EMPTY,
    UNKNOWN,
    Add,
    Bag,
    CompareAndSet,
    Counter,
    Dequeue,
    Enqueue,
    Insert,
    Items,
    Map,
    Model,
    Operation,
    Queue,
    Read,
    ReadAll,
    Register,
    Remove,
    Transaction,
    Write,
)

Draw = Callable[[random.Random], Any]


def explained(operations: Sequence[Operation], model: Model) -> bool:
    """Whether some order of the operations explains them: all orders are tried."""
    pending = [one for one in operations if one.responded is None]
    answered = [one for one in operations if one.responded is not None]
    for count in range(len(pending) + 1):
        for happened in itertools.combinations(pending, count):
            for order in itertools.permutations([*answered, *happened]):
                if in_time(order) and possible(order, model):
                    return True
    return False


def in_time(order: Sequence[Operation]) -> bool:
    return not any(
        later.responded is not None and later.responded < earlier.invoked
        for earlier, later in itertools.combinations(order, 2)
    )


def possible(order: Sequence[Operation], model: Model) -> bool:
    states = {model.init()}
    for one in order:
        states = {
            after for state in states for after in model.step(state, one.operation, one.result)
        }
    return bool(states)


# -- what the clients of each kind of object ask ------------------------------------------------


def ask_register(chance: random.Random) -> Any:
    value = chance.randrange(3)
    return chance.choice([Read(), Write(value), CompareAndSet(value, chance.randrange(3))])


def ask_counter(chance: random.Random) -> Any:
    return chance.choice([Read(), Add(chance.randrange(1, 3))])


def ask_bag(chance: random.Random) -> Any:
    item = chance.randrange(2)
    return chance.choice([Items(), Insert(item), Remove(item)])


def ask_queue(chance: random.Random) -> Any:
    return chance.choice([Dequeue(), Enqueue(chance.randrange(3))])


def ask_map(chance: random.Random) -> Any:
    def step() -> Any:
        key = chance.choice("xy")
        return chance.choice(
            [
                Read(key),
                Write(chance.randrange(3), key),
                Add(1, key),
                Remove(key=key),
                CompareAndSet(None, chance.randrange(3), key),
                ReadAll(),
            ]
        )

    if chance.random() < 0.3:
        return step()
    return Transaction(tuple(step() for _ in range(chance.randrange(1, 4))))


OBJECTS: dict[str, tuple[Model, Draw]] = {
    "register": (Register(), ask_register),
    "counter": (Counter(), ask_counter),
    "bag": (Bag(), ask_bag),
    "set": (Bag(distinct=True), ask_bag),
    "queue": (Queue(), ask_queue),
    "map": (Map({"x": 0, "y": 0}), ask_map),
}


# -- the objects themselves, doing one thing at a time -------------------------------------------


def answer(state: Any, operation: Any) -> tuple[Any, Any]:
    """Do `operation` as a plain program would; return (state, result)."""
    match operation:
        case Transaction(steps):
            results = []
            for step in steps:
                state, result = answer(state, step)
                results.append(result)
            return state, tuple(results)
        case ReadAll():
            return state, dict(state)
    key = operation.key
    value = state.get(key)
    match operation:
        case Read():
            return state, value
        case Write(new):
            return state | {key: new}, None
        case Add(amount):
            return state | {key: (value or 0) + amount}, (value or 0) + amount
        case CompareAndSet(old, new):
            return (state | {key: new} if value == old else state), value == old
        case Remove():
            return {other: state[other] for other in state if other != key}, None
        case Enqueue(item):
            return state | {key: (*(value or ()), item)}, None
        case Dequeue():
            if not value:
                return state, EMPTY
            return state | {key: value[1:]}, value[0]
    raise AssertionError(operation)


def record(
    chance: random.Random,
    ask: Draw,
    state: dict[Any, Any],
    *,
    clients: int,
    count: int,
    lose: float = 0.0,
) -> list[Operation]:
    """Make a history that is linearizable: each operation happens at one moment while it is open.

    `lose` of the operations get no response; half of these have happened all the same.
    """
    now = itertools.count(1)
    operations: list[Operation] = []
    waiting: dict[int, int] = {}  # client -> number, asked and not done
    done: dict[int, int] = {}  # client -> number, done and not answered
    client_of = list(range(clients))
    while len(operations) < count or waiting or done:
        lane = chance.randrange(clients)
        if lane in waiting:
            number = waiting.pop(lane)
            lost = chance.random() < lose
            if not lost or chance.random() < 0.5:
                state, result = answer(state, operations[number].operation)
                if not lost:
                    operations[number] = replace(operations[number], result=result)
                    done[lane] = number
            if lost:
                client_of[lane] = max(client_of) + 1
        elif lane in done:
            number = done.pop(lane)
            operations[number] = replace(operations[number], responded=next(now))
        elif len(operations) < count:
            waiting[lane] = len(operations)
            operations.append(
                Operation(len(operations), client_of[lane], ask(chance), UNKNOWN, next(now), None)
            )
    return operations


def arbitrary(
    chance: random.Random, ask: Draw, results: Sequence[Any], *, clients: int, count: int
) -> list[Operation]:
    """Make a history whose answers mean nothing: some are linearizable, most are not."""
    now = itertools.count(1)
    operations: list[Operation] = []
    open_: dict[int, int] = {}
    for _ in range(3 * count):
        lane = chance.randrange(clients)
        if lane in open_:
            number = open_.pop(lane)
            one = operations[number]
            operations[number] = replace(
                one, result=_result(chance, one.operation, results), responded=next(now)
            )
        elif len(operations) < count:
            open_[lane] = len(operations)
            operations.append(
                Operation(len(operations), lane, ask(chance), UNKNOWN, next(now), None)
            )
    return operations


def _result(chance: random.Random, operation: Any, results: Sequence[Any]) -> Any:
    match operation:
        case Transaction(steps):
            return tuple(_result(chance, step, results) for step in steps)
        case Write() | Insert() | Enqueue():
            return None
        case CompareAndSet() | Remove():
            return chance.choice([True, False])
        case Items():
            return chance.sample(range(2), chance.randrange(3))
        case ReadAll():
            return {key: chance.randrange(2) for key in "xy"}
        case Dequeue():
            return chance.choice([EMPTY, 0, 1, 2])
    return chance.choice(results)
