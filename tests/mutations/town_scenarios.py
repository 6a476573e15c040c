"""Days of a town on which one kind of trouble comes often: what is rare elsewhere is found soon."""

from __future__ import annotations

from palaver.actors.simulation import Faults, World
from palaver.storage.simulated import DiskHabits
from palaver.supervisors.simulations.scenarios import Scenario
from palaver.supervisors.simulations.town import Plan

__all__ = ["cuts", "hasty", "jumpy"]


def _size(world: World, what: str, *options: int) -> int:
    return options[world.tape.choose(f"size/{what}", len(options), rate=0.7)]


def _hasty(world: World) -> Plan:
    return Plan(
        people=_size(world, "people", 2, 3),
        devices=_size(world, "devices", 1, 1, 2),
        partitions=_size(world, "partitions", 1, 4, 8),
        gateways=_size(world, "gateways", 1, 2),
        seconds=4.0,
        wishes=25,
        habits={"say": 8, "burst": 3, "everyone": 2, "group": 1, "members": 1, "read": 2},
        pace_s=0.1,
        node_faults=Faults(kill=0.4, crash=0.02, reset=0.02, spare=()),
        disk=DiskHabits(slow=0.7, stall=0.02, late=0.3, fail=0.03, full=0.005, trouble_s=0.5),
    )


def _jumpy(world: World) -> Plan:
    return Plan(
        people=_size(world, "people", 3, 2),
        devices=_size(world, "devices", 1, 2),
        partitions=_size(world, "partitions", 1, 2),
        seconds=5.0,
        wishes=20,
        habits={"say": 6, "everyone": 4, "watch": 3, "leave": 2},
        pace_s=0.2,
        away_s=2.0,
        node_faults=Faults(jump=0.15, crash=0.04),
    )


def _cuts(world: World) -> Plan:
    return Plan(
        people=_size(world, "people", 3, 2),
        devices=_size(world, "devices", 1, 2),
        partitions=_size(world, "partitions", 1, 2),
        gateways=_size(world, "gateways", 1, 2),
        seconds=8.0,
        wishes=25,
        habits={"say": 1, "watch": 6, "leave": 5, "vanish": 2},
        pace_s=0.2,
        away_s=2.0,
        node_faults=Faults(power=0.05, crash=0.05, kill=0.05),
        disk=DiskHabits(slow=0.7, stall=0.02, late=0.3),
    )


hasty = Scenario("hasty", "much is on its way while actors are killed and disks fail", _hasty)
jumpy = Scenario("jumpy", "clocks jump while people write to everybody", _jumpy)
cuts = Scenario("cuts", "power is cut while people look at who is there", _cuts)
