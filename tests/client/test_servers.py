"""Several servers: which one is next, and the client going from one to another."""

from __future__ import annotations

import hashlib
import random
from types import SimpleNamespace
from typing import Any

import pytest
from client_kit import DEVICE, ME, PEER, FakeServer, ModelServer, new_client, run
from client_media_server import MediaServer
from hypothesis import given
from hypothesis import strategies as st

from palaver.transport import wire
from palaver.transport.client import (
    Backoff,
    Client,
    ConnectionFailed,
    Misuse,
    Timeouts,
    UnsupportedVersion,
    new_key,
    upload,
)
from palaver.transport.client.servers import Servers, server_urls

URLS = ("ws://a", "ws://b", "ws://c")
NOWHERE = "ws://127.0.0.1:9/ws"


def servers(urls: tuple[str, ...] = URLS, seed: int = 1) -> Servers:
    return Servers(urls, Backoff(), random.Random(seed))


# -- the choice --------------------------------------------------------------------------------


def test_one_url_or_several_each_once_and_never_none() -> None:
    assert server_urls("ws://a") == ("ws://a",)
    assert server_urls(["ws://b", "ws://a", "ws://b"]) == ("ws://b", "ws://a")
    with pytest.raises(Misuse):
        server_urls([])


def test_clients_begin_at_different_servers_and_leave_one_for_different_others() -> None:
    firsts, seconds = set(), set()
    for seed in range(40):
        chosen = servers(seed=seed)
        if chosen.current != "ws://a":
            firsts.add(chosen.current)
            continue
        firsts.add("ws://a")
        chosen.failed(None, 0.0)
        seconds.add(chosen.current)
    assert firsts == set(URLS)
    assert seconds == {"ws://b", "ws://c"}


def test_a_client_may_begin_with_the_server_nearby_and_leaves_it_for_any() -> None:
    seconds = set()
    for seed in range(20):
        chosen = Servers(URLS, Backoff(), random.Random(seed), near_first=True)
        assert chosen.current == "ws://a"
        chosen.failed(None, 0.0)
        seconds.add(chosen.current)
    assert seconds == {"ws://b", "ws://c"}


def test_a_failed_server_is_left_for_its_own_backoff_and_the_next_is_tried_soon() -> None:
    chosen = servers()
    seen = [chosen.current]
    for _ in range(2):
        assert chosen.failed(None, 100.0) <= Backoff().base_s
        seen.append(chosen.current)
    assert set(seen) == set(URLS)


def test_a_server_that_asks_to_be_left_alone_is() -> None:
    chosen = servers(("ws://a", "ws://b"))
    leaving = chosen.current
    chosen.failed(60.0, 0.0)
    other = chosen.current
    assert other != leaving
    # The other one is tried again and again before the first one's time has come.
    now_s = 0.0
    while now_s < 55.0:
        assert chosen.current == other
        now_s += max(0.5, chosen.failed(None, now_s))


def test_a_server_that_was_good_starts_from_a_short_delay_and_a_crowded_one_does_not() -> None:
    def longest(prepare: Any) -> float:
        delays = []
        for seed in range(30):
            alone = servers(("ws://a",), seed)
            prepare(alone)
            delays.append(alone.failed(None, 0.0))
        return max(delays)

    def worn(alone: Servers) -> None:
        for _ in range(10):
            alone.failed(None, 0.0)

    def good(alone: Servers) -> None:
        worn(alone)
        alone.held(10.0)

    def short(alone: Servers) -> None:
        worn(alone)
        alone.held(9.0)

    assert longest(good) <= Backoff().base_s
    assert longest(short) > 10.0
    assert longest(Servers.crowded) > 4.0


@given(
    st.integers(1, 5),
    st.integers(0, 1000),
    st.lists(st.tuples(st.floats(0.0, 50.0), st.none() | st.floats(0.0, 20.0)), max_size=60),
)
def test_no_server_is_tried_before_its_time_and_none_is_forgotten(
    count: int, seed: int, steps: list[tuple[float, float | None]]
) -> None:
    urls = tuple(f"ws://{each}" for each in range(count))
    backoff = Backoff()
    chosen = Servers(urls, backoff, random.Random(seed))
    now_s, asked_until = 0.0, dict.fromkeys(urls, 0.0)
    last_tried = dict.fromkeys(urls, 0.0)
    for up_s, asked_s in steps:
        now_s += up_s
        asked_until[chosen.current] = now_s + (asked_s or 0.0)
        delay_s = chosen.failed(asked_s, now_s)
        assert 0.0 <= delay_s <= max(backoff.cap_s, 1.5 * (asked_s or 0.0) + backoff.cap_s)
        now_s += delay_s
        assert now_s >= asked_until[chosen.current] - 1e-6
        last_tried[chosen.current] = now_s
        # Whoever may be tried has its turn within as many tries as there are servers.
    for _ in range(3 * count):
        now_s += backoff.cap_s + 31.0
        now_s += chosen.failed(None, now_s)
        last_tried[chosen.current] = now_s
    assert min(last_tried.values()) > 0.0


# -- the client --------------------------------------------------------------------------------


def client_of(*all_: FakeServer | MediaServer | str, model: ModelServer, **options: Any) -> Client:
    urls = [each if isinstance(each, str) else each.url for each in all_]
    everywhere: Any = SimpleNamespace(url=urls, model=model)
    return new_client(everywhere, **options)


def test_a_client_goes_on_with_another_server_of_the_cluster() -> None:
    async def main() -> None:
        model = ModelServer()
        async with FakeServer(model) as one, FakeServer(model) as two:
            async with client_of(one, NOWHERE, two, model=model) as client:
                for number in range(6):
                    await client.send_message(ME, PEER, "text", text=str(number))
                    here = one if one.lines else two
                    if number % 2:
                        here.cut()
                    else:
                        await here.say(wire.going("drain", 50))
                await client.flush()
            assert [op.body for _, op in model.stored] == [b"%d" % each for each in range(6)]
            assert one.connections
            assert two.connections

    run(main())


def test_a_client_stays_where_it_is_well() -> None:
    async def main() -> None:
        model = ModelServer()
        async with FakeServer(model) as one, FakeServer(model) as two:
            async with client_of(one, two, model=model) as client:
                for number in range(5):
                    await client.send_message(ME, PEER, "text", text=str(number))
            assert sorted((one.connections, two.connections)) == [0, 1]

    run(main())


def test_with_no_server_at_all_the_failure_says_so() -> None:
    async def main() -> None:
        model = ModelServer(public_key=bytes(32))
        with pytest.raises(ConnectionFailed):
            async with client_of(
                NOWHERE, "ws://127.0.0.1:10/ws", model=model, connect_timeout_s=0.3
            ):
                pass

    run(main())


def test_a_server_that_is_unavailable_for_long_is_left_for_one_that_serves() -> None:
    async def main() -> None:
        sick, well = ModelServer(), ModelServer()
        sick.refuse = lambda op: (
            wire.error(op.id, wire.ErrorCode.UNAVAILABLE, "no owner", 1)
            if isinstance(op, wire.Send)
            else None
        )
        async with FakeServer(sick) as one, FakeServer(well) as two:
            key = new_key()
            sick.public_key = well.public_key = key.public_key().public_bytes_raw()
            timeouts = Timeouts(ping_s=5.0, close_s=1.0, unavailable_s=0.02)
            async with client_of(one, two, model=well, key=key, timeouts=timeouts) as client:
                # Wherever it began: it is brought to the one that does not serve.
                if two.lines:
                    two.cut()
                    await one.until(lambda: bool(one.lines))
                await client.send_message(ME, PEER, "text", text="at last")
            [(_, op)] = well.stored
            assert op.body == b"at last"
            assert not sick.stored

    run(main())


def test_a_lone_server_that_is_unavailable_is_not_left() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            refusals = [20]

            def refuse(op: wire.Request) -> bytes | None:
                if not isinstance(op, wire.Send) or not refusals[0]:
                    return None
                refusals[0] -= 1
                return wire.error(op.id, wire.ErrorCode.UNAVAILABLE, "no owner", 1)

            server.model.refuse = refuse
            timeouts = Timeouts(ping_s=5.0, close_s=1.0, unavailable_s=0.0)
            async with new_client(server, timeouts=timeouts) as client:
                await client.send_message(ME, PEER, "text", text="at last")
            assert server.connections == 1

    run(main())


def of_another_version() -> ModelServer:
    """A node of the cluster that is upgraded before the clients, or after them."""
    model = ModelServer()
    model.refuse = lambda op: (
        wire.error(op.id, wire.ErrorCode.UNSUPPORTED_VERSION, "only 2")
        if isinstance(op, wire.Hello)
        else None
    )
    return model


def test_a_server_of_another_version_is_left_for_one_that_is_understood() -> None:
    async def main() -> None:
        strange, model = of_another_version(), ModelServer()
        async with FakeServer(strange) as one, FakeServer(model) as two:
            async with client_of(one, NOWHERE, two, model=model) as client:
                # Wherever it began: it is sent to the other one, twice.
                for number in range(2):
                    before = one.connections
                    two.cut()
                    await one.until(lambda seen=before: one.connections > seen)  # type: ignore[misc]
                    await client.send_message(ME, PEER, "text", text=str(number))
            assert [op.body for _, op in model.stored] == [b"0", b"1"]
            assert not strange.stored

    run(main())


def test_a_client_that_no_server_understands_ends() -> None:
    async def main() -> None:
        async with FakeServer(of_another_version()) as one, FakeServer(of_another_version()) as two:
            with pytest.raises(UnsupportedVersion):
                async with client_of(one, two, model=one.model):
                    pass
            assert (one.connections, two.connections) == (1, 1)

    run(main())


def test_a_server_that_was_upgraded_meanwhile_is_no_reason_to_end() -> None:
    alike = servers(("ws://a", "ws://b"))
    assert not alike.estranged()
    alike.failed(None, 0.0)
    alike.accepted()
    alike.failed(None, 10.0)
    alike.accepted()  # it understands by now
    alike.failed(None, 20.0)
    assert not alike.estranged()
    alike.failed(None, 30.0)
    assert alike.estranged()


def test_signing_up_passes_over_a_server_of_another_version() -> None:
    async def main() -> None:
        async with FakeServer(of_another_version()) as one, FakeServer() as two:
            for _ in range(6):  # From wherever it begins.
                identity = await Client.sign_up([one.url, two.url], ME, lambda: "123456", "laptop")
                assert (identity.account, identity.device) == (ME, DEVICE)
            with pytest.raises(UnsupportedVersion):
                await Client.sign_up(one.url, ME, lambda: "1", "laptop")
            for _ in range(4):
                with pytest.raises(ConnectionFailed):
                    await Client.sign_up([NOWHERE, one.url], ME, lambda: "1", "laptop")

    run(main())


def test_signing_up_takes_the_first_server_that_can_be_reached() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            for _ in range(6):  # From wherever it begins.
                identity = await Client.sign_up(
                    [NOWHERE, server.url], ME, lambda: "123456", "laptop"
                )
                assert (identity.account, identity.device) == (ME, DEVICE)
            with pytest.raises(ConnectionFailed):
                await Client.sign_up([NOWHERE, "ws://127.0.0.1:10/ws"], ME, lambda: "1", "laptop")

    run(main())


# -- files -------------------------------------------------------------------------------------

PIECE = 100_000
CONTENT = random.Random(3).randbytes(5 * PIECE + 17)


def test_an_upload_begins_anew_on_the_server_that_the_client_went_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upload.upload, "__defaults__", (PIECE,))

    async def main() -> None:
        async with MediaServer() as one, MediaServer() as two:
            two.model = one.model
            two.media.token = "second-token"
            places = [one, two]

            async with client_of(one, two, model=one.model) as client:
                [first] = [each for each in places if each.lines]
                other = two if first is one else one

                pieces = iter([lambda: None, first.leave])
                first.media.on_piece = lambda: next(pieces)()
                file_id = await client.upload_file("image/png", CONTENT)
                assert file_id == hashlib.sha256(CONTENT).digest()
                assert other.media.files[file_id] == CONTENT
                assert not first.media.files
                assert await client.download_file(ME, file_id) == CONTENT

    run(main())
