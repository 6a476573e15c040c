"""A disk that fails: at every operation once, for a while and for good, and a full one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import disk_tape as tape
import pytest
from bank_story import Account
from bank_teller import content_of, open_bank
from crash_scenarios import HERE, Studio

from palaver.storage import StoreFull, WrongSequence
from palaver.storage.tables.errors import CommitFailed


def met(studio: Studio, program: str, *arguments: str) -> int:
    """Run a program under the recorder, which injects its faults; return how many it met."""
    root = studio.folder / "root"
    root.mkdir()
    ended = subprocess.run(
        [sys.executable, program, *arguments],
        cwd=HERE,
        env=tape.environment(studio.recorder, root, Path(os.devnull)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout.split()[-1])


@pytest.mark.parametrize("when", ["writing", "opening"])
def test_every_operation_of_a_store_fails_once(studio: Studio, when: str) -> None:
    assert met(studio, "fault_child.py", when, str(studio.folder / "root")) > 100


@pytest.mark.parametrize("partitions", [1, 2])
def test_every_operation_of_a_database_fails_once(studio: Studio, partitions: int) -> None:
    root = str(studio.folder / "root")
    assert met(studio, "database_fault_child.py", root, str(partitions)) > 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_full_disk_stops_commits_and_nothing_else(small_disk: Path, partitions: int) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    with open_bank(small_disk / "bank", partitions) as db:

        def put(activity: object, number: int) -> None:
            # Two records, as a rule of two partitions: both or none.
            for half in ("left", "right"):
                note = bytes([number % 251]) * 9000
                record = Account(f"{half} {number}", "owner 1", number, note)
                activity.write(record)  # type: ignore[attr-defined]

        stored = 0
        failure: CommitFailed | None = None
        while failure is None:
            try:
                db.sync_transaction(put, stored)
                stored += 1
            except CommitFailed as error:
                failure = error
        # Or the end of the commit before found no room, and its own caller has his answer.
        assert isinstance(failure.cause, StoreFull | WrongSequence)
        for _ in range(3):  # the same again: refused as before, and without a trace
            with pytest.raises(CommitFailed):
                db.sync_transaction(put, stored)
        full = content_of(db)
        assert len(full) == 2 * stored
        assert len(db.dirty_index_read(Account, "owner 1", "owner")) == 2 * stored
        ballast.unlink()
        db.sync_transaction(put, stored)
        after = content_of(db)
        assert len(after) == 2 * stored + 2
    with open_bank(small_disk / "bank", partitions) as db:
        assert content_of(db) == after
