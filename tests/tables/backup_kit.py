"""What the tests of backups share: any database at all, and what is in one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tables_kit import STORAGES, TYPES

from palaver.storage import folder
from palaver.storage.environment import Environment
from palaver.storage.tables import Activity, Database
from palaver.storage.tables.checking import check_database
from palaver.storage.tables.machine import TableMachine
from palaver.storage.tables.schema import Definition, read_schema
from palaver.storage.tables.spaces import ROWS
from palaver.storage.transaction import WriteTxn

Contents = dict[str, tuple[Any, ...]]

LONG = "x" * 700
"""With it a key shares a bucket with others."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | st.sampled_from([datetime(2024, 2, 29, 12, tzinfo=UTC), Decimal("1.5"), 2**70, -(2**70)])
)
terms = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
keys = (
    terms
    | st.text(max_size=3).map(lambda end: LONG + end)
    | st.binary(max_size=3).map(lambda end: LONG.encode() + end)
)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table to be made: its definition, and the values of its records."""

    name: str
    type: Any
    storage: Any
    index: tuple[str, ...]
    rows: tuple[tuple[Any, Any, Any], ...]


@st.composite
def tables(draw: st.DrawFn, storages: tuple[str, ...] = STORAGES) -> tuple[TableSpec, ...]:
    """Draw some tables of all kinds."""
    names = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True))
    small = st.integers(0, 3) | st.sampled_from(["p", "q", (1, 2)])
    return tuple(
        TableSpec(
            name,
            draw(st.sampled_from(TYPES)),
            draw(st.sampled_from(storages)),
            tuple(draw(st.sets(st.sampled_from("vw")))),
            tuple(draw(st.lists(st.tuples(keys | small, small, terms), max_size=12))),
        )
        for name in names
    )


@contextmanager
def quick_place() -> Iterator[Path]:
    """A folder where fsync costs nothing, if there is one: for many databases, none to be lost."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="palaver-test-", dir=parent))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def make(db: Database, specs: tuple[TableSpec, ...]) -> None:
    """Make tables and write their records, in one commit."""
    for spec in specs:
        db.create_table(
            name=spec.name,
            attributes=["k", "v", "w"],
            type=spec.type,
            storage=spec.storage,
            index=spec.index,
        )
    write(db, specs)


def write(db: Database, specs: tuple[TableSpec, ...]) -> None:
    def work(tx: Activity) -> None:
        for spec in specs:
            record = db.table_info(spec.name, "record_class")
            for row in spec.rows:
                tx.write(record(*row), spec.name)

    db.sync_transaction(work)


def records(db: Database, table: str) -> list[str]:
    """Every record of a table in words, sorted: types and all."""

    def work(tx: Activity) -> list[str]:
        return sorted(
            repr(values(record)) for key in tx.all_keys(table) for record in tx.read(table, key)
        )

    values = db.state(table).record_type.values

    return db.transaction(work)


def everything(db: Database, *, after_start: bool = False) -> Contents:
    """Every table's definition and records; `after_start`: as it will be when it is opened next."""
    found: Contents = {}
    for table in db.tables():
        items = ("type", "storage_type", "attributes", "load_order", "access_mode", "key")
        facts = tuple(str(db.table_info(table, item)) for item in items)
        index = sorted(db.table_info(table, "index"))
        lost = after_start and db.table_info(table, "storage_type") == "ram_copies"
        found[table] = (facts, index, [] if lost else records(db, table))
        if not lost:
            check_indexes(db, table)
            assert db.table_info(table, "size") == len(found[table][2])
    return found


def check_indexes(db: Database, table: str) -> None:
    """Whatever an index answers is what a search answers."""

    def work(tx: Activity) -> None:
        everyone = [record for key in tx.all_keys(table) for record in tx.read(table, key)]
        for attribute in db.table_info(table, "index"):
            for record in everyone:
                value = getattr(record, attribute)
                found = tx.index_read(table, value, attribute)
                assert record in found

    db.transaction(work)


def sound(path: Path) -> None:
    """A folder passes the check."""
    assert check_database(path).problems == ()


Tamper = Callable[[WriteTxn, dict[str, Definition]], None]


def tamper(path: Path, change: Tamper, partition: int = 0) -> None:
    """Change rows behind the back of the machine, with right checksums."""
    place = folder.partition_folder(folder.tables_of(path), partition)
    environment = Environment(place, TableMachine.tables)
    raw = environment.begin()
    txn = WriteTxn(raw, environment.dbs)
    definitions, _ = read_schema(txn, path)
    change(txn, definitions)
    environment.commit(raw)
    environment.close()


def spoil(txn: WriteTxn, row_key: bytes) -> None:
    """Change a row so that its checksum is wrong."""
    raw, db = txn._txn, txn._tables[ROWS][0]
    stored = raw.get(row_key, db=db)
    assert stored is not None
    raw.put(row_key, bytes((stored[0] ^ 1,)) + stored[1:], db=db)
