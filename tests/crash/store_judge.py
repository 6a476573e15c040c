"""What must be true of whatever a power cut has left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from judgement import LostError, TornError
from ledger_story import Content, Story, content_of, ledger

from palaver.storage import BackupError, Store, StoreError
from palaver.storage.check import restore
from palaver.storage.inspection import structure_problems


@dataclass
class Promise:
    """What was said of a partition.

    Attributes:
        least: the sequence that was acknowledged.
        instead: the one of a snapshot that is being installed, which may be there instead.
    """

    least: int = 0
    instead: int | None = None

    def hear(self, what: str, applied: int) -> None:
        """Take in what was said next."""
        if what == "acked":
            self.least = max(self.least, applied)
        elif what == "installing":
            self.instead = applied
        else:
            self.least, self.instead = applied, None

    def kept(self, applied: int) -> bool:
        """Whether that may be there."""
        return applied >= self.least or applied == self.instead


class StoreJudge:
    """Judges what is left of `store_child`'s folder.

    Args:
        seed: of the story.
    """

    def __init__(self, seed: int, partitions: int = 2) -> None:
        self.stories = [Story(seed, partition) for partition in range(partitions)]
        self.count = 0

    def judge(self, place: Path, notes: Sequence[str]) -> None:
        """Raise LostError or TornError; the folder is used up."""
        self.count += 1
        told = [note.split() for note in notes]
        finished = {words[1] for words in told if words[0] == "backup"}
        try:
            for name, promised in self._promises(told).items():
                self._open(place / name, promised)
            for name in sorted(item.name for item in place.glob("backup-*")):
                self._restore(place, name, promised=name in finished)
        except StoreError as error:
            raise TornError(f"{type(error).__name__}: {error}") from error

    def _promises(self, told: Sequence[Sequence[str]]) -> dict[str, list[Promise]]:
        """Return by store what was promised of each partition."""
        promises = {"store": [Promise() for _ in self.stories]}
        for what, *rest in told:
            if what in ("acked", "installing", "installed"):
                name, partition, applied = rest[0], int(rest[1]), int(rest[2])
                of_store = promises.setdefault(name, [Promise() for _ in self.stories])
                of_store[partition].hear(what, applied)
        return promises

    def _open(self, path: Path, promised: Sequence[Promise]) -> None:
        if not path.exists() and any(promise.least for promise in promised):
            raise LostError(f"the store is gone, promised was {promised}")
        store = Store.open(path, ledger, partitions=len(promised))
        try:
            for partition, promise in enumerate(promised):
                applied = store.applied(partition)
                if not promise.kept(applied):
                    raise LostError(f"partition {partition}: {promise}, {applied} is there")
            self._content(store)
            for partition, story in enumerate(self.stories):
                group = story.group(story.next_after(store.applied(partition)))
                for result in store.apply_now(partition, group):
                    if isinstance(result, StoreError):
                        raise TornError(f"it does not go on: {result}")
            self._content(store)
        finally:
            store.close_now()
        if self.count % 10 == 0:
            for file in path.glob("tables/*/data.mdb"):
                for problem in structure_problems(file):
                    raise TornError(f"after going on, {file} is damaged: {problem}")

    def _content(self, store: Store) -> None:
        for partition, story in enumerate(self.stories):
            applied = store.applied(partition)
            expected = story.content(applied)
            if applied not in story.ends:
                raise TornError(f"partition {partition}: {applied} is within an append")
            found = store.view(partition, content_of)
            if found != expected:
                how = difference(found, expected)
                raise TornError(f"partition {partition} at {applied}: {how}")

    def _restore(self, place: Path, name: str, *, promised: bool) -> None:
        dest = place / f"restored-{name}"
        try:
            report = restore(place / name, dest, ledger)
        except BackupError as error:
            if promised:
                raise LostError(f"the finished {name}: {error}") from error
            return
        store = Store.open(dest, ledger)
        try:
            applied = [part.applied for part in report.partitions]
            if applied != [store.applied(partition) for partition in range(len(applied))]:
                raise TornError(f"the restored {name} is not at {applied}")
            self._content(store)
        finally:
            store.close_now()
        shutil.rmtree(dest)


def difference(found: Content, expected: Content) -> str:
    """Say in a line how two contents differ."""
    missing = sorted(expected.keys() - found.keys())
    more = sorted(found.keys() - expected.keys())
    other = sorted(key for key in found.keys() & expected.keys() if found[key] != expected[key])
    return f"missing {missing[:3]}, too many {more[:3]}, different {other[:3]}"
