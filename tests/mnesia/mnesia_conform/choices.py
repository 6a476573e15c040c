"""Choices by Hypothesis, taken one by one: far faster than a strategy for each part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["Choices"]

T = TypeVar("T")


@cache
def _numbers(least: int, most: int) -> SearchStrategy[int]:
    return st.integers(least, most)


class Choices:
    """What a generator draws from."""

    def __init__(self, draw: DrawFn) -> None:
        self.draw = draw

    def number(self, least: int, most: int) -> int:
        """One from `least` to `most`."""
        return self.draw(_numbers(least, most))

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.number(0, len(options) - 1)]

    def some(self, options: Sequence[T], least: int, most: int) -> list[T]:
        """Several of them, each once at most."""
        left = list(options)
        return [left.pop(self.number(0, len(left) - 1)) for _ in range(self.number(least, most))]

    def many(self, make: Callable[[], T], least: int, most: int) -> list[T]:
        """Some made things."""
        return [make() for _ in range(self.number(least, most))]

    def weighted(self, *options: tuple[int, Callable[[], Any]]) -> Any:
        """What one of these makes, in the given proportions."""
        at = self.number(1, sum(weight for weight, _ in options))
        for weight, make in options:
            at -= weight
            if at <= 0:
                return make()
        raise AssertionError(at)
