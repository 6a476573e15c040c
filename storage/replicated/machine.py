"""The machine of a replica: another machine, and where in the journal its tables are.

An entry of the journal becomes one append: `Begin`, the entry's commands, `End`. So its effects and
its position become durable together or not at all, and an entry whose predecessor is not there has
no effect: nothing is skipped, nothing is applied twice.

The position and the checkpoints stand in storage's own table, beside the history: neither takes a
sequence, and they are no part of a digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cbor2

from palaver.storage.errors import RecordCorrupt
from palaver.storage.machine import (
    BESIDE,
    Command,
    CutAware,
    Finishing,
    Machine,
    Outcome,
    Rejected,
    kind_of,
)
from palaver.storage.transaction import META_TABLE, ReadTxn, WriteTxn

from .entries import Standing
from .errors import ReplicaDamaged
from .marks import CHECKPOINTS_KEPT, Checkpoint, Unsound

__all__ = [
    "Begin",
    "End",
    "Expect",
    "JournalMachine",
    "OutOfOrder",
    "WrongPlace",
    "read_checkpoints",
    "read_standing",
]

_STANDING = b"journal"
_CHECKPOINTS = b"checkpoints"


class Begin(NamedTuple):
    """An entry begins; what follows up to `End` counts only where the one before it is there."""

    position: int


class Expect(NamedTuple):
    """So many `commands` that follow have an effect only at this sequence."""

    sequence: int
    commands: int


class End(NamedTuple):
    """An entry is applied; this is where that leads."""

    standing: Standing
    checkpoint: bool


class OutOfOrder(Rejected):
    """The entry is not the one after the last one that was applied.

    Attributes:
        position: the last one that was.
    """

    def __init__(self, position: int) -> None:
        super().__init__("out_of_order", f"position {position} was applied last")
        self.position = position


class WrongPlace(Rejected):
    """The partition was not at the sequence that the append expected.

    Attributes:
        expected, actual: the two sequences.
    """

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__("wrong_sequence", f"expected {expected}, it is {actual}")
        self.expected = expected
        self.actual = actual


def read_standing(txn: ReadTxn) -> Standing:
    """Return where in the journal these tables are."""
    stored = txn.get(META_TABLE, _STANDING)
    return Standing() if stored is None else Standing(*cbor2.loads(stored))


def read_checkpoints(txn: ReadTxn) -> list[Checkpoint]:
    """Return the last checkpoints that these tables have gone through, oldest first."""
    stored = txn.get(META_TABLE, _CHECKPOINTS)
    return [] if stored is None else [Checkpoint(*found) for found in cbor2.loads(stored)]


class JournalMachine:
    """A machine whose commands come out of a journal; see the module.

    Args:
        inner: applies the commands.
    """

    def __init__(self, inner: Machine) -> None:
        self._inner = inner
        self._apply = inner.apply
        self._finishing = inner if isinstance(inner, Finishing) else None
        self._partition = 0
        self._standing = Standing()
        self._written = self._standing
        self._checkpoints: list[Checkpoint] = []
        self._marked = False
        self._touched = False
        # Of the entry that is being applied: these outlive an `open` in its middle.
        self._refused: OutOfOrder | None = None
        self._wrong: tuple[int, int] = (0, 0)
        self._wrong_left = 0

    @property
    def tables(self) -> tuple[str, ...]:
        """Those of the inner machine."""
        return tuple(self._inner.tables)

    @property
    def version(self) -> int:
        """That of the inner machine."""
        return self._inner.version

    @property
    def kind(self) -> str:
        """That of the inner machine."""
        return kind_of(self._inner)

    def open(self, txn: ReadTxn, partition: int) -> None:
        """Start (again) from what the tables hold."""
        self._partition = partition
        self._standing = self._written = read_standing(txn)
        self._checkpoints = read_checkpoints(txn)
        self._marked = self._touched = False
        self._inner.open(txn, partition)

    def apply(self, txn: WriteTxn, seq: int, command: Command) -> Outcome:
        """Apply a command of the entry that has begun.

        Raises:
            Rejected: by the inner machine; `OutOfOrder` and `WrongPlace`: by this one.
            Unsound: a record that it needed is damaged, here and not elsewhere.
        """
        kind = type(command)
        if kind is Begin:
            return self._begin(command[0])
        if self._refused is not None:
            raise OutOfOrder(self._refused.position)
        if kind is End:
            return self._end(txn, seq, command[0], command[1])
        if kind is Expect:
            expected, count = command
            self._wrong = (expected, seq - 1)
            self._wrong_left = 0 if expected == seq - 1 else count
            return BESIDE
        if self._wrong_left:
            self._wrong_left -= 1
            raise WrongPlace(*self._wrong)
        self._touched = True
        try:
            return self._apply(txn, seq, command)
        except (RecordCorrupt, MemoryError) as error:
            # Elsewhere it is applied, so here it may not be passed over.
            raise Unsound(str(ReplicaDamaged(self._partition, str(error)))) from error

    def _begin(self, position: int) -> Outcome:
        self._wrong_left = 0
        self._refused = None
        if position != self._standing.position + 1:
            self._refused = OutOfOrder(self._standing.position)
            raise OutOfOrder(self._standing.position)
        return BESIDE

    def _end(self, txn: WriteTxn, seq: int, standing: Standing, checkpoint: bool) -> Outcome:
        self._standing = standing
        if checkpoint:
            self._checkpoints.append(Checkpoint(standing.position, txn.digest, seq - 1))
            del self._checkpoints[:-CHECKPOINTS_KEPT]
            self._marked = True
        return BESIDE

    def finish(self, txn: WriteTxn) -> None:
        """Note where in the journal the batch has led, and let the inner machine sum up."""
        if self._standing != self._written:
            txn.put(META_TABLE, _STANDING, cbor2.dumps(self._standing))
            self._written = self._standing
        if self._marked:
            txn.put(META_TABLE, _CHECKPOINTS, cbor2.dumps(self._checkpoints))
            self._marked = False
        if self._finishing is not None and self._touched:
            self._finishing.finish(txn)
        self._touched = False

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        """Yield what the inner machine finds fault with."""
        yield from self._inner.check(txn, partition)

    def consistent(self, txns: Sequence[ReadTxn]) -> bool:
        """Return whether these snapshots may be kept together, as the inner machine sees it."""
        return self._inner.consistent(txns) if isinstance(self._inner, CutAware) else True
