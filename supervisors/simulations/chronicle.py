"""What really happened: all that people did and saw, in the order in which it happened.

The chronicle sees with the people's eyes: what they wrote, what their devices kept, which answer
they got, what was shown to them. It knows nothing of servers. What is wrong at once (a message
shown twice, a gap in a queue, a stamp that does not rise) it says at once; the rest `promises`
reads out of it when all is quiet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from palaver.supervisors.simulations.pages import (
    Broken,
    Composed,
    DeviceId,
    DeviceLog,
    HeardPresence,
    HeardReceipt,
    HeardTicks,
    Said,
)
from palaver.transport import wire
from palaver.transport.client import (
    Conversation,
    Event,
    Mark,
    Message,
    Presence,
    Receipt,
    SentMessage,
    StateChange,
    Typing,
)
from palaver.transport.client import Device as OwnDevice

__all__ = ["Broken", "Chronicle", "Composed", "DeviceId", "DeviceLog", "HeardPresence", "Said"]

#: Events that a server has on its way to a device without an acknowledgement.
_WINDOW = 512


class Chronicle:
    """All that people did and saw.

    Args:
        now_ms: the wall clock that no server may be ahead of, for "last seen".
        note: told of everything in words, for a trace: (who, what).
        happened: counts interesting states that were reached.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        note: Callable[[str, str], None] | None = None,
        happened: Callable[[str], None] | None = None,
    ) -> None:
        self.devices: dict[DeviceId, DeviceLog] = {}
        self.said: dict[bytes, dict[int, Said]] = {}
        """By conversation and seq, from answers and from what was shown."""
        self.events: dict[tuple[bytes, int], Event] = {}
        self.reads: list[tuple[int, str, bytes, int]] = []
        """(moment, account, conversation, seq): READ was asked for."""
        self.kept_reads: dict[tuple[bytes, str], int] = {}
        """By conversation and account, how far the server has answered that it was read."""
        self.stamps: dict[object, int] = {}
        self.clocks_apart_ms: int | None = None
        """By how much the clocks of the servers may differ; None where there is one clock.

        Then what a person saw on one device and wrote on another is out of the servers' sight, and
        the changes of a group do not say what their author has seen.
        """
        """The greatest stamp that each account knows."""
        self.groups: dict[bytes, list[int]] = {}
        """By group, the seqs of the changes of its members that are known."""
        self.typed: set[tuple[str, bytes]] = set()
        """Who has ever typed where."""
        self.hiders: set[str] = set()
        """Who has ever asked to be hidden."""
        self.moment = 0
        self.broken: Broken | None = None
        """The first promise that was seen to be broken, wherever the exception ended."""
        self._places: dict[tuple[str, int, int], tuple[bytes, int]] = {}
        self._placed_at: dict[tuple[str, int, int], int] = {}
        self._happened = happened or _nothing
        self._now_ms = now_ms
        self._note = note

    def _next(self, who: object, what: str) -> int:
        self.moment += 1
        if self._note is not None:
            self._note(str(who), what)
        return self.moment

    def fail(self, text: str) -> NoReturn:
        """A promise is broken: raise it, and remember it for when whoever called catches it."""
        error = Broken(text)
        if self.broken is None:
            self.broken = error
        raise error

    # -- devices -------------------------------------------------------------------------------

    def asking(self) -> int:
        """The moment of now, before something is asked for whose answer may get lost."""
        self.moment += 1
        return self.moment

    def registered(self, account: str, device: int, asked: int) -> DeviceLog:
        """A device learned that it is registered; it began to ask at the moment `asked`."""
        key = (account, device)
        if key in self.devices:
            self.fail(f"device {device} of {account} was given to two devices")
        log = DeviceLog(key, self._next(f"{account}/{device}", "is registered"), asked)
        self.devices[key] = log
        return log

    def opened(self, log: DeviceLog) -> None:
        """The device's program begins, with what was kept."""
        log.starts += 1
        log.next_position = None
        log.fresh.clear()
        log.marks.clear()
        for cid in [cid for cid, composed in log.composed.items() if not composed.kept]:
            del log.composed[cid]
        self._next(log, f"opens its state at position {log.durable}")

    def online(self, log: DeviceLog) -> None:
        """The device's client has signed in."""
        log.online = self._next(log, "is online")
        log.drained = 0

    def lost_state(self, log: DeviceLog, position: int = 0) -> None:
        """The device's state is gone, or set back: what waited in it will perhaps not be sent."""
        log.lost = self._next(log, f"has lost its state; it is at position {position}")
        log.durable = position

    def revoking(self, account: str, device: int) -> None:
        """Somebody asks to revoke a device."""
        log = self.devices.get((account, device))
        if log is not None and log.revoked is None:
            log.revoked = self._next(log, "is to be revoked")

    def kept(self, log: DeviceLog, change: StateChange) -> None:
        """The device's state took a step, durably."""
        for item in change.added:
            composed = log.composed.get(item.cid)
            if composed is None:
                self.fail(f"{log} keeps message {item.cid}, which nobody wrote")
            composed.kept = True
        log.settled.update(change.removed)
        if change.position is not None and change.position > log.durable:
            log.durable = change.position
            log.kept_at.append((self._next(log, f"keeps {change.position}"), change.position))

    # -- writing -------------------------------------------------------------------------------

    def composed(
        self,
        log: DeviceLog,
        cid: int,
        to: str | bytes,
        *,
        kind: str = "message",
        type: str = "",  # noqa: A002 - the wire's name
        body: bytes = b"",
        members: tuple[str, ...] = (),
    ) -> Composed:
        """A person wrote something; it is on its way to the device's outbox."""
        account = log.id[0]
        if cid in log.composed:
            self.fail(f"{log} uses message id {cid} again")
        conversation: bytes | None = None
        if kind != "group":
            conversation = wire.direct_conversation(account, to) if isinstance(to, str) else to
        written = Composed(
            self._next(log, f"writes {cid} ({kind}) to {_short(to)}"),
            to,
            kind,
            type,
            body,
            conversation,
            members,
            0 if conversation is None else log.fresh.get(conversation, 0),
            0 if conversation is None else log.heads.get(conversation, 0),
            self._known(log, kind),
            log.starts,
        )
        log.composed[cid] = written
        return written

    def accepted(self, log: DeviceLog, cid: int, sent: SentMessage) -> None:
        """The server said where a message stands: one tick."""
        self._next(log, f"hears that {cid} is {_short(sent.conv)}:{sent.seq}")
        composed = log.composed.get(cid)
        if composed is None:
            self.fail(f"{log} is answered message {cid}, which it never wrote")
        if not composed.kept:
            self.fail(f"{log} sent message {cid} before it was kept")
        if composed.conversation is not None and composed.conversation != sent.conv:
            self.fail(f"{log}: message {cid} went to {sent.conv.hex()}")
        if composed.answer not in (None, sent):
            self.fail(f"{log}: message {cid} was answered {composed.answer}, now {sent}")
        composed.answer = sent
        if self._placed_at.get((*log.id, cid), log.online) < log.online:
            self._happened("a retry got the first answer")
        composed.conversation = sent.conv
        self._place(sent.conv, sent.seq, Said(*log.id, cid, sent.stamp))
        self._knows(log, sent.stamp)

    def refused(self, log: DeviceLog, cid: int, code: str) -> None:
        """The server refused a message for good."""
        self._next(log, f"hears that {cid} is refused: {code}")
        composed = log.composed.get(cid)
        if composed is not None:
            composed.refusal = code

    def _author(self, log: DeviceLog) -> object:
        return log.id[0] if self.clocks_apart_ms is None else log.id

    def _known(self, log: DeviceLog, kind: str) -> int:
        """The latest stamp that the author of something new is known to have seen."""
        if kind != "message" and self.clocks_apart_ms is not None:
            return 0
        return self.stamps.get(self._author(log), 0)

    def _knows(self, log: DeviceLog, stamp: int) -> None:
        author = self._author(log)
        self.stamps[author] = max(stamp, self.stamps.get(author, 0))

    def _place(self, conversation: bytes, seq: int, said: Said) -> None:
        places = self.said.setdefault(conversation, {})
        before = places.get(seq)
        if before is not None and before != said:
            self.fail(f"{_short(conversation)}:{seq} is {before}, and is {said}")
        if before is None:
            key = said[:3]
            other = self._places.get(key)
            if other is not None:
                self.fail(
                    f"message {said.cid} of {said.account}/{said.device} has two places: "
                    f"{_short(other[0])}:{other[1]} and {_short(conversation)}:{seq}"
                )
            self._places[key] = (conversation, seq)
            self._placed_at[key] = self.moment
            places[seq] = said
            self._in_causal_order(said)

    def _in_causal_order(self, said: Said) -> None:
        log = self.devices.get((said.account, said.device))
        composed = None if log is None else log.composed.get(said.cid)
        if composed is None:
            self.fail(f"nobody wrote {said}")
        if not composed.kept:
            self.fail(f"{said} was sent before it was kept")
        if said.stamp <= composed.after:
            self.fail(f"{said} does not come after stamp {composed.after}, which its author saw")

    # -- reading -------------------------------------------------------------------------------

    def shown(self, log: DeviceLog, event: Event) -> None:
        """An event of the device's queue was shown to its person."""
        moment = self._next(log, f"is shown {event.position}: {_short(event.conv)}:{event.seq}")
        self._in_order(log, event)
        before = log.events.get(event.position)
        if before is not None:
            self._happened("a message was shown again after a crash")
            if before != event:
                self.fail(f"{log}: position {event.position} was {before}, is {event}")
        else:
            if event.seq <= log.heads.get(event.conv, 0):
                self.fail(f"{log}: {_short(event.conv)}:{event.seq} comes after a later one")
            log.heads[event.conv] = event.seq
            log.events[event.position] = event
            log.shown_at[event.position] = moment
        self._same_for_all(event)
        said = Said(event.sender, event.device, event.cid, event.stamp)
        self._place(event.conv, event.seq, said)
        if self._placed_at[said[:3]] < log.online:
            self._happened("a queue was drained after an absence")
            log.drained += 1
            if log.drained == _WINDOW + 1:
                self._happened("more waited than the server pushes at a time")
        if said[:2] == log.id:
            self.fail(f"{log} is shown its own message {event.cid}")
        if isinstance(event, Message):
            self._as_written(event)
        elif event.seq not in (known := self.groups.setdefault(event.conv, [])):
            known.append(event.seq)
        log.fresh[event.conv] = max(event.seq, log.fresh.get(event.conv, 0))
        self._knows(log, event.stamp)

    def _in_order(self, log: DeviceLog, event: Event) -> None:
        expected = log.next_position
        log.next_position = event.position + 1
        if expected is None:
            # A program that lost its state begins where the server has anything left.
            expected = event.position if log.lost is not None else log.durable + 1
            if event.position > max(log.events, default=0) + 1:
                expected = max(log.events, default=0) + 1
        if event.position != expected:
            self.fail(f"{log} is shown position {event.position}, not {expected}")

    def _same_for_all(self, event: Event) -> None:
        key = (event.conv, event.seq)
        here = event._replace(position=0)
        there = self.events.setdefault(key, here)
        if there != here:
            self.fail(f"{_short(event.conv)}:{event.seq} is {there} here and {here} there")

    def _as_written(self, event: Message) -> None:
        written = self.devices[event.sender, event.device].composed[event.cid]
        if (event.type, event.body) != (written.type, written.body):
            self.fail(f"{written} arrived as {event}")
        if event.to != (written.to if isinstance(written.to, str) else None):
            self.fail(f"{written} arrived as one to {event.to}")
        if not min(written.seen_least, event.seq - 1) <= event.seen < event.seq:
            self.fail(f"{event} says too little of what its author saw: {written}")

    # -- hints ---------------------------------------------------------------------------------

    def receipt(self, log: DeviceLog, receipt: Receipt) -> None:
        """The device was told how far an account is."""
        moment = self._next(
            log, f"hears that {receipt.account} has {_short(receipt.conv)} up to "
            f"{receipt.delivered}/{receipt.read}"
        )  # fmt: skip
        key = (receipt.conv, receipt.account)
        before = log.marks.get(key, (0, 0))
        now = (receipt.delivered, receipt.read)
        if now[0] < before[0] or now[1] < before[1]:
            self.fail(f"{log}: the marks {before} of {key} went back to {now}")
        if receipt.read > receipt.delivered:
            self.fail(f"{log}: {receipt} says that more was read than delivered")
        if now == before and receipt.account != log.id[0]:
            self.fail(f"{log} is told {receipt} twice")
        log.marks[key] = now
        log.receipts.append(HeardReceipt(moment, receipt))

    def reading(self, log: DeviceLog, conversation: bytes, seq: int) -> None:
        """A person says that they have read so far."""
        moment = self._next(log, f"has read {_short(conversation)} up to {seq}")
        self.reads.append((moment, log.id[0], conversation, seq))

    def has_read(self, log: DeviceLog, conversation: bytes, seq: int) -> None:
        """The server keeps that somebody has read so far."""
        key = (conversation, log.id[0])
        self.kept_reads[key] = max(seq, self.kept_reads.get(key, 0))

    def reached(self, log: DeviceLog, cid: int, *, read: bool) -> None:
        """The device was told that an own message was delivered to, or read by, everyone."""
        moment = self._next(log, f"hears that {cid} was {'read' if read else 'delivered'}")
        log.reached.append(HeardTicks(moment, cid, read))

    def presence(self, log: DeviceLog, presence: Presence) -> None:
        """The device was told of an account's presence."""
        moment = self._next(
            log,
            f"hears that {presence.account} is {'online' if presence.online else 'away'}, "
            f"last seen {presence.last_seen_ms}",
        )
        heard = HeardPresence(moment, *presence)
        if presence.last_seen_ms is not None and presence.last_seen_ms > self._now_ms():
            self.fail(f"{log}: {heard} was seen in the future; it is {self._now_ms()}")
        apart_ms = self.clocks_apart_ms or 0
        if (presence.last_seen_ms or 0) + apart_ms < log.last_seen.get(presence.account, 0):
            if presence.last_seen_ms is not None:
                self.fail(f"{log}: {heard} goes back from {log.last_seen[presence.account]}")
        else:
            log.last_seen[presence.account] = presence.last_seen_ms or 0
        log.presences.append(heard)

    def typing(self, log: DeviceLog, to: str | bytes) -> None:
        """A person types something."""
        account = log.id[0]
        where = wire.direct_conversation(account, to) if isinstance(to, str) else to
        self.typed.add((account, where))

    def sees_typing(self, log: DeviceLog, typing: Typing) -> None:
        """The device is told that somebody types."""
        self._next(log, f"sees {typing.account} type")
        if (typing.account, typing.conv) not in self.typed:
            self.fail(f"{log} is told {typing}, and they do not")

    # -- what was asked ------------------------------------------------------------------------

    def marks(self, log: DeviceLog, conv: bytes, marks: Sequence[Mark]) -> None:
        """The device asked how far everyone is."""
        moment = self._next(log, f"asks for the marks of {_short(conv)}")
        for mark in marks:
            if mark.read > mark.delivered:
                self.fail(f"{log}: {mark} says that more was read than delivered")
            log.receipts.append(HeardReceipt(moment, Receipt(conv, *mark)))

    def conversations(self, log: DeviceLog, asked: int, found: Sequence[Conversation]) -> None:
        """The device asked for its conversations at the moment `asked`."""
        self._next(log, f"looks through {len(found)} conversations")
        for one in found:
            if log.id[0] not in one.members:
                self.fail(f"{log} is told of {one}, to which its account does not belong")
            shown = max(
                (event.seq for position, event in log.events.items()
                 if event.conv == one.conv and log.shown_at[position] <= asked), default=0,
            )  # fmt: skip
            if one.last_seq < shown:
                self.fail(f"{log} is told that {one} ends before {shown}, which it was shown")

    def own_devices(self, log: DeviceLog, found: Sequence[OwnDevice]) -> None:
        """The device asked for its account's devices."""
        self._next(log, f"looks at {len(found)} devices")
        if [one.device for one in found if one.current] != [log.id[1]]:
            self.fail(f"{log} is told that it is another of {found}")


def _nothing(_: str) -> None:
    """Count nothing."""


def _short(value: str | bytes) -> str:
    return value.hex()[:6] if isinstance(value, bytes) else value
