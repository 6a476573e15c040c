"""What the guard refuses, as an error that says where it was and what to use in its place."""

from __future__ import annotations

from typing import NamedTuple

from palaver.actors.simulation.errors import Violation

__all__ = ["NonDeterminism", "Place"]


class Place(NamedTuple):
    """A line of a program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class NonDeterminism(Violation):
    """Something asked the machine in a simulated world, so two runs of one tape would differ.

    Attributes:
        call: what was called, such as ``time.time()``.
        place: the line that did it; that of a library only where no other code is on the stack.
        instead: what gives the same within the world.
    """

    def __init__(self, call: str, place: Place, instead: str) -> None:
        super().__init__(
            f"{call} was called in a simulated world",
            f"at {place}; its outcome would differ from run to run. Use {instead}",
        )
        self.call = call
        self.place = place
        self.instead = instead
