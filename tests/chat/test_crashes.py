"""Any process of the tree may be killed at any point, and every promise still holds."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from chat_kit import Place, phone, running
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kill_kit import PATIENCE_S, Crashes, Crowd, verify, verify_marks

from palaver.actors.runtime import KILL, ProcessInfo
from palaver.transport import wire

ANN, BOB, CID = phone(1), phone(2), phone(3)
DEVICES = ((ANN, "phone"), (ANN, "tablet"), (BOB, "phone"), (CID, "phone"))

#: What may be killed: the beginning of a name, or the end of a behaviour. Several are numbered.
KINDS = (
    "partition.", "forwarder.", "sequencers.", "queues.", "gateway.", "sessions.", "manager",
    "presence", "accounts", "media sweeper", "listener", "Sequencer", "DeviceQueue", "Session",
    "Supervisor",
)  # fmt: skip

WHO = st.integers(0, len(DEVICES) - 1)
STEPS = st.one_of(
    st.tuples(st.just("say"), WHO, st.integers(0, 3), st.integers(1, 4)),
    st.tuples(st.just("say"), WHO, st.integers(0, 3), st.integers(1, 4)),
    st.tuples(st.just("leave"), WHO),
    st.tuples(st.just("come"), WHO),
    st.tuples(st.just("lazy"), WHO, st.booleans()),
    st.tuples(st.just("turns"), st.integers(1, 60)),
    st.tuples(st.just("answered")),
    st.tuples(st.just("kill"), st.sampled_from(KINDS), st.integers(0, 7)),
    st.tuples(st.just("kill"), st.sampled_from(KINDS), st.integers(0, 7)),
)


class World:
    """A node, its people, and what may happen to them."""

    def __init__(self, place: Place) -> None:
        self.node = place.system.node
        self.node.observer = self.crashes = Crashes()
        self.place = place
        self.shape = self._shape()
        self.crowd = Crowd(lambda: place.url)
        self.group = b""

    async def begin(self) -> None:
        """Three people with four devices, who all talk to each other, also in a group."""
        for account, name in DEVICES:
            device = await self.place.sign_up(account, name)
            persona = self.crowd.add(account, device.number, device.key)
            persona.watches = [other for other in (ANN, BOB, CID) if other != account]
        people = self.crowd.personas
        self.group = people[0].say("friends", (BOB, CID)).conversation
        for one in people:
            one.conversations.add(self.group)
            for other in one.watches:
                one.conversations.add(wire.direct_conversation(one.account, other))
        self.crowd.begin()
        for persona in people:
            persona.come()
        await self.crowd.until(lambda: not people[0].outbox, "the group")

    async def step(self, step: tuple[Any, ...]) -> None:
        people = self.crowd.personas
        match step:
            case ("say", who, to, count):
                sender = people[who]
                others = [a for a in (ANN, BOB, CID) if a != sender.account]
                for _ in range(count):
                    sender.say(self.group if to > 1 else others[to])
            case ("leave", who):
                await people[who].leave()
            case ("come", who):
                people[who].come()
            case ("lazy", who, lazy):
                people[who].lazy = lazy
            case ("turns", count):
                for _ in range(count):
                    await asyncio.sleep(0)
            case ("answered",):
                await self.crowd.until(
                    lambda: not any(p.outbox for p in people if p.is_wanted), "answers"
                )
            case ("kill", kind, index):
                self.kill(kind, index)

    def kill(self, kind: str, index: int) -> None:
        found = [info for info in self.node.processes() if _is(info, kind)]
        if found:
            self.node.exit(found[index % len(found)].pid, KILL)

    def _shape(self) -> tuple[tuple[str, ...], int]:
        """The named processes, and how many supervisors there are."""
        infos = list(self.node.processes())
        names = tuple(sorted(info.name for info in infos if info.name))
        return names, sum(info.behaviour.endswith(".Supervisor") for info in infos)

    async def is_whole(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self._shape() != self.shape:  # nobody tells of a restart in the middle of it
                await asyncio.sleep(0.005)


def _is(info: ProcessInfo, kind: str) -> bool:
    if info.name == "root":
        return False
    return (info.name or "").startswith(kind) or info.behaviour.endswith("." + kind)


async def history(
    folder: Path, partitions: int, gateways: int, steps: list[tuple[Any, ...]]
) -> None:
    async with running(
        folder, partitions=partitions, gateways=gateways, auth_timeout_s=2.0
    ) as place:  # fmt: skip
        world = World(place)
        await world.begin()
        try:
            for step in steps:
                await world.step(step)
                world.crowd.failed()
            await world.crowd.settle()
            verify(world.crowd)
            await verify_marks(world.crowd, world.crowd.personas)
            await world.is_whole()
            assert not world.crashes.reports, "\n".join(map(str, world.crashes.reports))
            world.crowd.failed()
        except BaseException:
            print(*world.crowd.personas, *world.crashes.gave_up, sep="\n")  # pytest shows it
            raise
        finally:
            await world.crowd.end()


def check(partitions: int, gateways: int, steps: list[tuple[Any, ...]]) -> None:
    # The loop of `palaver serve`; asyncio's own may lose a connection that it accepts just when its
    # listener closes.
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(asyncio.wait_for(history(Path(folder), partitions, gateways, steps), 120))


# A failure waits for its patience to end, so that making it smaller would take very long.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
CONFIGURATIONS = [(1, 1), (1, 2), (4, 1), (4, 2)]


@pytest.mark.parametrize(("partitions", "gateways"), CONFIGURATIONS)
@settings(
    max_examples=40, deadline=None, print_blob=True, phases=UNSHRUNK,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(steps=st.lists(STEPS, min_size=5, max_size=24))
def test_promises_hold_whatever_is_killed(
    partitions: int, gateways: int, steps: list[tuple[Any, ...]]
) -> None:
    check(partitions, gateways, steps)


@pytest.mark.long
@pytest.mark.parametrize(("partitions", "gateways"), CONFIGURATIONS)
@settings(
    max_examples=300, deadline=None, print_blob=True, phases=UNSHRUNK,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(steps=st.lists(STEPS, min_size=5, max_size=40))
def test_promises_hold_whatever_is_killed_in_many_histories(
    partitions: int, gateways: int, steps: list[tuple[Any, ...]]
) -> None:
    check(partitions, gateways, steps)


def _each_kind() -> Iterator[Any]:
    for kind in KINDS:
        for partitions, gateways in ((1, 1), (4, 2)):
            yield pytest.param(kind, partitions, gateways, id=f"{kind}-{partitions}-{gateways}")


@pytest.mark.parametrize(("kind", "partitions", "gateways"), list(_each_kind()))
def test_every_kind_of_process_may_be_killed_in_the_middle_of_a_talk(
    kind: str, partitions: int, gateways: int
) -> None:
    talk = [("say", who, to, 3) for who in range(4) for to in range(3)]
    steps: list[tuple[Any, ...]] = [*talk, ("turns", 3)]
    for index in range(3):
        steps += [("kill", kind, index), *talk, ("turns", 5 * index + 1)]
    check(partitions, gateways, steps)
