"""A cluster of real nodes, and people who use it: the promises of the simulation hold there too.

The nodes are `palaver serve` as child processes, each with its supervised nats-server. The people,
their habits, the client library, the chronicle and the promises are those of the simulated towns;
each client knows the addresses of all nodes. What happens meanwhile is in `cluster_faults`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, Self

from cluster_grounds import Ground
from real_town import CodeFile

from palaver.actors.simulation.world.sources import Seeded
from palaver.actors.simulation.world.tape import Tape
from palaver.supervisors.cli.cluster.processes import ClusterProcesses
from palaver.supervisors.simulations.chronicle import Broken, Chronicle
from palaver.supervisors.simulations.habits import Mixed
from palaver.supervisors.simulations.machines import Machine
from palaver.supervisors.simulations.people import Day, Device, Person
from palaver.supervisors.simulations.promises import missing, verify
from palaver.transport.client import Backoff, ClientClosed, FileState, Timeouts
from palaver.transport.client.ports import SystemClock

PATIENCE_S: Final = 60.0
PEOPLE: Final = 9
LONG_S: Final = 5.0
"""Waits longer than that are told of."""
_POLL_S: Final = 0.05
_MANY: Final = 1_000_000
_LOAD: Final = 20
"""So many messages are answered before a fault, and again behind it."""
_TIMEOUTS: Final = Timeouts(
    handshake_s=3.0, request_s=3.0, answer_s=5.0, ping_s=1.0, close_s=0.5, next_server_s=1.0,
    unavailable_s=3.0,
)  # fmt: skip
_BACKOFF: Final = Backoff(base_s=0.1, cap_s=1.0)
#: Who has put the device away comes back at any of the nodes, also at one that was lost meanwhile.
_HABITS: Final = {
    "say": 8, "everyone": 1, "burst": 1, "read": 4, "group": 1, "members": 1, "leave": 1,
}  # fmt: skip
_SETTINGS: Final = {
    "cluster_journal_bytes": 64 << 20,
    "codes_per_hour": 100_000,
    "codes_per_hour_per_address": 100_000,
    "ping_s": 1.0,
    "pong_timeout_s": 3.0,
    "reconnect_spread_s": 0.2,
    "drain_s": 2.0,
}


class Member:
    """A device of the town: its program is a task, its state a file."""

    def __init__(self, town: ClusterTown, person: Person) -> None:
        self.name = person.account[-4:]
        self.disk: dict[str, Any] = {}
        self.device = Device(
            self._machine(town), town.chronicle, person, town.habits, town.day, self.name
        )
        self._task = asyncio.create_task(self.device.live())

    def _machine(self, town: ClusterTown) -> Machine:
        name, tape, file = self.name, town.tape, town.folder / f"{self.name}.state"

        def state() -> FileState:
            opened = FileState(file)
            # The chronicle is of one thread; and what is tested here are the nodes' disks.
            opened.blocking = False
            return opened

        return Machine(
            name=name,
            url=tuple(town.cluster.urls),
            clock=SystemClock(),
            random=tape.random(f"device/{name}"),
            disk=self.disk,
            state=state,
            choose=lambda what, options: tape.choose(
                f"work/{what}/{name}", options, rate=0.9 if what == "act" else 0.1
            ),
            codes=town.codes,
            vanish=lambda _: None,
            happened=town.happened,
            timeouts=_TIMEOUTS,
            backoff=_BACKOFF,
        )

    @property
    def server(self) -> str:
        """The URL of the node that it is connected to, or tries; empty while it does neither."""
        client = self.device.client
        try:
            return "" if client is None else client.server
        except ClientClosed:  # it is put away
            return ""

    @property
    def is_settled(self) -> bool:
        client = self.device.client
        return client is not None and client.online and not client.outbox

    def failed(self) -> None:
        """Raise what its program failed with."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def __str__(self) -> str:
        client = self.device.client
        try:
            waiting = [] if client is None else [one.cid for one in client.outbox][:5]
        except ClientClosed:
            return f"{self.name} is put away"
        online = client is not None and client.online
        return f"{self.name} at {self.server} online={online} outbox={waiting}"


class ClusterTown:
    """Three nodes and their people; `async with` starts them and ends whatever is left.

    Args:
        folder: of all files; made by the caller.
        ground: what the nodes stand on: their addresses and disks.
        seed: of the people.
    """

    def __init__(self, folder: Path, ground: Ground, seed: int) -> None:
        self.folder = folder
        self.ground = ground
        self.tape = Tape(Seeded(seed, swarm=False))
        self.counts: Counter[str] = Counter()
        self.happened = self._happened
        self.day = Day(evening=True)
        self.habits = Mixed(_HABITS, pace_s=0.6, away_s=1.0)
        self.chronicle = Chronicle(lambda: time.time_ns() // 1_000_000 + 1)
        self.chronicle.clocks_apart_ms = 0  # several servers, each with stamps of its own
        options = [f"--set={key}={value}" for key, value in _SETTINGS.items()]
        self.cluster = ClusterProcesses(
            folder, options=options, host_of=ground.host, before_of=ground.before
        )
        self.codes = CodeFile(self.cluster.codes)
        self.members: list[Member] = []

    def _happened(self, what: str) -> None:
        self.counts[what] += 1

    async def __aenter__(self) -> Self:
        try:
            for node in self.cluster.nodes.values():
                self.ground.furnish(node)
            await self.cluster.start()
            accounts = [f"+49151130{n:04d}" for n in range(PEOPLE)]
            for account in accounts:
                others = [other for other in accounts if other != account]
                self.members.append(Member(self, Person(account, others, wishes=_MANY)))
            await self.eventually(
                lambda: all(one.device.is_registered for one in self.members), "all are registered"
            )
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.gather(*(one.end() for one in self.members))
        finally:
            await self.cluster.close()

    # -- a day ---------------------------------------------------------------------------------

    async def through(self, fault: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let something happen while everybody writes, and see messages go on behind it.

        Raises:
            Broken: a promise was not kept, or something did not come in time.
        """
        began_s, said = time.monotonic(), self.said
        try:
            self.day.evening = False
            await self.goes_on()
            await fault()
            await self.goes_on()
        except BaseException:
            self.tell()
            raise
        print(f"{self.said - said} messages in {time.monotonic() - began_s:.1f} s")

    async def check(self) -> None:
        """Let nobody write any more; then all must be well.

        Raises:
            Broken: as above.
            CommandError: the copies are not equal.
        """
        began_s = time.monotonic()
        try:
            await self._quiet()
        except BaseException:
            self.tell()
            raise
        print(f"all {self.said} messages are everywhere after {time.monotonic() - began_s:.1f} s")

    async def goes_on(self) -> None:
        """Wait until messages that are written from now on are answered."""
        now, before = self.chronicle.moment, self._answered(self.chronicle.moment)
        await self.eventually(
            lambda: self._answered(now) >= before + _LOAD, "messages are answered"
        )

    def _answered(self, since: int) -> int:
        return sum(
            written.moment > since and written.answer is not None
            for log in self.chronicle.devices.values()
            for written in log.composed.values()
        )

    async def _quiet(self) -> None:
        self.day.evening = True
        await self.eventually(lambda: all(one.is_settled for one in self.members), "all is sent")
        await self.eventually(lambda: next(missing(self.chronicle), None) is None, "all arrives")
        verify(self.chronicle)
        await self.eventually(lambda: not any(self._undelivered()), "all is acknowledged")
        await self.cluster.equal_digests()
        assert list(self._crashes()) == []

    def _crashes(self) -> Iterator[str]:
        """What the nodes' logs say of processes that ended by a mistake of their own."""
        for node in self.cluster.nodes.values():
            for line in node.log.read_text("utf-8", "replace").splitlines():
                if '"process crashed"' in line and '"reason": "crash: ' in line:
                    yield line

    def _undelivered(self) -> Iterator[str]:
        for log in self.chronicle.devices.values():
            if log.durable < max(log.events, default=0):
                yield str(log)

    async def eventually(
        self, condition: Callable[[], object], what: str, wait_s: float = PATIENCE_S
    ) -> None:
        """Wait until something holds, and raise at once what is broken meanwhile."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(wait_s):
                while not condition():
                    if self.chronicle.broken is not None:
                        raise self.chronicle.broken
                    for one in self.members:
                        one.failed()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Broken(f"waited in vain: {what}") from None
        took_s = time.monotonic() - began_s
        if took_s > LONG_S:
            print(f"waited {took_s:.1f} s: {what}")

    @property
    def said(self) -> int:
        """So many messages have a place."""
        return sum(map(len, self.chronicle.said.values()))

    def tell(self) -> None:
        """What there is to see, for whoever reads of a failed test."""
        print(dict(self.counts), self.said, "messages")
        print(*self.members, sep="\n")
        print(*list(missing(self.chronicle))[:8], sep="\n")
        for name, node in self.cluster.nodes.items():
            print(name, node.log.read_text("utf-8", "replace")[-20_000:])
