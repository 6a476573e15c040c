"""What a program does with Palaver's tables: the counterpart of `beam/palaver_activity.erl`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mnesia_conform.language import plain, type_of
from mnesia_conform.values import (
    UNKNOWN,
    class_of,
    fields_of,
    match_spec,
    pattern_of,
    record_of,
)
from palaver.storage.tables import END, Activity, BadArgument, Database

__all__ = ["Boom", "Operations", "World"]


class World(Protocol):
    """What `Operations` ask of the program that runs."""

    db: Database

    def has_classes(self) -> bool:
        """Whether the records of tables are of classes."""

    def shown_info(self, item: str, value: Any) -> Any:
        """An item of table_info as it is logged."""


class Boom(Exception):
    """What a program raises of its own."""


class Operations:
    """What a program does within an activity, or without one."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def db(self) -> Database:
        return self.world.db

    # -- the operations of an activity ------------------------------------------------------------

    def read(self, act: Activity, table: str, key: Any) -> Any:
        return act.read(table, plain(key))

    def wread(self, act: Activity, table: str, key: Any) -> Any:
        return act.wread(table, plain(key))

    def write(self, act: Activity, table: str, fields: list[Any]) -> Any:
        return act.write(self.record(table, fields), table)

    def delete(self, act: Activity, table: str, key: Any) -> Any:
        return act.delete(table, plain(key))

    def delete_object(self, act: Activity, table: str, fields: list[Any]) -> Any:
        return act.delete_object(self.record(table, fields), table)

    def match_object(self, act: Activity, table: str, fields: list[Any]) -> Any:
        return act.match_object(pattern_of(self.db, table, fields), table)

    def index_match_object(self, act: Activity, table: str, fields: Any, attribute: str) -> Any:
        return act.index_match_object(pattern_of(self.db, table, fields), attribute, table)

    def index_read(self, act: Activity, table: str, value: Any, attribute: str) -> Any:
        return act.index_read(table, plain(value), attribute)

    def select(self, act: Activity, table: str, spec: Any) -> Any:
        return act.select(table, match_spec(self.db, table, spec))

    def select_limit(self, act: Activity, table: str, spec: Any, limit: int) -> Any:
        found: list[Any] = []
        chunk = act.select(table, match_spec(self.db, table, spec), limit)
        while chunk is not END:
            found += chunk.items
            chunk = act.select_more(chunk.continuation)
        return found

    def first(self, act: Activity, table: str) -> Any:
        return act.first(table)

    def last(self, act: Activity, table: str) -> Any:
        return act.last(table)

    def next(self, act: Activity, table: str, key: Any) -> Any:
        return self.place_after(act, table, key, act.next)

    def prev(self, act: Activity, table: str, key: Any) -> Any:
        return self.place_after(act, table, key, act.prev)

    def place_after(self, act: Activity, table: str, key: Any, move: Callable[..., Any]) -> Any:
        """From a key that the transaction has deleted it is not determined, but in order."""
        gone = act.is_transaction and table[0] != "o" and not act.read(table, plain(key))
        try:
            place = move(table, plain(key))
        except BadArgument:
            if not gone:
                raise
            return UNKNOWN
        return UNKNOWN if gone else place

    def walk(self, act: Activity, table: str) -> Any:
        return walked(act.first(table), lambda key: act.next(table, key))

    def walk_back(self, act: Activity, table: str) -> Any:
        return walked(act.last(table), lambda key: act.prev(table, key))

    def foldl(self, act: Activity, table: str) -> Any:
        return act.foldl(lambda record, found: [*found, record], [], table)

    def foldr(self, act: Activity, table: str) -> Any:
        return act.foldr(lambda record, found: [*found, record], [], table)

    def all_keys(self, act: Activity, table: str) -> Any:
        return act.all_keys(table)

    def update_counter(self, act: Activity, table: str, key: Any, increment: int) -> Any:
        return act.update_counter(table, plain(key), increment)

    def lock(self, act: Activity, table: str, kind: str) -> Any:
        act.lock(("table", table), kind)

    def table_info(self, act: Activity, table: str, item: str) -> Any:
        return self.world.shown_info(item, act.table_info(table, item))

    def record(self, table: str, fields: list[Any]) -> Any:
        return record_of(self.db, table, fields)

    # -- dirty ----------------------------------------------------------------------------------

    def dirty(self, name: str, table: str, *args: Any) -> Any:
        """One of the dirty functions."""
        if name in ("walk", "walk_back"):
            return getattr(self, "dirty_" + name)(table)
        values: list[Any] = [plain(arg) for arg in args]
        function = getattr(self.db, "dirty_" + name)
        if name in ("write", "delete_object"):
            return function(self.record(table, args[0]), table)
        if name == "match_object":
            return function(pattern_of(self.db, table, args[0]), table)
        if name == "index_match_object":
            return function(pattern_of(self.db, table, args[0]), args[1], table)
        if name == "select":
            return function(table, match_spec(self.db, table, args[0]))
        return function(table, *values)

    def dirty_walk(self, table: str) -> Any:
        return walked(self.db.dirty_first(table), lambda key: self.db.dirty_next(table, key))

    def dirty_walk_back(self, table: str) -> Any:
        return walked(self.db.dirty_last(table), lambda key: self.db.dirty_prev(table, key))

    # -- the schema -----------------------------------------------------------------------------

    def create_table(self, table: str, options: Any) -> None:
        attributes, storage, index, load_order, access_mode = options
        self.db.create_table(
            **self.records(table, attributes),
            name=table,
            type=type_of(table),
            storage=storage,
            index=index,
            load_order=load_order,
            access_mode=access_mode,
        )

    def records(self, table: str, attributes: list[str]) -> dict[str, Any]:
        """How the records of a table are given: by a class or by their attributes."""
        if self.world.has_classes() and len(set(attributes)) == len(attributes):
            return {"record": class_of(table, attributes)}
        return {"attributes": attributes}

    def delete_table(self, table: str) -> None:
        self.db.delete_table(table)

    def clear_table(self, table: str) -> None:
        self.db.clear_table(table)

    def add_table_index(self, table: str, attribute: str) -> None:
        self.db.add_table_index(table, attribute)

    def del_table_index(self, table: str, attribute: str) -> None:
        self.db.del_table_index(table, attribute)

    def transform_table(self, table: str, how: str, attributes: list[str]) -> None:
        function = TRANSFORMS[how]
        records = self.records(table, attributes)
        self.db.transform_table(table, lambda record: function(fields_of(record)), **records)

    def change_table_copy_type(self, table: str, storage: str) -> None:
        self.db.change_table_copy_type(table, storage)

    def change_table_access_mode(self, table: str, mode: str) -> None:
        self.db.change_table_access_mode(table, mode)

    def change_table_load_order(self, table: str, order: int) -> None:
        self.db.change_table_load_order(table, order)


def walked(key: Any, following: Callable[[Any], Any]) -> list[Any]:
    """All keys from this one on."""
    keys = []
    while key is not END:
        keys.append(key)
        key = following(key)
    return keys


def swap(record: Any) -> Any:
    """The record with its last two fields the other way round, unless one is the key."""
    if len(record) < 3:
        return record
    *before, one, other = record
    return (*before, other, one)


def crash(record: Any) -> Any:
    """Fail."""
    raise Boom


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "same": lambda record: record,
    "add": lambda record: (*record, 0),
    "drop": lambda record: record[:-1],
    "swap": swap,
    "crash": crash,
}
