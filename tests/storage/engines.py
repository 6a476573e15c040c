"""The engines that keep the contract of the log, under one handle for tests."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import cbor2
from storage_kit import talk

from palaver.storage import Store
from palaver.storage.replicated import JournalMachine, Limits, ReplicatedStore
from palaver.storage.simulated import (
    Calm,
    CalmEngine,
    DiskHabits,
    EngineHabits,
    SimulatedDisk,
    SimulatedEngine,
    SimulatedStore,
)

PROMPT = DiskHabits(commit_s=0.0, read_s=0.0)


class Engine(Protocol):
    """Opens stores that outlive their being closed."""

    def open(self, machine: Callable[[int], Any] = talk, name: str = "store", **more: Any) -> Store:
        """Open a store under the running loop; `limit_bytes` bounds a partition."""

    async def log(
        self, machine: Callable[[int], Any] = talk, name: str = "store", **more: Any
    ) -> Any:
        """Open the same as a log, when it takes appends."""

    def file(self, name: str) -> Any:
        """Return where a snapshot of that name goes."""

    def spoil(self, name: str) -> None:
        """Change one byte in a snapshot."""


class Lmdb:
    """The engine `local`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(
        self,
        machine: Callable[[int], Any] = talk,
        name: str = "store",
        limit_bytes: int | None = None,
        **more: Any,
    ) -> Store:
        loop = asyncio.get_running_loop()
        if limit_bytes is not None:
            more |= {"map_size_bytes": limit_bytes, "max_map_bytes": limit_bytes}
        return Store.open(
            self.root / name,
            machine,
            post=loop.call_soon_threadsafe,
            defer=loop.call_soon,
            max_snapshot_s=0.05,
            **more,
        )

    async def log(
        self, machine: Callable[[int], Any] = talk, name: str = "store", **more: Any
    ) -> Store:
        return self.open(machine, name, **more)

    def file(self, name: str) -> Path:
        return self.root / name

    def spoil(self, name: str) -> None:
        path = self.file(name)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


class Simulated:
    """The engine `simulated`, on a disk that nothing is wrong with."""

    def __init__(self) -> None:
        self.disk: SimulatedDisk | None = None

    def open(
        self,
        machine: Callable[[int], Any] = talk,
        name: str = "store",
        limit_bytes: int | None = None,
        **more: Any,
    ) -> Store:
        loop = asyncio.get_running_loop()
        if self.disk is None:
            self.disk = SimulatedDisk(Calm(loop.call_later, loop.time), habits=PROMPT)
        if limit_bytes is not None:
            more["max_bytes"] = limit_bytes
        return SimulatedStore.open(
            self.disk, machine, folder=name, call_later=loop.call_later, **more
        )

    async def log(
        self, machine: Callable[[int], Any] = talk, name: str = "store", **more: Any
    ) -> Any:
        return self.open(machine, name, **more)

    def file(self, name: str) -> str:
        return name

    def spoil(self, name: str) -> None:
        assert self.disk is not None
        content = bytearray(self.disk.files[name])
        content[len(content) // 2] ^= 1
        self.disk.files[name] = bytes(content)


class PlainCodec:
    """Commands of tests as CBOR."""

    def encode(self, commands: Sequence[Any]) -> bytes:
        return cbor2.dumps([list(command) for command in commands])

    def decode(self, encoded: bytes) -> list[Any]:
        return [tuple(command) for command in cbor2.loads(encoded)]


class Replicated(Simulated):
    """The engine `replicated` with one replica, over a simulated engine that nothing is wrong with.

    A store of it outlives its being closed as a node does: the journal is there, an owner is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.engines: dict[str, SimulatedEngine] = {}
        self.epochs = count(1)

    async def log(
        self,
        machine: Callable[[int], Any] = talk,
        name: str = "store",
        max_backlog: int = 20_000,
        **more: Any,
    ) -> Any:
        loop = asyncio.get_running_loop()
        engine = self.engines.get(name)
        if engine is None:
            calm = CalmEngine(loop.call_later, loop.time)
            engine = self.engines[name] = SimulatedEngine(calm, EngineHabits(latency_s=0.0))
        store = ReplicatedStore(
            self.open(lambda n: JournalMachine(machine(n)), name, **more),
            engine.connect("node", loop.call_later).journal,
            PlainCodec(),
            node_name="node",
            limits=Limits(max_backlog=max_backlog),
        )
        for partition in range(store.partitions):
            store.follow(partition)
            await store.lead(partition, next(self.epochs))
        return store


class Clockwork:
    """Time that passes when it is told to, and a disk's way to whoever decides.

    Args:
        decide: (name, options, rate) -> the choice.
    """

    def __init__(self, decide: Callable[[str, int, float], int] | None = None) -> None:
        self.now = 0.0
        self.decide = decide
        self.chosen: dict[str, int] = {}
        self._numbers = count()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []

    def choose(self, name: str, options: int, rate: float) -> int:
        choice = 0 if self.decide is None else self.decide(name, options, rate)
        if choice:
            kind = name.split("/")[0]
            self.chosen[kind] = self.chosen.get(kind, 0) + 1
        return choice

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> object:
        heapq.heappush(self._calls, (self.now + delay_s, next(self._numbers), fn))
        return None

    def now_s(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due in it happen."""
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            at, _, fn = heapq.heappop(self._calls)
            self.now = max(self.now, at)
            fn()
        self.now = until

    def run_out(self) -> None:
        """Let everything happen that is due."""
        while self._calls:
            self.advance(self._calls[0][0] - self.now)

    def forget(self) -> None:
        """Drop what was to be called: its process is gone."""
        self._calls.clear()
