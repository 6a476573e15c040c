"""Thespian's actors as processes: messages, failures, addresses, and other processes."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    DeadEnvelope,
    InvalidActorAddress,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.messages.status import Thespian_StatusReq, Thespian_SystemStatus
from thespian_kit import Echo, Parent, ask, system

from palaver.actors.runtime import (
    NORMAL,
    CalleeExited,
    CallTimeout,
    Down,
    From,
    GenServer,
    NoProcess,
    Pid,
)
from palaver.actors.thespian import (
    ActorMessage,
    pid_of,
)


class Listener(GenServer):
    """A process that is no actor."""

    def init(self) -> None:
        self.got: list[Any] = []

    def handle_info(self, message: Any) -> None:
        self.got.append(message)

    def handle_call(self, request: Any, from_: From) -> Any:
        return request(self) if callable(request) else list(self.got)


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
