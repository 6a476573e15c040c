"""Does one of several things to a store and notes on the tape what it promised to whom."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
from disk_tape import Mode, Op, Recorder
from ledger_story import Story, ledger

from palaver.storage import Store, StoreError
from palaver.storage.check import restore

PARTITIONS = 2
MAP_BYTES = 1 << 16


class Writer:
    """Tells the story to a store, append by append, and notes every answer."""

    def __init__(self, root: Path, seed: int, tape: Recorder, path: str = "store") -> None:
        self.tape = tape
        self.path = path
        self.stories = [Story(seed, partition) for partition in range(PARTITIONS)]
        options = {"partitions": PARTITIONS, "map_size_bytes": MAP_BYTES}
        self.store = Store.open(root / path, ledger, **options)
        tape.mark("opened")
        self.next = [0] * PARTITIONS
        self.go_back()
        for partition in range(PARTITIONS):
            applied = self.store.applied(partition)
            tape.mark(f"acked {path} {partition} {applied}")  # whoever reads now sees it

    def go_back(self) -> None:
        """Tell again what did not get into the store."""
        for partition, story in enumerate(self.stories):
            self.next[partition] = story.next_after(self.store.applied(partition))

    def round(self, appends: int) -> list[Any]:
        """Append to each partition, wait, and note what was answered."""
        outcomes: list[Any] = []
        for partition, story in enumerate(self.stories):
            for _ in range(appends):
                number = self.next[partition]
                self.next[partition] = number + 1
                commands = story.group(number)
                # Expected: an append that is refused for want of room takes no other's place.
                done = self._done(partition, number, outcomes)
                self.store.append(partition, commands, done, expected=story.ends[number])
        self.store.drain()
        return outcomes

    def _done(
        self, partition: int, number: int, outcomes: list[Any]
    ) -> Callable[[list[Any]], None]:
        def done(results: list[Any]) -> None:
            outcomes.extend(results)
            if not any(isinstance(result, StoreError) for result in results):
                applied = self.stories[partition].ends[number + 1]
                self.tape.mark(f"acked {self.path} {partition} {applied}")

        return done


def write(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    writer = Writer(root, seed, tape)
    for number in range(rounds):
        writer.round(1 + number % 3)
    writer.store.close_now()


def deep(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    """Write in a folder whose parents have to be made."""
    writer = Writer(root, seed, tape, "deep/down/store")
    for _ in range(rounds):
        writer.round(1)
    writer.store.close_now()


def back_up(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    """Write, and make backups meanwhile."""
    writer = Writer(root, seed, tape)
    for number in range(rounds):
        writer.round(2)
        name = f"backup-{number}"
        thread = threading.Thread(target=_one_backup, args=(writer.store, root / name, tape))
        thread.start()
        writer.round(2)
        thread.join()
    writer.store.close_now()


def _one_backup(store: Store, dest: Path, tape: Recorder) -> None:
    manifest = store.backup(dest)
    tape.mark(f"backup {dest.name} {' '.join(str(copy.applied) for copy in manifest.copies)}")


def endless(root: Path, seed: int, tape: Recorder, life: int) -> None:
    """Write and make backups until killed."""
    writer = Writer(root, seed, tape)
    number = 0
    thread: threading.Thread | None = None
    while True:
        writer.round(1 + number % 3)
        if thread is None or not thread.is_alive():
            number += 1
            dest = root / f"backup-{life}-{number}"
            thread = threading.Thread(target=_one_backup, args=(writer.store, dest, tape))
            thread.daemon = True
            thread.start()


def bring_back(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    """Write, back up, restore into a new folder and go on there."""
    writer = Writer(root, seed, tape, "old")
    for _ in range(rounds):
        writer.round(2)
    writer.store.backup(root / "backup-0")
    writer.store.close_now()
    restore(root / "backup-0", root / "store", ledger)
    for partition, story in enumerate(writer.stories):
        tape.mark(f"acked store {partition} {story.ends[writer.next[partition]]}")
    write(root, seed, tape, 1)


def install(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    """Take a partition out as a file, go on, and take it in again, twice."""
    writer = Writer(root, seed, tape)
    for number in range(2):
        writer.round(rounds)
        source = root / f"snapshot-{number}"
        info = writer.store.snapshot(0, source)
        writer.round(rounds)
        tape.mark(f"installing store 0 {info.applied}")
        writer.store.install(0, source, info)
        tape.mark(f"installed store 0 {info.applied}")
        writer.go_back()
        writer.round(1)
    writer.store.close_now()


def die(root: Path, seed: int, tape: Recorder, nth: int) -> None:
    """Write a little, and be killed within the nth operation."""
    tape.fault(Op.ANY, nth, Mode.DIE_AFTER)
    write(root, seed, tape, 3)
    tape.mark("survived")


def fail(root: Path, seed: int, tape: Recorder, fault: int) -> None:
    """Write while an operation fails; `fault` is the number of one in `FAULTS`."""
    writer = Writer(root, seed, tape)
    writer.round(2)
    ops, nth, mode, error, repeat = FAULTS[fault]
    tape.fault(ops, nth, mode, error, repeat)
    failed = 0
    for appends in (1, 3, 1, 2):  # what comes after a failure is not what failed
        if any(isinstance(result, StoreError) for result in writer.round(appends)):
            failed += 1
            writer.go_back()
    tape.mark(f"failed {failed}")
    writer.store.close_now()


def hasty(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    """A broken program: says that it is durable when it is only queued."""
    writer = Writer(root, seed, tape)
    for _ in range(rounds):
        for partition, story in enumerate(writer.stories):
            number = writer.next[partition]
            writer.store.append(partition, story.group(number), lambda _: None)
            tape.mark(f"acked store {partition} {story.ends[number + 1]}")
            writer.next[partition] += 1
        writer.store.drain()
    writer.store.close_now()


def halves(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    """A broken program: makes two transactions of one."""
    writer = Writer(root, seed, tape)
    for _ in range(rounds):
        for partition, story in enumerate(writer.stories):
            group = story.group(writer.next[partition])
            for command in group:
                writer.store.apply_now(partition, [command])
            writer.next[partition] += 1
    writer.store.close_now()


def unsynced(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    """A broken engine: LMDB without fsync."""
    _with_lmdb(root, seed, tape, rounds, sync=False)


def unsynced_head(root: Path, seed: int, tape: Recorder, rounds: int) -> None:
    """A broken engine: LMDB that does not synchronise the write of its head."""
    _with_lmdb(root, seed, tape, rounds, metasync=False)


def _with_lmdb(root: Path, seed: int, tape: Recorder, rounds: int, **options: Any) -> None:
    opening = lmdb.open
    lmdb.open = lambda *args, **kept: opening(*args, **{**kept, **options})
    write(root, seed, tape, rounds)


FAULTS = [
    (ops, nth, mode, error, 0)
    for ops in (Op.WRITE, Op.DURABLE_WRITE, Op.SYNC)
    for mode in (Mode.ERROR_BEFORE, Mode.ERROR_AFTER, Mode.SHORT)
    if ops != Op.SYNC or mode == Mode.ERROR_BEFORE
    for nth in range(1, 5)
    for error in (errno.EIO, errno.ENOSPC)
    if mode != Mode.SHORT or error == errno.EIO
]
"""Each a fault after some writing: (operations, the how manyth, what happens, which error, and how
often more)."""
FAULTS += [
    (Op.DURABLE_WRITE | Op.SYNC, nth, Mode.ERROR_AFTER, errno.EIO, repeat)
    for nth in range(1, 7)
    for repeat in (1, 2)
]

JOBS: dict[str, Callable[[Path, int, Recorder, int], None]] = {
    job.__name__: job
    for job in (
        write,
        deep,
        back_up,
        endless,
        bring_back,
        install,
        die,
        fail,
        hasty,
        halves,
        unsynced,
        unsynced_head,
    )
}

if __name__ == "__main__":
    JOBS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), Recorder(), int(sys.argv[4]))
