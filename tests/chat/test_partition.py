"""The process of a partition: what becomes durable is told, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from palaver.actors.chat.forwarder import Forwarder
from palaver.actors.chat.messages import Append, Ask, AttachQueue, Missed, NewEvents
from palaver.actors.chat.names import Places, forwarder_name, partition_name
from palaver.actors.chat.partition import PartitionServer
from palaver.actors.chat.queries import QUERIES
from palaver.actors.chat.stamps import StampClock
from palaver.actors.chat.state import ChatMachine
from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import KILL, Node, ProcessContext
from palaver.actors.simulation import Host, World
from palaver.storage.partitioning import partition_of
from palaver.storage.simulated import Calm, DiskHabits, SimulatedDisk, SimulatedStore
from palaver.transport import wire

COMMIT_S = 2.0


@dataclass
class Chat:
    """Two partitions and a forwarder, on a disk whose commits take a while."""

    node: Node
    store: SimulatedStore

    async def begin(self) -> None:
        """Start the processes of partition 0, or start them again."""
        await self._partition(0)
        await self.node.start_server(Forwarder, 0, 2, name=forwarder_name(0))

    async def _partition(self, number: int) -> None:
        clock = self.node.clock
        parts = (Places(2), StampClock(clock.time_ms))
        await self.node.start_server(
            PartitionServer, number, self.store, ChatStats(), parts, name=partition_name(number)
        )

    async def end(self) -> None:
        """Kill them, as a supervisor would after a crash."""
        for name in (partition_name(0), forwarder_name(0)):
            pid = self.node.whereis(name)
            assert pid is not None
            self.node.exit(pid, KILL)
            await self.node.wait(pid)


def on_a_slow_disk(play: Callable[[Chat], Awaitable[None]]) -> None:
    async def boot(host: Host) -> None:
        loop = asyncio.get_running_loop()
        calm = Calm(loop.call_later, loop.time)
        disk = SimulatedDisk(calm, habits=DiskHabits(commit_s=COMMIT_S))
        store = SimulatedStore.open(
            disk, lambda number: ChatMachine(number, 2), partitions=2, call_later=loop.call_later
        )
        chat = Chat(await host.node(), store)
        await chat._partition(1)
        await chat.begin()
        await play(chat)

    with World() as world:
        world.run(world.host("a", boot).start())


def account_in(partition: int) -> str:
    return next(
        name
        for name in map("+49{}".format, range(100))
        if partition_of(name.encode(), 2) == partition
    )


def other_side(account: str) -> tuple[str, bytes]:
    """Somebody with whom `account` speaks in partition 1."""
    for name in map("+44{}".format, range(100)):
        conversation = wire.direct_conversation(account, name)
        if partition_of(conversation, 2) == 1:
            return name, conversation
    raise AssertionError


async def registered(chat: Chat) -> str:
    account = account_in(0)
    command = (cmd.REGISTER_DEVICE, account, b"k" * 32, "phone", 0)
    await chat.node.call(partition_name(0), Append(None, None, command), timeout_s=60.0)
    return account


def test_what_it_put_into_the_outbox_is_carried_on() -> None:
    async def play(chat: Chat) -> None:
        account = await registered(chat)
        other, conversation = other_side(account)
        block = (cmd.SET_BLOCK, account, other, conversation, True)
        chat.node.send(partition_name(0), Append(None, None, block))
        await asyncio.sleep(COMMIT_S / 2)
        await chat.end()
        await chat.begin()
        await asyncio.sleep(6 * COMMIT_S)
        found = chat.store.view(1, lambda txn: QUERIES["conversation"](txn, conversation))
        assert found is not None
        assert found.blocked_by == (account,)

    on_a_slow_disk(play)


def test_a_queue_that_read_too_early_is_told_to_read_again() -> None:
    async def play(chat: Chat) -> None:
        account = await registered(chat)
        event = (b"c" * 16, 1, "+44", b"\x00", None)
        put = (cmd.ENQUEUE, account, 0, 2, [event])
        chat.node.send(partition_name(0), Append(None, None, put))
        await asyncio.sleep(COMMIT_S / 2)
        await chat.end()
        await chat.begin()
        login = await chat.node.call(partition_name(0), Ask(None, None, "login", (account, 1)))
        assert login.last == 0
        told: list[object] = []

        async def queue(ctx: ProcessContext) -> None:
            ctx.send(partition_name(0), AttachQueue(account, 1, ctx.pid, login.as_of))
            told.append(await ctx.receive())

        chat.node.spawn(queue)
        await asyncio.sleep(6 * COMMIT_S)
        assert told == [Missed()]
        assert chat.store.view(0, lambda txn: QUERIES["login"](txn, account, 1)).last == 1

    on_a_slow_disk(play)


def test_a_queue_that_attaches_twice_is_one_and_may_end() -> None:
    async def play(chat: Chat) -> None:
        account = await registered(chat)
        login = await chat.node.call(partition_name(0), Ask(None, None, "login", (account, 1)))
        told: list[object] = []

        async def queue(ctx: ProcessContext) -> None:
            for _ in range(2):
                ctx.send(partition_name(0), AttachQueue(account, 1, ctx.pid, login.as_of))
            while True:
                told.append(await ctx.receive(lambda message: type(message) is NewEvents))

        pid = chat.node.spawn(queue)
        before = chat.node.whereis(partition_name(0))
        event = (b"c" * 16, 1, "+44", b"\x00", None)
        put = (cmd.ENQUEUE, account, 0, 2, [event])
        await chat.node.call(partition_name(0), Append(None, None, put), timeout_s=60.0)
        await asyncio.sleep(0.1)
        assert told == [NewEvents(1, [b"\x00"])]
        chat.node.exit(pid, KILL)
        await asyncio.sleep(0.1)
        assert chat.node.whereis(partition_name(0)) is before

    on_a_slow_disk(play)


@pytest.mark.parametrize("gone", [0, 1], ids=["the first", "the second"])
def test_a_device_that_signs_in_twice_keeps_a_queue(gone: int) -> None:
    async def play(chat: Chat) -> None:
        account = await registered(chat)
        login = await chat.node.call(partition_name(0), Ask(None, None, "login", (account, 1)))
        told: list[object] = []

        async def queue(ctx: ProcessContext) -> None:
            ctx.send(partition_name(0), AttachQueue(account, 1, ctx.pid, login.as_of))
            told.append(await ctx.receive(lambda message: type(message) is NewEvents))

        queues = []
        for _ in range(2):
            queues.append(chat.node.spawn(queue))
            await asyncio.sleep(0.1)
        chat.node.exit(queues[gone], KILL)
        event = (b"c" * 16, 1, "+44", b"\x00", None)
        put = (cmd.ENQUEUE, account, 0, 2, [event])
        await chat.node.call(partition_name(0), Append(None, None, put), timeout_s=60.0)
        await asyncio.sleep(0.1)
        assert told == [NewEvents(1, [b"\x00"])]

    on_a_slow_disk(play)
