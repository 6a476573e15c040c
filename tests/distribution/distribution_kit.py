"""Helpers of the tests of the distribution: a message's way to another node and back, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntFlag
from typing import Any, NamedTuple

from attrs import define
from attrs import field as attrs_field

from palaver.actors.distribution import Vocabulary
from palaver.actors.distribution.decoding import Dialect, greeting_of
from palaver.actors.distribution.encoding import Encoder, load
from palaver.actors.distribution.signals import Where
from palaver.actors.runtime import Pid


class Point(NamedTuple):
    x: Any
    y: Any = 0


@dataclass(frozen=True, slots=True)
class Frozen:
    items: Any
    more: Any = field(default_factory=list)


@dataclass
class Open:
    name: Any


@define
class Attrs:
    first: Any
    second: Any = attrs_field(factory=dict)
    third: Any = 3


class Colour(Enum):
    RED = 1
    BLUE = "blue"


class Flags(IntFlag):
    A = 1
    B = 2


class Odd(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(f"odd: {number}")
        self.number = number


def helper() -> None:
    """A function of a module."""


def everything() -> Vocabulary:
    return Vocabulary().add(Point, Frozen, Open, Attrs, Colour, Flags, Odd, helper)


def where(thing: Any) -> Where:
    if isinstance(thing, Where):
        return thing
    assert isinstance(thing, Pid)
    return Where("pid", thing.node_name, 1, thing.serial)


def dialect(sender: Vocabulary, receiver: Vocabulary) -> Dialect:
    return Dialect(greeting_of(sender), receiver, lambda found: found)


def encode(value: Any, vocabulary: Vocabulary | None = None, max_bytes: int = 1_000_000) -> bytes:
    return Encoder(vocabulary or everything(), where, max_bytes).encode(value)


def crossed(
    value: Any, sender: Vocabulary | None = None, receiver: Vocabulary | None = None
) -> Any:
    """What arrives."""
    sender, receiver = sender or everything(), receiver or everything()
    return dialect(sender, receiver).read(load(encode(value, sender)))
