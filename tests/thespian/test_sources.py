"""Sources that are loaded while the system runs, and the authority that they need."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorExitRequest,
    InvalidActorSourceHash,
    LoadedSource,
    PoisonMessage,
    UnloadedSource,
    ValidatedSource,
    ValidateSource,
)
from thespian_kit import ask, system

from palaver.actors.thespian import LocalNetwork, ThespianSystem, pid_of
from palaver.actors.thespian.sources import read_source

# Thespian's loader of sources speaks an old dialect of Python's import system.
pytestmark = pytest.mark.filterwarnings("ignore:HashRootLoader:ImportWarning")

SOURCE = """
from thespian.actors import Actor
class Loaded(Actor):
    def receiveMessage(self, message, sender):
        if message == "import":
            from words import WORD
            self.send(sender, WORD)
        elif message == "create":
            self.send(sender, self.createActor("loaded.Loaded"))
"""


class Authority(Actor):
    """Accepts, rejects or spoils what it is asked to validate."""

    def __init__(self) -> None:
        self.answer = "accept"
        self.heard: list[Any] = []

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if message == "register":
            self.registerSourceAuthority()
            self.notifyOnSourceAvailability()
        elif isinstance(message, ValidateSource):
            data = {"accept": message.sourceData, "reject": None, "spoil": b"no zip"}
            self.send(sender, ValidatedSource(message.sourceHash, data[self.answer]))
        elif isinstance(message, str) and message in ("accept", "reject", "spoil"):
            self.answer = message
        elif isinstance(message, tuple):
            action, what = message
            if action == "load":
                self.send(sender, self.loadActorSource(what))
            elif action == "unload":
                self.unloadActorSource(what)
            else:
                self.send(what, ValidatedSource("forged", make_zip()))
        elif isinstance(message, LoadedSource | UnloadedSource):
            self.heard.append((type(message).__name__, message.sourceHash))
        elif message == "heard":
            self.send(sender, list(self.heard))


def make_zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("loaded.py", SOURCE)
        archive.writestr("words.py", "WORD = 'from the source'")
    return data.getvalue()


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield
    assert sys.meta_path == finders
    assert not {name for name in set(sys.modules) - modules if name.startswith("{{")}


async def load(actors: ThespianSystem, authority: Any) -> str:
    found: str = await ask(actors, authority, ("load", io.BytesIO(make_zip())))
    await ask(actors, authority, "heard")  # the source goes there and back: two turns
    await ask(actors, authority, "heard")
    return found


async def test_a_source_is_loaded_if_the_authority_accepts_it() -> None:
    async with system() as (_, actors):
        authority = await actors.create_actor(Authority)
        actors.tell(authority, "register")
        source_hash = await load(actors, authority)
        loaded = await actors.create_actor("loaded.Loaded", source_hash=source_hash)
        assert await ask(actors, loaded, "import") == "from the source"
        # A child comes from the same source.
        child = await ask(actors, loaded, "create")
        assert await ask(actors, child, "import") == "from the source"
        assert await ask(actors, authority, "heard") == [("LoadedSource", source_hash)]


@pytest.mark.parametrize("answer", ["reject", "spoil"])
async def test_a_source_is_not_loaded_otherwise(answer: str) -> None:
    async with system() as (_, actors):
        authority = await actors.create_actor(Authority)
        lonely, data = read_source(io.BytesIO(make_zip()))
        actors.sources.offer(lonely, data)  # there is no authority yet
        actors.tell(authority, "register")
        actors.tell(authority, answer)
        assert await load(actors, authority) == lonely
        with pytest.raises(InvalidActorSourceHash):
            await actors.create_actor("loaded.Loaded", source_hash=lonely)
        # Nobody else may say that a source is valid.
        stranger = await actors.create_actor(Authority)
        actors.tell(stranger, ("forge", actors.address))
        assert await ask(actors, stranger, "heard") == []
        with pytest.raises(InvalidActorSourceHash):
            await actors.create_actor("loaded.Loaded", source_hash="forged")


async def test_an_unloaded_source_lives_as_long_as_an_actor_runs_it() -> None:
    async with system() as (here, actors):
        authority = await actors.create_actor(Authority)
        actors.tell(authority, "register")
        source_hash = await load(actors, authority)
        loaded = await actors.create_actor("loaded.Loaded", source_hash=source_hash)
        actors.tell(authority, ("unload", source_hash))
        assert await ask(actors, loaded, "import") == "from the source"
        with pytest.raises(InvalidActorSourceHash):
            await actors.create_actor("loaded.Loaded", source_hash=source_hash)
        actors.tell(loaded, ActorExitRequest())
        await here.node.wait(pid_of(loaded))
        assert not [name for name in sys.modules if source_hash in name]
        assert await ask(actors, authority, "heard") == [
            ("LoadedSource", source_hash),
            ("UnloadedSource", source_hash),
        ]


@pytest.mark.parametrize(
    ("allowed", "taken"), [(None, True), ("LeaderOnly", True), ("no", False), ("what?", False)]
)
async def test_a_system_takes_sources_of_its_convention_if_it_allows_it(
    allowed: str | None, taken: bool
) -> None:
    network = LocalNetwork()
    one = {"Admin Port": 1, "Convention Address.IPv4": ("", 1)}
    two = {"Admin Port": 2, "Convention Address.IPv4": ("", 1)}
    if allowed is not None:
        two["AllowRemoteActorSources"] = allowed
    async with (
        system(capabilities=one, network=network) as (_, first),
        system(capabilities=two, network=network) as (_, second),
    ):
        authority = await first.create_actor(Authority)
        first.tell(authority, "register")
        source_hash = await load(first, authority)
        if not taken:
            with pytest.raises(InvalidActorSourceHash):
                await second.create_actor("loaded.Loaded", source_hash=source_hash)
            return
        loaded = await second.create_actor("loaded.Loaded", source_hash=source_hash)
        assert loaded.system is second
        assert await ask(second, loaded, "import") == "from the source"
        first.unload_source(source_hash)
        with pytest.raises(InvalidActorSourceHash):
            await second.create_actor("loaded.Loaded", source_hash=source_hash)


async def test_a_file_that_cannot_be_read_harms_nobody() -> None:
    async with system() as (_, actors):
        authority = await actors.create_actor(Authority)
        answer = await ask(actors, authority, ("load", "/there/is/no/such/file"))
        assert isinstance(answer, PoisonMessage)
        assert "FileNotFoundError" in answer.details
