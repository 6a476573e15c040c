"""The tape: everything that could go one way or another is a choice, and every choice is on it.

A choice is addressed by the name of its *stream* and its number in it: the fourth delivery from
one host to another, the twelfth turn of a node's run queue. 0 is the quiet choice, what happens
when nothing is wrong. So a run is described by its scenario, the seed of its values, and its
*deviations* from the quiet run. To take one deviation back does not change what the others in
other streams mean: that is why a failing run becomes short by leaving deviations out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

__all__ = ["Address", "Deviations", "Source", "Stream", "Tape", "kind_of"]

Address: TypeAlias = tuple[str, int]
"""A choice: the name of its stream, and its number in it from 0 on."""

Deviations: TypeAlias = Mapping[Address, int]
"""What was chosen otherwise than in the quiet run."""

Draw: TypeAlias = Callable[[int, int], int]
"""Number of the choice and number of options to the option."""


class Source(Protocol):
    """Where choices come from."""

    @property
    def seed(self) -> int:
        """The seed of the values (`Tape.random`)."""

    def open(self, name: str, rate: float) -> Draw:
        """Begin a stream; `rate` is how often a source of chance should deviate, from 0 to 1."""


def kind_of(name: str) -> str:
    """The kind of a stream: its name up to the first slash."""
    return name.partition("/")[0]


class Stream:
    """One line of choices; made by `Tape.stream`."""

    __slots__ = ("_draw", "_tape", "name", "number")

    def __init__(self, tape: Tape, name: str, draw: Draw) -> None:
        self.name = name
        self.number = 0
        """How many choices were made."""
        self._draw = draw
        self._tape = tape

    def choose(self, options: int) -> int:
        """Choose one of `options`, at least 1: a number from 0, which is the quiet choice.

        Where there is but one option, nothing is chosen and nothing counted.
        """
        if options < 2:
            return 0
        number = self.number
        self.number = number + 1
        value = self._draw(number, options)
        if value or self._tape.options is not None:
            self._tape.note(self.name, number, options, value)
        return value


class Tape:
    """All entropy of one run.

    Args:
        source: where choices come from.
        observe: keep every choice there was, for systematic exploration.

    Attributes:
        deviations: what was not the quiet choice, in the order in which it happened.
        options: if observed, every choice with the number of its options, in that order.
        on_deviation: called with every deviation when it happens.
    """

    __slots__ = ("_ended", "_streams", "deviations", "on_deviation", "options", "seed", "source")

    def __init__(self, source: Source, *, observe: bool = False) -> None:
        self.source = source
        self.seed = source.seed
        self.deviations: dict[Address, int] = {}
        self.options: dict[Address, int] | None = {} if observe else None
        self.on_deviation: Callable[[str, int, int, int], None] | None = None
        self._streams: dict[str, Stream] = {}
        self._ended: dict[str, int] = {}

    def stream(self, name: str, rate: float = 0.1) -> Stream:
        """The stream of this name; `rate` counts when it is first asked for."""
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream(self, name, self.source.open(name, rate))
        return stream

    def choose(self, name: str, options: int, rate: float = 0.1) -> int:
        """Choose one of `options` on the stream `name`; see `Stream.choose`."""
        return self.stream(name, rate).choose(options)

    def random(self, name: str) -> random.Random:
        """A generator of values (jitter, nonces, contents), the same for the same seed and name.

        What it gives is no choice: it cannot be made shorter.
        """
        return random.Random(f"{self.seed}/{name}")  # noqa: S311 - a simulation has no secrets

    @property
    def choices(self) -> int:
        """How many choices were made."""
        return sum(self.counts().values())

    def counts(self) -> dict[str, int]:
        """How many choices were made on each stream."""
        numbers = {stream.name: stream.number for stream in self._streams.values()}
        return self._ended | numbers

    def end(self) -> None:
        """The run is over: what is kept are its deviations, and how many choices there were."""
        self._ended = self.counts()
        self.on_deviation = None
        # Streams and tape hold each other: what is kept of a run is freed with its last user.
        self._streams.clear()

    def note(self, name: str, number: int, options: int, value: int) -> None:
        """Remember a choice; `Stream` calls it."""
        assert 0 <= value < options, f"{name} #{number}: {value} of {options}"
        if self.options is not None:
            self.options[name, number] = options
        if value:
            self.deviations[name, number] = value
            if self.on_deviation is not None:
                self.on_deviation(name, number, options, value)
