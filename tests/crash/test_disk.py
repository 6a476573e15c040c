"""The model of a disk, by hand-made tapes and by random ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from disk_model import SECTOR_BYTES, Cut, Disk
from disk_tape import DURABLE, FAILED, GROWS_ONLY, Kind, Record
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path("/disk")
OLD, NEW, NEWER = b"o" * 1024, b"n" * 1024, b"N" * 1024


def record(kind: Kind, inode: int = 0, **fields: object) -> Record:
    values = {"offset": 0, "flags": 0, "path": "", "other": "", "data": b"", **fields}
    return Record(kind, inode, **values)  # type: ignore[arg-type]


def made(name: str, inode: int) -> Record:
    return record(Kind.CREATE, inode, path=f"/disk/{name}")


def written(inode: int, data: bytes, offset: int = 0, flags: int = 0) -> Record:
    return record(Kind.WRITE, inode, data=data, offset=offset, flags=flags)


def synced(inode: int, number: int = 1, flags: int = 0) -> list[Record]:
    return [
        record(Kind.SYNC, inode, offset=number),
        record(Kind.SYNCED, inode, offset=number, flags=flags),
    ]


TOP = [record(Kind.OPENED, 1, path="/disk")]
BEGIN = [*TOP, made("file", 2), written(2, OLD), *synced(2), *synced(1, 2)]


def played(records: Iterable[Record]) -> Disk:
    disk = Disk(ROOT)
    for _ in disk.play(records):
        pass
    return disk


def left(disk: Disk, cut: Cut) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place:
        disk.build(Path(place), cut)
        return {
            str(path.relative_to(place)): path.read_bytes()
            for path in Path(place).rglob("*")
            if path.is_file()
        }


def contents(disk: Disk) -> set[bytes | None]:
    """Every content of "file" by whole steps; None where it is not there."""
    numbers = [step.number for step in disk.pending()]
    found = set()
    for bits in range(1 << len(numbers)):
        kept = frozenset(number for i, number in enumerate(numbers) if bits >> i & 1)
        found.add(left(disk, Cut(kept)).get("file"))
    return found


def test_what_is_synchronised_is_there_and_what_is_not_may_be() -> None:
    disk = played([*BEGIN, written(2, NEW)])
    assert contents(disk) == {OLD, NEW}
    assert contents(played([*BEGIN, written(2, NEW), *synced(2, 3)])) == {NEW}


def test_later_writes_may_be_there_without_earlier_ones() -> None:
    disk = played([*BEGIN, written(2, b"a", 0), written(2, b"b", 600)])
    ends = {content[:1] + content[600:601] for content in contents(disk) if content}
    assert ends == {b"oo", b"ao", b"ob", b"ab"}


def test_a_write_tears_at_sectors() -> None:
    disk = played([*BEGIN, written(2, NEW)])
    (step,) = disk.pending()
    assert step.sectors == 2
    torn = left(disk, Cut(frozenset(), {step.number: 0b10}))["file"]
    assert torn == OLD[:SECTOR_BYTES] + NEW[SECTOR_BYTES:]
    across = played([*BEGIN, written(2, b"n" * 4, 510)])
    (step,) = across.pending()
    assert step.sectors == 2
    torn = left(across, Cut(frozenset(), {step.number: 0b01}))["file"]
    assert torn == OLD[:510] + b"nn" + OLD[512:]


def test_a_synchronisation_covers_what_was_written_before_it_began() -> None:
    begin, end = synced(2, 3)
    assert contents(played([*BEGIN, written(2, NEW), begin, written(2, NEWER), end])) == {
        NEW,
        NEWER,
    }


def test_a_durable_write_makes_only_itself_durable() -> None:
    disk = played([*BEGIN, written(2, b"a"), written(2, b"b", 1, DURABLE)])
    assert {content[:2] for content in contents(disk) if content} == {b"ob", b"ab"}


def test_a_durable_write_past_the_end_has_its_length() -> None:
    disk = played([*BEGIN, written(2, NEW, 4096, DURABLE)])
    assert contents(disk) == {OLD + bytes(3072) + NEW}


def test_a_length_may_be_there_without_the_data_and_the_reverse() -> None:
    disk = played([*BEGIN, written(2, NEW, 1024)])
    assert contents(disk) == {OLD, OLD + bytes(1024), OLD + NEW}
    (length, _) = disk.pending()
    stale = left(disk, Cut(frozenset({length.number}), stale=5))["file"]
    assert stale[:1024] == OLD
    assert stale[1024:] not in (bytes(1024), NEW)


def test_a_truncation_may_be_lost() -> None:
    assert contents(played([*BEGIN, record(Kind.LENGTH, 2, offset=10)])) == {OLD, OLD[:10]}
    longer = record(Kind.LENGTH, 2, offset=2000, flags=GROWS_ONLY)
    assert contents(played([*BEGIN, longer])) == {OLD, OLD + bytes(976)}
    shorter = record(Kind.LENGTH, 2, offset=10, flags=GROWS_ONLY)
    assert contents(played([*BEGIN, shorter])) == {OLD}


def test_a_failed_synchronisation_is_not_made_up_for() -> None:
    disk = played([*BEGIN, written(2, NEW), *synced(2, 3, FAILED), *synced(2, 4)])
    assert contents(disk) == {OLD, NEW}
    again = played(
        [*BEGIN, written(2, NEW), *synced(2, 3, FAILED), written(2, NEWER), *synced(2, 4)]
    )
    assert contents(again) == {NEWER}
    durable = played([*BEGIN, written(2, NEW, flags=DURABLE | FAILED), *synced(2, 4)])
    assert contents(durable) == {OLD, NEW}


def test_a_name_is_durable_after_its_folder_is_synchronised() -> None:
    assert contents(played([*TOP, made("file", 2), written(2, NEW), *synced(2)])) == {None, NEW}
    renamed = [
        *BEGIN,
        made("part", 3),
        written(3, NEW),
        *synced(3, 3),
        record(Kind.RENAME, path="/disk/part", other="/disk/file"),
    ]
    assert contents(played(renamed)) == {OLD, NEW}
    assert contents(played([*renamed, *synced(1, 4)])) == {NEW}
    removed = [*BEGIN, record(Kind.UNLINK, path="/disk/file")]
    assert contents(played(removed)) == {OLD, None}


def test_a_rename_without_a_synchronised_file_may_give_an_empty_one() -> None:
    hasty = [*BEGIN, made("part", 3), written(3, NEW)]
    hasty += [record(Kind.RENAME, path="/disk/part", other="/disk/file"), *synced(1, 4)]
    assert contents(played(hasty)) == {b"", bytes(1024), NEW}


def test_a_folder_s_own_name_is_not_its_own_to_keep() -> None:
    inner = [
        *TOP,
        record(Kind.MKDIR, 5, path="/disk/sub"),
        record(Kind.CREATE, 6, path="/disk/sub/file"),
        written(6, NEW),
        *synced(6, 1),
        *synced(5, 2),
    ]
    disk = played(inner)
    assert left(disk, Cut(frozenset())) == {}
    assert left(played([*inner, *synced(1, 3)]), Cut(frozenset())) == {"sub/file": NEW}


def test_the_table_of_readers_may_hold_anything() -> None:
    disk = played([*TOP, made("lock.mdb", 2), written(2, OLD), *synced(2), *synced(1, 2)])
    assert left(disk, Cut(frozenset(), stale=3))["lock.mdb"] != OLD
    assert len(left(disk, Cut(frozenset(), stale=3))["lock.mdb"]) == len(OLD)


OPERATIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 3000), st.binary(min_size=1, max_size=1500)),
    st.tuples(st.just("durable"), st.integers(0, 3000), st.binary(min_size=1, max_size=1500)),
    st.tuples(st.just("length"), st.integers(0, 4000), st.just(b"")),
    st.tuples(st.just("sync"), st.just(0), st.just(b"")),
)


@settings(deadline=None)
@given(st.lists(OPERATIONS, max_size=12))
def test_all_kept_is_what_a_program_sees_and_synchronised_is_kept(
    operations: list[tuple[str, int, bytes]],
) -> None:
    seen = bytearray()
    records = [*TOP, made("file", 2), *synced(1, 99)]
    for number, (what, offset, data) in enumerate(operations):
        if what in ("write", "durable"):
            records.append(written(2, data, offset, DURABLE if what == "durable" else 0))
            seen.extend(bytes(max(0, offset + len(data) - len(seen))))
            seen[offset : offset + len(data)] = data
        elif what == "length":
            records.append(record(Kind.LENGTH, 2, offset=offset))
            seen.extend(bytes(max(0, offset - len(seen))))
            del seen[offset:]
        else:
            records += synced(2, number)
    disk = played(records)
    everything = frozenset(step.number for step in disk.pending())
    assert left(disk, Cut(everything))["file"] == seen
    last = played([*records, *synced(2, 1000)])
    assert not last.pending()
    assert left(last, Cut(frozenset(), stale=7))["file"] == seen
