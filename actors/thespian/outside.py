"""What the program outside receives: one queue per `ActorSystem` and per `private()` context."""

from __future__ import annotations

import queue
import time
from typing import Any, Final

from thespian.system import isInternalActorSystemMessage

__all__ = ["Outside"]

_CLOSED: Final = object()


class Outside:
    """A queue that actors fill from their node's thread and the program empties from its own."""

    __slots__ = ("_messages", "serial")

    def __init__(self, name: str) -> None:
        self.serial = name
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, message: Any) -> None:
        """Take a message; from any thread."""
        self._messages.put(message)

    def listen(self, timeout_s: float | None) -> Any:
        """The next message, waiting for it `timeout_s` at most; None if there is none.

        The actor system's own messages are not for the program, as in Thespian: they are passed
        over, but for `PoisonMessage` and answers to `Thespian_StatusReq`.
        """
        # The program's own time, not an actor's: a thread waits here, outside of every node.
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            try:
                message = self._messages.get(timeout=left_s)
            except queue.Empty:
                return None
            if message is _CLOSED:
                self._messages.put(_CLOSED)  # for whoever listens next
                return None
            if not isInternalActorSystemMessage(message):
                return message

    def close(self) -> None:
        """There will be no more messages: nobody waits for ever."""
        self._messages.put(_CLOSED)
