"""What must be true of a database after a power cut.

Nothing acknowledged is lost: `sync_transaction`, and every change of a table's definition or
content as a whole, are there, with everything before them. What was only committed in memory may
be gone, but never a part of a transaction, and none without those it rests on: the content of each
partition is that after a beginning of the story; a deed that is in one partition is in all that it
concerns; and so is whatever it had read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bank_story import Bank, Content, of_client
from bank_teller import content_of, index_problems, open_bank, tell
from judgement import LostError, TornError

from palaver.storage import StoreError
from palaver.storage.check import check
from palaver.storage.tables import Database
from palaver.storage.tables.archives.building import restore_database
from palaver.storage.tables.machine import TableMachine

DEEDS = 12
"""Of a story, before the backup and after it; see `ArchiveJudge`."""


class DatabaseJudge:
    """Judges what is left of `database_child`'s folder.

    Args:
        seed: of the story.
        partitions: of the database.
        initial: what the tables held before it.
        client: whose story it is, where there are several.
    """

    def __init__(
        self,
        seed: int,
        partitions: int,
        initial: Content | None = None,
        client: int | None = None,
    ) -> None:
        self.bank = Bank(seed, partitions, initial, client)
        self.count = 0
        self._parts: dict[tuple[int, int], Content] = {}

    def judge(self, place: Path, notes: Sequence[str]) -> None:
        """Raise LostError or TornError; the folder is used up."""
        self.count += 1
        acked, begun = numbers(notes)
        with opened(place / "bank", self.bank.partitions, acked, self.count) as (db, content):
            self.compare(content, acked, begun)
            deed = next(
                deed
                for deed in map(self.bank.deed, range(begun, begun + 50))
                if deed.kind == "sync_transaction" and not deed.aborts
            )
            tell(db, deed)

    def compare(self, content: Content, acked: int, begun: int) -> list[tuple[int, int]]:
        """Raise unless the content is what a power cut may leave of the story.

        Return by partition the least and the most deeds whose outcome it holds.

        Args:
            content: what is there.
            acked: deeds that must be there, from the first on.
            begun: deeds that may be.
        """
        reached = [
            self._reached(partition, content, acked, begun)
            for partition in range(self.bank.partitions)
        ]
        for number in range(acked, begun):
            self._check_deed(number, reached)
        return reached

    def _reached(self, partition: int, content: Content, acked: int, begun: int) -> tuple[int, int]:
        """Return the least and the most deeds whose outcome a partition holds."""
        found = self._part(content, partition)
        fitting = [
            number for number in range(begun + 1) if self._expected(partition, number) == found
        ]
        if not fitting:
            raise TornError(f"partition {partition} holds what no beginning of the story leads to")
        if fitting[-1] < acked:
            raise LostError(
                f"{acked} deeds were acked, partition {partition} has those up to {fitting[-1]}"
            )
        fitting = [number for number in fitting if number >= acked]
        return fitting[0], fitting[-1]

    def _expected(self, partition: int, number: int) -> Content:
        expected = self._parts.get((partition, number))
        if expected is None:
            expected = self._part(self.bank.content(number), partition)
            self._parts[partition, number] = expected
        return expected

    def _part(self, content: Content, partition: int) -> Content:
        if self.bank.partitions == 1:
            return content
        of = self.bank.partition_of
        return {place: kept for place, kept in content.items() if of(place) == partition}

    def _check_deed(self, number: int, reached: Sequence[tuple[int, int]]) -> None:
        """A deed is in all its partitions or in none, and so is what it rests on."""
        before, after = self.bank.content(number), self.bank.content(number + 1)
        places = {
            place for place in before.keys() | after.keys() if before.get(place) != after.get(place)
        }
        of = self.bank.partition_of
        there = [place for place in places if reached[of(place)][0] > number]
        gone = [place for place in places if reached[of(place)][1] <= number]
        if there and gone:
            raise TornError(f"deed {number}: {there[0]} is changed, {gone[0]} is not")
        if there:
            for place in self.bank.deed(number).reads:
                writer = self._last_writer(place, number)
                if writer is not None and reached[of(place)][1] <= writer:
                    raise TornError(f"deed {number} is there, it had read {place} of {writer}")

    def _last_writer(self, place: tuple[str, object], number: int) -> int | None:
        contents = self.bank.contents
        for earlier in range(number - 1, -1, -1):
            if contents[earlier].get(place) != contents[earlier + 1].get(place):
                return earlier
        return None


class CrowdJudge:
    """Judges what is left when several clients have written at once, each keys of its own."""

    def __init__(self, seed: int, partitions: int, clients: int) -> None:
        self.partitions = partitions
        self.judges = [DatabaseJudge(seed, partitions, client=client) for client in range(clients)]
        self.count = 0

    def judge(self, place: Path, notes: Sequence[str]) -> None:
        """Raise LostError or TornError; the folder is used up."""
        self.count += 1
        reached = [numbers(notes, client) for client in range(len(self.judges))]
        most = max(acked for acked, _ in reached)
        with opened(place / "bank", self.partitions, most, self.count) as (_, content):
            for client, (judge, (acked, begun)) in enumerate(
                zip(self.judges, reached, strict=True)
            ):
                judge.compare(of_client(content, client), acked, begun)


class ArchiveJudge:
    """Judges what is left of a database with a backup, a fallback and a restore.

    The first story is told until the backup, and on; then the backup comes back as a fallback, a
    second story is told on top of it, and the backup comes back again, by a restore.
    """

    def __init__(self, seed: int, partitions: int) -> None:
        self.partitions = partitions
        first = Bank(seed, partitions)
        self.kept = first.content(DEEDS)
        self.first = DatabaseJudge(seed, partitions)
        self.second = DatabaseJudge(seed + 1, partitions, self.kept)
        self.count = 0

    def judge(self, place: Path, notes: Sequence[str]) -> None:
        """Raise LostError or TornError; the folder is used up."""
        self.count += 1
        said = {note.split()[0] for note in notes}
        file = place / "backup"
        if file.exists() or "backed_up" in said:
            self._restored(file, place / "restored", promised="backed_up" in said)
        told_first, told_second = numbers(notes, 1), numbers(notes, 2)
        most = max(told_first[0], told_second[0])
        with opened(place / "bank", self.partitions, most, self.count) as (_, content):
            if content == self.kept and said & {"installing", "restoring"}:
                return
            if "restored" in said:
                raise LostError("a finished restore is not there")
            if "installed" in said:
                self.second.compare(content, *told_second)
            else:
                self.first.compare(content, *told_first)

    def _restored(self, file: Path, dest: Path, *, promised: bool) -> None:
        try:
            restore_database(file, dest)
        except (StoreError, FileNotFoundError) as error:
            if promised:
                raise LostError(f"a finished backup: {error}") from error
            return
        with open_bank(dest, self.partitions) as db:
            if content_of(db) != self.kept:
                raise TornError("a backup holds what never was")


def numbers(notes: Sequence[str], client: int | None = None) -> tuple[int, int]:
    """Return how many deeds (of one of several clients) were acknowledged, and how many begun."""
    found = {"acked": 0, "begun": 0}
    for note in notes:
        what, *whose, number = note.split()
        if what in found and (client is None or whose == [str(client)]):
            found[what] = max(found[what], int(number))
    return found["acked"], found["begun"]


@contextmanager
def opened(
    path: Path, partitions: int, acked: int, count: int
) -> Iterator[tuple[Database, Content]]:
    """Open what is left and read it; at the end, look at the files now and then."""
    if not path.exists() and acked:
        raise LostError(f"the database is gone, {acked} deeds were acked")
    try:
        with open_bank(path, partitions) as db:
            content = content_of(db)
            problems = index_problems(db, content)
            if problems:
                raise TornError(problems[0])
            yield db, content
    except StoreError as error:
        raise TornError(f"{type(error).__name__}: {error}") from error
    if count % 10 == 0:
        problems = list(check(path, TableMachine).problems)
        if problems:
            raise TornError(f"after going on, a check says: {problems[0]}")
