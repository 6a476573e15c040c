"""What a presence knows of its accounts is what their partitions have said last."""

from __future__ import annotations

import asyncio
from typing import Any

from palaver.actors.chat.messages import Answer, Ask, PresenceChanged, Present, Watch, Watched
from palaver.actors.chat.names import Places, partition_name
from palaver.actors.chat.presence import Presence
from palaver.actors.chat.queries import PresenceRow
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import KILL, GenServer, ProcessContext
from palaver.actors.simulation import Host, World

ANN, BOB = "+491", "+492"
SEEN = PresenceRow(known=True, hides=False, blocked=(), last_seen_ms=1)
HIDING = SEEN._replace(hides=True)


class Partition(GenServer):
    """Keeps what it is asked, to be answered by the test."""

    def init(self, asked: list[Ask]) -> None:
        self.asked = asked

    def handle_info(self, message: Any) -> None:
        if isinstance(message, Ask):
            self.asked.append(message)


def test_an_answer_to_an_earlier_question_does_not_count() -> None:
    async def boot(host: Host) -> None:
        node = await host.node()
        asked: list[Ask] = []
        told: list[Any] = []

        async def session(ctx: ProcessContext) -> None:
            while True:
                told.append(await ctx.receive())

        def answer(ask: Ask, row: PresenceRow) -> None:
            assert ask.reply_to is not None
            node.send(ask.reply_to, Answer(ask.tag, row, None))

        async def look(mark: int) -> bool:
            node.send(presence, Watch(watcher, mark, mark, BOB, ANN))
            await asyncio.sleep(0.01)
            found = told[-1]
            assert isinstance(found, Watched)
            assert found.mark == mark
            return found.online

        first = await node.start_server(Partition, asked, name=partition_name(0))
        presence = await node.start_server(Presence, 0, Places(1), ChatStats())
        watcher = node.spawn(session)
        node.send(presence, Present(watcher, ANN, 1, watcher, True))
        node.send(presence, Watch(watcher, 1, 1, BOB, ANN))
        await asyncio.sleep(0.01)
        early = list(asked)
        assert {ask.args[0] for ask in early} == {ANN, BOB}
        node.exit(first, KILL)
        await node.wait(first)
        asked.clear()
        await node.start_server(Partition, asked, name=partition_name(0))
        await asyncio.sleep(1.0)
        for ask in early:
            answer(ask, SEEN)  # it was under way for long, and is of a process that is no more
        await asyncio.sleep(0.01)
        assert not [each for each in told if isinstance(each, Watched) and each.online]
        for ask in asked:
            answer(ask, HIDING)
        await asyncio.sleep(0.01)
        assert not await look(2)
        for ask in early:
            answer(ask, SEEN)
        assert not await look(3)
        asked.clear()
        node.send(presence, PresenceChanged(ANN))
        node.send(presence, PresenceChanged(BOB))
        await asyncio.sleep(0.01)
        for ask in asked:
            answer(ask, SEEN)
        assert await look(4)

    with World() as world:
        world.run(world.host("a", boot).start())
