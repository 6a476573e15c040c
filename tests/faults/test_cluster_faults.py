"""A real cluster under faults: nothing acknowledged is lost or doubled, and copies stay equal.

One cluster and its people live through all tests of this file, one fault after the other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_faults import ClusterFaults
from cluster_grounds import CannotBe, Ground, Loopback, OwnGround
from cluster_town import ClusterTown

SEED = int(os.environ.get("SEED", "1"))
NODES = 3


class Running:
    """A cluster, its people, and the loop that they live in."""

    def __init__(self, runner: asyncio.Runner, town: ClusterTown, ground: Ground) -> None:
        self.town = town
        self.ground = ground
        self.faults = ClusterFaults(town)
        self._runner = runner

    def through(self, fault: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._runner.run(self.town.through(fault))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("ground")
    try:
        own = OwnGround(folder, NODES)
    except CannotBe as error:
        yield Loopback(str(error))
        return
    try:
        yield own
    finally:
        own.close()


@pytest.fixture(scope="module")
def running(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("cluster")
    with asyncio.Runner() as runner:
        town = runner.run(start(folder, ground))
        try:
            yield Running(runner, town, ground)
        finally:
            runner.run(town.__aexit__())


async def start(folder: Path, ground: Ground) -> ClusterTown:
    return await ClusterTown(folder, ground, SEED).__aenter__()


def test_a_node_is_killed_and_comes_back(running: Running) -> None:
    running.through(lambda: running.faults.kill_node(0))


def test_the_nats_server_that_leads_a_journal_is_killed(running: Running) -> None:
    running.through(lambda: running.faults.kill_leader(1))


def test_an_owner_that_stood_still_is_overtaken_and_does_no_harm(running: Running) -> None:
    running.through(lambda: running.faults.pause_owner(2))


@pytest.fixture
def own_ground(ground: Ground) -> OwnGround:
    if not isinstance(ground, OwnGround):
        pytest.skip(ground.why)
    return ground


def test_a_node_is_cut_off_from_the_others(running: Running, own_ground: OwnGround) -> None:
    running.through(lambda: running.faults.cut_off(3, own_ground))
    assert running.town.counts["the minority refused"]


def test_all_nodes_lose_power_at_once(running: Running, own_ground: OwnGround) -> None:
    running.through(lambda: running.faults.power_cut(own_ground))
