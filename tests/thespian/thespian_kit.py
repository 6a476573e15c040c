"""Actors for the tests, as somebody who knows only Thespian would write them."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from runtime_kit import World, world
from thespian.actors import (
    Actor,
    ActorExitRequest,
    ActorSystemMessage,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    WakeupMessage,
)

from palaver.actors.thespian import Address, ThespianSystem


class Echo(Actor):
    def receiveMessage(self, message: Any, sender: Any) -> None:
        if not isinstance(message, ActorSystemMessage):
            self.send(sender, ("echo", message))


class Parent(Actor):
    """Does what a tuple says; remembers what else it gets."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.exited: list[Any] = []

    def receiveMessage(self, message: Any, sender: Any) -> Any:
        match message:
            case ("create", what):
                self.send(sender, self.createActor(what))
            case ("create", what, name):
                self.send(sender, self.createActor(what, globalName=name))
            case ("send", target, what):
                self.send(target, what)
            case ("wake", delay_s):
                self.wakeupAfter(delay_s, payload="up")
            case ("fail", text):
                self.got.append(message)
                raise ValueError(text)
            case ("exit", code):
                sys.exit(code)
            case ("call", function):
                self.send(sender, function(self))
            case "got":
                self.send(sender, list(self.got))
            case "exited":
                self.send(sender, list(self.exited))
            case ChildActorExited():
                self.exited.append(message.childAddress)
            case WakeupMessage() | DeadEnvelope() | PoisonMessage():
                self.got.append(message)
            case ActorExitRequest():
                LAST_WORDS.append(self.myAddress)
            case _:
                self.got.append(message)


LAST_WORDS: list[Any] = []
"""Who has been sent an exit request; the tests empty it."""


@asynccontextmanager
async def system(
    *, shuffle: random.Random | None = None, **options: Any
) -> AsyncIterator[tuple[World, ThespianSystem]]:
    """A system on a node whose clock stands still."""
    async with world(shuffle=shuffle) as here:
        found = await ThespianSystem.start(here.node, **options)
        yield here, found


async def ask(actors: ThespianSystem, target: Address, message: Any) -> Any:
    """Ask without a timeout: on a clock that stands still, none would end."""
    return await actors.ask(target, message, timeout_s=None)
