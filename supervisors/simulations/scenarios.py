"""The scenarios of `palaver simulate`: what kind of town, what kind of day, what must be reached.

Every scenario draws its sizes from the tape, so that a failing run can be made smaller: fewer
people, one node, one partition.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import structlog

from palaver.actors.simulation import Faults, World
from palaver.actors.simulation.driving import Runner
from palaver.storage.simulated import DiskHabits
from palaver.supervisors.simulations import cluster_days as days
from palaver.supervisors.simulations import replicas as ledgers
from palaver.supervisors.simulations import tables as transactions
from palaver.supervisors.simulations.town import Plan, Town

__all__ = [
    "SCENARIOS",
    "Scenario",
    "brief",
    "calm",
    "cluster",
    "devices",
    "diverging",
    "failover",
    "group",
    "moving",
    "offline",
    "partitioned",
    "power",
    "presence",
    "quiet",
    "rebalanced",
    "rebuilt",
    "replicas",
    "storm",
    "supervisors",
    "tables",
    "talk",
]

#: A town settles within minutes; a run of more than so many virtual seconds or steps hangs.
_LIMITS: Final = {"max_virtual_s": 7_200.0, "max_steps": 5_000_000}

_TALK: Final = {
    "say": 8, "burst": 1, "everyone": 1, "read": 4, "watch": 2, "unwatch": 1, "typing": 1,
    "look": 1, "leave": 2,
}  # fmt: skip
_WORLDLY: Final = Faults(
    crash=0.004, power=0.002, partition=0.004, oneway=0.002, clog=0.006, reset=0.01, pause=0.004,
    jump=0.004,
)  # fmt: skip
_PHONES: Final = Faults(
    crash=0.004, power=0.004, partition=0.006, oneway=0.003, clog=0.006, reset=0.01, pause=0.004,
    jump=0.002,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named scenario.

    Attributes:
        name: by which it is asked for.
        summary: one line for people.
        story: what happens in a world; see `TownDay` and `tables`.
        reach: what a long search has to reach; `palaver simulate` fails if it does not.
        default: whether it is among those that run when none is named.
    """

    name: str
    summary: str
    story: Callable[[World], Awaitable[None]]
    reach: tuple[str, ...] = ()
    default: bool = True

    @property
    def runner(self) -> Runner:
        """What runs it, here or in other processes."""
        return Runner(self, f"{__name__}:{self.name}", _LIMITS)

    async def __call__(self, world: World) -> None:
        """Live through a day of it."""
        world.coverage.declare(self.reach)
        with _hushed():
            await self.story(world)


@contextmanager
def _hushed() -> Iterator[None]:
    """Let simulated nodes log nothing: the trace has it, and the output belongs to the search."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@dataclass(frozen=True, slots=True)
class TownDay:
    """A day of a town that is drawn from the tape of a world.

    Attributes:
        plan: draws it; also for a town of real processes, which has a tape too.
    """

    plan: Callable[[World], Plan]

    async def __call__(self, world: World) -> None:
        """Live through it."""
        await Town(world, self.plan(world)).live()


class _Sizes:
    """Draws sizes from the tape; the quiet choice is the first of the options."""

    def __init__(self, world: World) -> None:
        self._tape = world.tape

    def of(self, what: str, *options: int) -> int:
        """One of some sizes."""
        return options[self._tape.choose(f"size/{what}", len(options), rate=0.7)]


def _talk(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 2, 3, 4),
        devices=sizes.of("devices", 1, 1, 2),
        partitions=sizes.of("partitions", 1, 2, 4),
        gateways=sizes.of("gateways", 1, 2),
        seconds=sizes.of("seconds", 5, 10, 20),
        wishes=12,
        habits=_TALK | {"group": 1, "members": 1, "vanish": 1},
        node_faults=_with(_WORLDLY, kill=0.05),
        drains=0.01,
        device_faults=_PHONES,
        state_failures=0.002,
        lost_codes=0.05,
    )


def _brief(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        partitions=sizes.of("partitions", 1, 2),
        gateways=sizes.of("gateways", 1, 2),
        seconds=sizes.of("seconds", 2, 4),
        wishes=6,
        habits=_TALK | {"group": 1, "vanish": 1},
        node_faults=Faults(
            crash=0.02, power=0.02, kill=0.1, partition=0.01, oneway=0.01, clog=0.02, reset=0.03,
            pause=0.02, jump=0.01,
        ),
        device_faults=_with(_PHONES, crash=0.02, power=0.01, reset=0.03),
        disk=DiskHabits(slow=0.2, stall=0.01, late=0.1, full=0.003, fail=0.003),
    )  # fmt: skip


def _calm(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 2, 3),
        devices=sizes.of("devices", 1, 2),
        partitions=sizes.of("partitions", 1, 2, 4),
        gateways=sizes.of("gateways", 1, 2, 3),
        seconds=sizes.of("seconds", 5, 10),
        wishes=12,
        habits=_TALK | {"group": 2, "members": 2, "revoke": 1, "flood": 1, "leave": 1, "twin": 1},
        disk=DiskHabits(slow=0.3, stall=0.01, late=0.2),
        hints_arrive=True,
    )


def _offline(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 2, 3),
        devices=sizes.of("devices", 1, 2),
        partitions=sizes.of("partitions", 1, 2),
        gateways=sizes.of("gateways", 1, 2),
        seconds=sizes.of("seconds", 20, 60),
        wishes=20,
        habits={
            "say": 3,
            "burst": 2,
            "leave": 6,
            "vanish": 2,
            "read": 1,
            "flood": 1,
            "deluge": sizes.of("deluge", 0, 0, 0, 0, 0, 0, 1),
        },
        away_s=30.0,
        node_faults=_with(_WORLDLY, crash=0.01),
        device_faults=_PHONES,
    )


def _group(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 3, 4, 5),
        devices=sizes.of("devices", 1, 2),
        partitions=sizes.of("partitions", 1, 4, 8),
        gateways=sizes.of("gateways", 1, 2),
        seconds=sizes.of("seconds", 5, 10, 20),
        wishes=12,
        habits={"group": 3, "members": 4, "say": 8, "everyone": 2, "read": 3, "look": 1,
                "leave": 1, "burst": 1},
        node_faults=_with(_WORLDLY, kill=0.03),
        device_faults=_PHONES,
    )  # fmt: skip


def _devices(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 2, 3),
        devices=sizes.of("devices", 2, 3),
        partitions=sizes.of("partitions", 1, 2),
        gateways=sizes.of("gateways", 1, 2),
        seconds=sizes.of("seconds", 5, 15),
        wishes=12,
        habits=_TALK
        | {"revoke": 1, "forget": 1, "backup": 2, "restore": 1, "vanish": 2, "hide": 1}
        | {"impersonate": 1},
        node_faults=_WORLDLY,
        # Who lost the state counts on a clock that goes up: see the protocol's "exactly once".
        device_faults=_with(_PHONES, crash=0.02, jump=0.0),
        state_failures=0.01,
        lost_codes=0.1,
    )


def _presence(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 2, 3, 4),
        devices=sizes.of("devices", 1, 2),
        partitions=sizes.of("partitions", 1, 2),
        gateways=sizes.of("gateways", 1, 2, 3),
        seconds=sizes.of("seconds", 10, 30),
        wishes=20,
        habits={"watch": 6, "unwatch": 1, "leave": 5, "vanish": 2, "hide": 2, "say": 2,
                "typing": 1},
        node_faults=_with(_WORLDLY, kill=0.04, jump=0.004),
        device_faults=_PHONES,
    )  # fmt: skip


def _storm(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 3, 4),
        devices=sizes.of("devices", 1, 2),
        gateways=sizes.of("gateways", 1, 2, 3),
        seconds=sizes.of("seconds", 5, 10),
        wishes=12,
        habits={"say": 3, "read": 1, "leave": 2, "vanish": 2, "watch": 1},
        away_s=1.0,
        node_faults=_with(_WORLDLY, reset=0.3, crash=0.02, clog=0.05),
        drains=0.02,
        device_faults=_with(_PHONES, reset=0.1),
    )


def _power(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 2, 3),
        devices=sizes.of("devices", 1, 2),
        partitions=sizes.of("partitions", 1, 2, 4),
        gateways=1,
        seconds=sizes.of("seconds", 10, 20),
        wishes=16,
        habits={"say": 5, "burst": 3, "read": 2, "leave": 1, "group": 1},
        node_faults=_with(_WORLDLY, power=0.03, crash=0.02),
        device_faults=_with(_PHONES, power=0.02),
        disk=DiskHabits(full=0.01, fail=0.005, stall=0.01, slow=0.3),
        state_failures=0.005,
    )


def _partitioned(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        nodes=sizes.of("nodes", 1, 2),
        people=sizes.of("people", 2, 3),
        partitions=sizes.of("partitions", 4, 8),
        gateways=sizes.of("gateways", 1, 2),
        seconds=sizes.of("seconds", 10, 20),
        wishes=12,
        habits=_TALK | {"group": 2, "members": 2},
        node_faults=_with(_WORLDLY, partition=0.03, oneway=0.02, clog=0.03, pause=0.02, kill=0.05),
        disk=DiskHabits(slow=0.3, stall=0.01, late=0.2, full=0.003),
        device_faults=_with(_PHONES, partition=0.03, oneway=0.02),
    )


def _supervisors(world: World) -> Plan:
    sizes = _Sizes(world)
    return Plan(
        people=sizes.of("people", 2, 3),
        devices=sizes.of("devices", 1, 2),
        partitions=sizes.of("partitions", 1, 2, 4),
        gateways=sizes.of("gateways", 1, 2, 3),
        seconds=sizes.of("seconds", 5, 15),
        wishes=16,
        habits=_TALK | {"group": 1, "members": 1},
        node_faults=Faults(kill=0.5, spare=()),
        disk=DiskHabits(slow=0.3, stall=0.02, late=0.2),
    )


def _quiet(_world: World) -> Plan:
    return Plan(
        nodes=3,
        people=17,
        partitions=2,
        gateways=2,
        seconds=600.0,
        wishes=100,
        habits={"say": 6, "read": 3, "watch": 1, "leave": 1},
        pace_s=15.0,
    )


def _with(faults: Faults, **more: object) -> Faults:
    return replace(faults, **more)  # type: ignore[arg-type]


_COMMON: Final = (
    "a queue was drained after an absence",
    "a retry got the first answer",
    "a message of an earlier run was on the outbox",
)

talk: Final = Scenario(
    "talk", "a few people, everything that people do, some of every fault", TownDay(_talk),
    (*_COMMON, "a child was restarted", "a session was replaced by a newer one",
     "a connection was asked to come back", "a message was shown again after a crash",
     "partitions sent each other commands", "a gateway knew where a recent peer is"),
)  # fmt: skip
brief: Final = Scenario(
    "brief", "two people, a few seconds, many faults: for many seeds", TownDay(_brief),
    (*_COMMON, "a child was restarted"),
)  # fmt: skip
calm: Final = Scenario(
    "calm", "no faults, but for slow disks: what a reconnection would cure", TownDay(_calm), _COMMON
)
offline: Final = Scenario(
    "offline", "long absences, queues that fill and drain", TownDay(_offline),
    (*_COMMON, "more waited than the server pushes at a time"),
)  # fmt: skip
group: Final = Scenario(
    "group", "groups whose members come and go", TownDay(_group),
    (*_COMMON, "answered: not_allowed", "answered: not_a_member",
     "partitions sent each other commands"),
)  # fmt: skip
devices: Final = Scenario(
    "devices", "several devices each, linked, revoked, set back", TownDay(_devices),
    (*_COMMON, "a device lost its state", "a device came back with old state",
     "a revoked device was disconnected",
     "the client's state failed", "signing up took more than one try"),
)  # fmt: skip
presence: Final = Scenario(
    "presence", "who is online, who may know it, last seen", TownDay(_presence),
    ("a child was restarted",),
)  # fmt: skip
storm: Final = Scenario(
    "storm", "connections lost in crowds, everybody comes back at once", TownDay(_storm),
    (*_COMMON, "a session was replaced by a newer one"),
)  # fmt: skip
power: Final = Scenario(
    "power", "power cuts, full disks, failing disks", TownDay(_power),
    (*_COMMON, "answered: unavailable"),
)  # fmt: skip
partitioned: Final = Scenario(
    "partitioned", "networks cut in two, one way or both, several partitions",
    TownDay(_partitioned),
    (*_COMMON, "partitions sent each other commands"),
)  # fmt: skip
supervisors: Final = Scenario(
    "supervisors", "any actor is killed at any moment", TownDay(_supervisors),
    ("a child was restarted", "a supervisor gave up", "a node's supervisors gave up",
     "a connection was asked to come back", "a connection lost its session"),
)  # fmt: skip
tables: Final = Scenario(
    "tables", "transactions of the tables over crashes, power cuts and failing disks",
    transactions.tables, transactions.REACH,
)  # fmt: skip
replicas: Final = Scenario(
    "replicas", "three replicas of a ledger, leaders who are named at random, every fault",
    ledgers.replicas, ledgers.REACH,
)  # fmt: skip
cluster: Final = Scenario(
    "cluster", "a cluster of nodes, some of every fault", days.ClusterDay(days.cluster),
    (*_COMMON, "a partition was handed over", "a partition was taken over"),
)  # fmt: skip
failover: Final = Scenario(
    "failover", "a cluster, few people, owners that come and go: for many seeds",
    days.ClusterDay(days.failover), (*_COMMON, "a partition was taken over"),
)  # fmt: skip
moving: Final = Scenario(
    "moving", "a cluster in which nothing fails, and partitions move while people talk",
    days.ClusterDay(days.moving), ("a partition was handed over",),
)  # fmt: skip
rebuilt: Final = Scenario(
    "rebuilt", "a cluster whose nodes lose their disks", days.ClusterDay(days.rebuilt),
    ("a partition was taken over", "a retry got the first answer", "a copy took a snapshot",
     "a journal was truncated"),
)  # fmt: skip
diverging: Final = Scenario(
    "diverging", "a cluster whose copies go astray: found by audits, and made anew",
    days.ClusterDay(days.diverging),
    ("a copy was spoilt", "an audit found a copy that differs", "a copy was made anew"),
)  # fmt: skip
rebalanced: Final = Scenario(
    "rebalanced", "a cluster that grows and is drained while its nodes fail",
    days.ClusterDay(days.rebalanced),
    ("a change of the placement was made", "a change of the placement was refused",
     "a copy was given up", "a copy took a snapshot", "a journal was truncated"),
)  # fmt: skip
quiet: Final = Scenario(
    "quiet", "three nodes and 51 people, no faults: for speed", TownDay(_quiet), default=False
)

SCENARIOS: Final[Mapping[str, Scenario]] = {
    one.name: one
    for one in (
        talk, brief, calm, offline, group, devices, presence, storm, power, partitioned,
        supervisors, tables, replicas, cluster, failover, moving, rebuilt,
        diverging, rebalanced, quiet,
    )
}  # fmt: skip
"""All scenarios by name."""
