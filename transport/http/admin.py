"""The operator's HTTP: metrics and health on a TCP port, administration on a Unix socket.

The TCP port answers `/metrics`, `/healthz`, `/readyz` and `/observer` (see `observer`) and changes
nothing. Administration is
JSON over `admin.sock` in the data folder, mode 0600: who may open the file may administer the node.
Nothing here knows how a node works: it speaks to an `AdminPort` and a `HealthPort`.

Answers of the socket: 200 with a JSON value, or a status of 400 and more with
`{"error": {"code": ..., "text": ...}}`. A backup answers with JSON lines: any number of
`{"done": n, "total": n}`, then one `{"result": ...}` or `{"error": ...}`; a change of the cluster
does too, with a `text` in each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from palaver.transport.http.admin_port import (
    MAX_NEW_DEVICES,
    MAX_PAGE,
    AddedDevice,
    AdminPort,
    AdminRefused,
    BackupRecord,
    CodeRecord,
    DeviceRecord,
    HealthPort,
    NewDevice,
    UserRecord,
    new_device,
    text_field,
)
from palaver.transport.http.cluster_port import CHANGES, ClusterPort, NoCluster
from palaver.transport.http.observer import add_observer
from palaver.transport.http.observer_port import ObserverPort
from palaver.transport.http.unix import unix_listener

log = structlog.get_logger("palaver.admin")

STATUS: dict[str, int] = {
    "bad_request": 400,
    "no_such_user": 404,
    "no_such_device": 404,
    "user_exists": 409,
    "no_cluster": 409,
    "no_such_node": 404,
    "refused": 409,
    "too_many": 409,
    "destination_exists": 409,
    "rate_limited": 429,
    "unavailable": 503,
    "storage_failed": 507,
    "internal": 500,
}

__all__ = [
    "AddedDevice",
    "AdminPort",
    "AdminRefused",
    "AdminServer",
    "BackupRecord",
    "CodeRecord",
    "DeviceRecord",
    "HealthPort",
    "NewDevice",
    "UserRecord",
    "operator_app",
    "public_app",
]

MAX_BODY_BYTES = 4 << 20


def public_app(
    registry: CollectorRegistry,
    health: HealthPort,
    observer: ObserverPort | None = None,
    *,
    show_state: bool = False,
) -> web.Application:
    """The application of the TCP port: `/metrics`, `/healthz`, `/readyz`, `/observer`."""

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        reasons = await health.not_ready()
        if reasons:
            return web.Response(status=503, text="".join(f"{r}\n" for r in reasons))
        return web.Response(text="ready\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    if observer is not None:
        add_observer(app, observer, with_state=show_state)
    return app


def operator_app(
    port: AdminPort, observer: ObserverPort | None = None, cluster: ClusterPort | None = None
) -> web.Application:
    """The application of the Unix socket: the ports as JSON under `/v1`, and the observer."""
    api = _OperatorApi(port)
    cluster_api = _ClusterApi(cluster or NoCluster())
    app = web.Application(middlewares=[_errors_as_json], client_max_size=MAX_BODY_BYTES)
    route = app.router
    route.add_get("/v1/users", api.users)
    route.add_post("/v1/users", api.add_user)
    route.add_get("/v1/users/{account}", api.user)
    route.add_delete("/v1/users/{account}", api.delete_user)
    route.add_post("/v1/users/{account}/code", api.code)
    route.add_get("/v1/users/{account}/devices", api.devices)
    route.add_delete("/v1/users/{account}/devices/{device}", api.revoke)
    route.add_post("/v1/devices", api.add_devices)
    route.add_get("/v1/stats", api.stats)
    route.add_post("/v1/backup", api.backup)
    route.add_get("/v1/cluster", cluster_api.status)
    route.add_post("/v1/cluster/{change}", cluster_api.change)
    if observer is not None:
        add_observer(app, observer, trusted=True)
    return app


class _OperatorApi:
    def __init__(self, port: AdminPort) -> None:
        self._port = port

    async def users(self, request: web.Request) -> web.Response:
        limit = _whole(request.query.get("limit", "100"), "limit", 1, MAX_PAGE)
        return _json(await self._port.users(request.query.get("after") or None, limit))

    async def add_user(self, request: web.Request) -> web.Response:
        body = await _body(request)
        return _json(await self._port.add_user(text_field(body, "phone")))

    async def user(self, request: web.Request) -> web.Response:
        return _json(await self._port.user(request.match_info["account"]))

    async def delete_user(self, request: web.Request) -> web.Response:
        await self._port.delete_user(request.match_info["account"])
        return _json(None)

    async def code(self, request: web.Request) -> web.Response:
        return _json(await self._port.issue_code(request.match_info["account"]))

    async def devices(self, request: web.Request) -> web.Response:
        return _json(await self._port.devices(request.match_info["account"]))

    async def revoke(self, request: web.Request) -> web.Response:
        device = _whole(request.match_info["device"], "device", 1, (1 << 63) - 1)
        await self._port.revoke(request.match_info["account"], device)
        return _json(None)

    async def add_devices(self, request: web.Request) -> web.Response:
        body = await _body(request)
        records = body.get("devices")
        if not isinstance(records, list) or not 1 <= len(records) <= MAX_NEW_DEVICES:
            raise AdminRefused("bad_request", f"devices must be a list of 1 to {MAX_NEW_DEVICES}")
        return _json(await self._port.add_devices([new_device(r) for r in records]))

    async def stats(self, _: web.Request) -> web.Response:
        return _json(await self._port.stats())

    async def backup(self, request: web.Request) -> web.StreamResponse:
        dest = text_field(await _body(request), "dest")
        if not Path(dest).is_absolute():
            raise AdminRefused("bad_request", "dest must be an absolute path")
        return await _stream(request, _backup_lines(self._port, dest))


class _ClusterApi:
    def __init__(self, port: ClusterPort) -> None:
        self._port = port

    async def status(self, _: web.Request) -> web.Response:
        return _json(await self._port.status())

    async def change(self, request: web.Request) -> web.StreamResponse:
        wanted = request.match_info["change"]
        known = next((change for change in CHANGES if change == wanted), None)
        if known is None:
            raise AdminRefused("bad_request", f"a change is one of {', '.join(CHANGES)}")
        body = await _body(request)
        node = None if known == "rebalance" else text_field(body, "node")

        async def lines() -> AsyncIterator[dict[str, Any]]:
            try:
                async for progress in self._port.change(known, node):
                    yield asdict(progress)
                yield {"result": None}
            except AdminRefused as refused:
                yield {"error": {"code": refused.code, "text": refused.text}}
            except Exception as error:
                # The answer has begun: without a last line the asker would not know what happened.
                log.exception("change of the cluster failed", change=known, about=node)
                text = f"the change failed: {error}; the node's log has more"
                yield {"error": {"code": "internal", "text": text}}

        return await _stream(request, lines())


async def _stream(request: web.Request, lines: AsyncIterator[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    async with contextlib.aclosing(lines) as closing:  # type: ignore[type-var]
        async for line in closing:
            await response.write(json.dumps(line).encode() + b"\n")
    await response.write_eof()
    return response


async def _backup_lines(port: AdminPort, dest: str) -> AsyncIterator[dict[str, Any]]:
    # Progress may be reported from another thread and faster than the operator's terminal reads:
    # only the newest report is kept.
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    newest: list[tuple[int, int]] = []

    def told(done: int, total: int) -> None:
        newest[:] = [(done, total)]
        loop.call_soon_threadsafe(news.set)

    task = asyncio.ensure_future(port.backup(dest, told))
    task.add_done_callback(lambda _: news.set())
    try:
        while not task.done():
            await news.wait()
            news.clear()
            if newest:
                done, total = newest.pop()
                yield {"done": done, "total": total}
        try:
            yield {"result": _plain(task.result())}
        except AdminRefused as refused:
            yield {"error": {"code": refused.code, "text": refused.text}}
    finally:
        task.cancel()


class AdminServer:
    """Both ports, listening."""

    def __init__(self, runners: list[web.AppRunner], port: int, socket_path: Path | None) -> None:
        self._runners = runners
        self.port = port
        self.socket_path = socket_path

    @classmethod
    async def start(
        cls,
        *,
        registry: CollectorRegistry,
        health: HealthPort,
        host: str = "127.0.0.1",
        port: int = 0,
        admin: AdminPort | None = None,
        socket_path: Path | None = None,
        tls: ssl.SSLContext | None = None,
        observer: ObserverPort | None = None,
        show_state: bool = False,
        cluster: ClusterPort | None = None,
    ) -> AdminServer:
        """Listen on `host:port` (0 takes a free one), and on `socket_path` where one is given.

        With an `observer`, both serve its page; bare states are shown on the socket, and on the
        port to local clients with `show_state`.

        A socket file left by an earlier process is replaced; the caller owns its folder.

        Raises:
            OSError: when an address cannot be listened on.
        """
        runners: list[web.AppRunner] = []
        try:
            public = await _runner(
                public_app(registry, health, observer, show_state=show_state), runners
            )
            site = web.TCPSite(public, host, port, ssl_context=tls)
            await site.start()
            bound = public.addresses[0][1]
            if admin is not None and socket_path is not None:
                operator = await _runner(operator_app(admin, observer, cluster), runners)
                await web.SockSite(operator, unix_listener(socket_path)).start()
        except BaseException:
            for runner in runners:
                await runner.cleanup()
            raise
        return cls(runners, bound, socket_path)

    async def close(self) -> None:
        """Stop listening, end open requests, and remove the socket's file."""
        for runner in self._runners:
            await runner.cleanup()
        if self.socket_path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.socket_path.unlink()


async def _runner(app: web.Application, runners: list[web.AppRunner]) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handle_signals=False)
    runners.append(runner)
    await runner.setup()
    return runner


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except AdminRefused as refused:
        status = STATUS.get(refused.code, 500)
        return _error(status, refused.code, refused.text)
    except web.HTTPException as http:
        return _error(http.status, "bad_request", f"{request.method} {request.path}: {http.reason}")


def _error(status: int, code: str, text: str) -> web.Response:
    return web.json_response({"error": {"code": code, "text": text}}, status=status)


def _json(value: object) -> web.Response:
    return web.json_response(_plain(value))


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError):
        raise AdminRefused("bad_request", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise AdminRefused("bad_request", "the body must be a JSON object")
    return body


def _whole(text: str, name: str, low: int, high: int) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high:
        return int(text)
    raise AdminRefused("bad_request", f"{name} must be a whole number from {low} to {high}")
