"""Whether transactions happened one after the other, found from what they saw of each other.

    history.run("a", Transaction((Append(1, "x"), Read("y"))), ...)     # answers (None, (7, 9))
    report = check_transactions(history)
    report.require()

The objects are lists: `Append` puts a value at the end, `Read` answers the list as a tuple. Every
value is appended once to a key. Then a list tells in which order its writers came, and a read tells
which of them it has seen: whoever came before whom is known, in linear time, for any number of
transactions (Kingsbury and Alvaro, "Elle: inferring isolation anomalies from experimental
observations", 2020). `linearizability.check` with the model `Map` searches instead; it needs no
lists, and takes long where many transactions are open at once.

Dependencies are Adya's ("Weak consistency: a generalized theory and optimistic implementations for
distributed transactions", 1999): `ww` overwrote what the other had written, `wr` read it, `rw`
wrote what comes after that which the other had read; and `rt`, in strict mode: was invoked after
the other's response. A cycle says that no order explains all:

G0         ww alone: writes are interleaved
G1c        ww and wr: information flows in a circle
G-single   exactly one rw: read skew, a lost update
G2         several rw: write skew, or a phantom

"-realtime" is added where the cycle is one only with `rt`: there is an order, and it contradicts
the clock.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from palaver.actors.simulation.histories.cycles import Edges, add, strongly_connected, worst_cycle
from palaver.actors.simulation.histories.history import UNKNOWN, History, Operation
from palaver.actors.simulation.histories.operations import Read, Transaction

__all__ = ["Anomaly", "Append", "NotSerializable", "Report", "check_transactions"]


@dataclass(frozen=True, slots=True)
class Append:
    """Puts `value` at the end of the list `key`; no other append to the key has this value."""

    value: Hashable
    key: Hashable = None


class NotSerializable(AssertionError):
    """Transactions did not happen one after the other; the text shows why."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that no order of the transactions explains.

    Attributes:
        kind: "G0", "G1c", "G-single", "G2" (and these with "-realtime"), "G1b" (a read in the
            middle of a transaction), "nobody's value" (written by nobody, or by a transaction that
            was given up), "internal" (a transaction did not see its own writes) or "two orders"
            (two reads of a list, neither the beginning of the other).
        transactions: those concerned; for a cycle each came before the next, the last before the
            first.
        text: for people.
    """

    kind: str
    transactions: tuple[Operation, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes:
        transactions: how many there were.
        anomalies: what is wrong; nothing if they can be put into an order.
    """

    transactions: int
    anomalies: tuple[Anomaly, ...]

    @property
    def serializable(self) -> bool:
        """Whether nothing was found."""
        return not self.anomalies

    def require(self) -> None:
        """Return if nothing was found.

        Raises:
            NotSerializable: something was; the text shows it.
        """
        if self.anomalies:
            raise NotSerializable(str(self))

    def __str__(self) -> str:
        if not self.anomalies:
            return f"serializable: {self.transactions} transactions"
        return "\n".join(f"{one.kind}: {one.text}" for one in self.anomalies)


def check_transactions(
    history: History | Iterable[Operation], *, strict: bool = True, max_anomalies: int = 10
) -> Report:
    """Look for what no order of the transactions of `history` explains.

    Args:
        history: operations that are a `Transaction` of `Append` and `Read`, or one of them alone.
        strict: whether the order has to agree with the clock as well.
        max_anomalies: how many are collected.

    Raises:
        ValueError: a value was appended twice to one key.
        TypeError: an operation of another kind.
    """
    operations = history.operations() if isinstance(history, History) else tuple(history)
    lists = _Lists(operations)
    edges = lists.dependencies()
    if strict:
        _add_real_time(edges, operations)
    anomalies = lists.anomalies
    for group in strongly_connected(edges):
        kind, cycle = worst_cycle(edges, group)
        text = _told(kind, [operations[number] for number in cycle], edges, cycle)
        anomalies.append(Anomaly(kind, tuple(operations[number] for number in cycle), text))
    return Report(len(operations), tuple(anomalies[:max_anomalies]))


class _Lists:
    """What the transactions wrote and read, by key."""

    def __init__(self, operations: tuple[Operation, ...]) -> None:
        self.anomalies: list[Anomaly] = []
        self._operations = operations
        self._writers: dict[tuple[Hashable, Hashable], int] = {}
        # (key, transaction) -> what it appended, in order.
        self._appended: dict[tuple[Hashable, int], list[Hashable]] = {}
        self._reads: dict[Hashable, list[tuple[int, tuple[Hashable, ...]]]] = {}
        self._longest: dict[Hashable, tuple[Hashable, ...]] = {}
        # In the order of the file: index in `operations`, not Operation.number.
        for index, one in enumerate(operations):
            for step in _steps(one.operation):
                if isinstance(step, Append):
                    self._write(index, step)
        for index, one in enumerate(operations):
            if one.result is not UNKNOWN:
                self._observe(index, one)

    def _write(self, index: int, step: Append) -> None:
        if self._writers.setdefault((step.key, step.value), index) != index or (
            step.value in self._appended.get((step.key, index), ())
        ):
            raise ValueError(f"{step.value!r} was appended twice to {step.key!r}")
        self._appended.setdefault((step.key, index), []).append(step.value)

    def _observe(self, index: int, one: Operation) -> None:
        steps = _steps(one.operation)
        results = one.result if isinstance(one.operation, Transaction) else (one.result,)
        own: dict[Hashable, list[Hashable]] = {}
        before: dict[Hashable, tuple[Hashable, ...]] = {}
        for step, result in zip(steps, results, strict=True):
            mine = own.setdefault(step.key, [])
            if isinstance(step, Append):
                mine.append(step.value)
                continue
            seen = tuple(result or ())
            others = seen[: len(seen) - len(mine)]
            known = before.setdefault(step.key, others)
            if list(seen[len(others) :]) != mine or others != known:
                self._found("internal", index, f"read {step.key!r} as {seen}, not what it had made")
            else:
                self._read(index, step.key, others)

    def _read(self, index: int, key: Hashable, seen: tuple[Hashable, ...]) -> None:
        for value in seen:
            if (key, value) not in self._writers:
                self._found("nobody's value", index, f"read {value!r} in {key!r}")
                return
        longest = self._longest.get(key, ())
        short, long = sorted((seen, longest), key=len)
        if long[: len(short)] != short:
            self._found("two orders", index, f"read {key!r} as {seen}, another as {longest}")
            return
        self._longest[key] = long
        self._reads.setdefault(key, []).append((index, seen))
        if seen:
            writer = self._writers[key, seen[-1]]
            wrote = self._appended[key, writer]
            if wrote[-1] != seen[-1] or index == writer:
                self._found("G1b", index, f"read {key!r} in the middle of a transaction: {seen}")

    def _found(self, kind: str, index: int, text: str) -> None:
        one = self._operations[index]
        self.anomalies.append(Anomaly(kind, (one,), f"{one.number} of {one.client} {text}"))

    def dependencies(self) -> Edges:
        """Return who came before whom, from all that was seen."""
        edges: Edges = {index: {} for index in range(len(self._operations))}
        seen_values = {(key, value) for key, values in self._longest.items() for value in values}
        happened = {index for index, one in enumerate(self._operations) if not one.pending}
        happened |= {self._writers[item] for item in seen_values}
        unseen: dict[Hashable, list[int]] = {}
        for (key, value), writer in self._writers.items():
            if (key, value) not in seen_values and writer in happened:
                unseen.setdefault(key, []).append(writer)
        for key, reads in self._reads.items():
            order = [self._writers[key, value] for value in self._longest[key]]
            for earlier, later in pairwise(order):
                add(edges, earlier, later, "ww")
            for reader, seen in reads:
                if seen:
                    add(edges, order[len(seen) - 1], reader, "wr")
                after = order[len(seen) :][:1] or unseen.get(key, [])
                for writer in after:
                    add(edges, reader, writer, "rw")
            # What nobody has seen was appended after what somebody has.
            for writer in unseen.get(key, []) if order else []:
                add(edges, order[-1], writer, "ww")
        return edges


def _steps(operation: Any) -> tuple[Append | Read, ...]:
    steps = operation.steps if isinstance(operation, Transaction) else (operation,)
    for step in steps:
        if not isinstance(step, Append | Read):
            raise TypeError(f"{step!r} is neither an Append nor a Read")
    return tuple(steps)


def _add_real_time(edges: Edges, operations: tuple[Operation, ...]) -> None:
    """Add who had its response before whom; what follows from others by transitivity is left out.

    Who has answered and is not before another one that has answered is at the front.
    """
    events = [(one.invoked, index, True) for index, one in enumerate(operations)]
    events += [
        (one.responded, index, False)
        for index, one in enumerate(operations)
        if one.responded is not None
    ]
    front: set[int] = set()
    before: dict[int, set[int]] = {}
    for _, index, invoked in sorted(events):
        if invoked:
            before[index] = set(front)
            for earlier in front:
                add(edges, earlier, index, "rt")
        else:
            front -= before.pop(index)
            front.add(index)


REASONS = {
    "ww": "which was followed in a list by the append of",
    "wr": "whose append was read by",
    "rw": "which did not see the append of",
    "rt": "which had its answer before the question of",
}


def _told(kind: str, cycle: list[Operation], edges: Edges, numbers: list[int]) -> str:
    lines = [f"a cycle of {len(cycle)}"]
    for place, one in enumerate(cycle):
        after = numbers[(place + 1) % len(numbers)]
        reason = REASONS[edges[numbers[place]][after]]
        lines.append(f"  {one.number} of {one.client}: {one.operation!r} -> {one.result!r}")
        lines.append(f"    {reason}")
    lines.append(f"  {cycle[0].number} of {cycle[0].client} again")
    return "\n".join(lines)
