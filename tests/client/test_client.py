"""The client on real sockets, against a small fake server."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from client_kit import (
    DEVICE,
    ME,
    PEER,
    FakeServer,
    ModelServer,
    QuickClock,
    new_client,
    run,
)
from websockets.asyncio.server import ServerConnection

from palaver.transport import wire
from palaver.transport.client import (
    AuthFailed,
    BadMessage,
    Client,
    ClientClosed,
    CodeWrong,
    ConnectionFailed,
    FileId,
    FileState,
    Identity,
    InboxFull,
    Limits,
    MembersChanged,
    MemoryState,
    Misuse,
    NotOwnAccount,
    Presence,
    Receipt,
    Replaced,
    RequestTimeout,
    Revoked,
    StateChange,
    StateError,
    StateMismatch,
    Timeouts,
    Typing,
    Unreachable,
    UnsupportedVersion,
    new_key,
)

CONV = wire.direct_conversation(ME, PEER)


def test_sign_up_then_talk() -> None:
    async def main() -> None:
        async with FakeServer() as server:

            async def ask() -> str:
                return "123456"

            identity = await Client.sign_up(server.url, ME, ask, "laptop")
            assert (identity.account, identity.device) == (ME, DEVICE)
            assert server.model.public_key == identity.public_key
            async with Client(server.url, identity) as client:
                sent = await client.send_message(ME, PEER, "text", text="Grüße")
                assert sent == (CONV, 1, 1 << 16)
                assert client.conversation_with(PEER) == CONV
                await server.deliver(b"hello back")
                [message] = await client.get_messages(ME, wait_s=5.0)
                assert (message.text, message.sender, message.seq) == ("hello back", PEER, 2)
                await server.until(lambda: server.model.acked == 1)
            [(_, op)] = server.model.stored
            assert op.body == "Grüße".encode()

    run(main())


def test_a_wrong_code_is_refused_and_bad_arguments_are_not_sent() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            with pytest.raises(CodeWrong):
                await Client.sign_up(server.url, ME, lambda: "000000", "laptop", new_key())
            before = server.connections
            with pytest.raises(BadMessage):
                await Client.sign_up(server.url, "0170", lambda: "1", "laptop")
            assert server.connections == before

    run(main())


def test_objects_and_captions_travel() -> None:
    async def main() -> None:
        async with FakeServer() as server, new_client(server) as client:
            value = {"b": [1, 2.5, None], "a": b"raw"}
            await client.send_message(ME, PEER, "object", object=value)
            op = server.model.stored[-1][1]
            await server.deliver(op.body)
            [message] = await client.get_messages(ME, wait_s=5.0)
            assert message.object == value
            doc = FileId(bytes(32))
            await client.send_message(ME, PEER, "image", text="caption", doc=doc)
            op = server.model.stored[-1][1]
            assert (op.type, op.body, op.file) == ("image", b"caption", bytes(32))

    run(main())


def test_misuse_is_refused_before_anything_is_sent() -> None:
    async def main() -> None:
        async with FakeServer() as server, new_client(server) as client:
            with pytest.raises(NotOwnAccount):
                await client.send_message(PEER, ME, "text", text="forged")
            with pytest.raises(NotOwnAccount):
                await client.get_messages(PEER)
            for wrong in ({}, {"text": "a", "object": 1}, {"object": object()}, {"text": "\ud800"}):
                with pytest.raises(BadMessage):
                    await client.send_message(ME, PEER, "text", **wrong)  # type: ignore[arg-type]
            with pytest.raises(BadMessage):
                client.enqueue_message(ME, PEER, "file", doc="a/path")  # type: ignore[arg-type]
            assert not client.outbox
            assert not server.model.stored

    run(main())


def test_a_refusal_is_a_typed_error() -> None:
    async def main() -> None:
        model = ModelServer()
        model.refuse = lambda op: (
            wire.error(op.id, wire.ErrorCode.UNREACHABLE, "nobody")
            if isinstance(op, wire.Send)
            else None
        )
        async with FakeServer(model) as server, new_client(server) as client:
            with pytest.raises(Unreachable, match="nobody"):
                await client.send_message(ME, PEER, "text", text="x")
            assert not client.outbox

    run(main())


def test_the_outbox_survives_lost_connections() -> None:
    async def main() -> None:
        async with FakeServer() as server, new_client(server) as client:
            sent: list[Any] = []
            for number in range(60):
                sent.append(client.enqueue_message(ME, PEER, "text", text=str(number)))
                if number % 20 == 10:
                    server.cut()
                if number % 7 == 0:
                    await asyncio.sleep(0)
            places = [await each.acked for each in sent]
            assert [place.seq for place in places] == list(range(1, 61))
            bodies = [op.body.decode() for _, op in server.model.stored]
            assert bodies == [str(number) for number in range(60)]
            assert server.connections > 1

    run(main())


def test_messages_are_shown_once_across_reconnects() -> None:
    async def main() -> None:
        async with FakeServer() as server, new_client(server) as client:
            shown = []
            await server.deliver(*(str(n).encode() for n in range(10)))
            async for message in client.messages():
                shown.append(message.text)
                if len(shown) == 5:
                    server.cut()
                    await server.deliver(*(str(n).encode() for n in range(10, 20)))
                if len(shown) == 20:
                    break
            assert shown == [str(n) for n in range(20)]
            gc.collect()
            await server.until(lambda: server.model.acked == 20)
            assert await client.get_messages(ME) == []

    run(main())


def test_a_message_is_acknowledged_when_the_iterator_is_past_it() -> None:
    async def main() -> None:
        async with FakeServer() as server, new_client(server) as client:
            await server.deliver(b"one", b"two")
            arriving = client.messages()
            await anext(arriving)
            await client.devices()  # a round trip: an acknowledgement would have come before
            assert server.model.acked == 0
            await anext(arriving)
            await server.until(lambda: server.model.acked == 1)
            del arriving
            await server.until(lambda: server.model.acked == 2)

    run(main())


def test_get_messages_waits_for_what_was_queued_at_sign_in() -> None:
    async def main() -> None:
        model = ModelServer()
        for number in range(300):
            model.deliver(str(number).encode())
        async with FakeServer(model) as server, new_client(server) as client:
            texts: list[str] = []
            while batch := await client.get_messages(ME, limit=128):
                assert len(batch) <= 128
                texts += [message.text for message in batch]
            assert texts == [str(number) for number in range(300)]
            await server.until(lambda: server.model.acked == 300)

    run(main())


def test_changes_of_groups_are_events_and_not_messages() -> None:
    async def main() -> None:
        async with FakeServer() as server, new_client(server) as client:
            conv = b"g" * 16
            event = wire.members_event(conv, 1, 1, PEER, 1, 1, "us", [ME, PEER], [ME], [])
            server.model.deliver_event(event)
            await server.deliver(b"text")
            events = client.events()
            change = await anext(events)
            assert isinstance(change, MembersChanged)
            assert change.name == "us"
            server.model.deliver_event(event)
            await server.deliver(b"again")
            del events
            texts = [message.text for message in await client.get_messages(ME)]
            while len(texts) < 2:
                texts += [each.text for each in await client.get_messages(ME, wait_s=5.0)]
            assert texts == ["text", "again"]
            await server.until(lambda: server.model.acked == 4)

    run(main())


def test_receipts_presence_and_typing() -> None:
    async def main() -> None:
        async with FakeServer() as server, new_client(server) as client:
            receipts, presence, typing = client.receipts(), client.presence(), client.typing()
            outgoing = client.enqueue_message(ME, PEER, "text", text="x")
            await outgoing.acked
            assert not outgoing.delivered.done
            await server.say(wire.receipt(CONV, PEER, 1, 0))
            await outgoing.delivered
            assert not outgoing.read.done
            await server.say(wire.receipt(CONV, PEER, 1, 1))
            await outgoing.read
            assert await anext(receipts) == Receipt(CONV, PEER, 1, 0)
            assert await anext(receipts) == Receipt(CONV, PEER, 1, 1)
            assert await client.watch(PEER) == Presence(PEER, True, None)
            assert await anext(presence) == Presence(PEER, True, None)
            await server.say(wire.presence(PEER, False, 5000))
            assert await anext(presence) == Presence(PEER, False, 5000)
            await server.say(wire.typing(CONV, PEER, True))
            assert await anext(typing) == Typing(CONV, PEER, True)
            client.set_typing(PEER)
            await server.until(lambda: wire.Typing(PEER, True) in server.model.requests)
            await client.unwatch(PEER)

    run(main())


def test_the_rest_of_the_requests() -> None:
    async def main() -> None:
        async with FakeServer() as server, new_client(server) as client:
            made = await client.create_group("us", [PEER])
            await client.change_members(made.conv, add=["+491700000001"])
            [conversation] = await client.conversations()
            assert conversation == (CONV, False, "", (ME, PEER), 7)
            [device] = await client.devices()
            assert device == (DEVICE, "laptop", 1000, None, True)
            server.model.marks[CONV] = [(PEER, 3, 2)]
            assert await client.marks(CONV) == [(PEER, 3, 2)]
            await client.mark_read(CONV, 2)
            await client.hide_last_seen(True)
            await client.block(PEER)
            await client.revoke(9)
            said = {type(op) for op in server.model.requests}
            assert {wire.Read, wire.Privacy, wire.Block, wire.Revoke} <= said

    run(main())


def test_going_is_honoured_with_the_servers_delay() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            clock = QuickClock()
            async with new_client(server, clock=clock) as client:
                changes = client.connectivity()
                await server.say(wire.going("drain", 40_000))
                assert await anext(changes) is False
                assert await anext(changes) is True
                assert server.connections == 2
                assert any(40.0 <= delay_s <= 60.0 for delay_s in clock.asked)
                await client.send_message(ME, PEER, "text", text="after")

    run(main())


def test_a_client_may_start_while_the_server_is_away() -> None:
    async def main() -> None:
        server = FakeServer()
        await server.start()
        await server.stop()
        client = new_client(server, connect_timeout_s=None)
        async with client:
            outgoing = client.enqueue_message(ME, PEER, "text", text="written offline")
            assert not client.online
            assert client.outbox == (outgoing,)
            await server.start()
            await outgoing.acked
            assert client.online
            await client.flush(5.0)
            await server.stop()

    run(main())


def test_a_server_that_is_away_is_told_at_the_start() -> None:
    async def main() -> None:
        server = FakeServer()
        await server.start()
        await server.stop()
        with pytest.raises(ConnectionFailed, match="not online"):
            async with new_client(server, connect_timeout_s=0.05):
                pass
        client = new_client(server, connect_timeout_s=None, timeouts=Timeouts(request_s=0.05))
        async with client:
            with pytest.raises(RequestTimeout):
                await client.devices()
            with pytest.raises(ConnectionFailed):
                await client.get_messages(ME)

    run(main())


def test_an_address_that_is_none_is_misuse() -> None:
    async def main() -> None:
        server = FakeServer()
        client = new_client(server)
        client._engine.settings = client._engine.settings._replace(urls=("gopher://x",))
        with pytest.raises(Misuse):
            async with client:
                pass

    run(main())


def test_a_wrong_key_ends_the_client() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            server.model.public_key = new_key().public_key().public_bytes_raw()
            with pytest.raises(AuthFailed):
                async with new_client(server):
                    pass
            assert server.connections == 1

    run(main())


def test_an_unknown_version_ends_the_client() -> None:
    async def main() -> None:
        model = ModelServer()
        model.refuse = lambda op: (
            wire.error(op.id, wire.ErrorCode.UNSUPPORTED_VERSION, "only 2")
            if isinstance(op, wire.Hello)
            else None
        )
        async with FakeServer(model) as server:
            with pytest.raises(UnsupportedVersion):
                async with new_client(server):
                    pass

    run(main())


@pytest.mark.parametrize(("code", "error"), [(4403, Revoked), (4409, Replaced)])
def test_what_ends_the_client_reaches_everyone_who_waits(code: int, error: type[Exception]) -> None:
    async def main() -> None:
        model = ModelServer()
        model.refuse = lambda op: b"" if isinstance(op, wire.Send | wire.Devices) else None
        async with FakeServer(model) as server, new_client(server) as client:
            state = client._engine._state
            waiting = [
                asyncio.create_task(client.send_message(ME, PEER, "text", text="x")),
                asyncio.create_task(client.devices()),
                asyncio.create_task(_next(client.messages())),
                asyncio.create_task(_next(client.receipts())),
            ]
            await server.until(
                lambda: (
                    any(isinstance(op, wire.Devices) for op in model.requests)
                    and any(isinstance(op, wire.Send) for op in model.requests)
                )
            )
            await server.close(code, "so it is")
            for outcome in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(outcome, error)
            with pytest.raises(error):
                client.enqueue_message(ME, PEER, "text", text="x")
            with pytest.raises(error):
                await client.get_messages(ME)
            assert not client.online
            assert server.connections == 1
            assert len(state.open(ME, DEVICE).outbox) == 1

    run(main())


async def _next(stream: Any) -> Any:
    return await anext(stream)


def test_close_ends_what_waits() -> None:
    async def main() -> None:
        model = ModelServer()
        model.refuse = lambda op: b"" if isinstance(op, wire.Send | wire.Devices) else None
        async with FakeServer(model) as server:
            client = new_client(server)
            async with client:
                sending = asyncio.create_task(client.send_message(ME, PEER, "text", text="x"))
                asking = asyncio.create_task(client.devices())
                reading = asyncio.create_task(_collect(client.messages()))
                hearing = asyncio.create_task(_collect(client.receipts()))
                await server.until(lambda: any(isinstance(o, wire.Devices) for o in model.requests))
            for task in (sending, asking):
                with pytest.raises(ClientClosed):
                    await task
            assert await reading == []
            assert await hearing == []
            with pytest.raises(ClientClosed):
                await client.devices()
            await client.close()

    run(main())


async def _collect(stream: Any) -> list[Any]:
    return [item async for item in stream]


def test_closing_sends_the_last_acknowledgement() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            async with new_client(server) as client:
                await server.deliver(b"one", b"two")
                async for message in client.messages():
                    if message.text == "two":
                        break
            await server.until(lambda: not server.lines)
            assert server.model.acked == 2

    run(main())


def test_unread_messages_stop_the_reading_and_say_so() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            limits = Limits(inbox_events=8)
            async with new_client(server, limits=limits) as client:
                await server.deliver(*(bytes([n]) for n in range(40)))
                with pytest.raises(InboxFull):
                    await _send_for_ever(client)
                assert client._engine.core.inbox.unhandled <= 9
                bodies = []
                while len(bodies) < 40:
                    bodies += [m.body[0] for m in await client.get_messages(ME, wait_s=5.0)]
                assert bodies == list(range(40))
                await client.flush(5.0)
                await client.send_message(ME, PEER, "text", text="goes on")

    run(main())


async def _send_for_ever(client: Client) -> None:
    # Sooner or later nothing is read any more, not even the answer.
    while True:
        await client.send_message(ME, PEER, "text", text="x")


def test_a_program_that_ended_resumes_and_shows_nothing_twice(tmp_path: Path) -> None:
    async def main() -> None:
        key = new_key()
        path = tmp_path / "state"
        model = ModelServer()
        async with FakeServer(model) as server:
            async with new_client(server, key=key, state=FileState(path)) as client:
                await server.deliver(b"one", b"two")
                texts = []
                async for message in client.messages():
                    texts.append(message.text)
                    if len(texts) == 2:
                        break
                # The acknowledgement is lost on the way, and the answers too.
                model.take_ack = lambda position: None  # type: ignore[method-assign]
                model.refuse = lambda op: b"" if isinstance(op, wire.Send) else None
                client.enqueue_message(ME, PEER, "text", text="in the outbox")
                await server.until(lambda: any(isinstance(o, wire.Send) for o in model.requests))
            del model.take_ack
            model.queue = {1: model.queue.get(1, b"") or _event(1), 2: _event(2)}
            model.refuse = lambda op: None
            async with new_client(server, key=key, state=FileState(path)) as client:
                [outgoing] = client.outbox
                assert (await outgoing.acked).seq == 3
                await server.deliver(b"three")
                assert [m.text for m in await client.get_messages(ME, wait_s=5.0)] == ["three"]
            assert len(model.stored) == 1
            with pytest.raises(StateMismatch):
                await Client(server.url, Identity(ME, 99, key), state=FileState(path)).start()

    run(main())


def _event(seq: int) -> bytes:
    return wire.message_event(CONV, seq, seq, 0, PEER, 1, seq, ME, "text", b"old", None)


def test_a_state_that_fails_ends_the_client_and_nothing_leaves_it() -> None:
    class Broken(MemoryState):
        def __init__(self, blocking: bool) -> None:
            super().__init__()
            self.blocking = blocking

        def commit(self, change: StateChange) -> None:
            raise OSError("no space left")

    async def main(blocking: bool) -> None:
        async with FakeServer() as server, new_client(server, state=Broken(blocking)) as client:
            with pytest.raises(StateError, match="no space"):
                await client.send_message(ME, PEER, "text", text="x")
            with pytest.raises(StateError):
                await client.devices()
            assert not server.model.stored

    for blocking in (False, True):
        run(main(blocking))


def test_a_state_that_fails_at_the_very_end_leaves_nothing_open() -> None:
    class Full(MemoryState):
        def __init__(self, blocking: bool) -> None:
            super().__init__()
            self.blocking = blocking
            self.full = self.closed = False

        def commit(self, change: StateChange) -> None:
            if self.full:
                raise OSError("no space left")
            super().commit(change)

        def close(self) -> None:
            self.closed = True

    async def main(blocking: bool) -> None:
        state = Full(blocking)
        async with FakeServer() as server:
            client = await new_client(server, state=state).__aenter__()
            await server.deliver(b"one")
            incoming = client.messages()
            assert (await anext(incoming)).text == "one"
            state.full = True
            del incoming  # the program is past the message: closing keeps that, or tries to
            with pytest.raises(StateError, match="no space"):
                await client.close()
            assert state.closed
            await server.until(lambda: not server.model.online)
            await client.close()

    for blocking in (False, True):
        run(main(blocking))


def test_a_server_that_is_silent_is_left() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            silent = asyncio.Event()

            async def hold(_connection: ServerConnection) -> None:
                if server.connections == 1:
                    await silent.wait()

            server.on_open = hold
            timeouts = Timeouts(handshake_s=0.05, close_s=0.05)
            async with new_client(server, timeouts=timeouts) as client:
                assert server.connections >= 2
                await client.send_message(ME, PEER, "text", text="x")
            silent.set()

    run(main())


def test_cancelling_a_send_leaves_it_on_the_outbox() -> None:
    async def main() -> None:
        model = ModelServer()
        holding = [True]
        model.refuse = lambda op: b"" if isinstance(op, wire.Send) and holding[0] else None
        async with FakeServer(model) as server, new_client(server) as client:
            task = asyncio.create_task(client.send_message(ME, PEER, "text", text="x"))
            await server.until(lambda: any(isinstance(op, wire.Send) for op in model.requests))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            holding[0] = False
            server.cut()
            [outgoing] = client.outbox
            assert (await outgoing.acked).seq == 1
            await client.flush(5.0)

    run(main())


@pytest.mark.parametrize("turns", range(1, 8))
@pytest.mark.parametrize("blocking", [True, False])
def test_who_is_cancelled_while_it_starts_or_ends_lets_go_of_its_state(
    tmp_path: Path, turns: int, blocking: bool
) -> None:
    def state() -> FileState:
        found = FileState(tmp_path / "state")
        found.blocking = blocking
        return found

    async def cancelled_after(turns: int, work: Any) -> None:
        task = asyncio.ensure_future(work)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    async def main() -> None:
        key = new_key()
        async with FakeServer() as server:
            starting = new_client(server, key=key, state=state())
            await cancelled_after(turns, starting.start())
            await starting.close()
            async with new_client(server, key=key, state=state()) as ending:
                ending.enqueue_message(ME, PEER, "text", text="x")
                await cancelled_after(turns, ending.close())
                async with new_client(server, key=key, state=state()) as after:
                    await after.flush()

    run(main())
