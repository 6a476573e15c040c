"""Two writers of one log, each of which says where it expects its entry."""

from __future__ import annotations

import asyncio
from random import Random

from signal_scenarios import Broken

from palaver.actors.simulation import Host, World
from palaver.storage import Outcome, ReadTxn, WriteTxn
from palaver.storage.simulated import DiskHabits, SimulatedDisk, SimulatedStore
from palaver.supervisors.simulations.nodes import WorldFaults

__all__ = ["fenced"]


class Entries:
    """Keeps each entry under its place."""

    tables = ("entries",)
    version = 1

    def __init__(self, _partition: int = 0) -> None:
        pass

    def open(self, txn: ReadTxn, partition: int) -> None:
        """There is nothing to remember."""

    def apply(self, txn: WriteTxn, seq: int, command: tuple[str, int]) -> Outcome:
        """Note an entry; the value is its place."""
        txn.put("entries", seq.to_bytes(8), command[0].encode())
        return Outcome(seq)


async def fenced(world: World) -> None:
    """Both look where the log ends and append there; only one of them may get the place."""

    async def boot(host: Host) -> None:
        loop = asyncio.get_running_loop()
        faults = WorldFaults(world, lambda delay_s, fn: loop.call_later(delay_s, fn))
        disk = SimulatedDisk(faults, host.name, habits=DiskHabits(slow=0.5, late=0.3))
        store = SimulatedStore.open(disk, Entries, partitions=1, call_later=loop.call_later)
        writers = (write(store, name, world.tape.random(f"writer/{name}")) for name in "ab")
        await asyncio.gather(*writers)

    await world.host("log", boot).start()


async def write(store: SimulatedStore, name: str, chance: Random) -> None:
    loop = asyncio.get_running_loop()
    for number in range(20):
        expected = store.applied(0)
        answer = loop.create_future()
        store.append(0, [(name, number)], answer.set_result, expected=expected)
        (result,) = await answer
        if isinstance(result, Outcome) and result.value != expected + 1:
            raise Broken(f"{name} expected to follow {expected}, and stands at {result.value}")
        await asyncio.sleep(chance.choice([0.0, 0.001, 0.01]))
