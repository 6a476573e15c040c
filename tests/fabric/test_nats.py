"""The connection to NATS: it is made or says why not, is kept for ever, and is closed in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from nats import errors as nats_errors

from palaver.transport.fabric.errors import (
    NatsClosed,
    NatsRefused,
    NatsSettingsWrong,
    NatsTooBig,
    NatsUnreachable,
    NatsUntrusted,
)
from palaver.transport.fabric.nats import NatsConnection
from palaver.transport.fabric.nats_settings import NatsSettings, mutual_tls

pytestmark = pytest.mark.peer

Run = Callable[[Coroutine[Any, Any, None]], None]


@asynccontextmanager
async def opened(*urls: str, **settings: Any) -> Any:
    settings.setdefault("name", "a@test")
    connection = await NatsConnection.open(NatsSettings(urls=urls, **settings))
    try:
        yield connection
    finally:
        await connection.close()


def until_change(connection: NatsConnection, connected: bool) -> asyncio.Future[None]:
    """Done when the connection is lost, or made."""
    future = asyncio.get_running_loop().create_future()

    def changed(now: bool) -> None:
        if now == connected and not future.done():
            future.set_result(None)

    connection.on_change(changed)
    return future


class Heard:
    """What has come, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[bytes] = []
        self._changed = asyncio.Event()

    def __call__(self, payload: bytes) -> None:
        self.all.append(payload)
        self._changed.set()

    async def until(self, wanted: bytes) -> None:
        while wanted not in self.all:
            self._changed.clear()
            await self._changed.wait()


async def post_until_heard(sender: NatsConnection, heard: Heard, payload: bytes) -> None:
    """Post, again after each round trip, until it has come: what is lost is lost."""
    waiting = asyncio.ensure_future(heard.until(payload))
    while not waiting.done():
        sender.post(b"t.x", payload)
        await sender.flush(5)
    await waiting


def test_what_is_posted_comes_to_those_who_listen_and_not_back(run: Run, servers: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with opened(server.url) as one, opened(server.url, name="b@test") as two:
            here, there = Heard(), Heard()
            await one.listen("t.x", here)
            subscription = await two.listen("t.x", there)
            assert await two.flush(5)
            assert one.post(b"t.x", b"first")
            assert one.post(b"t.x", b"")
            await there.until(b"")
            assert there.all == [b"first", b""]
            assert here.all == []
            await subscription.close()
            await subscription.close()
            assert two.client.direct == {}

    run(main())


def test_without_a_server_the_error_names_it(run: Run, servers_kit: ModuleType) -> None:
    port = servers_kit.free_port()

    async def main() -> None:
        with pytest.raises(NatsUnreachable, match=f"127.0.0.1:{port}") as caught:
            async with opened(f"127.0.0.1:{port}", first_timeout_s=0.3):
                pass
        assert caught.value.urls == (f"127.0.0.1:{port}",)

    run(main())


def test_wrong_credentials_are_refused_by_all_servers_before_the_time_is_over(
    run: Run, servers: Any
) -> None:
    extra = 'authorization { user: palaver, password: "right" }'
    servers_ = [servers.start(extra), servers.start(extra)]
    urls = [server.url for server in servers_]

    async def main() -> None:
        with pytest.raises(NatsRefused, match="same secret"):
            async with opened(*urls, user="palaver", password="wrong", first_timeout_s=50.0):
                pass
        with pytest.raises(NatsRefused):
            async with opened(*urls, first_timeout_s=50.0):
                pass
        async with opened(*urls, user="palaver", password="right") as connection:
            assert connection.connected
            assert "right" not in repr(connection.settings)

    run(main())


def tls_options(authority: Any, name: str) -> str:
    certificate, key = authority.issue(name)
    return (
        f'tls {{ cert_file: "{certificate}", key_file: "{key}", '
        f'ca_file: "{authority.path}", verify: true }}'
    )


def test_tls_is_mutual_and_its_failures_are_named(
    run: Run, servers: Any, servers_kit: ModuleType, tmp_path: Path
) -> None:
    ours, theirs = servers_kit.Authority(tmp_path, "ours"), servers_kit.Authority(tmp_path, "other")
    good = mutual_tls(ours.path, *ours.issue("node"))
    stranger = mutual_tls(ours.path, *theirs.issue("node"))
    distrusting = mutual_tls(theirs.path, *ours.issue("node"))
    safe, open_ = servers.start(tls_options(ours, "server")), servers.start()

    async def main() -> None:
        async with opened(safe.url, tls=good) as one, opened(safe.url, tls=good) as two:
            heard = Heard()
            await two.listen("t.x", heard)
            assert await two.flush(5)
            assert one.post(b"t.x", b"secret" * 100_000)
            await heard.until(b"secret" * 100_000)
        for context, server in ((stranger, safe), (distrusting, safe), (good, open_)):
            with pytest.raises(NatsUntrusted, match="authority"):
                async with opened(server.url, tls=context, first_timeout_s=50.0):
                    pass

    run(main())


def test_a_killed_server_is_left_for_another(run: Run, servers: Any) -> None:
    cluster = servers.start_cluster(2)

    async def main() -> None:
        async with opened(cluster[0].url) as one, opened(cluster[1].url) as two:
            heard = Heard()
            await one.listen("t.x", heard)
            await post_until_heard(two, heard, b"before")
            lost, made = until_change(one, False), until_change(one, True)
            cluster[0].kill()
            await lost
            await made
            assert one.server == f"127.0.0.1:{cluster[1].port}"  # it was told of it by the first
            assert one.stats.reconnects == 1
            await post_until_heard(two, heard, b"after")

    run(main())


def test_the_only_server_may_be_away_as_long_as_it_likes(run: Run, servers: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with opened(server.url) as one, opened(server.url, name="b@test") as two:
            heard = Heard()
            await one.listen("t.x", heard)
            for turn in (b"first", b"second"):
                changes = [until_change(each, False) for each in (one, two)]
                server.kill()
                await asyncio.gather(*changes)
                assert not one.connected
                assert not two.post(b"t.x", b"nothing leaves now")
                changes = [until_change(each, True) for each in (one, two)]
                server.start()
                await asyncio.gather(*changes)
                await post_until_heard(two, heard, turn)
            assert b"nothing leaves now" not in heard.all
            assert two.stats.refused == 2

    run(main())


def test_a_paused_server_is_noticed_and_left_though_much_waits_to_be_written(
    run: Run, servers: Any
) -> None:
    cluster = servers.start_cluster(2)

    async def main() -> None:
        urls = [server.url for server in cluster]
        async with (
            opened(*urls, ping_s=0.2, connect_timeout_s=0.3) as one,
            opened(cluster[1].url) as two,
        ):
            heard = Heard()
            await two.listen("t.x", heard)
            await post_until_heard(one, heard, b"before")
            stuck = next(server for server in cluster if f":{server.port}" in one.server)
            other = next(server for server in cluster if server is not stuck)
            if stuck is cluster[1]:  # the other's server is to go on
                cluster_of_two = until_change(two, True)
                await two.client.force_reconnect()
                await cluster_of_two
            made = until_change(one, True)
            stuck.pause()
            for _ in range(100):
                one.post(b"t.y", bytes(500_000))
            await made
            assert one.server == f"127.0.0.1:{other.port}"
            await post_until_heard(one, heard, b"after")

    run(main())


def test_what_the_server_says_it_does_not_like_ends_no_connection_for_good(
    run: Run, servers: Any
) -> None:
    server = servers.start("max_payload: 1000")

    async def main() -> None:
        async with opened(server.url) as one, opened(server.url) as two:
            heard = Heard()
            await one.listen("t.x", heard)
            with pytest.raises(NatsTooBig, match="max_payload"):
                one.post(b"t.x", bytes(1001))
            made = until_change(one, True)
            one.client.post(b"t.x", bytes(1001))  # 'Maximum Payload Violation', and it hangs up
            await made
            await post_until_heard(two, heard, b"after")
            assert one.stats.errors

    run(main())


def test_a_subject_that_is_not_allowed_is_reported_and_the_rest_goes_on(
    run: Run, servers: Any
) -> None:
    server = servers.start(
        "authorization { users: [ { user: u, password: p, permissions: { "
        'publish: ["t.>"], subscribe: ["t.>", "_INBOX.>"] } } ] }'
    )

    async def main() -> None:
        async with opened(server.url, user="u", password="p") as one:
            reported = one.stats.errors
            await one.listen("other.x", Heard())
            one.post(b"other.y", b"no")
            assert await one.flush(5)
            assert one.stats.errors == reported + 2
            assert one.connected
            assert one.stats.reconnects == 0

    run(main())


def test_a_flush_comes_behind_what_was_posted_and_may_be_given_up(run: Run, servers: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with opened(server.url, ping_s=30.0) as one, opened(server.url) as two:
            heard = Heard()
            await two.listen("t.x", heard)
            assert await two.flush(5)
            server.pause()
            one.post(b"t.x", b"1")
            assert not await one.flush(0.05)  # its answer comes when nobody waits for it
            server.resume()
            for number in range(2, 50):
                one.post(b"t.x", b"%d" % number)
                assert await one.flush(5)
                assert await two.flush(5)
                assert heard.all[-1] == b"%d" % number

    run(main())


def test_a_slow_subscription_of_the_library_is_counted(run: Run, servers: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with opened(server.url) as one, opened(server.url) as two:
            go_on = asyncio.Event()
            dropped = asyncio.Event()

            async def slow(_message: Any) -> None:
                await go_on.wait()

            await one.client.subscribe("t.x", cb=slow, pending_msgs_limit=2)
            assert await one.flush(5)
            while not one.stats.slow_consumers:
                assert two.post(b"t.x", b"one more")
                assert await two.flush(5)
                assert await one.flush(5)
            dropped.set()
            go_on.set()
            assert one.connected

    run(main())


def test_closing_sends_what_was_posted_and_ends_all(run: Run, servers: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with opened(server.url) as two:
            heard = Heard()
            await two.listen("t.x", heard)
            assert await two.flush(5)
            for end in ("close", "drain"):
                one = await NatsConnection.open(NatsSettings(urls=(server.url,), name="x"))
                assert one.post(b"t.x", end.encode())
                await getattr(one, end)()
                await one.close()
                await heard.until(end.encode())
                assert not one.post(b"t.x", b"too late")
                assert not await one.flush(1)
                with pytest.raises(NatsClosed):
                    await one.listen("t.y", heard)

    run(main())


def test_closing_does_not_wait_for_a_server_that_is_away_or_paused(run: Run, servers: Any) -> None:
    server = servers.start()

    async def main() -> None:
        for fault in ("pause", "kill"):
            one = await NatsConnection.open(
                NatsSettings(urls=(server.url,), name="x", close_timeout_s=0.2)
            )
            getattr(server, fault)()
            for _ in range(50):
                one.post(b"t.x", bytes(500_000))
            await one.close()
            if fault == "pause":
                server.resume()

    run(main())


def test_jetstream_of_the_same_client_works_through_a_change_of_the_server(
    run: Run, servers: Any, tmp_path: Path
) -> None:
    server = servers.start(f'jetstream {{ store_dir: "{tmp_path}/js" }}')

    async def main() -> None:
        async with opened(server.url, inbox_prefix="_INBOX.town") as one:
            context = one.client.jetstream()
            await context.add_stream(name="S", subjects=["s.>"])
            assert (await context.publish("s.a", b"1")).seq == 1
            made = until_change(one, True)
            server.kill()
            server.start()
            await made
            while True:
                try:
                    assert (await context.publish("s.a", b"2")).seq == 2
                    break
                except (nats_errors.NoRespondersError, nats_errors.TimeoutError):
                    assert await one.flush(5)  # JetStream itself comes a little later

    run(main())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"urls": ()}, "host:port"),
        ({"urls": ("http://here:1",)}, "nats://"),
        ({"urls": ("nats://u:secret@here:1",)}, "logs"),
        ({"user": "u"}, "belong together"),
        ({"user": "u", "password": "p", "creds": Path("x")}, "one only"),
        ({"creds": Path("/nowhere")}, "nkeys|no file"),
    ],
)
def test_settings_that_cannot_be_used_say_what_to_write(settings: Any, says: str) -> None:
    with pytest.raises(NatsSettingsWrong, match=says) as caught:
        NatsSettings(**{"urls": ("127.0.0.1:4222",), "name": "x", **settings})
    assert "secret" not in str(caught.value)


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(NatsSettingsWrong, match=r"ca\.pem"):
        mutual_tls(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
