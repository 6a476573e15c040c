"""Everything that storage refuses, and whose fault it is.

StoreError
├── StoreUnusable             the folder cannot be opened; an operator has to act
│   ├── StoreLocked           another process owns it
│   ├── StoreMissing          there is no store at this place
│   ├── StoreCorrupt          what is on the disk is not what was written
│   ├── StoreVersion          written by a newer (or unknown) version of this program
│   └── StoreMismatch         the settings contradict the folder (partitions, program)
├── RecordCorrupt             one record is not what was written; the others are served
├── StoreBusy                 a snapshot is held open for too long; end it and try again
├── StoreClosed               a call after `close`
├── StoreUnavailable          not here, or not now: another node may do it, or this one later
├── Overloaded                the backlog is full; nothing was queued; try later
├── CommandError              the outcome of one command that did not happen
│   ├── WrongSequence         the partition was not at the expected sequence
│   ├── ApplyFailed           the machine raised something unexpected: its bug
│   ├── StoreFull             no room on the disk or in the map; reads go on
│   └── StoreFailed           the disk failed; the outcome of the command is not known
└── BackupError               a backup cannot be made, or a restore cannot be trusted

`Rejected` (in `machine`) is no StoreError: it is an answer of the state machine.
"""

from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """Base of everything that storage raises."""


class StoreUnusable(StoreError):
    """The store's folder cannot be opened as it is."""


class StoreLocked(StoreUnusable):
    """Another process owns the folder.

    Attributes:
        path: the store's folder.
        pid: the owner's process id, None when it could not be read.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"the store {path} is in use by {owner}; stop that process first")
        self.path = path
        self.pid = pid


class StoreMissing(StoreUnusable):
    """There is no store at this place."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no store in {path}")
        self.path = path


class StoreCorrupt(StoreUnusable):
    """A file of the store does not hold what was written to it.

    Attributes:
        path: the file concerned.
        problem: what is wrong with it.
    """

    ADVICE = (
        "stop using this folder, keep a copy of it, and restore the latest backup into a new one"
    )

    def __init__(self, path: Path, problem: str, advice: str = ADVICE) -> None:
        super().__init__(f"{path} is damaged: {problem}; {advice}")
        self.path = path
        self.problem = problem


class StoreVersion(StoreUnusable):
    """The folder was written by a version of this program that this one cannot read."""

    def __init__(self, path: Path, what: str, found: int, supported: int) -> None:
        verb = "upgrade this program" if found > supported else "use the program that wrote it"
        super().__init__(
            f"{path}: {what} is version {found}, this program reads version {supported}; {verb}"
        )
        self.path = path
        self.found = found
        self.supported = supported


class StoreMismatch(StoreUnusable):
    """The settings contradict what the folder was created with."""


class RecordCorrupt(StoreError):
    """One record of a table is not what was written to it: its checksum says so.

    It reaches whoever reads that record and nobody else: a command that does fails alone (with
    ApplyFailed, whose cause this is), a read fails alone. A check names all such records.

    Attributes:
        folder: of the partition.
        table: the table's name.
        key: the record's key.
    """

    SHOWN_BYTES = 64

    def __init__(self, folder: Path, table: str, key: bytes) -> None:
        shown = key[: self.SHOWN_BYTES].hex() + ("..." if len(key) > self.SHOWN_BYTES else "")
        super().__init__(
            f"the record with key {shown} (hex) in table {table!r} of {folder} is damaged; write "
            "it anew or restore the latest backup; other records are not concerned"
        )
        self.folder = folder
        self.table = table
        self.key = key


class StoreBusy(StoreError):
    """What needs a partition without any snapshot did not get it within `max_snapshot_s`.

    Attributes:
        holder: which snapshot is open, and for how long.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"waited in vain for the end of {holder}")
        self.holder = holder


class StoreClosed(StoreError):
    """The store is closed or closing; nothing was queued."""

    def __init__(self) -> None:
        super().__init__("the store is closed")


class StoreUnavailable(StoreError):
    """This store cannot do it here and now, though nothing is wrong with the request: try again.

    Its kinds are those of a replicated store; see `palaver.storage.replicated.errors`.
    """


class Overloaded(StoreError):
    """The backlog is full: nothing was queued, and the caller should try again later.

    Attributes:
        backlog: commands (or reads) waiting now.
        limit: the bound that would have been passed.
    """

    def __init__(self, backlog: int, limit: int) -> None:
        super().__init__(f"{backlog} are waiting already, the limit is {limit}")
        self.backlog = backlog
        self.limit = limit


class CommandError(StoreError):
    """The outcome of a command that had no effect."""


class WrongSequence(CommandError):
    """The partition was not at the sequence that the append expected; nothing was applied.

    Attributes:
        expected: what the caller named; None when it named none, and the content of the partition
            was replaced (`Store.install`) while the append waited.
        actual: the partition's last applied sequence at that moment.
    """

    def __init__(self, expected: int | None, actual: int) -> None:
        super().__init__(
            f"the partition was replaced, it is at sequence {actual}"
            if expected is None
            else f"expected the partition at sequence {expected}, it is at {actual}"
        )
        self.expected = expected
        self.actual = actual


class ApplyFailed(CommandError):
    """The state machine raised something other than `Rejected`; the command had no effect.

    Attributes:
        command: the command concerned.
        cause: what the machine raised (also `__cause__`).
    """

    def __init__(self, command: object, cause: BaseException) -> None:
        super().__init__(f"applying a command failed: {type(cause).__name__}: {cause}")
        self.command = command
        self.cause = cause
        self.__cause__ = cause


class StoreFull(CommandError):
    """There is no room for the batch; it had no effect, reads go on, a later append tries again."""


class StoreFailed(CommandError):
    """The disk failed under the batch.

    Nothing of it is half-applied, but whether the batch as a whole became durable may be unknown
    when the failure hit the last write of a commit: repeat the command under its idempotency key.
    """


class BackupError(StoreError):
    """A backup cannot be made at this place, or a backup cannot be trusted."""
