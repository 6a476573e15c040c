"""Accounts, devices, privacy, last seen and files: what happens at an account's partition."""

from __future__ import annotations

from typing import Any

from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.state.queues import drop_queue
from palaver.actors.chat.state.step import Step
from palaver.actors.chat.state.tables import (
    U64,
    Account,
    Device,
    account_prefix,
    device_key,
    load,
    owned_key,
    save,
)
from palaver.storage import Rejected

__all__ = [
    "delete_account",
    "join",
    "last_seen",
    "leave",
    "record_file",
    "register_device",
    "revoke_device",
    "set_block",
    "set_privacy",
]

MAX_DEVICES = 16
MAX_BLOCKED = 1_000


def register_device(step: Step, command: cmd.Command) -> Any:
    """Add a device to an account, which is made where it is new; the value is its number."""
    _, account, public_key, name, now_ms = command
    record = step.account(account) or Account(now_ms, False, 1, ())
    if not public_key:  # an operator makes an account before its first device signs up
        step.put_account(account, record)
        return 0
    for number in step.devices(account):
        raw = step.txn.get("devices", device_key(account, number))
        if raw is not None and Device(*load(raw)).public_key == public_key:  # type: ignore[arg-type]
            return number  # a retry of the same registration
    if len(step.devices(account)) >= MAX_DEVICES:
        raise Rejected("too_many", f"an account has at most {MAX_DEVICES} devices; revoke one")
    number = record.next_device
    step.put_account(account, record._replace(next_device=number + 1))
    step.txn.put("devices", device_key(account, number), save(Device(public_key, name, now_ms)))
    step.memory.devices.pop(account, None)
    return number


def revoke_device(step: Step, command: cmd.Command) -> Any:
    """Remove a device with its queue; its number is never used again."""
    _, account, device = command
    if device not in step.devices(account):
        raise Rejected("bad_request", f"{account} has no device {device}")
    _remove_device(step, account, device)
    return None


def _remove_device(step: Step, account: str, device: int) -> None:
    step.txn.delete("devices", device_key(account, device))
    step.txn.delete("lastseen", device_key(account, device))
    drop_queue(step, account, device)
    step.memory.devices.pop(account, None)
    step.effects.append(cmd.DeviceRevoked(account, device))


def delete_account(step: Step, command: cmd.Command) -> Any:
    """Remove an account: its devices and queues go, and nobody can reach it any more.

    The record itself stays as a tombstone that blocks nobody, so that device numbers never
    come back; signing up again opens the account anew.
    """
    _, account, stamp = command
    record = step.account(account)
    if record is None:
        raise Rejected("bad_request", f"there is no account {account}")
    for device in step.devices(account):
        _remove_device(step, account, device)
    step.put_account(account, record._replace(blocked=(), hides_last_seen=True))
    step.txn.delete("lastseen", account.encode())
    for conversation in _conversations(step, account):
        step.submit(conversation, (cmd.REMOVE_MEMBER, conversation, account, stamp))
    return None


def _conversations(step: Step, account: str) -> list[bytes]:
    prefix = account_prefix(account)
    rows = step.txn.range("members", prefix, account.encode() + b"\x01")
    return [key[len(prefix) :] for key, _ in rows]


def set_privacy(step: Step, command: cmd.Command) -> Any:
    """Hide or show an account's last seen; the value is whether anything changed."""
    _, account, hides = command
    record = step.account(account)
    if record is None:
        raise Rejected("bad_request", f"there is no account {account}")
    changed = record.hides_last_seen != hides
    if changed:
        step.put_account(account, record._replace(hides_last_seen=hides))
    return changed


def set_block(step: Step, command: cmd.Command) -> Any:
    """Block another account, or no longer; their direct conversation is told."""
    _, account, other, conversation, blocked = command
    record = step.account(account)
    if record is None:
        raise Rejected("bad_request", f"there is no account {account}")
    names = set(record.blocked)
    if blocked and other not in names and len(names) >= MAX_BLOCKED:
        raise Rejected("too_many", f"an account blocks at most {MAX_BLOCKED} others")
    if blocked:
        names.add(other)
    else:
        names.discard(other)
    step.put_account(account, record._replace(blocked=tuple(sorted(names))))
    pair = sorted((account, other))
    step.submit(conversation, (cmd.BLOCK_IN_CONVERSATION, conversation, pair, account, blocked))
    return None


def last_seen(step: Step, command: cmd.Command) -> Any:
    """Note when accounts and their devices were last seen; a value never goes backwards."""
    for account, device, time_ms in command[1]:
        devices = step.devices(account)
        if not devices:
            continue  # the account was deleted meanwhile
        # A device that was revoked meanwhile is forgotten; its account was there all the same, and
        # whoever asked was perhaps told so.
        own = (device_key(account, device),) if device in devices else ()
        for key in (account.encode(), *own):
            raw = step.txn.get("lastseen", key)
            if raw is None or U64.unpack(raw)[0] < time_ms:
                step.txn.put("lastseen", key, U64.pack(time_ms))
    return None


def join(step: Step, command: cmd.Command) -> Any:
    """List a conversation among an account's."""
    _, account, conversation = command
    step.txn.put("members", owned_key(account, conversation), b"")
    return None


def leave(step: Step, command: cmd.Command) -> Any:
    """Take a conversation off an account's list."""
    _, account, conversation = command
    step.txn.delete("members", owned_key(account, conversation))
    return None


def record_file(step: Step, command: cmd.Command) -> Any:
    """Let an account fetch and send a file it uploaded, and count it; once per content."""
    _, account, file_id, size_bytes, kind = command
    key = owned_key(account, file_id)
    raw = step.txn.get("files", key)
    if raw is None or not load(raw)[2]:
        step.txn.put("files", key, save((size_bytes, kind, True)))
        used_key = account.encode()
        raw_used = step.txn.get("usage", used_key)
        used = U64.unpack(raw_used)[0] if raw_used else 0
        step.txn.put("usage", used_key, U64.pack(used + size_bytes))
    return None
