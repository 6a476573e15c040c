"""Registers, journals and stores for the tests of the cluster: in memory, and at their worst."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palaver.actors.simulation import Host, World
from palaver.storage.errors import StoreBusy
from palaver.storage.installing import SnapshotInfo
from palaver.storage.replicated.ports import Register, RegisterChanged, RegistersUnavailable

LATENCY_S = 0.002
RETRY_S = 0.25


class Quorum:
    """What is kept by a majority of the hosts; a host takes part if it is connected with most."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faulty = True
        self.elsewhere = False  # on machines of their own, which are always there
        self.severed: set[str] = set()  # hosts whose own server is gone

    def reaches(self, host: Host) -> bool:
        if host.name in self.severed or not host.alive:
            return False
        if self.elsewhere:
            return True
        network = self.world.network
        there = [
            other
            for other in self.world.hosts.values()
            if other is host
            or (
                other.alive
                and other.name not in self.severed
                and not network.link(host.name, other.name).is_blocked
                and not network.link(other.name, host.name).is_blocked
            )
        ]
        return 2 * len(there) > len(self.world.hosts)

    def fails(self, host: Host, what: str) -> int:
        """0: no; 1: before it is done; 2: afterwards."""
        if not self.faulty:
            return 0
        return self.world.tape.choose(f"{what}/{host.name}", 3, rate=0.02)


class RegisterBank(Quorum):
    """The registers of a cluster."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.values: dict[str, Register] = {}
        self.history: list[tuple[str, bytes | None]] = []
        self.revision = 0
        self.watches: list[_Watch] = []

    def set(self, key: str, value: bytes | None) -> int:
        self.revision += 1
        if value is None:
            del self.values[key]
        else:
            self.values[key] = Register(value, self.revision)
        self.history.append((key, value))
        for watch in list(self.watches):
            watch.touched(key)
        return self.revision


class _Watch:
    def __init__(self, bank: RegisterBank, host: Host, prefix: str, changed: Any) -> None:
        self._bank, self._host, self._prefix, self._changed = bank, host, prefix, changed
        self._dirty = dict.fromkeys(key for key in bank.values if key.startswith(prefix))
        self._incarnation = host.incarnation
        self._pumping = False
        bank.watches.append(self)
        self._pump_if_dirty()

    def touched(self, key: str) -> None:
        if self._host.incarnation != self._incarnation:
            self.close()
        elif key.startswith(self._prefix):
            self._dirty[key] = None
            self._pump_if_dirty()

    def _pump_if_dirty(self) -> None:
        if self._dirty and not self._pumping and self._host.alive:
            self._pumping = True
            self._host.spawn(self._pump())

    async def _pump(self) -> None:
        while self._dirty and self in self._bank.watches:
            await asyncio.sleep(LATENCY_S)
            if not self._bank.reaches(self._host):
                await asyncio.sleep(RETRY_S)
                continue
            dirty, self._dirty = self._dirty, {}
            for key in dirty:
                self._changed(key, self._bank.values.get(key))
        self._pumping = False

    def close(self) -> None:
        if self in self._bank.watches:
            self._bank.watches.remove(self)


class FaultyRegisters:
    """The registers as one host reaches them."""

    def __init__(self, bank: RegisterBank, host: Host) -> None:
        self._bank, self._host = bank, host
        self.bug: Exception | None = None

    async def _do(self, what: Callable[[], Any], name: str) -> Any:
        await asyncio.sleep(LATENCY_S)
        if self.bug is not None:
            raise self.bug
        fails = self._bank.fails(self._host, name)
        if fails == 1 or not self._bank.reaches(self._host):
            await asyncio.sleep(RETRY_S)
            raise RegistersUnavailable("no quorum")
        result = what()
        await asyncio.sleep(LATENCY_S)
        if fails == 2:
            raise RegistersUnavailable("no answer")
        return result

    async def read(self, key: str) -> Register | None:
        found: Register | None = await self._do(lambda: self._bank.values.get(key), "read")
        return found

    async def write(self, key: str, value: bytes, expected: int | None) -> int:
        def write() -> int:
            there = self._bank.values.get(key)
            if (None if there is None else there.revision) != expected:
                raise RegisterChanged(key)
            return self._bank.set(key, value)

        revision: int = await self._do(write, "write")
        return revision

    async def delete(self, key: str, expected: int) -> None:
        def delete() -> None:
            there = self._bank.values.get(key)
            if there is None or there.revision != expected:
                raise RegisterChanged(key)
            self._bank.set(key, None)

        await self._do(delete, "delete")

    async def items(self, prefix: str) -> Mapping[str, Register]:
        def items() -> dict[str, Register]:
            return {k: v for k, v in self._bank.values.items() if k.startswith(prefix)}

        found: dict[str, Register] = await self._do(items, "items")
        return found

    def watch(self, prefix: str, changed: Any) -> _Watch:
        return _Watch(self._bank, self._host, prefix, changed)


# -- journals and stores -----------------------------------------------------------------------


class NotOwner(Exception):
    pass


@dataclass
class Entry:
    kind: str
    epoch: int
    number: int
    by: str


@dataclass
class Replica:
    """What one host has applied of a journal; survives on its disk."""

    position: int = 0
    applied: int = 0
    epoch: int = 0
    owner: str = ""
    number: int = 0
    digest: str = ""
    digests: list[tuple[int, str]] = field(default_factory=list)

    def apply(self, entry: Entry) -> None:
        self.position += 1
        if entry.kind == "takeover":
            if entry.epoch > self.epoch:
                self.epoch, self.owner, self.number = entry.epoch, entry.by, 0
        elif entry.epoch == self.epoch and entry.number == self.number + 1:
            self.number += 1
            self.applied += 1
            self.digest = hashlib.sha256(f"{self.digest}{entry}".encode()).hexdigest()
        self.digests = [*self.digests, (self.position, self.digest)][-64:]


@dataclass
class State:
    partition: int
    position: int
    applied: int
    epoch: int
    owner: str
    leading: bool
    catching_up: bool
    behind: int
    digests: list[tuple[int, int]]
    trouble: str = ""


def _number(digest: str) -> int:
    return int.from_bytes(hashlib.sha256(digest.encode()).digest()[:8], "big")


class Journals(Quorum):
    """The journals of all partitions: their order is the truth."""

    def __init__(self, world: World, partitions: int) -> None:
        super().__init__(world)
        self.entries: list[list[Entry]] = [[] for _ in range(partitions)]
        self.first = [1] * partitions
        self.stores: list[FakeStore] = []

    def publish(self, partition: int, entry: Entry) -> None:
        self.entries[partition].append(entry)
        for store in list(self.stores):
            store.touched(partition)


class FakeStore:
    """A node's replicated store, as far as the cluster sees it: it models the journal's fencing."""

    def __init__(self, journals: Journals, host: Host, lease_s: float = 10.0) -> None:
        self._journals, self._host, self._lease_s = journals, host, lease_s
        self.replicas: dict[int, Replica] = host.disk.setdefault("replicas", {})
        self.followed: dict[int, None] = {}
        self.leads: dict[int, int] = {}
        self.allowed: dict[int, int] = {}
        self.fetch: Callable[[int], Awaitable[tuple[Path, SnapshotInfo]]] | None = None
        self.stuck: set[int] = set()  # whose take-overs hang
        self.troubles: dict[int, str] = {}
        self.forgetting: set[int] = set()
        self.busy = False  # whether no tables can be removed
        self._lost: Callable[[int, str], None] = lambda partition, why: None
        self._pumping: set[int] = set()
        self._wakers: dict[int, list[asyncio.Event]] = {}
        self._incarnation = host.incarnation
        journals.stores.append(self)

    @property
    def here(self) -> bool:
        return self._host.alive and self._host.incarnation == self._incarnation

    def follow(self, partition: int) -> None:
        self.followed[partition] = None
        self.replicas.setdefault(partition, Replica())
        self.touched(partition)

    async def unfollow(self, partition: int) -> None:
        await asyncio.sleep(LATENCY_S)
        self.followed.pop(partition, None)
        self.leads.pop(partition, None)

    def held(self, partition: int) -> int:
        replica = self.replicas.get(partition)
        return 0 if replica is None else replica.position

    async def forget(self, partition: int) -> None:
        self.forgetting.add(partition)
        try:
            await asyncio.sleep(LATENCY_S)
            assert partition not in self.followed
            if self.busy:
                raise StoreBusy("a snapshot")
            self.replicas.pop(partition, None)
            await asyncio.sleep(LATENCY_S)
        finally:
            self.forgetting.discard(partition)

    def touched(self, partition: int) -> None:
        if not self.here:
            self._journals.stores.remove(self)
        elif partition in self.followed and partition not in self._pumping:
            self._pumping.add(partition)
            self._host.spawn(self._pump(partition))

    async def _pump(self, partition: int) -> None:
        entries = self._journals.entries[partition]
        while partition in self.followed and self.replicas[partition].position < len(entries):
            await asyncio.sleep(LATENCY_S)
            if not self._journals.reaches(self._host):
                await asyncio.sleep(RETRY_S)
                continue
            replica = self.replicas.get(partition)
            if replica is None:
                break
            if replica.position + 1 < self._journals.first[partition]:
                await self._install(partition)
                continue
            for entry in entries[replica.position : replica.position + 64]:
                replica.apply(entry)
            if self.leads.get(partition, replica.epoch) != replica.epoch:
                del self.leads[partition]
                self._lost(partition, f"epoch {replica.epoch} is {replica.owner}'s")
            for waker in self._wakers.pop(partition, []):
                waker.set()
        self._pumping.discard(partition)

    async def _install(self, partition: int) -> None:
        assert self.fetch is not None
        path, info = await self.fetch(partition)
        position, applied, epoch, owner, number, digest = path.read_text().split("|")
        path.unlink()
        assert info.applied == int(applied)
        self.replicas[partition] = Replica(
            int(position), int(applied), int(epoch), owner, int(number), digest
        )

    async def lead(self, partition: int, epoch: int) -> None:
        await asyncio.sleep(LATENCY_S)
        while partition in self.stuck or not self._journals.reaches(self._host):
            await asyncio.sleep(RETRY_S)
        journals, name = self._journals, self._host.name
        journals.publish(partition, Entry("takeover", epoch, 0, name))
        end = len(journals.entries[partition])
        while self.replicas[partition].position < end:
            waker = asyncio.Event()
            self._wakers.setdefault(partition, []).append(waker)
            await waker.wait()
        replica = self.replicas[partition]
        if (replica.epoch, replica.owner) != (epoch, name):
            raise NotOwner(f"epoch {replica.epoch} is {replica.owner}'s")
        self.leads[partition] = epoch

    def step_down(self, partition: int) -> None:
        self.leads.pop(partition, None)

    def append(self, partition: int) -> bool:
        """Publish a command as the owner; whether it could be."""
        epoch = self.leads.get(partition)
        if epoch is None or not self._journals.reaches(self._host):
            return False
        replica = self.replicas[partition]
        if replica.position == len(self._journals.entries[partition]):
            number = replica.number + 1
            self._journals.publish(partition, Entry("commands", epoch, number, self._host.name))
        return True

    def state(self, partition: int) -> State | None:
        replica = self.replicas.get(partition)
        if replica is None or partition not in self.followed:
            return None
        behind = len(self._journals.entries[partition]) - replica.position
        return State(
            partition,
            replica.position,
            replica.applied,
            replica.epoch,
            replica.owner,
            self.leads.get(partition) == replica.epoch and replica.epoch > 0,
            replica.position + 1 < self._journals.first[partition],
            behind,
            [(position, _number(digest)) for position, digest in replica.digests],
            self.troubles.get(partition, ""),
        )

    def fail(self, partition: int, why: str) -> None:
        """Let a replica stop for good."""
        self.troubles[partition] = why
        if self.leads.pop(partition, None) is not None:
            self._lost(partition, why)

    def on_lost(self, told: Callable[[int, str], None]) -> None:
        self._lost = told

    def truncate_allowed(self, partition: int, position: int) -> None:
        self.allowed[partition] = position

    async def rebuild(self, partition: int) -> None:
        self.replicas[partition] = Replica()
        await self._install(partition)
        self.touched(partition)

    def snapshot(self, partition: int, dest: Path) -> SnapshotInfo:
        one = self.replicas[partition]
        text = f"{one.position}|{one.applied}|{one.epoch}|{one.owner}|{one.number}|{one.digest}"
        dest.write_text(text)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        return SnapshotInfo(partition, one.applied, 0, "fake", 1, 1, len(text), sha256)


class FakeHost:
    """Stands for the tree of the partitions' processes; says what runs where."""

    def __init__(self, host: Host, store: FakeStore) -> None:
        self._host, self._store = host, store
        self.running: dict[int, str] = {}
        self.slow_s = 0.01

    async def start_owner(self, partition: int) -> None:
        await self._change(partition, "owner")

    async def start_proxy(self, partition: int, owner_node: str | None) -> None:
        await self._change(partition, f"proxy of {owner_node}")

    async def stop(self, partition: int) -> None:
        await self._change(partition, "")

    async def _change(self, partition: int, what: str) -> None:
        await asyncio.sleep(self.slow_s)
        self.running[partition] = what
