"""Snapshots that last, readers that were killed, and a map that has to grow."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from storage_kit import bodies, problems, say, talk

from palaver.storage import BackupError, Outcome, Store, StoreFull
from palaver.storage.gate import Gate

HERE = Path(__file__).parent


def held(store: Store, name: str) -> tuple[threading.Event, threading.Thread]:
    """Hold a view open in another thread until the event is set."""
    inside, go_on = threading.Event(), threading.Event()

    def see(_: Any) -> None:
        inside.set()
        assert go_on.wait(60)

    thread = threading.Thread(target=lambda: store.view(0, see), name=name)
    thread.start()
    assert inside.wait(60)
    return go_on, thread


def test_growth_waits_for_a_snapshot_within_a_limit(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, map_size_bytes=1 << 20, max_snapshot_s=0.01)
    store.apply_now(0, [say(1)])
    go_on, thread = held(store, "the slow one")
    small = store.append(0, [say(1000)], lead=False)
    several = [store.append(0, [say(n, body=bytes(500_000))], lead=False) for n in (1001, 1002)]
    results = store.apply_now(0, [say(n, body=bytes(50_000)) for n in range(2, 42)])
    assert {type(r) for r in results} == {StoreFull}
    assert small is not None
    assert isinstance(small.wait()[0], Outcome)
    assert [type(ticket.wait()[0]) for ticket in several if ticket] == [Outcome, StoreFull]
    assert "waited in vain for the end of a view in thread 'the slow one', open for" in str(
        results[0]
    )
    assert store.stats().full == 41
    assert store.stats().growth_blocked == 0
    # Reads and what has room go on; and the rest does as soon as the snapshot is gone.
    assert isinstance(store.apply_now(0, [say(50)])[0], Outcome)
    assert len(bodies(store)) == 4
    go_on.set()
    thread.join()
    results = store.apply_now(0, [say(n, body=bytes(50_000)) for n in range(2, 42)])
    assert {type(r) for r in results} == {Outcome}
    assert problems(store) == []
    store.close_now()


def test_the_figures_name_the_oldest_snapshot(tmp_path: Path) -> None:
    now = 100.0
    store = Store.open(tmp_path, talk, clock=lambda: now)
    assert store.stats().oldest_snapshot == ""
    go_on, thread = held(store, "first")
    now = 107.0
    go_on_second, second = held(store, "second")
    for number in range(3):
        store.apply_now(0, [say(number)])
    now = 109.5
    stats = store.stats()
    assert stats.oldest_snapshot == "a view in thread 'first'"
    assert (stats.oldest_snapshot_s, stats.oldest_snapshot_commits) == (9.5, 3)
    go_on.set()
    thread.join()
    stats = store.stats()
    assert (stats.oldest_snapshot, stats.oldest_snapshot_s) == ("a view in thread 'second'", 2.5)
    go_on_second.set()
    second.join()
    stats = store.stats()
    assert (stats.oldest_snapshot_s, stats.oldest_snapshot_commits) == (0.0, 0)
    store.close_now()


def test_the_figures_tell_that_growth_is_blocked(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, map_size_bytes=1 << 20, max_snapshot_s=60)
    go_on, thread = held(store, "holder")
    results: list[Any] = []
    big = [say(n, body=bytes(50_000)) for n in range(40)]
    writer = threading.Thread(target=lambda: results.extend(store.apply_now(0, big)))
    writer.start()
    pause = threading.Event()
    while not store.stats().growth_blocked:
        pause.wait(0.001)
    assert not results
    go_on.set()
    thread.join()
    writer.join()
    assert {type(r) for r in results} == {Outcome}
    assert store.stats().growth_blocked == 0
    store.close_now()


def test_a_backup_has_room_beforehand_or_says_what_is_in_its_way(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", talk, map_size_bytes=1 << 20, max_snapshot_s=0.01)
    store.apply_now(0, [say(n, body=bytes(15_000)) for n in range(40)])
    written: list[Any] = []

    def write_on(_done: int, _total: int) -> None:
        if not written:
            assert store.stats().oldest_snapshot.startswith("a backup in thread")
            written.extend(
                store.apply_now(0, [say(100 + n, body=bytes(15_000)) for n in range(30)])
            )

    store.backup(tmp_path / "b", write_on)
    assert {type(r) for r in written} == {Outcome}
    assert store.stats().growths == 1
    go_on, thread = held(store, "holder")
    assert isinstance(store.apply_now(0, [say(200)])[0], Outcome)
    with pytest.raises(BackupError, match="a view in thread 'holder'"):
        store.backup(tmp_path / "c")
    go_on.set()
    thread.join()
    store.backup(tmp_path / "d")
    store.close_now()


def killed_reader(path: Path) -> None:
    """A process that opens a snapshot and is killed with it."""
    code = (
        "import os, sys; from palaver.storage import *; from storage_kit import talk\n"
        "store = Store.open(sys.argv[1], talk, readonly=True)\n"
        "def see(txn):\n"
        "    txn.count('message'); os.write(1, b'x'); sys.stdin.read()\n"
        "store.view(0, see)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"x"
        child.send_signal(signal.SIGKILL)


def slots(store: Store) -> int:
    """How many readers LMDB believes in, those of this process included."""
    listing = store._environments[0]._env.readers()
    return sum(line.split()[0].isdigit() for line in listing.splitlines() if line.strip())


def test_a_reader_that_was_killed_is_forgotten_at_the_start(tmp_path: Path) -> None:
    Store.open(tmp_path, talk).close_now()
    # While somebody has it open the table of readers lives on.
    witness = Store.open(tmp_path, talk, readonly=True)
    killed_reader(tmp_path)
    before = slots(witness)
    code = (
        "import sys; from palaver.storage import *; from storage_kit import talk\n"
        "Store.open(sys.argv[1], talk).close_now()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=HERE, check=True)
    assert slots(witness) == before - 1
    witness.close_now()


def test_a_reader_that_was_killed_is_forgotten_before_a_map_grows(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, map_size_bytes=1 << 20)
    killed_reader(tmp_path)
    before = slots(store)
    store.apply_now(0, [say(n, body=bytes(50_000)) for n in range(40)])
    assert store.stats().growths >= 1
    assert slots(store) <= before - 1
    store.close_now()


def test_names_at_the_gate_come_and_go() -> None:
    now = 5.0
    gate = Gate(lambda: now)
    gate.enter()
    with gate.named("one", 7):
        now = 6.0
        visit = gate.oldest
        assert visit is not None
        assert (visit.what, visit.txn_id, gate.age_s(visit)) == ("one", 7, 1.0)
    assert gate.oldest is None
    gate.leave()
