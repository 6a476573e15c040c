"""What must be true of a database after a power cut.

Nothing acknowledged is lost: `sync_transaction`, and every change of a table's definition or
content as a whole, are there, with everything before them. What was only committed in memory may
be gone, but never a part of a transaction, and none without those it rests on: the content of each
partition is that after a beginning of the story; a deed that is in one partition is in all that it
concerns; and so is whatever it had read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bank_story import Bank, Content
from bank_teller import content_of, index_problems, open_bank, tell
from judgement import LostError, TornError

from palaver.storage import StoreError
from palaver.storage.inspection import structure_problems


class DatabaseJudge:
    """Judges what is left of `database_child`'s folder.

    Args:
        seed: of the story.
        partitions: of the database.
        initial: what the tables held before it.
    """

    def __init__(self, seed: int, partitions: int, initial: Content | None = None) -> None:
        self.bank = Bank(seed, partitions, initial)
        self.count = 0
        self._parts: dict[tuple[int, int], Content] = {}

    def judge(self, place: Path, notes: Sequence[str]) -> None:
        """Raise LostError or TornError; the folder is used up."""
        self.count += 1
        acked, begun = self.numbers(notes)
        path = place / "bank"
        if not path.exists() and acked:
            raise LostError(f"the database is gone, {acked} deeds were acked")
        try:
            self._look(path, acked, begun)
        except StoreError as error:
            raise TornError(f"{type(error).__name__}: {error}") from error
        if self.count % 10 == 0:
            for file in path.glob("tables/*/data.mdb"):
                for problem in structure_problems(file):
                    raise TornError(f"after going on, {file} is damaged: {problem}")

    @staticmethod
    def numbers(notes: Sequence[str]) -> tuple[int, int]:
        """Return how many deeds were acknowledged, and how many were begun."""
        numbers = {"acked": 0, "begun": 0}
        for note in notes:
            what, number = note.split()
            numbers[what] = max(numbers[what], int(number))
        return numbers["acked"], numbers["begun"]

    def _look(self, path: Path, acked: int, begun: int) -> None:
        db = open_bank(path, self.bank.partitions)
        try:
            content = content_of(db)
            self.compare(content, acked, begun)
            problems = index_problems(db, content)
            if problems:
                raise TornError(problems[0])
            self._go_on(db, content, begun)
        finally:
            db.close()

    def _go_on(self, db: object, content: Content, begun: int) -> None:
        deed = next(
            deed
            for deed in map(self.bank.deed, range(begun, begun + 50))
            if deed.kind == "sync_transaction" and not deed.aborts
        )
        tell(db, deed)  # type: ignore[arg-type]

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
