"""A transition of a state machine on its way, and what a state is called."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeAlias

from palaver.actors.behaviours.transitions import Event, TimeoutAction
from palaver.actors.runtime import BadReturn

__all__ = ["Change", "Queued", "method_of"]

Queued: TypeAlias = tuple[Event, Any]
"""An event that waits, with its content."""


class Change:
    """A transition on its way: it is complete when the enter calls have been made."""

    __slots__ = ("content", "event", "inserted", "old", "postpone", "timeouts")

    def __init__(self, old: Any, event: Event, content: Any) -> None:
        self.old = old
        self.event = event
        self.content = content
        self.postpone = False
        self.inserted: list[Queued] | None = None
        self.timeouts: list[TimeoutAction] | None = None


def method_of(machine: object, state: Any, taken: frozenset[str]) -> str:
    """The name of the method for a state; raises `BadReturn` if it names none that may be used."""
    where = type(machine).__qualname__
    name = _name_of(state)
    if name is None:
        raise BadReturn(
            f"{where}: the state {state!r} names no method; use a string, an Enum "
            'or callback_mode = "handle_event_function"'
        )
    if name in taken:
        raise BadReturn(f"{where}: a state cannot be called {name!r}: that is taken")
    if not hasattr(machine, name):
        raise BadReturn(f"{where} has no method {name!r} for the state {state!r}")
    return name


def _name_of(state: Any) -> str | None:
    """The name of the method for a state; None if it names none."""
    if isinstance(state, Enum):
        return state.value if isinstance(state.value, str) else state.name.lower()
    return state if isinstance(state, str) else None
