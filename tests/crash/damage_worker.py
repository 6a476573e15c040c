"""Opens damaged copies of a store, a backup and a database, and reads everything in them."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bank_story as bank
import bank_teller
from damaging import spoil
from ledger_story import TABLES, Content, Story, content_of, ledger
from store_judge import difference

from palaver.storage import (
    BackupError,
    ReadTxn,
    RecordCorrupt,
    Store,
    StoreError,
    StoreUnusable,
)
from palaver.storage.check import check, restore
from palaver.storage.tables import Database
from palaver.storage.tables.archives.building import restore_database
from palaver.storage.tables.machine import TableMachine

REFUSED, REPORTED, UNHARMED = "refused", "reported", "unharmed"


class WrongError(AssertionError):
    """Something was served that is not what was written, or is missing without a word."""


def look_at_store(place: Path, expected: Sequence[Content]) -> str:
    """Open and read; say what became of the damage.

    Raises:
        WrongError: what is served is wrong.
    """
    try:
        store = Store.open(place, ledger)
    except StoreUnusable as error:
        if str(place) not in str(error):
            raise WrongError(f"the error does not name the file: {error}") from error
        return REFUSED
    outcome = UNHARMED
    try:
        if store.partitions != len(expected):
            raise WrongError(f"it opened with {store.partitions} partitions")
        for partition, content in enumerate(expected):
            if store.view(partition, lambda txn, content=content: _read(txn, content)):
                outcome = REPORTED
    except StoreUnusable:
        outcome = REPORTED
    finally:
        store.close_now()
    problems = check(place, ledger).problems
    if outcome == REPORTED and not problems:
        raise WrongError("a damaged record was reported, and a check finds nothing")
    return outcome


def _read(txn: ReadTxn, expected: Content) -> int:
    """Read everything by ranges and by keys; return how many records were reported damaged."""
    damaged: set[tuple[str, bytes]] = set()
    served = {
        (table, key): value
        for table in TABLES
        for key, value in txn.range(
            table, b"", damaged=lambda table, key, _: damaged.add((table, key))
        )
    }
    wrong = {place: value for place, value in served.items() if expected.get(place) != value}
    missing = expected.keys() - served.keys() - damaged
    if wrong or (missing and not damaged):
        raise WrongError(difference(served, expected))
    for (table, key), value in expected.items():
        try:
            found = txn.get(table, key)
        except RecordCorrupt:
            continue
        if found != value and (found is not None or not damaged):
            raise WrongError(f"{table} {key!r} is served wrong")
    return len(damaged)


def look_at_backup(place: Path, expected: Sequence[Content]) -> str:
    """Restore and read; say what became of the damage."""
    dest = place.with_name(place.name + "-restored")
    shutil.rmtree(dest, ignore_errors=True)
    try:
        restore(place, dest, ledger)
    except (BackupError, StoreUnusable):
        if dest.exists():
            raise WrongError("a refused restore has left something") from None
        return REFUSED
    store = Store.open(dest, ledger)
    try:
        for partition, content in enumerate(expected):
            found = store.view(partition, content_of)
            if found != content:
                raise WrongError(difference(found, content))
    finally:
        store.close_now()
    return UNHARMED


def look_at_database(place: Path, expected: bank.Content, partitions: int) -> str:
    """Open and read; say what became of the damage."""
    try:
        db = Database.open(place, records=bank.RECORDS)
    except StoreError:
        return REFUSED
    try:
        reported = sum(not _serves(db, table, expected) for table in bank.DISC)
    finally:
        db.close()
    problems = check(place, TableMachine).problems
    if reported and not problems:
        raise WrongError("damage was reported, and a check finds nothing")
    return REPORTED if reported else UNHARMED


def look_at_archive(place: Path, expected: bank.Content, partitions: int) -> str:
    """Make a database of a damaged backup file; say what became of the damage."""
    dest = place.with_name(place.name + "-restored")
    shutil.rmtree(dest, ignore_errors=True)
    try:
        restore_database(place / "backup", dest, partitions=partitions)
    except StoreError:
        if dest.exists():
            raise WrongError("a refused restore has left something") from None
        return REFUSED
    with Database.open(dest, records=bank.RECORDS) as db:
        if bank_teller.content_of(db) != expected:
            raise WrongError("something else was restored")
    return UNHARMED


def _serves(db: Database, table: str, content: bank.Content) -> bool:
    """Whether a table is served whole; WrongError when it is served wrong."""
    expected = {place[1]: records for place, records in content.items() if place[0] == table}
    sound = True
    missing = []
    for key, records in expected.items():
        try:
            found = frozenset(db.dirty_read(table, key))
        except StoreError:
            sound = False
            continue
        if not found:
            missing.append(key)
        elif found != records:
            raise WrongError(f"{table} {key!r} is served as {found}, not {records}")
    served: dict[Any, set[Any]] = {}

    def collect(record: Any, _: None) -> None:
        served.setdefault(bank.key_of(record), set()).add(record)

    try:
        db.async_dirty(lambda activity: activity.foldl(collect, None, table))
    except StoreError:
        sound = False
    else:
        if served != expected:
            raise WrongError(f"{table} is served wrong by foldl: {served.keys() ^ expected.keys()}")
    if table == "Account":
        try:
            sound = sound and not bank_teller.index_problems(db, content)
        except StoreError:
            sound = False
    if missing and sound:
        raise WrongError(f"{table}: {missing} are missing without a word")
    return sound


def expectation(job: dict[str, Any]) -> tuple[Any, ...]:
    """Return the rest of the arguments of a look."""
    if "partitions" in job:
        story = bank.Bank(job["seed"], job["partitions"])
        return story.content(job["applied"][0]), job["partitions"]
    return ([Story(job["seed"], p).content(seq) for p, seq in enumerate(job["applied"])],)


LOOKS: dict[str, Callable[..., str]] = {
    "store": look_at_store,
    "backup": look_at_backup,
    "database": look_at_database,
    "archive": look_at_archive,
}


def main(job: dict[str, Any]) -> None:
    sound = Path(job["sound"])
    look = LOOKS[job["look"]]
    expected = expectation(job)
    place = Path(job["scratch"]) / f"damaged-{job['worker']}"
    for number in range(job["worker"], job["states"], job["workers"]):
        done = number // job["workers"] + 1
        if done <= job["skip"]:
            continue
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound, place)
        chance = random.Random(f"{job['seed']} {number}")
        files = [path for path in place.glob("**/*") if path.name in job["files"]]
        how = spoil(chance.choice(sorted(files)), chance)
        print(json.dumps({"about": f"state {number}, {how}"}))
        print(json.dumps({"state": done}), flush=True)
        try:
            print(json.dumps({"outcome": look(place, *expected)}), flush=True)
        except WrongError as error:
            print(json.dumps({"wrong": f"state {number}, {how}: {error}"}), flush=True)
        except Exception as error:
            told = f"state {number}, {how}: {type(error).__name__}: {error}"
            print(json.dumps({"untyped": told}), flush=True)
    print(json.dumps({"end": True}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.stdin.readline()))
