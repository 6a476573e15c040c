"""Everything that the tables refuse, in Mnesia's words.

TableError
├── Aborted               an activity was given up with a reason
├── NoTransaction         used outside (or after the end) of its activity
├── NestedTransaction     the schema was to be changed in the middle of a transaction
├── Conflict              a transaction met others' writes more often than it was willing to retry
├── NoExists              there is no such table, index, checkpoint, ...
├── AlreadyExists         there is one of that name
├── BadType               a record, pattern or definition does not fit the table
├── BadArgument           an argument makes no sense for this operation
├── CombineError          options that exclude each other
├── ReadOnly              the table's access mode forbids writing
├── SystemLimit           a stated limit would be passed
├── NotRunning            the database is closed
├── RecordDamaged         what is on the disk is not what was written; it is not served
├── CommitFailed          the disk took it not; it has had no effect
└── SchemaMismatch        a class does not fit the stored table

`code` is Mnesia's atom for the same, where it has one (mnesia(3), "Error codes").
An exception that a transaction's function raises of its own is passed on as it is, after the
transaction was undone.
"""

from __future__ import annotations

from typing import ClassVar

from palaver.storage.errors import StoreError


class TableError(StoreError):
    """Base of everything that the tables raise.

    Attributes:
        code: Mnesia's atom for it; stable, for programs.
    """

    code: ClassVar[str] = "error"


class Aborted(TableError):
    """An activity was given up by `abort`; nothing of it has happened.

    Attributes:
        reason: what was given to `abort`.
    """

    code = "aborted"

    def __init__(self, reason: object = None) -> None:
        super().__init__(f"aborted: {reason}")
        self.reason = reason


class NoTransaction(TableError):
    """An activity was used after it had ended, or outside of the thread that runs it."""

    code = "no_transaction"


class NestedTransaction(TableError):
    """A transaction's function changed the schema; do it before or after the transaction."""

    code = "nested_transaction"


class Conflict(TableError):
    """A transaction was begun as often as `retries` allows, and others wrote what it had read.

    Attributes:
        attempts: how often it was begun.
    """

    code = "nomore"

    def __init__(self, attempts: int) -> None:
        super().__init__(
            f"begun {attempts} times, and each time another commit wrote what it had read; "
            "allow more retries or make it shorter"
        )
        self.attempts = attempts


class NoExists(TableError):
    """There is no such table, index, attribute, checkpoint or fallback.

    Attributes:
        what: what was asked for.
    """

    code = "no_exists"

    def __init__(self, what: object, text: str = "") -> None:
        super().__init__(text or f"there is no {what}")
        self.what = what


class AlreadyExists(TableError):
    """There is one of that name already.

    Attributes:
        what: the name.
    """

    code = "already_exists"

    def __init__(self, what: object, text: str = "") -> None:
        super().__init__(text or f"{what} exists already")
        self.what = what


class BadType(TableError):
    """A record, a pattern, a key or a definition does not fit where it was used."""

    code = "bad_type"


class BadArgument(TableError):
    """An argument makes no sense for this operation."""

    code = "badarg"


class CombineError(TableError):
    """Options that exclude each other, or an operation that this storage type does not have."""

    code = "combine_error"


class ReadOnly(BadType):
    """The table's access mode is `read_only`."""

    def __init__(self, table: str) -> None:
        super().__init__(f"the table {table} is read_only; see change_table_access_mode")
        self.table = table


class SystemLimit(TableError):
    """A stated limit would be passed; the text names it."""

    code = "system_limit"


class NotRunning(TableError):
    """The database is closed or closing."""

    code = "node_not_running"

    def __init__(self) -> None:
        super().__init__("the database is closed")


class RecordDamaged(TableError):
    """A record's checksum or form is wrong: it is reported, and not served.

    While a table has a damaged record, an answer that might have held it is refused too. Writing
    or deleting the key mends it; so does restoring a backup.

    Attributes:
        table: the table's name.
    """

    code = "bad_record"

    def __init__(self, table: str, text: str) -> None:
        super().__init__(f"table {table}: {text}")
        self.table = table


class CommitFailed(TableError):
    """What was committed in memory could not be made durable, and was undone.

    Attributes:
        cause: what the store said (also `__cause__`).
    """

    code = "disk_error"

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"not committed: {cause}")
        self.cause = cause
        self.__cause__ = cause


class SchemaMismatch(TableError):
    """A record class does not fit the stored table; migrate with `transform_table`."""

    code = "bad_type"
