"""The connection registry: one contract for both engines; Redis going away, losing everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from redis_server import RedisServer

from palaver.actors.chat.address_book import ClusterBook, LocalBook
from palaver.actors.chat.manager import Manager
from palaver.actors.chat.messages import (
    Announce,
    AnnounceAgain,
    GatewayUp,
    LookUp,
    Placement,
    Release,
    Withdraw,
)
from palaver.actors.chat.registry import ConnectionRegistry, MemoryRegistry, RegistryAway
from palaver.actors.chat.registry_redis import RedisRegistry
from palaver.actors.distribution import RemotePid
from palaver.actors.distribution.links import LinkCarrier
from palaver.actors.distribution.signals import Where
from palaver.actors.runtime import GenServer, Node, Pid

Run = Callable[[Coroutine[Any, Any, None]], None]


class Idle(GenServer):
    """Somebody to have a pid."""


@asynccontextmanager
async def running_node() -> AsyncIterator[Node]:
    node = Node("here")
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


def redis_registry(server: RedisServer, node: Node, **options: Any) -> RedisRegistry:
    options.setdefault("book", LocalBook(node, "run1"))
    options.setdefault("prefix", "palaver:test:0")
    options.setdefault("random", random.Random(1))
    return RedisRegistry(server.url, **options)


ENGINES = ["memory", pytest.param("redis", marks=pytest.mark.peer)]


@asynccontextmanager
async def engine(kind: str, node: Node) -> AsyncIterator[ConnectionRegistry]:
    if kind == "memory":
        yield MemoryRegistry()
        return
    async with RedisServer() as server, redis_registry(server, node) as registry:
        yield registry


# -- the contract ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENGINES)
def test_it_knows_where_the_devices_of_an_account_are(kind: str, run: Run) -> None:
    async def main() -> None:
        async with running_node() as node, engine(kind, node) as registry:
            one, two, a, b, c = [node.spawn(Idle) for _ in range(5)]
            assert await registry.gateways("ann") == ()
            assert await registry.put("ann", 1, one, a) is None
            assert await registry.put("ann", 2, one, b) is None
            assert await registry.gateways("ann") == (one,)
            assert await registry.gateways("bob") == ()
            # Another gateway's session takes the device over; the same gateway's own does not.
            assert await registry.put("ann", 1, two, c) is one
            assert await registry.put("ann", 1, two, a) is None
            assert set(await registry.gateways("ann")) == {one, two}
            assert not await registry.remove("ann", 1, c)  # no longer the one on record
            assert not await registry.remove("ann", 9, c)
            assert not await registry.remove("bob", 1, c)
            assert await registry.remove("ann", 1, a)
            assert await registry.gateways("ann") == (one,)
            assert await registry.remove("ann", 2, b)
            assert await registry.gateways("ann") == ()

    run(main())


@pytest.mark.parametrize("kind", ENGINES)
def test_a_gateway_that_went_is_forgotten_with_its_sessions_only(kind: str, run: Run) -> None:
    async def main() -> None:
        async with running_node() as node, engine(kind, node) as registry:
            one, two, session = [node.spawn(Idle) for _ in range(3)]
            for number in range(30):
                await registry.put(f"account {number}", 1, one if number % 3 else two, session)
            await registry.put("account 0", 2, one, session)
            await registry.put("account 1", 1, two, session)
            gone = {f"account {n}" for n in range(30) if n % 3} - {"account 1"} | {"account 0"}
            assert set(await registry.drop_gateway(one)) == gone
            assert await registry.drop_gateway(one) == ()
            for number in range(30):
                there = number % 3 == 0 or number == 1
                found = await registry.gateways(f"account {number}")
                assert found == ((two,) if there else ())

    run(main())


@pytest.mark.parametrize("kind", ENGINES)
def test_it_agrees_with_a_model_whatever_is_done(kind: str, run: Run) -> None:
    async def main() -> None:
        chance = random.Random(5)
        async with running_node() as node, engine(kind, node) as registry:
            gateways = [node.spawn(Idle) for _ in range(3)]
            sessions = [node.spawn(Idle) for _ in range(4)]
            model: dict[tuple[str, int], tuple[Pid, Pid]] = {}
            for _ in range(400):
                account, device = chance.choice("abcd"), chance.randrange(3)
                gateway, session = chance.choice(gateways), chance.choice(sessions)
                match chance.randrange(10):
                    case 0:
                        mine = {at for at, (where, _) in model.items() if where is gateway}
                        concerned = await registry.drop_gateway(gateway)
                        assert sorted(concerned) == sorted({at[0] for at in mine})
                        for at in mine:
                            del model[at]
                    case 1 | 2 | 3:
                        known = model.get((account, device))
                        held = known is not None and known[1] is session
                        assert await registry.remove(account, device, session) == held
                        if held:
                            del model[account, device]
                    case _:
                        before = model.get((account, device))
                        told = await registry.put(account, device, gateway, session)
                        moved = before is not None and before[0] is not gateway
                        assert told is (before[0] if before is not None and moved else None)
                        model[account, device] = (gateway, session)
                held_by = {where for (who, _), (where, _) in model.items() if who == account}
                found = await registry.gateways(account)
                assert set(found) == held_by
                assert len(found) == len(held_by)
                if chance.random() < 0.1:
                    assert not await registry.upkeep()

    run(main())


# -- addresses as text -------------------------------------------------------------------------


def test_an_address_of_another_run_means_nothing(run: Run) -> None:
    async def main() -> None:
        async with running_node() as node:
            pid = node.spawn(Idle)
            book, later = LocalBook(node, "run1"), LocalBook(node, "run2")
            assert book.pid(book.text(pid)) is pid
            assert later.pid(book.text(pid)) is None
            for text in ("", "x", "here/run1/", "here/run1/-1", "there/run1/1"):
                assert book.pid(text) is None

    run(main())


def test_in_a_cluster_an_address_means_the_same_on_every_node(run: Run) -> None:
    async def main() -> None:
        async with running_node() as node:
            pid = node.spawn(Idle)
            where = Where("pid", "here@host", 7, pid.serial)
            directory = SimpleNamespace(
                where=lambda _pid: where, found=lambda asked: pid if asked == where else "a name"
            )
            book = ClusterBook(directory)
            assert book.text(pid) == f"here@host/7/{pid.serial}"
            assert book.pid(book.text(pid)) is pid
            for text in ("", "a", "a/b/c", "here@host/7", "/7/7", "here@host/8/1"):
                assert book.pid(text) is None

    run(main())


def test_a_distribution_is_such_a_book(run: Run) -> None:
    async def main() -> None:
        async with running_node() as node, Node("there") as other:
            carrier = LinkCarrier(node, 3)
            here = ClusterBook(carrier.distribution.directory)
            there = ClusterBook(LinkCarrier(other, 9).distribution.directory)
            pid = node.spawn(Idle)
            text = here.text(pid)
            assert " " not in text
            assert here.pid(text) is pid
            remote = there.pid(text)
            assert isinstance(remote, RemotePid)
            assert there.text(remote) == text
            # One object for it, as long as somebody has it: gateways are told apart by that.
            assert there.pid(text) is remote
            # The same node in its next life has other processes.
            later = ClusterBook(LinkCarrier(node, 4).distribution.directory)
            assert later.pid(text) is not pid

    run(main())


# -- Redis -------------------------------------------------------------------------------------

over_redis = pytest.mark.peer


@over_redis
def test_while_redis_is_away_nobody_waits_for_it(run: Run) -> None:
    async def main() -> None:
        server = RedisServer()
        async with running_node() as node, redis_registry(server, node) as registry:
            pid = node.spawn(Idle)
            with pytest.raises(RegistryAway):
                await registry.put("ann", 1, pid, pid)
            assert registry.away
            assert registry.upkeep_s == 1.0
            for asking in (
                registry.put("ann", 1, pid, pid),
                registry.remove("ann", 1, pid),
                registry.gateways("ann"),
                registry.drop_gateway(pid),
            ):
                # Refused in one step, before anything could have been asked.
                with pytest.raises(RegistryAway):
                    asking.send(None)
            with pytest.raises(RegistryAway):
                await registry.upkeep()
            assert registry.away
            async with server:
                assert not await registry.upkeep()
                assert not registry.away
                assert registry.upkeep_s == 10.0
                assert await registry.put("ann", 1, pid, pid) is None

    run(main())


@over_redis
def test_what_redis_lost_is_said_once(run: Run) -> None:
    async def main() -> None:
        async with (
            RedisServer() as server,
            running_node() as node,
            redis_registry(server, node) as registry,
        ):
            pid = node.spawn(Idle)
            assert not await registry.upkeep()
            await registry.put("ann", 1, pid, pid)
            assert not await registry.upkeep()
            await server.flush()
            assert await registry.upkeep()
            assert await registry.gateways("ann") == ()
            # One key that is gone (evicted, for want of memory) is a loss as well.
            await registry.put("ann", 1, pid, pid)
            for _ in range(3):
                assert not await registry.upkeep()
            await server.forget("ann")
            lost = [await registry.upkeep() for _ in range(3)]
            assert any(lost)

    run(main())


@over_redis
def test_a_gateway_that_went_while_redis_was_away_is_forgotten_afterwards(run: Run) -> None:
    async def main() -> None:
        async with (
            RedisServer() as server,
            running_node() as node,
            redis_registry(server, node) as registry,
        ):
            one, two = node.spawn(Idle), node.spawn(Idle)
            await registry.put("ann", 1, one, one)
            await registry.put("ann", 2, two, two)
            server.pause(True)
            with pytest.raises(RegistryAway):
                await registry.drop_gateway(one)
            server.pause(False)
            await registry.upkeep()
            assert await registry.gateways("ann") == (two,)

    run(main())


@over_redis
def test_entries_nobody_holds_any_more_go_by_themselves(run: Run) -> None:
    async def main() -> None:
        async with RedisServer() as server, running_node() as node:
            async with redis_registry(server, node, ttl_s=0.2) as registry:
                pid = node.spawn(Idle)
                await registry.upkeep()
                await registry.put("ann", 1, pid, pid)
                assert len(await server.keys()) == 3
            async with asyncio.timeout(20):
                while await server.keys():
                    await asyncio.sleep(0.02)  # there is nothing that tells of it

    run(main())


@over_redis
def test_two_partitions_do_not_meet(run: Run) -> None:
    async def main() -> None:
        async with RedisServer() as server, running_node() as node:
            book = LocalBook(node, "run1")
            async with (
                redis_registry(server, node, book=book) as one,
                redis_registry(server, node, book=book, prefix="palaver:test:1") as two,
            ):
                gateway = node.spawn(Idle)
                await one.put("ann", 1, gateway, gateway)
                await two.put("bob", 1, gateway, gateway)
                assert await one.drop_gateway(gateway) == ("ann",)
                assert await two.gateways("bob") == (gateway,)

    run(main())


# -- the manager over Redis --------------------------------------------------------------------


class Desk(GenServer):
    """A gateway as the manager sees it: it announces, and notes what it is told."""

    def init(self, manager: Pid, sessions: dict[str, Pid], placements: dict[str, Any]) -> None:
        self.manager = manager
        self.sessions = sessions
        self.placements = placements
        self.again = 0
        self.send(manager, GatewayUp(self.pid))
        self.announce()

    def announce(self) -> None:
        for account, session in self.sessions.items():
            self.send(self.manager, Announce(self.pid, account, 1, session))

    def handle_info(self, message: Any) -> None:
        match message:
            case Placement(account, gateways):
                self.placements[account] = gateways
            case AnnounceAgain(0):
                self.placements["again"] = self.placements.get("again", 0) + 1
                self.announce()
            case ("look up", account):
                self.send(self.manager, LookUp(self.pid, account))
            case ("withdraw", account):
                session = self.sessions.pop(account)
                self.send(self.manager, Withdraw(self.pid, account, 1, session, True))
            case Release(account, _, _):
                self.placements["released"] = account


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)  # processes say what they know to each other only


@over_redis
def test_the_manager_fills_a_redis_that_was_killed_and_lost_everything(run: Run) -> None:
    async def main() -> None:
        async with (
            RedisServer() as server,
            running_node() as node,
            redis_registry(server, node, timeout_s=0.2) as registry,
        ):
            manager = await node.start_server(Manager, 0, lambda number: registry)
            session = node.spawn(Idle)
            accounts = [f"account {n}" for n in range(200)]
            one: dict[str, Any] = {}
            two: dict[str, Any] = {}
            here = await node.start_server(
                Desk, manager, dict.fromkeys(accounts[:100], session), one
            )
            there = await node.start_server(
                Desk, manager, dict.fromkeys(accounts[100:], session), two
            )
            # It is killed while they are announced, and somebody asks meanwhile.
            await until(lambda: len(one) > 10)
            await server.kill()
            node.send(here, ("look up", accounts[150]))
            node.send(here, ("look up", "nobody"))
            await until(lambda: one.get("nobody") == ())
            await server.start()
            # All of it is there again, and who asked is told the truth.
            await until(lambda: one.get(accounts[150]) == (there,))

            async def complete() -> bool:
                try:
                    found = [await registry.gateways(each) for each in accounts]
                except RegistryAway:
                    return False
                return found == [(here,)] * 100 + [(there,)] * 100

            async with asyncio.timeout(30):
                while not await complete():
                    await asyncio.sleep(0.02)
            assert one["again"] >= 1
            assert two["again"] >= 1
            assert node.whereis(manager) is manager  # it lived through it

    run(main())


@over_redis
def test_a_session_that_ended_while_redis_was_away_is_found_nowhere(run: Run) -> None:
    async def main() -> None:
        async with (
            RedisServer() as server,
            running_node() as node,
            redis_registry(server, node, timeout_s=0.2) as registry,
        ):
            manager = await node.start_server(Manager, 0, lambda number: registry)
            session = node.spawn(Idle)
            told: dict[str, Any] = {}
            desk = await node.start_server(Desk, manager, {"ann": session, "bob": session}, told)
            await until(lambda: told.get("ann") == told.get("bob") == (desk,))
            await server.kill()
            node.send(desk, ("withdraw", "ann"))
            node.send(desk, ("look up", "ann"))
            await until(lambda: told.get("ann") == ())
            await server.start()
            await until(lambda: told.get("again", 0) >= 1)
            node.send(desk, ("look up", "bob"))
            await until(lambda: told["bob"] == (desk,))
            assert await registry.gateways("ann") == ()

    run(main())
