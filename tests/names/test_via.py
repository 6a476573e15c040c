"""A key of a registry in the place of a pid."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from runtime_kit import Server, World, inside, run

from palaver.actors.names import AlreadyRegistered, NotLocal, Registry, RegistryServer, Via
from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOPROC,
    Down,
    GenServer,
    NameTaken,
    Node,
    NoProcess,
    ProcessContext,
    StartError,
)
from palaver.supervisors import ChildSpec, CountChildren, Supervisor, SupervisorFlags


def test_a_via_finds_whoever_has_the_key_at_the_time_of_use() -> None:
    async def test(w: World) -> None:
        registry: Registry[str, int] = Registry("rooms")
        via = Via(registry, "lobby")
        assert via.process_ is None
        await w.node.start_server(RegistryServer, registry)
        assert via.process_ is None
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        registry.register(one, "lobby", 1)
        assert via.process_ is one.process_ is not None
        w.node.exit(one, KILL)
        await w.settle()
        assert via.process_ is None
        registry.register(two, "lobby", 2)
        assert via.process_ is two.process_

    run(test)


def test_a_via_is_a_destination_for_everything() -> None:
    async def test(w: World) -> None:
        registry: Registry[str, int] = Registry("rooms")
        await w.node.start_server(RegistryServer, registry)
        via = Via(registry, "lobby")
        w.node.send(via, "nobody gets it")
        with pytest.raises(NoProcess, match="no process rooms\\['lobby'\\]"):
            await w.node.call(via, 1)
        room = await w.node.start_server(Server, name=Via(registry, "lobby", 5))
        assert registry.lookup("lobby") == [(room, 5)]
        assert w.node.whereis(via) is room
        w.node.send(via, "by send")
        w.node.cast(via, "by cast")
        w.node.send_after(1, via, "later")
        assert await w.node.call(via, 1) == ("echo", 1)

        async def body(ctx: ProcessContext) -> list[object]:
            ctx.send(via, "by send")
            ctx.cast(via, "by cast")
            ref = ctx.monitor(via)
            assert await ctx.call(via, 2) == ("echo", 2)
            request = ctx.send_request(via, 3)
            answer = await ctx.receive()
            ctx.exit(room, KILL)
            down = await ctx.receive()
            nothing = ctx.monitor(via)
            late = await ctx.receive()
            return [
                answer.ref is request,
                answer.value,
                down == Down(ref, room, KILLED),
                late == Down(nothing, via, NOPROC),
            ]

        await w.advance(1)
        log = await w.node.call(via, "log")
        assert log == ["by send", ("cast", "by cast"), "later"]
        assert await inside(w, body) == [True, ("echo", 3), True, True]

    run(test)


def test_a_via_names_a_process_from_the_start() -> None:
    class Room(Server):
        def init(self) -> None:  # type: ignore[override]
            super().init()
            assert registry.whereis("lobby") is self.pid

    registry: Registry[str, int] = Registry("rooms")
    via = Via(registry, "lobby")

    async def test(w: World) -> None:
        with pytest.raises(StartError, match="did not start: crash: NotRunning: registry rooms"):
            w.node.spawn(Room, name=via)
        await w.node.start_server(RegistryServer, registry)
        before = len(list(w.node.processes()))
        room = await w.node.start_server(Room, name=via)
        for _ in range(2):
            with pytest.raises(NameTaken, match="the name rooms\\['lobby'\\] belongs to"):
                w.node.spawn(Room, name=via)
        assert len(list(w.node.processes())) == before + 1
        assert registry.whereis("lobby") is room

    run(test)


def test_a_child_with_a_via_comes_back_under_it() -> None:
    registry: Registry[str, int] = Registry("rooms")
    via = Via(registry, "lobby")

    class Tree(Supervisor):
        def specification(self) -> Any:
            return SupervisorFlags("rest_for_one", intensity=3), [
                ChildSpec("registry", RegistryServer, (registry,)),
                ChildSpec("room", Server, name=via),
            ]

    async def test(w: World) -> None:
        tree = await w.node.start_server(Tree)
        for victim in ("room", "registry", "room"):
            before = registry.whereis("lobby")
            assert before is not None
            w.node.exit(registry.pid if victim == "registry" else before, KILL)
            await w.settle()
            await w.node.call(tree, CountChildren())
            assert registry.whereis("lobby") not in (None, before)

    run(test)


def test_a_via_registers_a_new_process_with_its_value() -> None:
    async def test(w: World) -> None:
        registry: Registry[str, int] = Registry("rooms")
        await w.node.start_server(RegistryServer, registry)
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        assert one.process_ is not None
        assert two.process_ is not None
        via = Via(registry, "lobby", 5)
        via.register_(one.process_)
        assert registry.lookup("lobby") == [(one, 5)]
        with pytest.raises(AlreadyRegistered, match="belongs to"):
            via.register_(two.process_)

    run(test)


def test_a_via_is_a_value_that_reads_as_what_it_means() -> None:
    rooms: Registry[str, int] = Registry("rooms")
    same_name: Registry[str, int] = Registry("rooms")
    assert repr(Via(rooms, "lobby")) == "rooms['lobby']"
    assert Via(rooms, "lobby") == Via(rooms, "lobby", 3)
    assert len({Via(rooms, "lobby"), Via(rooms, "lobby"), Via(rooms, "attic")}) == 2
    assert Via(rooms, "lobby") != Via(same_name, "lobby")
    assert Via(rooms, "lobby") != "lobby"
    many: Registry[str, int] = Registry("topics", keys="duplicate")
    with pytest.raises(TypeError, match="duplicate keys"):
        Via(many, "topic")


def test_a_name_that_its_registry_refuses_starts_nothing() -> None:
    async def test() -> None:
        async def runs(ctx: ProcessContext) -> None:
            await ctx.receive()

        async with Node("a") as a, Node("b") as b:
            rooms: Registry[str, None] = Registry("rooms")
            await a.start_server(RegistryServer, rooms)
            for what in (GenServer, runs):
                with pytest.raises(NotLocal):
                    b.spawn(what, name=Via(rooms, "x"))
            assert not list(b.processes())

    asyncio.run(test())
