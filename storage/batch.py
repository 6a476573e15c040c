"""A batch of commands, and how the writer's thread turns it into one durable transaction."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import lmdb

from .environment import Environment, command_error, is_disk_error
from .errors import (
    ApplyFailed,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreUnusable,
    WrongSequence,
)
from .lending import LentThread
from .machine import Command, Machine, Outcome, Rejected
from .transaction import META_TABLE, ReadTxn, WriteTxn

APPLIED = b"applied"
"""Key in the meta table: last applied sequence and number of the partition, 8 bytes each, BE."""

_APPLIED_LAYOUT = struct.Struct(">QQ")

Result = Outcome | Exception
Done = Callable[[list[Result]], None]


class Entry:
    """One append: its commands share a transaction, and one `done`."""

    __slots__ = ("commands", "done", "expected", "results")

    def __init__(self, commands: Sequence[Command], done: Done, expected: int | None) -> None:
        self.commands = commands
        self.done = done
        self.expected = expected
        self.results: list[Result] = []


class Batch:
    """Appends that share a transaction, and what became of them.

    Attributes:
        size: number of commands.
        commit_s: duration of the durable commit in seconds, None when there was none.
        apply_s: duration of what went before it.
    """

    __slots__ = ("apply_s", "commit_s", "entries", "size")

    def __init__(self, entries: list[Entry], size: int) -> None:
        self.entries = entries
        self.size = size
        self.commit_s: float | None = None
        self.apply_s = 0.0

    def fail(self, error: Exception) -> None:
        """Make `error` the outcome of every command."""
        for entry in self.entries:
            entry.results = [error] * len(entry.commands)


class _UnexpectedError(Exception):
    """The machine broke its promise in a batch; the batch has to be taken one by one."""


def read_applied(txn: ReadTxn) -> int | None:
    """Return the last applied sequence that the tables hold, None when it is not readable."""
    stored = read_identity(txn)
    return None if stored is None else stored[0]


def read_identity(txn: ReadTxn) -> tuple[int, int] | None:
    """Return (last applied sequence, number of the partition), None when it is not readable."""
    stored = txn.get(META_TABLE, APPLIED)
    if stored is None or len(stored) != _APPLIED_LAYOUT.size:
        return None
    applied, partition = _APPLIED_LAYOUT.unpack(stored)
    return applied, partition


def write_applied(txn: WriteTxn, applied: int, partition: int) -> None:
    """Note the last applied sequence in the transaction that applied it."""
    txn.put(META_TABLE, APPLIED, _APPLIED_LAYOUT.pack(applied, partition))


class Applier:
    """Owns a partition's machine and its sequence; everything here runs in the writer's thread.

    Attributes:
        applied: the last sequence that is applied and durable.
    """

    __slots__ = (
        "_clock",
        "_env",
        "_machine",
        "_partition",
        "_stale",
        "_usual_commit_s",
        "applied",
        "thread",
    )

    def __init__(
        self, partition: int, env: Environment, machine: Machine, clock: Callable[[], float]
    ) -> None:
        self._partition = partition
        self._env = env
        self._machine = machine
        self._clock = clock
        self._stale = False
        self._usual_commit_s = 1.0
        self.thread: LentThread[Batch] | None = None
        with env.snapshot() as txn:
            self.applied = self._load(txn)

    def _load(self, txn: ReadTxn) -> int:
        identity = read_identity(txn)
        if identity is None:
            raise StoreCorrupt(self._env.folder, "its applied sequence is missing")
        applied, partition = identity
        if partition != self._partition:
            raise StoreCorrupt(
                self._env.folder,
                f"it holds partition {partition}",
                f"put the folder of partition {self._partition} back to this place",
            )
        self._machine.open(txn, self._partition)
        return applied

    def run(self, batch: Batch) -> None:
        """Apply and commit a batch; every entry has its results afterwards. Never raises."""
        one_by_one = False
        recovered = False
        while True:
            try:
                return self._transact(batch, one_by_one)
            except _UnexpectedError:
                one_by_one = True
            except lmdb.MapFullError as error:
                self._rest()
                if not self._grow(batch, error):
                    return None
            except Exception as error:  # noqa: BLE001 - becomes the outcome of every command
                # LMDB refuses an environment after a failed write of its head until it is opened
                # again; it says so before anything of this batch was tried.
                if isinstance(error, lmdb.PanicError) and not recovered and self._reopen():
                    recovered = True
                    continue
                if not isinstance(error, StoreUnusable):
                    error = command_error(error, self._env.folder)
                return batch.fail(error)

    def _grow(self, batch: Batch, error: lmdb.Error) -> bool:
        try:
            if self._env.grow():
                return True
            batch.fail(StoreFull(f"the map of {self._env.folder} is at its limit: {error}"))
        except lmdb.Error as failure:
            batch.fail(StoreFailed(f"growing {self._env.folder} failed: {failure}"))
        return False

    def _reopen(self) -> bool:
        self._rest()
        self._stale = True
        try:
            self._env.reopen()
        except (StoreError, lmdb.Error):
            return False  # the error that led here is the batch's outcome
        return True

    def _transact(self, batch: Batch, one_by_one: bool) -> None:
        began = self._clock()
        raw = self._env.begin()
        try:
            txn = WriteTxn(raw, self._env.dbs)
            if self._stale:
                self.applied = self._load(txn)
                self._stale = False
            if read_applied(txn) != self.applied:
                raise StoreCorrupt(self._env.folder, "another program has written to it")
            # From the first apply to the end of the commit the machine is ahead of the disk.
            self._stale = True
            apply = self._apply_nested if one_by_one else self._apply
            last = self.applied
            for entry in batch.entries:
                last = self._apply_entry(txn, raw, entry, last, apply)
            if last == self.applied:
                self._env.abort(raw)
                self._stale = False  # nothing was written: disk and machine agree
                batch.apply_s += self._clock() - began
                return
            write_applied(txn, last, self._partition)
        except BaseException:
            self._env.abort(raw)
            raise
        self._env.measure()
        ready = self._clock()
        batch.apply_s += ready - began
        if self.thread is not None:
            self.thread.rest(self._usual_commit_s)
        self._env.commit(raw)
        self._stale = False
        self.applied = last
        batch.commit_s = self._clock() - ready
        # Follows the fastest commits, not the mean: it says from when on looking is worth while.
        self._usual_commit_s = min(batch.commit_s, self._usual_commit_s * 1.1)

    def _apply_entry(
        self,
        txn: WriteTxn,
        raw: lmdb.Transaction[bytes],
        entry: Entry,
        last: int,
        apply: Callable[[WriteTxn, lmdb.Transaction[bytes], int, Command], Result],
    ) -> int:
        """Apply one append; return the last sequence given out."""
        if entry.expected is not None and entry.expected != last:
            entry.results = [WrongSequence(entry.expected, last)] * len(entry.commands)
            return last
        thread = self.thread
        results: list[Result] = []
        for command in entry.commands:
            result = apply(txn, raw, last + 1, command)
            results.append(result)
            if not isinstance(result, Exception):
                last += 1
            if thread is not None:
                thread.pause_if_due()
        entry.results = results
        return last

    def _apply(
        self, txn: WriteTxn, _raw: lmdb.Transaction[bytes], seq: int, command: Command
    ) -> Result:
        writes = txn.writes
        try:
            return self._machine.apply(txn, seq, command)
        except Rejected as rejected:
            if txn.writes != writes:
                raise _UnexpectedError from rejected
            return rejected.with_traceback(None)  # its frames would keep the transaction alive
        except Exception as error:
            if is_disk_error(error) or isinstance(error, lmdb.MapFullError):
                raise
            raise _UnexpectedError from error

    def _apply_nested(
        self, txn: WriteTxn, raw: lmdb.Transaction[bytes], seq: int, command: Command
    ) -> Result:
        """Apply in a transaction of its own inside the batch's: the guilty one fails alone."""
        child = self._env.begin_nested(raw)
        inner = WriteTxn(child, self._env.dbs)
        try:
            result = self._machine.apply(inner, seq, command)
        except Exception as error:
            child.abort()
            if is_disk_error(error) or isinstance(error, lmdb.MapFullError):
                raise
            if isinstance(error, Rejected) and not inner.writes:
                return error.with_traceback(None)
            self._machine.open(txn, self._partition)
            return ApplyFailed(command, error)
        child.commit()
        return result

    def _rest(self) -> None:
        if self.thread is not None:
            self.thread.rest()
