"""Actors that block, and very many actors."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorExitRequest,
    PoisonMessage,
)
from thespian_kit import Echo, Parent, system

from palaver.actors.runtime import (
    KILL,
    CalleeExited,
    Node,
)
from palaver.actors.thespian import (
    Address,
    ThespianSystem,
    pid_of,
)
from palaver.actors.thespian.blocking import PARDON


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
        assert Meeting in actors.blocking.kinds
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


class Lingering(Actor):
    """Is in a thread when it is killed."""

    began = threading.Event()
    go = threading.Event()

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if message == "linger":
            self.began.set()
            self.go.wait(60)
            self.send(self.friend, "after my death")
        elif isinstance(message, Address):
            self.friend = message


async def test_an_actor_that_is_killed_in_a_thread_is_gone_at_once() -> None:
    Lingering.began.clear()
    Lingering.go.clear()
    async with Node() as node:
        actors = await ThespianSystem.start(node)
        friend = await actors.create_actor(Parent)
        lingering = await actors.create_actor(Lingering)
        actors.tell(lingering, friend)
        actors.blocking.held_up(Lingering, 1)
        actors.tell(lingering, "linger")
        await asyncio.to_thread(Lingering.began.wait, 60)
        node.exit(pid_of(lingering), KILL)
        await node.wait(pid_of(lingering))
        Lingering.go.set()  # its thread goes on to its end, and what it sends arrives
        while await actors.ask(friend, "got") != ["after my death"]:
            pass


class Quick(Actor):
    def receiveMessage(self, message: Any, sender: Any) -> None:
        if not isinstance(message, ActorExitRequest):
            self.send(sender, threading.current_thread() is threading.main_thread())


async def test_an_actor_that_was_slow_by_chance_comes_back_from_the_threads() -> None:
    async with Node() as node:
        actors = await ThespianSystem.start(node, blocking_s=60)
        quick = await actors.create_actor(Quick)
        assert await actors.ask(quick, 1) is True
        actors.blocking.held_up(Quick, 61)
        for _ in range(PARDON):
            assert await actors.ask(quick, 2) is False
        assert await actors.ask(quick, 3) is True
        assert actors.blocking.kinds == {}


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
