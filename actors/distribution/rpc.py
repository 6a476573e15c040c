"""Functions of other nodes, called by name; OTP's `erpc`.

    def disk_free(ctx, folder):
        return shutil.disk_usage(folder).free

    ChildSpec("rpc", RpcServer, (distribution, {"disk_free": disk_free}))    # on every node

    rpc = Rpc(distribution)
    free = await rpc.call(self, "b@host", "disk_free", "/data", timeout_s=2.0)
    all_of_them = await rpc.multicall(self, distribution.nodes(), "disk_free", "/data")

A node runs for others what it has registered itself, and nothing else: neither code nor the name of
a module crosses. As in `erpc`, each call runs in a process of its own, so that it keeps nobody
waiting; that goes on when who asked has given up, or its node is gone.
https://www.erlang.org/doc/apps/kernel/erpc.html
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import structlog

from palaver.actors.distribution.distribution import Distribution
from palaver.actors.distribution.requests import (
    RpcBusy,
    RpcCall,
    RpcError,
    RpcExited,
    RpcMany,
    RpcRaised,
    RpcSpawn,
    RpcUnknown,
)
from palaver.actors.runtime import (
    NOREPLY,
    CallTimeout,
    Down,
    From,
    GenServer,
    Pid,
    ProcessContext,
    ReceiveTimeout,
    Ref,
    Response,
    Spawnable,
)

__all__ = ["Caller", "Rpc", "RpcServer"]

log = structlog.get_logger("palaver.actors")

NAME: Final = "rpc"
"""The name of the server on every node."""


class Caller(Protocol):
    """Who calls: a process (its context, its server), or a `Node` for asyncio code."""

    async def call(self, dest: Any, request: Any, *, timeout_s: float | None = 5.0) -> Any:
        """Call a process."""

    def cast(self, dest: Any, message: Any) -> None:
        """Send a cast."""


class Rpc:
    """The way to the functions of other nodes, and of the own one.

    What it raises beside that: `NodeDown`, `NoProcess` (no `RpcServer` runs there), `CallTimeout`
    (the function goes on), `CannotCross`, `Unreadable`.
    """

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution

    async def call(
        self,
        caller: Caller,
        node_name: str,
        function: str,
        *args: Any,
        timeout_s: float | None = 5.0,
    ) -> Any:
        """Run a function on a node; what it returns. OTP's `erpc:call/5`.

        Raises:
            RpcRaised: it has raised an exception, the `__cause__`.
            RpcExited: its process has exited.
            RpcUnknown: there is no such function.
            RpcBusy: too many run there.
        """
        there = self._distribution.at(node_name, NAME)
        return await caller.call(there, RpcCall(function, args), timeout_s=timeout_s)

    def cast(self, caller: Caller, node_name: str, function: str, *args: Any) -> None:
        """Run a function on a node, and never hear of it; OTP's `erpc:cast/4`."""
        caller.cast(self._distribution.at(node_name, NAME), RpcCall(function, args))

    async def multicall(
        self,
        caller: Caller,
        node_names: Iterable[str],
        function: str,
        *args: Any,
        timeout_s: float = 5.0,
    ) -> dict[str, Any]:
        """Run a function on several nodes at once; OTP's `erpc:multicall/5`.

        It goes by way of the own node's `RpcServer`, and always returns in time.

        Returns:
            By node, in order: what the function returned, or the exception that `call` would raise.
        """
        many = RpcMany(tuple(node_names), function, args, timeout_s)
        result: dict[str, Any] = await caller.call(NAME, many, timeout_s=None)
        return result

    async def spawn(
        self,
        caller: Caller,
        node_name: str,
        what: str,
        *args: Any,
        timeout_s: float | None = 5.0,
    ) -> Pid:
        """Start a process of something that a node has registered; OTP's `spawn_request`.

        It is nobody's child and not linked: to see to its end, monitor or link the pid; one that
        has ended by then gives `noproc`. Raises `RpcUnknown`, `RpcRaised` or `RpcBusy`.
        """
        there = self._distribution.at(node_name, NAME)
        pid: Pid = await caller.call(there, RpcSpawn(what, args), timeout_s=timeout_s)
        return pid


class RpcServer(GenServer):
    """Runs what other nodes ask for; one on each node, under a supervisor, named ``rpc``.

    Args:
        distribution: the node's.
        functions: what others may call, by name: `fn(ctx, *args)`, plain or `async`, where `ctx` is
            the context of the process in which it runs.
        spawnables: what others may start, by name.
        max_running: calls that run at the same time; further ones fail with `RpcBusy`.
    """

    def init(
        self,
        distribution: Distribution,
        functions: Mapping[str, Callable[..., Any]],
        spawnables: Mapping[str, Spawnable] | None = None,
        max_running: int = 1000,
    ) -> None:
        """Take the name."""
        if max_running < 1:
            raise ValueError("max_running is at least 1")
        self.distribution = distribution
        self.functions = dict(functions)
        self.spawnables = dict(spawnables or {})
        self.max_running = max_running
        # By monitor: what runs, and for whom.
        self.running: dict[Ref, tuple[str, From | None]] = {}
        if self.whereis(NAME) is not self.pid:
            self.register(NAME)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Run something for another process."""
        if isinstance(request, RpcCall):
            self._run(request, from_)
        elif isinstance(request, RpcMany):
            pid = self.spawn(_ask_many, self.distribution, request, from_)
            self.running[self.monitor(pid)] = (request.function, from_)
        elif isinstance(request, RpcSpawn):
            self._start(request, from_)
        else:
            self.reply_error(from_, TypeError(f"rpc does not understand {request!r}"[:200]))
        return NOREPLY

    def handle_cast(self, message: Any) -> None:
        """Run something, and tell nobody."""
        if isinstance(message, RpcCall):
            self._run(message, None)
        else:
            super().handle_info(message)

    def handle_info(self, message: Any) -> None:
        """What ran has ended."""
        if not isinstance(message, Down) or message.ref not in self.running:
            super().handle_info(message)
            return
        function, from_ = self.running.pop(message.ref)
        if from_ is not None and from_.open:  # it was killed before it could answer
            self.reply_error(from_, RpcExited(self.node.name, function, message.reason))

    def _run(self, request: RpcCall, from_: From | None) -> None:
        function = self.functions.get(request.function)
        if function is None:
            self._fail(from_, RpcUnknown(self.node.name, request.function))
        elif len(self.running) >= self.max_running:
            self._fail(from_, RpcBusy(self.node.name, request.function))
        else:
            pid = self.spawn(_run, function, request, from_)
            self.running[self.monitor(pid)] = (request.function, from_)

    def _start(self, request: RpcSpawn, from_: From) -> None:
        what = self.spawnables.get(request.what)
        if what is None:
            self._fail(from_, RpcUnknown(self.node.name, request.what))
            return
        try:
            pid = self.node.spawn(what, *request.args)
        except Exception as error:  # noqa: BLE001 - it is told to whoever wanted it
            self._fail(from_, _raised(self.node.name, request.what, error))
        else:
            self.reply(from_, pid)

    def _fail(self, from_: From | None, error: RpcError) -> None:
        if from_ is None:
            log.warning("remote cast not done", node=self.node.name, why=str(error))
        else:
            self.reply_error(from_, error)

    def format_status(self) -> str:
        """What a crash report shows."""
        return f"<rpc, {len(self.functions)} functions, {len(self.running)} running>"


def _raised(node_name: str, function: str, error: BaseException) -> RpcRaised:
    raised = RpcRaised(node_name, function)
    raised.__cause__ = error
    return raised


async def _run(
    ctx: ProcessContext, function: Callable[..., Any], request: RpcCall, from_: From | None
) -> None:
    """The process of one call."""
    try:
        value = function(ctx, *request.args)
        if inspect.isawaitable(value):
            value = await value
        if from_ is not None:
            ctx.reply(from_, value)  # raises `CannotCross` for what is no data
    except Exception as error:  # noqa: BLE001 - it is told to whoever asked
        if from_ is not None:
            ctx.reply_error(from_, _raised(ctx.node.name, request.function, error))
        else:
            log.warning("remote cast failed", function=request.function, why=repr(error)[:200])


async def _ask_many(
    ctx: ProcessContext, distribution: Distribution, many: RpcMany, from_: From
) -> None:
    """The process of one `multicall`."""
    asked: dict[Ref, str] = {}
    results: dict[str, Any] = dict.fromkeys(many.node_names)
    for node_name in results:
        there = distribution.at(node_name, NAME)
        asked[ctx.send_request(there, RpcCall(many.function, many.args))] = node_name
    deadline_s = ctx.clock.monotonic() + many.timeout_s
    while asked:
        left_s = max(0.0, deadline_s - ctx.clock.monotonic())
        try:
            response: Response = await ctx.receive(
                lambda message: isinstance(message, Response) and message.ref in asked, left_s
            )
        except ReceiveTimeout:
            for node_name in asked.values():
                results[node_name] = CallTimeout(many.timeout_s)
            break
        outcome = response.value if response.error is None else response.error
        results[asked.pop(response.ref)] = outcome
    ctx.reply(from_, results)
