"""What a process of a program does when it is told: the counterpart of `beam/palaver_actor.erl`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from otp_conform.asking import Asking
from otp_conform.language import Desc
from otp_conform.world import Identity, World, reason_of
from palaver.actors.runtime import (
    Alias,
    CallFailed,
    Down,
    Exit,
    ExitProcess,
    From,
    NameTaken,
    Pid,
    ProcessContext,
    Ref,
    StartError,
    StartIgnored,
    Stop,
)

__all__ = ["Actor"]


class Actor(Asking):
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
            start, args, options = self.world.actors.how_to_start(self.world, label, desc)
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
        if pid is self.ctx.pid:
            return  # see `alias-of-self-monitor`
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
