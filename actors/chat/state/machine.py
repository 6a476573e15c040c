"""The state machine of a partition: one command after another, the same everywhere.

Between partitions a command travels by the outbox: it is written where it arose, in the same
transaction as its cause, delivered under a number that rises by one, applied at its target
exactly once (`inlast` remembers the last number of each source), and deleted when the target has
confirmed it. A crash at any point only repeats a delivery that the target then ignores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cbor2

from palaver.actors.chat.state import accounts, conversations, queues
from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.state.invariants import violations
from palaver.actors.chat.state.step import Memory, Step
from palaver.actors.chat.state.tables import PAIR, TABLES, U64
from palaver.storage import Outcome, ReadTxn, Rejected, WriteTxn

__all__ = ["ChatMachine", "consistent_cut"]


def _deliver(step: Step, command: cmd.Command) -> Any:
    _, source, first, forwarded = command
    key = U64.pack(source)
    raw = step.txn.get("inlast", key)
    last = U64.unpack(raw)[0] if raw else 0
    for number, inner in enumerate(forwarded, first):
        if number <= last:
            continue
        if number != last + 1:
            raise Rejected("internal", f"expected {last + 1} from partition {source}, got {number}")
        step.deliver(tuple(inner))
        last = number
    step.txn.put("inlast", key, U64.pack(last))
    return last


def _confirm(step: Step, command: cmd.Command) -> Any:
    _, target, number = command
    step.txn.delete_range("outbox", PAIR.pack(target, 0), PAIR.pack(target, number + 1))
    return None


_HANDLERS: dict[int, Callable[[Step, cmd.Command], Any]] = {
    cmd.SEND: conversations.send,
    cmd.CREATE_GROUP: conversations.create_group,
    cmd.CHANGE_MEMBERS: conversations.change_members,
    cmd.REMOVE_MEMBER: conversations.remove_member,
    cmd.ENQUEUE: queues.enqueue,
    cmd.ACK: queues.acknowledge,
    cmd.DELIVERED: conversations.delivered,
    cmd.READ: conversations.read,
    cmd.REGISTER_DEVICE: accounts.register_device,
    cmd.REVOKE_DEVICE: accounts.revoke_device,
    cmd.DELETE_ACCOUNT: accounts.delete_account,
    cmd.SET_PRIVACY: accounts.set_privacy,
    cmd.SET_BLOCK: accounts.set_block,
    cmd.BLOCK_IN_CONVERSATION: conversations.block_in_conversation,
    cmd.LAST_SEEN: accounts.last_seen,
    cmd.JOIN: accounts.join,
    cmd.LEAVE: accounts.leave,
    cmd.RECORD_FILE: accounts.record_file,
    cmd.DELIVER: _deliver,
    cmd.CONFIRM: _confirm,
}


class ChatMachine:
    """The messaging system's commands on one partition; see :mod:`.tables` for its rows.

    Args:
        partition: this partition's number, 0 to `partitions` - 1.
        partitions: how many there are, a power of two.
    """

    tables = TABLES
    version = 1

    __slots__ = ("_memory", "_partition", "_partitions")

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition = partition
        self._partitions = partitions
        self._memory = Memory()

    def open(self, txn: ReadTxn, partition: int) -> None:
        """Forget what was cached: the tables may differ from it (start, or an aborted batch)."""
        assert partition == self._partition
        self._memory.forget()

    def apply(self, txn: WriteTxn, seq: int, command: cmd.Command) -> Outcome:
        """Apply one command; deterministic, and without effect if it raises `Rejected`."""
        self._memory.trim()
        handler = _HANDLERS.get(command[0])
        if handler is None:
            raise Rejected("bad_request", f"there is no command {command[0]}")
        step = Step(txn, self._memory, self._partition, self._partitions, _HANDLERS)
        value = handler(step, command)
        return Outcome(value, tuple(step.effects))

    def consistent(self, txns: Sequence[ReadTxn]) -> bool:
        """Whether snapshots of all partitions may be kept together as a backup."""
        return consistent_cut(txns)

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        """What is wrong with the rows of a partition, a sentence each."""
        return violations(txn, partition, self._partitions)


def consistent_cut(txns: Sequence[ReadTxn]) -> bool:
    """Whether snapshots of all partitions fit together: nothing was confirmed that is not there.

    A source deletes from its outbox what its target confirmed. If the target's snapshot is older
    than that confirmation, the pair would have lost what was on its way.
    """
    torn = any(
        _gap(txns[source], txns[target], source, target)
        for source in range(len(txns))
        for target in range(len(txns))
        if source != target
    )
    return not torn


def _gap(source: ReadTxn, target: ReadTxn, source_no: int, target_no: int) -> bool:
    raw_next = source.get("outnext", U64.pack(target_no))
    if raw_next is None:
        return False
    oldest = next(
        iter(source.range("outbox", PAIR.pack(target_no, 0), PAIR.pack(target_no + 1, 0), limit=1)),
        None,
    )
    first_kept = PAIR.unpack(oldest[0])[1] if oldest else U64.unpack(raw_next)[0]
    raw_last = target.get("inlast", U64.pack(source_no))
    last = U64.unpack(raw_last)[0] if raw_last else 0
    return bool(first_kept > last + 1)


def outbox_rows(txn: ReadTxn, target: int, limit: int) -> tuple[int, list[Any]]:
    """The oldest commands on their way to a partition: the first number, and the commands."""
    rows = list(txn.range("outbox", PAIR.pack(target, 0), PAIR.pack(target + 1, 0), limit=limit))
    if not rows:
        return 0, []
    return PAIR.unpack(rows[0][0])[1], [cbor2.loads(value) for _, value in rows]
