from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import Talk, say, talk, u64

from palaver.storage import (
    Outcome,
    ReadTxn,
    Store,
    StoreCorrupt,
    StoreLocked,
    StoreMissing,
    StoreVersion,
    WriteTxn,
)
from palaver.storage.check import PartitionReport, check


def filled(path: Path, partitions: int = 1) -> Store:
    store = Store.open(path, talk, partitions=partitions)
    for partition in range(partitions):
        store.apply_now(partition, [say(n, body=bytes(100)) for n in range(200)])
        store.apply_now(partition, [(6, 20_000), (1,)])
    return store


def test_a_good_store_passes(tmp_path: Path) -> None:
    filled(tmp_path, partitions=2).close_now()
    reports: list[PartitionReport] = []
    report = check(tmp_path, talk, on_partition=reports.append)
    assert report.ok
    assert tuple(reports) == report.partitions
    assert [p.partition for p in reports] == [0, 1]
    assert reports[0].applied == 202
    assert reports[0].entries == {"last": 1, "message": 200, "client": 200, "blob": 0}
    assert reports[0].size_bytes == (tmp_path / "tables/0000/data.mdb").stat().st_size


def test_a_store_in_use_is_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with pytest.raises(StoreLocked):
        check(tmp_path, talk)
    store.close_now()
    with pytest.raises(StoreMissing):
        check(tmp_path / "none", talk)
    assert not (tmp_path / "none").exists()


def test_what_the_machine_finds_is_reported_and_bounded(tmp_path: Path) -> None:
    class Careless(Talk):
        def apply(self, txn: WriteTxn, seq: int, command: Any) -> Outcome:
            txn.put("last", b"c", u64(99))
            return Outcome(None)

    class Garrulous(Talk):
        def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
            while True:
                yield "always something"

    class Broken(Talk):
        def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
            yield "one"
            raise KeyError("record")

    store = Store.open(tmp_path, lambda _: Careless())
    store.apply_now(0, [say(1)])
    store.close_now()
    assert check(tmp_path, talk).problems == ("partition 0: conversation b'c' has a gap",)
    assert len(check(tmp_path, lambda _: Garrulous()).problems) == 1000
    assert "KeyError" in check(tmp_path, lambda _: Broken()).problems[-1]


def test_versions_and_format_are_errors(tmp_path: Path) -> None:
    class Newer(Talk):
        version = Talk.version + 1

    filled(tmp_path).close_now()
    with pytest.raises(StoreVersion):
        check(tmp_path, lambda _: Newer())
    (tmp_path / "tables/format.json").unlink()
    with pytest.raises(StoreCorrupt):
        check(tmp_path, talk)


def test_exchanged_and_missing_partitions_are_reported(tmp_path: Path) -> None:
    filled(tmp_path, partitions=2).close_now()
    tables = tmp_path / "tables"
    (tables / "0000/data.mdb").rename(tables / "x")
    (tables / "0001/data.mdb").rename(tables / "0000/data.mdb")
    problems = check(tmp_path, talk).problems
    assert problems[0] == "partition 0: the file holds partition 1"
    assert "missing" in problems[1]


def test_a_short_free_tail_is_no_damage(tmp_path: Path) -> None:
    """LMDB does not write a last page that was taken and given back in one transaction."""
    store = Store.open(tmp_path, talk)
    store.apply_now(0, [say(1), (6, 40_000), (6, 40_000), (1,)])
    path = tmp_path / "tables/0000/data.mdb"
    environment = store._environments[0]
    environment.measure()
    used = environment.sizes[1]
    store.close_now()
    assert path.stat().st_size >= used
    # As a crash before the mending would leave it: found out by walking through the file.
    content = path.read_bytes()
    live = len(content.rstrip(bytes(1)))
    os.truncate(path, -(-live // 4096) * 4096)
    if path.stat().st_size < used:
        store = Store.open(tmp_path, talk)
        assert store.applied(0) == 4
        store.close_now()
        assert path.stat().st_size >= used
    assert check(tmp_path, talk).ok


@settings(max_examples=40, deadline=None)
@given(
    damage=st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.integers(0, 4095),
            st.integers(1, 5000),
            st.sampled_from(["flip", "zero", "ones"]),
        ),
        min_size=1,
        max_size=3,
    ),
    cut=st.none() | st.integers(0, 100),
)
def test_damage_of_any_page_is_survived_and_damage_that_matters_is_found(
    tmp_path_factory: pytest.TempPathFactory, damage: list[Any], cut: int | None
) -> None:
    """The verifier may pass what is damaged in a free page, but never falls over."""
    root = tmp_path_factory.mktemp("d")
    store = filled(root)
    sound = store.digest(0), store.content_digest(0)
    store.close_now()
    path = root / "tables/0000/data.mdb"
    content = bytearray(path.read_bytes())
    for page, offset, size, kind in damage:
        start = page % (len(content) // 4096) * 4096 + offset
        for at in range(start, min(start + size, len(content))):
            content[at] = {"flip": content[at] ^ 0xFF, "zero": 0, "ones": 0xFF}[kind]
    if cut is not None:
        del content[len(content) * cut // 100 :]
    path.write_bytes(content)
    report = check(root, talk)
    (found,) = report.partitions
    if report.ok and found.applied == sound[0][0]:  # a head that is older may have been chosen
        assert (found.digest, found.content_digest) == (sound[0][1], sound[1][1])
    if cut is not None and cut < 50:
        assert not report.ok
    path.unlink()
