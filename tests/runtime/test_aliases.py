"""Aliases, by themselves and with a monitor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from runtime_kit import Server, World, inside, run

from palaver.actors.runtime import Down, GenServer, NoProcess, ProcessContext, ReceiveTimeout


async def nothing_more(ctx: ProcessContext) -> bool:
    try:
        await ctx.receive(timeout_s=0)
    except ReceiveTimeout:
        return True
    return False


def test_an_alias_takes_messages_until_it_is_taken_back() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> None:
            alias = ctx.alias()
            for n in range(3):
                ctx.send(alias, n)
            assert [await ctx.receive() for _ in range(3)] == [0, 1, 2]
            assert ctx.whereis(alias) is ctx.pid
            assert alias.active
            assert ctx.unalias(alias)
            assert not ctx.unalias(alias)
            assert not alias.active
            ctx.send(alias, "late")
            ctx.cast(alias, "late")
            assert ctx.whereis(alias) is None
            with pytest.raises(NoProcess):
                await ctx.call(alias, "late")
            assert await nothing_more(ctx)

        await inside(w, owner)

    run(test)


def test_an_alias_for_one_message_takes_one() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> None:
            alias = ctx.alias(once=True)
            ctx.send(alias, 1)
            ctx.send(alias, 2)
            assert await ctx.receive() == 1
            assert await nothing_more(ctx)

        await inside(w, owner)

    run(test)


def test_an_alias_ends_with_its_process() -> None:
    async def test(w: World) -> None:
        aliases: list[Any] = []

        async def owner(ctx: ProcessContext) -> None:
            aliases.append(ctx.alias())

        await inside(w, owner)
        await w.settle()
        assert not aliases[0].active
        w.node.send(aliases[0], "late")
        with pytest.raises(NoProcess):
            await w.node.call(aliases[0], "late")

    run(test)


def test_an_alias_is_taken_back_only_by_its_owner() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> None:
            alias = ctx.alias()

            async def thief(other: ProcessContext) -> None:
                with pytest.raises(ValueError, match="made it"):
                    other.unalias(alias)

            await ctx.bridge(inside(w, thief))
            assert alias.active

        await inside(w, owner)

    run(test)


def test_a_server_is_called_cast_to_and_monitored_through_an_alias() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        alias = await w.node.call(server, lambda s, _: s.alias())

        async def client(ctx: ProcessContext) -> None:
            assert await ctx.call(alias, "hello") == ("echo", "hello")
            ctx.cast(alias, 1)
            assert await ctx.call(alias, "log") == [("cast", 1)]
            ref = ctx.monitor(alias)
            ctx.exit(server, "gone")
            assert await ctx.receive() == Down(ref, server, "gone")

        await inside(w, client)

    run(test)


class Slow(GenServer):
    """Answers what it is asked when it is told to."""

    def init(self) -> None:
        self.asked: list[Any] = []

    def handle_info(self, message: Any) -> None:
        if message == "answer":
            for alias in self.asked:
                self.send(alias, "late answer")
        else:
            self.asked.append(message)


@pytest.mark.parametrize("mode", ["explicit_unalias", "demonitor", "reply_demonitor"])
def test_a_monitor_with_an_alias_ends_as_it_says(mode: Any) -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Slow)

        async def client(ctx: ProcessContext) -> None:
            ref = ctx.monitor(server, alias=mode)
            ctx.send(server, ref.alias)
            ctx.send(server, "answer")
            assert await ctx.receive() == "late answer"
            ended = mode == "reply_demonitor"
            assert ref.alias is not None
            assert ref.alias.active is not ended
            ctx.demonitor(ref)
            assert ref.alias.active is (mode == "explicit_unalias")
            again = ctx.monitor(server, alias=mode)
            ctx.exit(server, "gone")
            assert await ctx.receive() == Down(again, server, "gone")
            assert again.alias is not None
            assert again.alias.active is (mode == "explicit_unalias")
            assert await nothing_more(ctx)

        await inside(w, client)

    run(test)


def test_an_answer_through_a_reply_demonitor_alias_ends_the_monitor() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Slow)

        async def client(ctx: ProcessContext) -> None:
            ref = ctx.monitor(server, alias="reply_demonitor")
            ctx.send(server, ref.alias)
            ctx.send(server, "answer")
            assert await ctx.receive() == "late answer"
            ctx.exit(server, "gone")
            await ctx.sleep(1)
            assert await nothing_more(ctx)

        waiting = asyncio.ensure_future(inside(w, client))
        await asyncio.sleep(0)
        await w.advance(2)
        await waiting

    run(test)


def test_an_unknown_mode_is_refused() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)

        async def client(ctx: ProcessContext) -> None:
            with pytest.raises(ValueError, match="unknown alias mode"):
                ctx.monitor(server, alias="for ever")  # type: ignore[arg-type]

        await inside(w, client)

    run(test)
