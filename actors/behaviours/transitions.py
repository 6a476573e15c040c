"""What the callbacks of a `GenStatem` are given and what they may return; after OTP's gen_statem.

A callback returns one of these, with the actions of the transition:

* ``None``: keep the state and the data (`keep_state_and_data`).
* `KeepState`, `NextState`, `RepeatState`: OTP's `keep_state`, `next_state`, `repeat_state`.
* One action, or a list of actions: keep the state and the data, and do these.
* `Stop(reason)`, `Stop(reason, reply)` (the reply is for the call at hand), `StopAndReply`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, Literal, NamedTuple, Self, TypeAlias, TypeVar

from palaver.actors.runtime import From, Hibernate, Stop

__all__ = [
    "POSTPONE",
    "SAME",
    "UPDATE",
    "Action",
    "Event",
    "EventTimeout",
    "GenericTimeout",
    "KeepState",
    "NextEvent",
    "NextState",
    "Postpone",
    "RepeatState",
    "ReplyTo",
    "Same",
    "StateTimeout",
    "StopAndReply",
    "TimeoutEvent",
    "TimeoutKind",
    "Transition",
]

S = TypeVar("S")
D = TypeVar("D")


class TimeoutEvent(NamedTuple):
    """The type of the event that a generic timeout makes: OTP's `{timeout, Name}`."""

    name: object


Event: TypeAlias = (
    "Literal['cast', 'info', 'internal', 'enter', 'timeout', 'state_timeout'] | From | TimeoutEvent"
)
"""The type of an event. A call's is its `From`, to which the answer goes."""

TimeoutKind: TypeAlias = "Literal['timeout', 'state_timeout'] | TimeoutEvent"


class Same:
    """The type of `SAME`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SAME"


SAME: Final = Same()
"""In the place of new data: the data stay as they are."""


# -- actions ---------------------------------------------------------------------------------------


class Postpone:
    """The type of `POSTPONE`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "POSTPONE"


POSTPONE: Final = Postpone()
"""Handle this event again when the state has changed, before all newer ones."""


class ReplyTo:
    """Answer a call."""

    __slots__ = ("from_", "value")

    def __init__(self, from_: From, value: Any) -> None:
        self.from_ = from_
        self.value = value

    def __repr__(self) -> str:
        return f"ReplyTo({self.from_!r}, {self.value!r})"


class NextEvent:
    """Insert an event of any type; it is handled before all that are queued already.

    Several in one transition are handled in the order in which they were given.
    """

    __slots__ = ("content", "kind")

    def __init__(self, kind: Event, content: Any = None) -> None:
        if kind == "enter":
            raise ValueError("an enter call cannot be inserted: return RepeatState")
        self.kind = kind
        self.content = content

    def __repr__(self) -> str:
        return f"NextEvent({self.kind!r}, {self.content!r})"


class _Update:
    __slots__ = ()

    def __repr__(self) -> str:
        return "UPDATE"


UPDATE: Final = _Update()


class TimeoutAction:
    """Start, stop or change a timeout; the base of the three kinds.

    A time of 0 starts no timer: the event is handled once all that are queued already have been,
    before anything else is taken out of the mailbox. `cancel` stops a running timeout, `update`
    changes what a running one will bring (and is a time of 0 if none runs).
    """

    __slots__ = ("absolute", "content", "kind", "time_s")

    def __init__(
        self,
        kind: TimeoutKind,
        time_s: float | _Update | None,
        content: Any,
        absolute: bool,
    ) -> None:
        if isinstance(time_s, (int, float)) and time_s < 0 and not absolute:
            raise ValueError(f"a timeout is in the future, not in {time_s:g} s")
        self.kind: TimeoutKind = kind
        self.time_s = time_s
        self.content = content
        self.absolute = absolute

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind!r}, {self.time_s!r}, {self.content!r})"


class EventTimeout(TimeoutAction):
    """An event of the type ``timeout`` after `time_s`, unless any other event comes first.

    Args:
        time_s: Seconds; None is OTP's `infinity`: none runs.
        content: The event's content.
        absolute: `time_s` is a moment of `clock.monotonic()`.
    """

    __slots__ = ()

    def __init__(
        self, time_s: float | None, content: Any = None, *, absolute: bool = False
    ) -> None:
        super().__init__("timeout", time_s, content, absolute)

    @classmethod
    def cancel(cls) -> Self:
        """Stop it, if it runs."""
        return cls(None)

    @classmethod
    def update(cls, content: Any) -> Self:
        """Change the content."""
        return _updating(cls, "timeout", content)


class StateTimeout(TimeoutAction):
    """An event of the type ``state_timeout`` after `time_s`, unless the state changes first.

    The arguments are those of `EventTimeout`.
    """

    __slots__ = ()

    def __init__(
        self, time_s: float | None, content: Any = None, *, absolute: bool = False
    ) -> None:
        super().__init__("state_timeout", time_s, content, absolute)

    @classmethod
    def cancel(cls) -> Self:
        """Stop it, if it runs."""
        return cls(None)

    @classmethod
    def update(cls, content: Any) -> Self:
        """Change the content."""
        return _updating(cls, "state_timeout", content)


class GenericTimeout(TimeoutAction):
    """An event of the type `TimeoutEvent(name)` after `time_s`; any number run, by their names.

    The other arguments are those of `EventTimeout`.
    """

    __slots__ = ()

    def __init__(
        self, name: object, time_s: float | None, content: Any = None, *, absolute: bool = False
    ) -> None:
        super().__init__(TimeoutEvent(name), time_s, content, absolute)

    @classmethod
    def cancel(cls, name: object) -> Self:
        """Stop the one with this name, if it runs."""
        return cls(name, None)

    @classmethod
    def update(cls, name: object, content: Any) -> Self:
        """Change the content of the one with this name."""
        return _updating(cls, TimeoutEvent(name), content)


A = TypeVar("A", bound=TimeoutAction)


def _updating(cls: type[A], kind: TimeoutKind, content: Any) -> A:
    action = cls.__new__(cls)
    TimeoutAction.__init__(action, kind, UPDATE, content, False)
    return action


Action: TypeAlias = ReplyTo | NextEvent | TimeoutAction | Postpone | Hibernate
"""What may accompany a transition, done in the order given. `HIBERNATE` is the runtime's."""


# -- transitions -----------------------------------------------------------------------------------


class KeepState(Generic[D]):
    """Stay in the state, with these data (the same ones, if not given)."""

    __slots__ = ("actions", "data")

    def __init__(self, *actions: Action, data: D | Same = SAME) -> None:
        self.actions = actions
        self.data = data

    def __repr__(self) -> str:
        return f"KeepState(*{self.actions!r}, data={self.data!r})"


class RepeatState(Generic[D]):
    """`KeepState`, and make the enter call again, if there are enter calls."""

    __slots__ = ("actions", "data")

    def __init__(self, *actions: Action, data: D | Same = SAME) -> None:
        self.actions = actions
        self.data = data

    def __repr__(self) -> str:
        return f"RepeatState(*{self.actions!r}, data={self.data!r})"


class NextState(Generic[S, D]):
    """Go to a state, with these data (the same ones, if not given).

    If it is another state, what was postponed is handled again, a running state timeout stops, and
    the enter call is made, if there are enter calls. If it is the same, this is `KeepState`.
    """

    __slots__ = ("actions", "data", "state")

    def __init__(self, state: S, *actions: Action, data: D | Same = SAME) -> None:
        self.state = state
        self.actions = actions
        self.data = data

    def __repr__(self) -> str:
        return f"NextState({self.state!r}, *{self.actions!r}, data={self.data!r})"


class StopAndReply(Generic[D]):
    """Answer calls, then stop with `reason`."""

    __slots__ = ("data", "reason", "replies")

    def __init__(self, reason: object, *replies: ReplyTo, data: D | Same = SAME) -> None:
        self.reason = reason
        self.replies = replies
        self.data = data

    def __repr__(self) -> str:
        return f"StopAndReply({self.reason!r}, *{self.replies!r}, data={self.data!r})"


Transition: TypeAlias = (
    NextState[Any, Any]
    | KeepState[Any]
    | RepeatState[Any]
    | StopAndReply[Any]
    | Stop
    | Action
    | Sequence[Action]
    | None
)
"""What a callback may return; it may also be an `async def` that does."""
