"""What an engine in Python does for the works: a few operations, each on a handful of things.

They take handfuls so that the call itself weighs nothing beside what is measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.tables.records import Account, Message


@dataclass(frozen=True, slots=True)
class Job:
    """How much of a work is to be done.

    Attributes:
        count: operations at most.
        width: records of a commit, callers, hot keys: what the work says.
        limit_s: for how long at most.
    """

    count: int
    width: int
    limit_s: float


class Adapter(ABC):
    """An engine over one folder.

    Args:
        folder: where its data lies; made by the engine, or there from the run before.
        records: how many accounts there are before anything is measured.
    """

    def __init__(self, folder: Path, records: int) -> None:
        self.folder = folder
        self.records = records
        # The next new number; sequences of new keys go on where the one before has ended.
        self.next_number = records
        # Positions of the next messages.
        self.tails: dict[int, int] = {}

    @abstractmethod
    def open(self) -> int:
        """Open the folder, or make it; return how many accounts there are."""

    @abstractmethod
    def close(self) -> None:
        """Close it; harmless when it is not open."""

    @abstractmethod
    def fill(self, accounts: Sequence[Account]) -> None:
        """Write many accounts, as fast as this engine can; durable after `settle`."""

    @abstractmethod
    def fill_for_reads(self) -> None:
        """Fill what only reads need, if that is not there: the tables of other kinds."""

    @abstractmethod
    def settle(self) -> None:
        """Return when everything is durable."""

    @abstractmethod
    def ready(self, record: Account) -> Any:
        """Return what is handed to `put` for a record; made before the clock runs."""

    @abstractmethod
    def put(self, items: Sequence[Any]) -> None:
        """Write accounts in one transaction that is durable on return."""

    @abstractmethod
    def transact(self, items: Sequence[Any]) -> None:
        """For each account: read and write it in a transaction of its own; not yet durable."""

    @abstractmethod
    def dirty_write(self, items: Sequence[Any]) -> None:
        """Write each account without a transaction; not yet durable."""

    @abstractmethod
    def get(self, numbers: Sequence[int]) -> Account:
        """Read accounts, one by one and without a transaction each; return the last."""

    @abstractmethod
    def get_disc_only(self, numbers: Sequence[int]) -> Account:
        """The same in a table whose records are not held in memory."""

    @abstractmethod
    def transact_reads(self, numbers: Sequence[int]) -> Account:
        """Read accounts in one transaction; return the last."""

    @abstractmethod
    def index_read(self, owners: Sequence[str]) -> int:
        """Read the accounts of each owner by an index; return how many were found."""

    @abstractmethod
    def select(self) -> int:
        """Look at all accounts for balances below SELECTED_BELOW; return how many were found."""

    @abstractmethod
    def ranges(self, starts: Sequence[int], size: int) -> int:
        """Read `size` accounts in the order of their numbers from each start; return how many."""

    @abstractmethod
    def message(self, message: Message) -> Any:
        """Return what is handed to `append` for a message."""

    @abstractmethod
    def append(self, items: Sequence[Any]) -> None:
        """Append messages to their queue in one durable transaction."""

    @abstractmethod
    def take(self, queue: int, count: int) -> int:
        """Read the first messages of a queue and delete them, durably; return how many."""

    @abstractmethod
    def disk_bytes(self) -> int:
        """Return the bytes of disk that are used."""

    def warm_up(self) -> int:
        """Bring what `get` reads to how it is once it is in use; return how many were read."""
        return 0

    def callers(self, items: Sequence[Any], job: Job) -> Result | None:
        """Put single accounts from `width` threads; None where the floor's way is the only one."""
        return None

    def tasks(self, items: Sequence[Any], job: Job) -> Result | None:
        """Put single accounts from `width` coroutines; None as above."""
        return None


Make = Callable[[Path, int], Adapter]
