"""A town: chat nodes, and people with their devices, in a simulated world."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from palaver.actors.simulation import Fault, Faults, Host, World
from palaver.storage.simulated import DiskHabits
from palaver.supervisors.simulations.chronicle import Chronicle
from palaver.supervisors.simulations.habits import Mixed
from palaver.supervisors.simulations.machines import Machine
from palaver.supervisors.simulations.nodes import ChatNode
from palaver.supervisors.simulations.people import Day, Device, Person
from palaver.supervisors.simulations.promises import marks, missing, unheard, verify
from palaver.supervisors.simulations.states import SimulatedState, state_of
from palaver.supervisors.trees.settings import Settings
from palaver.transport.client import Backoff, Client, ClientError, Snapshot, Timeouts

__all__ = ["Plan", "Town"]

#: The clients and servers of a simulation notice a silent peer in seconds, not minutes.
_TIMEOUTS = Timeouts(handshake_s=5.0, request_s=5.0, answer_s=8.0, ping_s=4.0, close_s=1.0)
_BACKOFF = Backoff(base_s=0.25, cap_s=4.0)
_PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a town is like.

    Attributes:
        nodes: chat nodes, each with its own people.
        people: at each node.
        devices: of each person.
        partitions, gateways: of each node.
        seconds: how long the day is.
        wishes: how many steps each person takes at most.
        habits: by weight; see `Mixed`.
        pace_s, away_s: see `Mixed`.
        node_faults, device_faults: what happens to nodes and devices by day.
        disk: of the nodes.
        state_failures: how often a device's disk fails to keep a step.
        lost_codes: how often a one-time code does not arrive.
        drains: how often, at a pulse, an operator has a node drained and started again.
        hints_arrive: whether receipts must arrive, as they must where nothing fails.
    """

    nodes: int = 1
    people: int = 2
    devices: int = 1
    partitions: int = 1
    gateways: int = 1
    seconds: float = 20.0
    wishes: int = 20
    habits: Mapping[str, int] = field(default_factory=lambda: {"say": 1})
    pace_s: float = 0.5
    away_s: float = 8.0
    node_faults: Faults = field(default_factory=Faults)
    device_faults: Faults = field(default_factory=Faults)
    disk: DiskHabits = field(default_factory=DiskHabits)
    state_failures: float = 0.0
    lost_codes: float = 0.0
    drains: float = 0.0
    hints_arrive: bool = False


class Post:
    """The way of one-time codes to phones: what the nodes send by, and the people read from."""

    def __init__(self, world: World, lost: float) -> None:
        self._world = world
        self._lost = lost
        self._codes: dict[str, list[str]] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def send(self, phone: str, code: str) -> None:
        """Bring a code to a phone; it may get lost."""
        if self._world.tape.choose(f"post/{phone}", 2, rate=self._lost):
            return
        self._codes.setdefault(phone, []).append(code)
        for waiting in self._waiting.pop(phone, ()):
            if not waiting.done():
                waiting.set_result(None)

    async def next_code(self, phone: str) -> str:
        """The newest code that nobody has read; waits until there is one."""
        while not self._codes.get(phone):
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(phone, []).append(waiting)
            await waiting
        code = self._codes[phone].pop()
        self._codes[phone].clear()
        return code


class Resident:
    """A device's machine in the world."""

    def __init__(self, town: Town, person: Person, number: int, node: ChatNode) -> None:
        self.town = town
        self.person = person
        self.number = number
        self.node = node
        self.name = f"{person.account[-6:]}-{number}"
        self.host = town.world.host(self.name, self._boot)
        self.device: Device | None = None
        self.day = town.day
        self._blocking = bool(town.world.tape.choose(f"work/slow disk/{self.name}", 2, rate=0.5))

    async def _boot(self, host: Host) -> None:
        host.spawn(self._live(host))

    async def _live(self, host: Host) -> None:
        town = self.town
        self._set_back(host)
        self.device = Device(
            self._machine(host), town.chronicle, self.person, town.habits, self.day, self.name
        )
        await self.device.live()

    def _set_back(self, host: Host) -> None:
        """Lose the device's state, or take it from a backup, if its person has had such luck."""
        town, disk = self.town, host.disk
        how = disk.pop("set back", None)
        if how is None or "state" not in disk or "device" not in disk:
            return
        backup: Snapshot | None = disk.get("backup") if how == "restore" else None
        if backup is None:
            del disk["state"]
            town.world.reach("a device lost its state")
        else:
            # As the protocol wants it: ids far above every one that may have been used.
            backup = replace(backup, next_cid=host.clock.time_ms() << 10)
            disk["state"] = state_of(self.person.account, disk["device"], backup)
            town.world.reach("a device came back with old state")
        log = town.chronicle.devices[self.person.account, disk["device"]]
        town.chronicle.lost_state(log, 0 if backup is None else backup.position)

    def _machine(self, host: Host) -> Machine:
        world, name = self.town.world, self.name
        failures = self.town.plan.state_failures
        return Machine(
            name=name,
            url=self.node.url,
            clock=host.clock,
            random=host.random,
            disk=host.disk,
            state=lambda: SimulatedState(
                host.disk,
                blocking=self._blocking,
                fails=lambda: bool(
                    failures
                    and not self.town.day.evening
                    and world.tape.choose(f"disk-state/{name}", 2, rate=failures)
                ),
            ),
            choose=lambda what, options: world.tape.choose(
                f"work/{what}/{name}", options, rate=0.8 if what == "act" else 0.1
            ),
            codes=self.town.post,
            vanish=self._vanish,
            happened=world.reach,
            timeouts=_TIMEOUTS,
            backoff=_BACKOFF,
        )

    def _vanish(self, seconds: float) -> None:
        network = self.town.world.network
        network.later(0.0, self.host.power_off)
        network.later(seconds, self.host.boot)

    @property
    def is_settled(self) -> bool:
        """Whether it has come to the end of its program, or has nothing left to send."""
        device = self.device
        if device is None or not device.is_registered or not self.host.alive:
            return False
        if device.ended:
            return True
        client = device.client
        return client is not None and client.online and not client.outbox


class Town:
    """Chat nodes and people, from the morning to the night.

    Args:
        world: where.
        plan: what the town is like.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.day = Day()
        self.post = Post(world, plan.lost_codes)
        self.habits = Mixed(plan.habits, pace_s=plan.pace_s, away_s=plan.away_s)
        self.nodes: list[ChatNode] = []
        self.residents: list[Resident] = []
        self.people: list[Person] = []
        self._latest_ms = 0
        self.chronicle = Chronicle(
            self._no_server_is_later, partial(world.trace.note, "person"), world.reach
        )
        self._settle(plan)
        # Of each node's people one stays up, to see that the others have gone.
        self.watchmen = [node[0] for node in self._by_node() if len(node) > 1]
        for one in self.watchmen:
            one.day = Day()
        world.always(self._unbroken, "no promise is broken")
        # In the greater towns it is most of the work: a mark that has fallen is seen later, too.
        world.invariant(
            self._marks_rise, "watermarks never fall", every_s=0.05 * plan.people * plan.nodes
        )
        if plan.node_faults.jump:
            world.invariant(self._no_server_is_later, "the clocks of the nodes are known")

    def _settle(self, plan: Plan) -> None:
        for n in range(plan.nodes):
            name = chr(ord("a") + n)
            node = ChatNode(
                self.world,
                name,
                code_sender=self.post,
                settings=settings(plan),
                habits=plan.disk,
            )
            self.nodes.append(node)
            accounts = [f"+4915112{n:02d}{i:04d}" for i in range(plan.people)]
            for account in accounts:
                others = [other for other in accounts if other != account]
                person = Person(account, others, wishes=plan.wishes)
                self.people.append(person)
                for number in range(1, plan.devices + 1):
                    self.residents.append(Resident(self, person, number, node))

    def _unbroken(self) -> bool:
        if self.chronicle.broken is not None:
            raise self.chronicle.broken
        return True

    def _no_server_is_later(self) -> int:
        for node in self.nodes:
            if node.host.incarnation:
                self._latest_ms = max(self._latest_ms, node.wall_ms())
        return self._latest_ms

    def _marks_rise(self) -> bool:
        fallen = [text for node in self.nodes for text in node.fallen_marks()]
        if fallen:
            raise AssertionError("; ".join(fallen))
        return True

    # -- a day ---------------------------------------------------------------------------------

    async def live(self) -> None:
        """Live through a whole day: people talk, faults happen; then all must be well."""
        await self.morning()
        await self.world.sleep(self.plan.seconds)
        await self.evening()
        await self.at_night()

    async def morning(self) -> None:
        """Start the nodes, let the people begin, and let faults happen."""
        world, plan = self.world, self.plan
        await world.start_all()
        nodes = [node.host for node in self.nodes]
        drain = Fault("drain", plan.drains, 1, self._drain)
        faults = replace(plan.node_faults, own=(*plan.node_faults.own, drain))
        world.nemesis(faults, among=nodes)
        world.nemesis(plan.device_faults, among=[one.host for one in self.residents])

    def _drain(self, host: Host, _way: int) -> None:
        for node in self.nodes:
            if node.host is host:
                node.stop(host)

    async def evening(self) -> None:
        """No more faults, no more wishes: everything that was said must arrive; then check."""
        world = self.world
        self.day.evening = True
        for one in self.watchmen:
            one.day.evening = one.day.watching = True
        for node in self.nodes:
            node.calm_disk()
        await world.calm()
        await self._eventually(lambda: all(node.is_well for node in self.nodes), "nodes run")
        await self._eventually(lambda: all(one.is_settled for one in self.residents), "all is sent")
        await self._eventually(lambda: next(missing(self.chronicle), None) is None, "all arrives")
        verify(self.chronicle)
        await self._eventually(lambda: not any(self._undelivered()), "all is acknowledged")
        await self._eventually(lambda: not any(self._unseen(True)), "who is here is seen online")
        await self._tables_are_readable()
        await self._eventually(lambda: not any(self._marks_behind()), "the marks come to be true")
        if "hide" not in self.plan.habits:
            await self._eventually(lambda: not any(self._thought_away()), "who is here is seen")
        if self.plan.hints_arrive:
            await self._eventually(lambda: not any(unheard(self.chronicle)), "receipts arrive")
        await self._eventually(lambda: not any(self._still_used()), "who is revoked has gone")
        await self.check_tables()
        for node in self.nodes:
            node.count_outboxes()
            node.count_reached()

    def _by_node(self) -> list[list[Resident]]:
        return [[one for one in self.residents if one.node is node] for node in self.nodes]

    def _unseen(self, online: bool) -> Iterable[str]:
        """Of whom the watchmen have not heard that they are here, or gone."""
        for watchman in self.watchmen:
            device = watchman.device
            if device is None or not device.is_registered or device.ended:
                continue
            latest = {heard.account: heard.online for heard in device.log.presences}
            hidden = self.chronicle.hiders
            for one in self.residents:
                account = one.person.account
                if one.node is not watchman.node or account == watchman.person.account:
                    continue
                if online and (hidden & {account, watchman.person.account} or not one.is_settled):
                    continue
                if online and one.device is not None and one.device.ended:
                    continue
                if latest.get(account) is not online:
                    yield account

    def _undelivered(self) -> Iterable[str]:
        for log in self.chronicle.devices.values():
            if (
                log.revoked is None
                and log.lost is None
                and log.durable < max(log.events, default=0)
            ):
                yield str(log)

    def _still_used(self) -> Iterable[str]:
        for one in self.residents:
            device = one.device
            if device is not None and device.is_registered and not device.ended:
                log = device.log
                if log.revoked is not None and not one.node.has_device(*log.id):
                    yield one.name

    def _thought_away(self) -> Iterable[str]:
        online = [one for one in self.residents if one.device and one.device.client_is_online]
        here = {one.person.account for one in online}
        for one in online:
            assert one.device is not None
            heard = {presence.account: presence.online for presence in one.device.log.presences}
            for account in here.intersection(one.device.watched):
                if heard.get(account) is False:
                    yield f"{one.name} thinks that {account} is away"

    def _marks_behind(self) -> Iterable[str]:
        homes = {one.person.account: one.node for one in self.residents}
        for (conversation, account), (delivered, read) in marks(self.chronicle).items():
            mark = homes[account].mark(conversation, account)
            if mark[0] < delivered or mark[1] < read:
                yield f"{account} is at {mark}, and was at {(delivered, read)}"

    async def _tables_are_readable(self) -> None:
        await self._eventually(
            lambda: all(node.is_readable for node in self.nodes), "the tables can be read"
        )

    async def check_tables(self) -> None:
        """Check the tables of all nodes."""
        await self._tables_are_readable()
        for node in self.nodes:
            for text in node.violations():
                self.world.fail("the tables keep their invariants", text)
        for conversation, places in self.chronicle.said.items():
            heads = [node.head(conversation) for node in self.nodes]
            if max(heads) < max(places):
                what = "what was answered is in the tables"
                self.world.fail(what, f"{conversation.hex()[:6]}: {heads} < {max(places)}")

    async def at_night(self) -> None:
        """Everybody goes, in order or not; nothing of them may be left on the nodes."""
        world = self.world
        self.day.night = True
        for one in self.residents:
            if one not in self.watchmen and world.tape.choose(f"night/{one.name}", 2, rate=0.3):
                one.host.power_off()
        await self._eventually(lambda: not any(self._unseen(False)), "who is gone is seen gone")
        for one in self.watchmen:
            one.day.night = True
        accounts = [person.account for person in self.people]
        for node in self.nodes:
            await self._nothing_left(node, accounts)
        # Whatever was answered must be there after a power cut, too.
        for node in self.nodes:
            node.host.power_off()
            await node.host.start()
        await self.check_tables()

    async def _nothing_left(self, node: ChatNode, accounts: list[str]) -> None:
        deadline_s = self.world.now_s + _PATIENCE_S
        while left := await node.left_behind(accounts):
            if self.world.now_s > deadline_s:
                self.world.fail("a node lets go of who is gone", "; ".join(left))
            await self.world.sleep(0.5)

    async def _eventually(self, condition: object, what: str) -> None:
        deadline_s = self.world.now_s + _PATIENCE_S
        while not condition():  # type: ignore[operator]
            if self.world.now_s > deadline_s:
                self.world.fail(f"eventually: {what}", self._state())
            await self.world.sleep(0.25)

    def _state(self) -> str:
        lines = [f"{node.host!r} up={node.is_up}" for node in self.nodes]
        for one in self.residents:
            client = None if one.device is None else one.device.client
            log = None if one.device is None or not one.device.is_registered else one.device.log
            lines.append(
                f"{one.host!r} online={client is not None and client.online} "
                f"outbox={_waiting(client)} "
                f"shown={0 if log is None else max(log.events, default=0)} "
                f"kept={0 if log is None else log.durable}"
            )
        lines += list(missing(self.chronicle))[:8]
        lines += [*self._marks_behind(), *self._thought_away()][:8]
        lines += list(unheard(self.chronicle))[:8] if self.plan.hints_arrive else []
        return "\n".join(lines)


def _waiting(client: Client | None) -> list[int]:
    try:
        return [] if client is None else [outgoing.cid for outgoing in client.outbox][:5]
    except ClientError:
        return []


def settings(plan: Plan) -> Settings:
    """The settings of a simulated node: patience in seconds, no limit that people would meet."""
    return Settings(
        partitions=plan.partitions,
        gateways=plan.gateways,
        codes_per_hour=100_000,
        codes_per_hour_per_address=100_000,
        ping_s=4.0,
        pong_timeout_s=3.0,
        auth_timeout_s=10.0,
        drain_s=5.0,
        reconnect_spread_s=1.0,
    )
