"""A chat as it runs: what arrives is shown and marked as read, what is entered is sent."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from palaver.supervisors.cli.chat_history import History, Shown
from palaver.supervisors.cli.chat_home import phone_number
from palaver.supervisors.cli.chat_model import Entry, Room, Tick, safe_text
from palaver.supervisors.cli.chat_screen import Screen
from palaver.supervisors.cli.output import CommandError
from palaver.transport.client import (
    Client,
    ClientError,
    Conversation,
    FileId,
    MembersChanged,
    Message,
    Outgoing,
)

_PAGE = 100
_MAX_CONVERSATIONS = 1000
_LAST_TICK_S = 10.0
_NUMBER = re.compile(r"[+0-9][0-9 ()/.-]*")


class ChatSession:
    """One person's chat on one screen."""

    def __init__(self, client: Client, history: History, screen: Screen) -> None:
        self.client = client
        self.history = history
        self.screen = screen
        self.room: Room | None = None
        self.files: list[Entry] = []  # what /save can fetch, oldest first
        self._followers: set[asyncio.Task[None]] = set()
        self._groups: dict[bytes, Conversation] = {}
        self._unread: dict[str, int] = {}
        self._read_due: dict[bytes, int] = {}
        self._reading: asyncio.Task[None] | None = None

    # -- rooms

    async def enter(self, peer: str) -> None:
        """Talk to this person (a phone number) or group (its name) from now on.

        Raises:
            CommandError: when there is no such group and it is no phone number.
            ClientError: when the server refuses.
        """
        group = await self._group_named(peer)
        if group is not None:
            await self._enter(self._group_room(group))
            return
        account = phone_number(peer, self.client.account)
        conv = self.client.conversation_with(account)
        own = self.client.account
        await self._enter(Room(account, own, conv, members=(own, account)))

    async def enter_group(self, conv: bytes) -> None:
        """Talk to this group from now on; `CommandError` when it is not one of one's own."""
        if conv not in self._groups:
            await self.conversations()
        if conv not in self._groups:
            raise CommandError("there is no such group")
        await self._enter(self._group_room(self._groups[conv]))

    def _group_room(self, group: Conversation) -> Room:
        name = safe_text(group.name, 100)
        return Room(name, self.client.account, group.conv, True, tuple(sorted(group.members)))

    async def _enter(self, room: Room) -> None:
        old = self.room
        await self._recall(room)
        self.room = room
        self._unread.pop(room.peer, None)
        self.screen.show(room)
        if old is not None and not old.is_group and old.peer != room.peer:
            await self.client.unwatch(old.peer)
        if not room.is_group:
            presence = await self.client.watch(room.peer)
            room.online, room.last_seen_ms = presence.online, presence.last_seen_ms
            self.screen.status()
        newest = max((e.seq or 0 for e in room.entries if not e.mine), default=0)
        if newest:
            self._read(room.conv, newest)

    async def _recall(self, room: Room) -> None:
        # What this device has shown, and how far the others have come meanwhile.
        for account, delivered, read in self.history.marks(room.conv):
            room.receipt(account, delivered, read)
        for shown in self.history.last(room.conv):
            self._place(room, shown)
        try:
            for mark in await self.client.marks(room.conv):
                room.receipt(mark.account, mark.delivered, mark.read)
        except ClientError:
            pass  # a conversation that has not begun has no marks
        room.retick()

    async def conversations(self) -> list[Conversation]:
        """All conversations of the account, a thousand at most."""
        found: list[Conversation] = []
        after: bytes | None = None
        while len(found) < _MAX_CONVERSATIONS:
            page = await self.client.conversations(after, _PAGE)
            found.extend(page)
            if len(page) < _PAGE:
                break
            after = page[-1].conv
        self._groups = {c.conv: c for c in found if c.is_group}
        return found

    async def _group_named(self, name: str) -> Conversation | None:
        wanted = name.removeprefix("#").casefold()
        for known in (True, False):
            if not known:
                await self.conversations()
            for group in self._groups.values():
                if group.name.casefold() == wanted:
                    return group
            if _NUMBER.fullmatch(name):
                return None
        raise CommandError(f"there is no group {name!r}", "/chats lists all")

    # -- sending

    def say(self, text: str) -> Outgoing | None:
        """Send a text to the room; its ticks follow by themselves."""
        room = self.room
        if room is None:
            self.note("say whom you want to talk to: /to +491701234567")
            return None
        outgoing = self.client.enqueue_message(
            self.client.account, room.conv if room.is_group else room.peer, "text", text
        )
        entry = Entry(self.client.account, text, self.now_ms(), mine=True, tick=Tick.WAITING)
        self._sent(room, entry, outgoing, "text")
        return outgoing

    def send_file(self, entry: Entry, room: Room, kind: str, file: FileId) -> None:
        """Send a message about an uploaded file, which `entry` shows already."""
        outgoing = self.client.enqueue_message(
            self.client.account, room.conv if room.is_group else room.peer, kind,
            entry.file_name, doc=file,
        )  # fmt: skip
        entry.file, entry.progress = bytes(file), None
        entry.tick = Tick.WAITING
        self._sent(room, entry, outgoing, kind, added=True)

    def _sent(
        self, room: Room, entry: Entry, outgoing: Outgoing, kind: str, *, added: bool = False
    ) -> None:
        if not added:
            room.add(entry)
            if room is self.room:
                self.screen.added(entry)
        self._spawn(self._follow(room, entry, outgoing, kind))

    async def _follow(self, room: Room, entry: Entry, outgoing: Outgoing, kind: str) -> None:
        try:
            sent = await outgoing.acked
        except ClientError as error:
            entry.tick = Tick.FAILED
            self._changed(room, entry)
            self.note(f"not sent: {error}")
            return
        room.settle(entry, sent.seq)
        entry.when_ms = sent.stamp >> 16
        if entry.tick == Tick.WAITING:
            entry.tick = Tick.SENT
        self.history.add(
            Shown(room.conv, sent.seq, entry.who, entry.when_ms, kind,
                  entry.file_name or entry.text, entry.file)
        )  # fmt: skip
        self._changed(room, entry)
        for changed in room.retick():  # a receipt may have come before the answer
            self._changed(room, changed)

    # -- what arrives

    async def listen(self) -> None:
        """Show what arrives, until the client ends; raises what ended it."""
        streams: list[tuple[Any, Callable[[Any], Awaitable[None] | None]]] = [
            (self.client.events(), self._on_event),
            (self.client.receipts(), self._on_receipt),
            (self.client.presence(), self._on_presence),
            (self.client.typing(), self._on_typing),
            (self.client.connectivity(), self._on_connectivity),
        ]

        async def pump(stream: Any, handle: Callable[[Any], Awaitable[None] | None]) -> None:
            async for item in stream:
                work = handle(item)
                if work is not None:
                    await work

        async with asyncio.TaskGroup() as group:
            for stream, handle in streams:
                group.create_task(pump(stream, handle))

    async def _on_event(self, event: Message | MembersChanged) -> None:
        if isinstance(event, MembersChanged):
            self._on_members(event)
            return
        shown = Shown(
            event.conv, event.seq, event.sender, event.sent_ms, event.type,
            safe_text(event.text), bytes(event.file) if event.file else None,
        )  # fmt: skip
        self.history.add(shown)
        room = self.room
        if room is None or room.conv != event.conv:
            await self._elsewhere(event)
        elif not room.has(event.seq):
            self.screen.added(self._place(room, shown))
            self.screen.status()
            if event.sender != self.client.account:
                self._read(event.conv, event.seq)

    async def _elsewhere(self, event: Message) -> None:
        if event.sender == self.client.account:
            return  # another device of one's own
        group = self._groups.get(event.conv)
        if group is None and event.to is None:
            await self.conversations()
            group = self._groups.get(event.conv)
        name = group.name if group else event.sender
        self._unread[name] = self._unread.get(name, 0) + 1
        what = event.type if event.file else safe_text(event.text, 60).replace("\n", " ")
        self.note(f"{name}: {what}   (/to {name}, {self._unread[name]} unread)")
        if self.room is None:
            await self.enter(name)

    def _on_members(self, event: MembersChanged) -> None:
        name = safe_text(event.name, 100)
        self._groups[event.conv] = Conversation(event.conv, True, name, event.members, event.seq)
        added = ", ".join(event.added)
        removed = ", ".join(event.removed)
        who = "you" if event.sender == self.client.account else event.sender
        did = [f"added {added}"] if added else []
        did += [f"removed {removed}"] if removed else []
        if self.room is not None and self.room.conv == event.conv:
            self.room.members = tuple(sorted(event.members))
            self.screen.status()
        self.note(f"{name}: {who} {' and '.join(did) or 'changed the group'}   (/to {name})")

    def _read(self, conv: bytes, seq: int) -> None:
        # Marks are cumulative: while one is on its way, only the newest of the next is kept.
        self._read_due[conv] = max(seq, self._read_due.get(conv, 0))
        if self._reading is None or self._reading.done():
            self._reading = self._spawn(self._mark_read())

    async def _mark_read(self) -> None:
        while self._read_due:
            conv, seq = self._read_due.popitem()
            try:
                await self.client.mark_read(conv, seq)
            except ClientError as error:
                self.note(f"not marked as read: {error}")

    def _on_receipt(self, receipt: Any) -> None:
        self.history.mark(receipt.conv, receipt.account, receipt.delivered, receipt.read)
        room = self.room
        if room is not None and room.conv == receipt.conv:
            for entry in room.receipt(receipt.account, receipt.delivered, receipt.read):
                self.screen.changed(entry)

    def _on_presence(self, presence: Any) -> None:
        room = self.room
        if room is not None and not room.is_group and presence.account == room.peer:
            room.online, room.last_seen_ms = presence.online, presence.last_seen_ms
            if not presence.online:
                room.typing.clear()
            self.screen.status()

    def _on_typing(self, typing: Any) -> None:
        room = self.room
        if room is not None and room.conv == typing.conv:
            (room.typing.add if typing.on else room.typing.discard)(typing.account)
            self.screen.status()

    def _on_connectivity(self, online: bool) -> None:
        self.note("connected again" if online else "no connection; trying again")

    # -- helpers

    @staticmethod
    def now_ms() -> int:
        """The time of entries that the server has not stamped yet, unix milliseconds."""
        return time.time_ns() // 1_000_000

    def note(self, text: str) -> None:
        """Say something as the program."""
        entry = Entry("", safe_text(text), self.now_ms())
        if self.room is not None:
            self.room.add(entry)
        self.screen.added(entry)

    def typing(self, on: bool) -> None:
        """Tell the room that this person types, or stopped."""
        if self.room is not None and self.client.online:
            self.client.set_typing(self.room.conv if self.room.is_group else self.room.peer, on)

    async def finish(self) -> None:
        """Wait a little for what was entered to be sent."""
        try:
            await self.client.flush(_LAST_TICK_S)
        except TimeoutError:
            self.note("some messages are not sent yet; they will be, the next time")
        if self._followers:
            # They wait only for what was flushed; one turn of the loop lets them say so.
            await asyncio.wait(self._followers, timeout=1.0)
        for task in self._followers:
            task.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)

    def _place(self, room: Room, shown: Shown) -> Entry:
        mine = shown.sender == self.client.account
        text = shown.text
        if shown.file is not None:
            text = f"[{shown.type}] {shown.text}  (/save {len(self.files) + 1})"
        entry = Entry(
            shown.sender, text, shown.sent_ms, mine, shown.seq, Tick.SENT if mine else None,
            shown.file, shown.text if shown.file is not None else "",
        )  # fmt: skip
        if shown.file is not None:
            self.files.append(entry)
        return room.add(entry)

    def _changed(self, room: Room, entry: Entry) -> None:
        if room is self.room:
            self.screen.changed(entry)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._followers.add(task)
        task.add_done_callback(self._followers.discard)
        return task
