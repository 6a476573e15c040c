"""Sending, groups and watermarks: what happens at the partition of a conversation.

An accepted message gets the next seq of its conversation (gap-free, from 1) and a stamp greater
than every earlier one there. Its answer is kept under (account, device, client id), so that a
retry gets the same answer whenever it comes. Clients tell the lowest id that they still wait
for; answers below it are forgotten, and ids below the remembered floor are refused. That bounds
what is kept by what is open, with no time window (RIFL, Lee et al., SOSP 2015).
"""

from __future__ import annotations

from typing import Any

from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.state.events import members_event, message_event
from palaver.actors.chat.state.step import Step
from palaver.actors.chat.state.tables import PAIR, U64, Conversation, device_key
from palaver.storage import Rejected

__all__ = [
    "block_in_conversation",
    "change_members",
    "create_group",
    "delivered",
    "read",
    "remove_member",
    "send",
]

#: How far a device's floor may lag behind what its client said: one write per so many messages.
_FLOOR_STRIDE = 32

#: Behind every client id.
_ID_END = (1 << 64) - 1

#: The reserved stamp is written ahead by two seconds, so that it is not written per message.
_RESERVE = 2_000 << 16

_UNREACHABLE = cmd.Refusal("unreachable", "this account cannot receive messages from you")
_NOT_A_MEMBER = cmd.Refusal("not_a_member", "you are not a member of this conversation")
_NO_CONVERSATION = cmd.Refusal("no_such_conversation", "there is no such conversation")
_STALE = cmd.Refusal("stale_id", "this client id is below the floor that the client itself gave")
_OUT_OF_ORDER = cmd.Refusal("unavailable", "an earlier message was not accepted; send both again")
_REFUSED_BEFORE = cmd.Refusal("not_allowed", "this was refused before you wrote what stands there")
_CONFLICT = cmd.Refusal("id_conflict", "this client id was used in another conversation")

DIRECT = 0
GROUP = 1
MAX_MEMBERS = 256


def send(step: Step, command: cmd.Command) -> Any:
    """Accept messages into a conversation; the value is one Sent or Refusal per message."""
    _, conversation, pair, reachable, sender, device, stamp, low, previous, messages = command
    if type(messages[0]) is not cmd.Fresh:  # as it comes from a log of bytes
        messages = [cmd.Fresh(*message) for message in messages]
    record = step.conversation(conversation)
    ledger = _Answers(step, sender, device)
    refusal = _may_send(record, pair, reachable, sender)
    if refusal is not None:
        # What was accepted while its sender still might stays accepted, whenever it comes again.
        kept = [ledger.find(message.client_id, conversation) for message in messages]
        return [answer if type(answer) is cmd.Sent else refusal for answer in kept]
    if previous and not ledger.knows(previous):
        return [_OUT_OF_ORDER] * len(messages)
    if record is None:
        record = Conversation(DIRECT, "", tuple(pair), (), ())
        step.put_conversation(conversation, record)

    seq, last_stamp = step.head(conversation)
    first_ever = seq == 0
    answers: list[cmd.Sent | cmd.Refusal] = []
    fresh: list[tuple[bytes, int, str, bytes, tuple[bytes, int, str] | None]] = []
    overtaken = ledger.last_after(messages[0].client_id, conversation)
    to = None
    if record.kind == DIRECT:
        to = record.members[1] if record.members[0] == sender else record.members[0]
    for message in messages:
        known = ledger.find(message.client_id, conversation)
        if known is not None:
            answers.append(known)
            continue
        if message.client_id < overtaken:
            # It comes in order, so it was refused before, and that answer was lost. Accepted now,
            # it would stand behind what its author wrote later.
            answers.append(_UNREACHABLE if record.kind == DIRECT else _NOT_A_MEMBER)
            continue
        seq += 1
        last_stamp = max(stamp, last_stamp + 1)
        stamp = last_stamp + 1
        seen = min(message.seen, seq - 1)
        event = message_event(conversation, seq, last_stamp, seen, sender, device, message, to=to)
        ledger.keep(message.client_id, conversation, seq, last_stamp)
        answers.append(cmd.Sent(conversation, seq, last_stamp))
        fresh.append((conversation, seq, sender, event, message.file))
    if fresh:
        if first_ever:
            step.effects.append(cmd.ConversationChanged(conversation))
            for member in record.members:
                step.submit(member.encode(), (cmd.JOIN, member, conversation))
        step.put_head(conversation, seq, last_stamp)
        _reserve(step, last_stamp)
        _fan_out(step, record.members, sender, device, fresh)
    ledger.forget_below(low)
    return answers


def _may_send(
    record: Conversation | None,
    pair: list[str] | None,
    reachable: bool,
    sender: str,
) -> cmd.Refusal | None:
    if record is None:
        if pair is None:
            return _NO_CONVERSATION
        return None if reachable else _UNREACHABLE
    if sender not in record.members:
        return _NOT_A_MEMBER
    if record.kind == DIRECT and (record.blocked_by or not reachable):
        return _UNREACHABLE
    return None


def _reserve(step: Step, stamp: int) -> None:
    """Remember that stamps up to this one may have been given out, also by other conversations."""
    if step.memory.reserved >= stamp:
        return
    raw = step.txn.get("chatmeta", b"stamp")
    reserved = U64.unpack(raw)[0] if raw else 0
    if reserved < stamp:
        reserved = stamp + _RESERVE
        step.txn.put("chatmeta", b"stamp", U64.pack(reserved))
    step.memory.reserved = reserved


def _fan_out(
    step: Step,
    members: tuple[str, ...],
    sender: str,
    device: int,
    events: list[tuple[bytes, int, str, bytes, tuple[bytes, int, str] | None]],
) -> None:
    count = len(members)
    for member in members:
        if member != sender:
            step.submit(member.encode(), (cmd.ENQUEUE, member, 0, count, events))
        elif not (step.is_here(sender.encode()) and step.devices(sender) == (device,)):
            # The sender's other devices; nearly always there are none.
            step.submit(member.encode(), (cmd.ENQUEUE, member, device, count, events))


class _Answers:
    """The kept answers of one device at this partition."""

    __slots__ = ("_floor", "_key", "_step")

    def __init__(self, step: Step, account: str, device: int) -> None:
        self._step = step
        self._key = device_key(account, device)
        floor = step.memory.floors.get(self._key)
        if floor is None:
            raw = step.txn.get("floors", self._key)
            floor = U64.unpack(raw)[0] if raw else 0
            step.memory.floors[self._key] = floor
        self._floor = floor

    def knows(self, client_id: int) -> bool:
        key = self._key + U64.pack(client_id)
        return client_id < self._floor or self._step.txn.get("answers", key) is not None

    def find(self, client_id: int, conversation: bytes) -> cmd.Sent | cmd.Refusal | None:
        if client_id < self._floor:
            return _STALE
        raw = self._step.txn.get("answers", self._key + U64.pack(client_id))
        if raw is None:
            return None
        seq, stamp = PAIR.unpack_from(raw)
        if raw[16:] != conversation:
            return _CONFLICT
        return cmd.Sent(conversation, seq, stamp)

    def last_after(self, client_id: int, conversation: bytes) -> int:
        """The last id behind this one that was accepted in a conversation; 0 if there is none.

        There are never more than a client has open, and none where it sends for the first time.
        """
        start, stop = (self._key + U64.pack(one) for one in (client_id + 1, _ID_END))
        last = 0
        for key, raw in self._step.txn.range("answers", start, stop):
            if raw[16:] == conversation:
                last = U64.unpack_from(key, len(self._key))[0]
        return last

    def keep(self, client_id: int, conversation: bytes, seq: int, stamp: int) -> None:
        self._step.txn.put(
            "answers", self._key + U64.pack(client_id), PAIR.pack(seq, stamp) + conversation
        )

    def forget_below(self, low: int) -> None:
        if low < self._floor + _FLOOR_STRIDE:
            return
        key = self._key
        txn = self._step.txn
        txn.delete_range("answers", key + U64.pack(self._floor), key + U64.pack(low))
        txn.put("floors", key, U64.pack(low))
        self._step.memory.floors[key] = low


# -- groups ----------------------------------------------------------------------------------


def create_group(step: Step, command: cmd.Command) -> Any:
    """Make a group; its first event tells everyone who its members are."""
    _, conversation, name, creator, device, stamp, low, client_id, members = command
    ledger = _Answers(step, creator, device)
    # The group's id is drawn from the creator's client id, so a retry finds the first answer here.
    known = ledger.find(client_id, conversation)
    if known is not None:
        return _answer(known)
    if step.conversation(conversation) is not None:
        return _answer(_CONFLICT)
    everyone = tuple(sorted({creator, *members}))
    if len(everyone) > MAX_MEMBERS:
        return _answer(cmd.Refusal("too_many", f"a group has at most {MAX_MEMBERS} members"))
    record = Conversation(GROUP, name, everyone, (creator,), ())
    step.put_conversation(conversation, record)
    step.effects.append(cmd.ConversationChanged(conversation))
    for member in everyone:
        step.submit(member.encode(), (cmd.JOIN, member, conversation))
    return _tell_members(
        step,
        conversation,
        record,
        everyone,
        everyone,
        (),
        creator,
        device,
        stamp,
        ledger,
        client_id,
        low,
    )


def change_members(step: Step, command: cmd.Command) -> Any:
    """Add and remove members of a group: admins anyone, everyone themselves."""
    _, conversation, sender, device, stamp, low, client_id, added, removed, previous = command
    ledger = _Answers(step, sender, device)
    known = ledger.find(client_id, conversation)
    if known is not None:
        return _answer(known)
    record = step.conversation(conversation)
    if record is None:
        return _answer(_NO_CONVERSATION)
    if sender not in record.members:
        return _answer(_NOT_A_MEMBER)
    if previous and not ledger.knows(previous):
        return _answer(_OUT_OF_ORDER)
    if ledger.last_after(client_id, conversation):
        return _answer(_REFUSED_BEFORE)  # as in `send`: that answer was lost
    if record.kind != GROUP:
        return _answer(cmd.Refusal("not_allowed", "a direct conversation keeps its two members"))
    joining = tuple(sorted(set(added) - set(record.members)))
    leaving = tuple(sorted(set(removed) & set(record.members)))
    if sender not in record.admins and (joining or leaving != (sender,)):
        return _answer(cmd.Refusal("not_allowed", "only an admin of the group may do this"))
    members = tuple(sorted((set(record.members) | set(joining)) - set(leaving)))
    if len(members) > MAX_MEMBERS:
        return _answer(cmd.Refusal("too_many", f"a group has at most {MAX_MEMBERS} members"))
    admins = tuple(admin for admin in record.admins if admin in members) or members[:1]
    changed = record._replace(members=members, admins=admins)
    step.put_conversation(conversation, changed)
    for member in joining:
        step.submit(member.encode(), (cmd.JOIN, member, conversation))
    for member in leaving:
        step.submit(member.encode(), (cmd.LEAVE, member, conversation))
    step.effects.append(cmd.ConversationChanged(conversation))
    # Those who leave are told as well: it is the last event of the conversation they get.
    told = tuple(sorted({*members, *leaving}))
    return _tell_members(
        step,
        conversation,
        changed,
        told,
        joining,
        leaving,
        sender,
        device,
        stamp,
        ledger,
        client_id,
        low,
    )


def remove_member(step: Step, command: cmd.Command) -> Any:
    """Take a deleted account out of a conversation; a direct one is closed to the other side."""
    _, conversation, account, stamp = command
    record = step.conversation(conversation)
    if record is None or account not in record.members:
        return None
    step.submit(account.encode(), (cmd.LEAVE, account, conversation))
    step.effects.append(cmd.ConversationChanged(conversation))
    if record.kind == DIRECT:
        step.put_conversation(conversation, record._replace(blocked_by=(account,)))
        return None
    members = tuple(member for member in record.members if member != account)
    admins = tuple(admin for admin in record.admins if admin != account) or members[:1]
    changed = record._replace(members=members, admins=admins)
    step.put_conversation(conversation, changed)
    seq, last_stamp = step.head(conversation)
    seq, last_stamp = seq + 1, max(stamp, last_stamp + 1)
    event = members_event(
        conversation, seq, last_stamp, account, 0, 0, record.name, members, (), (account,)
    )
    step.put_head(conversation, seq, last_stamp)
    _reserve(step, last_stamp)
    _fan_out(step, members, account, 0, [(conversation, seq, account, event, None)])
    return None


def _tell_members(
    step: Step,
    conversation: bytes,
    record: Conversation,
    told: tuple[str, ...],
    added: tuple[str, ...],
    removed: tuple[str, ...],
    sender: str,
    device: int,
    stamp: int,
    ledger: _Answers,
    client_id: int,
    low: int,
) -> Any:
    seq, last_stamp = step.head(conversation)
    seq += 1
    last_stamp = max(stamp, last_stamp + 1)
    event = members_event(
        conversation,
        seq,
        last_stamp,
        sender,
        device,
        client_id,
        record.name,
        record.members,
        added,
        removed,
    )
    ledger.keep(client_id, conversation, seq, last_stamp)
    step.put_head(conversation, seq, last_stamp)
    _reserve(step, last_stamp)
    _fan_out(step, told, sender, device, [(conversation, seq, sender, event, None)])
    ledger.forget_below(low)
    return [cmd.Sent(conversation, seq, last_stamp)]


def _answer(answer: cmd.Sent | cmd.Refusal) -> Any:
    return [answer]


# -- watermarks and blocks -------------------------------------------------------------------


def delivered(step: Step, command: cmd.Command) -> Any:
    """Raise an account's delivered watermark; tell those whose messages it covers."""
    _, conversation, account, seq, senders = command
    record = step.conversation(conversation)
    if record is None:
        return None
    seq = min(seq, step.head(conversation)[0])
    key = conversation + account.encode()
    raw = step.txn.get("marks", key)
    was_delivered, was_read = PAIR.unpack(raw) if raw else (0, 0)
    if seq > was_delivered:
        step.txn.put("marks", key, PAIR.pack(seq, was_read))
    # Also if another device was further already: that one may not have had the messages of these
    # senders (it was registered later), and so they have not been told.
    told = tuple(senders)
    if told:
        now = max(seq, was_delivered)
        step.effects.append(cmd.Marked(conversation, account, now, was_read, told))
    return None


def read(step: Step, command: cmd.Command) -> Any:
    """Raise an account's read watermark (what is read is delivered too); tell the others."""
    _, conversation, account, seq = command
    record = step.conversation(conversation)
    if record is None:
        raise Rejected(*_NO_CONVERSATION)
    if account not in record.members:
        raise Rejected(*_NOT_A_MEMBER)
    seq = min(seq, step.head(conversation)[0])
    key = conversation + account.encode()
    raw = step.txn.get("marks", key)
    was_delivered, was_read = PAIR.unpack(raw) if raw else (0, 0)
    if seq > was_read:
        now_delivered = max(seq, was_delivered)
        step.txn.put("marks", key, PAIR.pack(now_delivered, seq))
        others = tuple(member for member in record.members if member != account)
        step.effects.append(cmd.Marked(conversation, account, now_delivered, seq, others))
    return None


def block_in_conversation(step: Step, command: cmd.Command) -> Any:
    """Note in a direct conversation that one of the two blocks the other, or no longer does."""
    _, conversation, pair, blocker, blocked = command
    record = step.conversation(conversation)
    if record is None:
        if not blocked:
            return None
        # Blocking someone with whom nothing was said yet opens no conversation for either side.
        record = Conversation(DIRECT, "", tuple(pair), (), ())
    blockers = set(record.blocked_by)
    if blocked:
        blockers.add(blocker)
    else:
        blockers.discard(blocker)
    step.put_conversation(conversation, record._replace(blocked_by=tuple(sorted(blockers))))
    step.effects.append(cmd.ConversationChanged(conversation))
    return None
