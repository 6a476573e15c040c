"""The fallback: a backup that takes the place of everything at the next opening, or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backup_kit import everything, make, quick_place, sound, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_kit import Account

from palaver.storage import StoreCorrupt
from palaver.storage.errors import BackupError
from palaver.storage.tables import AlreadyExists, BadArgument, Database, NoExists
from palaver.storage.tables.archives import fallback

HERE = Path(__file__).parent
PLAIN = {"owner.lock", "tables"}


def names(place: Path) -> set[str]:
    return {item.name for item in place.iterdir()}


@settings(max_examples=15, deadline=None)
@given(
    specs=tables(),
    more=tables(),
    partitions=st.sampled_from([1, 2]),
    into=st.sampled_from([None, 1, 2, 8]),
)
def test_it_takes_the_place_of_everything(
    specs: Any, more: Any, partitions: int, into: int | None
) -> None:
    with quick_place() as place:
        with Database.open(place / "origin") as db:
            make(db, specs)
            db.backup(place / "backup")
            wanted = everything(db, after_start=True)
        with Database.open(place / "db", partitions=partitions) as db:
            make(db, more)
            there = everything(db)
            db.install_fallback(place / "backup", partitions=into)
            assert db.fallback_activated
            assert db.system_info("fallback_activated")
            assert everything(db) == there  # not before the next opening
            db.create_table(Account)  # goes with the rest
        (place / "backup").unlink()
        with Database.open(place / "db") as db:
            assert everything(db) == wanted
            assert db.partitions == (into or partitions)
            assert not db.fallback_activated
            db.create_table(Account)
            db.sync_dirty(lambda activity: activity.write(Account("new", "x", 1)))
        sound(place / "db")
        assert names(place / "db") == PLAIN
        with Database.open(place / "db", records=[Account]) as db:
            assert db.dirty_read(Account, "new") == [Account("new", "x", 1)]


@pytest.fixture
def two() -> Iterator[tuple[Path, Path]]:
    """A database with a record "new", and a backup with a record "old"."""
    with quick_place() as place:
        for name, content in (("origin", "old"), ("db", "new")):
            with Database.open(place / name, partitions=2) as db:
                db.create_table(Account, index=["owner"])
                db.sync_transaction(lambda tx, content=content: tx.write(Account(content, "x", 1)))
                if name == "origin":
                    db.backup(place / "backup")
        yield place / "db", place / "backup"


def content(path: Path) -> str:
    with Database.open(path, records=[Account]) as db:
        (key,) = db.dirty_all_keys(Account)
        assert db.dirty_index_read(Account, "x", "owner") == [Account(key, "x", 1)]
        return str(key)


def test_it_can_be_taken_back(two: tuple[Path, Path]) -> None:
    path, backup = two
    with Database.open(path) as db:
        with pytest.raises(NoExists):
            db.uninstall_fallback()
        with pytest.raises(BadArgument, match="power of two"):
            db.install_fallback(backup, partitions=3)
        db.install_fallback(backup)
        with pytest.raises(AlreadyExists):
            db.install_fallback(backup)
        db.uninstall_fallback()
        assert not db.fallback_activated
    assert names(path) == PLAIN
    assert content(path) == "new"


def test_a_copy_that_was_damaged_changes_nothing(two: tuple[Path, Path]) -> None:
    path, backup = two
    with Database.open(path) as db:
        db.install_fallback(backup)
    copy = path / fallback.COPY
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    for _ in range(2):
        with pytest.raises(BackupError, match="cannot be brought in"):
            Database.open(path)
    (path / fallback.MARKER).unlink()
    assert content(path) == "new"
    assert names(path) == PLAIN


@pytest.mark.parametrize("marker", [b"", b"{}", b"[1]", b'{"kind": "x", "format": 1}'])
def test_a_marker_that_was_damaged_is_told(two: tuple[Path, Path], marker: bytes) -> None:
    path, backup = two
    with Database.open(path) as db:
        db.install_fallback(backup)
    (path / fallback.MARKER).write_bytes(marker)
    with pytest.raises(StoreCorrupt, match=r"delete fallback\.json"):
        Database.open(path)
    (path / fallback.MARKER).unlink()
    assert content(path) == "new"


def test_a_store_made_in_the_middle_is_not_taken_for_the_old_one(two: tuple[Path, Path]) -> None:
    path, backup = two
    with Database.open(path) as db:
        db.install_fallback(backup)
    shutil.copytree(path / "tables", path / fallback.READY)
    shutil.copytree(path / "tables", path / fallback.REPLACED)
    with pytest.raises(StoreCorrupt, match="while a fallback was being brought in"):
        Database.open(path)
    shutil.rmtree(path / "tables")
    assert content(path) == "new"
    assert names(path) == PLAIN


def deaths(path: Path, backup: Path, out: Path, what: str) -> list[Path]:
    """Return the folders that a process died over, step by step; the last one it did not."""
    out.mkdir()
    command = [sys.executable, "fallback_child.py", *map(str, (path, out, backup)), what]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0", done.stderr
    return sorted(out.iterdir(), key=lambda place: int(place.name))


def test_a_kill_while_it_is_installed(two: tuple[Path, Path]) -> None:
    path, backup = two
    places = deaths(path, backup, path.parent / "out", "install")
    assert len(places) > 5
    found = [content(place) for place in places]
    assert found[0] == "new"
    assert found[-1] == "old"
    assert found == sorted(found)  # "new" up to one of the steps, "old" from then on
    assert all(names(place) == PLAIN for place in places)


def test_a_kill_while_it_is_brought_in(two: tuple[Path, Path]) -> None:
    """Whenever it dies, the next opening finds the old tables or the new ones, whole."""
    path, backup = two
    with Database.open(path) as db:
        db.install_fallback(backup, partitions=4)
    places = deaths(path, backup, path.parent / "out", "bring_in")
    assert len(places) > 12
    for place in places:
        whole = [place / name for name in ("tables", fallback.READY, fallback.REPLACED)]
        partitions = [
            json.loads((tree / "format.json").read_bytes())["partitions"]
            for tree in whole
            if tree.exists()
        ]
        assert 2 in partitions or 4 in partitions
        assert content(place) == "old"
        sound(place)
        assert names(place) == PLAIN


def test_a_second_kill_in_the_middle_of_going_on(two: tuple[Path, Path]) -> None:
    """One that is left between the two renames is killed again at every step."""
    path, backup = two
    with Database.open(path) as db:
        db.install_fallback(backup, partitions=4)
    first = deaths(path, backup, path.parent / "out", "bring_in")
    between = [place for place in first if not (place / "tables").exists()]
    assert between
    for again in deaths(between[0], backup, path.parent / "again", "bring_in"):
        assert content(again) == "old"
        assert names(again) == PLAIN
