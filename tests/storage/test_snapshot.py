from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from storage_kit import Talk, append, bodies, open_async, problems, run, say, talk, u64

from palaver.storage import BackupError, Outcome, ReadTxn, Store, StoreVersion, WriteTxn
from palaver.storage.check import check, restore
from palaver.storage.snapshot import Manifest

HERE = Path(__file__).parent


def filled(path: Path, partitions: int = 2, count: int = 50) -> Store:
    store = Store.open(path, talk, partitions=partitions)
    for partition in range(partitions):
        store.apply_now(partition, [say(n, body=b"%d" % n * 20) for n in range(count)])
    return store


def test_a_backup_comes_back(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    seen: list[tuple[int, int]] = []
    manifest = store.backup(tmp_path / "backup", lambda done, total: seen.append((done, total)))
    expected = [bodies(store, partition=p) for p in range(2)]
    store.apply_now(0, [say(99)])
    store.close_now()
    assert [copy.applied for copy in manifest.copies] == [50, 50]
    assert Manifest.read(tmp_path / "backup") == manifest
    assert seen[-1] == (manifest.size_bytes, manifest.size_bytes)
    assert all(done <= total for done, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    copied: list[tuple[int, int]] = []
    report = restore(
        tmp_path / "backup", tmp_path / "again", talk, progress=lambda d, t: copied.append((d, t))
    )
    assert report.ok
    assert copied[-1] == (manifest.size_bytes, manifest.size_bytes)
    again = Store.open(tmp_path / "again", talk, partitions=2)
    assert [bodies(again, partition=p) for p in range(2)] == expected
    assert again.apply_now(0, [say(77)]) == [Outcome(51, (("said", b"c", 51),))]
    again.close_now()


def test_a_backup_while_writing_is_one_moment_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path / "store", partitions=2, map_size_bytes=1 << 20)
        stop = False
        sent = [0, 0]

        async def write(partition: int) -> None:
            while not stop:
                commands = [say(sent[partition] + n, body=bytes(300)) for n in range(7)]
                sent[partition] += 7
                results = await append(store, commands, partition)
                assert all(isinstance(r, Outcome) for r in results)

        writers = [asyncio.ensure_future(write(p)) for p in range(2)]
        for number in range(4):
            while store.applied(0) < 200 * (number + 1):
                await asyncio.sleep(0)
            before = [store.applied(p) for p in range(2)]
            manifest = await asyncio.to_thread(store.backup, tmp_path / f"b{number}")
            after = [store.applied(p) for p in range(2)]
            for copy, low, high in zip(manifest.copies, before, after, strict=True):
                assert low <= copy.applied <= high
                assert copy.applied % 7 == 0  # an append is in it whole or not at all
        stop = True
        await asyncio.gather(*writers)
        await store.close()

    run(story)
    for number in range(4):
        place = tmp_path / f"r{number}"
        report = restore(tmp_path / f"b{number}", place, talk)
        assert report.ok
        store = Store.open(place, talk)
        assert problems(store) == []
        assert [len(bodies(store, partition=p)) for p in range(2)] == [
            store.applied(p) for p in range(2)
        ]
        store.close_now()


def test_a_backup_from_another_process(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    code = (
        "import sys; from palaver.storage import *; from storage_kit import talk\n"
        "store = Store.open(sys.argv[1], talk, readonly=True)\n"
        "store.backup(sys.argv[2]); store.close_now()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store"), str(tmp_path / "backup")],
        cwd=HERE,
        check=True,
    )
    store.apply_now(0, [say(1000)])
    store.close_now()
    report = restore(tmp_path / "backup", tmp_path / "again", talk)
    assert [p.applied for p in report.partitions] == [50, 50]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious").touch()
    (tmp_path / "file").touch()
    for place in (tmp_path / "taken", tmp_path / "file", tmp_path / "store"):
        with pytest.raises(BackupError, match="not empty"):
            store.backup(place)
    (tmp_path / "empty").mkdir()
    store.backup(tmp_path / "empty")
    with pytest.raises(BackupError, match="not empty"):
        store.backup(tmp_path / "empty")
    store.close_now()
    for place in (tmp_path / "taken", tmp_path / "file", tmp_path / "store"):
        with pytest.raises(BackupError, match="not empty"):
            restore(tmp_path / "empty", place, talk)
    assert (tmp_path / "taken" / "precious").exists()


def test_an_interrupted_restore_can_be_repeated(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    store.backup(tmp_path / "backup")
    store.close_now()
    (tmp_path / "again" / "tables.new" / "0000").mkdir(parents=True)
    (tmp_path / "again" / "owner.lock").write_text("12345\n")
    assert restore(tmp_path / "backup", tmp_path / "again", talk).ok
    assert check(tmp_path / "again", talk).ok


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda b: flip(b / "0001/data.mdb"), "is not what was backed up"),
        (lambda b: os.truncate(b / "0000/data.mdb", 8192), "is not what was backed up"),
        (lambda b: (b / "0001/data.mdb").unlink(), "is missing from the backup"),
        (lambda b: (b / "manifest.json").unlink(), "no complete backup"),
        (lambda b: (b / "manifest.json").write_text("{"), "damaged"),
        (lambda b: (b / "manifest.json").write_text("[1]"), "damaged"),
        (lambda b: (b / "manifest.json").write_bytes(b"\xff\xfe"), "damaged"),
        (lambda b: edit(b, kind="something"), "damaged"),
        (lambda b: edit(b, partitions=[]), "damaged"),
        (lambda b: edit_copy(b, name="../../etc/passwd"), "outside the backup"),
        (lambda b: edit_copy(b, applied=7), "at sequence 50, the manifest says 7"),
    ],
)
def test_a_backup_that_is_not_what_was_written_is_refused(
    tmp_path: Path, harm: Any, message: str
) -> None:
    store = filled(tmp_path / "store")
    store.backup(tmp_path / "backup")
    store.close_now()
    harm(tmp_path / "backup")
    with pytest.raises(BackupError, match=message):
        restore(tmp_path / "backup", tmp_path / "again", talk)
    assert not (tmp_path / "again").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupError, match=message):
        restore(tmp_path / "backup", tmp_path / "empty", talk)
    assert list((tmp_path / "empty").iterdir()) == []


def edit(backup: Path, **changes: object) -> None:
    path = backup / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_copy(backup: Path, **changes: object) -> None:
    content = json.loads((backup / "manifest.json").read_text())
    content["partitions"][0] |= changes
    (backup / "manifest.json").write_text(json.dumps(content))


def test_versions_of_backups(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    store.backup(tmp_path / "backup")
    store.close_now()
    edit(tmp_path / "backup", machine_version=Talk.version + 1)
    with pytest.raises(StoreVersion, match="content of the tables"):
        restore(tmp_path / "backup", tmp_path / "again", talk)
    edit(tmp_path / "backup", format=9)
    with pytest.raises(StoreVersion, match="backup's format"):
        restore(tmp_path / "backup", tmp_path / "again", talk)
    assert not (tmp_path / "again").exists()


def test_a_backup_whose_content_is_wrong_is_refused(tmp_path: Path) -> None:
    class Careless(Talk):
        def apply(self, txn: WriteTxn, seq: int, command: Any) -> Outcome:
            txn.put("last", b"c", u64(99))
            return Outcome(None)

    store = Store.open(tmp_path / "store", lambda _: Careless())
    store.apply_now(0, [say(1)])
    store.backup(tmp_path / "backup")
    store.close_now()
    with pytest.raises(BackupError, match=r"does not pass the check.*has a gap"):
        restore(tmp_path / "backup", tmp_path / "again", talk)


def test_a_full_disk_ends_a_backup_cleanly(tmp_path: Path, small_disk: Path) -> None:
    store = Store.open(tmp_path / "store", talk)
    for number in range(20):
        store.apply_now(0, [say(number, body=os.urandom(500_000))])
    with pytest.raises(BackupError, match="No space left"):
        store.backup(small_disk / "backup")
    assert list(small_disk.iterdir()) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("palaver-backup")]
    store.apply_now(0, [say(100)])
    store.backup(tmp_path / "backup")
    store.close_now()
    with pytest.raises(BackupError, match="No space left"):
        restore(tmp_path / "backup", small_disk / "again", talk)
    assert list(small_disk.iterdir()) == []


def test_a_backup_ends_when_its_progress_says_so_or_the_store_closes(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")

    def enough(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.backup(tmp_path / "backup", enough)
    assert not (tmp_path / "backup").exists()

    raised: list[BaseException] = []
    copying, go_on = threading.Event(), threading.Event()

    def hold(_done: int, _total: int) -> None:
        copying.set()
        go_on.wait()

    def back_up() -> None:
        try:
            store.backup(tmp_path / "backup", hold)
        except BackupError as error:
            raised.append(error)

    thread = threading.Thread(target=back_up)
    thread.start()
    copying.wait()
    with pytest.raises(BackupError, match="another backup"):
        store.backup(tmp_path / "other")
    store._closing = True
    go_on.set()
    store.close_now()
    thread.join()
    assert "closing" in str(raised[0])
    assert not (tmp_path / "backup").exists()


def test_a_map_that_fills_up_during_a_backup_has_room(tmp_path: Path) -> None:
    """A snapshot holds up growth: so the backup makes room beforehand."""
    store = Store.open(tmp_path / "store", talk, map_size_bytes=1 << 20)
    store.apply_now(0, [say(n, body=bytes(15_000)) for n in range(40)])
    written: list[int] = []

    def write_on(_done: int, _total: int) -> None:
        if not written:
            written.append(1)
            results = store.apply_now(0, [say(100 + n, body=bytes(15_000)) for n in range(30)])
            assert all(isinstance(r, Outcome) for r in results)

    manifest = store.backup(tmp_path / "backup", write_on)
    assert (manifest.copies[0].applied, store.applied(0)) == (40, 70)
    store.close_now()


class Paired(Talk):
    """Vetoes a cut in which the second partition is behind the first."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.before_answer: Any = lambda: None

    def consistent(self, txns: Sequence[ReadTxn]) -> bool:
        self.asked += 1
        fits = txns[1].count("message") >= txns[0].count("message")
        self.before_answer()
        return fits


def test_a_machine_may_veto_a_cut(tmp_path: Path) -> None:
    machines = [Paired(), Paired()]
    store = Store.open(tmp_path / "store", lambda p: machines[p], partitions=2)
    store.apply_now(0, [say(1)])
    with pytest.raises(BackupError, match="no consistent cut"):
        store.backup(tmp_path / "backup")
    assert machines[0].asked == 50 or sum(m.asked for m in machines) == 50
    assert not (tmp_path / "backup").exists()

    def catch_up() -> None:
        for machine in machines:
            machine.before_answer = lambda: None
        threading.Thread(target=lambda: store.apply_now(1, [say(1)])).start()

    for machine in machines:
        machine.asked = 0
        machine.before_answer = catch_up
    manifest = store.backup(tmp_path / "backup")
    assert [copy.applied for copy in manifest.copies] == [1, 1]
    assert 2 <= sum(m.asked for m in machines) <= 50
    store.close_now()


def test_a_backup_is_compact(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", partitions=1)
    for number in range(30):
        store.apply_now(0, [(6, 300_000)] if number % 2 else [(1,)])
    store.apply_now(0, [(1,)])
    manifest = store.backup(tmp_path / "backup")
    original = (tmp_path / "store/tables/0000/data.mdb").stat().st_size
    assert manifest.size_bytes < original / 3
    store.close_now()
    shutil.rmtree(tmp_path / "store")
    assert restore(tmp_path / "backup", tmp_path / "store", talk).ok
