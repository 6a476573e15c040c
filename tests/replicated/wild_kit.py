"""A partition on several hosts of a world, over the simulated engine, and how it is judged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import cbor2
from engines import PlainCodec

from palaver.actors.simulation import Host, World
from palaver.storage import (
    ApplyFailed,
    Command,
    Outcome,
    Overloaded,
    ReadTxn,
    Rejected,
    SnapshotInfo,
    StoreClosed,
    StoreError,
    WriteTxn,
    WrongSequence,
)
from palaver.storage.replicated import (
    COMMANDS,
    TAKEOVER,
    JournalMachine,
    Limits,
    NotOwner,
    OwnershipLost,
    PublishLimits,
    ReplicatedStore,
)
from palaver.storage.replicated.ports import Entry
from palaver.storage.simulated import (
    DiskHabits,
    SimulatedDisk,
    SimulatedEngine,
    SimulatedStore,
)
from palaver.supervisors.simulations.nodes import WorldFaults

PUT, REFUSE, BREAK = range(3)


class Lines:
    """Keeps what it is given, in order and as often as it is given: nothing is deduplicated."""

    tables = ("line",)
    version = 1

    def open(self, txn: ReadTxn, partition: int) -> None:
        last = txn.last("line")
        self.count = 0 if last is None else int.from_bytes(last[0], "big")

    def apply(self, txn: WriteTxn, seq: int, command: Command) -> Outcome:
        code, name = command
        if code == REFUSE:
            raise Rejected("no", name)
        self.count += 1
        txn.put("line", self.count.to_bytes(8, "big"), name.encode())
        if code == BREAK:
            raise ZeroDivisionError(name)
        return Outcome(self.count)

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        yield from ()


def lines_of(txn: ReadTxn) -> list[str]:
    return [value.decode() for _, value in txn.range("line", b"")]


def judged(entries: list[Entry]) -> tuple[list[str], dict[int, str], dict[int, set[str]]]:
    """Read a journal as the contract says, in other words than the engine's.

    Returns the lines in order, the owner of each epoch, and who has lines in it.
    """
    lines: list[str] = []
    owners: dict[int, str] = {}
    wrote: dict[int, set[str]] = {}
    epoch, number = 0, 0
    for entry in entries:
        kind, its_epoch, its_number, payload = cbor2.loads(entry.body)
        if kind == TAKEOVER:
            if its_epoch > epoch:
                epoch, number = its_epoch, 0
                owners[epoch] = payload[0]
            continue
        if its_epoch != epoch or its_number != number + 1:
            continue
        number += 1
        if kind != COMMANDS:
            continue
        for part in payload:
            expected, encoded = part if isinstance(part, list) else (None, part)
            if expected is not None and expected != len(lines):
                continue
            for code, name in cbor2.loads(encoded):
                wrote.setdefault(epoch, set()).add(name.split("/")[0])
                if code == PUT:
                    lines.append(name)
    return lines, owners, wrote


async def inline(fn: Callable[..., Any], *args: Any) -> Any:
    return fn(*args)


LIMITS = Limits(
    publish=PublishLimits(entry_bytes=400, entry_commands=6, window=3),
    max_backlog=60,
    feed_entries=8,
    feed_bytes=4000,
    lease_s=4.0,
    checkpoint_s=1.0,
    takeover_s=15.0,
    look_s=3.0,
    tail_entries=4,
)


def _second(pair: tuple[Any, int]) -> int:
    return pair[1]


class Partition:
    """Everything that survives: the engine, the hosts, and what clients were told."""

    def __init__(
        self, world: World, engine: SimulatedEngine, disk: DiskHabits, names: str = "abc"
    ) -> None:
        self.world = world
        self.engine = engine
        self.habits = disk
        self.over = False
        self.epoch = 0
        self.stores: dict[str, ReplicatedStore] = {}
        self.disks: dict[str, SimulatedDisk] = {}
        self.acked: dict[str, int] = {}
        self.refused: set[str] = set()
        self.served: dict[int, set[str]] = {}
        self.kept: dict[int, Entry] = {}
        self.sent = 0
        self.snapshots = 0
        self.lost: list[str] = []
        self.hosts = [world.host(name, self._boot) for name in names]

    # -- hosts -------------------------------------------------------------------------------

    async def _boot(self, host: Host) -> None:
        world, name = self.world, host.name
        self.stores.pop(name, None)
        disk = self.disks.get(name)
        if disk is None:
            faults = WorldFaults(world, lambda delay_s, fn: host.clock.call_later(delay_s, fn))
            disk = self.disks[name] = SimulatedDisk(faults, name, habits=self.habits)
        host.on_end.append(lambda power: disk.power_off() if power else disk.killed())
        loop = asyncio.get_running_loop()
        try:
            local = SimulatedStore.open(
                disk, lambda _: JournalMachine(Lines()), call_later=loop.call_later
            )
        except StoreError:
            world.network.later(0.0, host.crash)
            world.network.later(1.0, host.boot)
            return
        connection = self.engine.connect(name, lambda s, fn: host.clock.call_later(s, fn))
        host.on_end.append(lambda _power: connection.lost())
        host.on_end.append(lambda _power: self.stores.pop(name, None))
        store = self.stores[name] = ReplicatedStore(
            local,
            connection.journal,
            PlainCodec(),
            node_name=name,
            incarnation=str(host.incarnation),
            limits=LIMITS,
            fetch_snapshot=lambda partition: self._fetch(name, partition),
            run_blocking=inline,
            on_lost=lambda _, why: self.lost.append(why),
        )
        store.follow(0)
        host.spawn(self._strive(host, store))
        host.spawn(self._write(host, store))

    async def _fetch(self, name: str, partition: int) -> tuple[str, SnapshotInfo]:
        best, furthest = None, -1
        for other, store in self.stores.items():
            state = store.state(partition)
            if other != name and state is not None and not state.trouble:
                best, furthest = max(((best, furthest), (store, state.position)), key=_second)
        if best is None:
            raise StoreError("no other replica is there")
        await asyncio.sleep(0.01)
        self.snapshots += 1
        path = f"snapshot-{self.snapshots}"
        info = best.snapshot(partition, path)
        source = next(disk for other, disk in self.disks.items() if path in disk.files)
        self.disks[name].files[path] = source.files.pop(path)
        return path, info

    async def _strive(self, host: Host, store: ReplicatedStore) -> None:
        """Take over now and then, sometimes in an epoch that another node tries too."""
        choose, stream = self.world.tape.choose, f"strive/{host.name}"
        while not self.over:
            await asyncio.sleep(0.5 * (1 + choose(stream, 8, 0.8)))
            state = store.state(0)
            if state is None or (state.leading and not choose(stream, 4, 0.3)):
                continue
            if choose(stream, 3, 0.7):
                self.epoch = max(self.epoch, state.epoch) + 1
            if choose(stream, 4, 0.2) == 1:
                store.step_down(0)
            try:
                await store.lead(0, max(1, self.epoch))
            except StoreError as error:
                self.world.reach(f"lead: {type(error).__name__}")
            else:
                self.world.reach("a node leads")
            if choose(stream, 5, 0.3) == 1:
                self._truncate(store)

    def _truncate(self, store: ReplicatedStore) -> None:
        states = [other.state(0) for other in self.stores.values()]
        positions = sorted(state.position for state in states if state is not None)
        if len(positions) == len(self.hosts):
            self.keep()
            store.truncate_allowed(0, positions[len(positions) // 2])

    async def _write(self, host: Host, store: ReplicatedStore) -> None:
        choose, stream = self.world.tape.choose, f"write/{host.name}"
        while not self.over:
            await asyncio.sleep(0.02 * (1 + choose(stream, 6, 0.8)))
            for _ in range(1 + choose(stream, 4, 0.5)):
                self.append(host.name, store, stream)

    def append(self, name: str, store: ReplicatedStore, stream: str) -> None:
        choose = self.world.tape.choose
        state = store.state(0)
        commands: list[Command] = []
        for _ in range(1 + choose(stream, 12, 0.3)):
            self.sent += 1
            code = (PUT, PUT, PUT, REFUSE, BREAK)[choose(stream, 5, 0.1)]
            commands.append((code, f"{name}/{self.sent}"))
        expected = store.applied(0) if choose(stream, 8, 0.1) == 1 else None
        puts = [command[1] for command in commands if command[0] == PUT]
        epoch = 0 if state is None else state.epoch
        try:
            store.append(
                0, commands, lambda results: self._heard(name, epoch, commands, results),
                expected=expected,
            )  # fmt: skip
        except (NotOwner, Overloaded, StoreClosed) as error:
            self.world.reach(f"append: {type(error).__name__}")
            self.refused.update(puts)

    def _heard(self, host: str, epoch: int, commands: list[Command], results: list[Any]) -> None:
        assert len(commands) == len(results)
        for (code, name), result in zip(commands, results, strict=True):
            if isinstance(result, Outcome):
                assert code == PUT
                assert name not in self.acked, "it is answered twice"
                self.acked[name] = result.value
                self.served.setdefault(epoch, set()).add(host)
            elif isinstance(result, WrongSequence):
                self.refused.add(name)
            elif isinstance(result, OwnershipLost):
                self.world.reach(f"lost for certain: {result.certain}")
                if result.certain:
                    self.refused.add(name)
            elif code == REFUSE:
                assert isinstance(result, Rejected), result
            else:
                assert code == BREAK, (code, result)
                assert isinstance(result, ApplyFailed), result

    def wipe(self, host: Host) -> None:
        """Give the last host a new disk: of the others a majority is left."""
        if host is self.hosts[-1] and host.alive and host.name in self.disks:
            host.power_off()
            del self.disks[host.name]
            host.boot()

    # -- judgement ---------------------------------------------------------------------------

    def keep(self) -> None:
        """Remember the journal's entries before they are truncated."""
        log = self.engine.log(0)
        for entry in log.after(max(log.first - 1, len(self.kept)), 1 << 20):
            assert self.kept.setdefault(entry.position, entry) == entry

    def agree(self) -> bool:
        """Whether equal positions have equal digests; whether all have come to the end."""
        by_position: dict[int, set[int]] = {}
        ends: list[bool] = []
        for store in self.stores.values():
            state = store.state(0)
            assert state is not None, "a replica was stopped"
            for position, digest in state.digests:
                by_position.setdefault(position, set()).add(digest)
            assert state.following, state.trouble
            ends.append(state.position == self.engine.log(0).last and not state.trouble)
        assert all(len(digests) == 1 for digests in by_position.values()), by_position
        return all(ends) and len(ends) == len(self.hosts)

    def judge(self) -> list[str]:
        """Compare everything with everything, after the end; return the lines."""
        self.keep()
        entries = [self.kept[position] for position in sorted(self.kept)]
        assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
        lines, owners, wrote = judged(entries)
        for name, store in self.stores.items():
            assert store.view(0, lines_of) == lines, name
        assert len({store.digest(0) for store in self.stores.values()}) == 1
        assert len({store.content_digest(0) for store in self.stores.values()}) == 1
        assert max(Counter(lines).values(), default=1) == 1, "a command was applied twice"
        for name, place in self.acked.items():
            assert lines[place - 1] == name, "what was acknowledged is where it was said"
        assert not self.refused & set(lines), "what was refused for certain was applied"
        for epoch, names in wrote.items():
            assert names == {owners[epoch]}, "somebody else's command counts in an epoch"
        for epoch, hosts in self.served.items():
            assert len(hosts) == 1 or epoch == 0, "two nodes served in one epoch"
        return lines
