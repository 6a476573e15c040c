"""`NatsServer`: the nats-server of a node, as a supervised program.

    spec = nats_server_spec(NatsConfig(node="a@host", cluster="town", folder=data / "nats", ...))
    state = await node.call("nats", AwaitReady(), timeout_s=60)

The specification:

* Starting it finds the program, writes its configuration, lets the program check it, runs it, and
  waits until it listens. Else `StartError` says why in its reason: `NatsServerMissing`,
  `NatsConfigRefused`, `NatsServerFailed` (with the program's last words).
* That it listens does not say that it can be used: that takes a majority of the cluster's servers.
  `AwaitReady` is answered when JetStream has a leader; until then the caller waits.
* What the program writes to its log goes to this program's, at its level.
* When the program ends, so does the process, with `NatsServerFailed`: its supervisor starts it
  again. So it does when the program does not answer for `hung_s`: then it is killed before.
* Stopped, it lets the program hand over what it leads (SIGTERM), and kills it if that takes longer
  than `STOP_S`.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final

import structlog

from palaver.actors.programs import (
    Ack,
    Close,
    Command,
    Data,
    GetInfo,
    Lines,
    Program,
    ProgramExited,
    ProgramLauncher,
    Signal,
    StopSteps,
)
from palaver.actors.runtime import (
    NOREPLY,
    CallFailed,
    Exit,
    From,
    GenServer,
    Pid,
    ReceiveTimeout,
    Stop,
)
from palaver.storage.jetstream.errors import EngineError
from palaver.supervisors import ChildSpec
from palaver.supervisors.trees.nats_binary import NatsBinary, find_nats_server
from palaver.supervisors.trees.nats_config import NatsConfig
from palaver.supervisors.trees.nats_monitor import MonitorFailed, ServerState, server_state

__all__ = [
    "STOP_S",
    "AwaitReady",
    "GetNats",
    "NatsServer",
    "NatsServerFailed",
    "NatsState",
    "nats_server_spec",
]

log = structlog.get_logger("palaver.nats_server")

STOP_S: Final = 8.0
_STEPS: Final = StopSteps(close_s=0.0, term_s=STOP_S, kill_s=2.0)
_WINDOW: Final = 1024
_START_POLL_S: Final = 0.05
_POLL_S: Final = 0.25
_WATCH_S: Final = 2.0
_LAST_WORDS: Final = 5
_LINE: Final = re.compile(r"\[\d+\] (?:\S+ \S+ )?\[([A-Z]{3})\] (.*)")
_KNOWN: Final = "Plaintext passwords detected"
"""It warns of what the configuration has to have: routes know no other passwords."""
_LEVELS: Final = {"INF": "debug", "WRN": "warning", "ERR": "error", "FTL": "error"}


class NatsServerFailed(EngineError):
    """The program has ended, did not start in time, or does not answer; the text says which."""


@dataclass(frozen=True, slots=True)
class AwaitReady:
    """Call: answered with `NatsState` once JetStream has a leader.

    Give it time: it may need servers of other nodes.
    """


@dataclass(frozen=True, slots=True)
class GetNats:
    """Call: answered with `NatsState`, as it is known now."""


@dataclass(frozen=True, slots=True)
class NatsState:
    """A nats-server of a node.

    Attributes:
        url: where clients of this machine connect, `nats://host:port`.
        cluster_port: where other servers connect; None if it stands alone.
        monitor_url: its state over HTTP.
        os_pid: the program's process id.
        version: of the program.
        state: of its JetStream when it was looked at last; None: not yet.
    """

    url: str
    cluster_port: int | None
    monitor_url: str
    os_pid: int
    version: str
    state: ServerState | None

    @property
    def ready(self) -> bool:
        """Whether JetStream can be used."""
        return self.state is not None and self.state.ready


@dataclass(frozen=True, slots=True)
class _Look:
    """To itself: look how the server is."""


class NatsServer(GenServer):
    """The nats-server of a node; see the text of this module."""

    __slots__ = (
        "_binary",
        "_config",
        "_heard_s",
        "_hung_s",
        "_last_words",
        "_os_pid",
        "_ports",
        "_program",
        "_state",
        "_waiting",
    )

    async def init(
        self,
        config: NatsConfig,
        *,
        places: tuple[Path, ...] | None = None,
        launcher: ProgramLauncher | None = None,
        start_timeout_s: float = 30.0,
        hung_s: float = 20.0,
    ) -> Any:
        """Start the server and wait until it listens.

        Args:
            config: of the server.
            places: where the program is looked for; None: beside Python, then on the `PATH`.
            launcher: who starts it; None: the system.
            start_timeout_s: how long it may take until it listens; it reads its data before.
            hung_s: how long it may be without an answer before it is killed.
        """
        self.trap_exit = True
        self._config = config
        self._hung_s = hung_s
        self._waiting: list[From] = []
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._state: ServerState | None = None
        try:
            self._binary: NatsBinary = await self.run_blocking(find_nats_server, places)
            await self.run_blocking(_prepare, config, self._binary)
        except (EngineError, OSError) as error:
            return Stop(error)
        command = Command((self._binary.path, "-c", config.file), stderr="merge")
        self._program: Pid = await self.start_link(
            Program,
            command,
            owner=self.pid,
            framing=Lines(),
            window=_WINDOW,
            stop=_STEPS,
            launcher=launcher,
        )
        self._os_pid: int = (await self.call(self._program, GetInfo())).os_pid
        return await self._until_it_listens(start_timeout_s)

    async def _until_it_listens(self, timeout_s: float) -> Stop | None:
        deadline_s = self.clock.monotonic() + timeout_s
        file = self._config.run_folder / f"nats-server_{self._os_pid}.ports"
        while self.clock.monotonic() < deadline_s:
            ports = await self.run_blocking(_ports, file)
            if ports is not None:
                self._ports = ports
                self._heard_s = self.clock.monotonic()
                self.send(self.pid, _Look())
                log.info("nats-server runs", url=ports.url, version=self._binary.version)
                return None
            try:
                message = await self.receive(_is_of_program, _START_POLL_S)
            except ReceiveTimeout:
                continue
            if (stop := self._heard(message)) is not None:
                return stop
        await self._close_program()
        return Stop(NatsServerFailed(f"nats-server does not listen within {timeout_s:g} s"))

    def _heard(self, message: Any) -> Stop | None:
        """Take what the program says, and notice its end."""
        if type(message) is Data:
            self.cast(self._program, Ack())
            self._log(message.frame.decode(errors="replace"))
            return None
        if type(message) is ProgramExited:
            said = "; ".join(self._last_words) or "it said nothing"
            return Stop(NatsServerFailed(f"nats-server has ended ({message.status}): {said}"))
        if message.pid is self._program:
            return Stop(NatsServerFailed(f"nats-server is lost: {message.reason}"))
        return Stop(message.reason)

    def _log(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        code, text = (found[1], found[2]) if found else ("ERR", line)
        if code in ("ERR", "FTL") or found is None:
            self._last_words.append(text)
        level = "debug" if text.startswith(_KNOWN) else _LEVELS.get(code, "debug")
        getattr(log, level)("nats-server says", line=text)

    # -- requests ----------------------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `GetNats`; `AwaitReady` when it is ready."""
        if type(request) is GetNats:
            return self._snapshot()
        if type(request) is AwaitReady:
            if self._state is not None and self._state.ready:
                return self._snapshot()
            self._waiting.append(from_)
            return NOREPLY
        self.reply_error(from_, TypeError(f"nats-server does not understand {request!r}"))
        return NOREPLY

    def _snapshot(self) -> NatsState:
        ports = self._ports
        return NatsState(
            url=ports.url,
            cluster_port=ports.cluster,
            monitor_url=ports.monitor,
            os_pid=self._os_pid,
            version=self._binary.version,
            state=self._state,
        )

    async def handle_info(self, message: Any) -> Any:
        """Take what the program says; look how it is."""
        if type(message) is _Look:
            return await self._look()
        if _is_of_program(message):
            return self._heard(message)
        return super().handle_info(message)

    async def _look(self) -> Stop | None:
        try:
            look = partial(server_state, self._ports.monitor, _WATCH_S)
            state: ServerState | None = await self.run_blocking(look)
            self._heard_s = self.clock.monotonic()
        except MonitorFailed as error:
            state = None
            silent_s = self.clock.monotonic() - self._heard_s
            log.warning("nats-server does not answer", error=str(error), silent_s=round(silent_s))
            if silent_s > self._hung_s:
                self.cast(self._program, Signal(SIGKILL))
                return Stop(NatsServerFailed(f"nats-server does not answer for {silent_s:.0f} s"))
        if state is not None and self._state is not None and state.ready != self._state.ready:
            log.warning("JetStream's leader", ready=state.ready, offline=state.peers_offline)
        self._state = state
        if state is not None and state.ready:
            for from_ in self._waiting:
                self.reply(from_, self._snapshot())
            self._waiting.clear()
        ready = state is not None and state.ready
        self.send_after(_WATCH_S if ready else _POLL_S, self.pid, _Look())
        return None

    # -- the end -----------------------------------------------------------------------------------

    async def terminate(self, reason: Any) -> None:
        """Stop the program, so that another one can have its ports."""
        log.info("nats-server stops", reason=str(reason))
        await self._close_program()

    async def _close_program(self) -> None:
        try:
            await self.call(self._program, Close(), timeout_s=STOP_S + _STEPS.kill_s + 1.0)
        except CallFailed as error:
            log.debug("nats-server had ended", error=str(error))


def nats_server_spec(config: NatsConfig, *, name: str = "nats", **options: Any) -> ChildSpec:
    """Return how a supervisor starts the server, registered as `name`; see `NatsServer.init`."""
    return ChildSpec(
        name,
        NatsServer,
        (config,),
        name=name,
        options=options,
        shutdown_s=STOP_S + _STEPS.kill_s + 3.0,
    )


@dataclass(frozen=True, slots=True)
class _Ports:
    url: str
    cluster: int | None
    monitor: str


def _prepare(config: NatsConfig, binary: NatsBinary) -> None:
    """Write the configuration and let the program check it; forget the ports of an earlier one."""
    try:
        file = config.write()
    except ValueError as error:
        raise NatsServerFailed(str(error)) from error
    for old in config.run_folder.glob("nats-server_*.ports"):
        old.unlink(missing_ok=True)
    binary.check(file)


def _ports(file: Path) -> _Ports | None:
    """Read where the server listens; None as long as it has not said so."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # not yet, or half of it
        return None
    cluster = said.get("cluster")
    port = None if not cluster else int(cluster[0].rpartition(":")[2])
    return _Ports(said["nats"][0], port, said["monitoring"][0])


def _is_of_program(message: Any) -> bool:
    return type(message) in (Data, ProgramExited, Exit)
