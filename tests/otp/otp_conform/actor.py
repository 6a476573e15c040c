"""The processes of a program on Palaver: the counterpart of `beam/palaver_actor.erl`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from otp_conform.language import Desc
from otp_conform.world import Identity, World, reason_of
from palaver.actors.runtime import (
    NOREPLY,
    Alias,
    CallFailed,
    Continue,
    Down,
    Exit,
    ExitProcess,
    From,
    GenServer,
    Ignore,
    NameTaken,
    Pid,
    ProcessContext,
    Ref,
    Request,
    StartError,
    StartIgnored,
    Stop,
)
from palaver.supervisors import (
    AlreadyPresent,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    CountChildren,
    DeleteChild,
    DynamicSupervisor,
    RestartChild,
    StartChild,
    Supervisor,
    SupervisorFlags,
    TerminateChild,
    WhichChildren,
)

__all__ = ["Actor", "Dynamic", "Server", "Tree", "child_spec", "how_to_start", "plain"]


class Actor:
    """What a process of a program knows and does, whatever kind of process it is."""

    def __init__(self, ctx: ProcessContext, world: World, me: Identity) -> None:
        self.ctx = ctx
        self.world = world
        self.me = me
        self.monitors: dict[str, Ref] = {}
        self.refs: dict[Ref, str] = {}
        self.by_name: set[Ref] = set()
        self.aliases: dict[str, Alias] = {}
        self.held: list[From] = []
        self.my_name: str | None = None

    def log(self, *event: Any) -> None:
        self.world.log(self.me, list(event) if len(event) > 1 else event[0])

    # -- what comes in ------------------------------------------------------------------------

    async def handle(self, message: Any) -> Stop | None:
        if isinstance(message, Exit):
            if message.sender not in self.world.failed:
                self.log("exit", self.world.name_of(message.sender), self.reason(message.reason))
        elif isinstance(message, Down):
            who = "by_name" if message.ref in self.by_name else self.world.name_of(message.pid)
            self.log("down", self.refs[message.ref], who, self.reason(message.reason))
        elif message[0] == "do":
            return await self.run(message[1])
        else:
            self.log("message", message[1], message[2])
        return None

    def asked(self, asker: str, request: Any) -> None:
        self.log("asked", asker, self.reason(request))

    def reason(self, reason: Any) -> Any:
        return self.world.reason(reason)

    # -- what it does -------------------------------------------------------------------------

    async def run(self, burst: list[Any]) -> Stop | None:
        for instruction in burst:
            stop = await self.exec(instruction)
            if stop is not None:
                return stop
        return None

    async def exec(self, instruction: Any) -> Stop | None:
        if instruction == "return":
            return Stop(reason_of("normal"))
        if instruction == "error":
            raise ValueError("boom")
        name, *args = instruction
        if name == "stop":
            return Stop(reason_of(args[0]))
        if name == "exit" and len(args) == 1:
            raise ExitProcess(reason_of(args[0]))
        own = getattr(self, "do_" + name, None)
        if own is not None:
            result = own(*args)
        else:
            pid = self.world.pids.get(args[0])
            if pid is None:
                self.log("unbound", args[0])
                return None
            result = getattr(self, "to_" + name)(pid, *args)
        if isinstance(result, Awaitable):
            await result
        return None

    def do_trap(self, trap: bool) -> None:
        self.ctx.trap_exit = trap

    def do_spawn(self, label: str, desc: Desc) -> None:
        me = self.world.next(label)
        self.world.bind(me, self.ctx.spawn(self.world.actors.plain, self.world, me, desc))

    def do_spawn_link(self, label: str, desc: Desc) -> None:
        me = self.world.next(label)
        self.world.bind(me, self.ctx.spawn_link(self.world.actors.plain, self.world, me, desc))

    def do_spawn_monitor(self, monitor: str, label: str, desc: Desc) -> None:
        me = self.world.next(label)
        plain = self.world.actors.plain
        pid, ref = self.ctx.spawn_monitor(plain, self.world, me, desc)
        self.world.bind(me, pid)
        self.watch(monitor, ref)

    async def do_start_link(self, label: str, desc: Desc) -> None:
        # One that does not trap exits may not start: see `failed-start-signal`.
        if not self.ctx.trap_exit:
            self.log("start_link", label, "not_trapping")
            return
        try:
            start, args, options = how_to_start(self.world, label, desc)
            pid = await self.ctx.start_link(start, *args, **options)
        except StartIgnored:
            self.log("start_link", label, "ignore")
        except StartError as error:
            self.log("start_link", label, ["failed", self.reason(error.reason)])
        except NameTaken as error:
            self.log("start_link", label, self.reason(error))
        else:
            self.log("start_link", label, self.world.name_of(pid))

    def do_register(self, name: str) -> None:
        holder = self.my_name and self.ctx.whereis(self.my_name)
        free = holder is not self.ctx.pid
        if free:
            try:
                self.ctx.register(name)
                self.my_name = name
            except NameTaken:
                free = False
        self.log("register", name, free)

    def do_unregister(self, name: str) -> None:
        mine = self.ctx.whereis(name) is self.ctx.pid
        if mine:
            self.ctx.unregister(name)
        self.log("unregister", name, mine)

    def do_whereis(self, name: str) -> None:
        pid = self.ctx.whereis(name)
        self.log("whereis", name, "none" if pid is None else self.world.name_of(pid))

    def do_send_name(self, name: str, value: int) -> None:
        self.ctx.send(name, ("message", self.world.name_of(self.ctx.pid), value))

    def do_monitor_name(self, monitor: str, name: str) -> None:
        ref = self.ctx.monitor(name)
        self.by_name.add(ref)
        self.watch(monitor, ref)

    def do_call_name(self, name: str, request: Any) -> Awaitable[None]:
        return self.call(name, request)

    def do_demonitor(self, monitor: str, *, flush: bool = False) -> None:
        if monitor in self.monitors:
            self.ctx.demonitor(self.monitors[monitor], flush=flush)
        else:
            self.log("unbound", monitor)

    def do_demonitor_flush(self, monitor: str) -> None:
        self.do_demonitor(monitor, flush=True)

    def do_alias(self, label: str) -> None:
        self.aliases[label] = self.world.aliases[label] = self.ctx.alias()

    def do_alias_once(self, label: str) -> None:
        self.aliases[label] = self.world.aliases[label] = self.ctx.alias(once=True)

    def do_unalias(self, label: str) -> None:
        alias = self.aliases.get(label)
        self.log("unalias", label, "unbound" if alias is None else self.ctx.unalias(alias))

    def do_send_alias(self, label: str, value: int) -> None:
        alias = self.world.aliases.get(label)
        if alias is None:
            self.log("unbound", label)
        else:
            self.ctx.send(alias, ("message", self.world.name_of(self.ctx.pid), value))

    def do_answer(self, value: int) -> None:
        held, self.held = self.held, []
        for from_ in held:
            self.ctx.reply(from_, value)

    async def to_link(self, pid: Pid, label: str) -> None:
        alive = self.ctx.node.is_alive(pid)
        self.ctx.link(pid)
        if not alive and not self.ctx.trap_exit:
            await self.ctx.sleep(0)  # see `link-raises`

    def to_unlink(self, pid: Pid, label: str) -> None:
        self.ctx.unlink(pid)

    async def to_exit(self, pid: Pid, label: str, reason: Any) -> None:
        self.ctx.exit(pid, reason_of(reason))
        if pid is self.ctx.pid:
            await self.ctx.sleep(0)  # see `exit-self`

    def to_send(self, pid: Pid, label: str, value: int) -> None:
        self.ctx.send(pid, ("message", self.world.name_of(self.ctx.pid), value))

    def to_monitor(self, pid: Pid, label: str, monitor: str) -> None:
        self.watch(monitor, self.ctx.monitor(pid))

    def to_monitor_alias(self, pid: Pid, label: str, monitor: str, mode: Any) -> None:
        ref = self.ctx.monitor(pid, alias=mode)
        self.watch(monitor, ref)
        assert ref.alias is not None
        self.aliases[monitor] = self.world.aliases[monitor] = ref.alias

    def to_is_alive(self, pid: Pid, label: str) -> None:
        self.log("is_alive", label, self.ctx.node.is_alive(pid))

    async def to_call(self, pid: Pid, label: str, request: Any) -> None:
        if pid in self.world.supervisors:
            self.log("is_supervisor", label)  # see `unknown-call`
        else:
            await self.call(pid, request)

    def watch(self, monitor: str, ref: Ref) -> None:
        self.monitors[monitor] = ref
        self.refs[ref] = monitor

    async def call(self, dest: Pid | str, request: Any) -> None:
        try:
            body = (self.world.name_of(self.ctx.pid), request)
            self.log("answered", await self.ctx.call(dest, body, timeout_s=None))
        except CallFailed as error:
            self.log("call_failed", self.reason(error.reason))

    # -- requests to supervisors --------------------------------------------------------------

    async def ask(self, what: str, pid: Pid, request: Any, show: Callable[[Any], Any]) -> None:
        try:
            result = show(await self.ctx.call(pid, request, timeout_s=None))
        except AlreadyPresent as error:
            child = error.pid
            present = child is None
            result = "already_present" if present else ["already_started", self.reason(child)]
            result = ["error", result]
        except ChildNotFound:
            result = ["error", "not_found"]
        except ChildRunning:
            result = ["error", "running"]
        except NameTaken as error:
            result = ["error", self.reason(error)]
        except StartError as error:
            result = ["error", self.reason(error.reason)]
        except CallFailed as error:
            result = ["call_failed", self.reason(error.reason)]
        self.log(what, result)

    def started(self, pid: Pid | None) -> Any:
        return ["ok", "none" if pid is None else self.world.name_of(pid)]

    def to_start_child(self, pid: Pid, label: str, spec: Any) -> Awaitable[None]:
        request = StartChild(self.world.actors.child_spec(self.world, spec))
        return self.ask("start_child", pid, request, self.started)

    def to_start_dynamic(self, pid: Pid, sup: str, label: str, desc: Desc) -> Awaitable[None]:
        _, restart, shutdown, _, _ = self.world.templates[pid]
        spec = self.world.actors.child_spec(self.world, (label, restart, shutdown, False, desc))
        return self.ask("start_child", pid, StartChild(spec), self.started)

    def to_terminate_child(self, pid: Pid, sup: str, label: str) -> Awaitable[None]:
        return self.ask("terminate_child", pid, TerminateChild(label), lambda _: "ok")

    async def to_terminate_dynamic(self, pid: Pid, sup: str, label: str) -> None:
        child = self.world.pids.get(label)
        if child is None:
            self.log("unbound", label)
        else:
            await self.ask("terminate_dynamic", pid, TerminateChild(child), lambda _: "ok")

    def to_restart_child(self, pid: Pid, sup: str, label: str) -> Awaitable[None]:
        return self.ask("restart_child", pid, RestartChild(label), self.started)

    def to_delete_child(self, pid: Pid, sup: str, label: str) -> Awaitable[None]:
        return self.ask("delete_child", pid, DeleteChild(label), lambda _: "ok")

    def to_which_children(self, pid: Pid, sup: str) -> Awaitable[None]:
        def show(children: list[Any]) -> Any:
            return sorted(
                [
                    info.id,
                    "restarting"
                    if info.restarting
                    else "none"
                    if info.pid is None
                    else self.world.name_of(info.pid),
                    info.kind,
                ]
                for info in children
            )

        return self.ask("which_children", pid, WhichChildren(), show)

    def to_count_children(self, pid: Pid, sup: str) -> Awaitable[None]:
        def show(counts: Any) -> Any:
            return [counts.specs, counts.active, counts.supervisors, counts.workers]

        return self.ask("count_children", pid, CountChildren(), show)

    def to_count_dynamic(self, pid: Pid, sup: str) -> Awaitable[None]:
        def show(counts: Any) -> Any:  # without `specs`: see `dynamic-specs`
            return [counts.active, counts.supervisors, counts.workers]

        return self.ask("count_dynamic", pid, CountChildren(), show)


# -- the three kinds of processes ------------------------------------------------------------------


async def plain(ctx: ProcessContext, world: World, me: Identity, desc: Desc) -> Stop | None:
    """A plain process: it does what its script says, then what it is told."""
    _, trap, plan, _, script = desc
    if ctx.pid not in world.labels:  # a supervisor's child: nobody else can say who it is
        me = world.next(me[0])
        world.bind(me, ctx.pid)
    actor = world.actors.Actor(ctx, world, me)
    ctx.trap_exit = trap
    actor.log("started")
    planned = plan[me[1] - 1] if me[1] <= len(plan) else "ok"
    if planned != "ok":
        return Stop(reason_of(planned[1]))
    stop = await actor.run(script)
    while stop is None:
        message = await ctx.receive()
        if isinstance(message, Request):
            actor.asked(*message.body)
            actor.held.append(message.from_)
        else:
            stop = await actor.handle(message)
    return stop


class Server(GenServer):
    """A server that does what it is told."""

    def init(self, world: World, label: str, desc: Desc) -> Any:
        me = world.next(label)
        world.bind(me, self.pid)
        _, trap, plan, name, _ = desc
        self.actor = world.actors.Actor(self, world, me)
        self.actor.my_name = None if name == "none" else name
        self.trap_exit = trap
        self.actor.log("started")
        planned = plan[me[1] - 1] if me[1] <= len(plan) else "ok"
        if planned != "ok":
            world.failed.add(self.pid)
        if planned == "error":
            raise ValueError("boom")
        if planned == "ignore":
            return Ignore()
        if planned[0] == "stop":
            return Stop(reason_of(planned[1]))
        if planned[0] == "exit":
            raise ExitProcess(reason_of(planned[1]))
        return None

    def handle_call(self, request: Any, from_: From) -> Any:
        self.actor.asked(*request)
        match request[1]:
            case ("echo", value):
                return value
            case ("stop", reason, value):
                return Stop(reason_of(reason), value)
            case ("stop", reason):
                return Stop(reason_of(reason))
            case "hold":
                self.actor.held.append(from_)
                return NOREPLY
        raise ValueError("boom")

    async def handle_info(self, message: Any) -> Stop | Continue | None:
        return await self.actor.handle(message)

    def terminate(self, reason: Any) -> None:
        self.actor.log("terminate", self.actor.reason(reason))


class Tree(Supervisor):
    """A supervisor of a program."""

    def specification(self, world: World, label: str, desc: Desc) -> Any:
        me = world.next(label)
        world.bind(me, self.pid)
        world.supervisors.add(self.pid)
        world.log(me, "started")
        (_, (strategy, intensity, auto), specs), *_ = desc
        flags = SupervisorFlags(strategy, intensity, 3600.0, auto)
        return flags, [world.actors.child_spec(world, spec) for spec in specs]


class Dynamic(DynamicSupervisor):
    """A supervisor of a program whose strategy is `simple_one_for_one`."""

    def init(self, world: World, label: str, desc: Desc) -> Any:
        me = world.next(label)
        world.bind(me, self.pid)
        world.supervisors.add(self.pid)
        world.log(me, "started")
        (_, (_, intensity, _), [template]), *_ = desc
        world.templates[self.pid] = template
        return super().init(intensity=intensity, period_s=3600.0)


def how_to_start(
    world: World, label: str, desc: Desc
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """What to start, with which arguments and options."""
    kind, _, _, name, _ = desc
    actors = world.actors
    options = {} if name == "none" else {"name": name}
    if kind == "plain":
        return actors.plain, (world, (label, 0), desc), {}
    if kind == "server":
        return actors.Server, (world, label, desc), options
    dynamic = kind[1][0] == "simple_one_for_one"
    return actors.Dynamic if dynamic else actors.Tree, (world, label, desc), options


def child_spec(world: World, spec: Any) -> ChildSpec:
    """A child's specification, in Palaver's words."""
    label, restart, shutdown, significant, desc = spec
    start, args, options = how_to_start(world, label, desc)
    supervisor = isinstance(desc[0], tuple)
    patience = {"infinity": None, "brutal_kill": 0}.get(shutdown, shutdown)
    if isinstance(patience, int):
        patience /= 1000
    return ChildSpec(
        label,
        start,
        args,
        restart=restart,
        shutdown_s=patience,
        kind="supervisor" if supervisor else "worker",
        name=options.get("name"),
        significant=significant,
    )
