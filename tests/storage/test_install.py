"""One partition out as a file and in as a file, and what a crash in between leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from storage_kit import BUSY, Talk, append, bodies, open_async, problems, run, say, talk, u64

from palaver.storage import (
    BackupError,
    Outcome,
    SnapshotInfo,
    Store,
    StoreBusy,
    StoreClosed,
    StoreMismatch,
    StoreVersion,
    WriteTxn,
    WrongSequence,
)
from palaver.storage.check import check
from palaver.storage.environment import Environment

HERE = Path(__file__).parent


def filled(path: Path, count: int, machine: Any = talk, **options: Any) -> Store:
    store = Store.open(path, machine, partitions=2, **options)
    for partition in range(2):
        store.apply_now(partition, [say(n, body=b"%d" % n * 30) for n in range(count)])
    return store


@pytest.fixture
def ahead(tmp_path: Path) -> tuple[Path, SnapshotInfo, list[bytes]]:
    """A snapshot of partition 1 at sequence 80."""
    store = filled(tmp_path / "ahead", 80)
    info = store.snapshot(1, tmp_path / "snapshot")
    expected = bodies(store, partition=1)
    digests = store.digest(1)
    assert (info.applied, info.digest) == digests
    assert (info.partition, info.content, info.machine_version) == (1, "chat", Talk.version)
    assert info.size_bytes == (tmp_path / "snapshot").stat().st_size
    store.close_now()
    return tmp_path / "snapshot", info, expected


def leftovers(path: Path) -> list[str]:
    return sorted(p.name for p in (path / "tables").iterdir() if p.suffix in (".new", ".old"))


def test_a_replica_that_is_behind_catches_up(
    tmp_path: Path, ahead: tuple[Path, SnapshotInfo, list[bytes]]
) -> None:
    source, info, expected = ahead
    store = filled(tmp_path / "behind", 5)
    own = store._machines[1]
    assert isinstance(own, Talk)
    opened = own.opened
    store.install(1, source, info)
    assert store.digest(1) == (info.applied, info.digest)
    assert bodies(store, partition=1) == expected
    assert own.opened == opened + 1
    assert len(bodies(store, partition=0)) == 5
    # It goes on from there as the other would: same history, same digest.
    assert store.apply_now(1, [say(100)]) == [Outcome(81, (("said", b"c", 81),))]
    other = Store.open(tmp_path / "ahead", talk)
    other.apply_now(1, [say(100)])
    assert other.digest(1) == store.digest(1)
    assert other.content_digest(1) == store.content_digest(1)
    other.close_now()
    assert leftovers(tmp_path / "behind") == []
    assert source.exists()
    store.close_now()
    assert check(tmp_path / "behind", talk).ok
    again = Store.open(tmp_path / "behind", talk)
    assert (again.applied(0), again.applied(1)) == (5, 81)
    again.close_now()


def test_a_snapshot_is_one_moment_of_a_store_at_work(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path / "store", map_size_bytes=1 << 20)
        digests: dict[int, int] = {0: 0}
        taken: list[SnapshotInfo] = []
        finished = threading.Event()

        def take() -> None:
            while not finished.is_set():
                taken.append(store.snapshot(0, tmp_path / f"s{len(taken)}"))

        taker = threading.Thread(target=take)
        taker.start()
        number = 0
        while len(taken) < 5:
            results = await append(store, [say(number + n, body=bytes(500)) for n in range(7)])
            assert all(isinstance(r, Outcome) for r in results)
            number += 7
            applied, digest = store.digest(0)
            digests[applied] = digest
        finished.set()
        taker.join()
        for info in taken:
            assert digests[info.applied] == info.digest
        await store.close()
        other = Store.open(tmp_path / "other", talk)
        for index in (4, 0, 3):  # forwards and backwards
            other.install(0, tmp_path / f"s{index}", taken[index])
            assert other.digest(0) == (taken[index].applied, taken[index].digest)
            assert len(bodies(other)) == taken[index].applied
            assert problems(other) == []
        other.close_now()

    run(story)


def test_what_was_appended_before_is_refused(
    tmp_path: Path, ahead: tuple[Path, SnapshotInfo, list[bytes]]
) -> None:
    source, info, _ = ahead
    store = filled(tmp_path / "behind", 5, flush_ms=None)
    unasked = store.append(1, [say(6)])
    expecting = store.append(1, [say(7)], expected=5)
    elsewhere = store.append(0, [say(8)])
    assert unasked is not None
    assert expecting is not None
    assert elsewhere is not None
    store.install(1, source, info)
    after = store.append(1, [say(100)], expected=80)
    assert after is not None
    (first,), (second,) = unasked.wait(), expecting.wait()
    assert isinstance(first, WrongSequence)
    assert (first.expected, first.actual) == (None, 80)
    assert "was replaced" in str(first)
    assert isinstance(second, WrongSequence)
    assert (second.expected, second.actual) == (5, 80)
    assert isinstance(after.wait()[0], Outcome)
    assert isinstance(elsewhere.wait()[0], Outcome)
    store.close_now()


def test_an_install_waits_for_the_batch_under_way_and_the_loop_goes_on(
    tmp_path: Path, ahead: tuple[Path, SnapshotInfo, list[bytes]]
) -> None:
    source, info, _ = ahead

    async def story() -> None:
        import asyncio

        entered, go_on = threading.Event(), threading.Event()

        def gate() -> None:
            entered.set()
            assert go_on.wait(60)

        store = open_async(tmp_path / "behind", lambda _: Talk(gate), partitions=2, stall_ms=1)
        busy = asyncio.ensure_future(append(store, [(BUSY,)], 1))
        await asyncio.to_thread(entered.wait)
        late = asyncio.ensure_future(append(store, [say(1)], 1))
        installing = asyncio.ensure_future(asyncio.to_thread(store.install, 1, source, info))
        new = tmp_path / "behind/tables/0001.new"
        while not (new.exists() and not (new / "lock.mdb").exists()):
            await asyncio.sleep(0.001)
        assert not installing.done()
        go_on.set()
        await installing
        assert isinstance((await busy)[0], Outcome)
        assert isinstance((await late)[0], Outcome | WrongSequence)
        assert store.applied(1) >= 80
        assert isinstance((await append(store, [say(200)], 1))[0], Outcome)
        await store.close()

    run(story)
    assert check(tmp_path / "behind", talk).ok


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "change", "error", "message"),
    [
        (flip, {}, BackupError, "is not what was taken"),
        (lambda path: os.truncate(path, 5000), {}, BackupError, "is not what was taken"),
        (None, {"sha256": "0" * 64}, BackupError, "is not what was taken"),
        (None, {"size_bytes": 1}, BackupError, "is not what was taken"),
        (lambda path: path.unlink(), {}, BackupError, "No such file"),
        (None, {"applied": 81}, BackupError, "is at sequence 80"),
        (None, {"digest": 1}, BackupError, "with digest"),
        (None, {"partition": 0}, BackupError, "holds partition 0, not 1"),
        (None, {"content": "tables"}, StoreMismatch, "another program"),
        (None, {"machine_version": 99}, StoreVersion, "content of the tables"),
        (None, {"folder_format": 1}, StoreVersion, "folder's format"),
    ],
)
def test_a_snapshot_that_is_not_what_it_says_changes_nothing(
    tmp_path: Path,
    ahead: tuple[Path, SnapshotInfo, list[bytes]],
    harm: Any,
    change: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    source, info, _ = ahead
    store = filled(tmp_path / "behind", 5)
    before = store.digest(1), store.content_digest(1)
    if harm is not None:
        harm(source)
    with pytest.raises(error, match=message):
        store.install(1, source, replace(info, **change))
    assert (store.digest(1), store.content_digest(1)) == before
    assert leftovers(tmp_path / "behind") == []
    assert isinstance(store.apply_now(1, [say(50)])[0], Outcome)
    store.close_now()


def test_damage_and_wrong_content_do_not_spread(tmp_path: Path) -> None:
    """The hash is right, what it is of is not: the file was taken from a damaged partition."""

    class Careless(Talk):
        def apply(self, txn: WriteTxn, seq: int, command: Any) -> Outcome:
            txn.put("last", b"c", u64(99))
            return Outcome(None)

    wrong = Store.open(tmp_path / "wrong", lambda _: Careless(), partitions=2)
    wrong.apply_now(1, [say(1)])
    damaged = filled(tmp_path / "damaged", 10)
    environment = damaged._environments[1]
    raw = environment.begin()
    raw.put(b"c" + u64(3), b"rubbish", db=environment.dbs["message"][0])
    environment.commit(raw)
    store = filled(tmp_path / "behind", 5)
    for name, other, message in (
        ("w", wrong, "has a gap"),
        ("d", damaged, "in table 'message' the record"),
    ):
        info = other.snapshot(1, tmp_path / name)
        with pytest.raises(BackupError, match=f"does not pass the check: .*{message}"):
            store.install(1, tmp_path / name, info)
        other.close_now()
    assert store.applied(1) == 5
    store.close_now()


def test_a_place_that_is_taken_and_a_full_disk_end_a_snapshot_cleanly(
    tmp_path: Path, small_disk: Path
) -> None:
    store = Store.open(tmp_path / "store", talk)
    (tmp_path / "taken").write_text("precious")
    with pytest.raises(BackupError, match="overwrites nothing"):
        store.snapshot(0, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "precious"
    with pytest.raises(BackupError, match="No such file"):
        store.snapshot(0, tmp_path / "none" / "s")
    for number in range(20):
        store.apply_now(0, [say(number, body=os.urandom(500_000))])
    with pytest.raises(BackupError, match="No space left"):
        store.snapshot(0, small_disk / "s")
    assert list(small_disk.iterdir()) == []
    info = store.snapshot(0, tmp_path / "s")
    small = Store.open(small_disk / "store", talk)
    with pytest.raises(BackupError, match="No space left"):
        small.install(0, tmp_path / "s", info)
    assert isinstance(small.apply_now(0, [say(1)])[0], Outcome)
    small.close_now()
    store.close_now()


def test_a_snapshot_that_is_held_open_ends_an_install(
    tmp_path: Path, ahead: tuple[Path, SnapshotInfo, list[bytes]]
) -> None:
    source, info, _ = ahead
    store = filled(tmp_path / "behind", 5, max_snapshot_s=0.01)
    inside, go_on = threading.Event(), threading.Event()

    def see(_: Any) -> None:
        inside.set()
        assert go_on.wait(60)

    viewer = threading.Thread(target=lambda: store.view(1, see), name="the viewer")
    viewer.start()
    assert inside.wait(60)
    with pytest.raises(StoreBusy, match="the end of a view in thread 'the viewer', open for"):
        store.install(1, source, info)
    assert leftovers(tmp_path / "behind") == []
    go_on.set()
    viewer.join()
    assert store.applied(1) == 5
    store.install(1, source, info)
    assert store.applied(1) == 80
    store.close_now()


def test_files_that_cannot_be_opened_are_put_back(
    tmp_path: Path,
    ahead: tuple[Path, SnapshotInfo, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, info, _ = ahead
    Store.open(tmp_path / "behind", talk, partitions=2).close_now()
    failing = 0

    class Refusing(Environment):
        def _open(self, create: bool) -> Any:
            nonlocal failing
            if failing:
                failing -= 1
                raise OSError("not now")
            return super()._open(create)

    monkeypatch.setattr("palaver.storage.store.Environment", Refusing)
    store = filled(tmp_path / "behind", 5)
    failing = 1
    with pytest.raises(OSError, match="not now"):
        store.install(1, source, info)
    assert leftovers(tmp_path / "behind") == []
    assert store.applied(1) == 5
    assert isinstance(store.apply_now(1, [say(5)])[0], Outcome)
    assert len(bodies(store, partition=1)) == 6
    store.install(1, source, info)
    assert store.applied(1) == 80
    store.close_now()


def test_a_closed_and_a_readonly_store_install_nothing(
    tmp_path: Path, ahead: tuple[Path, SnapshotInfo, list[bytes]]
) -> None:
    source, info, _ = ahead
    store = filled(tmp_path / "behind", 5)
    readonly = Store.open(tmp_path / "ahead", talk, readonly=True)
    with pytest.raises(StoreClosed):
        readonly.install(1, source, info)
    assert readonly.snapshot(1, tmp_path / "from readonly").applied == 80
    readonly.close_now()
    store.close_now()
    with pytest.raises(StoreClosed):
        store.install(1, source, info)
    with pytest.raises(StoreClosed):
        store.snapshot(1, tmp_path / "s")


def test_there_is_nothing_to_truncate_but_what_is_not_there_yet(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", 5)
    store.truncate(1, 5)
    with pytest.raises(WrongSequence) as refused:
        store.truncate(1, 6)
    assert (refused.value.expected, refused.value.actual) == (6, 5)
    store.close_now()


def test_killed_at_any_step_there_is_the_old_or_the_new(tmp_path: Path) -> None:
    other = Store.open(tmp_path / "other", talk)
    other.apply_now(0, [say(n) for n in range(30)])
    info = other.snapshot(0, tmp_path / "snapshot")
    other.close_now()
    path = tmp_path / "store"
    store = Store.open(path, talk)
    store.apply_now(0, [say(n) for n in range(10)])
    old = store.digest(0)
    back = store.snapshot(0, tmp_path / "back")
    store.close_now()
    new = (info.applied, info.digest)
    seen = []
    for step in range(40):
        child = subprocess.run(
            [
                sys.executable,
                "install_child.py",
                str(path),
                str(tmp_path / "snapshot"),
                json.dumps(asdict(info)),
                str(step),
            ],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
        )
        if step % 2:  # a check is the owner too, and puts things right
            assert check(path, talk).ok
        store = Store.open(path, talk)
        assert leftovers(path) == []
        assert store.digest(0) in (old, new)
        assert len(bodies(store)) == store.applied(0)
        assert isinstance(store.apply_now(0, [say(1)])[0], Outcome)
        seen.append((child.stdout.strip(), store.applied(0) > new[0]))
        store.install(0, tmp_path / "back", back)
        store.close_now()
        if child.returncode == 0:
            break
    assert seen[-1] == ("finished", True)
    assert [new for _, new in seen] == sorted(new for _, new in seen)
    # Before the first renaming, between the two, and after the second.
    renames = [index for index, (name, _) in enumerate(seen) if name == "rename"]
    assert [seen[index][1] for index in renames] == [False] * len(renames)
    assert len(renames) == 2
    assert [new for _, new in seen[renames[1] + 1 :]] == [True] * (len(seen) - renames[1] - 1)
