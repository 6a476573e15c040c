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
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .batch import Done
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

    async def close(self) -> None:
        """Answer what is queued and stop."""


LocalLog: type[LogPort] = Store
"""The embedded engine."""
