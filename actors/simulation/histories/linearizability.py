"""Whether concurrent clients could tell an object from one that does one thing at a time.

    verdict = check(history, Register())
    verdict.require()                       # raises with a diagram of what has no place

A history is linearizable when every operation can be given one moment between its invocation and
its response, such that done in the order of these moments the operations answer what they
answered (Herlihy and Wing, 1990). An operation without a response may have happened at any moment
after its invocation, or not at all.

The search is that of Wing and Gong with Lowe's refinements; see `search`. Deciding this is
NP-complete (Gibbons and Korach, 1997): for an evil history the search ends at its limit, and says
so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from palaver.actors.simulation.histories.diagram import draw
from palaver.actors.simulation.histories.history import (
    UNKNOWN,
    Call,
    History,
    HistoryError,
    Operation,
)
from palaver.actors.simulation.histories.models import Model, State
from palaver.actors.simulation.histories.search import Budget, LimitMet, Search

__all__ = [
    "UNKNOWN",
    "Call",
    "History",
    "HistoryError",
    "Model",
    "NotLinearizable",
    "Operation",
    "Undecided",
    "Verdict",
    "check",
    "components",
]

DEFAULT_MAX_STATES = 2_000_000

Answer: TypeAlias = Literal["linearizable", "not linearizable", "undecided"]


class NotLinearizable(AssertionError):
    """A history is not linearizable; the text shows the operation that has no place."""


class Undecided(AssertionError):
    """A check ended at its limit of states or time before it knew."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check has found.

    Attributes:
        answer: "linearizable", "not linearizable" or "undecided".
        operations: how many operations the history has.
        states: how many configurations were looked at.
        orders: if linearizable: for every group of connected operations an order that explains
            all answers. Operations without a response that did not have to happen are left out.
        culprit: if not: the operation that cannot be placed. All responses before its own can be
            explained, and this one cannot be explained with them (and, for a queue, with those
            that came later).
        prefix: an order of what came before the culprit.
        ends: the states in which what came before may have left the object, up to 8 of them.
        limit: if undecided: which limit was met, for people.
        text: the verdict for people; a diagram if it is not linearizable.
    """

    answer: Answer
    operations: int
    states: int
    orders: tuple[tuple[Operation, ...], ...] = ()
    culprit: Operation | None = None
    prefix: tuple[Operation, ...] = ()
    ends: tuple[State, ...] = ()
    limit: str = ""
    text: str = ""

    @property
    def linearizable(self) -> bool:
        """Whether it certainly is."""
        return self.answer == "linearizable"

    def require(self) -> None:
        """Return if it is linearizable.

        Raises:
            NotLinearizable: it is not; the text has the diagram.
            Undecided: a limit was met before that was known.
        """
        if self.answer == "not linearizable":
            raise NotLinearizable(self.text)
        if self.answer == "undecided":
            raise Undecided(self.text)

    def __str__(self) -> str:
        return self.text


def check(
    history: History | Iterable[Operation],
    model: Model,
    *,
    max_states: int = DEFAULT_MAX_STATES,
    timeout_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Verdict:
    """Decide whether `history` is linearizable with respect to `model`.

    Args:
        history: what was recorded.
        model: what one operation at a time does.
        max_states: how many configurations are looked at, and remembered (some 200 bytes each),
            before the answer is "undecided".
        timeout_s: seconds after which it is too; None: no limit.
        clock: seconds, monotonic; for `timeout_s` only.
    """
    operations = history.operations() if isinstance(history, History) else tuple(history)
    budget = Budget(max_states, timeout_s, clock)
    orders: list[tuple[Operation, ...]] = []
    for group in components(operations, model):
        search = Search(group, model.foresee(group), budget)
        try:
            order = search.run()
            if order is None:
                return _refuted(search, model, len(operations), budget.used)
            orders.append(order)
        except LimitMet as met:
            text = f"undecided: {met} ({budget.used} states of {len(operations)} operations)"
            return Verdict("undecided", len(operations), budget.used, limit=str(met), text=text)
    text = f"linearizable: {len(operations)} operations, {budget.used} states"
    return Verdict("linearizable", len(operations), budget.used, tuple(orders), text=text)


def components(operations: Iterable[Operation], model: Model) -> list[tuple[Operation, ...]]:
    """Return the groups of operations that are connected by common keys, in order."""
    operations = tuple(operations)
    parents: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        while parents.setdefault(key, key) != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    firsts: list[Hashable] = []
    for operation in operations:
        keys = model.keys(operation.operation)
        if keys is None:
            return [operations] if operations else []
        # An operation on no key at all is a group of its own.
        keyed: list[Hashable] = [("key", key) for key in keys] or [("alone", operation.number)]
        firsts.append(keyed[0])
        for key in keyed:
            parents[root(key)] = root(keyed[0])
    groups: dict[Hashable, list[Operation]] = {}
    for operation, first in zip(operations, firsts, strict=True):
        groups.setdefault(root(first), []).append(operation)
    return [tuple(group) for group in groups.values()]


def _refuted(search: Search, model: Model, operations: int, states: int) -> Verdict:
    """Tell what cannot be placed; the history is known not to be linearizable."""
    deepest = search.deepest
    culprit = search.responses[deepest].owner.operation
    found: dict[State, None] = {}
    for due, _, state in search.seen:
        if due == deepest:
            found.setdefault(state)
    ends = tuple(sorted(found, key=repr)[:8])
    again = Search(
        search.group, model.foresee(search.group), Budget(sys.maxsize, None, time.monotonic)
    )
    prefix = again.run(until=deepest) or ()

    def told(one: Operation) -> str:
        return f"{one.number} of {one.client}: {model.describe(one.operation, one.result)}"

    text = "\n".join(
        [
            f"not linearizable: no place for operation {told(culprit)}",
            "",
            draw(search.group, culprit, model.describe),
            "",
            f"before its response {len(prefix)} operations have been placed, the last ones:",
            *(f"  {told(one)}" for one in prefix[-8:]),
            "and the state may have been:",
            *(f"  {state!r}" for state in ends),
            *([f"  or one of {len(found) - len(ends)} others"] if len(found) > len(ends) else []),
        ]
    )
    return Verdict(
        "not linearizable",
        operations,
        states,
        culprit=culprit,
        prefix=prefix,
        ends=ends,
        text=text,
    )
