"""A partition is emptied: whole or not at all, and the others are left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engines import Lmdb, Simulated
from storage_kit import append, bodies, run, say, talk

from palaver.storage import Outcome, Store, StoreClosed
from palaver.storage.check import check

HERE = Path(__file__).parent


@pytest.fixture(params=["lmdb", "simulated"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return Lmdb(tmp_path) if request.param == "lmdb" else Simulated()


def test_a_partition_that_is_cleared_begins_anew(engine: Any) -> None:
    async def story() -> None:
        fresh = engine.open(name="fresh", partitions=2)
        nothing = (fresh.digest(0), fresh.content_digest(0))
        await append(fresh, [say(3)])
        store = engine.open(partitions=2)
        for number in (0, 1):
            await append(store, [say(n) for n in range(20)], number)
        store.clear(0)
        assert (store.digest(0), store.content_digest(0)) == nothing
        assert bodies(store) == []
        assert await append(store, [say(3)]) == [Outcome(1, (("said", b"c", 1),))]
        assert store.digest(0) == fresh.digest(0)
        assert store.applied(1) == 20
        await store.close()
        again = engine.open()
        assert (again.applied(0), again.applied(1)) == (1, 20)
        again.clear(0)
        again.clear(0)
        await again.close()
        with pytest.raises(StoreClosed):
            again.clear(0)
        again = engine.open()
        assert (again.applied(0), again.applied(1)) == (0, 20)
        await again.close()
        await fresh.close()

    run(story)


def test_the_disk_has_its_room_back(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", talk)
    store.apply_now(0, [say(n, body=bytes(10_000)) for n in range(300)])
    data = tmp_path / "store" / "tables" / "0000" / "data.mdb"
    before = data.stat().st_blocks
    store.clear(0)
    assert data.stat().st_blocks < before / 10
    store.close_now()


def test_killed_at_any_step_there_is_all_or_nothing(tmp_path: Path) -> None:
    path, seen = tmp_path / "store", []
    for step in range(40):
        store = Store.open(path, talk)
        store.apply_now(0, [say(100 * step + n) for n in range(10)])
        all_of_it = store.digest(0)
        store.close_now()
        child = subprocess.run(
            [sys.executable, "install_child.py", str(path), "", "", str(step)],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
        )
        if step % 2:  # a check is the owner too, and puts things right
            assert check(path, talk).ok
        store = Store.open(path, talk)
        assert store.digest(0) in (all_of_it, (0, 0))
        assert len(bodies(store)) == store.applied(0)
        left = [p.name for p in (path / "tables").iterdir() if p.suffix in (".new", ".old")]
        assert left == []
        seen.append((child.stdout.strip(), store.applied(0) == 0))
        store.close_now()
        if child.returncode == 0:
            break
    assert seen[-1] == ("finished", True)
    assert [gone for _, gone in seen] == sorted(gone for _, gone in seen)
    assert len(seen) > 4
