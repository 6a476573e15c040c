"""Runs programs on Palaver's tables and logs what is observed, in the words of the Erlang one.

This module is the counterpart of `beam/palaver_tables.erl`; what programs do within activities and
with the schema is in `doing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from mnesia_conform.archives import Archives
from mnesia_conform.beam import folder_for_tests
from mnesia_conform.compare import PLACES
from mnesia_conform.doing import Boom, Operations
from mnesia_conform.language import ITEMS, Program, Step
from mnesia_conform.values import shown
from palaver.storage.tables import (
    Aborted,
    Activity,
    AlreadyExists,
    BadArgument,
    Database,
    ReadOnly,
    TableError,
)
from palaver.storage.tables.events import (
    Delete,
    DeleteObject,
    DetailedDelete,
    DetailedWrite,
    Write,
)

__all__ = ["Ours"]


def code(error: Exception) -> Any:
    """Mnesia's word for what is wrong; or what a program gave to `abort`."""
    if isinstance(error, Aborted):
        return ["tuple", *error.reason]
    if isinstance(error, ReadOnly):
        return "read_only"
    if isinstance(error, TableError):
        return error.code
    if isinstance(error, Boom):
        return "boom"
    return f"Python's {error!r}"


class Ours:
    """What one program is observed to do."""

    def __init__(self, program: Program, operations: type[Operations] = Operations) -> None:
        self.program = program
        self.operations = operations(self)
        self.folder = folder_for_tests()
        self.path = Path(self.folder.name, "tables")
        self.db: Database
        self.entries: list[Any] = []
        self.subscriptions: dict[str, Any] = {}
        self.heard: list[Any] = []
        self.ended: Activity | None = None

    def run(self) -> list[Any]:
        """Run the program: a list of `[instruction, table, ["value" | "error", ...]]`."""
        with self.folder:
            self.db = self.opened()
            try:
                for step in self.program.steps:
                    self.step(step)
                self.contents()
                if self.program.disc:
                    self.restart()
                    self.contents()
            finally:
                self.db.close()
        return self.entries

    def opened(self, records: Iterable[type] = ()) -> Database:
        """The program's database; every third one that is created has two partitions."""
        if not self.on_disc():
            return Database.in_memory()
        partitions = 2 if len(self.program.steps) % 3 == 0 else 1
        return Database.open(self.path, partitions=partitions, records=records)

    def on_disc(self) -> bool:
        """Whether a table has to be; a database in memory has ram_copies only."""
        creations = [step for step in self.program.steps if step[0] == "create_table"]
        return self.program.disc or any(step[2][1] != "ram_copies" for step in creations)

    def has_classes(self) -> bool:
        """Whether the records of tables are of classes: in every other program."""
        return len(self.program.steps) % 2 == 0

    # -- the log --------------------------------------------------------------------------------

    def log(self, name: str, table: str, result: Any) -> None:
        """Remember what an instruction gave."""
        if result is None and name.removeprefix("dirty_") not in PLACES:
            result = "ok"
        self.entries.append([name, table, ["value", result]])

    def failed(self, name: str, table: str, error: Exception) -> None:
        """Remember how an instruction failed."""
        self.entries.append([name, table, ["error", code(error)]])

    def attempt(self, name: str, table: str, function: Callable[[], Any]) -> None:
        """Do it, and log what it gave or how it failed."""
        with suppress(Exception):
            self.logged(name, table, function)

    def logged(self, name: str, table: str, function: Callable[[], Any]) -> None:
        """Log what it gives; or how it fails, and let it fail."""
        try:
            result = function()
        except Exception as error:
            self.failed(name, table, error)
            raise
        self.log(name, table, result)

    # -- steps ----------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        """Take one step."""
        match step:
            case ("activity", kind, body):
                self.attempt("activity", "none", lambda: self.activity(kind, body))
            case ("restart",):
                self.restart()
            case ("archive", (name, *args)):
                archive = Archives(self.db, Path(self.folder.name))
                self.attempt(name, "none", lambda: getattr(archive, name)(*args))
            case ("outside", operation):
                self.attempt("outside", "none", lambda: self.do(self.outside(), operation))
            case ("subscribe", table, detail):
                self.attempt("subscribe", table, lambda: self.subscribe(table, detail))
            case ("unsubscribe", table, _):
                self.attempt("unsubscribe", table, lambda: self.unsubscribe(table))
            case ("dirty", (name, table, *args)):
                self.attempt("dirty_" + name, table, lambda: self.dirty(name, table, *args))
            case ("table_info", table, item):
                self.attempt("info_" + item, table, lambda: self.info(table, item))
            case (name, table, *args):
                function = getattr(self.operations, name)
                self.attempt(name, table, lambda: function(table, *args))
        self.events()

    def activity(self, kind: str, body: list[Any]) -> str:
        """Run an activity."""

        def run(act: Activity) -> None:
            self.ended = act
            self.body(act, body)

        getattr(self.db, kind)(run)
        return "done"

    def outside(self) -> Activity:
        """An activity that has ended."""
        if self.ended is None:
            self.activity("transaction", [])
            assert self.ended is not None
        return self.ended

    def body(self, act: Activity, operations: list[Any]) -> None:
        """Do what an activity does; what fails goes out of it."""
        for operation in operations:
            self.do(act, operation)

    def do(self, act: Activity, operation: Any) -> None:
        """Do one operation and log what it gave."""
        match operation:
            case ("try", tried):
                try:
                    self.do(act, tried)
                except Exception as error:
                    self.failed("try", "none", error)
            case ("nested", kind, body, then):
                try:
                    self.nested(act, kind, body)
                except Exception as error:
                    self.failed("nested", "none", error)
                    if then == "pass":
                        raise
                else:
                    self.log("nested", "none", "ok")
            case ("abort", reason):
                act.abort(("program", reason))
            case ("raise",):
                raise Boom
            case ("is_transaction",):
                self.log("is_transaction", "none", act.is_transaction)
            case ("dirty", (name, table, *args)):
                self.logged("dirty_" + name, table, lambda: self.dirty(name, table, *args))
            case ("schema", (name, table, *args)):
                function = getattr(self.operations, name)
                self.attempt(name, table, lambda: function(table, *args))
            case ("table_info", table, item):
                function = self.operations.table_info
                self.logged("info_" + item, table, lambda: function(act, table, item))
            case (name, table, *args):
                function = getattr(self.operations, name)
                self.logged(name, table, lambda: shown(function(act, table, *args), table))

    def nested(self, act: Activity, kind: str, body: list[Any]) -> None:
        """Run a transaction within an activity: by that, or by the database, as it comes."""
        run = act.transaction if kind == "transaction" else self.db.sync_transaction
        run(lambda inner: self.body(inner, body))

    def dirty(self, name: str, table: str, *args: Any) -> Any:
        """Do one of the dirty functions."""
        return shown(self.operations.dirty(name, table, *args), table)

    # -- table_info -----------------------------------------------------------------------------

    def info(self, table: str, item: str) -> Any:
        """An item of a table's information, as the Erlang interpreter shows it."""
        return self.shown_info(item, self.db.table_info(table, item))

    def shown_info(self, item: str, value: Any) -> Any:
        """An item's value: attributes are words, and those of indexes in alphabetical order."""
        if item == "index":
            return ["list", *sorted(value)]
        if item == "attributes":
            return ["list", *value]
        return value

    # -- events ---------------------------------------------------------------------------------

    def subscribe(self, table: str, detail: str) -> None:
        """Subscribe; once is enough for Mnesia, see `subscribe-twice`."""
        if table in self.subscriptions:
            raise AlreadyExists(table)
        self.subscriptions[table] = self.db.subscribe(table, self.heard.append, detail=detail)

    def unsubscribe(self, table: str) -> None:
        """Take a subscription back, if there is one; Mnesia does not mind of which kind."""
        if table in self.subscriptions:
            self.subscriptions.pop(table).cancel()
        elif table not in self.db.tables():
            raise BadArgument(table)

    def events(self) -> None:
        """Log the events of what was done."""
        if self.subscriptions:
            self.db.sync_log()
        heard, self.heard[:] = list(self.heard), []
        for event in heard:
            table = event.table
            match event:
                case Write():
                    what = ["tuple", "write", shown(event.record, table)]
                case Delete():
                    what = ["tuple", "delete", shown(event.key, table)]
                case DeleteObject():
                    what = ["tuple", "delete_object", shown(event.record, table)]
                case DetailedWrite():
                    old = shown(list(event.old_records), table)
                    what = ["tuple", "detailed_write", shown(event.record, table), old]
                case DetailedDelete(whole_key=False):  # see `old-object`
                    what = ["tuple", "detailed_delete_object", shown(event.what, table)]
                case DetailedDelete():
                    old = shown(list(event.old_records), table)
                    what = ["tuple", "detailed_delete", shown(event.what, table), old]
            self.log("event", table, what)

    # -- restarts, and the end ------------------------------------------------------------------

    def restart(self) -> None:
        """Close the database, and open it again; with the classes, where there is no fallback."""
        archives = any(step[0] == "archive" for step in self.program.steps)
        classes = [self.db.table_info(table, "record_class") for table in self.db.tables()]
        self.db.close()
        self.subscriptions.clear()
        self.ended = None
        self.db = self.opened([] if archives else filter(is_dataclass, classes))
        self.log("restart", "none", "ok")

    def contents(self) -> None:
        """Log all that is there."""
        tables = sorted(self.db.tables())
        self.log("tables", "none", ["list", *tables])
        for table in tables:
            for item in ["storage_type", *ITEMS] if self.program.disc else ITEMS:
                self.log("info_" + item, table, self.info(table, item))
            wild = ["_"] * len(self.db.table_info(table, "attributes"))
            self.log("contents", table, self.dirty("match_object", table, wild))
            for key in self.operations.dirty("all_keys", table):
                self.log("object", table, shown(self.db.dirty_read(table, key), table))
