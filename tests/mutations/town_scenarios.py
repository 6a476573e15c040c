"""Days of a town on which one kind of trouble comes often: what is rare elsewhere is found soon."""

from __future__ import annotations

from palaver.actors.simulation import Faults, World
from palaver.storage.simulated import DiskHabits
from palaver.supervisors.simulations.town import Plan, Town

__all__ = ["cuts", "hasty", "jumpy", "returning"]


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
        disk=DiskHabits(
            read_s=0.01,
            slow_read=0.4,
            slow=0.7,
            stall=0.02,
            late=0.3,
            fail=0.03,
            full=0.005,
            trouble_s=0.5,
        ),
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
        node_faults=Faults(power=0.02, crash=0.02, kill=0.4),
        disk=DiskHabits(slow=0.7, stall=0.02, late=0.3),
    )


def _returning(world: World) -> Plan:
    return Plan(
        people=_size(world, "people", 2, 3),
        devices=_size(world, "devices", 2, 1, 3),
        partitions=_size(world, "partitions", 1, 2),
        gateways=_size(world, "gateways", 1, 2, 3),
        seconds=5.0,
        wishes=30,
        habits={"say": 6, "leave": 5, "read": 4, "twin": 1},
        pace_s=0.15,
        away_s=1.0,
        disk=DiskHabits(read_s=0.02, slow_read=0.5, slow=0.3, late=0.3),
        hints_arrive=True,
    )


async def returning(world: World) -> None:
    """People come and go all the time, and reading takes a while; nothing fails."""
    await Town(world, _returning(world)).live()


async def hasty(world: World) -> None:
    """Much is on its way while actors are killed and disks fail."""
    await Town(world, _hasty(world)).live()


async def jumpy(world: World) -> None:
    """Clocks jump while people write to everybody."""
    await Town(world, _jumpy(world)).live()


async def cuts(world: World) -> None:
    """Power is cut while people look at who is there."""
    await Town(world, _cuts(world)).live()
