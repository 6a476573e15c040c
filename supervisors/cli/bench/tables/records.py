"""The records that every engine keeps: six fields, some 110 bytes encoded.

palaver_tables_bench.erl makes the same ones from the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

PER_OWNER = 10
"""Records that have the same owner: what a read by index finds."""
SELECTED_BELOW = 100_000
"""`select` looks for balances below; a tenth of them are."""
QUEUES = 16
"""Queues that messages are appended to."""
_BALANCES = 1_000_000
_CITIES = tuple(f"city-{number:07d}" for number in range(16))
_OPENED = 1_700_000_000_000_000


@dataclass(frozen=True, slots=True)
class Account:
    """A record with a number as its key."""

    number: int
    owner: str
    city: str
    balance: int
    opened: int
    note: str


@dataclass(frozen=True, slots=True)
class Message:
    """A record of a queue; its key is (queue, position)."""

    place: tuple[int, int]
    sender: str
    kind: str
    size: int
    sent: int
    body: str


def account(number: int) -> Account:
    """Return the account of that number."""
    return Account(
        number,
        owner_of(number),
        _CITIES[number % len(_CITIES)],
        number * 7919 % _BALANCES,
        _OPENED + number,
        f"{number:054d}",
    )


def owner_of(number: int) -> str:
    """Return the owner of an account."""
    return f"owner-{number // PER_OWNER:014d}"


def message(queue: int, position: int) -> Message:
    """Return a message of a queue."""
    return Message(
        (queue, position),
        owner_of(position),
        _CITIES[queue],
        position * 7919 % _BALANCES,
        _OPENED + position,
        f"{position:054d}",
    )


def fields_of(record: Account | Message) -> tuple[int | str | tuple[int, int], ...]:
    """Return the values of a record's fields, in order."""
    return tuple(getattr(record, name) for name in record.__slots__)


def random_numbers(below: int, count: int) -> Iterator[int]:
    """Yield numbers in no order, the same ones in every run and every engine."""
    state = 1
    for _ in range(count):
        # Knuth's linear congruential generator (MMIX); its low bits are not random.
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield (state >> 33) % below


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Divide items into pieces of `size`; a rest that makes no whole piece is left out."""
    return [items[at : at + size] for at in range(0, len(items) - size + 1, size)]
