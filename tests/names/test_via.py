"""A key of a registry in the place of a pid."""

from __future__ import annotations

import pytest
from runtime_kit import Server, World, run

from palaver.actors.names import AlreadyRegistered, Registry, RegistryServer, Via
from palaver.actors.runtime import KILL


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
