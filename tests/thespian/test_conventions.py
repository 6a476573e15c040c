"""Several systems in one program: who belongs together, and actors that run elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from runtime_kit import World
from thespian.actors import (
    Actor,
    ActorExitRequest,
    ActorSystemConventionUpdate,
    ActorSystemStartupFailure,
    NoCompatibleSystemForActor,
    Thespian_StatusReq,
    requireCapability,
)
from thespian_kit import Echo, Parent, ask, system

from palaver.actors.runtime import KILL
from palaver.actors.thespian import LocalNetwork, ThespianSystem, pid_of
from palaver.actors.thespian.convention import port_of

STATUS = Thespian_StatusReq()


@requireCapability("Moon")
class Lunar(Parent):
    pass


class Watcher(Actor):
    def __init__(self) -> None:
        self.updates: list[tuple[Any, bool]] = []

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, ActorSystemConventionUpdate):
            self.updates.append((message.remoteAdminAddress, message.remoteAdded))
        elif message == "watch":
            self.notifyOnSystemRegistrationChanges()
        elif isinstance(message, tuple):
            register, where = message
            if register:
                self.preRegisterRemoteSystem(where, {})
            else:
                self.deRegisterRemoteSystem(where)
        elif message == "updates":
            self.send(sender, list(self.updates))


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[World, ThespianSystem, ThespianSystem]]:
    """Two systems with nodes of their own, in one convention; the second has the moon."""
    network = LocalNetwork()
    one = {"Admin Port": 1, "Convention Address.IPv4": "localhost:1"}
    two = {"Admin Port": 2, "Convention Address.IPv4": ("", 1), "Moon": True}
    async with (
        system(capabilities=one, network=network) as (here, first),
        system(capabilities=two, network=network) as (there, second),
    ):
        nodes = here, there

        class Both(World):
            async def settle(self) -> None:
                for _ in range(8):  # messages go to and fro between the two
                    for each in nodes:
                        await each.settle()
                        await ask(first, first.address, STATUS)
                        await ask(second, second.address, STATUS)

        yield Both(here.node, here.clock, here.observer), first, second


async def test_an_actor_runs_where_it_fits() -> None:
    async with pair() as (_, one, two):
        lunar = await one.create_actor(Lunar)
        assert lunar.system is two
        assert await ask(one, lunar, ("call", lambda actor: actor.myAddress == lunar)) is True
        parent = await one.create_actor(Parent)
        child = await ask(one, parent, ("create", Lunar))
        assert child.system is two
        assert await ask(two, child, "got") == []
        # ... and back: an actor there creates one that must be here.
        assert pid_of(child) in [info.pid for info in two.node.processes()]
        with pytest.raises(NoCompatibleSystemForActor):
            await two.create_actor(requireCapability("Sun")(type("Solar", (Echo,), {})))


@pytest.mark.parametrize("how", ["asked", "killed"])
async def test_a_remote_child_ends_with_its_parent(how: str) -> None:
    async with pair() as (_, one, two):
        parent = await one.create_actor(Parent)
        child = await ask(one, parent, ("create", Lunar))
        assert await ask(one, child, "got") == []
        if how == "asked":
            one.tell(parent, ActorExitRequest())
        else:
            one.node.exit(pid_of(parent), KILL)
        await two.node.wait(pid_of(child))


async def test_a_remote_child_stays_if_the_exit_request_is_not_recursive() -> None:
    async with pair() as (here, one, two):
        parent = await one.create_actor(Parent)
        child = await ask(one, parent, ("create", Lunar))
        one.tell(parent, ActorExitRequest(recursive=False))
        await one.node.wait(pid_of(parent))
        await here.settle()
        assert await ask(two, child, "got") == []


@pytest.mark.parametrize("how", ["asked", "killed", "system ends"])
async def test_a_parent_hears_of_the_end_of_a_remote_child(how: str) -> None:
    async with pair() as (here, one, two):
        parent = await one.create_actor(Parent)
        child = await ask(one, parent, ("create", Lunar))
        assert await ask(one, child, "got") == []
        if how == "asked":
            one.tell(child, ActorExitRequest())
            await two.node.wait(pid_of(child))
        elif how == "killed":
            two.node.exit(pid_of(child), KILL)
            await two.node.wait(pid_of(child))
        else:
            await two.stop()
            exited = await ask(one, parent, "exited")
            assert exited == [child]
            return
        await here.settle()
        assert await ask(one, parent, "exited") == [child]


async def test_a_global_name_is_known_in_the_convention() -> None:
    async with pair() as (_, one, two):
        named = await two.create_actor(Echo, global_name="echo")
        assert await one.create_actor(Parent, global_name="echo") == named
        assert await ask(one, named, 1) == ("echo", 1)


async def test_actors_are_told_which_systems_come_and_go() -> None:
    async with pair() as (here, one, two):
        watcher = await one.create_actor(Watcher)
        one.tell(watcher, "watch")
        await here_only(one)
        assert await ask(one, watcher, "updates") == [(two.address, True)]
        three = {"Admin Port": 3, "Convention Address.IPv4": ["nowhere:9", "localhost:1"]}
        async with system(capabilities=three, network=one.network) as (_, third):
            await here.settle()
            assert one.network.peers(third) == [one, two]
            gone = third.address
        await two.stop()
        await here_only(one)
        assert await ask(one, watcher, "updates") == [
            (two.address, True),
            (gone, True),
            (gone, False),
            (two.address, False),
        ]


async def test_an_actor_registers_a_system_that_does_not_look_for_a_leader() -> None:
    network = LocalNetwork()
    async with (
        system(capabilities={"Admin Port": 1}, network=network) as (_, one),
        system(capabilities={"Admin Port": 2, "Moon": True}, network=network) as (_, two),
    ):
        watcher = await one.create_actor(Watcher)
        one.tell(watcher, "watch")
        with pytest.raises(NoCompatibleSystemForActor):
            await one.create_actor(Lunar)
        one.tell(watcher, (True, "127.0.0.1:2"))
        await here_only(one)
        assert (await one.create_actor(Lunar)).system is two
        one.tell(watcher, (False, two.address))
        await here_only(one)
        with pytest.raises(NoCompatibleSystemForActor):
            await one.create_actor(Lunar)
        assert await ask(one, watcher, "updates") == [(two.address, True), (two.address, False)]
        one.tell(watcher, (True, "where?"))
        assert len(await ask(one, watcher, "updates")) == 2


async def here_only(actors: ThespianSystem) -> None:
    for _ in range(4):
        await ask(actors, actors.address, STATUS)


async def test_a_port_belongs_to_one_system() -> None:
    network = LocalNetwork()
    async with system(capabilities={"Admin Port": 1}, network=network) as (here, one):
        actors = ThespianSystem(here.node, capabilities={"Admin Port": 1}, network=network)
        with pytest.raises(ActorSystemStartupFailure, match="Admin Port 1"):
            network.join(actors)
        await one.stop()
        network.join(actors)


@pytest.mark.parametrize(
    ("where", "port"),
    [
        ("localhost:1900", 1900),
        (("", 1900), 1900),
        (1900, 1900),
        ("1900", 1900),
        ("", None),
        (None, None),
        ("host:port", None),
    ],
)
def test_only_the_port_of_an_address_counts(where: object, port: int | None) -> None:
    assert port_of(where) == port
