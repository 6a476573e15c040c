"""The search for an order that explains a history.

It is Wing and Gong's ("Testing and verifying concurrent objects", 1993) in the form that
Lowe gave it ("Testing for linearizability", 2017):

- *Just in time*: going through the responses in their order, an operation is given its place only
  when its response is due and it has none. Before it, any of the others that are open at that
  moment may be placed. Nothing is lost by waiting: an earlier moment could be moved there.
- *Remembered*: a configuration (the response that is due, which of the open operations have been
  placed, the state) is entered once. What follows depends on nothing else.

Three more observations keep the search small; none changes its answer:

- An operation that only reads is placed as soon as a state agrees with it. It takes away no
  possibility of the others.
- Of open operations that are equal, the one that has to be done first goes first.
- Operations that no chain of common keys connects are checked apart (Horn and Kroening, 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TypeAlias

from palaver.actors.simulation.histories.history import Operation
from palaver.actors.simulation.histories.models import Model, State

__all__ = ["Budget", "LimitMet", "Search"]

CLOCK_EVERY = 512


class LimitMet(Exception):
    """The search has to end."""


class Budget:
    """How many states, and how much time, are left."""

    __slots__ = ("_clock", "_deadline", "_max_states", "_timeout_s", "used")

    def __init__(
        self, max_states: int, timeout_s: float | None, clock: Callable[[], float]
    ) -> None:
        self.used = 0
        self._max_states = max_states
        self._timeout_s = timeout_s
        self._clock = clock
        self._deadline = None if timeout_s is None else clock() + timeout_s

    def spend(self) -> None:
        """Count one state.

        Raises:
            LimitMet: it is one too many, or the time is over.
        """
        if self.used >= self._max_states:
            raise LimitMet(f"the limit of {self._max_states} states was met")
        self.used += 1
        if self._deadline is None or self.used % CLOCK_EVERY:
            return
        if self._clock() >= self._deadline:
            raise LimitMet(f"the limit of {self._timeout_s} s was met")


class _Open:
    """An operation as the search sees it.

    Attributes:
        bit: its place in the masks of the time in which it is open; used again afterwards.
        likeness: equal for operations that have the same effect.
    """

    __slots__ = ("bit", "likeness", "operation", "reads", "request", "result")

    def __init__(self, operation: Operation, reads: bool) -> None:
        self.operation = operation
        self.request = operation.operation
        self.result = operation.result
        self.reads = reads
        self.bit = 0
        self.likeness: Hashable = operation.number


class _Response:
    """A response that is due: the operation, and what is open at that moment.

    Attributes:
        readers: open operations that only read.
        others: the other ones; who has to be done first comes first.
    """

    __slots__ = ("others", "owner", "readers")

    def __init__(self, owner: _Open, around: list[_Open]) -> None:
        self.owner = owner
        self.readers = tuple(one for one in around if one.reads)
        self.others = tuple(one for one in around if not one.reads)


_Node: TypeAlias = tuple[int, int, State]
"""(index of the response that is due, mask of the open operations that are placed, state)"""


class Search:
    """A search through one group of operations, depth first."""

    def __init__(self, group: tuple[Operation, ...], model: Model, budget: Budget) -> None:
        self.group = group
        self.responses = compile_responses(group, model)
        self.seen: set[_Node] = set()
        self.deepest = 0
        self._model = model
        self._budget = budget

    def run(self, until: int | None = None) -> tuple[Operation, ...] | None:
        """Return an order that explains every answer before the response `until` (None: all).

        None if there is no such order.
        """
        goal = len(self.responses) if until is None else until
        self.seen = set()
        placed: list[_Open] = []
        start = self._enter((0, 0, self._model.init()), placed)
        if start is None or start[0] == goal:
            return tuple(one.operation for one in placed)
        # Per level: where the successors of a node come from, and how many were placed before it.
        stack: list[tuple[Iterator[tuple[_Open, _Node]], int]] = [
            (self._successors(start), len(placed))
        ]
        while stack:
            successors, height = stack[-1]
            del placed[height:]
            following = next(successors, None)
            if following is None:
                stack.pop()
                continue
            one, node = following
            placed.append(one)
            entered = self._enter(node, placed)
            if entered is None:
                continue
            if entered[0] >= goal:
                return tuple(one.operation for one in placed)
            stack.append((self._successors(entered), len(placed)))
        return None

    def _enter(self, node: _Node, placed: list[_Open]) -> _Node | None:
        """Place the reads that agree and pass the responses that are placed; None: seen before."""
        due, mask, state = node
        responses = self.responses
        step = self._model.step
        while True:
            if due == len(responses):
                break
            response = responses[due]
            for reader in response.readers:
                if mask & reader.bit:
                    continue
                for _ in step(state, reader.request, reader.result):
                    mask |= reader.bit
                    placed.append(reader)
                    break
            if not mask & response.owner.bit:
                break
            mask &= ~response.owner.bit
            due += 1
        node = (due, mask, state)
        if node in self.seen:
            return None
        self._budget.spend()
        self.seen.add(node)
        self.deepest = max(self.deepest, due)
        return node

    def _successors(self, node: _Node) -> Iterator[tuple[_Open, _Node]]:
        due, mask, state = node
        step = self._model.step
        tried: set[Hashable] = set()
        for one in self.responses[due].others:
            if mask & one.bit or one.likeness in tried:
                continue
            tried.add(one.likeness)
            for after in step(state, one.request, one.result):
                yield one, (due, mask | one.bit, after)


def compile_responses(group: tuple[Operation, ...], model: Model) -> list[_Response]:
    events: list[tuple[int, _Open]] = []
    for operation in group:
        reads = model.reads_only(operation.operation, operation.result)
        if operation.pending and reads:
            continue  # nobody can tell whether it happened
        one = _Open(operation, reads)
        one.likeness = _likeness(operation)
        events.append((operation.invoked, one))
        if operation.responded is not None:
            events.append((operation.responded, one))
    events.sort(key=lambda event: event[0])
    around: dict[int, _Open] = {}
    free: list[int] = []
    responses: list[_Response] = []
    for moment, one in events:
        if moment == one.operation.invoked:
            one.bit = free.pop() if free else 1 << len(around)
            around[one.operation.number] = one
            continue
        responses.append(_Response(one, sorted(around.values(), key=_due)))
        del around[one.operation.number]
        free.append(one.bit)
    return responses


def _due(one: _Open) -> tuple[bool, int]:
    responded = one.operation.responded
    return (responded is None, responded or one.operation.invoked)


def _likeness(operation: Operation) -> Hashable:
    likeness = (operation.operation, operation.result)
    try:
        hash(likeness)
    except TypeError:
        return operation.number
    return likeness
