"""Checkpoints: tables as they were between two commits, while work goes on.

As in Mnesia, a checkpoint keeps what is overwritten: whoever writes a key for the first time after
its activation leaves there what the key held (a *retainer*). So activating one costs nothing,
whatever the tables' sizes; no snapshot of the disk is held meanwhile, no page pinned, no map kept
from growing; and it goes through all partitions and through tables in memory alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from sortedcontainers import SortedDict

from palaver.storage.tables.copies import DiscCopy, Key, MemoryCopy, Slot, overlaid
from palaver.storage.tables.errors import NoExists, RecordDamaged
from palaver.storage.tables.schema import Definition
from palaver.storage.tables.table import DAMAGED, TableState

MAX_CHECKPOINTS = 16
DEFAULT_MAX_RETAINED = 1_000_000
DEFAULT_LIFETIME_S = 24 * 3600.0
CHUNK_ROWS = 256
"""Rows that are read in one go, with commits held up."""

_LOOK_AT_CLOCK = 1024


class Checkpoint:
    """A consistent view of tables as of one moment; see `Database.activate_checkpoint`.

    A context manager: leaving it deactivates.

    Attributes:
        name: its name.
        tables: the names of its tables.
        partitions: (durable sequence, digest) of each partition at that moment: the checkpoint
            holds everything up to there.
        reason: why it was given up before its end; empty while it was not.
        active: whether it can be read.
    """

    def __init__(
        self,
        name: str,
        states: list[TableState],
        partitions: tuple[tuple[int, int], ...],
        mutex: AbstractContextManager[Any],
        *,
        without_ram: bool,
        max_retained: int,
        deadline_s: float,
        clock: Callable[[], float],
        release: Callable[[Checkpoint], None],
    ) -> None:
        self.name = name
        self.tables = tuple(state.name for state in states)
        self.partitions = partitions
        self.reason = ""
        self.active = True
        self._mutex = mutex
        self._max_retained = max_retained
        self._deadline_s = deadline_s
        self._clock = clock
        self._release = release
        self._retained = 0
        self.retainers = {
            state.name: Retainer(self, mutex, state, empty=without_ram and not state.on_disc)
            for state in states
        }

    def records(self, table: str) -> Iterator[Any]:
        """Yield the records that a table had, in the order of its keys.

        Raises:
            NoExists: the table is not part of it, or it is not active any more.
            RecordDamaged: a record on the disk is not what was written.
        """
        retainer = self.retainer(table)
        for _, payload in retainer.rows():
            state = retainer.state
            yield from state.records_of(state.decode(payload))

    def retainer(self, table: str) -> Retainer:
        """Return what is kept of a table."""
        self.require()
        found = self.retainers.get(table)
        if found is None:
            raise NoExists(table, f"the checkpoint {self.name} does not include {table!r}")
        return found

    def require(self) -> None:
        """Raise NoExists unless it is active."""
        if self.active and self._clock() >= self._deadline_s:
            self.give_up("its time was over")
        if not self.active:
            text = f"the checkpoint {self.name} is not active any more"
            raise NoExists(self.name, f"{text}: {self.reason}" if self.reason else text)

    @property
    def overdue(self) -> bool:
        """Whether its time is over."""
        return self._clock() >= self._deadline_s

    def count(self) -> None:
        """Hear that one more record is kept; give up when they are too many, or it is too late."""
        self._retained += 1
        if self._retained > self._max_retained:
            self.give_up(f"more than {self._max_retained} records were changed meanwhile")
        elif not self._retained % _LOOK_AT_CLOCK and self.overdue:
            self.give_up("its time was over")

    def give_up(self, reason: str) -> None:
        """End it early."""
        self.reason = reason
        self.deactivate()

    def deactivate(self) -> None:
        """End it; harmless when repeated: mnesia:deactivate_checkpoint/1."""
        with self._mutex:
            if not self.active:
                return
            self.active = False
            for retainer in self.retainers.values():
                retainer.detach()
        self._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.deactivate()

    def __repr__(self) -> str:
        return f"<Checkpoint {self.name}: {len(self.tables)} tables, active={self.active}>"


class Retainer:
    """What a checkpoint keeps of one table: what was there under each key written since.

    Attributes:
        checkpoint: whose it is.
        state: the table, as it is while nobody has changed its schema.
        definition: as it was at that moment.
        size: how many records there were.
    """

    __slots__ = (
        "_empty",
        "_frozen",
        "_mutex",
        "_old",
        "checkpoint",
        "definition",
        "size",
        "state",
    )

    def __init__(
        self,
        checkpoint: Checkpoint,
        mutex: AbstractContextManager[Any],
        state: TableState,
        *,
        empty: bool,
    ) -> None:
        self.checkpoint = checkpoint
        self._mutex = mutex
        self._empty = empty
        self._frozen = False
        self._old: SortedDict[Key, Slot | bytes | None] = SortedDict()
        self.state = state
        self.definition: Definition = state.definition
        self.size = 0 if empty else state.size
        if not empty:
            state.retainers = (*state.retainers, self)

    def keep(self, key: Key, before: Slot | bytes | None) -> None:
        """Hear that a key is about to be written, and what is there; under the mutex."""
        if key not in self._old:
            self._old[key] = before
            self.checkpoint.count()

    def freeze(self) -> None:
        """Keep everything: the rows of the table are about to go from the disk; under the mutex."""
        copy = self.state.copy
        if not isinstance(copy, DiscCopy):
            return  # a table that is replaced leaves its records in memory as they are
        for key, slot in copy.pairs():
            self.keep(key, slot)
            if not self.checkpoint.active:
                return
        self._frozen = True

    def move(self, state: TableState) -> None:
        """Go on with the same records, as records of another class; under the mutex."""
        for key, slot in self._old.items():
            if slot is not None and not isinstance(slot, bytes):
                self._old[key] = self.state.encode(slot)
        self.state = state

    def detach(self) -> None:
        """Keep nothing more, and forget what was kept."""
        self.state.retainers = tuple(each for each in self.state.retainers if each is not self)
        self._old.clear()

    def rows(self) -> Iterator[tuple[Key, bytes]]:
        """Yield every key with its row as it was, in order, holding commits up for moments only.

        Raises:
            NoExists: the checkpoint has ended.
            RecordDamaged: a record is not what was written.
        """
        if self._empty:
            return
        chunks = (
            self._from_memory() if isinstance(self.state.copy, MemoryCopy) else self._from_disc()
        )
        for chunk in chunks:
            for key, slot in chunk:
                yield key, self._stored(slot)

    def _stored(self, slot: Slot | bytes) -> bytes:
        if not isinstance(slot, bytes):
            return self.state.encode(slot)
        if slot == DAMAGED:
            text = "a damaged record: write it again or delete it, or restore a backup"
            raise RecordDamaged(self.definition.name, text)
        return slot

    def _from_memory(self) -> Iterator[list[tuple[Key, Slot]]]:
        old = self._old
        with self._mutex:
            self.checkpoint.require()
            present = self._memory_rows()
            keys = [key for key in present if key not in old]
            keys += [key for key, before in old.items() if before is not None]
        keys.sort()
        for at in range(0, len(keys), CHUNK_ROWS):
            with self._mutex:
                self.checkpoint.require()
                present = self._memory_rows()
                chunk = [
                    (key, old[key] if key in old else present[key])
                    for key in keys[at : at + CHUNK_ROWS]
                ]
            yield chunk

    def _memory_rows(self) -> dict[Key, Slot]:
        copy = self.state.copy  # asked for each time: a failed disk may have made a new one
        assert isinstance(copy, MemoryCopy)
        return copy.rows

    def _from_disc(self) -> Iterator[list[tuple[Key, Slot]]]:
        low = b""
        while True:
            with self._mutex:
                self.checkpoint.require()
                under = [] if self._frozen else self.state.copy.scan(low, None, limit=CHUNK_ROWS)
                # What lies above the last row that was read belongs to the next chunk.
                high = under[-1][0] if len(under) == CHUNK_ROWS else None
                over = [(key, self._old[key]) for key in self._old.irange(low, high)]
            if self._frozen:
                yield [(key, slot) for key, slot in over if slot is not None]
                return
            yield list(overlaid(over, under))
            if high is None:
                return
            low = high + b"\x00"
