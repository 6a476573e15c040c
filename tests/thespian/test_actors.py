"""Thespian's actors as processes: messages, failures, children, and other processes."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import random
import threading
from typing import Any

import pytest
import thespian_kit
from hypothesis import given, settings
from hypothesis import strategies as st
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    DeadEnvelope,
    InvalidActorAddress,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
    requireCapability,
)
from thespian.system.messages.status import Thespian_StatusReq, Thespian_SystemStatus
from thespian_kit import Echo, Parent, ask, system

from palaver.actors.runtime import (
    KILL,
    NORMAL,
    CalleeExited,
    CallTimeout,
    Crash,
    Down,
    From,
    GenServer,
    NameTaken,
    Node,
    NoProcess,
    Pid,
    StartError,
)
from palaver.actors.thespian import (
    ActorMessage,
    ActorProcess,
    Address,
    SystemProcess,
    ThespianSystem,
    pid_of,
)
from palaver.supervisors import ChildSpec, Supervisor, WhichChildren


class Listener(GenServer):
    """A process that is no actor."""

    def init(self) -> None:
        self.got: list[Any] = []

    def handle_info(self, message: Any) -> None:
        self.got.append(message)

    def handle_call(self, request: Any, from_: From) -> Any:
        return request(self) if callable(request) else list(self.got)


class Fragile(Actor):
    def __init__(self) -> None:
        raise LookupError("cannot be made")

    def receiveMessage(self, message: Any, sender: Any) -> None:
        raise AssertionError


@requireCapability("Moon")
class Lunar(Echo):
    pass


# -- messages --------------------------------------------------------------------------------------


async def test_an_actor_answers_who_asks() -> None:
    async with system() as (_, actors):
        echo = await actors.create_actor(Echo)
        assert await ask(actors, echo, "hello") == ("echo", "hello")
        by_name = await actors.create_actor("thespian_kit.Echo")
        assert await ask(actors, by_name, 1) == ("echo", 1)


async def test_messages_are_passed_on_as_they_are() -> None:
    async with system() as (_, actors):
        echo = await actors.create_actor(Echo)
        message = object()
        assert (await ask(actors, echo, message))[1] is message


async def test_a_message_that_fails_is_tried_again_and_comes_back_as_poison() -> None:
    async with system() as (_, actors):
        parent = await actors.create_actor(Parent)
        answer = await ask(actors, parent, ("fail", "boom"))
        assert isinstance(answer, PoisonMessage)
        assert answer.poisonMessage == ("fail", "boom")
        assert "ValueError: boom" in answer.details
        assert await ask(actors, parent, "got") == [("fail", "boom")] * 2


async def test_a_wakeup_comes_by_the_clock_of_the_node() -> None:
    async with system() as (here, actors):
        parent = await actors.create_actor(Parent)
        actors.tell(parent, ("wake", 5))
        await here.advance(4.9)
        assert await ask(actors, parent, "got") == []
        status = await ask(actors, parent, Thespian_StatusReq())
        assert len(status.pendingWakeups) == 1
        await here.advance(0.2)
        assert await ask(actors, parent, "got") == [WakeupMessage(5, "up")]
        status = await ask(actors, parent, Thespian_StatusReq())
        assert status.pendingWakeups == []


async def test_what_nobody_gets_is_a_dead_letter() -> None:
    async with system() as (here, actors):
        handler = await actors.create_actor(Parent)
        await ask(actors, handler, ("call", lambda actor: actor.handleDeadLetters()))
        gone = await actors.create_actor(Echo)
        actors.tell(gone, ActorExitRequest())
        actors.tell(gone, "came behind the exit request")
        await here.settle()
        actors.tell(gone, "too late")
        stranger = ActorAddress("/somewhere")
        actors.tell(stranger, "whoever")
        assert await ask(actors, handler, "got") == [
            DeadEnvelope(gone, "came behind the exit request"),
            DeadEnvelope(gone, "too late"),
            DeadEnvelope(stranger, "whoever"),
        ]
        actors.tell(handler, ActorExitRequest())
        await here.settle()
        actors.tell(gone, "nobody wants it")
        assert actors.dead_letter_handler is None


async def test_ask_fails_as_a_call_does() -> None:
    async with system() as (here, actors):
        parent = await actors.create_actor(Parent)
        late = asyncio.ensure_future(actors.ask(parent, "no answer", timeout_s=3))
        await asyncio.sleep(0)
        await here.advance(3.1)
        with pytest.raises(CallTimeout):
            await late
        with pytest.raises(CalleeExited):
            await ask(actors, parent, ("exit", 3))
        with pytest.raises(NoProcess):
            await ask(actors, parent, "anybody?")


async def test_the_system_says_its_status() -> None:
    async with system(capabilities={"Moon": True}) as (_, actors):
        echo = await actors.create_actor(Echo, global_name="echo")
        status = await ask(actors, actors.address, Thespian_StatusReq())
        assert isinstance(status, Thespian_SystemStatus)
        assert status.capabilities["Moon"] is True
        assert status.globalActors == {"echo": echo}
        assert status.childActors == [echo]


async def test_a_watched_file_that_is_ready_is_a_message() -> None:
    class Watcher(Actor):
        def receiveMessage(self, message: Any, sender: Any) -> Any:
            if isinstance(message, WatchMessage):
                self.send(self.asker, os.read(message.ready[0], 100))
            elif message == "watch":
                self.asker = sender
                return ThespianWatch([reading])
            return None

    reading, writing = os.pipe()
    try:
        async with system() as (here, actors):
            watcher = await actors.create_actor(Watcher)
            answer = asyncio.ensure_future(ask(actors, watcher, "watch"))
            await asyncio.sleep(0)
            await here.settle()
            os.write(writing, b"hello")
            assert await answer == b"hello"
    finally:
        os.close(reading)
        os.close(writing)


# -- addresses -------------------------------------------------------------------------------------


async def test_addresses_and_pids_lead_to_each_other() -> None:
    async with system() as (here, actors):
        echo = await actors.create_actor(Echo)
        pid = pid_of(echo)
        assert isinstance(pid, Pid)
        again = actors.address_of(pid)
        assert again == echo
        assert hash(again) == hash(echo)
        assert len({again, echo}) == 1
        assert actors.address_of(here.node.spawn(Listener)) != echo
        assert copy.deepcopy([echo])[0] is echo
        with pytest.raises(TypeError, match="do not pickle"):
            pickle.dumps(echo)
        with pytest.raises(InvalidActorAddress):
            pid_of(ActorAddress("/somewhere"))


async def test_other_processes_and_actors_talk() -> None:
    async with system() as (here, actors):
        listener = here.node.spawn(Listener)
        parent = await actors.create_actor(Parent)
        # An actor to a process ...
        address = actors.address_of(listener)
        actors.tell(parent, ("send", address, "to you"))
        await here.settle()
        assert await here.node.call(listener, "got", timeout_s=None) == [
            ActorMessage("to you", parent)
        ]
        # ... which sends, to be answered; sends a plain message; and calls.
        echo = pid_of(await actors.create_actor(Echo))
        await here.node.call(
            listener,
            lambda self: self.send(echo, ActorMessage("question", address)),
            timeout_s=None,
        )
        await here.settle()
        got = await here.node.call(listener, "got", timeout_s=None)
        assert got[-1] == ActorMessage(("echo", "question"), actors.address_of(echo))
        here.node.send(pid_of(parent), "plain")
        here.node.cast(pid_of(parent), "cast")
        assert await ask(actors, parent, "got") == ["plain", "cast"]
        assert await here.node.call(echo, "call", timeout_s=None) == ("echo", "call")


async def test_a_process_monitors_and_links_to_an_actor() -> None:
    async with system() as (here, actors):
        listener = here.node.spawn(Listener)
        watched, linked = [await actors.create_actor(Echo) for _ in range(2)]
        ref = await here.node.call(
            listener, lambda self: self.monitor(pid_of(watched)), timeout_s=None
        )
        await here.node.call(listener, lambda self: self.link(pid_of(linked)), timeout_s=None)
        actors.tell(watched, ActorExitRequest())
        await here.settle()
        assert await here.node.call(listener, "got", timeout_s=None) == [
            Down(ref, pid_of(watched), NORMAL)
        ]
        here.node.exit(listener, "because")
        assert await here.node.wait(pid_of(linked)) == "because"


# -- children --------------------------------------------------------------------------------------

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


# -- blocking --------------------------------------------------------------------------------------


class Meeting(Actor):
    """Waits for the other one; in one thread, it would wait for ever."""

    barrier: threading.Barrier

    def receiveMessage(self, message: Any, sender: Any) -> None:
        match message:
            case "meet":
                self.barrier.wait(20)
                self.send(sender, threading.current_thread() is threading.main_thread())
            case "create":
                child = self.createActor(Echo)
                self.wakeupAfter(0)
                self.asker = sender
                self.send(child, "from a thread")
            case ("echo", what):
                self.send(self.asker, what)
            case "fail":
                raise ValueError(message)
            case "exit":
                raise SystemExit
            case "first":
                self.send(sender, None)


async def test_actors_that_block_run_beside_each_other() -> None:
    Meeting.barrier = threading.Barrier(2)
    async with Node() as node:
        actors = await ThespianSystem.start(node, blocking_s=0)
        one, two = [await actors.create_actor(Meeting) for _ in range(2)]
        await actors.ask(one, "first")  # it holds the node for longer than nothing
        assert Meeting in actors.blocking
        assert await asyncio.gather(*(actors.ask(each, "meet") for each in (one, two))) == [
            False,
            False,
        ]
        # All that an actor may do, it may do from a thread.
        assert await actors.ask(one, "create") == "from a thread"
        assert isinstance(await actors.ask(one, "fail"), PoisonMessage)
        with pytest.raises(CalleeExited):
            await actors.ask(one, "exit")
        await actors.stop()
        assert not node.is_alive(pid_of(two))


# -- many ------------------------------------------------------------------------------------------


async def test_a_hundred_thousand_actors() -> None:
    class Breeder(Parent):
        def receiveMessage(self, message: Any, sender: Any) -> Any:
            if isinstance(message, int):
                for _ in range(message):
                    self.send(self.createActor(Echo), "hello")
                self.left, self.asker = message, sender
            elif isinstance(message, tuple):
                self.left -= 1
                if self.left == 0:
                    self.send(self.asker, "all have answered")

    count = 100_000
    async with Node(slow_s=60) as node:
        actors = await ThespianSystem.start(node, blocking_s=None)
        breeder = await actors.create_actor(Breeder)
        assert await actors.ask(breeder, count, timeout_s=None) == "all have answered"
        assert node.stats().processes == count + 2
        node.exit(pid_of(breeder), KILL)
        await actors.stop()
    gc.collect()


async def test_an_actor_that_exits_is_freed_without_the_garbage_collector() -> None:
    freed: list[str] = []

    class Mortal(Echo):
        def __del__(self) -> None:
            freed.append("freed")

    async with system() as (here, actors):
        mortal = await actors.create_actor(Mortal)
        gc.disable()
        try:
            actors.tell(mortal, ActorExitRequest())
            await here.settle()
            assert freed == ["freed"]
        finally:
            gc.enable()
