"""Transfers between two nodes, simulated: money is lost when an answer is, and a seed shows it.

Run it with `python examples/simulated_bank.py`. A teller in a branch moves money between accounts
at the head office. If an answer does not come, it asks again. `Account` then withdraws once more;
`CarefulAccount` knows each step by its id, and does it once.
"""

from __future__ import annotations

from dataclasses import dataclass

from palaver.actors.runtime import CallTimeout, GenServer, NodeDown
from palaver.actors.simulation import Fabric, Faults, Host, World
from palaver.actors.simulation.driving import check
from palaver.actors.simulation.reporting import SimulationFailed

START = {"ann": 100, "bob": 100, "eve": 100}
TRANSFERS = 3


@dataclass(frozen=True)
class Add:
    """Change a balance; a withdrawal is negative."""

    step: str
    amount: int


@dataclass(frozen=True)
class Transfer:
    """Move money from one account to another."""

    number: int
    source: str
    target: str
    amount: int


class Account(GenServer):
    """A balance. What it knows is on the disk of its host, and survives a crash."""

    def init(self, disk: dict[str, int], name: str) -> None:
        self.disk = disk
        self.name = name

    def handle_call(self, request: Add, from_: object) -> str:
        if self.disk[self.name] + request.amount < 0:
            return "refused"
        self.disk[self.name] += request.amount
        return "done"


class CarefulAccount(Account):
    """Does each step once, however often it is told to."""

    def handle_call(self, request: Add, from_: object) -> str:
        if f"{self.name}/{request.step}" in self.disk:
            return "done"
        answer = super().handle_call(request, from_)
        if answer == "done":
            self.disk[f"{self.name}/{request.step}"] = 1
        return answer


class Teller(GenServer):
    """Works off transfers; asks until there is an answer."""

    def init(self, fabric: Fabric) -> None:
        self.bank = fabric.distribution(self.node)
        self.settled: list[Transfer] = []

    async def handle_cast(self, transfer: Transfer) -> None:
        step = f"transfer {transfer.number}"
        if await self.ask(transfer.source, Add(step, -transfer.amount)) == "done":
            await self.ask(transfer.target, Add(step, transfer.amount))
        self.settled.append(transfer)

    async def ask(self, account: str, request: Add) -> str:
        while True:
            try:
                return await self.call(self.bank.at("office", account), request, timeout_s=1.0)
            except (CallTimeout, NodeDown):
                await self.sleep(1.0)


async def transfers(world: World, account: type[Account]) -> None:
    """Some transfers, while the network and the head office have their troubles."""
    fabric = Fabric(net_ticktime_s=8.0)
    chance = world.tape.random("transfers")

    async def boot_office(host: Host) -> None:
        for name, money in START.items():
            host.disk.setdefault(name, money)
        node = await host.node()
        await fabric.join(node)
        for name in START:
            await node.start_server(account, host.disk, name, name=name)

    async def boot_branch(host: Host) -> None:
        node = await host.node()
        await fabric.join(node)
        teller = await node.start_server(Teller, fabric)
        for number in range(TRANSFERS):
            source, target = chance.sample(list(START), 2)
            node.cast(teller, Transfer(number, source, target, chance.randrange(1, 150)))
        host.disk["teller"] = teller.process_.context

    office, branch = world.host("office", boot_office), world.host("branch", boot_branch)
    await world.start_all()
    teller = branch.disk["teller"]
    world.always(lambda: min(map(office.disk.get, START)) >= 0, "no balance is negative")
    world.nemesis(Faults(crash=0.05, reset=0.05, clog=0.05), among=[office])
    await world.sleep(5.0)
    await world.calm()
    await world.eventually(lambda: len(teller.settled) == TRANSFERS, "all transfers are settled")
    world.sometimes("a transfer was asked for twice", office.incarnation > 1)
    total = sum(map(office.disk.get, START))
    if total != sum(START.values()):
        world.fail("no money is made or lost", f"{total} of {sum(START.values())} are there")


async def careless(world: World) -> None:
    await transfers(world, Account)


async def careful(world: World) -> None:
    await transfers(world, CarefulAccount)


def main() -> None:
    campaign = check(careful, range(60))
    print(f"careful accounts: {campaign.statistics.runs} runs, no money was made or lost")
    try:
        check(careless)
    except SimulationFailed as failed:
        print(f"careless accounts: found by seed {failed.report.seed}")
        print(failed)


if __name__ == "__main__":
    main()
