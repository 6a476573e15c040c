"""The part of the client that asks: conversations, people, devices, and who hears of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from palaver.transport import wire
from palaver.transport.client.engine import Engine
from palaver.transport.client.model import (
    Conversation,
    Device,
    Mark,
    Presence,
    Receipt,
    SentMessage,
    Typing,
)
from palaver.transport.client.streams import Listeners, Stream

__all__ = ["Directory"]


class Directory:
    """What can be asked of the server and heard from it, besides messages and files.

    Every question raises RequestTimeout where no answer comes within ``Timeouts.request_s``, also
    while offline, and the server's typed error where it refuses.
    """

    _engine: Engine

    # -- hints ---------------------------------------------------------------------------------

    def receipts(self) -> AsyncIterator[Receipt]:
        """Hear who has received and read what, from now on; see :class:`Stream` for its bound."""
        return self._listen(self._engine.board.receipts)

    def presence(self) -> AsyncIterator[Presence]:
        """Hear of watched accounts, from now on.

        What `watch` returns is heard here too, in order with the news that come before and behind
        it: the latest of an account is what holds.
        """
        return self._listen(self._engine.board.presences)

    def typing(self) -> AsyncIterator[Typing]:
        """Hear who is typing, from now on."""
        return self._listen(self._engine.board.typings)

    def connectivity(self) -> AsyncIterator[bool]:
        """Hear when the client comes online (True) and goes offline (False), from now on."""
        return self._listen(self._engine.board.connectivity)

    def _listen(self, listeners: Listeners[Any]) -> Stream[Any]:
        limits = self._engine.core.limits
        stream: Stream[Any] = Stream(limits.stream_items)
        listeners.add(stream)
        return stream

    # -- conversations -------------------------------------------------------------------------

    async def create_group(self, name: str, members: Sequence[str]) -> SentMessage:
        """Make a conversation of several members; its id is the result's ``conv``."""
        return await self._engine.outgoing(self._engine.core.make_group(name, members)).acked

    async def change_members(
        self, conv: bytes, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> SentMessage:
        """Add members to a group and remove others; removing oneself leaves it."""
        cid = self._engine.core.change_members(conv, add, remove)
        return await self._engine.outgoing(cid).acked

    async def conversations(
        self, after: bytes | None = None, limit: int = 100
    ) -> list[Conversation]:
        """Return a page of this account's conversations, those with an id after ``after``."""
        found = await self._engine.ask(wire.Conversations(0, after, limit))
        assert isinstance(found, list)
        return [
            Conversation(each.conv, each.kind == wire.GROUP_KIND, *each[2:])
            for each in found
            if isinstance(each, wire.ConversationInfo)
        ]

    async def marks(self, conv: bytes) -> list[Mark]:
        """Return how far each member of a conversation has received and read it."""
        found = await self._engine.ask(wire.Marks(0, conv))
        assert isinstance(found, list)
        return [Mark(*each) for each in found if isinstance(each, wire.Mark)]

    async def mark_read(self, conv: bytes, seq: int) -> None:
        """Say that the user has read a conversation up to ``seq``."""
        await self._engine.ask(wire.Read(0, conv, seq))

    def set_typing(self, receiver: str | bytes, on: bool = True) -> None:
        """Say that the user is typing, or stopped; a hint that is dropped while offline."""
        self._engine.core.hint(receiver, on)
        self._engine.touch()

    # -- people and devices --------------------------------------------------------------------

    async def watch(self, account: str) -> Presence:
        """Begin to hear of an account's presence, also after a reconnect; returns it as it is."""
        found = await self._engine.ask(wire.Watch(0, account))
        assert isinstance(found, wire.PresenceState)
        return Presence(account, *found)

    async def unwatch(self, account: str) -> None:
        """Stop hearing of an account's presence."""
        await self._engine.ask(wire.Unwatch(0, account))

    async def hide_last_seen(self, hidden: bool) -> None:
        """Hide or show when this account was last seen; who hides it does not see others'."""
        await self._engine.ask(wire.Privacy(0, hidden))

    async def block(self, account: str, blocked: bool = True) -> None:
        """Take no more messages from an account, or take them again."""
        await self._engine.ask(wire.Block(0, account, blocked))

    async def devices(self) -> list[Device]:
        """Return this account's devices."""
        found = await self._engine.ask(wire.Devices(0))
        assert isinstance(found, list)
        return [Device(*each) for each in found if isinstance(each, wire.DeviceInfo)]

    async def revoke(self, device: int) -> None:
        """Take a device of this account the right to connect."""
        await self._engine.ask(wire.Revoke(0, device))
