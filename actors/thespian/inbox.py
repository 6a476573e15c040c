"""The way from other threads into the thread of a node's event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from thespian.actors import ActorSystemRequestTimeout

__all__ = ["Inbox"]

TURN: Final = 256
"""How many calls are made before the event loop has its turn."""

WAIT_S: Final = 60.0
"""How long another thread waits for a call, before `ActorSystemRequestTimeout`."""

LOOK_S: Final = 0.5
"""How often it looks meanwhile whether there is still a loop."""


class Inbox:
    """Calls that other threads want made, in the order in which they came."""

    __slots__ = ("_calls", "_loop", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        # Whether the loop is on its way to look: one wake-up, a system call, for many calls.
        self._woken = False

    def __len__(self) -> int:
        return len(self._calls)

    def run_soon(self, call: Callable[..., object], *args: Any) -> bool:
        """Make a call in the loop's thread, after those before it; False if the loop has ended."""
        if self._loop.is_closed():
            return False
        self._calls.append((call, args))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._turn)
            except RuntimeError:  # closed since
                return False
        return True

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Make a call in the loop's thread and wait for what comes of it; not from that thread.

        Raises `ActorSystemRequestTimeout` if the loop has ended, or is held up.
        """
        outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def make() -> None:
            try:
                outcome.set_result(call(*args))
            except Exception as error:  # noqa: BLE001 - raised where it belongs, in the thread
                outcome.set_exception(error)

        if not self.run_soon(make):
            raise ActorSystemRequestTimeout("the actor system has ended")
        for _ in range(math.ceil(WAIT_S / LOOK_S)):
            if concurrent.futures.wait([outcome], LOOK_S).done:
                return outcome.result()
            if self._loop.is_closed():
                raise ActorSystemRequestTimeout("the actor system has ended")
        raise ActorSystemRequestTimeout(f"no answer of the node in {WAIT_S:g} s")

    def _turn(self) -> None:
        # Before the calls are taken: one that is added from now on wakes the loop again.
        self._woken = False
        for _ in range(TURN):
            if not self._calls:
                return
            call, args = self._calls.popleft()
            call(*args)
        if self._calls and not self._woken:
            self._woken = True
            self._loop.call_soon(self._turn)
