"""What one command sees while it is applied: the transaction, the caches, the other partitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cbor2

from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.state.tables import (
    PAIR,
    U64,
    Account,
    Conversation,
    account_prefix,
    load,
    save,
)
from palaver.storage import WriteTxn
from palaver.storage.partitioning import partition_of

__all__ = ["Memory", "Step"]

_CACHE_ENTRIES = 100_000


class Memory:
    """What a partition remembers of its own rows; never more than a copy of what the tables say.

    Only :meth:`Step` methods change it, on the writer's thread. Each cache is emptied when it
    holds 100,000 entries: the next use reads the row again.
    """

    __slots__ = ("applied", "conversations", "devices", "floors", "heads", "reserved", "tails")

    def __init__(self) -> None:
        self.conversations: dict[bytes, Conversation] = {}
        self.heads: dict[bytes, tuple[int, int]] = {}
        self.devices: dict[str, tuple[int, ...]] = {}
        self.tails: dict[bytes, int] = {}
        self.floors: dict[bytes, int] = {}
        self.reserved = 0
        self.applied = 0

    def trim(self) -> None:
        """Empty the caches that grew too large; looked at every thousandth command."""
        self.applied += 1
        if self.applied % 1000:
            return
        for cache in (self.conversations, self.heads, self.devices, self.tails, self.floors):
            if len(cache) > _CACHE_ENTRIES:
                cache.clear()

    def forget(self) -> None:
        """Drop everything: a transaction was aborted, so the caches may be ahead of the tables."""
        for cache in (self.conversations, self.heads, self.devices, self.tails, self.floors):
            cache.clear()
        self.reserved = 0


class Step:
    """One command being applied to one partition."""

    __slots__ = ("_handlers", "effects", "memory", "partition", "partitions", "txn")

    def __init__(
        self,
        txn: WriteTxn,
        memory: Memory,
        partition: int,
        partitions: int,
        handlers: dict[int, Callable[[Step, cmd.Command], Any]],
    ) -> None:
        self.txn = txn
        self.memory = memory
        self.partition = partition
        self.partitions = partitions
        self.effects: list[cmd.Effect] = []
        self._handlers = handlers

    # -- the other partitions ----------------------------------------------------------------

    def submit(self, owner: bytes, command: cmd.Command) -> None:
        """Apply a command where `owner` lives: at once if here, else by way of the outbox."""
        target = partition_of(owner, self.partitions)
        if target == self.partition:
            self._handlers[command[0]](self, command)
            return
        key = U64.pack(target)
        raw = self.txn.get("outnext", key)
        number = U64.unpack(raw)[0] if raw else 1
        self.txn.put("outbox", PAIR.pack(target, number), cbor2.dumps(list(command)))
        self.txn.put("outnext", key, U64.pack(number + 1))
        self.effects.append(cmd.Forwarded(target))

    def is_here(self, owner: bytes) -> bool:
        """Whether `owner` lives in this partition."""
        return self.partitions == 1 or partition_of(owner, self.partitions) == self.partition

    def deliver(self, command: cmd.Command) -> None:
        """Apply a command that came from another partition's outbox."""
        self._handlers[command[0]](self, command)

    # -- rows --------------------------------------------------------------------------------

    def account(self, account: str) -> Account | None:
        """An account's record."""
        raw = self.txn.get("accounts", account.encode())
        return Account(*load(raw)) if raw else None  # type: ignore[arg-type]

    def put_account(self, account: str, record: Account) -> None:
        """Write an account's record."""
        self.txn.put("accounts", account.encode(), save(record))

    def devices(self, account: str) -> tuple[int, ...]:
        """The numbers of an account's registered devices, in order."""
        known = self.memory.devices.get(account)
        if known is None:
            prefix = account_prefix(account)
            start = len(prefix)
            known = tuple(
                U64.unpack(key[start:])[0]
                for key, _ in self.txn.range("devices", prefix, account.encode() + b"\x01")
            )
            self.memory.devices[account] = known
        return known

    def conversation(self, conversation: bytes) -> Conversation | None:
        """A conversation's record."""
        known = self.memory.conversations.get(conversation)
        if known is None:
            raw = self.txn.get("convs", conversation)
            if raw is None:
                return None
            known = Conversation(*load(raw))  # type: ignore[arg-type]
            self.memory.conversations[conversation] = known
        return known

    def put_conversation(self, conversation: bytes, record: Conversation) -> None:
        """Write a conversation's record."""
        self.txn.put("convs", conversation, save(record))
        self.memory.conversations[conversation] = record

    def head(self, conversation: bytes) -> tuple[int, int]:
        """The last seq and stamp of a conversation, (0, 0) where nothing was said."""
        known = self.memory.heads.get(conversation)
        if known is None:
            raw = self.txn.get("heads", conversation)
            known = PAIR.unpack(raw) if raw else (0, 0)
            self.memory.heads[conversation] = known
        return known

    def put_head(self, conversation: bytes, seq: int, stamp: int) -> None:
        """Write the last seq and stamp of a conversation."""
        self.txn.put("heads", conversation, PAIR.pack(seq, stamp))
        self.memory.heads[conversation] = (seq, stamp)
