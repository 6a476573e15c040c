"""What storage asks of a state machine: a deterministic `apply` over tables.

A machine is one object per partition. `open` and `apply` are called from one thread at a time (the
partition's writer, or whoever leads), never from two; a machine keeps its caches without locks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from .transaction import ReadTxn, WriteTxn

Command: TypeAlias = tuple[Any, ...]
"""A plain tuple that CBOR can carry: (opcode, ...)."""

DEFAULT_KIND = "chat"
"""The content of a machine that does not say."""


class Outcome(NamedTuple):
    """What an applied command answers, and what the world should hear of once it is durable."""

    value: Any = None
    effects: tuple[Any, ...] = ()


BESIDE = Outcome("beside the history")
"""What a command answers that is no part of the history: it takes no sequence, and what it writes
is `aside`. It is committed all the same, also where nothing else is."""


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


@runtime_checkable
class Finishing(Protocol):
    """A machine that writes rows which sum up what its commands did (sizes of tables, say).

    Such a row changes with every command; written once a batch it costs next to nothing.
    """

    def finish(self, txn: WriteTxn) -> None:
        """Write what is summed up, at the end of a batch's transaction.

        Called after the last command of a batch that applied at least one; where commands are
        applied one by one, because one of them failed, after each. How commands are divided into
        batches is chance; so these writes are no part of the history's digest, and what they leave
        must depend on the commands alone. They are undone with the batch; a failure of `finish`
        is ApplyFailed for each of its commands.
        """


@runtime_checkable
class Named(Protocol):
    """A machine that says which program's content it keeps; without a name it is "chat".

    A folder remembers the name, and no other program opens it.
    """

    @property
    def kind(self) -> str:
        """The program's name for its content."""


def kind_of(machine: Machine) -> str:
    """Return the name of the content that `machine` keeps."""
    return machine.kind if isinstance(machine, Named) else DEFAULT_KIND
