"""Actors and their children, in whatever way they begin and end; and above them, supervisors."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import thespian_kit
from hypothesis import given, settings
from hypothesis import strategies as st
from thespian.actors import (
    Actor,
    ActorExitRequest,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
    PoisonMessage,
    requireCapability,
)
from thespian.system.messages.status import Thespian_StatusReq
from thespian_kit import Echo, Parent, ask, system

from palaver.actors.runtime import (
    KILL,
    Crash,
    NameTaken,
    StartError,
)
from palaver.actors.thespian import (
    ActorProcess,
    Address,
    SystemProcess,
    ThespianSystem,
    pid_of,
)
from palaver.supervisors import ChildSpec, Supervisor, WhichChildren


class Fragile(Actor):
    def __init__(self) -> None:
        raise LookupError("cannot be made")

    def receiveMessage(self, message: Any, sender: Any) -> None:
        raise AssertionError


@requireCapability("Moon")
class Lunar(Echo):
    pass


ENDS = {
    "asked": lambda actors, child: actors.tell(child, ActorExitRequest()),
    "sys.exit": lambda actors, child: actors.tell(child, ("exit", 1)),
    "killed": lambda actors, child: actors.node.exit(pid_of(child), KILL),
    "shut down": lambda actors, child: actors.node.exit(pid_of(child), "enough"),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_parent_hears_of_the_end_of_its_child(end: str) -> None:
    async with system() as (here, actors):
        parent = await actors.create_actor(Parent)
        child = await ask(actors, parent, ("create", Parent))
        grandchild = await ask(actors, child, ("create", Parent))
        ENDS[end](actors, child)
        await here.settle()
        assert await ask(actors, parent, "exited") == [child]
        assert not here.node.is_alive(pid_of(grandchild))
        status = await ask(actors, parent, Thespian_StatusReq())
        assert status.childActors == []


async def test_an_exit_request_runs_down_the_tree_from_its_leaves() -> None:
    async with system() as (here, actors):
        thespian_kit.LAST_WORDS.clear()
        parent = await actors.create_actor(Parent)
        child = await ask(actors, parent, ("create", Parent))
        grandchild = await ask(actors, child, ("create", Parent))
        actors.tell(grandchild, "work that was there before")
        actors.tell(parent, ActorExitRequest())
        await here.settle()
        assert [parent, child, grandchild] == thespian_kit.LAST_WORDS
        assert not any(here.node.is_alive(pid_of(each)) for each in (parent, child, grandchild))


async def test_an_exit_request_that_is_not_recursive_leaves_the_children() -> None:
    async with system() as (here, actors):
        parent = await actors.create_actor(Parent)
        child = await ask(actors, parent, ("create", Echo))
        actors.tell(parent, ActorExitRequest(recursive=False))
        await here.settle()
        assert not here.node.is_alive(pid_of(parent))
        assert await ask(actors, child, "still") == ("echo", "still")


@pytest.mark.parametrize("what", [Fragile, Lunar, "no.such.module.Class", "thespian_kit.Missing"])
async def test_a_child_that_cannot_be_is_a_child_that_exited(what: Any) -> None:
    async with system() as (here, actors):
        parent = await actors.create_actor(Parent)
        child = await ask(actors, parent, ("create", what))
        assert isinstance(child, Address)
        await here.settle()
        assert await ask(actors, parent, "exited") == [child]


async def test_what_is_sent_to_a_child_that_cannot_be_comes_back() -> None:
    def create_and_send(actor: Actor) -> None:
        actor.send(actor.createActor(Lunar), "hello")

    async with system() as (here, actors):
        parent = await actors.create_actor(Parent)
        await ask(actors, parent, ("call", create_and_send))
        await here.settle()
        (poison,) = await ask(actors, parent, "got")
        assert isinstance(poison, PoisonMessage)
        assert poison.poisonMessage == "hello"


async def test_an_actor_without_a_parent_that_cannot_be_raises() -> None:
    async with system() as (_, actors):
        with pytest.raises(LookupError, match="cannot be made"):
            await actors.create_actor(Fragile)
        with pytest.raises(NoCompatibleSystemForActor):
            await actors.create_actor(Lunar)
        with pytest.raises(ImportError):
            await actors.create_actor("no.such.module.Class")
        for what in (int, "unqualified"):
            with pytest.raises(InvalidActorSpecification):
                await actors.create_actor(what)


async def test_an_actor_that_no_longer_fits_exits() -> None:
    async with system(capabilities={"Moon": True}) as (here, actors):
        parent = await actors.create_actor(Parent)
        child = await ask(actors, parent, ("create", Lunar))
        other = await actors.create_actor(Lunar)
        actors.update_capability("Sun", True)
        await here.settle()
        assert await ask(actors, child, 1) == ("echo", 1)
        actors.update_capability("Moon")
        await here.settle()
        assert await ask(actors, parent, "exited") == [child]
        assert not here.node.is_alive(pid_of(other))


async def test_a_global_name_belongs_to_one_living_actor() -> None:
    async with system() as (here, actors):
        parent = await actors.create_actor(Parent)
        first = await actors.create_actor(Echo, global_name="only")
        assert await ask(actors, parent, ("create", Parent, "only")) == first
        here.node.exit(pid_of(first), KILL)
        await here.settle()
        second = await ask(actors, parent, ("create", Echo, "only"))
        assert second != first
        assert await actors.create_actor(Parent, global_name="only") == second
        with pytest.raises(StartError) as caught:
            await here.node.start_server(ActorProcess, actors, Echo, global_name="only")
        assert isinstance(caught.value.reason, Crash)
        assert isinstance(caught.value.reason.exception, NameTaken)


async def test_actors_in_a_supervision_tree() -> None:
    async with system() as (here, _):
        actors = ThespianSystem(here.node)
        tree = await here.node.start_server(
            Supervisor,
            [
                ChildSpec("system", SystemProcess, (actors,)),
                ChildSpec("echo", ActorProcess, (actors, Echo), options={"global_name": "echo"}),
            ],
        )
        first = await actors.create_actor(Parent, global_name="echo")
        assert await ask(actors, first, 1) == ("echo", 1)
        assert pid_of(first) in [
            child.pid for child in await here.node.call(tree, WhichChildren(), timeout_s=None)
        ]
        here.node.exit(pid_of(first), KILL)
        await here.settle()
        second = await actors.create_actor(Parent, global_name="echo")
        assert second != first
        assert await ask(actors, second, 2) == ("echo", 2)


async def test_a_system_that_is_killed_begins_anew_under_its_supervisor() -> None:
    async with system() as (here, _):
        actors = ThespianSystem(here.node, capabilities={"Admin Port": 1})
        await here.node.start_server(Supervisor, [ChildSpec("system", SystemProcess, (actors,))])
        first = await actors.create_actor(Echo, global_name="echo")
        await ask(actors, await actors.create_actor(Parent), HANDLE)
        here.node.exit(actors.pid, KILL)
        await here.settle()
        assert not here.node.is_alive(pid_of(first))
        assert actors.dead_letter_handler is None
        second = await actors.create_actor(Echo, global_name="echo")
        assert await ask(actors, second, 1) == ("echo", 1)


HANDLE = ("call", lambda actor: actor.handleDeadLetters())


async def test_when_the_system_stops_every_actor_is_asked_to_exit() -> None:
    async with system() as (here, actors):
        thespian_kit.LAST_WORDS.clear()
        one, two = [await actors.create_actor(Parent) for _ in range(2)]
        child = await ask(actors, one, ("create", Parent))
        await ask(actors, two, ("call", lambda actor: actor.actorSystemShutdown()))
        await here.node.wait(actors.pid)
        assert set(thespian_kit.LAST_WORDS) == {one, two, child}
        assert here.node.stats().processes == 0


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whoever_ends_their_trees_end_and_their_parents_hear_of_it_once(
    data: st.DataObject,
) -> None:
    """Any tree, any ends, any schedule."""
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    parents = data.draw(st.lists(st.integers(0, 100), min_size=1, max_size=12))
    victims = data.draw(
        st.lists(st.tuples(st.integers(0, 11), st.sampled_from(sorted(ENDS))), max_size=5)
    )

    async def main() -> None:
        async with system(shuffle=rng) as (here, actors):
            tree: list[Address] = []
            above: dict[Address, Address | None] = {}
            for number in parents:
                parent = tree[number % len(tree)] if tree and number % 4 else None
                if parent is None:
                    child = await actors.create_actor(Parent)
                else:
                    child = await ask(actors, parent, ("create", Parent))
                tree.append(child)
                above[child] = parent
            ended = set()
            for number, end in victims:
                victim = tree[number % len(tree)]
                ended.add(victim)
                ENDS[end](actors, victim)
            await here.settle()

            def lives(actor: Address | None) -> bool:
                return actor is None or (actor not in ended and lives(above[actor]))

            for actor in tree:
                assert here.node.is_alive(pid_of(actor)) == lives(actor)
                if lives(actor):
                    dead = {each for each in tree if above[each] == actor and not lives(each)}
                    exited = await ask(actors, actor, "exited")
                    assert len(exited) == len(dead)
                    assert set(exited) == dead

    asyncio.run(main())
