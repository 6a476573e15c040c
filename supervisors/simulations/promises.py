"""The promises of the messaging system, read out of a chronicle when all is quiet.

What can be seen at once (a message shown twice, a stamp that does not rise) the chronicle says
itself; here is what can only be said of the whole: that nothing is missing, and that nobody was
told more than was true.

1. **Always enqueued**: what was kept in an outbox is accepted, and lies on every device it is for.
2. **Durable**: what was answered is there, whatever crashed since.
3. **Exactly once**: a message has one place, is shown once, and its retry is given the same answer.
4. **One order**: seqs are gap-free from 1, and the same everywhere.
5. **Causality**: stamps rise in every conversation and along what people saw; `seen` is true.
6. **Queues per device**, bodies unchanged.
7. **Identity**: a message is from whom wrote it.
8. **Presence and receipts** rise, are not doubled, and are never ahead of the truth.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from palaver.supervisors.simulations.chronicle import Chronicle, DeviceLog, Said
from palaver.transport.client import MembersChanged

__all__ = ["Membership", "marks", "membership", "missing", "unheard", "verify"]

#: Why a message of each kind may be refused for good, where people and groups come and go.
_LEGAL = {
    "message": frozenset({"not_a_member", "no_such_conversation", "unreachable"}),
    "group": frozenset({"unreachable"}),
    "members": frozenset({"not_a_member", "not_allowed", "no_such_conversation", "unreachable"}),
}

_Step: TypeAlias = tuple[tuple[bytes, str], int, int]
"""A conversation and an account, a moment, and how far it was from then on."""


class Membership(NamedTuple):
    """Who belongs to a conversation at which of its seqs."""

    direct: frozenset[str]
    changes: tuple[MembersChanged, ...]

    def has(self, account: str, seq: int) -> bool:
        """Whether the account gets what stands at this seq."""
        if self.direct:
            return account in self.direct
        inside = False
        for change in self.changes:
            if change.seq > seq:
                break
            if change.seq == seq and account in change.removed:
                return True  # one who is removed is told so
            inside = account in change.members
        return inside

    def lasting(self, seq: int) -> frozenset[str]:
        """Who belongs to it from this seq on, as far as is known."""
        if self.direct:
            return self.direct
        before = [change for change in self.changes if change.seq <= seq]
        after = [change for change in self.changes if change.seq > seq]
        lasting = set(before[-1].members) if before else set()
        return frozenset(lasting.intersection(*(change.members for change in after)))


def membership(chronicle: Chronicle, conversation: bytes) -> Membership:
    """Who belongs to a conversation, by what was shown of it."""
    places = chronicle.said.get(conversation, {})
    if conversation in chronicle.groups:
        seqs = sorted(chronicle.groups[conversation])
        changes = [chronicle.events[conversation, seq] for seq in seqs]
        return Membership(frozenset(), tuple(c for c in changes if isinstance(c, MembersChanged)))
    for said in places.values():
        written = chronicle.devices[said.account, said.device].composed[said.cid]
        if isinstance(written.to, str) and written.kind == "message":
            return Membership(frozenset((said.account, written.to)), ())
    return Membership(frozenset(), ())


def missing(chronicle: Chronicle) -> Iterator[str]:
    """What has not come to where it belongs yet; nothing, some time after the last fault."""
    for log in chronicle.devices.values():
        if log.revoked is None:
            for cid, written in log.composed.items():
                over = written.answer is not None or written.refusal
                if written.kept and not over and not _settled_unheard(chronicle, log, cid):
                    yield f"{log} has no answer to message {cid}"
    shown = {log.id: _shown(log) for log in chronicle.devices.values()}
    for conversation in chronicle.said:
        members = membership(chronicle, conversation)
        for log in chronicle.devices.values():
            if log.revoked is None:
                seqs = shown[log.id].get(conversation, set())
                yield from _missing_on(chronicle, conversation, members, log, seqs)


def _settled_unheard(chronicle: Chronicle, log: DeviceLog, cid: int) -> bool:
    """Whether a message left its outbox without its person hearing how: a crash came between."""
    return (log.lost is not None and log.composed[cid].moment < log.lost) or cid in log.settled


def _shown(log: DeviceLog) -> dict[bytes, set[int]]:
    """By conversation, the seqs that a device was shown."""
    shown: dict[bytes, set[int]] = {}
    for event in log.events.values():
        shown.setdefault(event.conv, set()).add(event.seq)
    return shown


def _missing_on(
    chronicle: Chronicle,
    conversation: bytes,
    members: Membership,
    log: DeviceLog,
    shown: set[int],
) -> Iterator[str]:
    account = log.id[0]
    for seq, said in chronicle.said[conversation].items():
        if seq not in shown and said[:2] != log.id and members.has(account, seq):
            written = chronicle.devices[said.account, said.device].composed[said.cid]
            if written.moment > log.registered:
                yield f"{log} misses {conversation.hex()[:6]}:{seq} of {said.account}"


def marks(chronicle: Chronicle) -> dict[tuple[bytes, str], tuple[int, int]]:
    """By conversation and account, how far it has surely received and read it."""
    delivered: dict[tuple[bytes, str], int] = {}
    for log in chronicle.devices.values():
        if log.revoked is None and log.lost is None:
            for position, event in log.events.items():
                if position <= log.durable and event.sender != log.id[0]:
                    key = (event.conv, log.id[0])
                    delivered[key] = max(event.seq, delivered.get(key, 0))
    reads = chronicle.kept_reads
    return {key: (delivered.get(key, 0), reads.get(key, 0)) for key in {**delivered, **reads}}


def unheard(chronicle: Chronicle) -> Iterator[str]:
    """Messages of which the program that wrote them has not heard that everyone has them."""
    surely = marks(chronicle)
    for log in chronicle.devices.values():
        author = log.id[0]
        heard = {cid for _, cid, _ in log.reached}
        for cid, written in log.composed.items():
            answer = written.answer
            if answer is None or cid in heard or log.revoked is not None:
                continue
            if (written.kind, written.start) != ("message", log.starts):
                continue
            members = membership(chronicle, answer.conv).lasting(answer.seq)
            marked = [surely.get((answer.conv, each), (0, 0))[0] for each in members - {author}]
            if author in members and marked and min(marked) >= answer.seq:
                yield f"{log} has not heard that {answer.conv.hex()[:6]}:{answer.seq} arrived"


def verify(chronicle: Chronicle) -> None:
    """Check everything that must hold when nothing is missing any more.

    Raises:
        Broken: a promise was not kept.
    """
    if chronicle.broken is not None:
        raise chronicle.broken
    for text in missing(chronicle):
        chronicle.fail(text)
    for log in chronicle.devices.values():
        _refusals(chronicle, log)
    shown = {log.id: _shown(log) for log in chronicle.devices.values()}
    for conversation, places in chronicle.said.items():
        _one_order(chronicle, conversation, places)
        _authors_order(chronicle, conversation, places)
        _seen(chronicle, conversation)
        members = membership(chronicle, conversation)
        _authors_belong(chronicle, conversation, places, members)
        for log in chronicle.devices.values():
            _queue(chronicle, conversation, members, log, shown[log.id].get(conversation, set()))
    truth = _Truth(chronicle)
    for log in chronicle.devices.values():
        _receipts_are_true(chronicle, log, truth)
        _ticks_are_true(chronicle, log, truth)


def _refusals(chronicle: Chronicle, log: DeviceLog) -> None:
    for cid, written in log.composed.items():
        if not written.refusal or written.refusal in _LEGAL[written.kind]:
            continue
        if log.lost is not None and written.refusal in ("stale_id", "id_conflict"):
            continue
        chronicle.fail(f"{log}: message {cid} was refused: {written.refusal}")


def _one_order(chronicle: Chronicle, conversation: bytes, places: dict[int, Said]) -> None:
    last_stamp = 0
    for seq in sorted(places):
        stamp = places[seq].stamp
        if stamp <= last_stamp:
            chronicle.fail(f"{conversation.hex()[:6]}:{seq} has stamp {stamp} after {last_stamp}")
        last_stamp = stamp
    gaps = sorted(set(range(1, max(places) + 1)) - set(places))
    if gaps and not _fate_unknown(chronicle):
        chronicle.fail(
            f"nobody has {gaps} of {conversation.hex()[:6]}, which goes to {max(places)}"
        )


def _fate_unknown(chronicle: Chronicle) -> bool:
    """Whether somebody wrote something that nobody can say the place of any more."""
    return any(
        written.kept and written.answer is None and not written.refusal
        for log in chronicle.devices.values()
        for written in log.composed.values()
    )


def _authors_order(chronicle: Chronicle, conversation: bytes, places: dict[int, Said]) -> None:
    """What a device says in a conversation keeps its order."""
    last: dict[tuple[str, int], int] = {}
    for seq in sorted(places):
        said = places[seq]
        if said.cid < last.get(said[:2], 0):
            chronicle.fail(
                f"{conversation.hex()[:6]}: {said.account}/{said.device} said {said.cid} before "
                f"{last[said[:2]]}, and they stand the other way round"
            )
        last[said[:2]] = said.cid


def _seen(chronicle: Chronicle, conversation: bytes) -> None:
    """No message says that its author had seen more than they had."""
    places = chronicle.said[conversation]
    for seq, said in places.items():
        event = chronicle.events.get((conversation, seq))
        if event is None or isinstance(event, MembersChanged) or not event.seen:
            continue
        written = chronicle.devices[said.account, said.device].composed[said.cid]
        if event.seen > written.shown_most and places[event.seen][:2] != said[:2]:
            chronicle.fail(
                f"{event} says that its author saw {event.seen}; it was shown "
                f"{written.shown_most} at most"
            )


def _queue(
    chronicle: Chronicle,
    conversation: bytes,
    members: Membership,
    log: DeviceLog,
    known: set[int],
) -> None:
    """A device gets what is for its account, without a gap, and nothing else."""
    account = log.id[0]
    shown = sorted(known)
    if not shown:
        return
    for seq in shown:
        if not members.has(account, seq):
            chronicle.fail(f"{log} was shown {conversation.hex()[:6]}:{seq}, which is not for it")
    places = chronicle.said[conversation]
    for seq in range(shown[0], shown[-1]):
        # Of what nobody knows (its author has lost the answer) nobody knows whose it is.
        others = seq in places and places[seq][:2] != log.id
        if others and seq not in known and members.has(account, seq):
            chronicle.fail(f"{log} was not shown {conversation.hex()[:6]}:{seq} between others")


def _receipts_are_true(chronicle: Chronicle, log: DeviceLog, truth: _Truth) -> None:
    for moment, receipt in log.receipts:
        delivered, read = truth.at(receipt.conv, receipt.account, moment)
        if receipt.read > read:
            chronicle.fail(f"{log} heard {receipt}; it had read {read}")
        if receipt.delivered > max(delivered, read):
            chronicle.fail(f"{log} heard {receipt}; it had received {delivered}")


def _authors_belong(
    chronicle: Chronicle, conversation: bytes, places: dict[int, Said], members: Membership
) -> None:
    """Who writes to a group, or changes it, may do so."""
    admins: tuple[str, ...] = ()
    for change in members.changes:
        others = change.added or change.removed != (change.sender,)
        if change.seq == 1:
            admins = (change.sender,)
        elif others and set(range(1, change.seq)) <= set(places) and change.sender not in admins:
            chronicle.fail(f"{change.sender} changed the members; {admins} may")
        admins = tuple(a for a in admins if a in change.members) or change.members[:1]
    for seq, said in places.items():
        if members.changes and members.changes[0].seq < seq and not members.has(said.account, seq):
            chronicle.fail(f"{said.account} wrote {seq}, and is no member of {conversation.hex()}")


def _ticks_are_true(chronicle: Chronicle, log: DeviceLog, truth: _Truth) -> None:
    for moment, cid, read in log.reached:
        answer = log.composed[cid].answer
        if answer is None:
            chronicle.fail(f"{log} heard that {cid} arrived, and not where it stands")
            continue
        for account in membership(chronicle, answer.conv).lasting(answer.seq) - {log.id[0]}:
            has = truth.at(answer.conv, account, moment)
            if max(*has[read:], _came(chronicle, answer.conv, account)) < answer.seq:
                word = "read" if read else "received"
                chronicle.fail(f"{log} heard that all have {word} {cid}; {account} had {has}")


class _Truth:
    """How far accounts had received and read conversations, at any moment."""

    def __init__(self, chronicle: Chronicle) -> None:
        read: list[_Step] = [((where, who), at, seq) for at, who, where, seq in chronicle.reads]
        self._read = _rising(read)
        self._delivered = _rising([*_kept(chronicle), *_written(chronicle)])

    def at(self, conv: bytes, account: str, moment: int) -> tuple[int, int]:
        """How far an account had received and read a conversation at a moment, at most."""
        key = (conv, account)
        return _until(self._delivered.get(key), moment), _until(self._read.get(key), moment)


def _kept(chronicle: Chronicle) -> Iterator[_Step]:
    for (account, _), log in chronicle.devices.items():
        events = iter(sorted(log.events.items()))
        waiting = next(events, None)
        for at, upto in sorted(log.kept_at):
            while waiting is not None and waiting[0] <= upto:
                yield (waiting[1].conv, account), at, waiting[1].seq
                waiting = next(events, None)


def _written(chronicle: Chronicle) -> Iterator[_Step]:
    for conv, places in chronicle.said.items():
        for seq, said in places.items():
            yield (conv, said.account), _written_at(chronicle, said), seq


def _rising(steps: Iterable[_Step]) -> dict[tuple[bytes, str], tuple[list[int], list[int]]]:
    """By conversation and account: moments, and the greatest seq up to each."""
    rising: dict[tuple[bytes, str], tuple[list[int], list[int]]] = {}
    for key, at, seq in sorted(steps, key=itemgetter(1)):
        moments, seqs = rising.setdefault(key, ([], []))
        moments.append(at)
        seqs.append(max(seq, seqs[-1] if seqs else 0))
    return rising


def _until(steps: tuple[list[int], list[int]] | None, moment: int) -> int:
    if steps is None:
        return 0
    moments, seqs = steps
    count = bisect_right(moments, moment)
    return seqs[count - 1] if count else 0


def _came(chronicle: Chronicle, conv: bytes, account: str) -> int:
    """Where an account last came into a group: what stands before that does not wait for it."""
    changes = (chronicle.events[conv, seq] for seq in chronicle.groups.get(conv, ()))
    return max(
        (event.seq for event in changes
         if isinstance(event, MembersChanged) and account in event.added), default=0,
    )  # fmt: skip


def _written_at(chronicle: Chronicle, said: Said) -> int:
    return chronicle.devices[said.account, said.device].composed[said.cid].moment
