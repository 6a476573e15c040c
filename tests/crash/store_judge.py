"""What must be true of whatever a power cut has left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from judgement import LostError, TornError
from ledger_story import Content, Story, content_of, ledger

from palaver.storage import BackupError, Store, StoreError
from palaver.storage.check import restore
from palaver.storage.inspection import structure_problems


class StoreJudge:
    """Judges what is left of `store_child`'s folder.

    Args:
        seed: of the story.
    """

    def __init__(self, seed: int, partitions: int = 2) -> None:
        self.stories = [Story(seed, partition) for partition in range(partitions)]
        self.seen_backups: set[bytes] = set()
        self.count = 0

    def judge(self, place: Path, notes: Sequence[str]) -> None:
        """Raise LostError or TornError; the folder is used up."""
        self.count += 1
        try:
            for name, promised in self._promises(notes).items():
                self._open(place / name, promised)
            for name in sorted(item.name for item in place.glob("backup-*")):
                self._restore(
                    place, name, f"backup {name}" in {note[: len(name) + 7] for note in notes}
                )
        except StoreError as error:
            raise TornError(f"{type(error).__name__}: {error}") from error

    def _promises(self, notes: Sequence[str]) -> dict[str, list[int]]:
        """Return by store what was acknowledged of each partition."""
        promises = {"store": [0] * len(self.stories)}
        for note in notes:
            if note.startswith("acked "):
                _, name, number, applied = note.split()
                promised = promises.setdefault(name, [0] * len(self.stories))
                promised[int(number)] = max(promised[int(number)], int(applied))
        return promises

    def _open(self, path: Path, promised: list[int]) -> None:
        if not path.exists() and any(promised):
            raise LostError(f"the store is gone, promised was {promised}")
        store = Store.open(path, ledger, partitions=len(promised))
        try:
            self._content(store, promised)
            for partition, story in enumerate(self.stories):
                group = story.group(story.next_after(store.applied(partition)))
                for result in store.apply_now(partition, group):
                    if isinstance(result, StoreError):
                        raise TornError(f"it does not go on: {result}")
            self._content(store, promised)
        finally:
            store.close_now()
        if self.count % 10 == 0:
            for file in path.glob("tables/*/data.mdb"):
                for problem in structure_problems(file):
                    raise TornError(f"after going on, {file} is damaged: {problem}")

    def _content(self, store: Store, promised: Sequence[int]) -> None:
        for partition, story in enumerate(self.stories):
            applied = store.applied(partition)
            if applied < promised[partition]:
                raise LostError(f"partition {partition}: {promised} were acked, {applied} is there")
            expected = story.content(applied)
            if applied not in story.ends:
                raise TornError(f"partition {partition}: {applied} is within an append")
            found = store.view(partition, content_of)
            if found != expected:
                how = difference(found, expected)
                raise TornError(f"partition {partition} at {applied}: {how}")

    def _restore(self, place: Path, name: str, promised: bool) -> None:
        dest = place / f"restored-{name}"
        try:
            report = restore(place / name, dest, ledger)
        except BackupError as error:
            if promised:
                raise LostError(f"the finished {name}: {error}") from error
            return
        store = Store.open(dest, ledger)
        try:
            self._content(store, [part.applied or 0 for part in report.partitions])
        finally:
            store.close_now()
        shutil.rmtree(dest)


def difference(found: Content, expected: Content) -> str:
    """Say in a line how two contents differ."""
    missing = sorted(expected.keys() - found.keys())
    more = sorted(found.keys() - expected.keys())
    other = sorted(key for key in found.keys() & expected.keys() if found[key] != expected[key])
    return f"missing {missing[:3]}, too many {more[:3]}, different {other[:3]}"
