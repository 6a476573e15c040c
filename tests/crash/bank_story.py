"""A story of transactions over several tables, and what the tables must hold after any part of it.

Told by one client, transaction by transaction; everything follows from a seed. Several clients
have keys of their own, so that each can be looked at alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from palaver.storage.partitioning import partition_of
from palaver.storage.tables import terms


@dataclass(frozen=True, slots=True)
class Account:
    number: str
    owner: str
    balance: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Tag:
    key: str
    label: str


@dataclass(frozen=True, slots=True)
class Seat:
    name: str
    taken_by: str


RECORDS = (Account, Entry, Tag, Seat)
DISC = ("Account", "Entry", "Tag")
OWNERS = 5
KEYS: Mapping[str, Callable[[random.Random, int], Any]] = {
    "Account": lambda chance, client: f"account {client} {chance.randrange(60)}",
    "Entry": lambda chance, client: 1000 * client + chance.randrange(80),
    "Tag": lambda chance, client: f"tag {client} {chance.randrange(12)}",
    "Seat": lambda chance, client: f"seat {client} {chance.randrange(5)}",
}

Place = tuple[str, Any]
Content = dict[Place, frozenset[Any]]
"""The records by (table, key); a place without records is not in it."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One transaction.

    Attributes:
        reads: places that it looks at first.
        steps: (operation, table, record or key), in order.
        kind: `sync_transaction`, `transaction`, `sync_dirty` or `clear_table`.
        aborts: it is given up after its last step.
    """

    reads: tuple[Place, ...]
    steps: tuple[tuple[str, str, Any], ...]
    kind: str
    aborts: bool


class Bank:
    """The story, and the content of the disc tables after each deed (0: before the first).

    Args:
        seed: of the story.
        partitions: of the database.
        initial: what the tables hold before it.
        client: whose story it is; None: the only one's, who also clears whole tables.
    """

    def __init__(
        self,
        seed: int,
        partitions: int,
        initial: Content | None = None,
        client: int | None = None,
    ) -> None:
        self._chance = random.Random(f"bank {seed} {client}")
        self._client = client
        self.partitions = partitions
        self.deeds: list[Deed] = []
        self.contents: list[Content] = [initial or {}]
        self._partitions: dict[Place, int] = {}

    def deed(self, number: int) -> Deed:
        """Return the deed with this number, 0 the first; it leads to `contents[number + 1]`."""
        while len(self.deeds) <= number:
            deed = self._draw()
            self.deeds.append(deed)
            self.contents.append(after(self.contents[-1], deed))
        return self.deeds[number]

    def content(self, number: int) -> Content:
        """Return what the disc tables hold after so many deeds."""
        if number:
            self.deed(number - 1)
        return self.contents[number]

    def partition_of(self, place: Place) -> int:
        """Return where a place is kept."""
        found = self._partitions.get(place)
        if found is None:
            found = partition_of(terms.encode(place[1]), self.partitions)
            self._partitions[place] = found
        return found

    def _draw(self) -> Deed:
        chance = self._chance
        if self._client is None and chance.random() < 0.02:
            return Deed((), (("clear", chance.choice(DISC), None),), "clear_table", False)
        places = [self._place() for _ in range(chance.choice((0, 0, 1, 2)))]
        steps = [self._step() for _ in range(chance.choice((1, 1, 2, 3, 5)))]
        kind = chance.choice(("sync_transaction", "sync_transaction", "transaction", "transaction"))
        return Deed(tuple(places), tuple(steps), kind, chance.random() < 0.1)

    def _place(self) -> Place:
        table = self._chance.choice(DISC)
        return table, KEYS[table](self._chance, self._client or 0)

    def _step(self) -> tuple[str, str, Any]:
        chance = self._chance
        table = chance.choice(("Account", "Account", "Entry", "Entry", "Tag", "Seat"))
        key = KEYS[table](chance, self._client or 0)
        record: Any
        if table == "Account":
            size = chance.choice((5, 50, 200, 200, 6000))
            owner = f"owner {chance.randrange(OWNERS)}"
            record = Account(key, owner, chance.randrange(1000), chance.randbytes(size))
        elif table == "Entry":
            record = Entry(key, "word " * chance.randrange(60))
        elif table == "Tag":
            record = Tag(key, f"label {chance.randrange(4)}")
        else:
            record = Seat(key, str(chance.randrange(100)))
        what = chance.random()
        if what < 0.7:
            return "write", table, record
        if what < 0.8 and table == "Tag":
            return "delete_object", table, record
        return "delete", table, key


def of_client(content: Content, client: int) -> Content:
    """Return what belongs to one of several clients."""
    return {place: records for place, records in content.items() if _client_of(place) == client}


def _client_of(place: Place) -> int:
    key = place[1]
    return key // 1000 if isinstance(key, int) else int(key.split()[1])


def key_of(record: Any) -> Any:
    """Return the first field."""
    return getattr(record, type(record).__slots__[0])


def after(content: Content, deed: Deed) -> Content:
    """Return what the disc tables hold after a deed."""
    if deed.aborts:
        return content
    changed = dict(content)
    for what, table, argument in deed.steps:
        if table == "Seat":  # a ram_copies table: nothing of it outlives the process
            continue
        if what == "clear":
            changed = {place: records for place, records in changed.items() if place[0] != table}
        elif what == "delete":
            changed.pop((table, argument), None)
        else:
            place = (table, key_of(argument))
            before = changed.get(place, frozenset())
            if what == "delete_object":
                records = before - {argument}
            else:
                records = before | {argument} if table == "Tag" else frozenset({argument})
            changed[place] = records
            if not records:
                del changed[place]
    return changed
