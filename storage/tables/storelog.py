"""The log of the tables: a `Store`, driven by a loop or by whoever waits.

Under a loop all of the store belongs to the loop's thread: a commit that another thread makes is
carried over, in the order of the commits. Without one, the store may be used from any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import lmdb

from palaver.storage.batch import Result, read_identity
from palaver.storage.errors import StoreError
from palaver.storage.lending import Post
from palaver.storage.store import Store

from .commit import Commit
from .errors import BadArgument

UNSENT_S = 0.001
"""How long to wait before looking again at what another thread is about to do."""

Done = Callable[[Sequence[Result]], None]


class StoreLog:
    """Appends to a store and waits for it, from any thread.

    Args:
        store: the store.
        post: runs a callable on the loop's thread, from any thread; None without a loop.
    """

    def __init__(self, store: Store, post: Post | None) -> None:
        self.store = store
        self.partitions = store.partitions
        self._post = post
        self._owner = threading.get_ident()
        self._outbox: deque[tuple[int, tuple[Any, ...], Done, int]] = deque()

    @property
    def has_loop(self) -> bool:
        """Whether a loop drives the store."""
        return self._post is not None

    @property
    def on_owner(self) -> bool:
        """Whether this is the loop's thread."""
        return self._post is not None and threading.get_ident() == self._owner

    def applied(self, partition: int) -> int:
        """Return the last durable sequence."""
        return self.store.applied(partition)

    def found(self, partition: int) -> int | None:
        """Return the sequence that the disk holds after it has failed; None if unreadable."""
        try:
            with self.store.look(partition) as txn:
                identity = read_identity(txn)
        except (StoreError, lmdb.Error):
            return None
        return None if identity is None else identity.applied

    def append(self, partition: int, command: tuple[Any, ...], done: Done, expected: int) -> Any:
        """Append one command; never blocks. Return a ticket to wait by."""
        if self._post is None:
            return self.store.append(partition, [command], done, expected=expected, lead=False)
        self._outbox.append((partition, command, done, expected))
        if threading.get_ident() == self._owner:
            self._carry()
        else:
            self._post(self._carry)
        return None

    def _carry(self) -> None:
        outbox = self._outbox
        while outbox:
            partition, command, done, expected = outbox.popleft()
            self.store.append(partition, [command], done, expected=expected)

    def relieve(self) -> None:
        """Work if it is due and nobody else does; never under a mutex that `done` needs."""
        if self._post is None:
            for partition in range(self.partitions):
                self.store.relieve(partition)

    def finish(self, idle: threading.Event) -> None:
        """Work until `idle` is set: until nothing is on its way."""
        while not idle.is_set():
            self._carry()
            self.store.drain()

    def lead(self, commit: Commit) -> None:
        """Work for a commit that stands alone: whoever did it needs no more waiting."""
        if self._post is None and commit.ticket is not None and commit.crossing is None:
            commit.ticket.wait()

    def wait(
        self, commit: Commit, settled: threading.Event, first: Callable[[], Commit | None]
    ) -> None:
        """Block until a commit is durable and `settled` is set.

        Args:
            commit: which.
            settled: is set when it is.
            first: the first commit that is not settled, for one that waits for others.

        Raises:
            BadArgument: the calling thread runs the loop that would do the work.
        """
        if self._post is None:
            while not settled.is_set():
                self._press(commit, settled, first)
        elif threading.get_ident() == self._owner:
            self._carry()
            self.store.drain()
            if not settled.is_set():
                raise BadArgument("the loop's thread cannot wait for this; use the database's aio")
        else:
            settled.wait()

    @staticmethod
    def _press(
        commit: Commit, settled: threading.Event, first: Callable[[], Commit | None]
    ) -> None:
        """Work for a commit, or for the first one while it waits for others to be sent."""
        tickets = tickets_of(commit)
        if not tickets and (before := first()) is not None:
            tickets = tickets_of(before)
        pending = [ticket for ticket in tickets if not ticket.settled]
        for each in pending:
            if not settled.is_set():
                each.wait()
        if not pending:  # another thread is about to tell, or to send what comes next
            settled.wait(UNSENT_S)


def tickets_of(commit: Commit) -> list[Any]:
    """Return what the log knows the commands of a commit by."""
    if commit.crossing is not None:
        return list(commit.crossing.tickets)
    return [] if commit.ticket is None else [commit.ticket]
