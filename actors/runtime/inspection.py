"""What `sys` does with a server process: hold it, and look on while it handles its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from palaver.actors.runtime.mailbox import STOP, SYSTEM

if TYPE_CHECKING:
    from palaver.actors.runtime.mailbox import Item
    from palaver.actors.runtime.process import Process

__all__ = ["Inspection", "Looker"]

Looker: TypeAlias = "Callable[[Process, Item], None]"
"""Is shown each item that a process is about to handle."""


class Inspection:
    """One server process under inspection; `Process.inspection` while there is something to do.

    A process under inspection takes its items one by one. While it is suspended, it takes only
    what `sys` asks of it, and the end that its parent wants.
    """

    __slots__ = ("lookers", "suspended")

    def __init__(self) -> None:
        self.suspended = False
        self.lookers: dict[object, Looker] = {}

    @property
    def needed(self) -> bool:
        """Whether there is still something to do."""
        return self.suspended or bool(self.lookers)

    def take(self, process: Process) -> Item | None:
        """The next item to handle now."""
        item = self._take_control(process) if self.suspended else process.take()
        if item is not None:
            for look in list(self.lookers.values()):
                look(process, item)
        return item

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
