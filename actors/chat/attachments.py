"""Which device queues a partition's process tells of events, and what those missed who come late.

Plain bookkeeping, without a process. Commits are counted, and the count carries a number of the
process that counts, so that a device that was told where its queue stands need not read the table
again, unless something came in between, or another process has taken the partition over.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from palaver.actors.chat.messages import AttachAgain, AttachQueue, Missed, Revoked
from palaver.actors.runtime import Pid

__all__ = ["Attachments"]

#: Devices without a connection whose last event is remembered, by commit.
_MISSED_KNOWN = 4_096

#: Revocations that are remembered, for logins that were under way.
_REVOKED_KNOWN = 10_000

DeviceId = tuple[str, int]


class Attachments:
    """The queues of one partition's connected devices.

    Args:
        life: tells this process of the partition from those before and after it.
    """

    __slots__ = (
        "_by_device", "_by_ref", "_commits", "_life", "_missed", "_missed_floor", "_revoked",
        "_revoked_floor",
    )  # fmt: skip

    def __init__(self, life: int) -> None:
        self._life = life
        self._commits = 0
        # Nearly always one. A device that signs in twice has two for a moment, and their order here
        # says nothing of which of its sessions stays.
        self._by_device: dict[DeviceId, tuple[Pid, ...]] = {}
        self._by_ref: dict[Any, DeviceId] = {}
        self._missed: dict[DeviceId, int] = {}
        self._missed_floor = 0
        self._revoked: OrderedDict[DeviceId, int] = OrderedDict()
        self._revoked_floor = 0

    @property
    def as_of(self) -> tuple[int, int]:
        """What was committed by now, and by whom."""
        return self._life, self._commits

    def committed(self) -> None:
        """A commit is durable; its effects follow."""
        self._commits += 1

    def settled(self) -> list[Pid]:
        """What earlier processes had appended is durable: who has to read again."""
        self._commits += 1
        self._missed_floor = self._revoked_floor = self._commits
        return [queue for queues in self._by_device.values() for queue in queues]

    def of(self, device: DeviceId) -> tuple[Pid, ...]:
        """Who is to be told of a device's event; it is remembered if that is nobody."""
        queues = self._by_device.get(device)
        if queues is None:
            self._missed[device] = self._commits
            return ()
        return queues

    def trim(self) -> None:
        """Forget the oldest of what nobody was told of."""
        while len(self._missed) > _MISSED_KNOWN:
            oldest = next(iter(self._missed))
            self._missed_floor = max(self._missed_floor, self._missed.pop(oldest))

    def revoke(self, device: DeviceId) -> tuple[Pid, ...]:
        """Remember that a device was revoked; whom to tell."""
        # Device numbers are not used again, so that remembering is harmless.
        self._revoked[device] = self._commits
        if len(self._revoked) > _REVOKED_KNOWN:
            self._revoked_floor = max(self._revoked_floor, self._revoked.popitem(last=False)[1])
        return self._by_device.get(device, ())

    def has(self, attach: AttachQueue) -> bool:
        """Whether a queue is attached: one that was unsure asks again, and is no second one."""
        return attach.queue in self._by_device.get((attach.account, attach.device), ())

    def attach(self, attach: AttachQueue) -> AttachAgain | Revoked | Missed | None:
        """What a queue has to be told first; after all but `Missed` and nothing, it is no part."""
        device = (attach.account, attach.device)
        life, commit = attach.as_of
        if device in self._revoked:
            return Revoked()
        if life != self._life or commit < self._revoked_floor:
            return AttachAgain()  # it may have been revoked since
        if not self.has(attach):
            self._by_device[device] = (*self._by_device.get(device, ()), attach.queue)
        missed = self._missed.pop(device, 0) > commit
        return Missed() if missed or commit < self._missed_floor else None

    def monitored(self, ref: Any, attach: AttachQueue) -> None:
        """Remember the monitor of a queue that was attached."""
        self._by_ref[ref] = (attach.account, attach.device)

    def ended(self, ref: Any, queue: Pid) -> None:
        """Something that is monitored has ended: perhaps a queue."""
        device = self._by_ref.pop(ref, None)
        if device is None:
            return
        left = tuple(one for one in self._by_device[device] if one is not queue)
        if left:
            self._by_device[device] = left
        else:
            del self._by_device[device]
