"""A device's queue outlives its partition's process: it attaches to the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from palaver.actors.chat.device_queue import PATIENCE_S, DeviceQueue
from palaver.actors.chat.messages import (
    AckUpTo,
    Answer,
    Ask,
    AttachAgain,
    AttachQueue,
    ClientAck,
    Close,
    NewEvents,
    Revoked,
)
from palaver.actors.chat.names import partition_name
from palaver.actors.chat.queries import Login
from palaver.actors.chat.refusals import Unavailable
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import KILL, GenServer, Node, Pid, ProcessContext
from palaver.actors.simulation import Host, World
from palaver.transport import wire
from palaver.transport.wire import CloseCode

ACCOUNT, DEVICE = "+49", 1
A, B, C, D = (wire.encode(letter) for letter in "abcd")


class Line:
    """What a connection has been given to send."""

    def __init__(self) -> None:
        self.pushed: list[tuple[int, list[str]]] = []

    def send(self, op: bytes) -> None:
        (_, first, events) = wire.decode_frame(b"\x81" + op)[0]
        self.pushed.append((first, events))


class Partition(GenServer):
    """A partition's process with one device's queue, which is set from outside."""

    def init(self, stage: Stage) -> None:
        self.stage = stage

    def handle_info(self, message: Any) -> None:
        stage = self.stage
        match message:
            case Ask(asker, tag, "login", _):
                stage.logins += 1
                error = Unavailable() if stage.refusing else None
                self.answer(asker, Answer(tag, None if error else stage.login, error))
            case Ask(asker, tag, "drain", (_, _, first, *_)):
                events = stage.events[first - 1 :]
                self.answer(asker, Answer(tag, (first, events), None))
            case AttachQueue():
                stage.attached.append(message)
                if message.as_of != stage.login.as_of:
                    self.send(message.queue, AttachAgain())
            case AckUpTo(_, _, position):
                stage.acked.append(position)

    def answer(self, asker: Pid, answer: Answer) -> None:
        if self.stage.late is None:
            self.send(asker, answer)
        else:
            self.stage.late.append((asker, answer))


class Stage:
    """A queue, its session and its connection, and a partition that comes and goes."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.line = Line()
        self.login = Login(b"k", False, 0, 0, (1, 1))
        self.events: list[bytes] = []
        self.refusing = False
        self.late: list[tuple[Pid, Answer]] | None = None  # answers that are under way for long
        self.logins = 0
        self.attached: list[AttachQueue] = []
        self.acked: list[int] = []
        self.closed: list[Close] = []

    async def partition(self) -> Pid:
        return await self.node.start_server(Partition, self, name=partition_name(0))

    async def queue(self, login: Login) -> Pid:
        async def session(ctx: ProcessContext) -> None:
            while True:
                self.closed.append(await ctx.receive())

        return await self.node.start_server(
            DeviceQueue, self.node.spawn(session), self.line, ACCOUNT, DEVICE, 0, login, ChatStats()
        )

    async def kill(self, pid: Pid) -> None:
        self.node.exit(pid, KILL)
        await self.node.wait(pid)

    def becomes(self, events: list[bytes], acked: int, life: int) -> None:
        """What the next process of the partition finds in its tables."""
        self.events = events
        self.login = Login(b"k", False, acked, max(acked, len(events)), (life, 1))


def on_a_node(play: Callable[[Stage], Awaitable[None]]) -> None:
    async def boot(host: Host) -> None:
        await play(Stage(await host.node()))

    with World() as world:
        world.run(world.host("a", boot).start())


def test_what_it_missed_is_read_from_the_next_process_and_a_lost_ack_is_repeated() -> None:
    async def play(stage: Stage) -> None:
        partition = await stage.partition()
        queue = await stage.queue(stage.login)
        stage.node.send(queue, NewEvents(1, [A, B]))
        await asyncio.sleep(0.1)
        await stage.kill(partition)
        stage.node.send(queue, ClientAck(2))
        await asyncio.sleep(0.1)
        stage.becomes([A, B, C], acked=0, life=2)
        await stage.partition()
        await asyncio.sleep(3.0)
        assert stage.line.pushed == [(1, ["a", "b"]), (3, ["c"])]
        assert stage.acked == [2]
        assert [attach.as_of for attach in stage.attached] == [(1, 1), (2, 1)]
        stage.node.send(queue, NewEvents(4, [D]))
        await asyncio.sleep(0.1)
        assert stage.line.pushed[-1] == (4, ["d"])
        assert not stage.closed

    on_a_node(play)


def test_a_login_that_another_process_answered_is_asked_again() -> None:
    async def play(stage: Stage) -> None:
        stage.becomes([A], acked=0, life=2)
        await stage.partition()
        await stage.queue(Login(b"k", False, 0, 0, (1, 7)))
        await asyncio.sleep(1.0)
        assert stage.logins == 1
        assert stage.attached[-1].as_of == (2, 1)
        assert stage.line.pushed == [(1, ["a"])]

    on_a_node(play)


def test_what_a_process_that_was_given_up_still_answers_does_not_count() -> None:
    async def play(stage: Stage) -> None:
        stage.becomes([A, B], acked=0, life=1)
        stage.late = []
        first = await stage.partition()
        await stage.queue(stage.login)  # reads what is there
        await asyncio.sleep(0.1)
        await stage.kill(first)
        stage.becomes([A, B, C], acked=0, life=2)
        second = await stage.partition()  # is asked where the queue stands
        await asyncio.sleep(3.0)
        late, stage.late = stage.late, None
        assert [type(answer.value) for _, answer in late] == [tuple, Login]
        await stage.kill(second)
        stage.becomes([A, B, C, D], acked=0, life=3)
        await stage.partition()
        await asyncio.sleep(3.0)
        assert stage.line.pushed == [(1, ["a", "b", "c", "d"])]
        for asker, answer in late:
            stage.node.send(asker, answer)
        await asyncio.sleep(1.0)
        assert stage.line.pushed == [(1, ["a", "b", "c", "d"])]
        assert not stage.closed
        assert [attach.as_of for attach in stage.attached] == [(1, 1), (3, 1)]

    on_a_node(play)


def test_a_device_that_was_revoked_meanwhile_is_closed_as_such() -> None:
    async def play(stage: Stage) -> None:
        partition = await stage.partition()
        await stage.queue(stage.login)
        await asyncio.sleep(0.1)
        await stage.kill(partition)
        stage.login = Login(None, True, 0, 0, (2, 1))
        await stage.partition()
        await asyncio.sleep(3.0)
        assert [close.code for close in stage.closed] == [CloseCode.REVOKED]
        assert len(stage.attached) == 1

    on_a_node(play)


def test_a_device_that_is_revoked_now_is_closed_as_such() -> None:
    async def play(stage: Stage) -> None:
        await stage.partition()
        queue = await stage.queue(stage.login)
        stage.node.send(queue, Revoked())
        await asyncio.sleep(0.1)
        assert [close.code for close in stage.closed] == [CloseCode.REVOKED]

    on_a_node(play)


def test_tables_that_lack_what_was_pushed_end_the_connection() -> None:
    async def play(stage: Stage) -> None:
        partition = await stage.partition()
        queue = await stage.queue(stage.login)
        stage.node.send(queue, NewEvents(1, [A, B]))
        await asyncio.sleep(0.1)
        await stage.kill(partition)
        stage.becomes([A], acked=0, life=2)
        await stage.partition()
        await asyncio.sleep(3.0)
        assert [close.code for close in stage.closed] == [CloseCode.GOING_AWAY]
        assert stage.closed[0].reconnect_after_ms

    on_a_node(play)


def test_it_is_patient_for_a_while_and_then_has_the_client_come_back() -> None:
    async def play(stage: Stage) -> None:
        partition = await stage.partition()
        await stage.queue(stage.login)
        await asyncio.sleep(0.1)
        stage.refusing = True  # there is a stand-in without an owner
        await stage.kill(partition)
        await stage.partition()
        await asyncio.sleep(PATIENCE_S - 1.0)
        assert not stage.closed
        assert 10 < stage.logins < 60
        await asyncio.sleep(4.0)
        assert [close.code for close in stage.closed] == [CloseCode.GOING_AWAY]
        asked = stage.logins
        await asyncio.sleep(10.0)
        assert stage.logins == asked
        assert len(stage.closed) == 1

    on_a_node(play)


def test_it_does_not_wait_without_end_for_a_process_that_is_not_there_at_all() -> None:
    async def play(stage: Stage) -> None:
        await stage.queue(stage.login)
        await asyncio.sleep(PATIENCE_S + 3.0)
        assert [close.code for close in stage.closed] == [CloseCode.GOING_AWAY]

    on_a_node(play)
