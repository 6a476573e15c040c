"""The simulated registers: values with compare-and-set at the engine, and how a node sees them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from palaver.storage.replicated.ports import Register, RegisterChanged, RegistersUnavailable

from .connection import Connection, Errand, Group, Quorums, Standing

__all__ = ["RegisterTable", "SimulatedRegisters", "SimulatedWatch"]

T = TypeVar("T")

MAX_VALUE_BYTES: Final = 64 << 10
_KEY: Final = re.compile(r"[A-Za-z0-9_=/.-]{1,128}")
_PAST: Final = 8
_LAGS: Final = 12
_WATCHING: Final = 2
"""Ways of news: what is new; the watch began anew, and tells everything again."""


class RegisterTable:
    """All registers, as the quorum has them.

    Attributes:
        group: who keeps them.
        watches: who is told of changes.
        witnesses: called with the key of what has changed, for those who judge a run.
    """

    def __init__(self, engine: Quorums, group: Group) -> None:
        self.engine = engine
        self.group = group
        self.watches: dict[SimulatedWatch, None] = {}
        self.witnesses: list[Callable[[str], None]] = []
        self._revision = 0
        self._past: deque[dict[str, Register]] = deque([{}], maxlen=_PAST)

    @property
    def now(self) -> Mapping[str, Register]:
        """What they hold."""
        return self._past[-1]

    def seen_by(self, node: str) -> Mapping[str, Register]:
        """What they hold, or held a few changes ago: a choice."""
        engine, past = self.engine, self._past
        back = engine.choose(f"stale/registers/{node}", _PAST, engine.habits.stale)
        return past[max(0, len(past) - 1 - back)]

    def change(self, key: str, value: bytes | None, expected: int | None) -> int:
        """Write or remove a register if its revision is as expected; return the new revision."""
        found = self.now.get(key)
        if (None if found is None else found.revision) != expected:
            raise RegisterChanged(f"{key} is not of revision {expected}")
        self._revision += 1
        rows = dict(self.now)
        rows.pop(key, None)
        if value is not None:
            rows[key] = Register(value, self._revision)
        self._past.append(rows)
        for witness in self.witnesses:
            witness(key)
        for watch in self.watches:
            watch.wake(key)
        return self._revision


class SimulatedRegisters:
    """A node's way to the registers; keeps the contract of `Registers`."""

    def __init__(self, connection: Connection, table: RegisterTable) -> None:
        self._connection = connection
        self._table = table

    async def read(self, key: str) -> Register | None:
        """Return what a register holds, perhaps not the latest; see `Registers.read`."""
        _check(key)
        table, node = self._table, self._connection.node
        return await self._ask("read", lambda: table.seen_by(node).get(key))

    async def write(self, key: str, value: bytes, expected: int | None) -> int:
        """Write a register if it is as expected; see `Registers.write`."""
        _check(key)
        if len(value) > MAX_VALUE_BYTES:
            raise ValueError(f"a register holds at most {MAX_VALUE_BYTES} bytes, not {len(value)}")
        return await self._ask("write", partial(self._table.change, key, value, expected))

    async def delete(self, key: str, expected: int) -> None:
        """Remove a register if it is as expected; see `Registers.delete`."""
        _check(key)
        await self._ask("write", partial(self._table.change, key, None, expected))

    async def items(self, prefix: str) -> Mapping[str, Register]:
        """Return the registers with a prefix, perhaps not the latest; see `Registers.items`."""
        table, node = self._table, self._connection.node

        def perform() -> dict[str, Register]:
            seen = table.seen_by(node)
            return {key: seen[key] for key in sorted(seen) if key.startswith(prefix)}

        return await self._ask("read", perform)

    def watch(self, prefix: str, changed: Callable[[str, Register | None], None]) -> SimulatedWatch:
        """Tell of registers with a prefix, and of their changes; see `Registers.watch`."""
        return SimulatedWatch(self._connection, self._table, prefix, changed)

    async def _ask(self, kind: str, perform: Callable[[], T]) -> T:
        errand = Errand(self._connection, self._table.group, kind, perform, RegistersUnavailable)
        return await self._connection.answer(errand)


class SimulatedWatch(Standing):
    """News of registers for a node; keeps the contract of `Follow`."""

    __slots__ = ("_changed", "_news", "_prefix", "_table", "_told")

    def __init__(
        self,
        connection: Connection,
        table: RegisterTable,
        prefix: str,
        changed: Callable[[str, Register | None], None],
    ) -> None:
        super().__init__(connection, table.group)
        self._table = table
        self._prefix = prefix
        self._changed = changed
        self._told: dict[str, None] = {}
        self._news: dict[str, None] = {}
        table.watches[self] = None
        self._again()

    def wake(self, key: str) -> None:
        """Hear that a register has changed."""
        if key.startswith(self._prefix):
            self._news[key] = None
            self._later(self._lag_s())

    def _lag_s(self) -> float:
        engine = self._connection.engine
        lag = engine.choose(f"lag/{self._connection.node}", _LAGS, engine.habits.lag)
        return engine.habits.latency_s * (1 << lag)

    def _again(self) -> None:
        """Tell everything, again."""
        now = self._table.now
        for key in (*self._told, *sorted(now)):
            if key.startswith(self._prefix):
                self._news[key] = None
        self._later(self._lag_s())

    def _push(self) -> None:
        engine = self._connection.engine
        news, self._news = self._news, {}
        for key in news:
            found = self._table.now.get(key)
            if found is None:
                self._told.pop(key, None)
            else:
                self._told[key] = None
            self._connection.deliver(partial(self._tell, key, found))
        if news and engine.choose(
            f"watch/{self._connection.node}", _WATCHING, engine.habits.follow
        ):
            self._again()

    def _tell(self, key: str, found: Register | None) -> None:
        if not self.over:
            self._changed(key, found)

    def _ended(self) -> None:
        self._table.watches.pop(self, None)

    def _silent(self) -> None:
        """Its connection is gone; it finds another one by itself."""

    def _heard(self, back: bool) -> None:
        if back:
            self._again()
        elif self._news:
            self._later(0.0)


def _check(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"no key of a register: {key!r}")
