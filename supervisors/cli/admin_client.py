"""The operator's side of `admin.sock`: an `AdminPort` that asks a running node."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from palaver.supervisors.cli.output import CommandError
from palaver.transport.http.admin_port import (
    AddedDevice,
    AdminPort,
    AdminRefused,
    BackupRecord,
    CodeRecord,
    DeviceRecord,
    NewDevice,
    Progress,
    UserRecord,
)
from palaver.transport.http.cluster_port import (
    Change,
    ChangeProgress,
    ClusterStatus,
    status_of,
)
from palaver.transport.http.unix import unix_address


class RemoteAdmin:
    """The `AdminPort` of a node that runs, over its socket. Use it as an async context manager."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._stack = ExitStack()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make the client; a connection is made by the first request."""
        address = self._stack.enter_context(unix_address(self._path.absolute()))
        self._http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(address), timeout=aiohttp.ClientTimeout(total=60)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        if self._http is not None:
            await self._http.close()
        self._stack.close()

    async def users(self, after: str | None, limit: int) -> Sequence[UserRecord]:
        """At most `limit` accounts in order, beginning behind the account `after`."""
        params = {"limit": str(limit)} | ({"after": after} if after else {})
        return [UserRecord(**u) for u in await self._ask("GET", "/v1/users", params=params)]

    async def user(self, account: str) -> UserRecord:
        """One account."""
        return UserRecord(**await self._ask("GET", f"/v1/users/{_part(account)}"))

    async def add_user(self, phone: str) -> UserRecord:
        """Make an account without a device."""
        return UserRecord(**await self._ask("POST", "/v1/users", body={"phone": phone}))

    async def add_devices(self, new: Sequence[NewDevice]) -> Sequence[AddedDevice]:
        """Register devices by their keys."""
        devices = [
            {"account": n.account, "device_name": n.device_name, "pubkey_hex": n.pubkey.hex()}
            for n in new
        ]
        added = await self._ask("POST", "/v1/devices", body={"devices": devices})
        return [AddedDevice(**a) for a in added]

    async def issue_code(self, phone: str) -> CodeRecord:
        """A fresh sign-up code."""
        return CodeRecord(**await self._ask("POST", f"/v1/users/{_part(phone)}/code"))

    async def devices(self, account: str) -> Sequence[DeviceRecord]:
        """The devices of one account."""
        path = f"/v1/users/{_part(account)}/devices"
        return [DeviceRecord(**d) for d in await self._ask("GET", path)]

    async def revoke(self, account: str, device: int) -> None:
        """Revoke a device."""
        await self._ask("DELETE", f"/v1/users/{_part(account)}/devices/{device}")

    async def delete_user(self, account: str) -> None:
        """Delete an account."""
        await self._ask("DELETE", f"/v1/users/{_part(account)}")

    async def stats(self) -> dict[str, Any]:
        """Counters of the node."""
        stats: dict[str, Any] = await self._ask("GET", "/v1/stats")
        return stats

    async def backup(self, dest: str, progress: Progress | None = None) -> BackupRecord:
        """Copy the data while the node runs; `dest` must be an absolute path."""
        async with self._request(
            "POST", "/v1/backup", body={"dest": dest}, timeout_s=None
        ) as response:
            async for raw in response.content:
                line = json.loads(raw)
                if "result" in line:
                    return BackupRecord(**line["result"])
                if "error" in line:
                    raise AdminRefused(**line["error"])
                if progress is not None:
                    progress(line["done"], line["total"])
        raise AdminRefused("unavailable", "the node stopped before the backup was finished")

    async def cluster_status(self) -> ClusterStatus:
        """How the node's cluster is."""
        return status_of(await self._ask("GET", "/v1/cluster"))

    async def change_cluster(self, what: Change, node: str | None) -> AsyncIterator[ChangeProgress]:
        """Make a change of the cluster, step by step."""
        body = {} if node is None else {"node": node}
        async with self._request(
            "POST", f"/v1/cluster/{what}", body=body, timeout_s=None
        ) as response:
            async for raw in response.content:
                line = json.loads(raw)
                if "result" in line:
                    return
                if "error" in line:
                    raise AdminRefused(**line["error"])
                yield ChangeProgress(**line)
        raise AdminRefused("unavailable", "the node stopped before the change was finished")

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        async with self._request(method, path, **options) as response:
            return await response.json()

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: object = None,
        timeout_s: float | None = 60,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._http is None:
            raise RuntimeError("RemoteAdmin is used as an async context manager")
        try:
            async with self._http.request(
                method,
                "http://node" + path,
                params=params,
                json=body,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                if response.status >= 400:
                    raise AdminRefused(**(await response.json())["error"])
                yield response
        except PermissionError as error:
            raise CommandError(
                f"{self._path} belongs to another user", "run the command as the node's user"
            ) from error
        except aiohttp.ClientError as error:
            raise AdminRefused("unavailable", f"the node does not answer ({error})") from error
        except TimeoutError as error:
            raise AdminRefused("unavailable", "the node did not answer in time") from error


def _part(text: str) -> str:
    return quote(text, safe="+")


def node_listens(socket_path: Path) -> bool:
    """Whether a node answers at this socket; a file left by a killed one does not.

    Raises:
        CommandError: when the socket belongs to someone else.
    """
    try:
        if not stat.S_ISSOCK(os.stat(socket_path).st_mode):  # noqa: PTH116 - symlinks followed
            return False
        with socket.socket(socket.AF_UNIX) as sock, unix_address(socket_path.absolute()) as address:
            sock.settimeout(5)
            sock.connect(address)
    except PermissionError:
        raise CommandError(
            f"{socket_path} belongs to another user", "run the command as the node's user"
        ) from None
    except OSError:
        return False
    return True


@asynccontextmanager
async def open_admin(data_dir: Path) -> AsyncIterator[AdminPort]:
    """The administration of a data folder: through its node when one runs, directly otherwise."""
    socket_path = data_dir / "admin.sock"
    if node_listens(socket_path):
        async with RemoteAdmin(socket_path) as remote:
            yield remote
        return
    # Only an offline command pays for loading the tables.
    from palaver.storage import StoreError
    from palaver.supervisors.trees.offline import OfflineAdmin

    try:
        async with OfflineAdmin(data_dir) as offline:
            yield offline
    except StoreError as error:
        raise CommandError(str(error)) from error
