"""What `kill -9` leaves of a store: the real engine and the simulated disk, judged by one rule.

The same program (rounds of one to three appends to each partition, told as a story) runs as a child
process over LMDB and on a host of a simulated world. After the kill a partition holds the story up
to the end of an append: of no earlier one than was acknowledged last, and of none that was not
begun. The simulated disk must reach whatever the real one leaves.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "crash"))  # its story and its writing program

from killing import one_life
from ledger_story import Story, content_of, ledger

from palaver.actors.simulation import Host, World
from palaver.actors.simulation.world.sources import Seeded
from palaver.actors.simulation.world.tape import Tape
from palaver.storage import Store, StoreError
from palaver.storage.simulated import DiskHabits, SimulatedDisk, SimulatedStore
from palaver.supervisors.simulations.nodes import WorldFaults

PARTITIONS = 2
MOST_BEGUN = 3
"""Appends of a partition that are on their way at once."""

LIVES = 4
SEEDS = 25


def beyond(story: Story, partition: int, store: Store, acked: int) -> int:
    """How many appends are there beyond the one acknowledged last; the rule is judged here."""
    applied = store.applied(partition)
    assert applied >= acked, "an acknowledged append is lost"
    assert store.view(partition, content_of) == story.content(applied)
    assert applied in story.ends, "half an append is there"
    more = story.next_after(applied) - story.next_after(acked)
    assert more <= MOST_BEGUN, "an append is there that nobody has begun"
    return more


def acknowledged(notes: list[str]) -> list[int]:
    acked = [0] * PARTITIONS
    for note in notes:
        what, *rest = note.split()
        if what == "acked":
            acked[int(rest[1])] = max(acked[int(rest[1])], int(rest[2]))
    return acked


def real_lives(root: Path, seed: int) -> set[int]:
    """Kill the real program again and again on one folder; what was there beyond."""
    chance = random.Random(seed)
    seen: set[int] = set()
    for life in range(LIVES):
        command = ["store_child.py", "endless", str(root), str(seed), str(life)]
        told = one_life(command, root / "store", chance.randrange(40, 6000))
        store = Store.open(root / "store", ledger, partitions=PARTITIONS)
        try:
            for partition, acked in enumerate(acknowledged(told)):
                seen.add(beyond(Story(seed, partition), partition, store, acked))
        finally:
            store.close_now()
    return seen


class Program:
    """The same program on a simulated host."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.stories = [Story(seed, partition) for partition in range(PARTITIONS)]
        self.acked = [0] * PARTITIONS
        self.acks = 0
        self.host = world.host("a", self._boot)
        faults = WorldFaults(world, lambda after_s, fn: self.host.clock.call_later(after_s, fn))
        self.disk = SimulatedDisk(faults, "a", habits=DiskHabits(lost=0.5))

    def open(self) -> SimulatedStore:
        loop = self.world.loop
        return SimulatedStore.open(
            self.disk, ledger, partitions=PARTITIONS, call_later=loop.call_later
        )

    async def _boot(self, host: Host) -> None:
        host.on_end.append(lambda power: self.disk.power_off() if power else self.disk.killed())
        host.spawn(self._write())

    async def _write(self) -> None:
        store = self.open()
        told = [
            story.next_after(store.applied(partition))
            for partition, story in enumerate(self.stories)
        ]
        number = 0
        while True:
            answers = []
            for partition, story in enumerate(self.stories):
                for _ in range(1 + number % MOST_BEGUN):
                    answer = asyncio.get_running_loop().create_future()
                    answers.append(answer)
                    commands = story.group(told[partition])
                    expected = story.ends[told[partition]]
                    told[partition] += 1
                    done = self._done(partition, told[partition], answer)
                    store.append(partition, commands, done, expected=expected)
            await asyncio.gather(*answers)
            number += 1

    def _done(
        self, partition: int, number: int, answer: asyncio.Future[None]
    ) -> Callable[[list[Any]], None]:
        def done(results: list[Any]) -> None:
            assert not any(isinstance(result, StoreError) for result in results)
            self.acked[partition] = self.stories[partition].ends[number]
            self.acks += 1
            answer.set_result(None)

        return done


def simulated_lives(seed: int) -> set[int]:
    """Kill the simulated program again and again; what was there beyond."""
    chance = random.Random(seed)
    seen: set[int] = set()
    with World(Tape(Seeded(seed, swarm=False))) as world:
        program = Program(world, seed)

        async def life(acks: int, more_s: float) -> None:
            await program.host.start()
            wanted = program.acks + acks
            await world.until(lambda: program.acks >= wanted)
            await world.sleep(more_s)
            program.host.crash()
            store = program.open()
            for partition, story in enumerate(program.stories):
                seen.add(beyond(story, partition, store, program.acked[partition]))
            await store.close()

        for _ in range(LIVES):
            world.run(life(chance.randrange(1, 60), chance.random() * 0.004))
    return seen


@pytest.fixture(scope="module")
def simulated() -> set[int]:
    return set().union(*(simulated_lives(seed) for seed in range(SEEDS)))


def test_the_simulated_disk_keeps_the_rule_and_reaches_all_of_it(simulated: set[int]) -> None:
    assert simulated == set(range(MOST_BEGUN + 1))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_real_one_leaves_nothing_that_the_simulated_one_does_not(
    tmp_path: Path, seed: int, simulated: set[int]
) -> None:
    assert real_lives(tmp_path, seed) <= simulated
