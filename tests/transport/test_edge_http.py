"""HTTP and WebSockets on one port, and everything that a request's head can have wrong."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from palaver.transport import edge

Run = Callable[[Coroutine[Any, Any, None]], None]


def application() -> web.Application:
    async def reverse(request: web.Request) -> web.Response:
        return web.Response(body=(await request.read())[::-1])

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(bytes(65_536))
        await response.write_eof()
        return response

    app = web.Application(client_max_size=10_000_000)
    app.router.add_post("/reverse", reverse)
    app.router.add_get("/stream", stream)
    return app


def test_http_and_websockets_share_a_port(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        owner.on_frame_hook = kit.echo
        async with kit.listening(owner, application()) as listener:
            base = f"http://127.0.0.1:{listener.port}"
            async with kit.open_client(listener) as client, aiohttp.ClientSession() as session:
                for size in (3, 900_000):
                    await client.send(kit.ops(size))
                    body = bytes(range(256)) * (size // 256) + b"xyz"
                    async with session.post(f"{base}/reverse", data=body) as answer:
                        assert await answer.read() == body[::-1]
                    assert await client.recv() == kit.ops(size)
                async with session.get(f"{base}/stream") as answer:
                    assert len(await answer.read()) == 64 * 65_536
                async with session.get(f"{base}/nothing") as answer:
                    assert answer.status == 404
                assert listener.stats.http_open == listener.stats.http_total == 1
                assert listener.stats.connections_open == 1

    run(main())


UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
BAD_HEADS: dict[str, tuple[bytes, int, str]] = {
    "no upgrade": (b"GET /ws HTTP/1.1\r\n\r\n", 426, "bad_upgrade"),
    "other upgrade": (
        b"GET /ws HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        426,
        "bad_upgrade",
    ),
    "upgrade elsewhere": (
        b"GET /reverse HTTP/1.1\r\n" + UPGRADE + KEY + b"\r\n",
        404,
        "bad_upgrade",
    ),
    "not GET": (b"POST /ws HTTP/1.1\r\n" + UPGRADE + KEY + b"\r\n", 405, "bad_upgrade"),
    "old HTTP": (b"GET /ws HTTP/1.0\r\n" + UPGRADE + KEY + b"\r\n", 505, "bad_upgrade"),
    "no key": (b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"\r\n", 400, "bad_upgrade"),
    "bad header": (b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"x\r\n\r\n", 400, "bad_upgrade"),
    "not HTTP": (b"HELO example.org\r\n\r\n", 400, "not_http"),
    "a TLS greeting": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not_http"),
    "endless line": (b"GET /" + b"a" * 9_000, 431, "head_too_large"),
    "large head": (
        b"GET /ws HTTP/1.1\r\n" + b"X-A: b\r\n" * 2_000 + b"\r\n",
        431,
        "head_too_large",
    ),
}


@pytest.mark.parametrize("case", BAD_HEADS)
def test_bad_heads_are_answered_and_hung_up_on(kit: Any, run: Run, case: str) -> None:
    request, status, kind = BAD_HEADS[case]

    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner, application()) as listener:
            answer = await kit.http_exchange(listener, request)
            assert answer.startswith(b"HTTP/1.1 %d " % status), answer
            assert listener.stats.bad_input_total == {kind: 1}
            assert owner.opened == []

    run(main())


def test_a_head_in_single_bytes_is_read(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with (
            kit.listening(owner) as listener,
            await kit.RawClient.connect(listener, upgrade=False) as client,
        ):
            for byte in kit.HEAD:
                client.send(bytes((byte,)))
                await client.writer.drain()
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")

    run(main())


@pytest.mark.parametrize("begun", [b"", b"GET /ws HT"])
def test_a_head_that_does_not_come_is_not_waited_for(kit: Any, run: Run, begun: bytes) -> None:
    async def main() -> None:
        async with kit.listening(kit.Owner(), head_timeout_s=0.1) as listener:
            answers = await kit.all_of(kit.http_exchange(listener, begun) for _ in range(20))
            assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
            assert listener.stats.bad_input_total == {"head_timeout": 20}

    run(main())


def test_without_an_application_other_paths_are_not_found(kit: Any, run: Run) -> None:
    async def main() -> None:
        async with kit.listening(kit.Owner()) as listener:
            answer = await kit.http_exchange(listener, b"GET / HTTP/1.1\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 404 ")

    run(main())


def test_one_connection_too_many_is_told_to_come_back(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        owner.on_frame_hook = kit.echo
        async with (
            kit.listening(owner, application(), max_connections=2) as listener,
            kit.open_client(listener) as first,
        ):
            async with kit.open_client(listener):
                with pytest.raises(InvalidStatus) as info:
                    await kit.open_client(listener)
                assert info.value.response.status_code == 503
                assert info.value.response.headers["Retry-After"] == "5"
                answer = await kit.http_exchange(listener, b"GET /stream HTTP/1.1\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert listener.stats.refused_total == {"max_connections": 2}
            await owner.until(lambda: owner.closed)
            async with kit.open_client(listener) as third:
                for client in (first, third):
                    await client.send(kit.ops(1))
                    assert await client.recv() == kit.ops(1)

    run(main())


def test_refusing_is_bounded_too(kit: Any, run: Run) -> None:
    async def main() -> None:
        limits = {"max_connections": 1, "max_refusals": 3, "head_timeout_s": 30.0}
        async with kit.listening(kit.Owner(), **limits) as listener, kit.open_client(listener):
            silent = [await kit.RawClient.connect(listener, upgrade=False) for _ in range(3)]
            assert await kit.http_exchange(listener, kit.HEAD) == b""
            for client in silent:
                client.send(kit.HEAD)
                assert (await client.ended()).startswith(b"HTTP/1.1 503 ")
                await client.close()

    run(main())


def test_a_limit_for_each_address(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner, max_connections_per_address=1) as listener:
            for _ in range(2):
                async with kit.open_client(listener):
                    with pytest.raises(InvalidStatus, match="503"):
                        await kit.open_client(listener)
                await owner.until(lambda: len(owner.closed) == len(owner.opened))
            assert listener.stats.refused_total == {"max_per_address": 2}

    run(main())


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_tls(kit: Any, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        owner = kit.Owner()
        owner.on_frame_hook = kit.echo
        server = self_signed(tmp_path)
        trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        async with kit.listening(owner, application(), ssl=server) as listener:
            address = f"127.0.0.1:{listener.port}"
            async with connect(f"wss://{address}/ws", ssl=trust, compression=None) as client:
                await client.send(kit.ops(bytes(100_000)))
                assert await client.recv() == kit.ops(bytes(100_000))
                await client.send("text")
                assert (await asyncio.wait_for(client.wait_closed(), 10)) is None
                assert client.close_code == 1003
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"https://{address}/reverse", data=b"abc", ssl=trust) as answer,
            ):
                assert await answer.read() == b"cba"

    run(main())


def test_the_address_can_be_taken(kit: Any, run: Run) -> None:
    async def main() -> None:
        async with kit.listening(kit.Owner()) as listener:
            with pytest.raises(OSError, match="in use"):
                await edge.listen(kit.Owner(), application(), host="127.0.0.1", port=listener.port)

    run(main())
