"""A town of real processes: the scenarios of the simulation, in the world.

The people, their habits, the client library, the chronicle and the promises are those of the
simulated towns. Instead of simulated hosts there are `palaver serve` as child processes with data
folders, real sockets with a fault proxy between each device and its node, and the devices' state
in real files. Time is real, but people and the client library live `SPEED` times as fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fault_proxy import FaultProxy
from real_faults import AT_NODES, KINDS, RealNemesis, stand_still

from palaver.actors.simulation.world.tape import Tape
from palaver.supervisors.cli.node_process import NodeProcess
from palaver.supervisors.simulations.chronicle import Broken, Chronicle
from palaver.supervisors.simulations.habits import Mixed
from palaver.supervisors.simulations.machines import Machine
from palaver.supervisors.simulations.people import Day, Device, Person
from palaver.supervisors.simulations.promises import missing, verify
from palaver.supervisors.simulations.town import Plan
from palaver.supervisors.trees.offline import check
from palaver.transport.client import Backoff, FileState, Timeouts

SPEED: Final = 4.0
PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.02
_TIMEOUTS: Final = Timeouts(handshake_s=4.0, request_s=4.0, answer_s=8.0, ping_s=1.0, close_s=0.5)
_BACKOFF: Final = Backoff(base_s=0.25, cap_s=2.0)
#: A state that is in use is locked here: nobody can copy it, to set the device back to it later.
_SIMULATED: Final = frozenset({"backup"})
_SETTINGS: Final = {
    "codes_per_hour": 100_000,
    "codes_per_hour_per_address": 100_000,
    "ping_s": 1.0,
    "pong_timeout_s": 2.0,
    "auth_timeout_s": 4.0,
    "half_message_timeout_s": 2.0,
    "write_timeout_s": 2.0,
    "drain_s": 2.0,
    "reconnect_spread_s": 0.2,
}


class FastClock:
    """Real time, `SPEED` times as fast: what people and the client library take for a second."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def monotonic(self) -> float:
        return self._loop.time() * SPEED

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_s / SPEED, fn)


class CodeFile:
    """The file that nodes write sign-up codes to, as the people's phones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._codes: dict[str, list[str]] = {}

    async def next_code(self, phone: str) -> str:
        """The newest code for a phone that nobody has read; waits until there is one."""
        while not self._codes.get(phone):
            self._read_codes()
            if not self._codes.get(phone):
                await asyncio.sleep(_POLL_S)
        return self._codes.pop(phone)[-1]

    def _read_codes(self) -> None:
        # A node that is killed while it writes may leave half a line behind.
        with contextlib.suppress(FileNotFoundError):
            lines = self._path.read_text("utf-8").split("\n")[:-1]
            for line in lines[self._read :]:
                with contextlib.suppress(json.JSONDecodeError, KeyError):
                    code = json.loads(line)
                    self._codes.setdefault(code["phone"], []).append(code["code"])
            self._read = len(lines)


class RealNode:
    """A `palaver serve` that is killed and started again, and the proxies before it."""

    crash_kind = "kill"

    def __init__(self, folder: Path, name: str, plan: Plan) -> None:
        self.name = name
        self.proxies: list[FaultProxy] = []
        settings = {"gateways": plan.gateways, **_SETTINGS}
        options = [f"--set={key}={value}" for key, value in settings.items()]
        self.process = NodeProcess(
            folder / name, [f"--partitions={plan.partitions}", "--log-level=warning", *options]
        )
        self.process.folder.mkdir()
        self.codes = CodeFile(self.process.codes)
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        async with self._changing:
            await self.process.start()

    async def crash(self, seconds: float) -> None:
        """kill -9, and up again after a while."""
        async with self._changing:
            await self.process.kill()
            await asyncio.sleep(seconds)
            await self.process.start()

    async def pause(self, seconds: float) -> None:
        async with self._changing:
            await stand_still(lambda: self.process.pid, seconds)

    @property
    def is_changing(self) -> bool:
        return self._changing.locked()

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.process.ws_url.split("/")[2].partition(":")
        return host, int(port)

    async def stop(self) -> int:
        async with self._changing:
            return await self.process.stop()

    async def end(self) -> None:
        """Be gone, whatever the state."""
        await self.process.kill()

    def crashes(self) -> Iterator[str]:
        """What its log says of processes that ended by a fault of their own."""
        with contextlib.suppress(FileNotFoundError):
            for line in self.process.log.read_text("utf-8", "replace").splitlines():
                if '"level": "error"' in line or '"level": "critical"' in line:
                    yield line


class RealResident:
    """A device: its state in a file, its program a task, its network a proxy."""

    crash_kind = "crash"

    def __init__(self, town: RealTown, person: Person, number: int, node: RealNode) -> None:
        self.town = town
        self.person = person
        self.number = number
        self.name = f"{person.account[-6:]}-{number}"
        self.device: Device | None = None
        self.proxy = FaultProxy(
            lambda: node.address, chance=town.tape.random(f"jitter/{self.name}")
        )
        self.proxies = [self.proxy]
        node.proxies.append(self.proxy)
        self.disk: dict[str, Any] = {}
        self.random = town.tape.random(f"device/{self.name}")
        self._node = node
        self._file = town.folder / f"{self.name}.state"
        self._task: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    def start(self) -> None:
        self.proxy.accept()
        self._boot()

    def _boot(self) -> None:
        if self.disk.pop("set back", None) == "forget" and self._file.exists():
            for file in self._file.parent.glob(f"{self._file.name}*"):
                file.unlink()
            chronicle = self.town.chronicle
            chronicle.lost_state(chronicle.devices[self.person.account, self.disk["device"]])
        town = self.town
        self.device = Device(
            self._machine(), town.chronicle, self.person, town.habits, town.day, self.name
        )
        self._task = asyncio.create_task(self.device.live())

    def _machine(self) -> Machine:
        tape, name = self.town.tape, self.name
        return Machine(
            name=name,
            url=f"ws://127.0.0.1:{self.proxy.port}/ws",
            clock=FastClock(),
            random=self.random,
            disk=self.disk,
            state=self._state,
            choose=lambda what, options: tape.choose(
                f"work/{what}/{name}", options, rate=0.8 if what == "act" else 0.1
            ),
            codes=self._node.codes,
            vanish=lambda seconds: self.town.nemesis.do("vanish", self.crash(seconds / SPEED)),
            happened=self.town.happened,
            timeouts=_TIMEOUTS,
            backoff=_BACKOFF,
        )

    def _state(self) -> FileState:
        state = FileState(self._file)
        # The chronicle is of one thread; a commit that waits for the disk holds up all devices.
        state.blocking = False
        return state

    async def crash(self, seconds: float) -> None:
        """Lose the network, then the program; both are there again after a while."""
        async with self._changing:
            self.proxy.refuse()
            self.proxy.reset()
            await self._end_program()
            await self.town.by_evening(seconds)
            self.proxy.accept()
            self._boot()

    async def pause(self, seconds: float) -> None:
        """A device stands still: to the world, nothing passes."""
        await self.town.nemesis.blocked(self.proxy, ("up", "down"), seconds)

    async def _end_program(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            self.failed(task)
            task.cancel()
            await asyncio.wait([task])

    def failed(self, task: asyncio.Task[None] | None = None) -> None:
        """Raise what the program failed with."""
        task = task or self._task
        if task is not None and task.done() and not task.cancelled():
            task.result()

    async def end(self) -> None:
        async with self._changing:
            await self._end_program()
        await self.proxy.close()

    @property
    def is_changing(self) -> bool:
        return self._changing.locked()

    @property
    def is_settled(self) -> bool:
        device = self.device
        if device is None or not device.is_registered:
            return False
        if device.ended:
            return True
        client = device.client
        return client is not None and client.online and not client.outbox

    def __str__(self) -> str:
        client = None if self.device is None else self.device.client
        return (
            f"{self.name} online={client is not None and client.online} "
            f"outbox={[] if client is None else [o.cid for o in client.outbox][:5]} "
            f"{len(self.proxy.passages)} connections, accepting={self.proxy.accepting}"
        )


class RealTown:
    """Nodes and people of a plan, for one day."""

    def __init__(self, folder: Path, tape: Tape) -> None:
        self.folder = folder
        self.tape = tape
        self.day = Day()
        self.nemesis = RealNemesis(tape, SPEED)
        self.happened = self._happened
        self.chronicle = Chronicle(lambda: time.time_ns() // 1_000_000 + 1)
        self.nodes: list[RealNode] = []
        self.residents: list[RealResident] = []
        self._is_evening = asyncio.Event()
        self.plan: Plan
        self.habits: Mixed

    def _happened(self, what: str) -> None:
        self.nemesis.counts[what] += 1

    def settle(self, plan: Plan) -> None:
        """Build the houses."""
        self.plan = plan
        habits = {name: n for name, n in plan.habits.items() if name not in _SIMULATED}
        self.habits = Mixed(habits, pace_s=plan.pace_s, away_s=plan.away_s)
        for n in range(plan.nodes):
            node = RealNode(self.folder, chr(ord("a") + n), plan)
            self.nodes.append(node)
            accounts = [f"+4915112{n:02d}{i:04d}" for i in range(plan.people)]
            for account in accounts:
                others = [other for other in accounts if other != account]
                person = Person(account, others, wishes=plan.wishes)
                for number in range(1, plan.devices + 1):
                    self.residents.append(RealResident(self, person, number, node))

    async def live(self) -> None:
        """A whole day; then all must be well, on the people's side and in the folders."""
        try:
            await self._morning()
            await self._by_day()
            await self._evening()
            await self._night()
        except BaseException:
            self._tell()
            raise
        finally:
            await asyncio.gather(*(one.end() for one in self.residents))
            await asyncio.gather(*(node.end() for node in self.nodes))
        for node in self.nodes:
            assert list(check(node.process.data)) == []
            assert list(node.crashes()) == []

    async def _morning(self) -> None:
        await asyncio.gather(*(node.start() for node in self.nodes))
        # One device of each person at a time: a second code makes the first one worthless.
        for number in range(1, self.plan.devices + 1):
            for one in self.residents:
                if one.number == number:
                    one.start()
            await self._eventually(self._all_registered, "all are registered")
        for node in self.nodes:
            self.nemesis.begin(self.plan.node_faults, node)
        for one in self.residents:
            self.nemesis.begin(self.plan.device_faults, one)

    def _all_registered(self) -> bool:
        devices = [one.device for one in self.residents]
        return all(device is None or device.is_registered for device in devices)

    async def _by_day(self) -> None:
        """Let the day pass; what has not happened in its part of the day is made to happen."""
        for kind in (*KINDS, None):
            await asyncio.sleep(self.plan.seconds / SPEED / (len(KINDS) + 1))
            self._look()
            if kind in AT_NODES:
                node = self.nodes[self.tape.choose("hour/node", len(self.nodes), rate=0.5)]
                await self._eventually(lambda node=node: not node.is_changing, "a node is up")
                self.nemesis.at_least_once(kind, node)
            elif kind is not None:
                await self._eventually(self._connected, "somebody is connected")
                connected = self._connected()
                which = self.tape.choose("hour/device", len(connected), rate=0.9)
                self.nemesis.at_least_once(kind, connected[which])

    def _connected(self) -> list[RealResident]:
        return [one for one in self.residents if one.proxy.passages and not one.is_changing]

    async def by_evening(self, seconds: float) -> None:
        """Wait for so many seconds, at most until it is evening."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_evening.wait()

    async def _evening(self) -> None:
        self.day.evening = True
        self._is_evening.set()
        await self.nemesis.calm()
        for one in self.residents:
            one.proxy.calm()
        await self._eventually(lambda: all(one.is_settled for one in self.residents), "all is sent")
        await self._eventually(lambda: next(missing(self.chronicle), None) is None, "all arrives")
        verify(self.chronicle)
        await self._eventually(lambda: not any(self._undelivered()), "all is acknowledged")

    async def _night(self) -> None:
        self.day.night = True
        await asyncio.gather(*(one.end() for one in self.residents))
        for node in self.nodes:
            assert await node.stop() == 0, node.process.tail()

    def _undelivered(self) -> Iterator[str]:
        for log in self.chronicle.devices.values():
            if (
                log.revoked is None
                and log.lost is None
                and log.durable < max(log.events, default=0)
            ):
                yield str(log)

    def _look(self) -> None:
        if self.chronicle.broken is not None:
            raise self.chronicle.broken
        for one in self.residents:
            one.failed()

    async def _eventually(self, condition: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self._look()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Broken(f"waited in vain: {what}") from None

    def _tell(self) -> None:
        print(self.plan)
        print(dict(self.nemesis.counts))
        print(*self.residents, sep="\n")
        print(*list(missing(self.chronicle))[:8], sep="\n")
        for node in self.nodes:
            print(node.name, node.process.tail())


def day(scenario: Any, folder: Path, tape: Tape, *, at_most_s: float | None = None) -> RealTown:
    """Live through a day of a simulation's scenario in the world; returns the town that was."""

    async def live() -> RealTown:
        town = RealTown(folder, tape)
        plan = scenario.story.plan(town)
        town.settle(replace(plan, seconds=min(plan.seconds, at_most_s or plan.seconds)))
        await town.live()
        return town

    return asyncio.run(live())
