"""What all stages have: how they are told apart from what they say to each other.

See https://hexdocs.pm/gen_stage/GenStage.html.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CoroutineType, GeneratorType
from typing import Any, Final

from palaver.actors.behaviours.stages.inlet import Inlet
from palaver.actors.behaviours.stages.outlet import Outlet
from palaver.actors.behaviours.stages.protocol import (
    Ask,
    Cancel,
    Cancelled,
    Events,
    ForwardDemand,
    Subscribe,
    SubscribeTo,
    Subscription,
)
from palaver.actors.runtime import Down, GenServer, Stop

__all__ = ["COROUTINES", "MORE", "Stage"]

COROUTINES: Final = frozenset({CoroutineType, GeneratorType})


class _More:
    """A stage's note to itself: look again whether there is something to do."""

    __slots__ = ()


class _NotOurs:
    """What is no message between stages."""

    __slots__ = ()


MORE: Final = _More()
NOT_OURS: Final = _NotOurs()

SIGNALS: Final[dict[type, str]] = {
    Ask: "_asked",
    Cancel: "_cancel_asked",
    Cancelled: "_cancelled",
    Down: "_down",
    Events: "_arrived",
    ForwardDemand: "_forward",
    Subscribe: "_subscribed",
    SubscribeTo: "_subscribe_to",
    _More: "_more",
}


class Stage(GenServer):
    """What all stages have; derive from one of the three kinds."""

    __slots__ = ("_finishing", "_inlet", "_outlet")

    _finishing: object | None
    _inlet: Inlet
    _outlet: Outlet

    def __init__(self) -> None:
        self._finishing = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "handle_info" in cls.__dict__:
            cls.handle_info = _sorted_out(cls.__dict__["handle_info"])  # type: ignore[method-assign]

    def handle_cancel(self, reason: object, subscription: Subscription) -> Stop | None:
        """A subscription has ended, on whichever side; may return `Stop`. A plain `def`."""

    def _signal(self, message: Any) -> Any:
        """Handle what stages say to each other; `NOT_OURS` if it is something else."""
        name = SIGNALS.get(type(message))
        handler = None if name is None else getattr(self, name, None)
        return NOT_OURS if handler is None else handler(message)

    def _down(self, message: Down) -> Any:
        return NOT_OURS


def _sorted_out(handle_info: Callable[..., Any]) -> Callable[..., Any]:
    """A `handle_info` that gets only what is not said between stages."""

    @functools.wraps(handle_info)
    def sort(self: Stage, message: Any) -> Any:
        result = self._signal(message)
        return handle_info(self, message) if result is NOT_OURS else result

    return sort


# GenServer's own, which logs what is unexpected, sorts too.
Stage.handle_info = _sorted_out(GenServer.handle_info)  # type: ignore[method-assign]
