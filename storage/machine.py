"""What storage asks of a state machine: a deterministic `apply` over tables.

A machine is one object per partition. `open` and `apply` are called from one thread at a time (the
partition's writer), never from two; a machine keeps its caches without locks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from .transaction import ReadTxn, WriteTxn

Command: TypeAlias = tuple[Any, ...]
"""A plain tuple that CBOR can carry: (opcode, ...)."""


class Outcome(NamedTuple):
    """What an applied command answers, and what the world should hear of once it is durable."""

    value: Any = None
    effects: tuple[Any, ...] = ()


class Rejected(Exception):
    """The machine's refusal of one command, raised by `apply` before its first write.

    It reaches the `done` of the append as that command's outcome. A rejected command takes no
    sequence number and leaves nothing behind. Raising it after a write is a bug of the machine
    and is answered with `ApplyFailed`.

    Attributes:
        code: stable, for programs.
        text: for people.
    """

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" if self.text else self.code


class Machine(Protocol):
    """The state machine of one partition."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables it uses; a name starting with "_" is storage's own."""

    @property
    def version(self) -> int:
        """Version of the tables' content; a folder with another version is not opened."""

    def open(self, txn: ReadTxn, partition: int) -> None:
        """Start (again) from what the tables hold: every cache is dropped or rebuilt.

        Called when the store opens, and whenever a transaction was given up after some of its
        commands had been applied, so that no cache remembers what was never committed.
        """

    def apply(self, txn: WriteTxn, seq: int, command: Command) -> Outcome:
        """Apply one command; the same tables, seq and command give the same result everywhere.

        Raises:
            Rejected: before any write; the command has no effect.
        """

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        """Yield one sentence for every invariant that the tables violate."""


@runtime_checkable
class CutAware(Protocol):
    """A machine that can tell whether snapshots of all partitions fit together.

    With several partitions a backup is a cut through all of them, taken one after the other; a
    machine whose commands hand work from one partition to another vetoes a cut in which an answer
    is present and its question is not.
    """

    def consistent(self, txns: Sequence[ReadTxn]) -> bool:
        """Return whether these snapshots, in the order of the partitions, may be kept together."""
