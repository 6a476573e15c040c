"""The tables of a whole node for ordinary asyncio code: by way of its partitions, or directly.

Media over HTTP, the operator's commands and tools use this; processes talk to partitions by
message.
"""

from __future__ import annotations

from typing import Any, Protocol

from palaver.actors.chat.media_ports import FileInfo
from palaver.actors.chat.messages import Append, Ask
from palaver.actors.chat.names import Places
from palaver.actors.chat.queries import QUERIES, FileRow
from palaver.actors.chat.state import commands as cmd
from palaver.actors.runtime import Node
from palaver.storage import Store

__all__ = ["Ledger", "NodeTables", "StoreTables", "Tables"]


class Tables(Protocol):
    """Commands and queries, wherever their key lives."""

    @property
    def places(self) -> Places:
        """Where keys live."""

    async def append(self, key: str | bytes, command: cmd.Command) -> Any:
        """Apply a command at the partition of `key`; its value, once it is durable.

        Raises:
            Rejected, Overloaded, StoreFull, ...: what the store says of it.
        """

    async def query(self, key: str | bytes, name: str, *args: Any) -> Any:
        """Run a query of :mod:`palaver.actors.chat.queries` at the partition of `key`."""

    async def query_partition(self, number: int, name: str, *args: Any) -> Any:
        """Run a query at one partition."""


class NodeTables:
    """The tables of a running node."""

    __slots__ = ("_node", "_timeout_s", "places")

    def __init__(self, node: Node, places: Places, timeout_s: float = 30.0) -> None:
        self._node = node
        self.places = places
        self._timeout_s = timeout_s

    async def append(self, key: str | bytes, command: cmd.Command) -> Any:
        """Apply a command at the partition of `key`; its value, once it is durable."""
        message = Append(None, None, command)
        return await self._node.call(self.places.of(key), message, timeout_s=self._timeout_s)

    async def query(self, key: str | bytes, name: str, *args: Any) -> Any:
        """Run a query at the partition of `key`."""
        return await self.query_partition(self.places.number_of(key), name, *args)

    async def query_partition(self, number: int, name: str, *args: Any) -> Any:
        """Run a query at one partition."""
        place = self.places.name_of(number)
        return await self._node.call(place, Ask(None, None, name, args), timeout_s=self._timeout_s)


class StoreTables:
    """The tables of a data folder that no node uses now."""

    __slots__ = ("_store", "places")

    def __init__(self, store: Store) -> None:
        self._store = store
        self.places = Places(store.partitions)

    async def append(self, key: str | bytes, command: cmd.Command) -> Any:
        """Apply a command at the partition of `key`, and carry what it sends to others."""
        number = self.places.number_of(key)
        (outcome,) = self._store.apply_now(number, [command])
        if isinstance(outcome, Exception):
            raise outcome
        self._forward(number)
        return outcome.value

    def _forward(self, number: int) -> None:
        for target, first, commands in self._store.view(
            number, lambda txn: QUERIES["outbox"](txn, self._store.partitions, 100_000)
        ):
            for where, command in (
                (target, (cmd.DELIVER, number, first, commands)),
                (number, (cmd.CONFIRM, target, first + len(commands) - 1)),
            ):
                (outcome,) = self._store.apply_now(where, [command])
                if isinstance(outcome, Exception):
                    raise outcome
            self._forward(target)

    async def query(self, key: str | bytes, name: str, *args: Any) -> Any:
        """Run a query at the partition of `key`."""
        return await self.query_partition(self.places.number_of(key), name, *args)

    async def query_partition(self, number: int, name: str, *args: Any) -> Any:
        """Run a query at one partition."""
        return self._store.view(number, lambda txn: QUERIES[name](txn, *args))


class Ledger:
    """Which files an account uploaded or was sent, kept in its partition."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def record_file(self, account: str, file_id: bytes, size: int, type: str) -> None:  # noqa: A002
        """Note that the account uploaded the file; durable on return; again is no change."""
        command = (cmd.RECORD_FILE, account, file_id, size, type)
        await self._tables.append(account, command)

    async def may_fetch(self, account: str, file_id: bytes) -> FileInfo | None:
        """The file, if the account uploaded it or was sent it."""
        row: FileRow | None = await self._tables.query(account, "file", account, file_id)
        return None if row is None else FileInfo(row.size_bytes, row.type)

    async def used_bytes(self, account: str) -> int:
        """The bytes of all files that the account uploaded."""
        used: int = await self._tables.query(account, "used_bytes", account)
        return used

    async def is_device_valid(self, account: str, device: int) -> bool:
        """Whether a device exists and was not revoked."""
        login = await self._tables.query(account, "login", account, device)
        return login.public_key is not None
