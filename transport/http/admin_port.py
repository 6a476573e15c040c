"""What an operator can ask of a node, as a port: its methods, its records, its refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

MAX_PAGE = 1000
MAX_NEW_DEVICES = 10_000
Progress = Callable[[int, int], None]


class AdminRefused(Exception):
    """An administration request that cannot be done.

    `code` is stable: bad_request, no_such_user, no_such_device, user_exists, too_many,
    destination_exists, rate_limited, unavailable, storage_failed, internal. `text` is a sentence
    for the operator.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class UserRecord:
    """One account, as the operator sees it; times in unix milliseconds."""

    account: str
    created_ms: int
    devices: int
    online: bool
    last_seen_ms: int | None


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """One device of an account; `queued` counts its undelivered events."""

    device: int
    name: str
    created_ms: int
    last_seen_ms: int | None
    online: bool
    queued: int


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """A sign-up code that the operator asked for instead of the sender."""

    account: str
    code: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device to register without a sign-up; its account is made if it is not there."""

    account: str
    device_name: str
    pubkey: bytes  # Ed25519, 32 bytes


@dataclass(frozen=True, slots=True)
class AddedDevice:
    """What became of a `NewDevice`."""

    account: str
    device: int


@dataclass(frozen=True, slots=True)
class BackupRecord:
    """A finished backup."""

    path: str
    size_bytes: int
    partitions: int


class AdminPort(Protocol):
    """What can be asked of a node, or of its data folder when no node runs.

    Every method raises `AdminRefused` when it cannot be done. Phone numbers are accepted as people
    write them; accounts in answers are E.164.
    """

    async def users(self, after: str | None, limit: int) -> Sequence[UserRecord]:
        """At most `limit` accounts in order, beginning behind the account `after`."""
        ...

    async def user(self, account: str) -> UserRecord:
        """One account."""
        ...

    async def add_user(self, phone: str) -> UserRecord:
        """Make an account without a device; `user_exists` if it is there."""
        ...

    async def add_devices(self, new: Sequence[NewDevice]) -> Sequence[AddedDevice]:
        """Register devices by their keys, in order.

        An error leaves those before it registered. A key stands for one device of its account, so
        that the same call again registers only the rest.
        """
        ...

    async def issue_code(self, phone: str) -> CodeRecord:
        """A fresh sign-up code, told to the operator and not to the sender."""
        ...

    async def devices(self, account: str) -> Sequence[DeviceRecord]:
        """The devices of one account."""
        ...

    async def revoke(self, account: str, device: int) -> None:
        """Revoke a device: its connection ends at once, its queue is dropped."""
        ...

    async def delete_user(self, account: str) -> None:
        """Delete an account's devices and queues and take it out of its groups.

        Its number stays known, without a device, so that device numbers never come back.
        """
        ...

    async def stats(self) -> dict[str, Any]:
        """Counters of the node as plain JSON values."""
        ...

    async def backup(self, dest: str, progress: Progress | None = None) -> BackupRecord:
        """Copy the data to a new folder while the node runs; `progress(done, total)` in bytes."""
        ...


class HealthPort(Protocol):
    """What the health endpoints ask."""

    async def not_ready(self) -> Sequence[str]:
        """Why the node should get no new clients now (as sentences); empty when it is ready."""
        ...


def new_device(record: object) -> NewDevice:
    """A `NewDevice` from its JSON form `{"account", "device_name", "pubkey_hex"}`.

    Raises:
        AdminRefused: `bad_request`, saying what is wrong.
    """
    if not isinstance(record, dict):
        raise AdminRefused("bad_request", "a device must be an object")
    account, name = text_field(record, "account"), text_field(record, "device_name", 128)
    try:
        pubkey = bytes.fromhex(text_field(record, "pubkey_hex"))
    except ValueError:
        pubkey = b""
    if len(pubkey) != 32:
        raise AdminRefused("bad_request", "pubkey_hex must be 64 hexadecimal digits")
    return NewDevice(account, name, pubkey)


def text_field(body: dict[str, Any], name: str, limit: int = 4096) -> str:
    """A text of a JSON object, of 1 to `limit` characters; `bad_request` otherwise."""
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= limit:
        raise AdminRefused("bad_request", f"{name} must be text of 1 to {limit} characters")
    return value
