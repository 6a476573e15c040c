"""What an operator can ask of a node, answered from its tables; also of a folder without a node."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from palaver.actors.chat import names
from palaver.actors.chat.access import Tables
from palaver.actors.chat.accounts import InvalidPhone, IssueCode, canonical_phone
from palaver.actors.chat.presence import WhoIsOnline
from palaver.actors.chat.queries import PresenceRow
from palaver.actors.chat.stamps import StampClock
from palaver.actors.chat.state import commands as cmd
from palaver.actors.runtime import Node
from palaver.storage import Rejected, Store, StoreError
from palaver.supervisors.trees.archive import back_up
from palaver.supervisors.trees.settings import Settings
from palaver.transport.http.admin_port import (
    AddedDevice,
    AdminRefused,
    BackupRecord,
    CodeRecord,
    DeviceRecord,
    NewDevice,
    Progress,
    UserRecord,
)

__all__ = ["Operator", "TableAdmin", "plain"]


class TableAdmin:
    """What needs only the tables."""

    def __init__(self, tables: Tables, time_ms: Callable[[], int]) -> None:
        self._tables = tables
        self._time_ms = time_ms

    async def _online(self, accounts: Sequence[str]) -> dict[str, tuple[int, ...]]:
        return {}

    async def users(self, after: str | None, limit: int) -> Sequence[UserRecord]:
        """At most `limit` accounts in order, beginning behind the account `after`."""
        pages = [
            await self._tables.query_partition(number, "accounts", after, limit)
            for number in range(self._tables.places.partitions)
        ]
        rows = sorted(row for page in pages for row in page)[:limit]
        online = await self._online([row[0] for row in rows])
        return [
            await self._record(account, created_ms, devices, online)
            for account, created_ms, devices, _ in rows
        ]

    async def _record(
        self, account: str, created_ms: int, devices: int, online: dict[str, tuple[int, ...]]
    ) -> UserRecord:
        row: PresenceRow = await self._tables.query(account, "presence", account)
        return UserRecord(account, created_ms, devices, account in online, row.last_seen_ms)

    async def user(self, account: str) -> UserRecord:
        """One account."""
        name = _phone(account)
        created_ms = await self._tables.query(name, "account_created", name)
        if created_ms is None:
            raise AdminRefused("no_such_user", f"there is no user {name}")
        devices = await self._tables.query(name, "devices", name)
        return await self._record(name, created_ms, len(devices), await self._online([name]))

    async def add_user(self, phone: str) -> UserRecord:
        """Make an account without a device."""
        name = _phone(phone)
        if await self._tables.query(name, "account_created", name) is not None:
            raise AdminRefused("user_exists", f"{name} is there already")
        await self._append(name, (cmd.REGISTER_DEVICE, name, b"", "", self._time_ms()))
        return await self.user(name)

    async def add_devices(self, new: Sequence[NewDevice]) -> Sequence[AddedDevice]:
        """Register devices by their keys."""
        checked = [(_phone(device.account), device) for device in new]
        added = []
        for name, device in checked:
            command = (
                cmd.REGISTER_DEVICE, name, device.pubkey, device.device_name, self._time_ms()
            )  # fmt: skip
            added.append(AddedDevice(name, await self._append(name, command)))
        return added

    async def devices(self, account: str) -> Sequence[DeviceRecord]:
        """The devices of one account."""
        name = (await self.user(account)).account
        online = (await self._online([name])).get(name, ())
        return [
            DeviceRecord(
                row.device, row.name, row.created_ms, row.last_seen_ms, row.device in online,
                await self._tables.query(name, "waiting", name, row.device),
            )
            for row in await self._tables.query(name, "devices", name)
        ]  # fmt: skip

    async def revoke(self, account: str, device: int) -> None:
        """Revoke a device: its connection ends at once, its queue is dropped."""
        name = (await self.user(account)).account
        rows = await self._tables.query(name, "devices", name)
        if device not in {row.device for row in rows}:
            raise AdminRefused("no_such_device", f"{name} has no device {device}")
        await self._append(name, (cmd.REVOKE_DEVICE, name, device))

    async def delete_user(self, account: str) -> None:
        """Delete an account with its devices and queues."""
        name = (await self.user(account)).account
        await self._append(name, (cmd.DELETE_ACCOUNT, name, await self._stamp()))

    async def _stamp(self) -> int:
        numbers = range(self._tables.places.partitions)
        reserved = [await self._tables.query_partition(n, "reserved_stamp") for n in numbers]
        return StampClock(self._time_ms, max(reserved)).take()

    async def _append(self, key: str, command: cmd.Command) -> Any:
        try:
            return await self._tables.append(key, command)
        except Rejected as error:
            raise AdminRefused(error.code, error.text) from error
        except StoreError as error:
            raise AdminRefused("storage_failed", str(error)) from error


class Operator(TableAdmin):
    """The operator's requests to a running node."""

    def __init__(
        self,
        tables: Tables,
        stamps: StampClock,
        node: Node,
        settings: Settings,
        info: Callable[[], Sequence[Any]],
        store: Store,
    ) -> None:
        super().__init__(tables, node.clock.time_ms)
        self._stamps = stamps
        self._node = node
        self._settings = settings
        self._info = info
        self._store = store

    async def _online(self, accounts: Sequence[str]) -> dict[str, tuple[int, ...]]:
        by_presence: dict[str, list[str]] = {}
        for account in accounts:
            by_presence.setdefault(self._tables.places.presence_of(account), []).append(account)
        online: dict[str, tuple[int, ...]] = {}
        for presence, some in by_presence.items():
            online |= await self._node.call(presence, WhoIsOnline(tuple(some)))
        return online

    async def _stamp(self) -> int:
        return self._stamps.take()

    async def issue_code(self, phone: str) -> CodeRecord:
        """A fresh sign-up code, told to the operator and not to the sender."""
        name = _phone(phone)
        code = await self._node.call(names.ACCOUNTS, IssueCode(name))
        expires_ms = self._time_ms() + int(self._settings.code_ttl_s * 1000)
        return CodeRecord(name, code, expires_ms)

    async def stats(self) -> dict[str, Any]:
        """Counters of the node as plain JSON values."""
        kinds = ("chat", "runtime", "storage", "edge")
        return {kind: plain(part) for kind, part in zip(kinds, self._info(), strict=True)}

    async def backup(self, dest: str, progress: Progress | None = None) -> BackupRecord:
        """Copy the data to a new folder while the node runs."""
        return await back_up(self._store, self._settings.data_dir, Path(dest), progress)


def _phone(text: str) -> str:
    try:
        return canonical_phone(text)
    except InvalidPhone as error:
        raise AdminRefused("bad_request", str(error)) from error


def plain(value: Any) -> Any:
    """Counters as JSON can carry them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (int, float, str, bool)) or value is None:
        return value
    slots = getattr(type(value), "__slots__", None)
    return {name: plain(getattr(value, name)) for name in slots} if slots else str(value)
