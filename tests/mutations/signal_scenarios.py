"""Small worlds without a chat: one node, and processes that do what the runtime promises about."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from palaver.actors.names import Registry, RegistryServer
from palaver.actors.runtime import (
    KILL,
    CalleeExited,
    CallTimeout,
    Down,
    From,
    GenServer,
    MailboxFull,
    MailboxLimit,
    Node,
    NoProcess,
    Pid,
    ProcessContext,
    ReceiveTimeout,
)
from palaver.actors.simulation.world.hosts import Host
from palaver.actors.simulation.world.world import World

__all__ = ["names", "signals"]

LONG_S = 60.0


class Broken(AssertionError):
    """The runtime did not keep a promise."""


async def on_node(
    world: World, play: Callable[[Node, Random], Any], *, crashes: bool = False
) -> None:
    """Run `play` on the node of a host, where it may call the node; may its actors crash?"""

    async def boot(host: Host) -> None:
        node = await host.node()
        await play(node, world.tape.random("play"))

    host = world.host("a", boot)
    await host.start()
    if host.crashes and not crashes:
        raise Broken(f"an actor crashed: {host.crashes[0].reason}")


# -- order -----------------------------------------------------------------------------------------


class Collector(GenServer):
    """Takes numbered messages; now and then it parks in the middle, or takes a later one first."""

    def init(self, chance: Random, seen: dict[tuple[str, str], list[int]]) -> None:
        self.chance = chance
        self.seen = seen

    def handle_info(self, message: Any) -> Any:
        return self._take("info", message)

    def handle_cast(self, message: Any) -> Any:
        return self._take("info", message)

    def _take(self, way: str, message: Any) -> Any:
        sender, kind, number = message
        self.note(sender, kind, number)
        drawn = self.chance.random()
        if drawn < 0.2:
            return self.pause()
        if drawn < 0.4:
            return self.look_for_urgent()
        return None

    def note(self, sender: str, kind: str, number: int) -> None:
        numbers = self.seen.setdefault((sender, kind), [])
        if number != len(numbers):
            raise_later(self.seen, f"{kind} {number} of {sender} came after {len(numbers)} others")
        numbers.append(number)

    async def pause(self) -> None:
        await self.sleep(self.chance.choice([0.0, 0.001, 0.01]))

    async def look_for_urgent(self) -> None:
        try:
            found = await self.receive(lambda m: type(m) is tuple and m[1] == "urgent", 0.002)
        except ReceiveTimeout:
            return
        self.note(*found)


def raise_later(seen: dict[Any, Any], text: str) -> None:
    """Raising in a handler would only crash the process: the scenario looks here."""
    seen.setdefault("broken", []).append(text)


async def sender(ctx: ProcessContext, to: Pid, chance: Random, count: int) -> None:
    numbers = {"plain": 0, "urgent": 0}
    me = str(ctx.pid.serial)
    for _ in range(count):
        kind = chance.choice(["plain", "plain", "urgent"])
        message = (me, kind, numbers[kind])
        numbers[kind] += 1
        say = ctx.send if chance.random() < 0.5 else ctx.cast
        while True:
            try:
                say(to, message)
                break
            except MailboxFull:  # as many as may wait with this sender do
                await ctx.sleep(0.001)
        if chance.random() < 0.2:
            await ctx.sleep(chance.choice([0.0, 0.001, 0.005]))


async def ordered(node: Node, chance: Random) -> None:
    seen: dict[Any, Any] = {}
    count, senders = 30, 4
    limit = MailboxLimit(5, "suspend") if chance.random() < 0.3 else None
    collector = node.spawn(Collector, Random(chance.random()), seen, mailbox=limit)
    pids = [node.spawn(sender, collector, Random(chance.random()), count) for _ in range(senders)]
    for pid in pids:
        await node.wait(pid)
    await settle(node, lambda: "broken" in seen or total(seen) == count * senders)
    if "broken" in seen:
        raise Broken(seen["broken"][0])
    if total(seen) != count * senders:
        raise Broken(f"{count * senders} messages were sent, {total(seen)} arrived")


def total(seen: dict[Any, Any]) -> int:
    return sum(len(numbers) for numbers in seen.values())


async def settle(node: Node, condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Let time pass until the condition holds, or for so long."""

    async def wait(ctx: ProcessContext) -> None:
        until_s = ctx.clock.monotonic() + within_s
        while not condition() and ctx.clock.monotonic() < until_s:
            await ctx.sleep(0.05)

    await node.wait(node.spawn(wait))


# -- calls -----------------------------------------------------------------------------------------


class Slow(GenServer):
    """Answers late, at once, or promises to and answers much later."""

    def init(self, chance: Random) -> None:
        self.chance = chance

    def handle_call(self, request: Any, from_: From) -> Any:
        drawn = self.chance.random()
        if drawn < 0.4:
            return request
        return self.answer(request)

    async def answer(self, request: Any) -> Any:
        await self.sleep(self.chance.uniform(0.0, 0.4))
        return request


async def caller(ctx: ProcessContext, slow: Pid, chance: Random, broken: list[str]) -> None:
    for number in range(20):
        request = (ctx.pid.serial, number)
        try:
            answer = await ctx.call(slow, request, timeout_s=0.2)
            if answer != request:
                broken.append(f"the call {request} was answered {answer}")
        except CallTimeout:
            pass
        before_s, delay_s = ctx.clock.monotonic(), chance.uniform(0.0, 0.3)
        await ctx.sleep(delay_s)
        if ctx.clock.monotonic() < before_s + delay_s:
            broken.append(f"a sleep of {delay_s} s ended early")
        try:
            stray = await ctx.receive(timeout_s=0.01)
            broken.append(f"{stray!r} came, which nobody sent")
        except ReceiveTimeout:
            pass


async def called(node: Node, chance: Random) -> None:
    broken: list[str] = []
    slow = node.spawn(Slow, Random(chance.random()))
    pids = [node.spawn(caller, slow, Random(chance.random()), broken) for _ in range(3)]
    for pid in pids:
        await node.wait(pid)
    if broken:
        raise Broken(broken[0])


# -- ends ------------------------------------------------------------------------------------------


async def victim(ctx: ProcessContext, name: str) -> None:
    ctx.register(name)
    await ctx.receive(lambda message: message == "end")


async def asked_in_vain(ctx: ProcessContext, to: Pid, outcome: list[str]) -> None:
    try:
        await ctx.call(to, "never answered", timeout_s=None)
    except (CalleeExited, NoProcess):
        outcome.append("failed")


async def watcher(ctx: ProcessContext, chance: Random, broken: list[str]) -> None:
    for number in range(6):
        name = f"{ctx.pid.serial}-{number}"
        pid = ctx.spawn(victim, name)
        await ctx.sleep(0.01)
        refs = {ctx.monitor(pid)} if chance.random() < 0.7 else set()
        outcome: list[str] = []
        asking = ctx.spawn(asked_in_vain, pid, outcome)
        if chance.random() < 0.7:
            await ctx.sleep(chance.choice([0.0, 0.01]))
        if chance.random() < 0.5:
            ctx.send(pid, "end")
        else:
            ctx.exit(pid, chance.choice([KILL, "enough"]))
        for _ in range(chance.randrange(3)):
            refs.add(ctx.monitor(chance.choice([pid, name])))
        if chance.random() < 0.3:
            await ctx.sleep(0.0)
        refs.add(ctx.monitor(pid))
        while refs:
            try:
                down = await ctx.receive(lambda message: type(message) is Down, LONG_S)
            except ReceiveTimeout:
                broken.append(f"{len(refs)} monitors of a process that ended never told")
                return
            if down.ref not in refs:
                broken.append(f"{down} came twice, or for nobody")
            refs.discard(down.ref)
            if ctx.whereis(name) is pid:
                broken.append(f"{down} came while the name was taken still")
        await ctx.sleep(0.1)
        if not outcome:
            broken.append("a call of a process that ended still waits for its answer")
        ctx.exit(asking, KILL)


async def ends(node: Node, chance: Random) -> None:
    broken: list[str] = []
    pids = [node.spawn(watcher, Random(chance.random()), broken) for _ in range(3)]
    for pid in pids:
        await node.wait(pid)
    if broken:
        raise Broken(broken[0])


async def linked(ctx: ProcessContext, to: Pid | None) -> None:
    if to is not None:
        ctx.link(to)
    await ctx.receive(lambda message: message == "end")


async def chains(node: Node, chance: Random) -> None:
    chain: list[Pid] = []
    for _ in range(4):
        chain.append(node.spawn(linked, chain[-1] if chain else None))
    await settle(node, lambda: False, within_s=0.1)
    node.exit(chance.choice(chain), chance.choice([KILL, "enough"]))
    await settle(node, lambda: not any(map(node.is_alive, chain)), within_s=1.0)
    alive = sum(map(node.is_alive, chain))
    if alive:
        raise Broken(f"{alive} of {len(chain)} linked processes live on")


# -- time ------------------------------------------------------------------------------------------


async def alarms(ctx: ProcessContext, chance: Random, broken: list[str]) -> None:
    due: dict[int, float] = {}
    cancelled: set[int] = set()
    timers = {}
    for number in range(20):
        delay_s = chance.choice([0.0, 0.003, 0.005, 0.1, chance.uniform(0.0, 0.5)])
        due[number] = ctx.clock.monotonic() + delay_s
        timers[number] = ctx.send_after(delay_s, ctx.pid, number)
        if chance.random() < 0.3:
            await ctx.sleep(0.001)
        if chance.random() < 0.3:
            other = chance.choice(list(timers))
            if ctx.cancel_timer(timers.pop(other)):
                cancelled.add(other)
    left = set(due) - cancelled
    while left:
        try:
            number = await ctx.receive(timeout_s=LONG_S)
        except ReceiveTimeout:
            broken.append(f"{len(left)} timers never fired")
            return
        left.discard(number)
        if number in cancelled:
            broken.append("a timer fired that was cancelled")
        if ctx.clock.monotonic() < due[number]:
            broken.append(f"a timer fired {due[number] - ctx.clock.monotonic():.6f} s early")


async def timed(node: Node, chance: Random) -> None:
    broken: list[str] = []
    pids = [node.spawn(alarms, Random(chance.random()), broken) for _ in range(3)]
    for pid in pids:
        await node.wait(pid)
    if broken:
        raise Broken(broken[0])


# -- the scenarios ---------------------------------------------------------------------------------


async def signals(world: World) -> None:
    """Order, calls, ends and timers, each in a node of its own turn."""

    async def play(node: Node, chance: Random) -> None:
        for part in (ordered, called, ends, chains, timed):
            await part(node, chance)

    await on_node(world, play)


async def names(world: World) -> None:
    """Processes register and die; a registry names only the living."""

    async def play(node: Node, chance: Random) -> None:
        registry: Registry[str, int] = Registry("rooms")
        await node.start_server(RegistryServer, registry)
        living: dict[str, Pid] = {}
        for number in range(20):
            key = f"room {chance.randrange(6)}"
            if key in living:
                node.exit(living.pop(key), chance.choice([KILL, "enough"]))
            await settle(node, lambda: False, within_s=0.05)
            if registry.whereis(key) is not None:
                raise Broken(f"the registry still names {key}, which ended")
            living[key] = node.spawn(linked, None)
            registry.register(living[key], key, number)
        found = {key: registry.whereis(key) for key in living}
        if found != living:
            raise Broken(f"the registry says {found}; there are {living}")

    await on_node(world, play)
