"""The log port: what the rest of the system may know of how commands become durable.

An engine takes commands for a partition, makes them durable in one order, applies them in that
order through a deterministic machine, and answers after both. The `local` engine is `Store`: its
LMDB transaction is the log, because the applied sequence and the effects of the commands are
written in one transaction. An engine that replicates keeps the commands themselves in a log of its
own and uses a `Store` per replica to apply them.

Promises of every engine:

* `done` is called once for every append that did not raise, on the owner's thread (without a loop
  on one that waits or flushes, one at a time), in the order of the appends of that partition, and
  only after its commands are durable.
* Sequences of applied commands rise by one, without a gap, per partition.
* A result that is a `Rejected` or a `CommandError` (other than `StoreFailed`) had no effect.

How a replica catches up, in an engine that keeps commands: as long as the log still has the
commands behind the replica's sequence, it applies those. When it has not, the replica is too far
behind: another one takes a `snapshot` (one file, as of a sequence and a digest that `SnapshotInfo`
names), and this one `install`s it: verified, whole or not at all, in place of everything that it
held; then it applies the commands from there on. `truncate` may forget commands up to a sequence
only when a snapshot at or behind it is durable where the next replica will ask for it. So the
order is always: snapshot, made durable; truncate; install where it is needed. After an install the
sequence and the digest are the snapshot's, and an append that was made before it and is not
applied gets `WrongSequence`: whoever appended looks where the partition is now, and goes on from
there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from .batch import Done
from .installing import SnapshotInfo
from .leading import Ticket
from .machine import Command
from .store import Store


class LogPort(Protocol):
    """Appends commands to partitions."""

    partitions: int

    def partition_of(self, key: bytes) -> int:
        """Return the partition that `key` belongs to."""

    def append(
        self,
        partition: int,
        commands: Sequence[Command],
        done: Done | None = None,
        *,
        expected: int | None = None,
    ) -> Ticket | None:
        """Queue commands; see `Store.append`."""

    def applied(self, partition: int) -> int:
        """Return the last applied sequence."""

    def digest(self, partition: int) -> tuple[int, int]:
        """Return (last applied sequence, digest of the history up to it)."""

    def snapshot(self, partition: int, dest: str | os.PathLike[str]) -> SnapshotInfo:
        """Copy a partition as of one sequence into a new file; see `Store.snapshot`."""

    def install(self, partition: int, source: str | os.PathLike[str], info: SnapshotInfo) -> None:
        """Replace the content of a partition by a snapshot; see `Store.install`."""

    def truncate(self, partition: int, sequence: int) -> None:
        """Forget the commands up to `sequence`, which a durable snapshot holds.

        Raises:
            WrongSequence: that has not been applied yet.
        """

    async def close(self) -> None:
        """Answer what is queued and stop."""


LocalLog: type[LogPort] = Store
"""The embedded engine."""
