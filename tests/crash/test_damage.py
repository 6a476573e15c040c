"""Flipped bits, cut files and misplaced pages: refused or reported, and never served.

A data file of up to 16 MiB is walked through before LMDB sees it; a larger one is not, see
`palaver.storage.inspection`. These files are small ones.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bank_story import Bank
from bank_teller import content_of, open_bank, tell
from damage_worker import look_at_store
from herding import herd
from ledger_story import Story, ledger

from palaver.storage import Store, StoreCorrupt, inspection
from palaver.storage.check import restore
from palaver.storage.tables.archives.building import restore_database

SEED = 5
STATES = 250
MAIN_TABLE_FLAGS = 92
"""Where in a head the record of the main table has its flags."""


def filled(path: Path) -> Store:
    store = Store.open(path, ledger, partitions=2, map_size_bytes=1 << 16)
    for partition in range(2):
        story = Story(SEED, partition)
        for number in range(60):
            store.apply_now(partition, story.group(number))
    return store


class Outcomes:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []

    def hear(self, what: str, told: Any) -> None:
        if what == "outcome":
            self.counts[told] += 1
        elif what != "state":
            self.findings.append(f"{what}: {told}")


def looked(sound: Path, look: str, files: list[str], scratch: Path, **more: Any) -> Counter[str]:
    outcomes = Outcomes()
    job = {"sound": str(sound), "look": look, "seed": SEED, "scratch": str(scratch), **more}
    herd("damage_worker.py", {"states": STATES, "files": files, **job}, outcomes.hear)
    assert not outcomes.findings, "\n".join(outcomes.findings[:10])
    assert outcomes.counts.total() == job.get("states", STATES)
    return outcomes.counts


def test_a_damaged_store_serves_nothing_wrong(tmp_path: Path) -> None:
    store = filled(tmp_path / "sound")
    applied = [store.applied(partition) for partition in range(2)]
    store.close_now()
    counts = looked(tmp_path / "sound", "store", ["data.mdb"], tmp_path, applied=applied)
    assert min(counts["refused"], counts["reported"], counts["unharmed"]) > STATES // 20


def test_a_damaged_format_file_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path / "sound")
    applied = [store.applied(partition) for partition in range(2)]
    store.close_now()
    files = ["format.json"]
    counts = looked(tmp_path / "sound", "store", files, tmp_path, applied=applied, states=200)
    assert counts["refused"] > 180


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    store.backup(tmp_path / "backup")
    applied = [store.applied(partition) for partition in range(2)]
    store.close_now()
    files = ["data.mdb", "manifest.json"]
    counts = looked(tmp_path / "backup", "backup", files, tmp_path, applied=applied, states=300)
    assert counts["refused"] > 250


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_damaged_database_serves_nothing_wrong(tmp_path: Path, partitions: int) -> None:
    story = Bank(SEED, partitions)
    with open_bank(tmp_path / "sound", partitions) as db:
        for number in range(80):
            tell(db, story.deed(number))
    more = {"applied": [80], "partitions": partitions}
    counts = looked(tmp_path / "sound", "database", ["data.mdb"], tmp_path, **more)
    assert min(counts["refused"], counts["reported"], counts["unharmed"]) > STATES // 25


def test_a_damaged_backup_file_is_not_restored(tmp_path: Path) -> None:
    story = Bank(SEED, 2)
    (tmp_path / "sound").mkdir()
    with open_bank(tmp_path / "bank", 2) as db:
        for number in range(60):
            tell(db, story.deed(number))
        db.backup(tmp_path / "sound" / "backup")
    more = {"applied": [60], "partitions": 2, "states": 200}
    counts = looked(tmp_path / "sound", "archive", ["backup"], tmp_path, **more)
    assert counts["refused"] > 180


def test_a_damaged_database_comes_back_from_a_backup(tmp_path: Path) -> None:
    story = Bank(SEED, 2)
    with open_bank(tmp_path / "bank", 2) as db:
        for number in range(60):
            tell(db, story.deed(number))
        db.backup(tmp_path / "backup")
    for file in (tmp_path / "bank").glob("tables/*/data.mdb"):
        file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(StoreCorrupt):
        open_bank(tmp_path / "bank", 2)
    shutil.rmtree(tmp_path / "bank")
    restore_database(tmp_path / "backup", tmp_path / "bank")
    with open_bank(tmp_path / "bank", 2) as db:
        assert content_of(db) == story.content(60)


def test_a_table_with_other_flags_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a file that is too large to be walked through: LMDB notices it, and it has a name."""
    filled(tmp_path / "store").close_now()
    file = tmp_path / "store" / "tables" / "0000" / "data.mdb"
    content = bytearray(file.read_bytes())
    for head in (0, 4096):
        content[head + MAIN_TABLE_FLAGS] ^= 8  # MDB_INTEGERKEY
    file.write_bytes(content)
    monkeypatch.setattr(inspection, "WALK_BYTES", 0)
    with pytest.raises(StoreCorrupt, match=str(file)):
        Store.open(tmp_path / "store", ledger)


def test_what_is_damaged_comes_back_from_a_backup(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    store.backup(tmp_path / "backup")
    applied = [store.applied(partition) for partition in range(2)]
    store.close_now()
    for file in (tmp_path / "store").glob("tables/*/data.mdb"):
        file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(StoreCorrupt):
        Store.open(tmp_path / "store", ledger)
    shutil.rmtree(tmp_path / "store")
    restore(tmp_path / "backup", tmp_path / "store", ledger)
    expected = [Story(SEED, partition).content(seq) for partition, seq in enumerate(applied)]
    assert look_at_store(tmp_path / "store", expected) == "unharmed"
