"""A simulated disk: what survives, and what does not, when a process or the power goes.

It outlives the stores that are opened on it. What a store has made durable is in the plates; what
is under way when an incarnation ends is there afterwards or not, whole, as the disk chooses.
"""

from __future__ import annotations

from typing import Protocol

from .faults import DiskFaults, DiskHabits
from .tables import Content, Rows

_SLOWNESS = 8
"""Ways in which a commit is slow: 2, 4, ... 128 times."""
FAILURES = 5
"""Ways in which the disk treats a commit: soundly; the flush of its pages fails, and nothing has
happened; the write of its head fails and is taken back; it fails and is there all the same; it
fails and is taken back, and the disk goes on failing for a time."""
_LATENESS = 4
"""Ways in which an answer is late: by 1, 4 and 16 commits' time."""
LATE_READS = 5
"""Ways of a read: at once; seen late by 4 or 64 times; seen at once and answered so late."""


class Tenant(Protocol):
    """Who uses a folder of a disk: a store that is open."""

    def perish(self, *, power: bool) -> None:
        """End without another word: the process is gone."""


class Plate:
    """Where one partition is kept.

    Attributes:
        content: what is durable.
        limbo: what a commit has written whose head was taken back: a power cut may bring it.
    """

    __slots__ = ("_disk", "_name", "content", "limbo")

    def __init__(self, disk: SimulatedDisk, name: str) -> None:
        self._disk = disk
        self._name = name
        self.content = Content()
        self.limbo: list[tuple[Rows, bytes, bytes | None]] | None = None

    def now_s(self) -> float:
        """Return the time in seconds."""
        return self._disk.faults.now_s()

    def _choose(self, kind: str, options: int, rate: float) -> int:
        disk = self._disk
        if not rate or disk.ending:
            return 0
        return disk.faults.choose(f"{kind}/{self._name}", options, rate)

    def commit_delay_s(self) -> float:
        """Choose how long a commit takes until it is durable."""
        habits = self._disk.habits
        delay_s = habits.commit_s * (1 << self._choose("disk-slow", _SLOWNESS, habits.slow))
        if self._choose("disk-stall", 2, habits.stall):
            self._disk.stall(habits.stall_s)
        return max(delay_s, self._disk.stalled_until_s - self.now_s())

    def answer_delay_s(self) -> float:
        """Choose how long it takes until the owner hears of a durable commit."""
        habits = self._disk.habits
        lateness = self._choose("disk-late", _LATENESS, habits.late)
        return habits.commit_s * 4 ** (lateness - 1) if lateness else 0.0

    def full(self, grown_bytes: int) -> bool:
        """Return whether there is no room for a commit."""
        disk = self._disk
        if self._choose("disk-full", 2, disk.habits.full):
            disk.fill(disk.habits.trouble_s)
        return disk.is_full or grown_bytes > disk.room_bytes

    def failure(self) -> int:
        """Choose whether and how the disk fails a commit; see `FAILURES`."""
        if self._disk.fail_next and not self._disk.ending:
            return self._disk.fail_next.pop(0)
        return self._choose("disk-fail", FAILURES, self._disk.habits.fail)

    def trouble_until_s(self) -> float:
        """Return until when a disk goes on failing that begins to."""
        return self.now_s() + self._disk.habits.trouble_s

    def survives(self) -> bool:
        """Choose whether what is under way at the end of an incarnation is there afterwards."""
        disk = self._disk
        if not disk.habits.lost:
            return False
        return bool(disk.faults.choose(f"disk-lost/{self._name}", 2, disk.habits.lost))

    def settle_limbo(self, *, power: bool) -> None:
        """Decide about a head that was taken back: only a power cut may bring it."""
        limbo, self.limbo = self.limbo, None
        if limbo is not None and power and self.survives():
            for rows, key, stored in limbo:
                rows.put_back(key, stored)


class Folder:
    """One store's folder on a disk.

    Attributes:
        name: of the folder.
        plates: by partition; empty until a store is made in it.
        kind: whose content it is.
        version: of that content.
        owner: the store that writes to it now.
    """

    __slots__ = ("_disk", "kind", "name", "owner", "plates", "readers", "version")

    def __init__(self, disk: SimulatedDisk, name: str) -> None:
        self._disk = disk
        self.name = name
        self.plates: list[Plate] = []
        self.kind = ""
        self.version = 0
        self.owner: Tenant | None = None
        self.readers: list[Tenant] = []

    def make(self, partitions: int, kind: str, version: int) -> None:
        """Make the plates of an empty store."""
        self.kind = kind
        self.version = version
        where = f"{self._disk.name}/{self.name}" if self._disk.name else self.name
        self.plates = [Plate(self._disk, f"{where}/{n}") for n in range(partitions)]

    def perish(self, *, power: bool) -> None:
        """End whoever uses it."""
        tenants = [*([self.owner] if self.owner is not None else []), *self.readers]
        self.owner = None
        self.readers = []
        for tenant in tenants:
            tenant.perish(power=power)
        for plate in self.plates:
            plate.settle_limbo(power=power)


class SimulatedDisk:
    """The disk of one machine, with any number of folders; see the module.

    Args:
        faults: decides what happens, and keeps the time.
        name: distinguishes it from other disks where choices are made.
        habits: how fast it is and how often it fails.

    Attributes:
        files: whole files by their path: snapshots of partitions.
        room_bytes: how much one commit may add, however empty the disk.
        fail_next: how the next commits fail, ahead of all chance; see `FAILURES`.
        stalled_until_s: until when nothing becomes durable.
        ending: whether what is under way is brought to its end, without further faults.
    """

    def __init__(
        self, faults: DiskFaults, name: str = "", *, habits: DiskHabits | None = None
    ) -> None:
        self.faults = faults
        self.name = name
        self.habits = DiskHabits() if habits is None else habits
        self.files: dict[str, bytes] = {}
        self.room_bytes = 1 << 40
        self.fail_next: list[int] = []
        self.stalled_until_s = 0.0
        self.ending = False
        self._full_until_s = 0.0
        self._folders: dict[str, Folder] = {}

    def folder(self, name: str) -> Folder:
        """Return the folder of that name, an empty one when there was none."""
        found = self._folders.get(name)
        if found is None:
            found = self._folders[name] = Folder(self, name)
        return found

    def remove(self, name: str) -> None:
        """Remove a folder and what is in it; nobody uses it."""
        folder = self._folders.pop(name, None)
        assert folder is None or folder.owner is None, f"the folder {name!r} is in use"

    def read_delays_s(self) -> tuple[float, float]:
        """Choose how long a read waits until it is made, and from then on until it is answered."""
        habits = self.habits
        way = 0
        if habits.slow_read and not self.ending:
            way = self.faults.choose(f"disk-read/{self.name}", LATE_READS, habits.slow_read)
        stalled_s = max(0.0, self.stalled_until_s - self.faults.now_s())
        late_s = (0.0, 4 * habits.read_s, 64 * habits.read_s)[(way + 1) // 2]
        if way % 2:
            return max(habits.read_s, stalled_s) + late_s, 0.0
        return max(habits.read_s, stalled_s), late_s

    def stall(self, duration_s: float) -> None:
        """Stand still for so long: commits and reads that begin now end after it."""
        self.stalled_until_s = max(self.stalled_until_s, self.faults.now_s() + duration_s)

    def fill(self, duration_s: float = float("inf")) -> None:
        """Have no room for any commit for so long, or until `make_room`."""
        self._full_until_s = self.faults.now_s() + duration_s

    def make_room(self) -> None:
        """Have room again."""
        self._full_until_s = 0.0

    @property
    def is_full(self) -> bool:
        """Whether there is no room now."""
        return self.faults.now_s() < self._full_until_s

    def power_off(self) -> None:
        """Lose the power: every store on it ends, and no `done` of theirs is called after this.

        What was durable is there at the next opening. Of what was under way, and of a commit whose
        head was taken back after a failed write, the disk chooses; whole or not at all.
        """
        self._end(power=True)

    def killed(self) -> None:
        """End every process that uses it (kill -9), while the machine goes on; see `power_off`.

        What was under way is there or not; what was written counts.
        """
        self._end(power=False)

    def _end(self, *, power: bool) -> None:
        self.ending = True
        try:
            for folder in self._folders.values():
                folder.perish(power=power)
        finally:
            self.ending = False
