"""The tables with a fault planted, as a program would see it: the comparison must catch each."""

from __future__ import annotations

from typing import Any, Final

from mnesia_conform.doing import Operations
from mnesia_conform.language import plain
from mnesia_conform.ours import Ours
from mnesia_conform.values import record_of
from palaver.storage.tables import Activity, TableError

__all__ = ["MUTANTS"]


class ReadsOnlyCommitted(Operations):
    """`read` in a transaction does not see what it has written."""

    def read(self, act: Activity, table: str, key: Any) -> Any:
        return self.db.dirty_read(table, plain(key))


class FoldsOnlyCommitted(Operations):
    """`foldl` does not see what the transaction has written."""

    def foldl(self, act: Activity, table: str) -> Any:
        return self.db.async_dirty(
            lambda dirty: dirty.foldl(lambda record, found: [*found, record], [], table)
        )


class IndexesOnlyCommitted(Operations):
    """`index_read` does not see what the transaction has written."""

    def index_read(self, act: Activity, table: str, value: Any, attribute: str) -> Any:
        return self.db.dirty_index_read(table, plain(value), attribute)


class ForgetsToUnindex(Operations):
    """The old value of a record that is written again is still found by the index."""

    def index_read(self, act: Activity, table: str, value: Any, attribute: str) -> Any:
        found = super().index_read(act, table, value, attribute)
        known = set(map(repr, found))
        old = self.db.dirty_index_read(table, plain(value), attribute)
        return found + [record for record in old if repr(record) not in known]


class DeletesTheKey(Operations):
    """`delete_object` deletes all objects of the key."""

    def delete_object(self, act: Activity, table: str, fields: list[Any]) -> Any:
        return act.delete(table, plain(fields[0]))


class DeletesNoObject(Operations):
    """`delete_object` does nothing."""

    def delete_object(self, act: Activity, table: str, fields: list[Any]) -> Any:
        act.read(table, plain(fields[0]))


class OneObject(Operations):
    """A bag keeps one object of a key."""

    def write(self, act: Activity, table: str, fields: list[Any]) -> Any:
        record = self.record(table, fields)
        if table[0] == "b" and len(act.read(table, plain(fields[0]))) > 0:
            act.delete(table, plain(fields[0]))
        return act.write(record, table)


class PythonsEquality(Operations):
    """1, 1.0 and True are the same in a pattern."""

    def match_object(self, act: Activity, table: str, fields: list[Any]) -> Any:
        found = super().match_object(act, table, ["_"] * len(fields))
        wanted = [plain(field) for field in fields]
        if any(isinstance(field, str) and field[:1] in ("_", "$") for field in wanted[1:]):
            if any(isinstance(field, str) and field[:1] == "$" for field in wanted):
                return super().match_object(act, table, fields)
            return [
                record
                for record in found
                if all(w in ("_", value) for w, value in zip(wanted, record, strict=True))
            ]
        return super().match_object(act, table, fields)


class NoSameVariable(Operations):
    """A variable that stands twice in a pattern matches different values."""

    def match_object(self, act: Activity, table: str, fields: list[Any]) -> Any:
        seen: set[str] = set()
        free = []
        for field in fields:
            again = type(field) is str and field in seen
            free.append("_" if again else field)
            if type(field) is str and field[:1] == "$":
                seen.add(field)
        return super().match_object(act, table, free)


class SelectsOneChunk(Operations):
    """A select with a limit ends after the first chunk."""

    def select_limit(self, act: Activity, table: str, spec: Any, limit: int) -> Any:
        return super().select_limit(act, table, spec, limit)[:limit]


class WrongWay(Operations):
    """`prev` goes forward."""

    def prev(self, act: Activity, table: str, key: Any) -> Any:
        return self.next(act, table, key)


class Unordered(Operations):
    """`foldr` begins at the beginning."""

    def foldr(self, act: Activity, table: str) -> Any:
        return self.foldl(act, table)


class WritesReadOnly(Operations):
    """The access mode is for show."""

    def write(self, act: Activity, table: str, fields: list[Any]) -> Any:
        try:
            return super().write(act, table, fields)
        except TableError:
            if table in self.db.tables() and self.fits(table, fields):
                return None
            raise

    def fits(self, table: str, fields: list[Any]) -> bool:
        return isinstance(record_of(self.db, table, fields), tuple) and len(fields) > 2


class NegativeCounters(Operations):
    """A counter goes below 0."""

    def dirty(self, name: str, table: str, *args: Any) -> Any:
        result = super().dirty(name, table, *args)
        return min(result, args[1]) if name == "update_counter" and args[1] < 0 else result


class TransformsNothing(Operations):
    """`transform_table` changes no record where their number of fields stays."""

    def transform_table(self, table: str, how: str, attributes: list[str]) -> None:
        super().transform_table(table, "same" if how == "swap" else how, attributes)


class KeepsTheIndex(Operations):
    """`del_table_index` does nothing."""

    def del_table_index(self, table: str, attribute: str) -> None:
        if attribute not in self.db.table_info(table, "index"):
            super().del_table_index(table, attribute)


class CommitsAborted(Ours):
    """What a nested transaction has written stays when it is aborted."""

    def nested(self, act: Activity, kind: str, body: list[Any]) -> None:
        self.body(act, body)


class LosesNested(Ours):
    """What a nested transaction has written is lost when it returns."""

    def nested(self, act: Activity, kind: str, body: list[Any]) -> None:
        class Undo(Exception):
            pass

        def run(inner: Activity) -> None:
            self.body(inner, body)
            raise Undo

        try:
            act.transaction(run)
        except Undo:
            return


class ForgetsOnRestart(Ours):
    """disc_copies are empty after a restart."""

    def restart(self) -> None:
        super().restart()
        for table in self.db.tables():
            if self.db.table_info(table, "access_mode") == "read_write":
                self.db.clear_table(table)


class Deaf(Ours):
    """Only the first event after a step is heard."""

    def events(self) -> None:
        self.db.sync_log()
        del self.heard[1:]
        super().events()


MUTANTS: Final[dict[str, type[Operations | Ours]]] = {
    mutant.__name__: mutant
    for mutant in (
        ReadsOnlyCommitted,
        FoldsOnlyCommitted,
        IndexesOnlyCommitted,
        ForgetsToUnindex,
        DeletesTheKey,
        DeletesNoObject,
        OneObject,
        PythonsEquality,
        NoSameVariable,
        SelectsOneChunk,
        WrongWay,
        Unordered,
        WritesReadOnly,
        NegativeCounters,
        TransformsNothing,
        KeepsTheIndex,
        CommitsAborted,
        LosesNested,
        ForgetsOnRestart,
        Deaf,
    )
}
"""All faults, by name: in the place of `Operations` or of `Ours`."""
