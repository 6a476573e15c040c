"""The same programs on OTP's `pg` and on `Scope`: whatever can be seen must be equal."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from runtime_kit import Server, World, inside, run

from palaver.actors.names import GroupMonitor, Joined, Left, Scope, ScopeServer
from palaver.actors.runtime import KILL, Pid, ProcessContext, ReceiveTimeout

ESCRIPT = shutil.which("escript")
PROGRAM = Path(__file__).with_name("pg.escript")
Step = tuple[Any, ...]


def programs(count: int, seed: int) -> list[list[Step]]:
    rng = random.Random(seed)
    return [program(rng) for _ in range(count)]


def program(rng: random.Random) -> list[Step]:
    """Up to 20 steps over three processes and two groups.

    A `leave` of several names only such as have joined: of others OTP tells monitors that they have
    left, although they never were there.
    """
    joined: Counter[tuple[int, int]] = Counter()
    dead: set[int] = set()
    steps: list[Step] = []
    for _ in range(rng.randrange(1, 21)):
        what = rng.choices(
            ["join", "leave", "end", "monitor", "monitor_scope", "demonitor"], [8, 6, 1, 2, 1, 1]
        )[0]
        group = rng.choice([1, 2])
        if what in ("join", "leave"):
            # A dead process joins and leaves in two moments there, which one may look between.
            alive = [pid for pid in (1, 2, 3) if pid not in dead]
            pids = rng.choices(alive, k=rng.choice([1, 1, 2, 3])) if alive else []
            if what == "leave" and len(pids) > 1:
                wanted = Counter(pids)
                pids = [p for p in wanted for _ in range(min(wanted[p], joined[group, p]))]
            if not pids:
                continue
            for pid in pids:
                change = 1 if what == "join" else -1
                joined[group, pid] = max(0, joined[group, pid] + change)
            steps.append((what, group, pids))
        elif what == "end":
            victim = rng.choice([1, 2, 3])
            dead.add(victim)
            joined[1, victim] = joined[2, victim] = 0
            steps.append(("end", victim))
        elif what == "monitor":
            steps.append(("monitor", group))
        elif what == "demonitor":
            steps.append(("demonitor", rng.randrange(3)))
        else:
            steps.append(("monitor_scope",))
    return steps


def as_erlang(steps: list[Step]) -> str:
    def term(step: Step) -> str:
        if step == ("monitor_scope",):
            return "monitor_scope"
        return "{" + ",".join(f"'{x}'" if isinstance(x, str) else str(x) for x in step) + "}"

    return "[" + ",".join(map(term, steps)) + "].\n"


class Here:
    """Runs a program on a `Scope` and looks at what the escript looks at."""

    def __init__(self, w: World, scope: Scope, ctx: ProcessContext) -> None:
        self.w = w
        self.scope = scope
        self.ctx = ctx
        self.pids = {number: w.node.spawn(Server) for number in (1, 2, 3)}
        self.numbers = {pid: number for number, pid in self.pids.items()}
        self.refs: list[GroupMonitor] = []

    async def step(self, step: Step) -> list[Any]:
        what, *args = step
        return [await getattr(self, what)(*args), *await self.look()]

    async def join(self, group: int, numbers: list[int]) -> int:
        self.scope.join(group, [self.pids[number] for number in numbers])
        return 1

    async def leave(self, group: int, numbers: list[int]) -> int:
        return int(self.scope.leave(group, [self.pids[number] for number in numbers]))

    async def end(self, number: int) -> int:
        self.w.node.exit(self.pids[number], KILL)
        await self.ctx.join([self.pids[number]])
        return 1

    async def monitor(self, group: int) -> list[int]:
        ref, members = self.scope.monitor(self.ctx.pid, group)
        self.refs.append(ref)
        return self.names(members)

    async def monitor_scope(self) -> list[Any]:
        ref, groups = self.scope.monitor_scope(self.ctx.pid)
        self.refs.append(ref)
        return sorted([group, self.names(members)] for group, members in groups.items())

    async def demonitor(self, number: int) -> int:
        if number >= len(self.refs):
            return 0
        return int(self.scope.demonitor(self.refs[number]))

    def names(self, pids: Any) -> list[int]:
        return sorted(self.numbers[pid] for pid in pids)

    async def look(self) -> list[Any]:
        scope = self.scope
        return [
            [self.names(scope.get_members(group)) for group in (1, 2)],
            [self.names(scope.get_local_members(group)) for group in (1, 2)],
            sorted(map(int, map(str, scope.which_groups()))),
            sorted(map(int, map(str, scope.which_local_groups()))),
            sorted(await self.events()),
        ]

    async def events(self) -> list[Any]:
        events: list[Any] = []
        try:
            while True:
                event: Joined | Left = await self.ctx.receive(timeout_s=0)
                number = next(n for n, ref in enumerate(self.refs) if ref is event.ref)
                kind = int(isinstance(event, Joined))
                events.append([number, kind, event.group, self.names(event.pids)])
        except ReceiveTimeout:
            return events


def run_here(todo: list[list[Step]]) -> list[Any]:
    outcomes: list[Any] = []

    async def test(w: World) -> None:
        for steps in todo:
            scope = Scope("groups")
            server: Pid = await w.node.start_server(ScopeServer, scope)

            async def body(
                ctx: ProcessContext, scope: Scope = scope, steps: list[Step] = steps
            ) -> list[Any]:
                here = Here(w, scope, ctx)
                return [await here.step(step) for step in steps]

            outcomes.append(await inside(w, body))
            w.node.exit(server, KILL)
            await w.settle()

    run(test)
    return outcomes


def compare(count: int, seed: int, folder: Path) -> None:
    assert ESCRIPT is not None
    todo = programs(count, seed)
    file = folder / "programs.terms"
    file.write_text("".join(map(as_erlang, todo)))
    done = subprocess.run(
        [ESCRIPT, str(PROGRAM), str(file)], capture_output=True, text=True, timeout=240, check=True
    )
    there = [json.loads(line) for line in done.stdout.splitlines()]
    here = run_here(todo)
    assert len(there) == len(here) == count
    for steps, ours, theirs in zip(todo, here, there, strict=True):
        assert ours == theirs, steps


@pytest.mark.peer
@pytest.mark.skipif(ESCRIPT is None, reason="escript (erlang-base) is not installed")
def test_programs_do_what_they_do_on_otp(tmp_path: Path) -> None:
    compare(300, 1, tmp_path)


@pytest.mark.peer
@pytest.mark.long
@pytest.mark.skipif(ESCRIPT is None, reason="escript (erlang-base) is not installed")
def test_very_many_programs_do_what_they_do_on_otp(tmp_path: Path) -> None:
    compare(20_000, 2, tmp_path)
