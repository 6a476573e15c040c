"""What a chat node does about its standing in the cluster."""

from __future__ import annotations

import asyncio

import structlog

from palaver.supervisors.trees.running import RunningChat

__all__ = ["ChatStanding"]

log = structlog.get_logger("palaver.cluster")


class ChatStanding:
    """The `StandingPort` of a chat node, on its loop.

    Attributes:
        refusal: why the node has to end; done when it has to.
        removed: whether that is because it was removed from the cluster.
    """

    def __init__(self, chat: RunningChat) -> None:
        self._chat = chat
        self._leaving: asyncio.Task[None] | None = None
        self.refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.removed = False

    @property
    def connections(self) -> int:
        """Clients that are connected now."""
        return self._chat.listener.open_connections

    def drain(self, wanted: bool) -> None:
        """Send the clients away and take no new ones, or take them again."""
        if wanted == self._chat.away:
            return
        self.close()
        if wanted:
            log.info("clients are sent to other nodes", connections=self.connections)
            self._chat.away = True
            self._leaving = asyncio.ensure_future(self._chat.send_away())
        else:
            log.info("clients are taken again")
            self._chat.welcome()

    def close(self) -> None:
        """Wait for no client any more."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def refused(self, why: str, removed: bool) -> None:
        """Let whoever waits for `refusal` know."""
        self.removed = removed
        if not self.refusal.done():
            self.refusal.set_result(why)
