"""Which actors hold up the node, and are handled in threads therefore.

Thespian lets an actor block: each is a process of its own there. Here one that blocks holds up all
others. So the classes whose `receiveMessage` took too long are remembered, and handled in the
node's threads; those that turn out to be quick there (the machine was busy, or Python collected
garbage) come back.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

__all__ = ["Blocking"]

log = structlog.get_logger("palaver.actors.thespian")

PARDON: Final = 256
"""So many quick messages in a row, and a class is no longer handled in threads."""

QUICK: Final = 0.1
"""The part of the limit below which a message is quick."""


class Blocking:
    """The classes of one system that block.

    Args:
        limit_s: Who takes longer, holds up the node; None: nobody does, however long it takes.
    """

    __slots__ = ("kinds", "limit_s")

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = float("inf") if limit_s is None else limit_s
        # With how many messages in a row have been quick.
        self.kinds: dict[type[Any], int] = {}

    def held_up(self, kind: type[Any], took_s: float) -> None:
        """An actor has held up the node for `took_s`."""
        self.kinds[kind] = 0
        log.info(
            "an actor holds up the node: from now on its class is handled in threads",
            actor_class=kind.__qualname__,
            seconds=round(took_s, 3),
        )

    def took(self, kind: type[Any], took_s: float) -> None:
        """An actor has handled a message in a thread."""
        count = self.kinds.get(kind)
        if count is None:
            return
        if took_s >= self.limit_s * QUICK:
            self.kinds[kind] = 0
        elif count + 1 < PARDON:
            self.kinds[kind] = count + 1
        else:
            del self.kinds[kind]
