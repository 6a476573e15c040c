"""The kinds of processes of a program on Palaver.

A test may put something else in the place of each name of this module: `world.actors` is where
they look each other up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from otp_conform.actor import Actor
from otp_conform.language import Desc
from otp_conform.world import Identity, World, reason_of
from palaver.actors.runtime import (
    NOREPLY,
    ExitProcess,
    From,
    GenServer,
    Ignore,
    ProcessContext,
    Request,
    Stop,
)
from palaver.supervisors import ChildSpec, DynamicSupervisor, Supervisor, SupervisorFlags

__all__ = ["Actor", "Dynamic", "Server", "Tree", "child_spec", "how_to_start", "plain"]


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

    async def handle_info(self, message: Any) -> Stop | None:
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
        _, restart, shutdown, _, _ = template
        any_server = ("server", False, [], "none", [])
        spec = world.actors.child_spec(world, ("any", restart, shutdown, False, any_server))
        each = replace(spec, args=(world,))  # StartFromTemplate gives the others
        return super().init(intensity=intensity, period_s=3600.0, template=each)


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
