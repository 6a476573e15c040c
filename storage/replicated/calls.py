"""Answers in the order of the appends: each call hears once, when all of its commands have."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import cast

from palaver.storage.batch import Done, Result

__all__ = ["Call", "Calls"]


class Call:
    """One append and what is known of it.

    Attributes:
        missing: how many commands have no result yet.
    """

    __slots__ = ("_done", "_results", "missing", "size", "size_bytes")

    def __init__(self, size: int, done: Done | None) -> None:
        self._done = done
        self.size = size
        self.missing = size
        self.size_bytes = 0
        self._results: list[Result | None] = [None] * size

    def add(self, first: int, results: Sequence[Result]) -> None:
        """Note the results of the commands from number `first` on."""
        self._results[first : first + len(results)] = results
        self.missing -= len(results)

    def answer(self) -> None:
        """Tell the one who appended."""
        if self._done is not None:
            self._done(cast("list[Result]", self._results))


class Calls:
    """The appends of a partition that have not been answered.

    Attributes:
        backlog: their commands.
        size_bytes: of these, encoded.
    """

    __slots__ = ("_answering", "_calls", "backlog", "size_bytes")

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._answering = False
        self.backlog = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        """Take an append, behind the others."""
        self._calls.append(call)
        self.backlog += call.size
        self.size_bytes += call.size_bytes

    def answer(self) -> None:
        """Answer those that are due; whatever their `done` raise comes when all have heard."""
        if self._answering:
            return  # a `done` that appends or steps down: the outer one goes on
        self._answering = True
        failures: list[Exception] = []
        calls = self._calls
        try:
            while calls and not calls[0].missing:
                call = calls.popleft()
                self.backlog -= call.size
                self.size_bytes -= call.size_bytes
                try:
                    call.answer()
                except Exception as error:  # noqa: BLE001 - the others must hear of theirs first
                    failures.append(error)
        finally:
            self._answering = False
        if failures:
            raise failures[0] if len(failures) == 1 else ExceptionGroup("done failed", failures)
