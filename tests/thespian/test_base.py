"""Thespian's own `ActorSystem` on this base: programs without asyncio."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorExitRequest,
    ActorSystem,
    ActorSystemFailure,
    ActorSystemMessage,
    ActorSystemRequestTimeout,
    PoisonMessage,
    Thespian_StatusReq,
)
from thespian_kit import Echo, Parent

import palaver.actors.thespian.base as base_module
from palaver.actors.runtime import KILL, Node
from palaver.actors.thespian import SystemBase, pid_of, use

WAIT = timedelta(seconds=20)


@pytest.fixture
def actors() -> Iterator[ActorSystem]:
    use()
    found = ActorSystem("palaverBase", transientUnique=True)
    yield found
    found.shutdown()


def open_files() -> set[str]:
    return {str(path.resolve()) for path in Path("/proc/self/fd").iterdir()}


class Counter(Actor):
    def __init__(self) -> None:
        self.got: list[int] = []

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, int):
            self.got.append(message)
        elif message == "got":
            self.send(sender, self.got)


class Stuck(Actor):
    """Blocks until it is let go."""

    go = threading.Event()

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if message == "block":
            self.go.wait(60)


# -- life ------------------------------------------------------------------------------------------


def test_shutdown_leaves_nothing_behind() -> None:
    use()
    asyncio.run(asyncio.sleep(0))  # what the first loop of a process opens for good
    threads, files = threading.enumerate(), open_files()
    actors = ActorSystem("palaverBase", transientUnique=True)
    parent = actors.createActor(Parent)
    assert actors.ask(parent, ("create", Echo), WAIT) is not None
    actors.tell(parent, ("wake", 3600))
    with actors.private() as private:
        assert private.ask(parent, "got", WAIT) == []
    assert set(threading.enumerate()) > set(threads)
    actors.shutdown()
    actors.shutdown()
    assert threading.enumerate() == threads
    assert open_files() == files


def test_the_name_gives_one_system_to_all_who_do_not_ask_for_their_own() -> None:
    use()
    one = ActorSystem("palaverBase")
    try:
        assert ActorSystem()._systemBase is one._systemBase
        assert ActorSystem("palaverBase")._systemBase is one._systemBase
        echo = ActorSystem().createActor(Echo)
        assert one.ask(echo, 1, WAIT) == ("echo", 1)
    finally:
        one.shutdown()


def test_use_changes_nothing_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert use() is use()
    assert use("anotherBase") is not use()
    del sys.modules["thespian.system.anotherBase"]
    monkeypatch.setitem(sys.modules, "thespian.system.foreignBase", types.ModuleType("foreign"))
    with pytest.raises(ValueError, match="is not this base"):
        use("foreignBase")


def test_a_base_object_starts_when_it_is_used() -> None:
    threads = threading.enumerate()
    base = SystemBase(capabilities={"Moon": True})
    actors = ActorSystem(base, transientUnique=True)
    assert threading.enumerate() == threads
    try:
        assert actors.ask(actors.createActor(Echo), 1, WAIT) == ("echo", 1)
        assert base.actors.capabilities["Moon"] is True
    finally:
        actors.shutdown()
    assert threading.enumerate() == threads


def test_an_actor_may_shut_the_system_down(actors: ActorSystem) -> None:
    base = actors._systemBase
    stopper = actors.createActor(Parent)
    threads = set(threading.enumerate())
    actors.tell(stopper, ("call", lambda actor: actor.actorSystemShutdown()))
    assert actors.listen() is None  # whoever waits is told
    thread, system = base.open()
    assert thread.join(20)
    assert len(threads - set(threading.enumerate())) == 1
    actors.tell(stopper, "nobody")
    assert actors.ask(stopper, "nobody") is None
    with pytest.raises(ActorSystemFailure):
        actors.createActor(Echo)
    assert not system.run_soon(print)


FORGETFUL = """
import time
from palaver.actors.thespian import use
from thespian.actors import Actor, ActorExitRequest, ActorSystem

class Last(Actor):
    def receiveMessage(self, message, sender):
        if message == "block":
            time.sleep(0.05)
            self.send(sender, "blocked")
        elif isinstance(message, ActorExitRequest):
            print("and exits", flush=True)
        else:
            print(message, flush=True)

use()
actors = ActorSystem("palaverBase")
last = actors.createActor(Last)
actors.ask(last, "block", 20)
for word in ("is", "handled"):
    actors.tell(last, word)
"""


def test_a_program_that_forgets_to_shut_down_ends_in_order() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORGETFUL],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-3:] == ["is", "handled", "and exits"]


def test_a_program_hears_of_the_end_of_a_system_that_is_killed() -> None:
    threads = threading.enumerate()
    base = SystemBase(capabilities={"Admin Port": 1})
    actors = ActorSystem(base, transientUnique=True)
    killer = actors.createActor(Parent)
    pid = base.actors.pid
    actors.tell(killer, ("call", lambda _: base.actors.node.exit(pid, KILL)))
    assert actors.listen() is None
    thread, system = base.open()
    assert thread.join(20)
    assert threading.enumerate() == threads
    assert system.network.leader(system) is None
    actors.shutdown()


def test_an_actor_cannot_wait_for_the_end_of_its_own_system(actors: ActorSystem) -> None:
    parent = actors.createActor(Parent)
    answer = actors.ask(parent, ("call", lambda _: actors._systemBase.shutdown()), WAIT)
    assert isinstance(answer, PoisonMessage)
    assert "actorSystemShutdown" in answer.details


def test_shutdown_says_so_if_an_actor_blocks_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_module, "SHUTDOWN_S", 0.1)
    Stuck.go.clear()
    base = SystemBase(blocking_s=None)
    stuck = base.newPrimaryActor(Stuck, None, None)
    base.tell(stuck, "block")
    try:
        with pytest.raises(ActorSystemRequestTimeout, match="blocks the node"):
            base.shutdown()
    finally:
        Stuck.go.set()
    monkeypatch.setattr(base_module, "SHUTDOWN_S", 20)
    base.shutdown()


def test_what_starting_raises_is_raised_and_leaves_no_thread() -> None:
    def broken() -> Node:
        raise LookupError("no node")

    threads = threading.enumerate()
    with pytest.raises(LookupError, match="no node"):
        SystemBase(make_node=broken).open()
    one = SystemBase(capabilities={"Admin Port": 1900}, network=(network := use().network))
    one.open()
    with pytest.raises(ActorSystemFailure, match="1900"):
        SystemBase(capabilities={"Admin Port": 1900}, network=network).open()
    one.shutdown()
    assert threading.enumerate() == threads


def test_logging_is_configured_only_by_who_asks() -> None:
    handlers = list(logging.getLogger().handlers)
    SystemBase(logDefs=None)
    SystemBase(logDefs=False)
    assert logging.getLogger().handlers == handlers
    definitions = {
        "version": 1,
        "loggers": {"of.this.test": {"level": "ERROR"}},
        # Those of other tests, in this process, go on.
        "disable_existing_loggers": False,
    }
    SystemBase(logDefs=definitions)
    assert logging.getLogger("of.this.test").level == logging.ERROR


# -- messages --------------------------------------------------------------------------------------


def test_listen_gives_up(actors: ActorSystem) -> None:
    assert actors.listen(0) is None
    assert actors.listen(timedelta(milliseconds=1)) is None
    parent = actors.createActor(Parent)
    assert actors.ask(parent, "no answer", 0.01) is None


def test_the_systems_own_messages_are_not_for_the_program(actors: ActorSystem) -> None:
    class Own(ActorSystemMessage):
        pass

    parent = actors.createActor(Parent)
    outside = actors.ask(parent, ("call", lambda actor: None), WAIT)
    assert outside is None
    echo = actors.createActor(Parent)
    actors.tell(echo, ("call", lambda actor: Own()))
    assert actors.ask(echo, ("call", lambda actor: "after it"), WAIT) == "after it"
    assert actors.ask(echo, Thespian_StatusReq(), WAIT).actorAddress == echo
    assert actors.ask(actors.systemAddress, Thespian_StatusReq(), WAIT).childActors == [
        parent,
        echo,
    ]


def test_every_private_context_gets_its_own_answers(actors: ActorSystem) -> None:
    echo = actors.createActor(Echo)
    wrong: list[Any] = []

    def work(number: int) -> None:
        with actors.private() as private:
            mine = private.createActor(Echo)
            for count in range(50):
                for target in (echo, mine):
                    answer = private.ask(target, (number, count), WAIT)
                    if answer != ("echo", (number, count)):
                        wrong.append(answer)
            private.tell(mine, ActorExitRequest())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    # What the contexts said before their end has been heard when this is answered.
    assert actors.ask(echo, "last", WAIT) == ("echo", "last")
    assert len(actors._systemBase.actors._outsides) == 1


def test_tell_keeps_its_order_and_waits_when_the_node_is_behind(
    actors: ActorSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_module, "MAX_BACKLOG", 100)
    counter = actors.createActor(Counter)
    longest = 0
    for number in range(5000):
        actors.tell(counter, number)
        longest = max(longest, len(actors._systemBase.actors.inbox))
    assert longest <= 100 + 1
    assert actors.ask(counter, "got", WAIT) == list(range(5000))


def test_systems_of_one_program_reach_each_other(actors: ActorSystem) -> None:
    other = ActorSystem("palaverBase", transientUnique=True)
    try:
        here = actors.createActor(Parent)
        there = other.createActor(Parent)
        assert here != there
        actors.tell(here, ("send", there, "across"))
        assert actors.ask(here, ("call", lambda actor: "sent"), WAIT) == "sent"
        assert other.ask(there, "got", WAIT) == ["across"]
        # A message without a place to go once the other has ended is a dead letter here.
        actors.ask(here, ("call", lambda actor: actor.handleDeadLetters()), WAIT)
    finally:
        other.shutdown()
    actors.tell(there, "too late")
    (dead,) = actors.ask(here, "got", WAIT)
    assert (dead.deadAddress, dead.deadMessage) == (there, "too late")
    assert pid_of(there) != pid_of(here)
