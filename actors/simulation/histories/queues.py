"""Whether a queue kept what it took: nothing lost, phantom, doubled or out of order.

    log = QueueLog()
    log.sent("ann", "m1")                  # before the queue is asked
    log.accepted("m1")                     # it has confirmed
    log.delivered("bob", "m1")             # a receiver has it in its hands
    log.acked("bob", "m1")                 # ... and says so
    log.settled("m1")                      # the queue has confirmed that
    check_queue(log, mode="at-least-once", acks=True).require()

For job queues and message queues alike. Unlike a linearizable queue (`models.Queue`), one that is
spread over machines promises less: an order for each sender only, and one of three modes:

* ``at-most-once``: an item may get lost, and comes no second time.
* ``at-least-once``: an item that was accepted comes, perhaps more than once; where receivers ack,
  it comes no more once its ack is settled.
* ``exactly-once``: an item that was accepted comes, and once.

An item whose send was neither accepted nor refused (its answer was lost, say) may come or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from palaver.actors.simulation.histories.history import HistoryError

__all__ = [
    "QueueBroken",
    "QueueEvent",
    "QueueFault",
    "QueueLog",
    "QueueMode",
    "QueueOrder",
    "QueueVerdict",
    "check_queue",
]

QueueMode: TypeAlias = Literal["at-most-once", "at-least-once", "exactly-once"]
QueueOrder: TypeAlias = Literal["none", "per_sender", "per_session"]
Kind: TypeAlias = Literal["sent", "accepted", "refused", "delivered", "acked", "settled"]

DEFAULT_MAX_EVENTS = 10_000_000
MAX_SHOWN = 10
"""How many faults a verdict explains; the others are counted."""


class QueueBroken(AssertionError):
    """A queue did not keep what its mode promises; the text shows the events that say so."""


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """One thing that happened to an item; its place in the log is its time."""

    number: int
    kind: Kind
    item: Hashable
    who: Hashable
    queue: Hashable

    def __str__(self) -> str:
        who = "the queue" if self.who is None else str(self.who)
        words = {
            "sent": f"{who} sends {self.item!r}",
            "accepted": f"{who} has accepted {self.item!r}",
            "refused": f"{who} has refused {self.item!r}",
            "delivered": f"{who} gets {self.item!r}",
            "acked": f"{who} acks {self.item!r}",
            "settled": f"{who} has settled the ack of {self.item!r}",
        }[self.kind]
        return f"{self.number:>6}  {words}"


class QueueLog:
    """Records what happens to the items of one queue or of several, in the order of time.

    An item is named by something hashable that is unique in its queue. What it records costs one
    entry in a list.

    Args:
        max_events: how many it takes before it raises `HistoryError`.
    """

    def __init__(self, max_events: int = DEFAULT_MAX_EVENTS) -> None:
        self.events: list[QueueEvent] = []
        self._max_events = max_events

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[QueueEvent]:
        return iter(self.events)

    def sent(self, sender: Hashable, item: Hashable, queue: Hashable = None) -> None:
        """`sender` is about to ask the queue to take an item; again, if it tries once more."""
        self._add("sent", item, sender, queue)

    def accepted(self, item: Hashable, queue: Hashable = None) -> None:
        """The queue has confirmed that it has the item."""
        self._add("accepted", item, None, queue)

    def refused(self, item: Hashable, queue: Hashable = None) -> None:
        """The queue has said that it did not take the item, and will not."""
        self._add("refused", item, None, queue)

    def delivered(self, receiver: Hashable, item: Hashable, queue: Hashable = None) -> None:
        """`receiver` has got the item; to be recorded where it arrives, not where it is sent."""
        self._add("delivered", item, receiver, queue)

    def acked(self, receiver: Hashable, item: Hashable, queue: Hashable = None) -> None:
        """`receiver` is done with the item: the queue may forget it from now on."""
        self._add("acked", item, receiver, queue)

    def settled(self, item: Hashable, queue: Hashable = None) -> None:
        """The queue has confirmed an ack: the item must not come again."""
        self._add("settled", item, None, queue)

    def _add(self, kind: Kind, item: Hashable, who: Hashable, queue: Hashable) -> None:
        if len(self.events) >= self._max_events:
            raise HistoryError(
                f"a log of {self._max_events} events is full; check it and begin another, "
                "or raise max_events"
            )
        self.events.append(QueueEvent(len(self.events), kind, item, who, queue))


@dataclass(frozen=True, slots=True)
class QueueFault:
    """One thing that a queue did wrong, with the events that show it and no others."""

    kind: Literal["lost", "phantom", "doubled", "out of order"]
    item: Hashable
    queue: Hashable
    why: str
    events: tuple[QueueEvent, ...]

    def __str__(self) -> str:
        of = "" if self.queue is None else f" of queue {self.queue!r}"
        return "\n".join([f"{self.kind}: {self.item!r}{of}: {self.why}", *map(str, self.events)])


@dataclass(frozen=True, slots=True)
class QueueVerdict:
    """What `check_queue` has found: the faults in the order in which they show."""

    faults: tuple[QueueFault, ...]
    items: int

    def __bool__(self) -> bool:
        return not self.faults

    def require(self) -> None:
        """Return if there is no fault.

        Raises:
            QueueBroken: there is; the text explains each.
        """
        if self.faults:
            raise QueueBroken(str(self))

    def __str__(self) -> str:
        if not self.faults:
            return f"{self.items} items: none lost, phantom, doubled or out of order"
        parts = [f"{len(self.faults)} faults in {self.items} items"]
        parts += [str(fault) for fault in self.faults[:MAX_SHOWN]]
        if len(self.faults) > MAX_SHOWN:
            parts.append(f"... and {len(self.faults) - MAX_SHOWN} more")
        return "\n\n".join(parts)


@dataclass(slots=True)
class _Item:
    """What is known of one item."""

    sends: list[QueueEvent] = field(default_factory=list)
    accepted: QueueEvent | None = None
    refusals: list[QueueEvent] = field(default_factory=list)
    deliveries: list[QueueEvent] = field(default_factory=list)
    acks: list[QueueEvent] = field(default_factory=list)
    settled: QueueEvent | None = None

    def take(self, event: QueueEvent) -> None:
        if event.kind == "sent":
            if self.sends and self.sends[0].who != event.who:
                raise HistoryError(
                    f"{self.sends[0].who!r} and {event.who!r} both send {event.item!r}: "
                    "give every item a name of its own"
                )
            self.sends.append(event)
        elif event.kind == "accepted":
            self.accepted = self.accepted or event
        elif event.kind == "settled":
            self.settled = self.settled or event
        else:
            {
                "refused": self.refusals,
                "delivered": self.deliveries,
                "acked": self.acks,
            }[event.kind].append(event)


def check_queue(
    events: Iterable[QueueEvent],
    *,
    mode: QueueMode = "at-least-once",
    acks: bool = False,
    order: QueueOrder = "per_sender",
    drained: bool = True,
) -> QueueVerdict:
    """Say what a queue has done wrong.

    Args:
        events: a `QueueLog`, or its events.
        mode: what it promises; see above.
        acks: whether receivers ack. Then an item that was delivered and never acked counts as lost,
            if the mode is ``at-least-once`` and the log is `drained`; and one that comes again
            after its ack was settled counts as doubled.
        order: ``per_sender``: what one sender has sent comes for the first time in the order in
            which it was sent. ``per_session``: that, and the same for each receiver by itself,
            however often something has come to others before (as where a receiver stands for a
            connection, and each one begins with the first item that is not acked). ``none``: any.
        drained: whether the log goes on until the queue was empty; else nothing counts as lost.

    Returns:
        The verdict; `require()` it.

    Raises:
        HistoryError: two senders have sent an item of the same name.
    """
    items: dict[tuple[Hashable, Hashable], _Item] = {}
    for event in events:
        items.setdefault((event.queue, event.item), _Item()).take(event)
    faults: list[QueueFault] = []
    for (queue, name), item in items.items():
        found = _phantom(item) or _doubled(item, mode, acks=acks)
        if found is None and drained:
            found = _lost(item, mode, acks=acks)
        if found is not None:
            kind, why, shown = found
            faults.append(QueueFault(kind, name, queue, why, tuple(shown)))
    if order != "none":
        faults += _disorder(items, each_session=order == "per_session")
    faults.sort(key=lambda fault: fault.events[-1].number)
    return QueueVerdict(tuple(faults), len(items))


_Found: TypeAlias = tuple[Literal["lost", "phantom", "doubled"], str, list[QueueEvent]]


def _phantom(item: _Item) -> _Found | None:
    if not item.deliveries:
        return None
    first = item.deliveries[0]
    if not item.sends:
        return "phantom", "nobody has sent it", [first]
    if first.number < item.sends[0].number:
        return "phantom", "it came before it was sent", [first, item.sends[0]]
    if item.accepted is None and len(item.refusals) >= len(item.sends):
        last = item.refusals[-1]
        shown = sorted([item.sends[0], last, first], key=lambda event: event.number)
        return "phantom", "it was refused, and came all the same", shown
    return None


def _doubled(item: _Item, mode: QueueMode, *, acks: bool) -> _Found | None:
    if mode != "at-least-once" and len(item.deliveries) > 1:
        return "doubled", f"it came {len(item.deliveries)} times", item.deliveries[:2]
    if acks and item.settled is not None:
        again = [each for each in item.deliveries if each.number > item.settled.number]
        if again:
            before = [each for each in item.deliveries if each.number < item.settled.number]
            shown = [*before[-1:], item.settled, again[0]]
            return "doubled", "it came again after its ack was settled", shown
    return None


def _lost(item: _Item, mode: QueueMode, *, acks: bool) -> _Found | None:
    if item.accepted is None or mode == "at-most-once":
        return None
    if not item.deliveries:
        why = "it was accepted, and has never come"
        return "lost", why, [*item.sends[:1], item.accepted]
    if acks and mode == "at-least-once" and not item.acks:
        why = "whoever got it has not acked it, and it came to nobody else"
        return "lost", why, [item.accepted, item.deliveries[-1]]
    return None


def _disorder(
    items: dict[tuple[Hashable, Hashable], _Item], *, each_session: bool
) -> Iterator[QueueFault]:
    """The items that came after one that their sender had sent later."""
    lines: dict[tuple[Hashable, ...], list[tuple[QueueEvent, QueueEvent]]] = {}
    for (queue, _), item in items.items():
        if not item.sends or not item.deliveries:
            continue
        sent = item.sends[0]
        lines.setdefault((queue, sent.who), []).append((item.deliveries[0], sent))
        if each_session:
            firsts: dict[Hashable, QueueEvent] = {}
            for delivery in item.deliveries:
                firsts.setdefault(delivery.who, delivery)
            for receiver, delivery in firsts.items():
                lines.setdefault((queue, sent.who, receiver), []).append((delivery, sent))
    told: set[tuple[Hashable, Hashable]] = set()
    for line in lines.values():
        line.sort(key=lambda pair: pair[0].number)
        latest: tuple[QueueEvent, QueueEvent] | None = None
        for delivery, sent in line:
            if latest is None or sent.number > latest[1].number:
                latest = (delivery, sent)
                continue
            if (delivery.queue, delivery.item) not in told:
                told.add((delivery.queue, delivery.item))
                other, other_sent = latest
                yield QueueFault(
                    "out of order",
                    delivery.item,
                    delivery.queue,
                    f"{sent.who} had sent it before {other.item!r}, and it came after that",
                    (sent, other_sent, other, delivery),
                )
