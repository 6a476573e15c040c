"""What a `Program` sends to itself, or puts among the frames for its owner."""

from __future__ import annotations

__all__ = ["Consumed", "Linger", "Retry"]


class Linger:
    """The program has ended, but its output has not: somebody else still holds it."""

    __slots__ = ("heard",)

    def __init__(self, heard: int) -> None:
        self.heard = heard


class Retry:
    """The owner's mailbox was full: try again."""

    __slots__ = ()


class Consumed:
    """Among the frames for the owner: all of one `Output` come before this."""

    __slots__ = ()
