"""The world: virtual time, hosts that come and go, statements, and runs that repeat."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from world_kit import ALL_FAULTS, Counter, counting

from palaver.actors.runtime import GenServer, Node, ProcessContext
from palaver.actors.simulation import (
    AlwaysViolated,
    Fault,
    Faults,
    Host,
    NotReached,
    Recorded,
    Seeded,
    SimulationError,
    Stuck,
    Tape,
    TooLong,
    Unhandled,
    Violation,
    World,
    run,
)

DAY_S = 86_400.0


def outcome_of(scenario: Callable[[World], Awaitable[None]], **options: Any) -> Any:
    return run(scenario, **options)


# -- runs that repeat ----------------------------------------------------------------------------


@settings(max_examples=60)
@example(801)  # the counter is killed before it has begun
@given(st.integers(0, 2**32))
def test_two_runs_of_a_tape_are_the_same(seed: int) -> None:
    first = run(counting, Seeded(seed))
    again = run(counting, Seeded(seed))
    replayed = run(counting, Recorded(first.tape.deviations, seed))
    assert first.failure is None
    assert first.hash == again.hash == replayed.hash
    assert first.steps == again.steps == replayed.steps
    assert list(first.trace.lines) == list(replayed.trace.lines)


def test_the_order_of_hashes_changes_nothing() -> None:
    program = (
        "from palaver.actors.simulation import Seeded, run\n"
        "from world_kit import counting\n"
        "print([run(counting, Seeded(seed)).hash for seed in range(5)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": hash_seed}, cwd=Path(__file__).parent,
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1


def test_seeds_differ() -> None:
    assert len({run(counting, Seeded(seed)).hash for seed in range(10)}) == 10


def test_every_fault_happens_in_some_run() -> None:
    reached = run(counting, Seeded(0)).coverage
    for seed in range(1, 40):
        reached.merge(run(counting, Seeded(seed)).coverage)
    assert not reached.missed
    kinds = {name for name in ALL_FAULTS.__dataclass_fields__ if name not in
             ("own", "pulse_s", "spare")}  # fmt: skip
    assert {f"fault: {name}" for name in kinds} <= set(reached.reached)


# -- time ------------------------------------------------------------------------------------------


def test_a_day_of_idleness_is_a_step_or_two() -> None:
    async def scenario(world: World) -> None:
        began_s = world.now_s
        await world.sleep(1000 * DAY_S)
        assert world.now_s - began_s == 1000 * DAY_S

    outcome = run(scenario, max_virtual_s=2000 * DAY_S)
    assert outcome.failure is None
    assert outcome.steps < 10


def test_timers_of_a_node_are_never_early_on_a_clock_that_drifts() -> None:
    woken: list[tuple[float, float]] = []

    async def sleeper(ctx: ProcessContext) -> None:
        for delay_s in (0.001, 0.3, 7.0, DAY_S):
            before_s = ctx.clock.monotonic()
            await ctx.sleep(delay_s)
            woken.append((delay_s, ctx.clock.monotonic() - before_s))

    async def boot(host: Host) -> None:
        (await host.node()).spawn(sleeper)

    async def scenario(world: World) -> None:
        await world.host("a", boot).start()
        await world.sleep(2 * DAY_S)

    rates = set()
    for value in range(5):
        with World(Tape(Recorded({("drift/a", 0): value}))) as world:
            world.run(scenario(world))
            rates.add(world.hosts["a"].clock.rate)
    assert len(rates) == 5
    assert len(woken) == 20
    early_or_late = [passed - asked for asked, passed in woken]
    assert min(early_or_late) > -1e-9  # the sum of two floats
    assert max(early_or_late) < 0.01


def test_a_wall_clock_jumps_and_stays_so_after_a_restart() -> None:
    async def scenario(world: World) -> None:
        host = world.host("a")
        await host.start()
        before_ms = host.clock.time_ms()
        monotonic_s = host.clock.monotonic()
        host.jump(-3600)
        assert host.clock.time_ms() == before_ms - 3_600_000
        await host.restart()
        assert host.clock.time_ms() == before_ms - 3_600_000
        assert host.clock.monotonic() == monotonic_s

    assert run(scenario).failure is None


# -- hosts -----------------------------------------------------------------------------------------


def test_what_runs_on_a_host_ends_with_it_and_cleans_nothing_up() -> None:
    told: list[str] = []

    async def work(ctx: ProcessContext) -> None:
        try:
            await ctx.receive()
        finally:
            told.append("a process cleaned up")

    async def boot(host: Host) -> None:
        told.append(f"boot {host.incarnation}")
        (await host.node()).spawn(work)
        host.world.loop.call_later(5, told.append, "a timer")
        try:
            await asyncio.sleep(10)
        finally:
            told.append("a task cleaned up")

    with World() as world:
        host = world.host("a", boot)
        host.boot()
        world.advance(1)
        host.crash()
        assert not host.alive
        world.advance(60)
        host.boot()
        world.advance(2)
        assert told == ["boot 1", "boot 2"]


def test_a_start_is_over_when_one_boot_has_come_to_its_end() -> None:
    async def boot(host: Host) -> None:
        await asyncio.sleep(2)

    async def scenario(world: World) -> None:
        host = world.host("a", boot)
        world.network.later(1, host.crash)
        world.network.later(5, host.boot)
        await host.start()
        assert world.now_s == 7
        assert host.incarnation == 2

    assert run(scenario).failure is None


def test_a_boot_that_fails_is_raised_by_start() -> None:
    async def boot(host: Host) -> None:
        raise ValueError("no disk")

    async def scenario(world: World) -> None:
        with pytest.raises(ValueError, match="no disk"):
            await world.host("a", boot).start()

    assert run(scenario).failure is None


def test_a_paused_host_does_everything_later_in_order() -> None:
    told: list[tuple[str, float]] = []

    async def boot(host: Host) -> None:
        for after_s in (3.0, 1.0, 2.0):
            host.world.loop.call_later(
                after_s, lambda what=after_s: told.append((what, host.world.now_s))
            )

    async def scenario(world: World) -> None:
        host = world.host("a", boot)
        await host.start()
        host.pause(10)
        await world.sleep(20)

    assert run(scenario).failure is None
    assert told == [(1.0, 10.0), (2.0, 10.0), (3.0, 10.0)]


def test_a_pause_that_ends_early_keeps_the_order() -> None:
    told: list[int] = []

    async def boot(host: Host) -> None:
        loop = host.world.loop
        for number in range(5):
            loop.call_later(1.0 + number / 10, told.append, number)

    async def scenario(world: World) -> None:
        host = world.host("a", boot)
        await host.start()
        nemesis = world.nemesis(Faults())
        await world.sleep(0.5)
        host.pause(60)
        await world.sleep(0.75)  # some are due by now, some are not
        nemesis.stop()
        await world.sleep(1.0)
        assert told == [0, 1, 2, 3, 4]

    assert run(scenario).failure is None


def test_disks_are_told_of_the_end_and_of_power() -> None:
    told: list[bool] = []

    async def boot(host: Host) -> None:
        host.on_end.append(told.append)

    async def scenario(world: World) -> None:
        host = world.host("a", boot)
        await host.start()
        host.crash()
        host.power_off()  # it is down already
        await host.start()
        host.power_off()
        await host.restart()

    assert run(scenario).failure is None
    assert told == [False, True]


def test_blocking_work_is_done_without_threads() -> None:
    answers: list[object] = []

    async def work(ctx: ProcessContext) -> None:
        answers.append(await ctx.run_blocking(divmod, 7, 2))
        try:
            await ctx.run_blocking(divmod, 7, 0)
        except ZeroDivisionError as error:
            answers.append(type(error))

    async def boot(host: Host) -> None:
        (await host.node()).spawn(work)

    async def scenario(world: World) -> None:
        await world.host("a", boot).start()
        await world.eventually(lambda: len(answers) == 2, "both are answered")

    assert run(scenario).failure is None
    assert answers == [(3, 1), ZeroDivisionError]


def test_nodes_of_several_hosts_share_nothing() -> None:
    async def boot(host: Host) -> None:
        node = await host.node()
        await node.start_server(Counter, name="counter")
        node.cast("counter", 1)

    async def scenario(world: World) -> None:
        for name in "abc":
            await world.host(name, boot).start()
        nodes = [node for host in world.hosts.values() for node in host.nodes]
        assert [await node.call("counter", "count") for node in nodes] == [1, 1, 1]

    assert run(scenario).failure is None


def test_who_runs_next_is_a_choice() -> None:
    class Teller(GenServer):
        def init(self, told: list[int], number: int) -> None:
            self.told, self.number = told, number

        def handle_info(self, message: object) -> None:
            self.told.append(self.number)

    orders = set()
    for seed in range(30):
        told: list[int] = []

        async def boot(host: Host, told: list[int] = told) -> None:
            node = await host.node()
            pids = [await node.start_server(Teller, told, number) for number in range(4)]
            for pid in pids:
                node.send(pid, "tell")

        async def scenario(world: World, boot: Any = boot) -> None:
            await world.host("a", boot).start()
            await world.sleep(1)

        assert run(scenario, Seeded(seed, swarm=False)).failure is None
        assert sorted(told) == [0, 1, 2, 3]
        orders.add(tuple(told))
    assert len(orders) > 5


# -- statements ------------------------------------------------------------------------------------


def test_always_is_checked_after_every_step() -> None:
    state = {"money": 10}

    async def scenario(world: World) -> None:
        world.always(lambda: state["money"] == 10, "money is conserved")
        await world.sleep(1)
        state["money"] = 9
        await world.sleep(0)
        state["money"] = 10
        await world.sleep(1)

    failure = run(scenario).failure
    assert isinstance(failure, AlwaysViolated)
    assert failure.what == "always: money is conserved"


def test_always_says_what_its_assertion_says() -> None:
    def holds() -> None:
        raise AssertionError("9 is not 10")

    async def scenario(world: World) -> None:
        world.always(holds, "money is conserved")
        await world.sleep(1)

    assert "9 is not 10" in str(run(scenario).failure)


def test_an_invariant_is_checked_when_time_passes_and_at_the_end() -> None:
    checked: list[float] = []

    async def scenario(world: World) -> None:
        world.invariant(lambda: checked.append(world.now_s), "it is checked", every_s=1.0)
        for _ in range(20):
            await world.sleep(0.25)

    assert run(scenario).failure is None
    assert checked[:-1] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_eventually_waits_in_virtual_time_and_no_longer() -> None:
    async def scenario(world: World) -> None:
        await world.eventually(lambda: world.now_s >= 0, "now")
        world.loop.call_later(7, lambda: None)
        await world.eventually(lambda: world.now_s >= 7, "a week day", within_s=10)
        await world.eventually(lambda: False, "a miracle", within_s=5)

    outcome = run(scenario)
    assert isinstance(outcome.failure, NotReached)
    assert outcome.failure.what == "eventually: a miracle"
    assert outcome.virtual_s == 12


def test_a_scenario_that_waits_for_nothing_is_told() -> None:
    async def scenario(world: World) -> None:
        await world.loop.create_future()

    assert isinstance(run(scenario).failure, Stuck)


def test_limits_of_time_and_steps_are_kept() -> None:
    async def scenario(world: World) -> None:
        while True:
            await world.sleep(10)

    assert isinstance(run(scenario, max_virtual_s=1000).failure, TooLong)

    async def busy(world: World) -> None:
        while True:
            await world.sleep(0)

    outcome = run(busy, max_steps=60_000)
    assert isinstance(outcome.failure, TooLong)


def test_an_exception_that_nobody_handles_is_a_failure() -> None:
    def boom() -> None:
        raise ValueError("boom")

    async def scenario(world: World) -> None:
        world.loop.call_soon(boom)
        await world.sleep(1)

    failure = run(scenario).failure
    assert isinstance(failure, Unhandled)
    assert isinstance(failure.__cause__, ValueError)


def test_what_the_scenario_raises_is_the_outcome() -> None:
    async def scenario(world: World) -> None:
        world.fail("the moon is made of cheese", "a bite was taken")

    failure = run(scenario).failure
    assert isinstance(failure, Violation)
    assert failure.what == "the moon is made of cheese"

    async def raises(world: World) -> None:
        raise KeyError("x")

    assert isinstance(run(raises).failure, KeyError)


def test_sometimes_is_declared_and_counted() -> None:
    async def scenario(world: World) -> None:
        world.sometimes("never", False)
        world.sometimes("often")
        world.sometimes("often")

    coverage = run(scenario).coverage
    assert coverage.missed == ["never"]
    assert coverage.reached["often"] == 2


# -- faults ----------------------------------------------------------------------------------------


def test_after_calm_nothing_is_wrong_any_more() -> None:
    async def boot(host: Host) -> None:
        await host.node()

    async def scenario(world: World) -> None:
        for name in "abc":
            world.host(name, boot)
        await world.start_all()
        world.nemesis(Faults(crash=0.3, power=0.3, partition=0.3, oneway=0.3, clog=0.1, pause=0.3))
        await world.sleep(20)
        await world.calm()
        assert all(host.alive for host in world.hosts.values())
        hurt = len(world.trace.lines)
        await world.sleep(100)
        assert len(world.trace.lines) == hurt
        assert not any(world.network.link(a, b).is_blocked for a in "abc" for b in "abc" if a != b)

    for seed in range(20):
        assert run(scenario, Seeded(seed, swarm=False)).failure is None


def test_faults_of_ones_own() -> None:
    happened: list[tuple[str, int]] = []

    async def scenario(world: World) -> None:
        await world.host("a").start()
        own = Fault("coffee", 1.0, 3, lambda host, way: happened.append((host.name, way)))
        world.nemesis(Faults(own=(own,), pulse_s=1.0))
        await world.sleep(50)

    assert run(scenario, Seeded(1, swarm=False)).failure is None
    assert {way for _, way in happened} == {0, 1, 2}


def test_a_killed_actor_is_one_that_may_be_killed() -> None:
    async def boot(host: Host) -> None:
        node = await host.node()
        await node.start_server(Counter, name="root")
        await node.start_server(Counter, name="victim")

    async def scenario(world: World) -> None:
        host = world.host("a", boot)
        await host.start()
        world.nemesis(Faults(kill=1.0))
        await world.sleep(5)
        node = host.nodes[0]
        assert node.whereis("root") is not None
        assert node.whereis("victim") is None

    assert run(scenario, Seeded(3, swarm=False)).failure is None


# -- how it is used --------------------------------------------------------------------------------


def test_a_name_is_given_to_one_host() -> None:
    with World() as world:
        world.host("a")
        with pytest.raises(SimulationError, match="already"):
            world.host("a")


def test_a_world_is_not_driven_from_within_a_loop() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="ordinary code"), World():
            raise AssertionError("it was opened")

    asyncio.run(main())


def test_what_the_loop_has_not_says_what_to_do() -> None:
    with World() as world, pytest.raises(SimulationError, match="port"):
        world.loop.add_reader(1, print)


def test_real_time_is_left_alone_afterwards() -> None:
    async def main() -> float:
        async with Node() as node:
            pid = await node.start_server(Counter)
            node.cast(pid, 3)
            return float(await node.call(pid, "count"))

    run(counting, Seeded(5))
    assert asyncio.run(main()) == 3


def test_a_world_ends_without_complaints_of_what_was_under_way() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(100)

    async def boot(host: Host) -> None:
        host.spawn(asyncio.wait_for(stubborn(), 200))
        host.spawn(stubborn())

    with World() as world:
        world.run(world.host("a", boot).start())
        world.advance(1)
    # Whatever was told to `sys.unraisablehook`, or as a warning, fails this test.
