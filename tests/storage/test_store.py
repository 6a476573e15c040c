from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from storage_kit import Talk, append, bodies, open_async, problems, read, run, say, talk

from palaver.storage import (
    Outcome,
    Overloaded,
    ReadTxn,
    Store,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreLocked,
    StoreMismatch,
    StoreMissing,
    StoreVersion,
)

HERE = Path(__file__).parent


def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path) -> None:
    for life in range(3):
        store = Store.open(tmp_path / "a" / "store", talk)
        assert store.applied(0) == life * 10
        store.apply_now(0, [say(life * 10 + n) for n in range(10)])
        store.close_now()
    assert (tmp_path / "a" / "store").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a/store/tables/0000/data.mdb").stat().st_mode & 0o777 == 0o600


def test_a_read_sees_all_that_was_answered_before_it(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path)
        for number in range(30):
            await append(store, [say(number)])
            assert await read(store, lambda txn: txn.count("message")) == number + 1
        await store.close()

    run(story)


def test_reads_of_one_turn_share_a_snapshot_and_fail_alone(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path, partitions=2, stall_ms=60_000)  # one turn, however slow
        await append(store, [say(1)], partition=1)
        txns: list[ReadTxn] = []

        def look(txn: ReadTxn) -> int:
            txns.append(txn)
            return txn.count("message")

        def fail(_: ReadTxn) -> int:
            raise LookupError("mine")

        found = await asyncio.gather(
            read(store, look, 1), read(store, fail, 1), read(store, look, 0), read(store, look, 1)
        )
        assert [f if isinstance(f, int) else type(f) for f in found] == [1, LookupError, 0, 1]
        assert len(set(map(id, txns))) == 2
        assert store.stats().reads == 4
        await store.close()

    run(story)


def test_too_many_reads_are_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, max_backlog=2)
    answers: list[Any] = []
    store.read(0, lambda _: 1, answers.append)
    store.read(0, lambda _: 2, answers.append)
    with pytest.raises(Overloaded):
        store.read(0, lambda _: 3, answers.append)
    store.drain()
    assert answers == [1, 2]
    store.close_now()


def test_closing_answers_what_is_queued_and_refuses_the_rest(tmp_path: Path) -> None:
    before = set(threading.enumerate())

    async def story() -> None:
        store = open_async(tmp_path, max_batch=3)
        answers: list[list[Any]] = []
        reads: list[Any] = []
        for number in range(20):
            store.append(0, [say(number)], answers.append)
        store.read(0, lambda txn: txn.count("message"), reads.append)
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreClosed):
            store.append(0, [say(99)], answers.append)
        with pytest.raises(StoreClosed):
            store.read(0, lambda _: None, reads.append)
        await closing
        await store.close()
        assert len(answers) == 20
        assert len(reads) == 1
        with pytest.raises(StoreClosed):
            store.view(0, lambda _: None)
        assert not [
            thread
            for thread in set(threading.enumerate()) - before
            if thread.name.startswith("palaver-")
        ]
        again = open_async(tmp_path)  # the folder is free
        assert again.applied(0) == 20
        await again.close()

    run(story)


def test_partitions_are_independent_and_their_number_is_fixed(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, partitions=4)
    for number in range(40):
        conv = b"conv%d" % number
        store.apply_now(store.partition_of(conv), [say(number, conv)])
    assert sum(store.applied(p) for p in range(4)) == 40
    assert all(store.applied(p) for p in range(4))
    store.close_now()
    with pytest.raises(StoreMismatch, match="created with 4 partitions, the settings say 2"):
        Store.open(tmp_path, talk, partitions=2)
    with pytest.raises(ValueError, match="power of two"):
        Store.open(tmp_path, talk, partitions=3)
    unasked = Store.open(tmp_path, talk)
    assert unasked.partitions == 4
    unasked.close_now()


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk)
    with pytest.raises(StoreLocked) as refused:
        Store.open(tmp_path, talk)
    assert refused.value.pid == os.getpid()
    code = (
        "import sys; from palaver.storage import *; from storage_kit import talk\n"
        "try: Store.open(sys.argv[1], talk)\n"
        "except StoreLocked as e: print(e.pid, e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{os.getpid()} ")
    assert f"in use by process {os.getpid()}" in done.stdout
    store.close_now()
    Store.open(tmp_path, talk).close_now()


def test_a_reader_from_another_process_follows_the_owner(tmp_path: Path) -> None:
    """Also over a growth of the map, which the reader has to adopt."""
    code = (
        "import sys; from palaver.storage import *; from storage_kit import talk\n"
        "store = Store.open(sys.argv[1], talk, readonly=True, map_size_bytes=1 << 20)\n"
        "for line in sys.stdin: print(store.applied(0), flush=True)\n"
        "try: store.append(0, [], print)\n"
        "except StoreClosed: print('closed', flush=True)\n"
        "store.close_now()\n"
    )
    store = Store.open(tmp_path, talk, map_size_bytes=1 << 20)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        for number in range(12):
            store.apply_now(0, [say(number, body=bytes(400_000))])
            child.stdin.write("\n")
            child.stdin.flush()
            assert int(child.stdout.readline()) == number + 1
        assert store.stats().growths >= 2
        child.stdin.close()
        assert child.stdout.read() == "closed\n"
    store.close_now()


def test_a_store_that_is_not_there_is_not_made_by_readers(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        Store.open(tmp_path / "none", talk, readonly=True)
    assert not (tmp_path / "none").exists()


def test_a_place_that_cannot_be_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(tmp_path / "file", talk)


@pytest.mark.parametrize("leftover", ["nothing", "empty data file", "half a head", "partitions"])
def test_what_a_crash_during_creation_leaves_is_cleared_away(tmp_path: Path, leftover: str) -> None:
    half = tmp_path / "tables.new" / "0000"
    half.mkdir(parents=True)
    if leftover == "empty data file":
        (half / "data.mdb").touch()
    elif leftover == "half a head":
        (half / "data.mdb").write_bytes(bytes(5000))
    elif leftover == "partitions":
        other = tmp_path / "other"
        Store.open(other, talk).close_now()
        shutil.copytree(other / "tables" / "0000", half, dirs_exist_ok=True)
    store = Store.open(tmp_path, talk, partitions=2)
    assert store.applied(0) == 0
    assert not (tmp_path / "tables.new").exists()
    store.close_now()


def test_a_creation_that_was_renamed_is_a_store(tmp_path: Path) -> None:
    """A leftover beside a finished store is removed, the store is kept."""
    store = Store.open(tmp_path, talk)
    store.apply_now(0, [say(1)])
    store.close_now()
    (tmp_path / "tables.new").mkdir()
    store = Store.open(tmp_path, talk)
    assert store.applied(0) == 1
    store.close_now()


def damaged(tmp_path: Path) -> Path:
    store = Store.open(tmp_path, talk)
    store.apply_now(0, [say(n, body=bytes(500)) for n in range(500)])
    store.close_now()
    return tmp_path / "tables/0000/data.mdb"


def truncate(size: int) -> Callable[[Path], object]:
    return lambda path: os.truncate(path, size)


def overwrite(offset: int, size: int) -> Callable[[Path], object]:
    def strike(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\xa5" * size)

    return strike


@pytest.mark.parametrize(
    ("strike", "message"),
    [
        (truncate(0), "the file is empty"),
        (truncate(100), "ends within its head"),
        (truncate(4096), "ends within its head"),
        (truncate(8192), "that its head names"),
        (truncate(200_000), "that its head names"),
        (overwrite(0, 64), "meta page"),
        (overwrite(4096, 64), "meta page"),
        (overwrite(8192, 400_000), "is damaged"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text("hello " * 9999), "meta page"),
    ],
)
def test_a_damaged_data_file_is_named_with_what_to_do(
    tmp_path: Path, strike: Callable[[Path], object], message: str
) -> None:
    path = damaged(tmp_path)
    strike(path)
    with pytest.raises(StoreCorrupt, match=message) as refused:
        Store.open(tmp_path, talk)
    assert str(path.parent) in str(refused.value)
    assert "restore the latest backup" in str(refused.value)
    assert not [t for t in threading.enumerate() if t.name.startswith("palaver-")]


def test_damage_that_shows_only_in_use_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is not walked through at its opening."""
    path = damaged(tmp_path)
    monkeypatch.setattr("palaver.storage.inspection.WALK_BYTES", 0)
    store = Store.open(tmp_path, talk)
    content = path.read_bytes()
    for page in range(2, len(content) // 4096):
        flags = int.from_bytes(content[page * 4096 + 10 : page * 4096 + 12], "little")
        if flags == 2:  # a leaf: what was read at the opening is in memory, and stays right there
            overwrite(page * 4096 + 8, 4)(path)
    with pytest.raises(StoreCorrupt, match=r"is damaged.*restore the latest backup"):
        store.view(0, lambda txn: list(txn.range("message", b"")))
    answers: list[Any] = []
    store.read(0, lambda txn: list(txn.range("message", b"")), answers.append)
    store.drain()
    assert isinstance(answers[0], StoreCorrupt)
    (result,) = store.apply_now(0, [say(1, b"another")])
    assert isinstance(result, StoreFailed)
    store.close_now()


def test_a_partition_in_another_ones_place_is_noticed(tmp_path: Path) -> None:
    Store.open(tmp_path, talk, partitions=2).close_now()
    tables = tmp_path / "tables"
    (tables / "0000").rename(tables / "x")
    (tables / "0001").rename(tables / "0000")
    (tables / "x").rename(tables / "0001")
    with pytest.raises(StoreCorrupt, match="it holds partition 1"):
        Store.open(tmp_path, talk)


def rewrite(tmp_path: Path, **changes: object) -> None:
    path = tmp_path / "tables/format.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_newer_and_older_formats_are_named(tmp_path: Path) -> None:
    Store.open(tmp_path, talk).close_now()
    rewrite(tmp_path, format=3)
    with pytest.raises(StoreVersion, match=r"format is version 3.*reads version 2; upgrade"):
        Store.open(tmp_path, talk)
    rewrite(tmp_path, format=1)
    with pytest.raises(StoreVersion, match=r"format is version 1.*use the program that wrote it"):
        Store.open(tmp_path, talk)
    rewrite(tmp_path, format=2, machine_version=Talk.version + 1)
    with pytest.raises(StoreVersion, match=r"content of the tables.*upgrade this program"):
        Store.open(tmp_path, talk)
    rewrite(tmp_path, machine_version=Talk.version - 1)
    with pytest.raises(StoreVersion, match="use the program that wrote it"):
        Store.open(tmp_path, talk)
    rewrite(tmp_path, machine_version=Talk.version)
    Store.open(tmp_path, talk).close_now()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "other", "format": 1}', "{}"])
def test_a_damaged_format_file_is_named(tmp_path: Path, content: str) -> None:
    Store.open(tmp_path, talk).close_now()
    (tmp_path / "tables/format.json").write_text(content)
    with pytest.raises(StoreCorrupt, match=r"format\.json"):
        Store.open(tmp_path, talk)


def test_a_missing_format_file_never_leads_to_a_new_store(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    (tmp_path / "tables/format.json").unlink()
    with pytest.raises(StoreCorrupt, match="missing"):
        Store.open(tmp_path, talk)
    assert path.stat().st_size > 100_000


def test_a_view_inside_a_view_and_waiting_inside_a_view_are_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk)
    with pytest.raises(AssertionError, match="inside a view"):
        store.view(0, lambda _: store.view(0, lambda _: None))
    with pytest.raises(AssertionError, match="inside a view"):
        store.view(0, lambda _: store.apply_now(0, [say(1)]))
    store.close_now()
    reopened = Store.open(tmp_path, talk)
    assert problems(reopened) == []
    reopened.close_now()


def test_the_loop_keeps_running_while_a_command_is_slow(tmp_path: Path) -> None:
    async def story() -> None:
        release = threading.Event()
        store = open_async(tmp_path, lambda _: Talk(release.wait), stall_ms=1)
        waiting = asyncio.ensure_future(append(store, [(7,)]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        release.set()
        (result,) = await waiting
        assert isinstance(result, Outcome)
        assert store.stats().late_turns >= 1
        await store.close()

    run(story)


def test_a_batch_longer_than_a_turn_lets_the_loop_run_in_between(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path, stall_ms=0.2)
        turns = 0
        pending = asyncio.ensure_future(append(store, [say(n) for n in range(500)]))
        while not pending.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 3
        assert store.stats().commits == 1
        assert len(bodies(store)) == 500
        await store.close()

    run(story)
