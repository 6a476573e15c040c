"""What `sys` does with a server process: hold it, and look on while it handles its messages."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

import structlog

from palaver.actors.runtime.mailbox import STOP, SYSTEM

if TYPE_CHECKING:
    from palaver.actors.runtime.mailbox import Item
    from palaver.actors.runtime.process import Process

__all__ = ["Inspection", "Looker"]

log = structlog.get_logger("palaver.actors")


class Looker:
    """Looks on while a server handles its messages; what it raises puts an end to it alone."""

    __slots__ = ()

    def before(self, process: Process, message: Any, tag: Any) -> None:
        """The process is about to handle a message; the tag says how, as in a mailbox."""

    def after(self, process: Process, message: Any, tag: Any, result: Any) -> None:
        """The handler has returned `result`, at once or as a coroutine."""


class Inspection:
    """One server process under inspection; `Process.inspection` while there is something to do.

    A process under inspection takes its items one by one. While it is suspended, it takes only
    what `sys` asks of it, and the end that its parent wants.
    """

    __slots__ = ("lookers", "silence_s", "suspended")

    def __init__(self) -> None:
        self.suspended = False
        self.lookers: dict[object, Looker] = {}
        # What was left of the time of a `Timeout` when the process was suspended.
        self.silence_s: float | None = None

    @property
    def needed(self) -> bool:
        """Whether there is still something to do."""
        return self.suspended or bool(self.lookers)

    def take(self, process: Process) -> Item | None:
        """The next item to handle now."""
        item = self._take_control(process) if self.suspended else process.take()
        if item is not None and item[1] is not SYSTEM and item[1] is not STOP:
            for key, looker in list(self.lookers.items()):
                try:
                    looker.before(process, *item)
                except Exception as error:  # noqa: BLE001 - it is logged
                    self._drop(process, key, error)
        return item

    def watch(self, process: Process, message: Any, tag: Any, result: Any) -> Any:
        """Show the lookers what the handler returned, once it is known; the result, to be used."""
        kind = type(result)
        if kind is CoroutineType:
            return self._watch_coroutine(process, message, tag, result)
        if kind is GeneratorType:
            return self._watch_generator(process, message, tag, result)
        for key, looker in list(self.lookers.items()):
            try:
                looker.after(process, message, tag, result)
            except Exception as error:  # noqa: BLE001 - it is logged
                self._drop(process, key, error)
        return result

    async def _watch_coroutine(
        self, process: Process, message: Any, tag: Any, handler: Coroutine[Any, Any, Any]
    ) -> Any:
        return self.watch(process, message, tag, await handler)

    def _watch_generator(
        self, process: Process, message: Any, tag: Any, handler: Generator[Any, Any, Any]
    ) -> Generator[Any, Any, Any]:
        result = yield from handler
        return self.watch(process, message, tag, result)

    def _drop(self, process: Process, key: object, error: Exception) -> None:
        self.lookers.pop(key, None)
        log.error(
            "a debug function failed and is removed",
            pid=str(process.pid),
            function=str(key),
            exc_info=error,
        )

    def has_control(self, process: Process) -> bool:
        """Whether something waits that a suspended process handles."""
        items = (*(process.backlog or ()), *(process.mailbox or ()))
        return any(tag is SYSTEM or tag is STOP for _, tag in items)

    def _take_control(self, process: Process) -> Item | None:
        backlog, mailbox = process.backlog or [], process.mailbox or []
        for index in reversed(range(len(backlog))):
            if backlog[index][1] is SYSTEM or backlog[index][1] is STOP:
                return backlog.pop(index)
        for index, item in enumerate(mailbox):
            if item[1] is SYSTEM or item[1] is STOP:
                del mailbox[index]
                return item
        return None
