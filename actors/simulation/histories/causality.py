"""Whether stamps and sequence numbers tell what came before what.

    log = CausalLog()
    log.wrote("ann", "m1", stamp=10, line="lobby", seq=1)
    log.saw("bob", "m1")
    log.wrote("bob", "m2")                 # now ...
    log.stamped("m2", stamp=11, line="lobby", seq=2)   # ... and its marks once they are known
    check_causality(log).require()

A message happened before another if the same process wrote it earlier, or if the author of the
other had seen it, or through a chain of such steps (Lamport, "Time, clocks, and the ordering of
events in a distributed system", 1978). Then its stamp has to be the smaller one. It is enough to
look at single steps, since chains of smaller stamps are smaller too: so the check costs one
comparison for each message, and what it shows is always a single step.

Where messages have sequence numbers, those of one line (a conversation, a partition) have to begin
at `first` and leave none out, no two messages have the same, and a message never has two.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from palaver.actors.simulation.histories.history import HistoryError

__all__ = [
    "CausalEvent",
    "CausalFault",
    "CausalLog",
    "CausalVerdict",
    "CausalityBroken",
    "check_causality",
]

DEFAULT_MAX_EVENTS = 10_000_000
MAX_SHOWN = 10
"""How many faults a verdict explains; the others are counted."""


class CausalityBroken(AssertionError):
    """Stamps or sequence numbers contradict what happened; the text shows where."""


@dataclass(frozen=True, slots=True)
class CausalEvent:
    """A process wrote a message or saw one, or a message got its marks."""

    number: int
    kind: Literal["wrote", "saw", "stamped"]
    process: Hashable
    message: Hashable
    stamp: Any = None
    line: Hashable = None
    seq: int | None = None

    def __str__(self) -> str:
        marks = []
        if self.stamp is not None:
            marks.append(f"stamp {self.stamp!r}")
        if self.seq is not None:
            marks.append(f"seq {self.seq}" + ("" if self.line is None else f" of {self.line!r}"))
        note = f" ({', '.join(marks)})" if marks else ""
        if self.kind == "stamped":
            return f"{self.number:>6}  {self.message!r} is marked{note}"
        verb = "writes" if self.kind == "wrote" else "sees"
        return f"{self.number:>6}  {self.process} {verb} {self.message!r}{note}"


class CausalLog:
    """Records who wrote and who saw what, in each process in the order of its own time.

    Args:
        max_events: how many it takes before it raises `HistoryError`.
    """

    def __init__(self, max_events: int = DEFAULT_MAX_EVENTS) -> None:
        self.events: list[CausalEvent] = []
        self._max_events = max_events

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[CausalEvent]:
        return iter(self.events)

    def wrote(
        self,
        process: Hashable,
        message: Hashable,
        *,
        stamp: Any = None,
        line: Hashable = None,
        seq: int | None = None,
    ) -> None:
        """`process` wrote a message; recorded when it does, the marks perhaps later by `stamped`.

        Args:
            process: who.
            message: what names the message; unique.
            stamp: anything that can be compared with other stamps; None: it has none.
            line: what its sequence number counts within.
            seq: the number; None: it has none.
        """
        self._add(CausalEvent(len(self.events), "wrote", process, message, stamp, line, seq))

    def saw(
        self,
        process: Hashable,
        message: Hashable,
        *,
        stamp: Any = None,
        line: Hashable = None,
        seq: int | None = None,
    ) -> None:
        """`process` saw a message; the marks are what it was shown, if it was shown any."""
        self._add(CausalEvent(len(self.events), "saw", process, message, stamp, line, seq))

    def stamped(
        self,
        message: Hashable,
        *,
        stamp: Any = None,
        line: Hashable = None,
        seq: int | None = None,
    ) -> None:
        """The marks of a message are known now; that has nothing to do with when it was written."""
        self._add(CausalEvent(len(self.events), "stamped", None, message, stamp, line, seq))

    def _add(self, event: CausalEvent) -> None:
        if len(self.events) >= self._max_events:
            raise HistoryError(
                f"a log of {self._max_events} events is full; check it and begin another, "
                "or raise max_events"
            )
        self.events.append(event)


@dataclass(frozen=True, slots=True)
class CausalFault:
    """One contradiction, with the events that show it and no others."""

    kind: Literal["stamp", "gap", "two with one number", "two numbers"]
    why: str
    events: tuple[CausalEvent, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.kind}: {self.why}", *map(str, self.events)])


@dataclass(frozen=True, slots=True)
class CausalVerdict:
    """What `check_causality` has found."""

    faults: tuple[CausalFault, ...]
    messages: int

    def __bool__(self) -> bool:
        return not self.faults

    def require(self) -> None:
        """Return if there is no fault.

        Raises:
            CausalityBroken: there is; the text explains each.
        """
        if self.faults:
            raise CausalityBroken(str(self))

    def __str__(self) -> str:
        if not self.faults:
            return f"{self.messages} messages: stamps and numbers agree with what happened"
        parts = [f"{len(self.faults)} faults in {self.messages} messages"]
        parts += [str(fault) for fault in self.faults[:MAX_SHOWN]]
        if len(self.faults) > MAX_SHOWN:
            parts.append(f"... and {len(self.faults) - MAX_SHOWN} more")
        return "\n\n".join(parts)


def check_causality(
    events: Iterable[CausalEvent], *, first: int = 1, seq_follows_cause: bool = True
) -> CausalVerdict:
    """Say where stamps or numbers contradict what happened.

    Args:
        events: a `CausalLog`, or its events.
        first: the number with which every line begins.
        seq_follows_cause: whether of two messages of one line, the one that happened before the
            other must have the smaller number.

    Returns:
        The verdict; `require()` it.

    Raises:
        HistoryError: a message was written twice, or its stamp cannot be compared.
    """
    in_order = list(events)
    written: set[Hashable] = set()
    stamps: dict[Hashable, Any] = {}
    seqs: dict[Hashable, tuple[Hashable, int]] = {}
    for event in in_order:
        if event.kind == "wrote":
            if event.message in written:
                raise HistoryError(f"{event.message!r} was written twice: name each apart")
            written.add(event.message)
        if event.stamp is not None:
            stamps.setdefault(event.message, event.stamp)
        if event.seq is not None:
            seqs.setdefault(event.message, (event.line, event.seq))
    faults = list(_stamps(in_order, stamps))
    if seq_follows_cause:
        faults += _seqs(in_order, seqs)
    faults += _numbers(in_order, first)
    return CausalVerdict(tuple(faults), len(written))


def _stamps(events: list[CausalEvent], stamps: dict[Hashable, Any]) -> Iterator[CausalFault]:
    """Messages whose stamp is not above all that their author had written or seen."""
    highest: dict[Hashable, tuple[Any, CausalEvent]] = {}  # by process: the stamp and whence
    for event in events:
        stamp = stamps.get(event.message) if event.stamp is None else event.stamp
        if stamp is None or event.kind == "stamped":
            continue
        known = highest.get(event.process)
        above = known is None or _less(known[0], stamp)
        if known is not None and event.kind == "wrote" and not above:
            verb = "written" if known[1].kind == "wrote" else "seen"
            yield CausalFault(
                "stamp",
                f"{event.process} had {verb} {known[1].message!r} (stamp {known[0]!r}) before it "
                f"wrote {event.message!r}, whose stamp {stamp!r} is not greater",
                (known[1], event),
            )
        if above:
            highest[event.process] = (stamp, event)


def _less(one: Any, other: Any) -> bool:
    try:
        return bool(one < other)
    except TypeError as error:
        raise HistoryError(f"the stamps {one!r} and {other!r} cannot be compared") from error


def _seqs(
    events: list[CausalEvent], seqs: dict[Hashable, tuple[Hashable, int]]
) -> Iterator[CausalFault]:
    """The same for the sequence numbers of one line."""
    highest: dict[tuple[Hashable, Hashable], tuple[int, CausalEvent]] = {}
    for event in events:
        if event.kind == "stamped" or event.message not in seqs:
            continue
        line, seq = seqs[event.message]
        known = highest.get((event.process, line))
        if known is not None and event.kind == "wrote" and seq < known[0]:
            yield CausalFault(
                "stamp",
                f"{event.process} knew {known[1].message!r} (seq {known[0]}) when it wrote "
                f"{event.message!r}, whose seq {seq} is smaller",
                (known[1], event),
            )
        if known is None or seq > known[0]:
            highest[event.process, line] = (seq, event)


def _numbers(events: list[CausalEvent], first: int) -> Iterator[CausalFault]:
    """Gaps, messages with one number, and numbers of one message."""
    of_message: dict[tuple[Hashable, Hashable], CausalEvent] = {}
    of_number: dict[Hashable, dict[int, CausalEvent]] = {}
    for event in events:
        if event.seq is None:
            continue
        same = of_message.setdefault((event.line, event.message), event)
        if same.seq != event.seq:
            why = f"{event.message!r} has the numbers {same.seq} and {event.seq}"
            yield CausalFault("two numbers", why, (same, event))
            continue
        holder = of_number.setdefault(event.line, {}).setdefault(event.seq, event)
        if holder.message != event.message:
            why = f"{holder.message!r} and {event.message!r} both have the number {event.seq}"
            yield CausalFault("two with one number", why, (holder, event))
    for line, numbers in of_number.items():
        expected = first
        of = "" if line is None else f" of {line!r}"
        for number in sorted(numbers):
            if number < expected:
                why = f"the number {number}{of} is below the first, {first}"
                yield CausalFault("gap", why, (numbers[number],))
                continue
            if number > expected:
                before = (numbers[expected - 1],) if expected - 1 in numbers else ()
                missing = str(expected) if number - 1 == expected else f"{expected}-{number - 1}"
                why = f"no message has the number {missing}{of}"
                yield CausalFault("gap", why, (*before, numbers[number]))
            expected = number + 1
