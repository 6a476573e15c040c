"""What is said of a world: always, eventually, sometimes; and what it means that it is not so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from palaver.actors.simulation.errors import (
    AlwaysViolated,
    NotReached,
    SimulationError,
    Stuck,
    TooLong,
    Unhandled,
    Violation,
)

if TYPE_CHECKING:
    from palaver.actors.simulation.world.world import World

__all__ = [
    "AlwaysViolated",
    "NotReached",
    "SimulationError",
    "Statements",
    "Stuck",
    "TooLong",
    "Unhandled",
    "Violation",
]


class _Invariant:
    __slots__ = ("due_s", "every_s", "holds", "what")

    def __init__(self, holds: Callable[[], object], what: str, every_s: float) -> None:
        self.holds = holds
        self.what = what
        self.every_s = every_s
        self.due_s = 0.0


class _Wish:
    __slots__ = ("condition", "future")

    def __init__(self, condition: Callable[[], object], future: asyncio.Future[None]) -> None:
        self.condition = condition
        self.future = future


class Statements:
    """The statements of one world, checked as it goes on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._always: list[_Invariant] = []
        self._invariants: list[_Invariant] = []
        self._wishes: list[_Wish] = []
        self._found: list[Violation] = []

    # -- to say something ----------------------------------------------------------------------

    def always(self, holds: Callable[[], object], what: str) -> None:
        """Check after every step that `holds()` is not false, and raises no AssertionError."""
        self._always.append(_Invariant(holds, what, 0.0))

    def invariant(self, holds: Callable[[], object], what: str, every_s: float) -> None:
        """The same, checked when time passes, and at most every `every_s` of virtual time."""
        self._invariants.append(_Invariant(holds, what, every_s))

    async def wait_until(self, condition: Callable[[], object], within_s: float | None) -> bool:
        """Wait until a condition holds whenever time passes; False if it did not in time."""
        if condition():
            return True
        loop = self._world.loop
        wish = _Wish(condition, loop.create_future())
        self._wishes.append(wish)
        try:
            if within_s is None:
                await wish.future
                return True
            async with asyncio.timeout(within_s):
                await wish.future
            return True
        except TimeoutError:
            return bool(condition())
        finally:
            if wish in self._wishes:
                self._wishes.remove(wish)

    def unhandled(self, where: str, context: dict[str, Any]) -> None:
        """Somebody raised an exception that nobody handled."""
        error = context.get("exception")
        message = str(context.get("message", ""))
        kind = type(error).__name__ if error is not None else "no exception"
        found = Unhandled(f"an exception that nobody handled at {where}: {kind}",
                          f"{message}: {error}" if error is not None else message)  # fmt: skip
        found.__cause__ = error
        self.found(found)

    def found(self, violation: Violation) -> None:
        """Something was violated within a callback, where raising it might go unheard."""
        self._found.append(violation)

    # -- to check ------------------------------------------------------------------------------

    def after_step(self) -> None:
        """Check what is checked after every step; raises `Violation`."""
        if self._found:
            raise self._found.pop(0)
        for one in self._always:
            self._check(one)

    def before_time_passes(self) -> bool:
        """Check what is checked when time passes; whether somebody's condition came true."""
        now_s = self._world.loop.time()
        for one in self._invariants:
            if one.due_s <= now_s:
                one.due_s = now_s + one.every_s
                self._check(one)
        woken = False
        for wish in list(self._wishes):
            if not wish.future.done() and wish.condition():
                wish.future.set_result(None)
                self._wishes.remove(wish)
                woken = True
        return woken

    def at_the_end(self) -> None:
        """Check everything once more."""
        self.after_step()
        for one in self._invariants:
            self._check(one)

    def _check(self, one: _Invariant) -> None:
        try:
            held = one.holds()
        except Violation:
            raise
        except AssertionError as error:
            raise AlwaysViolated(f"always: {one.what}", str(error)) from error
        if held is False:
            raise AlwaysViolated(f"always: {one.what}")
