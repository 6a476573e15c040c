"""A batch of commands, and how the writer's thread turns it into one durable transaction."""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import lmdb

from .disk import command_error, is_disk_error
from .environment import Environment
from .errors import (
    ApplyFailed,
    CommandError,
    RecordCorrupt,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreUnusable,
    WrongSequence,
)
from .lending import Lent
from .machine import BESIDE, Command, Finishing, Machine, Outcome, Rejected
from .transaction import META_TABLE, ReadTxn, WriteTxn

APPLIED = b"applied"
"""Key in the meta table of the identity: its three numbers, 8 bytes each, big endian."""

_APPLIED_LAYOUT = struct.Struct(">QQQ")

Result = Outcome | Exception
Done = Callable[[list[Result]], None]


class Identity(NamedTuple):
    """Which partition the tables belong to, and which moment of it they are.

    Attributes:
        applied: the last applied sequence.
        partition: the partition's number.
        digest: of the history up to that sequence; see `WriteTxn.digest`.
    """

    applied: int
    partition: int
    digest: int = 0


class Entry:
    """One append: its commands share a transaction, and one `done`."""

    __slots__ = ("commands", "done", "expected", "life", "results")

    def __init__(
        self, commands: Sequence[Command], done: Done | None, expected: int | None, life: int
    ) -> None:
        self.commands = commands
        self.done = done
        self.expected = expected
        self.life = life
        self.results: list[Result] = []


E = TypeVar("E", bound=Entry)


class Batch:
    """Appends that share a transaction, and what became of them.

    Attributes:
        size: number of commands.
        commit_s: duration of the durable commit in seconds, None when there was none.
        apply_s: duration of what went before it.
    """

    __slots__ = ("apply_s", "commit_s", "entries", "size")

    def __init__(self, entries: Sequence[Entry], size: int) -> None:
        self.entries = entries
        self.size = size
        self.commit_s: float | None = None
        self.apply_s = 0.0

    def fail(self, error: Exception) -> None:
        """Make `error` the outcome of every command."""
        for entry in self.entries:
            if isinstance(error, _FinishError):
                entry.results = [ApplyFailed(command, error.cause) for command in entry.commands]
            else:
                entry.results = [error] * len(entry.commands)


def take(pending: deque[E], max_batch: int) -> Batch:
    """Make a batch of what is pending (there is something), of `max_batch` commands at most."""
    entry = pending.popleft()
    entries = [entry]
    size = len(entry.commands)
    while pending and size + len(pending[0].commands) <= max_batch:
        entry = pending.popleft()
        entries.append(entry)
        size += len(entry.commands)
    return Batch(entries, size)


class _UnexpectedError(Exception):
    """The machine broke its promise in a batch; the batch has to be taken one by one."""


class _FinishError(Exception):
    """The machine could not finish a batch."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


def read_identity(txn: ReadTxn) -> Identity | None:
    """Return the identity that the tables hold, None when it is not readable."""
    try:
        stored = txn.get(META_TABLE, APPLIED)
    except RecordCorrupt:
        return None
    if stored is None or len(stored) != _APPLIED_LAYOUT.size:
        return None
    return Identity(*_APPLIED_LAYOUT.unpack(stored))


def write_identity(txn: WriteTxn, identity: Identity) -> None:
    """Note the identity in the transaction that led to it, beside the history."""
    txn.aside().put(META_TABLE, APPLIED, _APPLIED_LAYOUT.pack(*identity))


class Applier:
    """Owns a partition's machine and its sequence; everything here runs in the writer's thread.

    Attributes:
        identity: of what is applied and durable; replaced as a whole, so any thread may look.
        life: rises whenever the content was replaced; appends of an earlier one are refused.
    """

    __slots__ = (
        "_beside",
        "_clock",
        "_env",
        "_finishing",
        "_machine",
        "_partition",
        "_stale",
        "_turn",
        "_usual_commit_s",
        "identity",
        "life",
        "thread",
    )

    def __init__(
        self, partition: int, env: Environment, machine: Machine, clock: Callable[[], float]
    ) -> None:
        self._partition = partition
        self._env = env
        self._machine = machine
        self._finishing = machine if isinstance(machine, Finishing) else None
        self._clock = clock
        self._beside = False
        self._stale = False
        self._turn = threading.Lock()
        self._usual_commit_s = 1.0
        self.life = 0
        self.thread: Lent | None = None
        with env.snapshot() as txn:
            self.identity = self._load(txn)

    @property
    def applied(self) -> int:
        """The last sequence that is applied and durable."""
        return self.identity.applied

    def _load(self, txn: ReadTxn) -> Identity:
        identity = read_identity(txn)
        if identity is None:
            raise StoreCorrupt(self._env.folder, "its applied sequence is missing or damaged")
        if identity.partition != self._partition:
            raise StoreCorrupt(
                self._env.folder,
                f"it holds partition {identity.partition}",
                f"put the folder of partition {self._partition} back to this place",
            )
        self._open_machine(txn)
        return identity

    def _open_machine(self, txn: ReadTxn) -> None:
        try:
            self._machine.open(txn, self._partition)
        except RecordCorrupt as error:
            raise StoreCorrupt(
                self._env.folder, f"its tables cannot be opened ({error})"
            ) from error

    def run(self, batch: Batch) -> None:
        """Apply and commit a batch; every entry has its results afterwards. Never raises."""
        with self._turn:
            self._run(batch)

    def replace(self, swap: Callable[[], None], undo: Callable[[], None]) -> None:
        """Go on with other content, between two batches; see `Environment.replace`.

        What was appended before and is not applied gets WrongSequence.
        """
        with self._turn:
            self._env.replace(swap, undo)
            self.life += 1
            self._stale = True  # should the machine not start, the next batch tries again
            with self._env.snapshot() as txn:
                self.identity = self._load(txn)
            self._stale = False

    def _run(self, batch: Batch, patience_s: float | None = None) -> None:
        one_by_one = False
        recovered = False
        while True:
            try:
                return self._transact(batch, one_by_one)
            except _UnexpectedError:
                one_by_one = True
            except lmdb.MapFullError as error:
                self._rest()
                refusal = self._grow(error, patience_s)
                if refusal is not None:
                    return self._refuse(batch, refusal)
            except Exception as error:  # noqa: BLE001 - becomes the outcome of every command
                # LMDB refuses an environment after a failed write of its head until it is opened
                # again; it says so before anything of this batch was tried.
                if isinstance(error, lmdb.PanicError) and not recovered and self._reopen():
                    recovered = True
                    continue
                if not isinstance(error, StoreUnusable | _FinishError):
                    error = command_error(error, self._env.folder)
                if self._env.panicked():
                    self._reopen()  # at once: reads go on; if it fails, the next batch tries again
                return self._refuse(batch, error)

    def _refuse(self, batch: Batch, error: Exception) -> None:
        """Fail the batch; where it found no room, only those of its appends that need it."""
        if not isinstance(error, StoreFull) or len(batch.entries) == 1:
            return batch.fail(error)
        # Those that wait for the end of a snapshot have waited: not each of them again.
        patience_s = 0.0 if isinstance(error.__cause__, StoreBusy) else None
        for entry in batch.entries:
            alone = Batch([entry], len(entry.commands))
            self._run(alone, patience_s)
            batch.apply_s += alone.apply_s
            if alone.commit_s is not None:
                batch.commit_s = (batch.commit_s or 0.0) + alone.commit_s
        return None

    def _grow(self, error: lmdb.Error, patience_s: float | None) -> CommandError | None:
        """Make the map larger; return what to answer when that cannot be."""
        try:
            if self._env.grow(patience_s=patience_s):
                return None
            return StoreFull(f"the map of {self._env.folder} is at its limit: {error}")
        except StoreBusy as busy:
            full = StoreFull(f"the map of {self._env.folder} is full and cannot grow: {busy}")
            full.__cause__ = busy
            return full
        except lmdb.Error as failure:
            return StoreFailed(f"growing {self._env.folder} failed: {failure}")

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
            if self._stale:
                self.identity = self._load(ReadTxn(raw, self._env.dbs))
                self._stale = False
            before = self.identity
            txn = WriteTxn(raw, self._env.dbs, before.digest)
            if read_identity(txn) != before:
                raise StoreCorrupt(self._env.folder, "another program has written to it")
            # From the first apply to the end of the commit the machine is ahead of the disk.
            self._stale = True
            apply = self._apply_nested if one_by_one else self._apply
            last = before.applied
            self._beside = False
            for entry in batch.entries:
                last = self._apply_entry(txn, raw, entry, last, apply)
            if last == before.applied and not self._beside:
                self._env.abort(raw)
                self._stale = False  # nothing was written: disk and machine agree
                batch.apply_s += self._clock() - began
                return
            if not one_by_one:
                self._finish(txn)
            after = before._replace(applied=last, digest=txn.digest)
            write_identity(txn, after)
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
        self.identity = after
        batch.commit_s = self._clock() - ready
        # Follows the fastest commits, not the mean: it says from when on looking is worth while.
        self._usual_commit_s = min(batch.commit_s, self._usual_commit_s * 1.1)

    def _finish(self, txn: WriteTxn) -> None:
        if self._finishing is None:
            return
        try:
            self._finishing.finish(txn.aside())
        except Exception as error:
            if _concerns_batch(error):
                raise
            raise _FinishError(error) from error

    def _apply_entry(
        self,
        txn: WriteTxn,
        raw: lmdb.Transaction[bytes],
        entry: Entry,
        last: int,
        apply: Callable[[WriteTxn, lmdb.Transaction[bytes], int, Command], Result],
    ) -> int:
        """Apply one append; return the last sequence given out."""
        if entry.life != self.life or entry.expected not in (None, last):
            entry.results = [WrongSequence(entry.expected, last)] * len(entry.commands)
            return last
        thread = self.thread
        results: list[Result] = []
        for command in entry.commands:
            result = apply(txn, raw, last + 1, command)
            results.append(result)
            if result is BESIDE:
                self._beside = True
            elif not isinstance(result, Exception):
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
            if _concerns_batch(error):
                raise
            raise _UnexpectedError from error

    def _apply_nested(
        self, txn: WriteTxn, raw: lmdb.Transaction[bytes], seq: int, command: Command
    ) -> Result:
        """Apply in a transaction of its own inside the batch's: the guilty one fails alone."""
        child = self._env.begin_nested(raw)
        inner = txn.nested(child)
        try:
            result = self._machine.apply(inner, seq, command)
            # Now, not at the batch's end: when a later one fails, the machine starts again from
            # the tables, and these have to be complete.
            self._finish(inner)
        except Exception as error:
            child.abort()
            if _concerns_batch(error):
                raise
            if isinstance(error, Rejected) and not inner.writes:
                return error.with_traceback(None)
            self._open_machine(txn)
            return ApplyFailed(command, error.cause if isinstance(error, _FinishError) else error)
        child.commit()
        txn.absorb(inner)
        return result

    def _rest(self) -> None:
        if self.thread is not None:
            self.thread.rest()


def _concerns_batch(error: Exception) -> bool:
    """Whether an error is of the transaction as a whole, not of the command that met it."""
    return is_disk_error(error) or isinstance(error, lmdb.MapFullError | StoreUnusable)
