"""The program nats-server under a supervisor: started, checked, restarted, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path

import pytest
from nats_kit import free_ports

import standing
from palaver.actors.runtime import Node, StartError
from palaver.supervisors import Supervisor
from palaver.supervisors.trees.cluster_keys import Authority, NodeKeys
from palaver.supervisors.trees.nats_binary import (
    NatsConfigRefused,
    NatsServerMissing,
    find_nats_server,
)
from palaver.supervisors.trees.nats_config import CLIENT_USER, NatsConfig
from palaver.supervisors.trees.nats_server import (
    AwaitReady,
    GetNats,
    NatsServer,
    NatsServerFailed,
    NatsState,
    nats_server_spec,
)
from palaver.transport.fabric.errors import NatsRefused, NatsUntrusted
from palaver.transport.fabric.nats import NatsConnection
from palaver.transport.fabric.nats_settings import NatsSettings


def _keys(folder: Path, count: int = 1) -> list[NodeKeys]:
    authority = Authority.make(folder / "authority", "town")
    return [
        authority.make_node(folder / f"n{n}", f"n{n}@127.0.0.1", ["127.0.0.1"])
        for n in range(count)
    ]


def _config(folder: Path, keys: NodeKeys | None, **options: object) -> NatsConfig:
    settings: dict[str, object] = {
        "node": keys.node if keys else "n0",
        "cluster": "town",
        "folder": folder,
        "keys": keys,
        "client_port": -1,
        "cluster_port": None,
        "max_file_bytes": 1 << 28,
    }
    return NatsConfig(**(settings | options))  # type: ignore[arg-type]


async def _ready(node: Node, name: str = "nats") -> NatsState:
    state = await node.call(name, AwaitReady(), timeout_s=60)
    assert isinstance(state, NatsState)
    assert state.ready
    return state


def _settings(state: NatsState, keys: NodeKeys, **options: object) -> NatsSettings:
    settings: dict[str, object] = {
        "urls": (state.url,),
        "name": "test",
        "user": CLIENT_USER,
        "password": keys.password("node"),
        "tls": keys.client_tls(),
        "first_timeout_s": 5.0,
    }
    return NatsSettings(**(settings | options))  # type: ignore[arg-type]


@pytest.mark.peer
class TestServer:
    def test_it_serves_who_has_certificate_and_password_and_nobody_else(
        self, tmp_path: Path
    ) -> None:
        async def main() -> None:
            (keys,) = _keys(tmp_path / "keys")
            (stranger,) = _keys(tmp_path / "others")
            async with Node("n0") as node:
                await node.start_server(NatsServer, _config(tmp_path / "nats", keys), name="nats")
                state = await _ready(node)
                connection = await NatsConnection.open(_settings(state, keys))
                await connection.client.jetstream().account_info()
                await connection.close()
                with pytest.raises(NatsRefused):
                    await NatsConnection.open(_settings(state, keys, password="wrong"))
                with pytest.raises(NatsUntrusted):
                    await NatsConnection.open(_settings(state, keys, tls=stranger.client_tls()))

        asyncio.run(main())

    def test_three_of_them_find_each_other_and_elect_a_leader(self, tmp_path: Path) -> None:
        async def main() -> None:
            keys = _keys(tmp_path / "keys", 3)
            ports = free_ports(3)
            routes = tuple(f"127.0.0.1:{port}" for port in ports)
            async with Node("all") as node:
                for n in range(3):
                    config = _config(
                        tmp_path / f"nats{n}", keys[n], cluster_port=ports[n], routes=routes
                    )
                    await node.start_server(NatsServer, config, name=f"nats{n}")
                states = [await _ready(node, f"nats{n}") for n in range(3)]
                assert [state.cluster_port for state in states] == ports
                leaders = {state.state.meta_leader for state in states if state.state}
                assert leaders <= {each.node for each in keys}

        asyncio.run(main())

    def test_its_supervisor_starts_it_again_and_its_data_are_there(self, tmp_path: Path) -> None:
        async def main() -> None:
            (keys,) = _keys(tmp_path / "keys")
            async with Node("n0") as node:
                spec = nats_server_spec(_config(tmp_path / "nats", keys))
                await node.start_server(Supervisor, [spec])
                before = await _ready(node)
                connection = await NatsConnection.open(_settings(before, keys))
                await connection.client.jetstream().add_stream(name="kept", subjects=["kept"])
                await connection.close()
                first = node.whereis("nats")
                assert first is not None
                gone = asyncio.ensure_future(node.wait(first))
                os.kill(before.os_pid, signal.SIGKILL)
                assert isinstance(await gone, NatsServerFailed)
                while node.whereis("nats") is None:
                    await asyncio.sleep(0.01)
                after = await _ready(node)
                assert after.os_pid != before.os_pid
                connection = await NatsConnection.open(_settings(after, keys))
                assert await connection.client.jetstream().stream_info("kept")
                await connection.close()
            with pytest.raises(ProcessLookupError):
                os.kill(after.os_pid, 0)

        asyncio.run(main())

    def test_a_server_that_does_not_answer_is_killed(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with Node("n0") as node:
                config = _config(tmp_path / "nats", None)
                pid = await node.start_server(NatsServer, config, name="nats", hung_s=0.5)
                state = await _ready(node)
                standing.stop(state.os_pid)
                reason = await node.wait(pid)
                assert isinstance(reason, NatsServerFailed)
                assert "does not answer" in str(reason)
                with pytest.raises(ProcessLookupError):
                    os.kill(state.os_pid, 0)

        asyncio.run(main())

    def test_it_says_why_it_cannot_start(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with Node("n0") as node:
                config = _config(tmp_path / "one", None)
                await node.start_server(NatsServer, config, name="nats")
                state = await node.call("nats", GetNats())
                port = int(state.url.rpartition(":")[2])
                with pytest.raises(StartError) as caught:
                    await node.start_server(
                        NatsServer, _config(tmp_path / "two", None, client_port=port)
                    )
                reason = caught.value.reason
                assert isinstance(reason, NatsServerFailed)
                assert "address already in use" in str(reason)
                with pytest.raises(StartError) as caught:
                    await node.start_server(
                        NatsServer, _config(tmp_path / "three", None, max_payload_bytes=3 << 30)
                    )
                assert isinstance(caught.value.reason, NatsConfigRefused)
                with pytest.raises(StartError) as caught:
                    await node.start_server(NatsServer, _config(tmp_path / "$x", None))
                assert isinstance(caught.value.reason, NatsServerFailed)

        asyncio.run(main())

    def test_what_is_written_is_taken_and_listens_only_where_it_is_told(
        self, tmp_path: Path
    ) -> None:
        (keys,) = _keys(tmp_path / "keys")
        config = _config(
            tmp_path / 'na"ts', keys, cluster_port=6222, routes=("10.0.0.1:6222", "[::1]:6222")
        )
        file = config.write()
        find_nats_server().check(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        listens = [line for line in config.text().splitlines() if "listen:" in line]
        assert len(listens) == 2
        assert all("127.0.0.1" in line for line in listens)
        assert "sync_interval: always" in config.text()
        assert "verify: true" in config.text()


def _pretend(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o700)
    return path


def test_an_old_or_foreign_program_is_refused_with_what_to_install(tmp_path: Path) -> None:
    old = _pretend(tmp_path / "old", "nats-server: v2.9.10")
    other = _pretend(tmp_path / "other", "hello")
    new = _pretend(tmp_path / "new", "nats-server: v2.11.0-RC.1")
    with pytest.raises(NatsServerMissing, match=r"2\.9\.10, older than 2\.11.*palaver\[cluster\]"):
        find_nats_server([old])
    with pytest.raises(NatsServerMissing, match=r"not nats-server.*does not run"):
        find_nats_server([other, tmp_path / "none"])
    with pytest.raises(NatsServerMissing, match="none on the PATH"):
        find_nats_server([])
    assert find_nats_server([old, new]).version == "2.11.0"


def test_a_server_process_without_the_program_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with Node("n0") as node:
            with pytest.raises(StartError) as caught:
                await node.start_server(NatsServer, _config(tmp_path, None), places=())
            assert isinstance(caught.value.reason, NatsServerMissing)

    asyncio.run(main())
