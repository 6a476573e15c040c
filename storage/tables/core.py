"""What the parts of the database share: its state, and what they ask of one another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palaver.storage.store import Store

from .commit import Commit
from .committing import Committer
from .isolation import Running
from .pipeline import Pipeline
from .rows import StoreRows
from .storelog import StoreLog
from .subscriptions import Subscriptions
from .table import TableState

if TYPE_CHECKING:
    from .archives.checkpoints import Checkpoint
    from .dirty_activity import Dirty


@dataclass(slots=True)
class Counters:
    """What has become of transactions since the database was opened.

    Attributes:
        commits: concluded, those that wrote nothing included.
        failures: given up by an exception, `Aborted` included.
        restarts: begun again after a conflict.
    """

    commits: int = 0
    failures: int = 0
    restarts: int = 0


class Core(ABC):
    """The database as its parts see it.

    Attributes:
        path: the folder, None in memory.
        store: the tables of the folder, None in memory.
        log: the way to the store, None in memory.
        rows: the store's rows, None in memory.
        mutex: held while the memory changes; may be taken again by its holder.
        states: the tables by name.
        classes: record classes by name.
        next_space: the next space that no table or index has had.
        running: the transactions that run.
        committer: makes commits.
        pipeline: brings them to the disk.
        subscriptions: tells of them.
        max_backlog: commits that may wait for the disk.
        counters: what has become of transactions.
        clock: seconds, monotonic.
        checkpoints_by_name: the checkpoints that are active.
        waits_elsewhere: the threads on which a change of the schema returns before it is durable,
            because somebody else waits for it.
    """

    path: Path | None
    store: Store | None
    log: StoreLog | None
    rows: StoreRows | None
    mutex: AbstractContextManager[Any]
    states: dict[str, TableState]
    classes: dict[str, type]
    next_space: int
    running: Running
    committer: Committer
    pipeline: Pipeline
    subscriptions: Subscriptions
    max_backlog: int
    counters: Counters
    clock: Callable[[], float]
    checkpoints_by_name: dict[str, Checkpoint]
    waits_elsewhere: set[int]

    @abstractmethod
    def state(self, table: Any) -> TableState:
        """Return the state of a table; NoExists when there is none."""

    @abstractmethod
    def forget_handles(self) -> None:
        """Look every handle up again: a table has come, gone or changed."""

    @abstractmethod
    def wait(self, commit: Commit | None) -> None:
        """Block until a commit is durable; CommitFailed when it is undone instead."""

    @abstractmethod
    def make_room(self) -> None:
        """Make the caller wait while too much waits for the disk; where it cannot, refuse."""

    @abstractmethod
    def press_on(self) -> None:
        """Let the log work where it is due, and deliver events; outside of the mutex."""

    @abstractmethod
    def dirty_activity(self, kind: str) -> AbstractContextManager[Dirty]:
        """Give a dirty activity for the length of a block."""

    @abstractmethod
    def tables(self) -> list[str]:
        """Return the names of the tables, sorted."""

    @property
    @abstractmethod
    def fallback_activated(self) -> bool:
        """Whether a fallback takes the place of everything at the next opening."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether it is open."""

    @property
    def partitions(self) -> int:
        """How many partitions there are; 1 in memory."""
        return 1 if self.store is None else self.store.partitions
