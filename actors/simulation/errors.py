"""What a simulation raises: a statement that does not hold, or a mistake in how it is used.

`SimulationError` is the mistake. `Violation` is the statement; below it are `AlwaysViolated`,
`NotReached`, `Unhandled` (an exception), `Stuck` and `TooLong` (a run that does not end), and
`NonDeterminism` (of `guarding`: not the tape alone says what happens).
"""

from __future__ import annotations

__all__ = [
    "AlwaysViolated",
    "NotReached",
    "SimulationError",
    "Stuck",
    "TooLong",
    "Unhandled",
    "Violation",
]


class SimulationError(Exception):
    """The simulation was used in a way that cannot work; the text says what to do."""


class Violation(AssertionError):
    """A statement about the world does not hold.

    Attributes:
        what: the statement, the same for every run in which it fails.
    """

    def __init__(self, what: str, text: str = "") -> None:
        super().__init__(f"{what}: {text}" if text else what)
        self.what = what


class AlwaysViolated(Violation):
    """Something that is always so was not."""


class NotReached(Violation):
    """Something that had to come about did not, in its time."""


class Unhandled(Violation):
    """An exception that nobody handled reached the event loop."""


class Stuck(Violation):
    """The scenario waits, and nothing will ever happen any more."""


class TooLong(Violation):
    """A run did not come to its end within its limits of steps or virtual time."""
