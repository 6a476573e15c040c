"""Registries: what is found under which key, and for how long."""

from __future__ import annotations

import random
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import Server, Trapper, World, inside, run, stop_with

from palaver.actors.names import (
    AlreadyRegistered,
    AlreadyRunning,
    NotLocal,
    NotRegistered,
    NotRunning,
    Registered,
    Registration,
    Registry,
    RegistryServer,
    Unregistered,
)
from palaver.actors.runtime import (
    KILL,
    KILLED,
    NORMAL,
    SHUTDOWN,
    Down,
    Exit,
    GenServer,
    NameTaken,
    Node,
    NoProcess,
    Pid,
    ProcessContext,
    StartError,
)
from palaver.supervisors import ChildSpec, CountChildren, Supervisor, SupervisorFlags


async def opened(
    w: World, keys: Literal["unique", "duplicate"] = "unique", **options: Any
) -> Registry[Any, Any]:
    registry: Registry[Any, Any] = Registry("things", keys=keys, **options)
    await w.node.start_server(RegistryServer, registry)
    return registry


def test_a_unique_key_finds_its_process_and_value() -> None:
    async def test(w: World) -> None:
        registry = await opened(w)
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        registry.register(one, ("any", 1), "first")
        registry.register(one, 7, "second")
        registry.register(two, None, "third")
        assert registry.whereis(("any", 1)) is one
        assert registry.lookup(("any", 1)) == [(one, "first")]
        assert registry.whereis("other") is None
        assert registry.lookup("other") == []
        assert registry.keys(one) == [("any", 1), 7]
        assert registry.values(one, 7) == ["second"]
        assert registry.values(two, 7) == []
        assert registry.count() == 3
        with pytest.raises(AlreadyRegistered, match="'things\\[7\\]' belongs to <") as caught:
            registry.register(two, 7, "mine")
        assert isinstance(caught.value, NameTaken)
        assert (caught.value.key, caught.value.pid) == (7, one)
        with pytest.raises(AlreadyRegistered):
            registry.register(one, 7, "again")

    run(test)


def test_a_duplicate_key_holds_any_number() -> None:
    async def test(w: World) -> None:
        registry = await opened(w, "duplicate")
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        registry.register(one, "topic", 1)
        registry.register(two, "topic", 2)
        registry.register(one, "topic", 3)
        registry.register(one, "other", 4)
        assert sorted(value for _, value in registry.lookup("topic")) == [1, 2, 3]
        assert registry.values(one, "topic") == [1, 3]
        assert registry.keys(one) == ["topic", "topic", "other"]
        assert registry.count() == 4
        with pytest.raises(TypeError, match="use lookup"):
            registry.whereis("topic")
        registry.unregister(one, "topic")
        assert registry.lookup("topic") == [(two, 2)]
        assert registry.keys(one) == ["other"]

    run(test)


def test_unregister_is_of_the_process_alone_and_harmless() -> None:
    async def test(w: World) -> None:
        registry = await opened(w)
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        registry.register(one, "key", 1)
        registry.unregister(two, "key")
        registry.unregister(one, "unknown")
        assert registry.whereis("key") is one
        registry.unregister(one, "key")
        registry.unregister(one, "key")
        assert registry.count() == 0
        registry.register(two, "key", 2)
        assert registry.whereis("key") is two

    run(test)


def test_values_are_replaced_by_their_process_only() -> None:
    async def test(w: World) -> None:
        registry = await opened(w)
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        registry.register(one, "key", 1)
        assert registry.update_value(one, "key", lambda old: old + 1) == (2, 1)
        assert registry.lookup("key") == [(one, 2)]
        with pytest.raises(NotRegistered):
            registry.update_value(two, "key", lambda old: old)
        with pytest.raises(NotRegistered):
            registry.update_value(one, "other", lambda old: old)

        def leave(old: int) -> int:
            registry.unregister(one, "key")
            return old

        with pytest.raises(NotRegistered):
            registry.update_value(one, "key", leave)
        assert registry.count() == 0

    async def duplicate(w: World) -> None:
        registry = await opened(w, "duplicate")
        with pytest.raises(TypeError, match="duplicate keys"):
            registry.update_value(w.node.spawn(Server), "key", lambda old: old)

    run(test)
    run(duplicate)


def test_match_and_select_find_by_value() -> None:
    async def test(w: World) -> None:
        registry = await opened(w, "duplicate")
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        for pid, key, value in [(one, "a", 1), (two, "a", 2), (one, "a", 3), (two, "b", 2)]:
            registry.register(pid, key, value)
        assert registry.match("a", lambda value: value > 1) == [(one, 3), (two, 2)]
        assert registry.count_match("a", lambda value: value > 1) == 2
        assert registry.select(lambda found: found.value == 2) == [("a", two, 2), ("b", two, 2)]
        assert registry.count_select(lambda found: found.pid is one) == 2
        assert len(registry.select()) == 4
        assert registry.unregister_match(one, "a", lambda value: value == 3) == 1
        assert registry.unregister_match(one, "a", lambda value: value == 3) == 0
        assert registry.values(one, "a") == [1]
        assert registry.count() == 3
        assert registry.unregister_match(one, "a", lambda value: True) == 1
        assert registry.keys(one) == []

    async def unique(w: World) -> None:
        registry = await opened(w)
        one = w.node.spawn(Server)
        registry.register(one, "a", 1)
        assert registry.match("a", lambda value: value == 2) == []
        assert registry.unregister_match(one, "a", lambda value: value == 2) == 0
        assert registry.unregister_match(one, "a", lambda value: value == 1) == 1
        assert registry.select() == []

    run(test)
    run(unique)


def test_dispatch_reaches_everybody_whatever_fails() -> None:
    async def test(w: World) -> None:
        registry = await opened(w, "duplicate")
        pids = [w.node.spawn(Server) for _ in range(3)]
        for number, pid in enumerate(pids):
            registry.register(pid, "topic", number)
        seen = []

        def callback(pid: Pid, value: int) -> None:
            registry.unregister(pid, "topic")  # the table may change under its hands
            if value == 1:
                raise ValueError("no")
            seen.append((pid, value))

        with structlog.testing.capture_logs() as logs:
            assert registry.dispatch("topic", callback) == 2
        assert seen == [(pids[0], 0), (pids[2], 2)]
        assert [entry["event"] for entry in logs] == ["dispatch failed"]
        assert registry.dispatch("topic", callback) == 0

    run(test)


@pytest.mark.parametrize("how", ["stop", "kill", "crash"])
def test_the_dead_are_gone_before_anybody_hears_of_it(how: str) -> None:
    """Whoever handles a `Down` or an `Exit` finds the key free, in any schedule."""

    class Heir(GenServer):
        def init(self, registry: Registry[str, None], victim: Pid) -> None:
            self.trap_exit = True
            self.registry = registry
            self.link(victim)
            self.monitor(victim)
            self.found: list[tuple[type, Pid | None, int]] = []

        def handle_info(self, message: Any) -> None:
            self.found.append((type(message), self.registry.whereis("key"), self.registry.count()))

        def handle_call(self, request: object, from_: object) -> object:
            return self.found

    async def test(w: World) -> None:
        registry = await opened(w)
        victim = w.node.spawn(Server)
        registry.register(victim, "key", None)
        registry.register(victim, "other", None)
        heirs = [await w.node.start_server(Heir, registry, victim) for _ in range(3)]
        if how == "kill":
            w.node.exit(victim, KILL)
        else:
            reason = NORMAL if how == "stop" else "odd"
            w.node.cast(victim, stop_with(reason))
        await w.settle()
        for heir in heirs:
            found = await w.node.call(heir, "found")
            assert found == [(Exit, None, 0), (Down, None, 0)]

    for seed in range(3):
        run(test, shuffle=random.Random(seed))


def test_listeners_hear_of_every_registration_and_its_end() -> None:
    async def test(w: World) -> None:
        by_pid = w.node.spawn(Server)
        by_name = w.node.spawn(Server, name="listener")
        registry = await opened(w, "duplicate", listeners=[by_pid, "listener", "nobody"])
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        registry.register(one, "a", 1)
        registry.register(one, "a", 2)
        registry.register(one, "b", 3)
        registry.register(two, "b", 4)
        registry.unregister(one, "a")
        registry.unregister_match(two, "b", lambda value: value == 4)
        w.node.exit(one, KILL)
        await w.settle()
        expected = [
            Registered("things", "a", one, 1),
            Registered("things", "a", one, 2),
            Registered("things", "b", one, 3),
            Registered("things", "b", two, 4),
            Unregistered("things", "a", one),
            Unregistered("things", "a", one),
            Unregistered("things", "b", two),
            Unregistered("things", "b", one),
        ]
        assert await w.node.call(by_pid, "log") == expected
        assert await w.node.call(by_name, "log") == expected

    run(test)


def test_a_full_mailbox_loses_no_event() -> None:
    from palaver.actors.runtime import MailboxLimit

    async def test(w: World) -> None:
        async def busy(ctx: ProcessContext) -> None:
            await ctx.receive(lambda message: message == "go on")
            while True:
                got.append(await ctx.receive())

        got: list[object] = []
        listener = w.node.spawn(busy, mailbox=MailboxLimit(1, "reject"))
        registry = await opened(w, listeners=[listener])
        pids = [w.node.spawn(Server) for _ in range(20)]
        for pid in pids:
            registry.register(pid, pid, None)
        for pid in pids:
            w.node.exit(pid, KILL)
        await w.settle()
        w.node.send(listener, "go on")
        await w.settle()
        assert len(got) == 40

    run(test)


def test_metadata_lives_as_long_as_the_process() -> None:
    async def test(w: World) -> None:
        registry = await opened(w, meta={"kind": "given"})
        registry.put_meta(("a", 1), "put")
        assert registry.meta("kind") == "given"
        assert registry.meta(("a", 1)) == "put"
        assert registry.meta("unknown") is None
        assert registry.meta("unknown", 3) == 3
        registry.put_meta("kind", "changed")
        registry.delete_meta(("a", 1))
        registry.delete_meta("unknown")
        assert registry.meta(("a", 1)) is None
        assert registry.pid is not None
        w.node.exit(registry.pid, KILL)
        await w.settle()
        assert registry.meta("kind") == "given"

    run(test)


def test_what_is_registered_ends_with_the_registry() -> None:
    """As in Elixir, where who registers is linked to the registry."""

    async def test(w: World) -> None:
        registry = await opened(w)
        plain, unregistered, trapper = (w.node.spawn(kind) for kind in (Server, Server, Trapper))
        for pid in (plain, unregistered, trapper):
            registry.register(pid, pid, None)
        registry.unregister(unregistered, unregistered)
        owner = registry.pid
        assert owner is not None
        w.node.exit(owner, KILL)
        await w.settle()
        assert registry.pid is None
        assert registry.count() == 0
        assert not w.node.is_alive(plain)
        assert w.node.is_alive(unregistered)
        assert await w.node.call(trapper, "log") == [Exit(owner, KILLED)]
        assert trapper.process_ is not None
        assert not trapper.process_.watchers
        # And it can begin anew, with the same object.
        await w.node.start_server(RegistryServer, registry)
        registry.register(trapper, "key", None)
        assert registry.whereis("key") is trapper

    run(test)


def test_without_its_process_a_registry_is_empty_and_takes_nothing() -> None:
    async def test(w: World) -> None:
        registry: Registry[str, int] = Registry("things")
        pid = w.node.spawn(Server)
        with pytest.raises(NotRunning, match="registry things is not running"):
            registry.register(pid, "key", 1)
        with pytest.raises(NotRunning):
            registry.put_meta("key", 1)
        with pytest.raises(NotRunning):
            registry.update_value(pid, "key", lambda old: old)
        registry.unregister(pid, "key")
        assert registry.whereis("key") is None
        assert registry.lookup("key") == []
        assert registry.select() == []
        assert registry.keys(pid) == []
        assert registry.dispatch("key", lambda pid, value: None) == 0
        assert repr(registry) == "<registry things, unique, 0 registrations>"

    run(test)


def test_only_living_processes_of_the_node_are_registered() -> None:
    async def test(w: World) -> None:
        registry = await opened(w)
        dead = w.node.spawn(Server)
        w.node.exit(dead, KILL)
        await w.settle()
        with pytest.raises(NoProcess):
            registry.register(dead, "key", None)
        async with Node("other@local") as other:
            foreign = other.spawn(Server)
            with pytest.raises(NotLocal, match="is not a process of node"):
                registry.register(foreign, "key", None)
            with pytest.raises(StartError, match="runs as"):
                await other.start_server(RegistryServer, registry)
        assert registry.count() == 0
        with pytest.raises(StartError, match="belongs to"):
            await w.node.start_server(RegistryServer, registry)
        assert "<registry things, unique, 0 registrations>" in str(w.observer.crashes[-1].state)
        with pytest.raises(AlreadyRunning):
            await inside(w, attach(registry))

    run(test)


def attach(registry: Registry[Any, Any]) -> Any:
    async def body(ctx: ProcessContext) -> None:
        registry.attach_(ctx)

    return body


def test_a_registry_is_found_by_its_name_and_refuses_requests() -> None:
    async def test(w: World) -> None:
        registry = await opened(w)
        assert w.node.whereis("things") is registry.pid
        with pytest.raises(TypeError, match="does not understand"):
            await w.node.call("things", "anything")
        w.node.cast("things", "anything")
        w.node.send("things", "anything")
        await w.settle()
        assert w.node.whereis("things") is registry.pid
        # The name may also be given where it is started.
        named: Registry[str, None] = Registry("named")
        pid = await w.node.start_server(RegistryServer, named, name="named")
        assert w.node.whereis("named") is pid

    run(test)


def test_keys_are_unique_or_duplicate() -> None:
    with pytest.raises(ValueError, match="unique or duplicate"):
        Registry("things", keys="many")  # type: ignore[arg-type]


class Room(GenServer):
    def init(self, registry: Registry[str, None], key: str) -> None:
        registry.register(self.pid, key)


class Tree(Supervisor):
    def specification(self, registry: Registry[str, None]) -> Any:
        return SupervisorFlags("rest_for_one", intensity=10), [
            ChildSpec("registry", RegistryServer, (registry,)),
            *(ChildSpec(key, Room, (registry, key)) for key in "abc"),
        ]


@given(victims=st.lists(st.sampled_from(["registry", "a", "b", "c"]), max_size=4))
@settings(max_examples=30, deadline=None)
def test_under_a_supervisor_everything_is_found_again(victims: list[str]) -> None:
    async def test(w: World) -> None:
        registry: Registry[str, None] = Registry("rooms")
        tree = await w.node.start_server(Tree, registry)
        for victim in victims:
            pid = registry.pid if victim == "registry" else registry.whereis(victim)
            assert pid is not None
            w.node.exit(pid, KILL)
            await w.settle()
            await w.node.call(tree, CountChildren())
        assert {found.key for found in registry.select()} == {"a", "b", "c"}
        assert all(w.node.is_alive(found.pid) for found in registry.select())
        w.node.exit(tree, SHUTDOWN)
        await w.settle()
        assert registry.count() == 0
        assert not list(w.node.processes())

    run(test)


# -- any history against a model -------------------------------------------------------------------

PROCESSES = 4
steps = st.one_of(
    st.tuples(st.just("register"), st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 2)),
    st.tuples(st.just("unregister"), st.integers(0, 3), st.sampled_from("ab"), st.just(0)),
    st.tuples(st.just("match"), st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(0, 3), st.just("a"), st.just(0)),
)


@given(keys=st.sampled_from(["unique", "duplicate"]), history=st.lists(steps, max_size=25))
@settings(max_examples=150, deadline=None)
def test_any_history_leaves_what_the_model_says(
    keys: Literal["unique", "duplicate"], history: list[Any]
) -> None:
    async def test(w: World) -> None:
        listener = w.node.spawn(Server)
        registry = await opened(w, keys, listeners=[listener])
        pids = [w.node.spawn(Server) for _ in range(PROCESSES)]
        model: list[tuple[str, Pid, int]] = []
        ends = 0
        for what, number, key, value in history:
            pid = pids[number]
            gone: list[tuple[str, Pid, int]] = []
            if what == "register":
                taken = keys == "unique" and any(each[0] == key for each in model)
                try:
                    registry.register(pid, key, value)
                    assert not taken
                    model.append((key, pid, value))
                except AlreadyRegistered:
                    assert taken
            elif what == "unregister":
                registry.unregister(pid, key)
                gone = [each for each in model if each[:2] == (key, pid)]
            elif what == "match":
                gone = [each for each in model if each == (key, pid, value)]
                assert registry.unregister_match(pid, key, value.__eq__) == len(gone)
            else:
                w.node.exit(pid, KILL)
                await w.settle()
                gone = [each for each in model if each[1] is pid]
                pids[number] = w.node.spawn(Server)
            ends += len(gone)
            model = [each for each in model if each not in gone]
            check(registry, model, pids)
        log = await w.node.call(listener, "log")
        assert sum(isinstance(event, Unregistered) for event in log) == ends
        assert sum(isinstance(event, Registered) for event in log) == ends + len(model)
        for pid in pids:  # nothing is left on processes that have no key
            process = pid.process_
            assert process is not None
            watched = any(each[1] is pid for each in model)
            assert bool(process.watchers) == watched

    run(test)


def check(registry: Registry[Any, Any], model: list[tuple[str, Pid, int]], pids: list[Pid]) -> None:
    def order(each: tuple[str, Pid, int]) -> tuple[Any, ...]:
        return (each[0], each[1].serial, each[2])

    found = registry.select()
    assert all(type(each) is Registration for each in found)
    assert sorted(found, key=order) == sorted(model, key=order)
    assert registry.count() == len(model)
    for key in "ab":
        looked_up = [(key, pid, value) for pid, value in registry.lookup(key)]
        assert sorted(looked_up, key=order) == sorted(
            (each for each in model if each[0] == key), key=order
        )
        for pid in pids:
            assert registry.values(pid, key) == [v for k, p, v in model if (k, p) == (key, pid)]
    for pid in pids:
        assert sorted(registry.keys(pid)) == sorted(k for k, p, _ in model if p is pid)


def test_the_end_of_a_hundred_thousand_costs_each_the_same() -> None:
    """Also under one key: nothing searches among the others (this would take hours)."""

    async def test(w: World) -> None:
        topic = await opened(w, "duplicate")
        unique: Registry[int, None] = Registry("unique")
        await w.node.start_server(RegistryServer, unique)
        pids = [w.node.spawn(Server) for _ in range(100_000)]
        for number, pid in enumerate(pids):
            topic.register(pid, "one topic", number)
            unique.register(pid, number)
        assert unique.whereis(99_999) is pids[-1]
        many = w.node.spawn(Server)
        for number in range(100_000, 150_000):
            unique.register(many, number)
        for number in range(100_000, 125_000):
            unique.unregister(many, number)
        for pid in reversed(pids):
            w.node.exit(pid, KILL)
        w.node.exit(many, KILL)
        await w.settle()
        assert topic.count() == unique.count() == 0

    run(test)
