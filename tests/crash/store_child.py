"""Does one of several things to a store and notes on the tape what it promised to whom."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger import Story, ledger
from tape import Mode, Op, Recorder

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
        self.store = Store.open(root / path, ledger, partitions=PARTITIONS, map_size_bytes=MAP_BYTES)
        tape.mark("opened")
        self.next = []
        for partition, story in enumerate(self.stories):
            applied = self.store.applied(partition)
            self.next.append(story.next_after(applied))
            tape.mark(f"acked {path} {partition} {applied}")  # whoever reads now sees it

    def round(self, appends: int) -> list[Any]:
        """Append to each partition, wait, and note what was answered."""
        outcomes: list[Any] = []
        for partition, story in enumerate(self.stories):
            for _ in range(appends):
                number = self.next[partition]
                self.next[partition] = number + 1
                commands = story.group(number)
                self.store.append(partition, commands, self._done(partition, number, outcomes))
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


def die(root: Path, seed: int, tape: Recorder, nth: int) -> None:
    """Write a little, and be killed within the nth operation."""
    tape.fault(Op.ANY, nth, Mode.DIE_AFTER)
    write(root, seed, tape, 3)
    tape.mark("survived")


def fail(root: Path, seed: int, tape: Recorder, fault: int) -> None:
    """Write while an operation fails; `fault` says which, how, and how often."""
    nth, rest = fault // 100, fault % 100
    mode = (Mode.ERROR_BEFORE, Mode.ERROR_AFTER, Mode.SHORT)[rest % 3]
    writer = Writer(root, seed, tape)
    writer.round(2)
    tape.fault(
        (Op.WRITE, Op.DURABLE_WRITE, Op.SYNC, Op.LENGTH)[rest // 3 % 4], nth, mode, 5 + rest // 12 * 23
    )
    failed = 0
    for appends in (1, 3, 1, 2):  # what comes after a failure is not what failed
        if any(isinstance(result, StoreError) for result in writer.round(appends)):
            failed += 1
            writer.next = [
                story.next_after(writer.store.applied(partition))
                for partition, story in enumerate(writer.stories)
            ]
    tape.mark(f"failed {failed}")
    writer.store.close_now()


JOBS: dict[str, Callable[[Path, int, Recorder, int], None]] = {
    "write": write,
    "back_up": back_up,
    "bring_back": bring_back,
    "die": die,
    "fail": fail,
}

if __name__ == "__main__":
    JOBS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), Recorder(), int(sys.argv[4]))
