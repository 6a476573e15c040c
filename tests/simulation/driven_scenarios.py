"""Scenarios for the tests of the drivers; by name, so that other processes can import them too."""

from __future__ import annotations

import os
from typing import Any

from palaver.actors.runtime import GenServer, Node, Pid
from palaver.actors.simulation.world import Faults, Nemesis, World


class Account(GenServer[Any]):
    """A balance that anybody may read and write: so a deposit can be lost."""

    __slots__ = ("balance",)

    def init(self, balance: int) -> None:
        self.balance = balance

    def handle_call(self, request: Any, from_: Any) -> Any:
        match request:
            case "read":
                return self.balance
            case ("write", int(balance)):
                self.balance = balance
                return "written"
        raise ValueError(f"unknown request {request!r}")


class Vault(Account):
    """An account that shows only a part of what it knows."""

    __slots__ = ()

    def format_status(self) -> Any:
        return {"balance": "hidden"}


class Teller(GenServer[Any]):
    """Deposits by reading, thinking and writing."""

    __slots__ = ("account", "thinks")

    def init(self, account: Pid, thinks: bool) -> None:
        self.account = account
        self.thinks = thinks

    async def handle_cast(self, deposit: Any) -> None:
        balance = await self.call(self.account, "read")
        if self.thinks:
            await self.sleep(0)  # the others have their turns
        await self.call(self.account, ("write", balance + deposit))


async def started(world: World, kind: type[Account], tellers: int) -> tuple[Node, Pid, list[Pid]]:
    found: dict[str, Any] = {}

    async def boot(host: Any) -> None:
        node = await host.node()
        account = await node.start_server(kind, 100, name="account")
        found["tellers"] = [
            await node.start_server(Teller, account, False, name=f"teller-{number}")
            for number in range(tellers)
        ]
        found["account"] = account
        found["node"] = node

    await world.host("bank", boot).start()
    return found["node"], found["account"], found["tellers"]


async def bank(world: World, kind: type[Account] = Account) -> None:
    """Two tellers take turns: only if their turns change places at once, a deposit is lost."""
    node, account, tellers = await started(world, kind, 2)
    written = []
    for deposit in range(1, 4):
        for teller in tellers:
            node.cast(teller, deposit)
        await world.sleep(0.1)
        written.append(deposit)
    expected = 100 + sum(2 * deposit for deposit in written)
    got = await node.call(account, "read")
    world.sometimes("the balance was asked for")
    if got != expected:
        world.fail("no deposit is lost", f"{got} is not {expected}")


class Ticket(GenServer[Any]):
    """Gives whoever asks the number of those who asked before."""

    __slots__ = ("names",)

    def init(self) -> None:
        self.names: list[str] = []

    def handle_cast(self, name: Any) -> None:
        self.names.append(name)

    def handle_call(self, request: Any, from_: Any) -> Any:
        return list(self.names)


class Visitor(GenServer[Any]):
    """Takes a ticket when told to."""

    __slots__ = ("name", "office")

    def init(self, name: str, office: Pid) -> None:
        self.name = name
        self.office = office

    def handle_cast(self, message: Any) -> None:
        self.cast(self.office, self.name)


async def office(world: World) -> None:
    """Fails if the third of three visitors comes to be the first."""
    found: dict[str, Any] = {}

    async def boot(host: Any) -> None:
        node = found["node"] = await host.node()
        found["office"] = await node.start_server(Ticket, name="office")
        found["visitors"] = [
            await node.start_server(Visitor, name, found["office"], name=name)
            for name in ("ann", "ben", "cat")
        ]

    await world.host("town", boot).start()
    for visitor in found["visitors"]:
        found["node"].cast(visitor, "go")
    await world.sleep(1.0)
    names = await found["node"].call(found["office"], "names")
    if names and names[0] == "cat":
        world.fail("cat is never the first", f"{names}")


class Fragile(GenServer[Any]):
    """Breaks when told to, in a chain of links and monitors."""

    __slots__ = ("next",)

    def init(self, depth: int) -> None:
        self.trap_exit = depth % 2 == 1
        self.next = self.spawn_link(Fragile, depth - 1) if depth else None
        if self.next is not None:
            self.monitor(self.next)

    def handle_cast(self, message: Any) -> None:
        if self.next is None:
            raise ValueError(f"broken by {message}")
        self.send_after(0.05, self.next, message)

    def handle_info(self, message: Any) -> None:
        if isinstance(message, str):
            self.handle_cast(message)

    async def handle_call(self, request: Any, from_: Any) -> Any:
        if self.next is None:
            return "deep"
        ref = self.send_request(self.next, request)
        response = await self.receive(lambda message: getattr(message, "ref", None) is ref)
        return response.result()


async def rough(world: World) -> None:
    """Everything that a run can have: crashes, links, monitors, requests, timers, faults."""

    async def boot(host: Any) -> None:
        node = await host.node()
        top = await node.start_server(Fragile, 3, name="top")
        assert await node.call(top, "how deep") == "deep"
        node.cast(top, "a message")

    for name in ("a", "b", "c"):
        world.host(name, boot)
    await world.start_all()
    nemesis = Nemesis(world, Faults(crash=0.1, power=0.05, kill=0.1, pause=0.1, partition=0.1))
    await world.sleep(3.0)
    nemesis.stop()
    crashes = sum(len(host.crashes) for host in world.hosts.values())
    if crashes > 3:
        world.fail("not more than three crashes", f"{crashes}")


async def fine(world: World) -> None:
    """Nothing is ever wrong."""
    await world.sleep(10.0)
    world.reach("the end")
    world.sometimes("something that never is", False)


async def prints(world: World) -> None:
    """Writes to where workers write their results."""
    print("hello")
    await world.sleep(1.0)
    if world.tape.choose("work/odd", 2, 0.5):
        world.fail("even")


async def dies(world: World) -> None:
    """Takes its process along."""
    os._exit(3)
