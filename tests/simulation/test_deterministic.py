"""Two runs of one tape are the same, also with other programs' libraries; or it is found out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import WebSocketException

from palaver.actors.runtime import GenServer
from palaver.actors.simulation import (
    Diverged,
    Faults,
    Host,
    NonDeterminism,
    NotReached,
    Quiet,
    Seeded,
    SimulationError,
    World,
    check_deterministic,
    run,
)


class Echo(GenServer):
    def init(self) -> None:
        self.count = 0

    def handle_call(self, request: str, from_: object) -> str:
        self.count += 1
        return f"{request} {self.count}"


async def echo_host(host: Host) -> None:
    node = await host.node()
    await node.start_server(Echo, name="echo")

    async def talk(connection: ServerConnection) -> None:
        with suppress(WebSocketException):
            async for message in connection:
                await connection.send(await node.call("echo", message))

    await serve(talk, "0.0.0.0", 4400)


async def websockets_under_faults(world: World) -> None:
    """Real websockets, with masks, keys, keepalive and backoff by chance."""
    await world.host("server", echo_host).start()
    heard: list[str] = []

    async def client(host: Host) -> None:
        host.spawn(talk(host))

    async def talk(host: Host) -> None:
        async for connection in connect("ws://server:4400/", ping_interval=5):
            with suppress(WebSocketException, OSError):
                for number in range(12):
                    await connection.send(f"{host.name}{number}")
                    heard.append(str(await connection.recv()))
                    await asyncio.sleep(3)

    world.nemesis(Faults(crash=0.01, reset=0.02, pause=0.01))
    for name in ("ann", "bob"):
        world.host(name, client).boot()
    await world.sleep(60)
    await world.calm()
    count = len(heard)
    await world.eventually(lambda: len(heard) > count, "the clients talk again")
    world.trace.note("heard", "scenario", str(heard))


@pytest.mark.parametrize("seed", [1, 4])
def test_real_websockets_are_the_same_in_every_run(seed: int) -> None:
    assert check_deterministic(websockets_under_faults, seed) > 0


async def web_host(host: Host) -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 80).start()


async def aiohttp_serves(world: World) -> None:
    """A real web server; it tells the date in its answers."""
    await world.host("web", web_host).start()
    client = world.host("client")
    client.boot()

    async def get() -> str:
        reader, writer = await asyncio.open_connection("web", 80)
        writer.write(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
        return answer

    await world.sleep(3600.0)
    answer = await client.spawn(get())
    assert answer.endswith("hello")
    assert "Date: Thu, 01 Jan 2026 01:00:00 GMT" in answer
    world.trace.note("answer", "scenario", answer)


def test_a_real_web_server_lives_in_virtual_time() -> None:
    check_deterministic(aiohttp_serves, source=Quiet(), hash_seeds=())


async def tasks_in_sets(world: World) -> None:
    """What asyncio keeps in sets: in which order it is cancelled can be seen."""
    cancelled: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.sleep(100 + number)
        finally:
            cancelled.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(20)]
    _, pending = await asyncio.wait(tasks, timeout=1.0)
    for task in pending:
        task.cancel()
    await asyncio.wait(tasks)
    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(wait(number))
            await asyncio.sleep(1.0)
            raise ValueError("all others are cancelled")
    world.trace.note("cancelled", "scenario", str(cancelled))


def test_tasks_in_sets_have_one_order() -> None:
    check_deterministic(tasks_in_sets)


async def names_in_a_set(world: World) -> None:
    for name in {"ann", "bob", "carl", "dora", "emil", "fred", "gina", "hugo"}:
        world.trace.note("greeted", "scenario", name)


def test_the_order_of_a_set_of_text_is_found_out() -> None:
    with pytest.raises(Diverged) as caught:
        check_deterministic(names_in_a_set, hash_seeds=(1, 2, 3))
    assert "with PYTHONHASHSEED=" in str(caught.value)
    assert "one:" in str(caught.value)
    assert "greeted" in str(caught.value)
    assert caught.value.step >= 0


COUNT = itertools.count()


async def a_global_that_goes_on(world: World) -> None:
    await world.sleep(1.0)
    world.trace.note("same", "scenario", "in every run")
    world.trace.note("counted", "scenario", str(next(COUNT)))


def test_a_global_that_goes_on_is_found_out_in_one_interpreter() -> None:
    with pytest.raises(Diverged) as caught:
        check_deterministic(a_global_that_goes_on, hash_seeds=())
    text = str(caught.value)
    assert text.startswith("two runs of one tape differ: run once, and again in this interpreter")
    assert text.splitlines()[-3].endswith("in every run")
    assert text.splitlines()[-2].startswith("one:")
    assert "counted" in text.splitlines()[-1]


async def as_many_turns_as_before(world: World) -> None:
    for _ in range(next(COUNT)):
        await asyncio.sleep(0.0)
        world.trace.feed(1)


def test_runs_of_different_length_are_found_out() -> None:
    with pytest.raises(Diverged, match="nothing more"):
        check_deterministic(as_many_turns_as_before, hash_seeds=())


def test_a_scenario_must_be_found_from_another_interpreter() -> None:
    async def inner(world: World) -> None:
        await world.sleep(1.0)

    with pytest.raises(SimulationError, match="top level"):
        check_deterministic(inner)
    check_deterministic(inner, hash_seeds=())


async def fails(world: World) -> None:
    await world.sleep(1.0)
    world.fail("it holds", "it does not")


def test_runs_that_fail_in_the_same_way_are_the_same() -> None:
    check_deterministic(fails, hash_seeds=(1,))


# -- the guard in a world --------------------------------------------------------------------------


class Sloppy(GenServer):
    """Its supervisor would restart it for ever: the error never reaches the scenario."""

    def handle_cast(self, message: object) -> None:
        import time

        time.sleep(0.0)


async def sloppy_actor(world: World) -> None:
    async def boot(host: Host) -> None:
        node = await host.node()
        server = await node.start_server(Sloppy)
        node.cast(server, "work")

    await world.host("a", boot).start()
    await world.sleep(1.0)


def test_what_an_actor_swallows_fails_the_run() -> None:
    failure = run(sloppy_actor, Seeded(1)).failure
    assert isinstance(failure, NonDeterminism)
    assert "Sloppy.handle_cast" in str(failure)


async def slow_steps(world: World) -> AsyncIterator[int]:
    for number in range(3):
        yield number
        await world.sleep(1.0)


async def leaves_a_generator(world: World) -> None:
    async for _ in slow_steps(world):
        break
    await world.sleep(1.0)


def test_generators_that_are_left_end_at_the_same_step() -> None:
    check_deterministic(leaves_a_generator, hash_seeds=())


async def boots_for_ever(world: World) -> None:
    async def boot(host: Host) -> None:
        while True:
            await asyncio.sleep(60.0)

    await world.host("a", boot).start()


def test_a_boot_that_never_ends_is_told_of() -> None:
    failure = run(boots_for_ever).failure
    assert isinstance(failure, NotReached)
    assert "host.spawn" in str(failure)


async def reads_a_file(world: World) -> None:
    Path(__file__).read_text()


def test_files_are_refused_in_a_world_where_that_is_asked_for() -> None:
    assert run(reads_a_file).failure is None
    assert isinstance(run(reads_a_file, no_files=True).failure, NonDeterminism)
