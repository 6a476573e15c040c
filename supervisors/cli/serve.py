"""`palaver serve`: a node, from its settings to its orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Protocol

import structlog
import typer
from rich.panel import Panel
from rich.table import Table

from palaver.actors.embedding import calm_garbage_collector
from palaver.actors.runtime import StartError
from palaver.supervisors.cli.codes import FileCodeSender, TerminalCodeSender
from palaver.supervisors.cli.options import ConfigOption, DataOption, settings_or_exit
from palaver.supervisors.cli.output import EXIT_DONE, EXIT_FAILED, CommandError, console
from palaver.supervisors.trees.logging import configure_logging
from palaver.supervisors.trees.settings import Settings

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STOP_S = 15.0

log = structlog.get_logger("palaver.serve")


class System(Protocol):
    """What `serve` needs of a node."""

    @property
    def ws_url(self) -> str: ...  # noqa: D102 - said by the tree's own class
    @property
    def http_url(self) -> str: ...  # noqa: D102
    @property
    def admin_url(self) -> str: ...  # noqa: D102

    async def start(self) -> None: ...  # noqa: D102
    async def drain(self) -> None: ...  # noqa: D102
    async def stop(self) -> None: ...  # noqa: D102
    async def wait_failed(self) -> str: ...  # noqa: D102
    @property
    def removed(self) -> bool: ...  # noqa: D102


def serve_command(
    config: ConfigOption = None,
    data: DataOption = None,
    host: Annotated[
        str | None,
        typer.Option(help="Where clients connect. [dim]default 127.0.0.1[/]", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            "-p",
            help="Their port; 0 takes a free one. [dim]default 4400[/]",
            show_default=False,
        ),
    ] = None,
    admin_port: Annotated[
        int | None,
        typer.Option(
            help="Port of /metrics, /healthz, /readyz. [dim]default 4401[/]", show_default=False
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            help="Partitions of the tables, fixed at the first start. [dim]default 1[/]",
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain (PEM).", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its private key (PEM).", show_default=False)
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT,...",
            help="Nodes of the cluster to be part of, by their cluster_port; see "
            "`palaver cluster keys` and cluster_name in `palaver settings`.",
            show_default=False,
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            help="debug, info, warning or error. [dim]default info[/]", show_default=False
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            help="auto, human or json. [dim]default auto: human on a terminal[/]",
            show_default=False,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            show_default=False,
            help="Any setting of `palaver settings`; repeatable, wins over all else.",
        ),
    ] = None,
    announce: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Write {ws, http, admin, pid} to FILE as JSON once the node is up.",
        ),
    ] = None,
    code_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Append sign-up codes to FILE as JSON lines, not to the terminal.",
        ),
    ] = None,
) -> None:
    """Run a node until SIGTERM, SIGINT (Ctrl-C) or SIGHUP.

    Settings come from a file, the environment and flags, the later winning: `palaver settings`
    shows all of them. A signal drains: the node stops accepting, finishes what it began, tells its
    clients to come back elsewhere or later, and exits with 0. A second signal ends it at once.
    """
    settings = settings_or_exit(
        config=config,
        flags={
            "data_dir": data, "host": host, "port": port, "admin_port": admin_port,
            "partitions": partitions, "cluster_join": join,
            "tls_cert": tls_cert, "tls_key": tls_key,
            "log_level": log_level, "log_format": log_format,
        },
        assignments=assignments,
    )  # fmt: skip
    configure_logging(settings.log_level, settings.log_format, node=settings.name)
    # The tree is a large import: `--help` and bad settings do not wait for it.
    from palaver.storage import StoreError
    from palaver.supervisors.trees.system import ChatSystem

    if settings.clustered and find_spec("nats") is None:
        raise CommandError("a node of a cluster needs NATS", "pip install 'palaver[cluster]'")
    sender = FileCodeSender(code_file) if code_file else TerminalCodeSender()
    expected: tuple[type[Exception], ...] = (StoreError, *_cluster_errors(settings))
    try:
        code = run_loop(serve(settings, lambda: ChatSystem(settings, code_sender=sender), announce))
    except expected as error:
        raise CommandError(f"the node cannot start: {error}") from error
    raise typer.Exit(code)


def _cluster_errors(settings: Settings) -> tuple[type[Exception], ...]:
    """What keeps a node from its cluster; each says what to do."""
    if not settings.clustered:
        return ()
    from palaver.actors.cluster.errors import ClusterError
    from palaver.storage.jetstream.errors import EngineError
    from palaver.storage.replicated.ports import JournalError, RegistersUnavailable
    from palaver.supervisors.trees.cluster_keys import ClusterKeysWrong
    from palaver.transport.fabric import NatsError

    return (
        ClusterKeysWrong, ClusterError, EngineError, JournalError, RegistersUnavailable, NatsError,
    )  # fmt: skip


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on a new event loop: uvloop's where it is installed, asyncio's otherwise."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def serve(settings: Settings, make: Callable[[], System], announce: Path | None) -> int:
    """Start a node, wait for a signal or its failure, drain and stop it; returns the exit code.

    Raises:
        CommandError: when the node cannot start.
    """
    stopping = _stop_on_signals()
    _raise_file_limit(settings.max_connections)
    system = make()
    starting = asyncio.ensure_future(system.start())
    try:
        if not await _first_of(starting, stopping):
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await system.stop()
            return EXIT_DONE
        starting.result()
    except (OSError, StartError) as error:
        await system.stop()
        text = _why(error)
        where = f"{settings.host}:{settings.port}, data {settings.data_dir}"
        raise CommandError(f"the node cannot start ({where}): {text}", _hint(text)) from error
    with calm_garbage_collector():  # 8 % of a busy node's time
        return await _live(system, settings, announce, stopping)


async def _live(
    system: System,
    settings: Settings,
    announce: Path | None,
    stopping: asyncio.Future[signal.Signals],
) -> int:
    """A node that has started: until a signal or its failure, then drain and stop it."""
    _say_where(system, settings)
    if announce is not None:
        _announce(system, announce)
    _notify_service_manager("READY=1")
    failing = asyncio.ensure_future(system.wait_failed())
    if await _first_of(failing, stopping):
        if system.removed:
            # As an operator wished: a service manager should not start it again.
            log.info("removed from the cluster")
            code = await _drain(system, settings.drain_s)
        else:
            log.error("node failed", reason=failing.result())
            code = EXIT_FAILED
    else:
        log.info("draining", signal=stopping.result().name, longest_s=settings.drain_s)
        _notify_service_manager("STOPPING=1")
        code = await _drain(system, settings.drain_s)
    failing.cancel()
    await asyncio.gather(failing, return_exceptions=True)
    try:
        async with asyncio.timeout(_STOP_S):
            await system.stop()
    except TimeoutError:
        log.error("not stopped in time", after_s=_STOP_S)
        code = EXIT_FAILED
    _withdraw(announce)
    log.info("stopped")
    return code


async def _drain(system: System, drain_s: float) -> int:
    # The system keeps to drain_s itself; the margin is for its last writes.
    try:
        async with asyncio.timeout(drain_s + _STOP_S):
            await system.drain()
    except TimeoutError:
        log.warning("drain not finished in time", after_s=drain_s + _STOP_S)
    return EXIT_DONE


def _stop_on_signals() -> asyncio.Future[signal.Signals]:
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[signal.Signals] = loop.create_future()

    def on(signum: signal.Signals) -> None:
        if stopping.done():
            # A person who asks twice does not want to wait; what is acked is durable already.
            os._exit(128 + signum)
        stopping.set_result(signum)

    for signum in _SIGNALS:
        loop.add_signal_handler(signum, on, signum)
    return stopping


async def _first_of(one: asyncio.Future[Any], other: asyncio.Future[Any]) -> bool:
    """Whether `one` was done first."""
    await asyncio.wait({one, other}, return_when=asyncio.FIRST_COMPLETED)
    return one.done()


def _raise_file_limit(connections: int) -> None:
    wanted = connections + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if reachable > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
            soft = reachable
    if soft < wanted:
        log.info(
            "fewer connections than max_connections are possible",
            open_files=soft,
            max_connections=connections,
            hint="raise LimitNOFILE of the unit, or ulimit -n",
        )


def _say_where(system: System, settings: Settings) -> None:
    data = settings.data_dir.absolute()
    log.info(
        "node up", ws=system.ws_url, http=system.http_url, admin=system.admin_url,
        data=str(data), partitions=settings.partitions, pid=os.getpid(),
    )  # fmt: skip
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.tls:
        log.warning("clients connect without TLS", hint="set tls_cert and tls_key, or a TLS proxy")
    out = console()
    if out.is_terminal:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim")
        rows.add_row("clients", f"[bold]{system.ws_url}[/]")
        rows.add_row("media", f"{system.http_url}/media")
        rows.add_row("metrics", f"{system.admin_url}/metrics")
        rows.add_row("data", str(data))
        rows.add_row("talk", f"palaver chat --url {system.ws_url}")
        rows.add_row("stop", "Ctrl-C")
        out.print(Panel(rows, title="Palaver", border_style="green", expand=False))


def _announce(system: System, file: Path) -> None:
    content = {
        "ws": system.ws_url, "http": system.http_url, "admin": system.admin_url,
        "pid": os.getpid(),
    }  # fmt: skip
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(json.dumps(content) + "\n", "utf-8")
    beside.replace(file)


def _withdraw(announce: Path | None) -> None:
    if announce is not None:
        announce.unlink(missing_ok=True)


def _notify_service_manager(state: str) -> None:
    # systemd's protocol for Type=notify: one datagram to the socket that it names.
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] in ("/", "@"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            sock.send(state.encode())


def _why(error: OSError | StartError) -> str:
    # A supervisor reports the chain down to the child that failed; its end is the cause.
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).rsplit("crash: ", 1)[-1]


def _hint(text: str) -> str | None:
    if "in use" in text:
        return "another node may run there; choose --port and --admin-port, or 0 for free ones"
    if "ermission" in text:
        return "another --data folder, or a port above 1023"
    if "assign requested address" in text:
        return "an address of this machine as --host, or 0.0.0.0 for all"
    return None
