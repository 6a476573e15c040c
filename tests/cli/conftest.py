from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from palaver.transport.http.admin import AdminServer
from palaver.transport.http.admin_port import (
    AddedDevice,
    AdminRefused,
    BackupRecord,
    CodeRecord,
    DeviceRecord,
    NewDevice,
    UserRecord,
)

# The helpers of `cli_programs.py`, for the test modules beside it.
sys.path.append(str(Path(__file__).parent))


class FakeNode:
    """An administration and a health that are only a dictionary."""

    def __init__(self) -> None:
        self.accounts: dict[str, list[str]] = {}
        self.revoked: list[tuple[str, int]] = []
        self.reasons: list[str] = []
        self.steps = [(1, 3), (2, 3), (3, 3)]

    def _record(self, account: str) -> UserRecord:
        if account not in self.accounts:
            raise AdminRefused("no_such_user", f"there is no account {account}")
        return UserRecord(account, 1_700_000_000_000, len(self.accounts[account]), False, None)

    async def users(self, after: str | None, limit: int) -> Sequence[UserRecord]:
        names = [a for a in sorted(self.accounts) if after is None or a > after]
        return [self._record(a) for a in names[:limit]]

    async def user(self, account: str) -> UserRecord:
        return self._record(account)

    async def add_user(self, phone: str) -> UserRecord:
        if phone in self.accounts:
            raise AdminRefused("user_exists", f"{phone} is there already")
        self.accounts[phone] = []
        return self._record(phone)

    async def add_devices(self, new: Sequence[NewDevice]) -> Sequence[AddedDevice]:
        added = []
        for n in new:
            names = self.accounts.setdefault(n.account, [])
            names.append(n.device_name)
            added.append(AddedDevice(n.account, len(names)))
        return added

    async def issue_code(self, phone: str) -> CodeRecord:
        return CodeRecord(phone, "123456", 1_700_000_600_000)

    async def devices(self, account: str) -> Sequence[DeviceRecord]:
        self._record(account)
        return [
            DeviceRecord(i, name, 1_700_000_000_000, None, True, 7)
            for i, name in enumerate(self.accounts[account], 1)
        ]

    async def revoke(self, account: str, device: int) -> None:
        if not 1 <= device <= len(self.accounts.get(account, [])):
            raise AdminRefused("no_such_device", f"{account} has no device {device}")
        self.revoked.append((account, device))

    async def delete_user(self, account: str) -> None:
        self._record(account)
        del self.accounts[account]

    async def stats(self) -> dict[str, Any]:
        return {"accounts": len(self.accounts)}

    async def backup(
        self, dest: str, progress: Callable[[int, int], None] | None = None
    ) -> BackupRecord:
        if dest.endswith("full"):
            raise AdminRefused("storage_failed", "no space left on the device")
        for done, total in self.steps:
            if progress is not None:
                await asyncio.to_thread(progress, done, total)
        return BackupRecord(dest, 3, 1)

    async def not_ready(self) -> Sequence[str]:
        return self.reasons


class Served:
    """A fake node whose ports are served by a thread of their own, as a real node's are."""

    def __init__(self, folder: Path) -> None:
        self.node = FakeNode()
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server: AdminServer = self._serve(None)

    def _serve(self, cluster: Any) -> Any:
        return self.run(
            AdminServer.start(
                registry=CollectorRegistry(),
                health=self.node,
                admin=self.node,
                socket_path=self.folder / "admin.sock",
                cluster=cluster,
            )
        )

    def serve_cluster(self, cluster: Any) -> None:
        """Answer also what is asked of a cluster."""
        self.run(self.server.close())
        self.server = self._serve(cluster)

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def close(self) -> None:
        self.run(self.server.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    node = Served(tmp_path)
    yield node
    node.close()


@pytest.fixture
def fake_node() -> FakeNode:
    return FakeNode()
