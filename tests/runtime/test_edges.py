"""What happens when two unusual things meet: each of these tests was a bug once."""

from __future__ import annotations

import pytest
from runtime_kit import Server, World, run

from palaver.actors.runtime import (
    MailboxFull,
    MailboxLimit,
)


async def nap(server: Server) -> None:
    await server.sleep(1)


def status(w: World, pid: object) -> str:
    return next(info.status for info in w.node.processes() if info.pid is pid)


def test_a_call_that_is_refused_behind_an_alias_is_over() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server, mailbox=MailboxLimit(1, "reject"))
        alias = await w.node.call(server, lambda s, _: s.alias())
        w.node.cast(server, nap)
        await w.settle()
        w.node.cast(server, "fills it")

        async def client(s: Server) -> None:
            with pytest.raises(MailboxFull):
                await s.call(alias, 1, timeout_s=0.1)
            s.send_request(alias, 1)

        caller = await w.node.start_server(Server)
        w.node.cast(caller, client)
        await w.settle()
        assert not w.node.timers.lane(0.1)  # nothing wakes the caller later
        (response,) = await w.node.call(caller, "log")
        assert isinstance(response.error, MailboxFull)

    run(test)
