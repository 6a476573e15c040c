"""Processes that do whatever comes to their mind; the invariants of the node hold all the same.

Each handler throws dice for what it does, with the deeds that the example allows, until the
example's fuel is used up. `PALAVER_LONG_SEARCH=examples` has many more examples tried.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import check, held_calls, watch
from runtime_kit import World, world

from palaver.actors.runtime import (
    HIBERNATE,
    KILL,
    NOREPLY,
    NORMAL,
    SHUTDOWN,
    BadReturn,
    CallFailed,
    Continue,
    Crash,
    ForeignAwait,
    From,
    GenServer,
    Ignore,
    MailboxFull,
    MailboxLimit,
    NameTaken,
    NodeStopped,
    Overflow,
    Pid,
    ProcessContext,
    ReceiveTimeout,
    Reply,
    Request,
    Response,
    StartError,
    Stop,
    Timeout,
)
from palaver.actors.runtime.inspection import Looker
from palaver.actors.runtime.parking import SUSPENDED
from palaver.actors.runtime.process import ALIVE

EXAMPLES = int(os.environ.get("PALAVER_LONG_SEARCH", "400"))
EXPECTED = (
    CallFailed,
    ForeignAwait,
    MailboxFull,
    NameTaken,
    NodeStopped,
    ReceiveTimeout,
    StartError,
)


class BoomError(Exception):
    """A handler's own failure."""


class Chaos:
    """The dice, what they may say, and the books."""

    def __init__(self, rng: random.Random, fuel: int, deeds: set[str]) -> None:
        self.rng = rng
        self.fuel = fuel
        self.plain = sorted(deed for deed in deeds if deed in PLAIN)
        self.parking = sorted(deed for deed in deeds if deed in PARKING)
        self.deeds = deeds
        self.pids: list[Any] = []
        self.serial = 0
        self.calls: Counter[int] = Counter()  # outcomes of each call
        self.answers: dict[Any, int] = {}  # responses to each request
        self.sent: dict[Any, list[int]] = {}
        self.casts: dict[tuple[Any, Any], int] = {}  # the last that was handled, per pair
        self.handled: set[int] = set()
        self.wrong: list[str] = []

    def dice(self, *faces: Any) -> Any:
        return self.rng.choice(faces)

    def spend(self) -> bool:
        self.fuel -= 1
        return self.fuel >= 0

    def someone(self) -> Any:
        """Whom a message can be sent to: a process, living or dead, or an alias."""
        return self.rng.choice(self.pids[-6:])

    def process(self) -> Pid:
        """A process, living or dead."""
        return self.rng.choice([pid for pid in self.pids if isinstance(pid, Pid)][-6:])

    def number(self) -> int:
        self.serial += 1
        return self.serial

    def limit(self) -> MailboxLimit | None:
        if "bounded" not in self.deeds:
            return None
        policy = self.dice(None, "suspend", "suspend", "suspend", "reject", "drop_oldest", "exit")
        return None if policy is None else MailboxLimit(self.dice(1, 1, 2), policy)

    def deed(self, ctx: ProcessContext) -> None:
        """Something that takes no time."""
        if self.plain and self.spend():
            with suppress(*EXPECTED):
                PLAIN[self.rng.choice(self.plain)](self, ctx)

    async def any_deed(self, ctx: ProcessContext) -> None:
        """Something that may take time."""
        if self.parking and self.dice(True, False):
            if self.spend():
                with suppress(*EXPECTED):
                    await PARKING[self.rng.choice(self.parking)](self, ctx)
        else:
            self.deed(ctx)

    def note_message(self, server: Actor) -> None:
        process: Any = server.process_
        if process.exiting is not ALIVE or process.is_stopping():
            self.wrong.append(f"{process.pid} handles a message although it is to end")

    def note_cast(self, ctx: ProcessContext, message: Any) -> None:
        sender, serial = message
        pair = (sender, ctx.pid)
        if serial in self.handled:
            self.wrong.append(f"{message} was handled twice")
        if self.casts.get(pair, 0) >= serial:
            self.wrong.append(f"{message} came out of order")
        self.handled.add(serial)
        self.casts[pair] = serial

    def note_info(self, message: Any) -> None:
        if isinstance(message, Response):
            self.answers[message.ref] = self.answers.get(message.ref, 0) + 1

    def started(self, pid: Any) -> None:
        if pid not in self.pids:
            self.pids.append(pid)

    # -- plain deeds ------------------------------------------------------------------------------

    def cast(self, ctx: ProcessContext) -> None:
        dest = self.someone()
        for _ in range(self.dice(1, 1, 4)):
            serial = self.number()
            ctx.cast(dest, (ctx.pid, serial))
            self.sent.setdefault(dest, []).append(serial)

    def send(self, ctx: ProcessContext) -> None:
        ctx.send(self.someone(), self.number())

    def request(self, ctx: ProcessContext) -> None:
        self.answers.setdefault(ctx.send_request(self.someone(), "request"), 0)

    def exit(self, ctx: ProcessContext) -> None:
        ctx.exit(self.process(), self.dice(NORMAL, SHUTDOWN, KILL, "reason"))

    def end_parent(self, ctx: ProcessContext) -> None:
        if ctx.parent is not None:
            ctx.exit(ctx.parent, self.dice(SHUTDOWN, KILL))

    def link(self, ctx: ProcessContext) -> None:
        self.dice(ctx.link, ctx.unlink)(self.process())

    def trap(self, ctx: ProcessContext) -> None:
        ctx.trap_exit = not ctx.trap_exit

    def monitor(self, ctx: ProcessContext) -> None:
        ref = ctx.monitor(self.someone(), alias=self.dice(None, "demonitor", "reply_demonitor"))
        if ref.alias is not None:
            self.pids.append(ref.alias)
        self.monitors(ctx).append(ref)

    def demonitor(self, ctx: ProcessContext) -> None:
        refs = self.monitors(ctx)
        if refs:
            ctx.demonitor(refs.pop(self.rng.randrange(len(refs))), flush=self.dice(True, False))

    def monitors(self, ctx: ProcessContext) -> list[Any]:
        return self.__dict__.setdefault("refs", {}).setdefault(ctx.pid, [])

    def alias(self, ctx: ProcessContext) -> None:
        self.pids.append(ctx.alias(once=self.dice(True, False)))

    def spawn(self, ctx: ProcessContext) -> None:
        start = self.dice(ctx.spawn, ctx.spawn_link)
        self.pids.append(start(self.dice(Actor, Actor, function), self, mailbox=self.limit()))

    def start_now(self, ctx: ProcessContext) -> None:
        started = ctx.start_link_now(Actor, (self,), mailbox=self.limit())
        if hasattr(started, "close"):
            started.close()  # a plain handler cannot wait
        else:
            self.started(started)

    def answer(self, ctx: ProcessContext) -> None:
        owed: list[Any] = self.__dict__.setdefault("owed", [])
        if owed:
            from_ = owed.pop(self.rng.randrange(len(owed)))
            if self.dice(True, False):
                ctx.reply(from_, "late")
            else:
                ctx.reply_error(from_, CallFailed("late", "an error"))

    def name(self, ctx: ProcessContext) -> None:
        self.dice(ctx.register, ctx.unregister)(self.dice("x", "y"))

    def system(self, ctx: ProcessContext) -> None:
        process: Any = self.process().process_
        if process is None or not hasattr(process, "server"):
            return

        def change(one: Any) -> None:
            inspection = one.inspect()
            inspection.suspended = self.dice(True, False)
            if self.dice(True, False):
                inspection.lookers["look"] = Looker()
            else:
                inspection.lookers.clear()
            if not inspection.needed:
                one.inspection = None

        process.system(change)

    def later(self, ctx: ProcessContext) -> None:
        timer = ctx.send_after(self.dice(0, 0.1, 1), self.someone(), self.number())
        if self.dice(True, False):
            ctx.cancel_timer(timer)

    def crash(self, ctx: ProcessContext) -> None:
        raise BoomError

    # -- deeds that take time ---------------------------------------------------------------------

    async def call(self, ctx: ProcessContext) -> None:
        number = self.number()
        self.calls[number] = 0
        try:
            await ctx.call(self.someone(), "call", timeout_s=self.dice(0.1, 1, 5.0, None))
        finally:  # also when the process ends
            self.calls[number] += 1

    async def sleep(self, ctx: ProcessContext) -> None:
        await ctx.sleep(self.dice(0, 0, 0.1, 1))

    async def receive(self, ctx: ProcessContext) -> None:
        found = await ctx.receive(
            lambda m: isinstance(m, int) and m % 2 == 0, timeout_s=self.dice(0, 0.1, 1, None)
        )
        assert isinstance(found, int)

    async def start(self, ctx: ProcessContext) -> None:
        self.started(await ctx.start_link(Actor, self, mailbox=self.limit()))

    async def join(self, ctx: ProcessContext) -> None:
        await ctx.join([self.process(), self.process()], timeout_s=self.dice(0.1, 1))

    async def bridge(self, ctx: ProcessContext) -> None:
        await ctx.bridge(asyncio.sleep(0))

    async def foreign(self, ctx: ProcessContext) -> None:
        await asyncio.sleep(0)


PLAIN: dict[str, Callable[[Chaos, ProcessContext], None]] = {
    name: getattr(Chaos, name)
    for name in (
        "alias", "answer", "cast", "crash", "demonitor", "end_parent", "exit", "later", "link",
        "monitor", "name", "request", "send", "spawn", "start_now", "system", "trap",
    )
}  # fmt: skip
PARKING: dict[str, Callable[[Chaos, ProcessContext], Any]] = {
    name: getattr(Chaos, name)
    for name in ("bridge", "call", "foreign", "join", "receive", "sleep", "start")
}
RETURNS = ("bad", "continue", "hibernate", "ignore", "noreply", "stop", "timeout")
OTHERS = ("bounded", "long_init", "long_terminate")


class Actor(GenServer):
    """A server that throws dice."""

    def init(self, chaos: Chaos) -> Any:
        self.chaos = chaos
        chaos.started(self.pid)
        if "ignore" in chaos.deeds and chaos.spend() and chaos.dice(*range(6)) == 0:
            return chaos.dice(Ignore(), Stop("no"))
        return self.handle("long_init" in chaos.deeds, chaos.dice(0, 1))

    def handle_cast(self, message: Any) -> Any:
        self.chaos.note_message(self)
        self.chaos.note_cast(self, message)
        return self.handle(True, self.chaos.dice(0, 1, 2, 4))

    def handle_info(self, message: Any) -> Any:
        self.chaos.note_message(self)
        self.chaos.note_info(message)
        return self.handle(True, self.chaos.dice(0, 1, 2, 4))

    def handle_continue(self, arg: Any) -> Any:
        return self.handle(True, self.chaos.dice(0, 1))

    def handle_call(self, request: Any, from_: From) -> Any:
        self.chaos.note_message(self)
        return self.handle(True, self.chaos.dice(0, 1, 2, 4), from_)

    def terminate(self, reason: Any) -> Any:
        return self.handle("long_terminate" in self.chaos.deeds, self.chaos.dice(0, 0, 1))

    def handle(self, may_park: bool, count: int, from_: From | None = None) -> Any:
        chaos = self.chaos
        if may_park and chaos.parking and chaos.dice(True, False):
            return self.at_length(count, from_)
        for _ in range(count):
            chaos.deed(self)
        return self.outcome(from_)

    async def at_length(self, count: int, from_: From | None) -> Any:
        for _ in range(count):
            await self.chaos.any_deed(self)
        return self.outcome(from_)

    def outcome(self, from_: From | None) -> Any:
        chaos = self.chaos
        then = chaos.dice(None, None, *RETURNS)
        if then not in chaos.deeds or not chaos.spend():
            return "answer" if from_ is not None else None
        result: Any = {
            "bad": "rubbish",
            "continue": Continue(),
            "hibernate": HIBERNATE,
            "timeout": Timeout(chaos.dice(0, 0.1, 1)),
            "stop": Stop(chaos.dice(NORMAL, "stopped"), chaos.dice(NOREPLY, "bye")),
        }.get(then)
        if from_ is None:
            return result
        if then == "noreply":
            chaos.__dict__.setdefault("owed", []).append(from_)
            return NOREPLY
        return Reply("answer", result) if then in ("continue", "hibernate", "timeout") else result


async def function(ctx: ProcessContext, chaos: Chaos) -> None:
    """A plain process that throws dice."""
    while chaos.fuel > 0:
        await chaos.any_deed(ctx)
        with suppress(ReceiveTimeout):
            message = await ctx.receive(timeout_s=chaos.dice(0, 1))
            chaos.note_info(message)
            if isinstance(message, tuple):
                chaos.note_cast(ctx, message)
            if isinstance(message, Request) and chaos.dice(True, False):
                ctx.reply(message.from_, "answer")
        if chaos.dice(*range(8)) == 0:
            return


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    deeds=st.sets(st.sampled_from([*PLAIN, *PARKING, *RETURNS, *OTHERS]), min_size=2),
    fuel=st.integers(1, 200),
    seed=st.integers(0, 2**32),
    reductions=st.sampled_from([1, 3, 64]),
    slice_s=st.sampled_from([0.0, 0.002]),
)
def test_the_invariants_hold_whatever_processes_do(
    deeds: set[str], fuel: int, seed: int, reductions: int, slice_s: float
) -> None:
    asyncio.run(chaos_reigns(deeds, fuel, seed, reductions, slice_s))


async def chaos_reigns(
    deeds: set[str], fuel: int, seed: int, reductions: int, slice_s: float
) -> None:
    rng = random.Random(seed)
    chaos = Chaos(rng, fuel, {"cast", *deeds})
    failures: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: failures.append(context.get("exception") or Exception(str(context)))
    )
    async with world(shuffle=rng, reductions=reductions, slice_s=slice_s) as w:
        watch(w.node, failures)
        try:
            await reign(w, chaos, failures)
        except BaseException:
            w.node._open = False  # it is broken: do not wait for it to stop
            raise
    assert [n for n, count in chaos.calls.items() if count != 1] == []


async def reign(w: World, chaos: Chaos, failures: list[BaseException]) -> None:
    async def advance(seconds: float) -> None:
        await w.advance(seconds)
        if failures:
            raise failures[0]

    for kind in (Actor, Actor, function, Actor):
        chaos.pids.append(w.node.spawn(kind, chaos, mailbox=chaos.limit()))
    outside = []
    for _ in range(12):
        dest = chaos.someone()
        for _ in range(chaos.dice(1, 4)):
            with suppress(MailboxFull):
                w.node.cast(dest, ("outside", chaos.number()))
        if "call" in chaos.deeds:
            calling = w.node.call(chaos.someone(), "call", timeout_s=chaos.dice(0.1, 5))
            outside.append(asyncio.ensure_future(calling))
        if "start" in chaos.deeds:
            starting = w.node.start_server(Actor, chaos, mailbox=chaos.limit())
            outside.append(asyncio.ensure_future(starting))
        await asyncio.sleep(0)
        if outside and chaos.dice(True, False):
            chaos.rng.choice(outside).cancel()
        await advance(chaos.dice(0, 0, 0.1, 1))
    chaos.fuel = 0
    await advance(20)
    check(w.node)
    check_books(w, chaos)
    stopping = asyncio.ensure_future(w.node.stop())
    while not stopping.done():
        await advance(1)
        await asyncio.sleep(0)
    await stopping
    for outcome in await asyncio.gather(*outside, return_exceptions=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, (*EXPECTED, asyncio.CancelledError)), outcome
    assert not w.node.table
    assert not w.node.names
    assert len(w.node.timers) == 0
    assert w.clock.pending == 0
    assert w.node.scheduler.dying == 0


def check_books(w: World, chaos: Chaos) -> None:
    """All is done that can be: what is missing still waits somewhere."""
    assert chaos.wrong == []
    assert not w.node.scheduler.queue
    for report in w.observer.crashes:
        reason = report.reason
        if isinstance(reason, Crash):
            assert isinstance(reason.exception, (BoomError, BadReturn)), reason.traceback
        else:
            assert reason in ("reason", "stopped", "no") or isinstance(reason, Overflow)
    owed = set(held_calls(w.node))
    for ref, count in chaos.answers.items():
        assert count <= 1
        asker = ref.asker
        if count == 0 and asker is not None and asker.process_ is not None:
            assert ref in owed, "a request that nobody will ever answer"
    for dest, serials in chaos.sent.items():
        process = dest.process_
        if process is None or not isinstance(dest, Pid):
            continue
        if process.wait is SUSPENDED and process.coroutine is not None:
            continue  # what it was about to look at is in its hands
        if process.limit is not None and process.limit.overflow != "suspend":
            continue
        items = [*(process.mailbox or ()), *(process.backlog or ()), *(process.saved or ())]
        items += [item for _, item in getattr(process.mailbox, "waiting", ())]
        waiting = {message[1] for message, tag in items if tag is None}
        assert set(serials) - chaos.handled <= waiting, "a message was lost"
