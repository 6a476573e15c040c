"""What an object is meant to do, one operation at a time: the specification of a check.

A `Model` says which states an operation may lead to, given what it answered. States are values:
hashable, never changed, compared with `==`. Ready ones: `Register`, `Counter`, `Bag`, `Queue`, and
`Map`, whose operations are transactions over several keys.

Every operation names the object that it concerns (`key`), so that one history holds many objects.
Objects that no operation connects are checked apart, which is what makes a check of thousands of
operations cheap (Horn and Kroening, "Faster linearizability checking via P-compositionality",
2015; the locality of Herlihy and Wing).
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from palaver.actors.simulation.histories.history import UNKNOWN, Operation
from palaver.actors.simulation.histories.operations import (
    EMPTY,
    Add,
    CompareAndSet,
    Dequeue,
    Enqueue,
    Insert,
    Items,
    MapStep,
    Read,
    ReadAll,
    Remove,
    Transaction,
    Write,
)

__all__ = ["Bag", "Counter", "Map", "Model", "Queue", "Register", "State"]

State: TypeAlias = Hashable


class Model(Protocol):
    """The sequential behaviour of what is checked. Only `init` and `step` have to be given."""

    def init(self) -> State:
        """Return the state in the beginning."""

    def step(self, state: State, operation: Any, result: Any) -> Iterable[State]:
        """Return the states that `operation` may leave, when it is done in `state`.

        No state at all says: in this state it would not have answered `result`. UNKNOWN stands for
        every answer. The same arguments give the same states every time.
        """

    def keys(self, operation: Any) -> Iterable[Hashable] | None:
        """Return the objects that an operation concerns; None: all.

        Operations are checked together when a chain of common keys connects them. So what one does
        must neither depend on another key nor change one.
        """
        return None

    def reads_only(self, operation: Any, result: Any) -> bool:
        """Whether an operation with this answer leaves every state as it is; a check is faster."""
        return False

    def foresee(self, operations: Sequence[Operation]) -> Model:
        """Return a model for these operations, which are all that are checked together.

        It may use what they answer later, to refuse a step early that could only fail later.
        """
        return self

    def describe(self, operation: Any, result: Any) -> str:
        """Return an operation and its answer in a few characters, for the diagram."""
        return f"{operation!r} {result!r}"


class _Keyed(Model):
    """A model whose operations have one `key` each."""

    def keys(self, operation: Any) -> Iterable[Hashable] | None:
        """Return the operation's one key."""
        return (operation.key,)

    def describe(self, operation: Any, result: Any) -> str:
        """Return the operation and its answer."""
        return _describe(operation, result)


class Register(_Keyed):
    """A value that is read, written, and compared and set.

    Args:
        value: the value in the beginning.
    """

    def __init__(self, value: Hashable = None) -> None:
        self._value = value

    def init(self) -> State:
        """Return the value in the beginning."""
        return self._value

    def step(self, state: State, operation: Any, result: Any) -> Iterable[State]:
        """Return the value afterwards."""
        match operation:
            case Read():
                return (state,) if result is UNKNOWN or result == state else ()
            case Write(value):
                return (value,)
            case CompareAndSet(old, new):
                swapped = state == old
                if result is not UNKNOWN and result != swapped:
                    return ()
                return (new if swapped else state,)
        raise _foreign(self, operation)

    def reads_only(self, operation: Any, result: Any) -> bool:
        """Whether it is a read, or a comparison that failed."""
        return isinstance(operation, Read) or (
            isinstance(operation, CompareAndSet) and result is False
        )


class Counter(_Keyed):
    """A number that is read and added to.

    Args:
        value: the number in the beginning.
    """

    def __init__(self, value: int = 0) -> None:
        self._value = value

    def init(self) -> State:
        """Return the number in the beginning."""
        return self._value

    def step(self, state: State, operation: Any, result: Any) -> Iterable[State]:
        """Return the number afterwards."""
        assert isinstance(state, int)
        match operation:
            case Read():
                return (state,) if result is UNKNOWN or result == state else ()
            case Add(amount):
                new = state + amount
                return (new,) if result is UNKNOWN or result is None or result == new else ()
        raise _foreign(self, operation)

    def reads_only(self, operation: Any, result: Any) -> bool:
        """Whether it is a read."""
        return isinstance(operation, Read)


class Bag(_Keyed):
    """A collection of items, each as often as it was inserted, or once.

    Args:
        distinct: whether an item that is there already is not added again (as in a table of type
            `bag`, whose records are all different).
    """

    def __init__(self, *, distinct: bool = False) -> None:
        self._distinct = distinct

    def init(self) -> State:
        """Return the empty bag."""
        return frozenset()

    def step(self, state: State, operation: Any, result: Any) -> Iterable[State]:
        """Return the bag afterwards: pairs of an item and how often it is there."""
        assert isinstance(state, frozenset)
        counts: dict[Hashable, int] = dict(state)
        match operation:
            case Items():
                return (state,) if result is UNKNOWN or _counted(result) == counts else ()
            case Insert(item):
                counts[item] = 1 if self._distinct else counts.get(item, 0) + 1
                return (frozenset(counts.items()),)
            case Remove(item):
                there = counts.pop(item, 0) > 0
                if result is not UNKNOWN and result is not None and result != there:
                    return ()
                return (frozenset(counts.items()),)
        raise _foreign(self, operation)

    def reads_only(self, operation: Any, result: Any) -> bool:
        """Whether it lists the items, or found nothing to remove."""
        return isinstance(operation, Items) or (isinstance(operation, Remove) and result is False)


class Queue(_Keyed):
    """First in, first out.

    A check is much faster where every item is put into a queue once only.
    """

    def __init__(self) -> None:
        # When an item that was put in once was taken: (invoked, responded).
        self._taken: dict[Hashable, tuple[int, int]] = {}
        self._never_taken: frozenset[Hashable] = frozenset()

    def init(self) -> State:
        """Return the empty queue."""
        return ()

    def foresee(self, operations: Sequence[Operation]) -> Queue:
        """Return a queue that knows which items were taken first.

        Two items that are put in at the same time may come in either order. What took them tells
        in which, and without that every order of all that wait would have to be tried.
        """
        put = Tally(one.operation.item for one in operations if isinstance(one.operation, Enqueue))
        taken: dict[Hashable, tuple[int, int]] = {}
        lost = False
        for one in operations:
            if isinstance(one.operation, Dequeue):
                if one.responded is None:
                    lost = True
                elif put[one.result] == 1:
                    taken[one.result] = (one.invoked, one.responded)
        foreseeing = Queue()
        foreseeing._taken = taken
        if not lost:
            never = (item for item in put if put[item] == 1 and item not in taken)
            foreseeing._never_taken = frozenset(never)
        return foreseeing

    def step(self, state: State, operation: Any, result: Any) -> Iterable[State]:
        """Return the items that wait afterwards, the first one first."""
        assert isinstance(state, tuple)
        match operation:
            case Enqueue(item):
                if any(self._comes_before(item, other) for other in state):
                    return ()
                return ((*state, item),)
            case Dequeue():
                first = state[0] if state else EMPTY
                return (state[1:],) if result is UNKNOWN or result == first else ()
        raise _foreign(self, operation)

    def _comes_before(self, item: Hashable, other: Hashable) -> bool:
        """Whether `item` was taken before `other`, for certain."""
        mine = self._taken.get(item)
        if mine is None:
            return False
        others = self._taken.get(other)
        return other in self._never_taken if others is None else mine[1] < others[0]

    def reads_only(self, operation: Any, result: Any) -> bool:
        """Whether it found the queue empty."""
        return isinstance(operation, Dequeue) and result is EMPTY


class Map(Model):
    """Keys with values; an operation is a `Transaction` (or one step alone).

    Transactions that a chain of common keys connects are checked together; one with `ReadAll`
    connects everything. So this check is one of strict serializability, of which linearizability
    is the case of single operations (Herlihy and Wing, section 3.3).

    Args:
        values: what it holds in the beginning.
    """

    def __init__(self, values: dict[Hashable, Hashable] | None = None) -> None:
        self._values = dict(values or {})

    def init(self) -> State:
        """Return what it holds in the beginning."""
        return frozenset(self._values.items())

    def keys(self, operation: Any) -> Iterable[Hashable] | None:
        """Return the keys of all steps; None if one of them reads everything."""
        steps = _steps(operation)
        keys = [step.key for step in steps if not isinstance(step, ReadAll)]
        return keys if len(keys) == len(steps) else None

    def step(self, state: State, operation: Any, result: Any) -> Iterable[State]:
        """Return what it holds afterwards: pairs of a key and its value."""
        assert isinstance(state, frozenset)
        steps = _steps(operation)
        results: Any = result if isinstance(operation, Transaction) else (result,)
        if result is UNKNOWN:
            results = (UNKNOWN,) * len(steps)
        elif len(results) != len(steps):
            raise ValueError(f"{operation!r} has {len(steps)} steps and {len(results)} results")
        values: dict[Hashable, Hashable] = dict(state)
        changed = False
        for step, told in zip(steps, results, strict=True):
            answer = _map_step(values, step)
            if told is not UNKNOWN and not _answers(step, told, answer):
                return ()
            changed = changed or not isinstance(step, Read | ReadAll)
        return (frozenset(values.items()) if changed else state,)

    def reads_only(self, operation: Any, result: Any) -> bool:
        """Whether every step is a read."""
        return all(isinstance(step, Read | ReadAll) for step in _steps(operation))

    def describe(self, operation: Any, result: Any) -> str:
        """Return the steps with their answers."""
        steps = _steps(operation)
        results: Any = result if isinstance(operation, Transaction) else (result,)
        if result is UNKNOWN:
            results = (UNKNOWN,) * len(steps)
        return "; ".join(_describe(step, told) for step, told in zip(steps, results, strict=True))


def _steps(operation: Any) -> tuple[MapStep, ...]:
    return operation.steps if isinstance(operation, Transaction) else (operation,)


def _map_step(values: dict[Hashable, Hashable], step: MapStep) -> Any:
    match step:
        case Read(key):
            return values.get(key)
        case ReadAll():
            return dict(values)
        case Write(value, key):
            values[key] = value
        case Remove(_, key):
            values.pop(key, None)
        case Add(amount, key):
            new = values.get(key, 0) + amount  # type: ignore[operator]
            values[key] = new
            return new
        case CompareAndSet(old, new, key):
            swapped = values.get(key) == old
            if swapped:
                values[key] = new
            return swapped
    return None


def _answers(step: MapStep, told: Any, answer: Any) -> bool:
    if isinstance(step, Write | Remove) or (isinstance(step, Add) and told is None):
        return True
    return bool(told == answer)


def _counted(items: Iterable[Hashable]) -> dict[Hashable, int]:
    counts: dict[Hashable, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def _foreign(model: Model, operation: Any) -> TypeError:
    return TypeError(f"{operation!r} is no operation of the model {type(model).__name__}")


def _describe(operation: Any, result: Any) -> str:
    key = getattr(operation, "key", None)
    at = "" if key is None else f"{key} "
    match operation:
        case Read() | Items() | ReadAll():
            return f"{at}= {result!r}"
        case Write(value):
            return f"{at}:= {value!r}" + ("?" if result is UNKNOWN else "")
        case Add(amount):
            return f"{at}{amount:+} = {result!r}"
        case CompareAndSet(old, new):
            return f"{at}{old!r}->{new!r} {_yes(result)}"
        case Insert(item) | Enqueue(item):
            return f"{at}put {item!r}" + ("?" if result is UNKNOWN else "")
        case Remove(item):
            return f"{at}remove {'' if item is None else repr(item)} {_yes(result)}".rstrip()
        case Dequeue():
            return f"{at}take {result!r}"
    return f"{operation!r} {result!r}"


def _yes(result: Any) -> str:
    return {True: "yes", False: "no", None: ""}.get(result, "?")
