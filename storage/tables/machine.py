"""The tables' state machine: a commit's writes, applied the same way everywhere.

Whoever commits has decided everything (what is written where, which index entries change); the
command holds ready bytes. So applying it depends on nothing but the command, and replicas are
equal.

=========  =====================================  ==========================================
command    its fields                             what it does
=========  =====================================  ==========================================
write      ops                                    applies them
prepare    number, coordinator, ops               keeps them for a commit over partitions
decide     number, participants, ops              applies its own; the commit has happened
finish     number                                 applies what was prepared
cancel     number                                 forgets what was prepared
forget     number                                 forgets a decision that all have finished
=========  =====================================  ==========================================

`ops` is (clears, puts, deletes, longs, sizes): spaces to be emptied; [row key, payload] and row
keys of keys that are a row of their own; [space, key, payload or None] of those that share a
bucket; and by how much the number of records of a space changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cbor2

from palaver.storage.machine import Command, Outcome, Rejected
from palaver.storage.transaction import ReadTxn, WriteTxn

from . import spaces
from .spaces import DECIDED_SPACE, FINISHED_SPACE, PREPARED_SPACE, ROWS, SIZES_SPACE

VERSION = 1
"""Version of what the rows mean."""

_LAST = b"last"


class Ops:
    """What a commit changes in one partition, as it is gathered; see the module.

    Its parts are made when they are first asked for: most commits only have puts.
    """

    __slots__ = ("_clears", "_deletes", "_longs", "_sizes", "puts")

    def __init__(self) -> None:
        self.puts: list[tuple[bytes, bytes]] = []
        self._clears: list[int] | None = None
        self._deletes: list[bytes] | None = None
        self._longs: list[tuple[int, bytes, bytes | None]] | None = None
        self._sizes: dict[int, int] | None = None

    @property
    def clears(self) -> list[int]:
        """Spaces to be emptied."""
        if self._clears is None:
            self._clears = []
        return self._clears

    @property
    def deletes(self) -> list[bytes]:
        """Row keys to be removed."""
        if self._deletes is None:
            self._deletes = []
        return self._deletes

    @property
    def longs(self) -> list[tuple[int, bytes, bytes | None]]:
        """Changes of keys that share a bucket."""
        if self._longs is None:
            self._longs = []
        return self._longs

    @property
    def sizes(self) -> dict[int, int]:
        """By how many records spaces grow."""
        if self._sizes is None:
            self._sizes = {}
        return self._sizes

    def plain(self) -> tuple[Any, ...]:
        """Return it as a command has it."""
        return (
            self._clears or (),
            self.puts,
            self._deletes or (),
            self._longs or (),
            self._sizes or {},
        )


def _number_key(number: int) -> bytes:
    return number.to_bytes(8, "big")


class TableMachine:
    """Applies commits to one partition; see the module.

    Args:
        _partition: its number, which changes nothing.
        partitions: how many there are; for `check` only.
    """

    kind = "tables"
    tables = (ROWS,)
    version = VERSION

    __slots__ = ("_changed", "_partitions", "_sizes")

    def __init__(self, _partition: int = 0, partitions: int | None = None) -> None:
        self._partitions = partitions
        self._sizes: dict[int, int] = {}
        self._changed: set[int] = set()

    def open(self, txn: ReadTxn, partition: int) -> None:
        """Start from what the rows hold."""
        self._sizes = read_sizes(txn)
        self._changed.clear()

    def apply(self, txn: WriteTxn, seq: int, command: Command) -> Outcome:
        """Apply one command; see the module."""
        kind = command[0]
        if kind == "write":
            self._write(txn, command[1])
        elif kind == "prepare":
            _, number, coordinator, ops = command
            spaces.put_row(
                txn, PREPARED_SPACE, _number_key(number), spaces.dump([coordinator, list(ops)])
            )
        elif kind == "decide":
            _, number, participants, ops = command
            self._write(txn, ops)
            key = _number_key(number)
            spaces.put_row(txn, DECIDED_SPACE, key, spaces.dump(list(participants)))
            spaces.put_row(txn, DECIDED_SPACE, _LAST, spaces.dump(number))
        elif kind == "finish":
            self._finish(txn, command[1])
        elif kind == "cancel":
            spaces.delete_row(txn, PREPARED_SPACE, _number_key(command[1]))
        elif kind == "forget":
            spaces.delete_row(txn, DECIDED_SPACE, _number_key(command[1]))
        else:
            raise Rejected("bad_command", f"there is no command {kind!r}")
        return Outcome()

    def finish(self, txn: WriteTxn) -> None:
        """Write the sizes that the batch has changed, once for all its commands."""
        for space in self._changed:
            count = self._sizes.get(space, 0)
            key = space.to_bytes(4, "big")
            if count:
                spaces.put_row(txn, SIZES_SPACE, key, spaces.dump(count))
            else:
                spaces.delete_row(txn, SIZES_SPACE, key)
        self._changed.clear()

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        """Yield one sentence for everything in the rows that contradicts the rest."""
        from .checking import violations

        return violations(txn, partition, self._partitions)

    def consistent(self, txns: Sequence[ReadTxn]) -> bool:
        """Whether no partition has finished a commit that its coordinator has not decided."""
        decided = [last_decided(txn) for txn in txns]
        return all(
            number <= decided[coordinator]
            for txn in txns
            for coordinator, number in finished(txn).items()
        )

    def _write(self, txn: WriteTxn, ops: Sequence[Any]) -> None:
        clears, puts, deletes, longs, sizes = ops
        for space in clears:
            spaces.clear_space(txn, space)
            self._sizes.pop(space, None)
            self._changed.add(space)
        if len(puts) == 1:
            txn.put(ROWS, *puts[0])
        elif puts:
            txn.put_many(ROWS, puts)
        for key in deletes:
            txn.delete(ROWS, key)
        for space, key, payload in longs:
            if payload is None:
                spaces.delete_row(txn, space, key)
            else:
                spaces.put_row(txn, space, key, payload)
        for space, change in sizes.items():
            self._sizes[space] = self._sizes.get(space, 0) + change
            self._changed.add(space)

    def _finish(self, txn: WriteTxn, number: int) -> None:
        found = prepared(txn).get(number)
        if found is None:
            raise Rejected("not_prepared", f"commit {number} was not prepared here")
        coordinator, ops = found
        self._write(txn, ops)
        spaces.delete_row(txn, PREPARED_SPACE, _number_key(number))
        spaces.put_row(txn, FINISHED_SPACE, coordinator.to_bytes(4, "big"), spaces.dump(number))


def read_sizes(txn: ReadTxn) -> dict[int, int]:
    """Return the number of records by space."""
    return {
        int.from_bytes(key, "big"): cbor2.loads(value)
        for key, value in spaces.rows(txn, SIZES_SPACE)
    }


def prepared(txn: ReadTxn) -> dict[int, tuple[int, Sequence[Any]]]:
    """Return what is prepared: (coordinator, ops) by number."""
    found = {}
    for key, value in spaces.rows(txn, PREPARED_SPACE):
        coordinator, ops = cbor2.loads(value)
        found[int.from_bytes(key, "big")] = (coordinator, ops)
    return found


def decisions(txn: ReadTxn) -> dict[int, list[int]]:
    """Return the participants by number of the decisions that not all may have finished."""
    return {
        int.from_bytes(key, "big"): cbor2.loads(value)
        for key, value in spaces.rows(txn, DECIDED_SPACE)
        if key != _LAST
    }


def last_decided(txn: ReadTxn) -> int:
    """Return the number of the last commit that this partition has decided."""
    value = spaces.get_row(txn, DECIDED_SPACE, _LAST)
    return 0 if value is None else int(cbor2.loads(value))


def finished(txn: ReadTxn) -> dict[int, int]:
    """Return the last number that this partition has finished, by coordinator."""
    return {
        int.from_bytes(key, "big"): cbor2.loads(value)
        for key, value in spaces.rows(txn, FINISHED_SPACE)
    }
