"""Random programs over everything a database can do; after each step all of it is consistent."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_kit import Contents, everything, quick_place
from tables_invariants import check
from tables_kit import STORAGES, TYPES

from palaver.storage.errors import BackupError
from palaver.storage.tables import Activity, Database, TableError, match
from palaver.storage.tables.archives.checkpoints import Checkpoint
from palaver.storage.tables.checking import check_database
from palaver.storage.tables.errors import BadType

NAMES = ("a", "b", "c")
LONG = "x" * 700
KEYS = (0, 1, 1.0, True, None, "k", (1, 2), LONG, LONG + "y", b"k")
VALUES = (0, 1, 1.0, "v", (1, (2,)), None)
TOO_MUCH = "x" * 2**21
FEW_STEPS, MANY_STEPS = 40, 150


@dataclass(frozen=True)
class Thing:
    """The class that the tables' records get now and then, in the place of one made up."""

    k: Any
    v: Any
    w: Any


class Interrupt(BaseException):
    """Stands for KeyboardInterrupt."""


class Program:
    """One random program.

    Args:
        seed: decides everything.
        place: a folder of its own.
        partitions: of the database; None for one in memory.
        fails: whether some commits are larger than the disk.
    """

    def __init__(self, seed: int, place: Path, partitions: int | None, *, fails: bool) -> None:
        self.random = random.Random(seed)
        self.place = place
        self.partitions = partitions
        self.fails = fails and partitions is not None
        self.checkpoints: list[Checkpoint] = []
        self.backups: list[Path] = []
        self.writes_back = 0
        self.next_space = 0
        self.db = self.opened()

    def opened(self) -> Database:
        if self.partitions is None:
            return Database.in_memory()
        most = 2**21 if self.fails else 2**30
        return Database.open(
            self.place / "db", partitions=self.partitions, map_size_bytes=2**20, max_map_bytes=most
        )

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            check(self.db, undisturbed=not self.fails)
            assert self.db.next_space >= self.next_space
            self.next_space = self.db.next_space

    def step(self) -> None:
        """Take one step, or a few without a pause; refusals are part of the program."""
        steps = [self.write, self.write, self.write, self.schema, self.schema, self.life]
        for _ in range(self.random.choice((1, 1, 4))):
            with suppress(TableError, BackupError, Interrupt):
                self.random.choice(steps)()

    def name(self) -> str:
        """Return a name, mostly of a table that is there."""
        return self.random.choice(self.db.tables() * 5 + list(NAMES))

    # -- writing ---------------------------------------------------------------------------------

    def write(self) -> None:
        kind = self.random.choice(
            ("transaction", "sync_transaction", "async_dirty", "sync_dirty", "read_only")
        )
        ends = self.random.choice((None, None, None, BadType("given up"), Interrupt()))
        seed = self.random.random()

        def work(activity: Activity) -> None:
            chosen = random.Random(seed)
            tables = self.db.tables()
            for _ in range(chosen.randrange(1, 6) if tables else 0):
                self.operation(activity, chosen, tables)
            if ends is not None:
                raise ends

        if kind == "read_only":
            name = self.name()
            self.db.transaction(lambda tx: tx.select(name, match(self.record(name)), 2))
        else:
            self.db.activity(kind, work)  # type: ignore[arg-type]

    def record(self, name: str) -> Any:
        return self.db.state(name).record_type.cls

    def operation(self, activity: Activity, chosen: random.Random, tables: list[str]) -> None:
        name = chosen.choice(tables)
        make = self.db.state(name).record_type.make
        key, value = chosen.choice(KEYS), chosen.choice(VALUES)
        what = chosen.randrange(12)
        if what < 6:
            activity.write(make((key, value, chosen.choice(VALUES))), name)
        elif what == 6:
            activity.delete(name, key)
        elif what == 7:
            for record in activity.read(name, key)[:1]:
                activity.delete_object(record, name)
        elif what == 8:
            activity.first(name)  # from now on there is an order
            activity.last(name)
        elif what == 9:
            with suppress(TableError):
                activity.index_read(name, value, "v")
        elif what == 10 and self.fails:
            activity.write(make((key, TOO_MUCH, 0)), name)
        else:
            ends = chosen.choice((None, BadType("given up")))

            def nested(tx: Activity) -> None:
                self.operation(tx, chosen, tables)
                if ends is not None:
                    raise ends

            with suppress(BadType):
                activity.transaction(nested)

    # -- the schema ------------------------------------------------------------------------------

    def schema(self) -> None:
        db, name, choice = self.db, self.name(), self.random.choice
        attribute = choice("vw")
        steps: list[Callable[[], object]] = [
            self.create,
            self.create,
            lambda: self.random.randrange(3) or db.delete_table(name),
            lambda: db.clear_table(name),
            lambda: db.add_table_index(name, attribute),
            lambda: db.add_table_index(name, attribute),
            lambda: db.del_table_index(name, attribute),
            lambda: db.transform_table(name, "ignore", attributes=["k", "v", "w"]),
            lambda: db.transform_table(name, lambda old: (old.k, 7, old.v), record=Thing),
            lambda: db.change_table_copy_type(name, choice(STORAGES)),
            lambda: db.change_table_copy_type(name, choice(STORAGES)),
            lambda: db.change_table_access_mode(name, choice(("read_only", "read_write"))),
            lambda: db.change_table_access_mode(name, "read_write"),
            lambda: db.change_table_load_order(name, choice((0, 5))),
            lambda: db.write_table_property(name, "p", choice(VALUES)),
            lambda: db.ensure_table(Thing, name=name, index=["v"]),
            self.subscribe,
        ]
        choice(steps)()

    def create(self) -> None:
        choice = self.random.choice
        storage = "ram_copies" if self.partitions is None else choice(STORAGES)
        self.db.create_table(
            name=self.name(),
            attributes=["k", "v", "w"],
            type=choice(TYPES),
            storage=storage,
            index=choice(([], ["v"], ["v", "w"])),
            load_order=choice((0, 1)),
        )

    def subscribe(self) -> None:
        def write_back(event: Any) -> None:
            if self.writes_back:
                self.writes_back -= 1
                name = self.name()
                record = self.db.state(name).record_type.make((0, event.table, 0))
                self.db.transaction(lambda tx: tx.write(record, name))

        detail = self.random.choice(("simple", "detailed"))
        subscription = self.db.subscribe(self.name(), write_back, detail)
        self.writes_back = self.random.randrange(4)
        if self.random.randrange(2):
            subscription.cancel()

    # -- the rest --------------------------------------------------------------------------------

    def life(self) -> None:
        self.random.choice(
            (self.begin_checkpoint, self.end_checkpoint, self.backup, self.restore, self.reopen)
        )()

    def begin_checkpoint(self) -> None:
        self.checkpoints.append(self.db.activate_checkpoint(tables=[self.name()]))

    def end_checkpoint(self) -> None:
        for checkpoint in self.checkpoints:
            checkpoint.deactivate()
        self.checkpoints.clear()
        assert all(not state.retainers for state in self.db.states.values())

    def backup(self) -> None:
        path = self.place / f"backup-{len(self.backups)}"
        self.db.backup(path)
        self.backups.append(path)

    def restore(self) -> None:
        if self.backups:
            how = self.random.choice(("clear_tables", "keep_tables", "recreate_tables"))
            self.db.restore(self.random.choice(self.backups), default_op=how)

    def reopen(self) -> None:
        if self.partitions is None:
            return
        check(self.db, undisturbed=not self.fails)
        before, digests = self.contents(), self.digests()
        self.end()
        self.db = self.opened()
        self.next_space = 0  # what was refused may have used some up
        assert self.contents() == before
        if not self.fails:  # else the opening may have had an agreement to bring to its end
            assert self.digests() == digests

    def contents(self) -> Contents:
        return everything(self.db, after_start=True)

    def digests(self) -> list[tuple[int, int]]:
        return [self.db.digest(partition) for partition in range(self.partitions or 0)]

    def end(self) -> None:
        self.db.close()
        self.checkpoints.clear()
        if self.partitions is not None:
            problems = check_database(self.place / "db").problems
            assert problems == (), problems


def programs(seeds: range, steps: int, partitions: int | None, *, fails: bool) -> None:
    for seed in seeds:
        with quick_place() as place:
            program = Program(seed, place, partitions, fails=fails)
            try:
                program.run(steps)
                program.end()
            except BaseException as error:
                error.add_note(f"seed {seed}, {partitions} partitions, fails={fails}")
                raise
            finally:
                program.db.close()


HOMES = [(None, False), (1, False), (4, False), (1, True), (4, True)]


@pytest.mark.parametrize(("partitions", "fails"), HOMES)
def test_all_is_consistent_after_each_step(partitions: int | None, fails: bool) -> None:
    programs(range(3), FEW_STEPS, partitions, fails=fails)


@pytest.mark.long
@pytest.mark.parametrize(("partitions", "fails"), HOMES)
def test_all_is_consistent_after_each_step_of_long_programs(
    partitions: int | None, fails: bool
) -> None:
    programs(range(100, 200), MANY_STEPS, partitions, fails=fails)


def test_the_same_program_leaves_the_same_digests() -> None:
    found = []
    for _ in range(2):
        with quick_place() as place:
            program = Program(5, place, 2, fails=False)
            program.run(FEW_STEPS)
            digests = program.digests()
            content = [program.db.content_digest(partition) for partition in range(2)]
            program.end()
            found.append((digests, content))
    assert found[0] == found[1]
