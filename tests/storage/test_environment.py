from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import lmdb
import pytest
from storage_kit import (
    BIG,
    FORGET,
    Failing,
    append,
    bodies,
    open_async,
    problems,
    read,
    run,
    say,
    talk,
)

from palaver.storage import Outcome, Store, StoreFailed, StoreFull, WrongSequence
from palaver.storage.gate import Gate

HERE = Path(__file__).parent


def test_a_full_map_grows_unseen(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path, map_size_bytes=1 << 20)
        for number in range(60):
            results = await append(
                store, [say(number * 4 + n, body=bytes(30_000)) for n in range(4)]
            )
            assert [type(r) for r in results] == [Outcome] * 4
            assert await read(store, lambda txn: txn.count("message")) == (number + 1) * 4
        stats = store.stats()
        assert stats.growths >= 3
        assert stats.full == stats.failed == 0
        assert stats.map_bytes >= 8 << 20
        assert stats.used_bytes > 7 << 20
        assert problems(store) == []
        await store.close()

    run(story)
    store = Store.open(tmp_path, talk, map_size_bytes=1 << 20)
    assert store.applied(0) == 240
    store.close_now()


def test_growth_waits_for_readers_and_they_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path, map_size_bytes=1 << 20)
        inside, go_on = threading.Event(), threading.Event()

        def slow(txn: Any) -> int:
            inside.set()
            go_on.wait()
            return int(txn.count("message"))

        answers: list[Any] = []
        store.read(0, slow, answers.append)
        done: list[Any] = []
        store.append(0, [say(n, body=bytes(50_000)) for n in range(40)], done.append)
        while not inside.is_set():
            await a_while()
        for _ in range(20):
            await a_while()
        assert not done
        go_on.set()
        while not (done and answers):
            await a_while()
        assert answers == [0]
        assert store.stats().growths >= 1
        await store.close()

    async def a_while() -> None:
        await asyncio.sleep(0.001)

    run(story)


def test_a_map_at_its_limit_refuses_and_serves_on(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, map_size_bytes=1 << 20, max_map_bytes=2 << 20)
    number = 0
    while True:
        results = store.apply_now(0, [say(number, body=bytes(100_000)), say(number + 1)])
        if isinstance(results[0], StoreFull):
            break
        number += 2
    assert [type(r) for r in results] == [StoreFull, StoreFull]
    assert "limit" in str(results[0])
    assert number >= 10
    assert store.applied(0) == number
    assert len(bodies(store)) == number
    assert store.stats().full == 2
    # The next append is tried afresh, and a small one may have room.
    assert store.apply_now(0, [say(0)]) == [Outcome(1, ("again",))]
    assert problems(store) == []
    store.close_now()


@pytest.mark.parametrize("expecting", [False, True])
def test_only_those_that_find_no_room_are_refused(tmp_path: Path, expecting: bool) -> None:
    store = Store.open(tmp_path, talk, map_size_bytes=1 << 20, max_map_bytes=1 << 20, flush_ms=None)
    answers: list[list[Any]] = []
    sizes = [10, 2_000_000, 20, 30, 3_000_000, 40]
    for number, size in enumerate(sizes):
        expected = number if expecting else None
        store.append(0, [say(number, body=bytes(size))], answers.append, expected=expected)
    store.drain()
    if expecting:  # who built on one that was refused is told so
        assert [type(a[0]) for a in answers] == [Outcome, StoreFull, *[WrongSequence] * 4]
    else:
        assert [type(a[0]) for a in answers] == [
            StoreFull if size > 1000 else Outcome for size in sizes
        ]
    assert store.applied(0) == len(bodies(store)) == (1 if expecting else 4)
    assert store.stats().full == (1 if expecting else 2)
    assert store.stats().commits == 1
    assert problems(store) == []
    store.close_now()


def test_a_full_disk_refuses_loses_nothing_and_recovers(small_disk: Path) -> None:
    store = Store.open(small_disk / "store", talk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3 << 20))
    blobs = 0
    while True:
        results = store.apply_now(0, [say(blobs), (BIG, 200_000)])
        if not isinstance(results[0], Outcome):
            break
        blobs += 1
    assert [type(r) for r in results] == [StoreFull, StoreFull]
    assert "no room on the disk" in str(results[0])
    assert blobs > 5
    for _ in range(3):  # again and again: nothing half-applied, reads go on
        assert isinstance(store.apply_now(0, [say(blobs), (BIG, 200_000)])[0], StoreFull)
        assert store.applied(0) == blobs * 2
        assert len(bodies(store)) == blobs
        assert problems(store) == []
    store.close_now()
    store = Store.open(small_disk / "store", talk)  # opens on a full disk
    assert store.applied(0) == blobs * 2
    assert isinstance(store.apply_now(0, [(BIG, 400_000)])[0], StoreFull)
    ballast.unlink()
    assert isinstance(store.apply_now(0, [(BIG, 400_000)])[0], Outcome)
    assert isinstance(store.apply_now(0, [(FORGET,)])[0], Outcome)
    assert problems(store) == []
    store.close_now()


def test_no_store_is_half_made_on_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs(small_disk).f_bavail * 4096)
    with pytest.raises(StoreFull):
        Store.open(small_disk / "store", talk, partitions=4)
    ballast.unlink()
    store = Store.open(small_disk / "store", talk, partitions=2)
    assert store.apply_now(1, [say(1)]) == [Outcome(1, (("said", b"c", 1),))]
    store.close_now()


def test_a_short_write_has_no_effect(tmp_path: Path) -> None:
    """A limit on the file's size cuts a write short; in a child, as the limit is the process's."""
    code = """
import resource, sys
from palaver.storage import *
from storage_kit import *
store = Store.open(sys.argv[1], talk)
store.apply_now(0, [say(1)])
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
results = store.apply_now(0, [say(2), (BIG, 2 << 20)])
assert all(isinstance(r, StoreFull | StoreFailed) for r in results), results
assert store.applied(0) == 1 and len(bodies(store)) == 1
assert isinstance(store.apply_now(0, [say(2)])[0], Outcome)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert isinstance(store.apply_now(0, [(BIG, 2 << 20)])[0], Outcome)
assert problems(store) == []
store.close_now()
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=HERE, check=True)


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    Store.open(tmp_path, talk).close_now()
    monkeypatch.setattr("palaver.storage.store.Environment", Failing)
    return Store.open(tmp_path, talk)


def test_a_failed_write_fails_its_batch_alone(failing: Store) -> None:
    environment = failing._environments[0]
    assert isinstance(environment, Failing)
    failing.apply_now(0, [say(1)])
    environment.fail_commits = [lmdb.Error("mdb_txn_commit: Input/output error", errno.EIO)]
    results = failing.apply_now(0, [say(2), say(3)])
    assert [type(r) for r in results] == [StoreFailed] * 2
    assert failing.applied(0) == 1
    # The machine had counted to 3 already; it has been told to start from what the disk holds.
    assert failing.apply_now(0, [say(4)]) == [Outcome(2, (("said", b"c", 2),))]
    assert problems(failing) == []
    assert failing.stats().failed == 2
    failing.close_now()


def test_an_environment_that_lmdb_gave_up_is_opened_again(failing: Store) -> None:
    environment = failing._environments[0]
    assert isinstance(environment, Failing)
    failing.apply_now(0, [say(1)])
    environment.broken_head = True
    assert failing.apply_now(0, [say(2)]) == [Outcome(2, (("said", b"c", 2),))]
    assert environment.reopened == 1
    assert problems(failing) == []
    failing.close_now()


def test_an_environment_that_cannot_be_opened_again_fails_until_it_can(failing: Store) -> None:
    environment = failing._environments[0]
    assert isinstance(environment, Failing)
    failing.apply_now(0, [say(1)])
    data = environment.folder / "data.mdb"
    aside = environment.folder / "aside"
    data.rename(aside)
    environment.broken_head = True
    assert isinstance(failing.apply_now(0, [say(2)])[0], StoreFailed)
    environment.broken_head = False
    assert isinstance(failing.apply_now(0, [say(2)])[0], StoreFailed)
    aside.rename(data)
    assert failing.apply_now(0, [say(3)]) == [Outcome(2, (("said", b"c", 2),))]
    failing.close_now()


def test_a_foreign_writer_is_noticed(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk)
    store.apply_now(0, [say(1)])
    code = (
        "import sys; from palaver.storage.environment import Environment\n"
        "from palaver.storage.batch import Identity, write_identity\n"
        "from palaver.storage import WriteTxn; from pathlib import Path\n"
        "e = Environment(Path(sys.argv[1]), ()); raw = e.begin()\n"
        "write_identity(WriteTxn(raw, e.dbs), Identity(7, 0)); e.commit(raw)\n"
    )
    place = tmp_path / "tables/0000"
    subprocess.run([sys.executable, "-c", code, str(place)], check=True)
    (result,) = store.apply_now(0, [say(2)])
    assert isinstance(result, Exception)
    assert "another program has written" in str(result)
    store.close_now()


def test_the_gate_lets_one_alone_and_many_together() -> None:
    gate = Gate(time.monotonic)
    gate.enter()
    gate.enter()
    order: list[str] = []
    alone = threading.Event()

    def resize() -> None:
        with gate.alone():
            order.append("alone")
            alone.wait()

    resizer = threading.Thread(target=resize)
    resizer.start()
    gate.leave()
    order.append("still inside")
    gate.leave()
    late = threading.Thread(target=lambda: (gate.enter(), order.append("late"), gate.leave()))
    while "alone" not in order:
        threading.Event().wait(0.001)
    late.start()
    alone.set()
    resizer.join()
    late.join()
    assert order == ["still inside", "alone", "late"]
