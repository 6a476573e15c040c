from __future__ import annotations

import asyncio
import io
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from palaver.supervisors.cli.admin_client import RemoteAdmin, node_listens
from palaver.transport.http.admin import AdminServer
from palaver.transport.http.admin_port import AdminRefused, NewDevice
from palaver.transport.http.unix import unix_address, unix_listener


def with_server(
    node: Any, folder: Path, work: Callable[[AdminServer, aiohttp.ClientSession], Awaitable[None]]
) -> None:
    registry = CollectorRegistry()
    Counter("palaver_test", "A test.", registry=registry).inc(3)

    async def go() -> None:
        server = await AdminServer.start(
            registry=registry, health=node, admin=node, socket_path=folder / "admin.sock"
        )
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http:
                await work(server, http)
        finally:
            await server.close()

    asyncio.run(go())


def with_admin(node: Any, folder: Path, work: Callable[[RemoteAdmin], Awaitable[None]]) -> None:
    async def go(server: AdminServer, _: aiohttp.ClientSession) -> None:
        assert server.socket_path is not None
        async with RemoteAdmin(server.socket_path) as admin:
            await work(admin)

    with_server(node, folder, go)


def test_metrics_and_health_over_tcp(fake_node: Any, tmp_path: Path) -> None:
    async def work(_: AdminServer, http: aiohttp.ClientSession) -> None:
        async with http.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            assert "palaver_test_total 3.0" in await answer.text()
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with http.get("/metrics", headers=accept) as answer:
            assert "openmetrics" in answer.headers["Content-Type"]
            assert (await answer.text()).endswith("# EOF\n")
        async with http.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with http.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ready\n")
        fake_node.reasons = ["the node is draining", "the disk is full"]
        async with http.get("/readyz") as answer:
            text = await answer.text()
            assert (answer.status, text) == (503, "the node is draining\nthe disk is full\n")
        async with http.get("/healthz") as answer:
            assert answer.status == 200
        async with http.get("/v1/users") as answer:  # administration is not on this port
            assert answer.status == 404

    with_server(fake_node, tmp_path, work)


def test_the_socket_is_its_owner_s_alone_and_goes_with_the_node(
    fake_node: Any, tmp_path: Path
) -> None:
    path = tmp_path / "admin.sock"

    async def work(_: AdminServer, __: aiohttp.ClientSession) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert await asyncio.to_thread(node_listens, path)

    with_server(fake_node, tmp_path, work)
    assert not path.exists()
    assert not node_listens(path)


def test_a_killed_node_s_socket_is_replaced(fake_node: Any, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    unix_listener(path).close()  # leaves its file, as a kill does
    assert path.exists()
    assert not node_listens(path)

    async def work(_: AdminServer, __: aiohttp.ClientSession) -> None:
        assert await asyncio.to_thread(node_listens, path)

    with_server(fake_node, tmp_path, work)


def test_a_path_longer_than_a_socket_address_works(fake_node: Any, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with pytest.raises(OSError, match="too long"), socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "admin.sock"))

    async def work(admin: RemoteAdmin) -> None:
        await admin.add_user("+491701234567")
        assert len(await admin.users(None, 10)) == 1

    with_admin(fake_node, folder, work)
    with unix_address(tmp_path / "short") as address:
        assert address == str(tmp_path / "short")


def test_every_method_passes_through_the_socket(fake_node: Any, tmp_path: Path) -> None:
    async def work(admin: RemoteAdmin) -> None:
        one, two = "+491701234567", "+491701234568"
        assert (await admin.add_user(one)).account == one
        keys = [NewDevice(one, "laptop", bytes(32)), NewDevice(two, "phone/ü?", bytes(32))]
        added = await admin.add_devices(keys)
        assert [(a.account, a.device) for a in added] == [(one, 1), (two, 1)]
        assert [u.account for u in await admin.users(None, 10)] == [one, two]
        assert [u.account for u in await admin.users(one, 10)] == [two]
        assert [u.account for u in await admin.users(None, 1)] == [one]
        assert (await admin.user(two)).devices == 1
        (device,) = await admin.devices(two)
        assert (device.name, device.queued) == ("phone/ü?", 7)
        await admin.revoke(one, 1)
        assert fake_node.revoked == [(one, 1)]
        assert (await admin.issue_code("+49 170/1")).code == "123456"
        await admin.delete_user(one)
        assert await admin.stats() == {"accounts": 1}
        told: list[tuple[int, int]] = []
        record = await admin.backup("/tmp/b", lambda done, total: told.append((done, total)))
        assert (record.path, record.size_bytes) == ("/tmp/b", 3)
        assert set(told) <= set(fake_node.steps)

    with_admin(fake_node, tmp_path, work)


def test_refusals_keep_their_code_and_text(fake_node: Any, tmp_path: Path) -> None:
    async def refused(work: Awaitable[object]) -> AdminRefused:
        with pytest.raises(AdminRefused) as caught:
            await work
        return caught.value

    async def work(admin: RemoteAdmin) -> None:
        error = await refused(admin.user("+1"))
        assert (error.code, error.text) == ("no_such_user", "there is no account +1")
        await admin.add_user("+1")
        assert (await refused(admin.add_user("+1"))).code == "user_exists"
        assert (await refused(admin.revoke("+1", 3))).code == "no_such_device"
        assert (await refused(admin.users(None, 0))).code == "bad_request"
        assert (await refused(admin.add_devices([]))).code == "bad_request"
        assert (await refused(admin.backup("relative"))).code == "bad_request"
        assert (await refused(admin.backup("/full"))).code == "storage_failed"

    with_admin(fake_node, tmp_path, work)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"devices": [1]}', b'{"devices": 1}',
        b'{"devices": [{"account": "+1", "device_name": "x", "pubkey_hex": "zz"}]}',
        b'{"devices": [{"account": "+1", "device_name": "x", "pubkey_hex": "00"}]}',
        b'{"devices": [{"account": "", "device_name": "x", "pubkey_hex": "00"}]}',
        b" " * (5 << 20),
    ],
)  # fmt: skip
def test_bad_bodies_get_an_error_as_json(fake_node: Any, tmp_path: Path, body: bytes) -> None:
    async def work(server: AdminServer, _: aiohttp.ClientSession) -> None:
        connector = aiohttp.UnixConnector(str(server.socket_path))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.post("http://node/v1/devices", data=io.BytesIO(body)) as answer,
        ):
            assert answer.status in {400, 413}
            assert (await answer.json())["error"]["code"] == "bad_request"
        assert not fake_node.accounts

    with_server(fake_node, tmp_path, work)


def test_a_taken_port_leaves_nothing_behind(fake_node: Any, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def work(server: AdminServer, _: aiohttp.ClientSession) -> None:
        with pytest.raises(OSError, match="in use"):
            await AdminServer.start(
                registry=CollectorRegistry(),
                health=fake_node,
                port=server.port,
                admin=fake_node,
                socket_path=tmp_path / "other.sock",
            )
        assert not (tmp_path / "other.sock").exists()
        assert path.exists()

    with_server(fake_node, tmp_path, work)


def test_no_node_is_a_refusal_and_not_a_traceback(tmp_path: Path) -> None:
    async def go() -> None:
        async with RemoteAdmin(tmp_path / "admin.sock") as admin:
            with pytest.raises(AdminRefused, match="does not answer"):
                await admin.stats()

    asyncio.run(go())
