"""Running activities: again after a conflict, alone in the end, and until they are durable."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar

from palaver.storage.errors import Overloaded

from .commit import Changes, Commit
from .committing import Payloads
from .core import Core
from .dirty_activity import Dirty
from .effective import Operation
from .errors import BadArgument, CommitFailed, Conflict
from .isolation import Reads, Restart
from .transactions import Transaction, outcome
from .within import transaction_around

T = TypeVar("T")

Kind = Literal["transaction", "sync_transaction", "async_dirty", "sync_dirty"]

ALONE_AFTER = 10
"""Restarts after which a transaction runs with nobody else committing."""

MAX_ATTEMPTS = 30
"""At so many, a transaction that runs alone must be standing in its own way."""


class Activities(Core):
    """The part of the database that runs activities, and waits for what they commit."""

    _loner: int | None
    _overloaded: bool

    @abstractmethod
    def _check_open(self) -> None:
        """Raise NotRunning when the database is closed."""

    @abstractmethod
    def table_info(self, table: Any, item: str) -> Any:
        """Return a fact about a table."""

    def transaction(self, function: Callable[..., T], *args: Any, retries: int | None = None) -> T:
        """Run `function(transaction, *args)` isolated, whole or not at all; return what it returns.

        When it returns, the commit is made in memory, in order and whole; it becomes durable within
        milliseconds, and a power cut may take it together with everything after it. An exception
        out of the function undoes it and is raised as it is; so is `Aborted`, by `abort`.
        Within another transaction of this database it is nested: see `Transaction.transaction`.

        Args:
            function: has no effects but on tables, because it is called again after a conflict.
            args: for the function.
            retries: how often it may begin again; None: as often as it takes (in the
                end it runs with nobody else committing).

        Raises:
            Conflict: `retries` were used up.
            NotRunning: the database is closed.
        """
        around = transaction_around(self)
        if around is not None:
            return around.transaction(function, *args)
        value, _ = self.run("transaction", function, args, retries)
        return value

    def sync_transaction(
        self, function: Callable[..., T], *args: Any, retries: int | None = None
    ) -> T:
        """Like `transaction`; returns after the commit, and all before it, are durable (fsync).

        Raises:
            CommitFailed: the disk did not take it; it was undone.
        """
        around = transaction_around(self)
        if around is not None:
            return around.transaction(function, *args)
        value, commit = self.run("sync_transaction", function, args, retries)
        self.wait(commit)
        return value

    def async_dirty(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function(activity, *args)` with every operation in effect at once, not isolated."""
        return self._dirty("async_dirty", function, args)

    def sync_dirty(self, function: Callable[..., T], *args: Any) -> T:
        """Like `async_dirty`; returns after everything that it has written is durable.

        Raises:
            CommitFailed: the disk did not take all of it; what it did not take was undone.
        """
        with self.dirty_activity("sync_dirty") as activity:
            value = outcome(function(activity, *args))
        for commit in activity.commits:
            self.wait(commit)
        return value

    def activity(self, kind: Kind, function: Callable[..., T], *args: Any) -> T:
        """Run an activity of the kind: mnesia:activity/2."""
        if kind not in ("transaction", "sync_transaction", "async_dirty", "sync_dirty"):
            raise BadArgument(f"there is no activity {kind!r}")
        run: Callable[..., T] = getattr(self, kind)
        return run(function, *args)

    def sync_log(self) -> None:
        """Wait until everything committed so far is durable: mnesia:sync_log/0."""
        self.wait(self.pipeline.last)

    def _dirty(self, kind: str, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        with self.dirty_activity(kind) as activity:
            return outcome(function(activity, *args))

    @contextmanager
    def dirty_activity(self, kind: str) -> Iterator[Dirty]:
        """Give a dirty activity for the length of the block."""
        self._check_open()
        activity = Dirty(self, kind)
        try:
            yield activity
        finally:
            activity.close()

    def run(
        self, kind: str, function: Callable[..., T], args: tuple[Any, ...], retries: int | None
    ) -> tuple[T, Commit | None]:
        """Run a transaction; return its value and its commit, or the last one it may rest on."""
        self.make_room()
        attempt = 0
        limit = MAX_ATTEMPTS if retries is None else retries + 1
        while True:
            try:
                if attempt < ALONE_AFTER:
                    done = self._attempt(kind, function, args)
                else:
                    done = self._alone(kind, function, args)
                self.press_on()
                return done
            except Restart:
                self.counters.restarts += 1
                attempt += 1
                if attempt >= limit:
                    raise Conflict(attempt) from None

    def _alone(
        self, kind: str, function: Callable[..., T], args: tuple[Any, ...]
    ) -> tuple[T, Commit | None]:
        """Attempt it while nobody else commits, and nothing is settled."""
        with self.mutex:
            before, self._loner = self._loner, threading.get_ident()
            try:
                return self._attempt(kind, function, args)
            finally:
                self._loner = before

    def _attempt(
        self, kind: str, function: Callable[..., T], args: tuple[Any, ...]
    ) -> tuple[T, Commit | None]:
        self._check_open()
        reads = self.running.begin()
        transaction = Transaction(self, kind, reads)
        try:
            value = outcome(function(transaction, *args))
            commit = self.conclude(transaction)
            self.counters.commits += 1
            return value, commit
        except Exception:
            self.counters.failures += 1
            raise
        finally:
            transaction.close()
            self.running.end(reads)

    def conclude(self, transaction: Transaction) -> Commit | None:
        """Commit what a transaction has written; return what it may rest on where that is nothing.

        Raises:
            Restart: something that it has read has changed.
        """
        changes, payloads, operations = transaction.result()
        if changes or (self.partitions > 1 and transaction.kind == "sync_transaction"):
            # With several partitions also what has only been read is waited for by a commit.
            return self.commit(transaction.kind, changes, payloads, transaction.reads, operations)
        last = self.pipeline.last  # first: what is undone from now on is this, or has marked it
        transaction.stand()
        return last

    def commit(
        self,
        kind: str,
        changes: Changes,
        payloads: Payloads,
        reads: Reads | None,
        operations: Sequence[Operation],
    ) -> Commit:
        """Make a commit; for the package's own use, which calls `press_on` without the mutex."""
        tell = None
        if operations:

            def tell(commit: Commit) -> None:
                self.subscriptions.tell(commit, operations)

        return self.committer.commit(kind, changes, payloads, reads, tell)

    def make_room(self) -> None:
        """Make the caller wait while too much waits for the disk; where it cannot wait, refuse."""
        if not self.is_overloaded() or self._loner == threading.get_ident():
            return
        last = self.pipeline.last
        if self.log is not None and self.log.on_owner:
            raise Overloaded(self.pipeline.backlog, self.max_backlog)
        with suppress(CommitFailed):  # is told to those whose it is; there is room now
            self.wait(last)

    def is_overloaded(self) -> bool:
        """Whether too much waits for the disk; tells of it when it begins."""
        backlog = self.pipeline.backlog
        overloaded = backlog >= self.max_backlog
        if overloaded and not self._overloaded:
            self.subscriptions.overload(backlog, self.max_backlog)
        self._overloaded = overloaded
        return overloaded

    def wait(self, commit: Commit | None) -> None:
        """Block until a commit is durable; CommitFailed when it is undone instead."""
        if commit is None:
            return
        if not commit.answered:
            if self._loner == threading.get_ident():
                raise BadArgument("nothing can be waited for within the function of a transaction")
            commit.awaited = True
            if self.log is not None:
                self.log.lead(commit)
            self._await_answer(commit)
            self.subscriptions.deliver()
        if commit.error is not None:
            raise commit.error

    def _await_answer(self, commit: Commit) -> None:
        if commit.answered:
            return
        settled = threading.Event()
        with self.mutex:
            if commit.answered:
                return
            commit.waiters.append(lambda _: settled.set())
        assert self.log is not None
        self.log.wait(commit, settled, lambda: self.pipeline.first)

    def press_on(self) -> None:
        """Let the log work where it is due, and deliver events; outside of the mutex."""
        if self._loner == threading.get_ident():
            return
        if self.log is not None:
            self.log.relieve()
        self.subscriptions.deliver()
