"""Histories: what clients asked, what they were told, and in which order that happened.

    history = History()
    call = history.invoke("client 1", Write(5))
    ...                                   # the real thing is asked here
    call.respond(None)

An operation lies between its invocation and its response (Herlihy and Wing, "Linearizability: a
correctness condition for concurrent objects", 1990). Time is a counter that every event raises: if
one operation had its response before another was invoked, it came first, for everybody.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

__all__ = ["UNKNOWN", "Call", "History", "HistoryError", "Operation", "from_events"]

T = TypeVar("T")

DEFAULT_MAX_OPERATIONS = 1_000_000


class _Unknown(enum.Enum):
    UNKNOWN = "?"

    def __repr__(self) -> str:
        return "?"


UNKNOWN: Final = _Unknown.UNKNOWN
"""The result of an operation that got no response: it may have happened, with whatever result."""


class HistoryError(Exception):
    """A recorder was used in a way that makes no history; the text says how."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a history.

    Attributes:
        number: its place in the order of the invocations.
        client: who asked; one lane of the diagram.
        operation: what was asked, in the words of the model.
        result: what was answered, or UNKNOWN.
        invoked: when, by the history's counter.
        responded: when; None for an operation that got no response.
    """

    number: int
    client: Hashable
    operation: Any
    result: Any
    invoked: int
    responded: int | None

    @property
    def pending(self) -> bool:
        """Whether it got no response."""
        return self.responded is None


class Call:
    """An operation under way; exactly one of `respond`, `never` and nothing at all ends it.

    Attributes:
        operation: what was asked. It may be replaced before the response, where only the one who
            executes it learns what it is (a transaction that writes what it has read).
    """

    __slots__ = ("_history", "client", "happened", "invoked", "operation", "responded", "result")

    def __init__(self, history: History, client: Hashable, operation: Any, invoked: int) -> None:
        self._history = history
        self.client = client
        self.operation = operation
        self.invoked = invoked
        self.responded: int | None = None
        self.result: Any = UNKNOWN
        self.happened = True

    def respond(self, result: Any = None) -> None:
        """Record the answer.

        Raises:
            HistoryError: it has been ended already.
        """
        self._history.record_end(self, result, happened=True)

    def never(self) -> None:
        """Record that it certainly did not happen and never will: it is left out of the history.

        Raises:
            HistoryError: it has been ended already.
        """
        self._history.record_end(self, UNKNOWN, happened=False)


class History:
    """Records operations of concurrent clients; safe to use from any number of threads.

    Args:
        max_operations: how many it takes before `invoke` raises.
    """

    def __init__(self, max_operations: int = DEFAULT_MAX_OPERATIONS) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._now = 0
        self._max_operations = max_operations

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations())

    def invoke(self, client: Hashable, operation: Any) -> Call:
        """Record that `client` asks for `operation` now; to be called before anything is done.

        Raises:
            HistoryError: the history has as many operations as it may have.
        """
        with self._lock:
            if len(self._calls) >= self._max_operations:
                raise HistoryError(
                    f"a history of {self._max_operations} operations is full; "
                    "check it and begin another, or raise max_operations"
                )
            call = Call(self, client, operation, self._tick())
            self._calls.append(call)
            return call

    def run(
        self,
        client: Hashable,
        operation: Any,
        fn: Callable[[], T],
        *,
        never: tuple[type[BaseException], ...] = (),
    ) -> T:
        """Record `operation` around `fn()`, whose value is the answer.

        Args:
            client: who asks.
            operation: what.
            fn: does it.
            never: exceptions that say that nothing has happened. After any other the operation has
                no response: it may have happened.

        Raises:
            HistoryError: the history is full. What `fn` raises is passed on.
        """
        call = self.invoke(client, operation)
        try:
            result = fn()
        except never:
            call.never()
            raise
        call.respond(result)
        return result

    async def run_async(
        self,
        client: Hashable,
        operation: Any,
        fn: Callable[[], Awaitable[T]],
        *,
        never: tuple[type[BaseException], ...] = (),
    ) -> T:
        """Record `operation` around `await fn()`; see `run`.

        Raises:
            HistoryError: the history is full. What `fn` raises is passed on.
        """
        call = self.invoke(client, operation)
        try:
            result = await fn()
        except never:
            call.never()
            raise
        call.respond(result)
        return result

    def operations(self) -> tuple[Operation, ...]:
        """Return what has been recorded up to now, in the order of the invocations."""
        with self._lock:
            return tuple(
                Operation(
                    number, call.client, call.operation, call.result, call.invoked, call.responded
                )
                for number, call in enumerate(call for call in self._calls if call.happened)
            )

    def record_end(self, call: Call, result: Any, *, happened: bool) -> None:
        """End a call; see `Call.respond` and `Call.never`."""
        with self._lock:
            if call.responded is not None or not call.happened:
                raise HistoryError(f"{call.operation!r} of {call.client!r} has been ended already")
            call.result = result
            call.happened = happened
            if happened:
                call.responded = self._tick()

    def _tick(self) -> int:
        self._now += 1
        return self._now


def from_events(
    events: Iterable[tuple[Hashable, Any] | tuple[Hashable, Any, Any]],
) -> tuple[Operation, ...]:
    """Make a history from events in their order, for what was written down elsewhere.

    Args:
        events: (client, operation) asks; (client, operation, result) answers what the client has
            asked. A client has one open operation at a time.

    Raises:
        HistoryError: an answer without a question, or a question beside an open one.
    """
    history = History()
    asked: dict[Hashable, Call] = {}
    for event in events:
        client, operation = event[0], event[1]
        if len(event) == 2:
            if client in asked:
                raise HistoryError(f"{client!r} has an open operation already")
            asked[client] = history.invoke(client, operation)
            continue
        call = asked.pop(client, None)
        if call is None or call.operation != operation:
            raise HistoryError(f"{client!r} was answered {operation!r}, which it had not asked")
        call.respond(event[2])
    return history.operations()
