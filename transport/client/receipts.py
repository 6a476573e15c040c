"""Receipts: who has received and read what, and which own messages everyone has.

A watermark never goes down. An own message is *delivered* when every other member's devices have
it, *read* when every other member has read it. Who the members are is known for a direct
conversation; for a group it comes from MARKS and from changes of the members.

Answers and receipts overtake the events of the queue. So of a group it is kept up to which seq the
members are known, and an own message behind that waits: somebody may have come in between.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from palaver.transport.client.model import Mark, MembersChanged, Receipt

__all__ = ["Followed", "Progress", "Receipts"]


class Progress(NamedTuple):
    """What a step changed: a receipt to show, and own messages (by id) that got further."""

    receipts: list[Receipt]
    delivered: list[int]
    read: list[int]
    settled: bool
    """Nothing of the conversation is waited for any more."""


class _Own(NamedTuple):
    """Something own in a group, and whom it added and removed."""

    seq: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Followed:
    """One conversation's watermarks and the own messages in it that are not read by all.

    The watermarks also of those who have left are kept: their last receipts may come after that.
    """

    __slots__ = (
        "ahead", "asked", "delivered_upto", "known", "marks", "members", "members_at", "own",
        "placed", "since",
    )  # fmt: skip

    def __init__(self) -> None:
        self.marks: dict[str, tuple[int, int]] = {}
        self.members: set[str] | None = None  # the others; None while they are not known
        # From which seq on members that came later belong to it: nothing before concerns them. Kept
        # beside the marks, which are what the server said: told as a mark, it would go back when
        # it is forgotten.
        self.since: dict[str, int] = {}
        self.own: list[tuple[int, int]] = []  # (seq, cid) in order; cid 0: of an earlier run
        self.delivered_upto = 0
        # Up to which seq the members are known; None of a direct conversation, where all are.
        self.known: int | None = 0
        self.members_at = 0  # the change that they were taken from, at least
        self.placed = 0  # the last own seq
        self.asked = 0  # what that was when the members were asked for
        # Own seqs beyond what is known, each with whom it added and removed.
        self.ahead: list[_Own] = []

    def learned(self, seq: int) -> None:
        """Everything up to a seq is known, and own ones that follow without a gap."""
        if self.known is None:
            return
        self.known = max(self.known, seq)
        while self.ahead and self.ahead[0].seq <= self.known + 1:
            own = self.ahead.pop(0)
            self.known = max(self.known, own.seq)
            self.change(own)

    def change(self, own: _Own) -> None:
        """An own change of the members takes effect."""
        if self.members is None or own.seq <= self.members_at:
            return
        for account in own.added:
            if account not in self.members:  # else it was no news to the group
                self.since[account] = own.seq
        self.members = self.members.union(own.added).difference(own.removed)

    def lowest(self) -> tuple[int, int]:
        """The watermarks that every other member has reached; (0, 0) where that is unknown."""
        if not self.members:
            return 0, 0
        reached = [(*self.marks.get(who, (0, 0)), self.since.get(who, 0)) for who in self.members]
        delivered = min(max(delivered, since) for delivered, _, since in reached)
        read = min(max(read, since) for _, read, since in reached)
        if self.known is None:
            return delivered, read
        return min(delivered, self.known), min(read, self.known)


class Receipts:
    """The watermarks of recent conversations.

    At most ``max_messages`` own messages are followed; beyond that the oldest is given up.
    Watermarks of at most ``max_conversations`` conversations without own open messages are kept,
    to tell a new receipt from one already shown.
    """

    __slots__ = ("_account", "_convs", "_count", "max_conversations", "max_messages")

    def __init__(
        self,
        account: str,
        awaited: dict[bytes, int],
        *,
        max_messages: int,
        max_conversations: int,
    ) -> None:
        self._account = account
        self.max_messages = max_messages
        self.max_conversations = max_conversations
        self._convs: OrderedDict[bytes, Followed] = OrderedDict()
        self._count = 0
        for conv, seq in awaited.items():
            self._convs[conv] = followed = Followed()
            followed.own.append((seq, 0))
            followed.placed = seq
            self._count += 1

    def open_conversations(self) -> list[bytes]:
        """The conversations with own messages that not everyone has read."""
        return [conv for conv, followed in self._convs.items() if followed.own]

    def awaited(self, conv: bytes) -> int | None:
        """The last own seq that not everyone has read; None where there is none."""
        followed = self._convs.get(conv)
        return followed.own[-1][0] if followed is not None and followed.own else None

    def members_known(self, conv: bytes) -> bool:
        """Whether the conversation's members are known, so that its receipts add up.

        That is not so where they came from an answer, such as to a question of the application,
        and nothing says up to which seq: no event may come that would.
        """
        followed = self._convs.get(conv)
        return followed is not None and followed.members is not None and followed.known != 0

    def asks(self, conv: bytes) -> None:
        """The members are asked for: the answer knows of everything own that was answered."""
        followed = self._convs.get(conv)
        if followed is not None:
            followed.asked = followed.placed

    def arrived(self, conv: bytes, seq: int) -> Progress | None:
        """An event of the queue: with it everything before is known; None if that is no news."""
        followed = self._convs.get(conv)
        if followed is None or followed.known is None or seq <= followed.known:
            return None
        followed.learned(seq)
        return self._progress(followed) if followed.own else None

    def changes(
        self, conv: bytes, seq: int, added: Sequence[str], removed: Sequence[str]
    ) -> Progress | None:
        """An own change of the members was given its place: no event of the queue tells of it."""
        followed = self._convs.get(conv)
        if followed is None:
            return None
        self._place(followed, _Own(seq, tuple(added), tuple(removed)))
        return self._progress(followed)

    def wrote(self, conv: bytes, seq: int, cid: int, peer: str | None) -> tuple[Progress, int]:
        """An own message was given its place; ``peer`` is the other one of a direct conversation.

        Returns what is known of it already (a receipt can overtake the answer), and the id of a
        message that is no longer followed, or 0.
        """
        followed = self._get(conv)
        if peer is not None:
            followed.members = {peer}
            followed.known = None
        self._place(followed, _Own(seq))
        insort(followed.own, (seq, cid))
        self._count += 1
        lost = self._drop_oldest() if self._count > self.max_messages else 0
        # The new message may be below the mark already: look at everything again.
        delivered, _ = followed.lowest()
        early = [cid] if seq <= min(delivered, followed.delivered_upto) else []
        progress = self._progress(followed)
        return progress._replace(delivered=early + progress.delivered), lost

    def receipt(self, receipt: Receipt) -> Progress:
        """A receipt arrived."""
        followed = self._get(receipt.conv)
        receipts = self._raise(followed, [receipt])
        return self._progress(followed)._replace(receipts=receipts)

    def marks(self, conv: bytes, marks: Iterable[Mark]) -> Progress:
        """The server told all members' watermarks; who is not among them is no member."""
        followed = self._get(conv)
        marks = list(marks)
        receipts = self._raise(followed, [Receipt(conv, *mark) for mark in marks])
        followed.members = {mark.account for mark in marks} - {self._account}
        if followed.known is not None:
            # What is own and older is in the answer; what may not be takes effect after it.
            followed.ahead = [own for own in followed.ahead if own.seq > followed.asked]
            followed.members_at = max(followed.members_at, followed.asked)
            followed.learned(followed.asked)
        return self._progress(followed)._replace(receipts=receipts)

    def changed(self, event: MembersChanged) -> Progress:
        """The members of a group changed: nothing before that concerns who is new."""
        followed = self._convs.get(event.conv)
        if followed is None:
            return Progress([], [], [], False)
        for account in event.added:
            followed.since[account] = max(event.seq, followed.since.get(account, 0))
        if event.seq > followed.members_at:
            if followed.members is not None:
                followed.members = set(event.members) - {self._account}
            followed.members_at = event.seq
        followed.learned(event.seq)
        return self._progress(followed)

    def forget(self, conv: bytes) -> list[int]:
        """Follow a conversation no longer; returns the ids of the messages given up.

        What was told of it is remembered: a late receipt is not told again.
        """
        followed = self._convs.get(conv)
        if followed is None:
            return []
        own, followed.own = followed.own, []
        followed.members = None
        self._count -= len(own)
        return [cid for _, cid in own]

    @staticmethod
    def _place(followed: Followed, own: _Own) -> None:
        followed.placed = max(followed.placed, own.seq)
        if followed.known is not None:
            insort(followed.ahead, own)
            followed.learned(followed.known)

    def _get(self, conv: bytes) -> Followed:
        followed = self._convs.get(conv)
        if followed is None:
            self._convs[conv] = followed = Followed()
            self._evict()
        else:
            self._convs.move_to_end(conv)
        return followed

    def _evict(self) -> None:
        # Only closed conversations go, and the oldest of them first; open ones are bounded by
        # max_messages, so looking past them is too.
        excess = len(self._convs) - self.max_conversations
        if excess > 0:
            closed = [conv for conv, followed in self._convs.items() if not followed.own]
            # The newest is the one just asked for.
            for conv in closed[: max(0, min(excess + len(closed) // 4, len(closed) - 1))]:
                del self._convs[conv]

    def _drop_oldest(self) -> int:
        followed = next(each for each in self._convs.values() if each.own)
        self._count -= 1
        return followed.own.pop(0)[1]

    def _raise(self, followed: Followed, receipts: Iterable[Receipt]) -> list[Receipt]:
        news = []
        for receipt in receipts:
            before = followed.marks.get(receipt.account, (0, 0))
            after = (max(before[0], receipt.delivered, receipt.read), max(before[1], receipt.read))
            if receipt.account == self._account:
                # Own marks say what an other device of this account has read: shown, never counted.
                news.append(Receipt(receipt.conv, receipt.account, after[0], after[1]))
                continue
            followed.marks[receipt.account] = after
            if after != before:
                news.append(Receipt(receipt.conv, receipt.account, *after))
        return news

    def _progress(self, followed: Followed) -> Progress:
        delivered_mark, read_mark = followed.lowest()
        delivered = [
            cid for seq, cid in followed.own if followed.delivered_upto < seq <= delivered_mark
        ]
        followed.delivered_upto = max(followed.delivered_upto, delivered_mark)
        done = 0
        while done < len(followed.own) and followed.own[done][0] <= read_mark:
            done += 1
        read = [cid for _, cid in followed.own[:done]]
        del followed.own[:done]
        self._count -= done
        return Progress([], delivered, read, settled=done > 0 and not followed.own)
