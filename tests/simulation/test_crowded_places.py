"""A host with very much to do at once does it, however late it is and whenever it dies."""

from __future__ import annotations

import asyncio

from palaver.actors.simulation import Host, Seeded, World, run

TIMERS = 2_000


def test_a_crowd_of_timers_is_late_as_one() -> None:
    """Were each of them late by itself, the host would never come to run any."""
    done: list[int] = []

    async def boot(host: Host) -> None:
        loop = asyncio.get_running_loop()
        for number in range(TIMERS):
            loop.call_later(1.0, done.append, number)

    async def scenario(world: World) -> None:
        await world.host("a", boot).start()
        assert await world.until(lambda: len(done) == TIMERS, within_s=10.0)

    outcome = run(scenario, Seeded(1, swarm=False, rates={"late": 0.3}), max_steps=50_000)
    assert outcome.failure is None
    assert done == list(range(TIMERS))


def test_a_task_that_never_ran_dies_with_its_host() -> None:
    ran: list[str] = []

    async def work() -> None:
        ran.append("work")

    async def scenario(world: World) -> None:
        host = world.host("a")
        host.boot()
        host.spawn(work())
        host.crash()
        await world.sleep(1.0)

    assert run(scenario).failure is None
    assert not ran
