"""Aliases: addresses of a process that it can take back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from palaver.actors.runtime.pid import Addressable, Ref
from palaver.actors.runtime.process import ALIVE

if TYPE_CHECKING:
    from palaver.actors.runtime.mailbox import Item
    from palaver.actors.runtime.process import Process
    from palaver.actors.runtime.scheduler import Scheduler

__all__ = ["Alias"]


class Alias(Addressable, Ref):
    """Another address of a process; what is sent to it once it was taken back is dropped.

    It stands in for the process it means: what is sent to it comes by `activate`, as to any idle
    process, and goes on to the owner.
    """

    __slots__ = ("_on_use", "_once", "_owner")

    # As those of an idle process that sees to each message itself.
    mailbox: Final = None
    fast: Final = None
    limit: Final = None
    exiting: Final = ALIVE

    def __init__(
        self, owner: Process, *, once: bool = False, on_use: Callable[[], None] | None = None
    ) -> None:
        self._owner: Process | None = owner
        self._once = once
        # Called when a message comes through it, before that is passed on.
        self._on_use = on_use

    @property
    def active(self) -> bool:
        """Whether messages still come through it."""
        return self._owner is not None and self._owner.pid.process_ is not None

    @property
    def process_(self) -> Any:
        """What takes the messages: this object while it is active."""
        return self if self.active else None

    @property
    def owner(self) -> Process | None:
        """The process whose address it is; None once it was taken back."""
        return self._owner if self.active else None

    @property
    def scheduler(self) -> Scheduler | None:
        """The owner's."""
        return None if self._owner is None else self._owner.scheduler

    def activate(self, item: Item) -> None:
        """Pass an item on."""
        owner = self.owner
        if owner is None:
            return
        if self._once:
            self.expire()
        elif self._on_use is not None:
            self._on_use()
        if owner.mailbox is None:
            owner.activate(item)
        else:
            owner.mailbox.append(item)

    def expire(self) -> None:
        """Take it back, on whoever's behalf."""
        self._owner = self._on_use = None

    def close(self, process: Process) -> bool:
        """Take it back; False if it was before. Raises `ValueError` if it is another's."""
        if not self.active:
            return False
        if self._owner is not process:
            raise ValueError("an alias is taken back by the process that made it")
        self.expire()
        return True
