"""What `sys` does with a server process: hold it, and look on while it handles its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palaver.actors.runtime.mailbox import Item
    from palaver.actors.runtime.server import ServerProcess

__all__ = ["Inspection"]


class Inspection:
    """One server process under inspection."""

    __slots__ = ("suspended",)

    def __init__(self) -> None:
        self.suspended = False

    def take(self, process: ServerProcess) -> Item | None:
        """The next item to handle now."""
        return process.take()

    def handled(self, process: ServerProcess, item: Item) -> None:
        """An item has been handled."""

    def rest(self, process: ServerProcess) -> None:
        """Keep a suspended process off the run queue."""
