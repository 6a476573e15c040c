"""Who hears of what: subscribers of tables and of the system, each in the order of the events."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from .commit import Commit
from .effective import Operation, after, effective
from .errors import RecordDamaged
from .events import (
    Delete,
    DeleteObject,
    DetailedDelete,
    DetailedWrite,
    Overload,
    SubscriberFailed,
    SystemEvent,
    Write,
)
from .identity import identical
from .table import TableState
from .within import CURRENT

Callback: TypeAlias = Callable[[Any], object]
Detail: TypeAlias = Literal["simple", "detailed"]

MAX_REPORTS = 10_000
"""System events that wait for delivery at most; older ones are dropped, subscribers or not."""


class Subscription:
    """One subscriber's wish to hear; `cancel` ends it."""

    __slots__ = ("_home", "callback", "detail")

    def __init__(self, home: list[Subscription], callback: Callback, detail: Detail) -> None:
        self._home = home
        self.callback = callback
        self.detail = detail
        home.append(self)

    def cancel(self) -> None:
        """Hear no more; harmless when repeated."""
        if self in self._home:
            self._home.remove(self)

    @property
    def active(self) -> bool:
        """Whether it hears."""
        return self in self._home


class Subscriptions:
    """Queues events and delivers them, one at a time, outside of every lock."""

    def __init__(self) -> None:
        self._system: list[Subscription] = []
        self._queue: deque[tuple[list[Subscription], Any]] = deque()
        self._delivering = threading.Lock()

    def to_system(self, callback: Callback) -> Subscription:
        """Subscribe to the system."""
        return Subscription(self._system, callback, "simple")

    def to_table(self, state: TableState, callback: Callback, detail: Detail) -> Subscription:
        """Subscribe to a table."""
        return Subscription(state.watchers, callback, detail)

    def overload(self, backlog: int, limit: int) -> None:
        """Report that callers have to wait."""
        self.report(Overload(backlog, limit))

    def report(self, event: SystemEvent) -> None:
        """Queue an event of the system."""
        if self._system and len(self._queue) < MAX_REPORTS:
            self._queue.append((list(self._system), event))

    def schema(self, event: SystemEvent) -> list[tuple[list[Subscription], Any]]:
        """Return what a change of the schema will tell, for its commit."""
        return [(list(self._system), event)] if self._system else []

    def tell(self, commit: Commit, operations: Sequence[Operation]) -> None:
        """Add to a commit, before it is made, what subscribers will hear of it."""
        old: dict[tuple[TableState, bytes], list[Any]] = {}
        for operation in effective(operations):
            _, state, key, _ = operation
            watchers = list(state.watchers)
            if not watchers:
                continue
            before = old.get((state, key))
            if before is None:
                before = _records_before(state, key)
            for detail in ("simple", "detailed"):
                receivers = [each for each in watchers if each.detail == detail]
                if receivers:
                    event = _event(detail, operation, before, commit)
                    commit.events.append((receivers, event))
            old[state, key] = after(operation, before)

    def queue(self, receivers: list[Subscription], event: Any) -> None:
        """Queue an event of a settled commit."""
        self._queue.append((receivers, event))

    def deliver(self) -> None:
        """Call the callbacks; where another thread is at it already, that one goes on."""
        queue = self._queue
        while queue:
            if not self._delivering.acquire(blocking=False):
                return
            try:
                token = CURRENT.set(None)  # a callback is not part of the caller's transaction
                try:
                    while queue:
                        receivers, event = queue.popleft()
                        for receiver in receivers:
                            self._call(receiver, event)
                finally:
                    CURRENT.reset(token)
            finally:
                self._delivering.release()

    def _call(self, receiver: Subscription, event: Any) -> None:
        if not receiver.active:
            return
        try:
            receiver.callback(event)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - told: a cancelled future's error, an exit
            if isinstance(event, SubscriberFailed):
                receiver.cancel()  # one that fails even at hearing of failures
            else:
                self.report(SubscriberFailed(repr(receiver.callback), error))


def _records_before(state: TableState, key: bytes) -> list[Any]:
    try:
        return state.records_of(state.awake(state.copy.peek(key)))
    except RecordDamaged:  # it is about to be mended, and nobody can say what it was
        return []


def _event(detail: str, operation: Operation, before: list[Any], commit: Commit) -> Any:
    name, state, _, what = operation
    if detail == "detailed":
        if name == "write":
            return DetailedWrite(state.name, what, tuple(before), commit.id)
        if name == "delete_object":
            before = [each for each in before if identical(state.record_type, each, what)]
        return DetailedDelete(state.name, what, name == "delete", tuple(before), commit.id)
    if name == "write":
        return Write(state.name, what, commit.id)
    if name == "delete":
        return Delete(state.name, what, commit.id)
    return DeleteObject(state.name, what, commit.id)
