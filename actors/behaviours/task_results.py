"""What became of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

__all__ = ["Done", "Exited", "TaskResult"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A task has answered: Elixir's `{:ok, value}`."""

    value: T


@dataclass(frozen=True, slots=True)
class Exited:
    """A task has exited without an answer: Elixir's `{:exit, reason}`."""

    reason: object


TaskResult: TypeAlias = Done[T] | Exited
"""What became of a task: its answer, or why there is none."""
