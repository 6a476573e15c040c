"""Opens damaged copies of a store and of a backup, and reads everything that is in them."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from damage import spoil
from ledger import TABLES, Content, content_of, ledger
from store_judge import difference

from palaver.storage import BackupError, ReadTxn, RecordCorrupt, Store, StoreUnusable, inspection
from palaver.storage.check import check, restore

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


LOOKS: dict[str, Callable[[Path, Sequence[Content]], str]] = {
    "store": look_at_store,
    "backup": look_at_backup,
}


def main(job: dict[str, Any]) -> None:
    from ledger import Story

    sound = Path(job["sound"])
    look = LOOKS[job["look"]]
    expected = [Story(job["seed"], p).content(seq) for p, seq in enumerate(job["applied"])]
    if job["unwalked"]:  # as if the files were too large to be walked through at every opening
        inspection.WALK_BYTES = 0
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
            print(json.dumps({"outcome": look(place, expected)}), flush=True)
        except WrongError as error:
            print(json.dumps({"wrong": f"state {number}, {how}: {error}"}), flush=True)
        except Exception as error:
            told = f"state {number}, {how}: {type(error).__name__}: {error}"
            print(json.dumps({"untyped": told}), flush=True)
    print(json.dumps({"end": True}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.stdin.readline()))
