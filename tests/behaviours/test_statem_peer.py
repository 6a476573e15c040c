"""Random state machines do on Palaver, event for event, what they do on OTP's gen_statem."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from runtime_kit import World, run

from palaver.actors.behaviours import (
    POSTPONE,
    Event,
    EventTimeout,
    GenericTimeout,
    GenStatem,
    KeepState,
    NextEvent,
    NextState,
    RepeatState,
    ReplyTo,
    StateTimeout,
    TimeoutEvent,
)
from palaver.actors.runtime import (
    KILL,
    KILLED,
    NORMAL,
    CallFailed,
    Down,
    From,
    ProcessContext,
    Stop,
)

PEER = Path(__file__).parent / "statem_peer.escript"
CALLBACKS = 60
LONG_S = 1000.0
STATES = st.integers(0, 2)
CONTENTS = st.integers(0, 2)
KINDS = ["timeout", "state_timeout", "a", "b"]


class Machine(GenStatem[Any, Any]):
    """What `statem_peer.escript` is, here."""

    callback_mode = "handle_event_function"

    def init(self, log: list[str], state: int, actions: Any, table: dict[Any, Any]) -> Any:
        self.log, self.table, self.left = log, table, CALLBACKS
        return NextState(self.named(state), *self.actions(actions, None), data=None)

    def named(self, state: int) -> Any:
        return state

    def number(self) -> int:
        return self.state

    def handle_event(self, kind: Event, content: Any) -> Any:
        if content == "sync":
            assert isinstance(kind, From)
            return ReplyTo(kind, "ok")
        name: Any = kind
        if isinstance(kind, From):
            name = "call"
        elif isinstance(kind, TimeoutEvent):
            name = kind.name
        if name == "enter" and isinstance(content, str):
            content = int(content[-1])
        self.log.append(f"{self.number()}:{name}:{content}")
        if not self.left:
            return None
        self.left -= 1
        result, actions = self.table.get((self.number(), name, content), ("keep", ()))
        doing = self.actions(actions, (kind, content))
        if result == "keep":
            return KeepState(*doing)
        if result == "repeat":
            return RepeatState(*doing)
        if result[0] == "next":
            return NextState(self.named(result[1]), *doing)
        return Stop(NORMAL if result[1] == "normal" else result[1])

    def actions(self, actions: Any, event: tuple[Event, Any] | None) -> list[Any]:
        done: list[Any] = []
        for action in actions:
            match action:
                case "postpone":
                    done.append(POSTPONE)
                case "again" if event is not None:
                    done.append(NextEvent(*event))
                case "reply" if event is not None and isinstance(event[0], From):
                    self.log.append(f"reply:{event[1]}")
                    done.append(ReplyTo(event[0], event[1]))
                case ("next_event", kind, content):
                    done.append(NextEvent(kind, content))
                case (kind, *how):
                    done.append(timeout(kind, *how))
        return done


class Methods(Machine):
    """The same with a method for each state, and callbacks that are coroutines in one of them."""

    callback_mode = "state_functions"

    def named(self, state: int) -> Any:
        return f"state_{state}"

    def number(self) -> int:
        return int(self.state[-1])

    def state_0(self, kind: Event, content: Any) -> Any:
        return self.handle_event(kind, content)

    async def state_1(self, kind: Event, content: Any) -> Any:
        await self.sleep(0)
        return self.handle_event(kind, content)

    state_2 = state_0


def timeout(kind: str, how: Any, content: Any = None) -> Any:
    generic = kind in ("a", "b")
    cls: Any = GenericTimeout if generic else EventTimeout if kind == "timeout" else StateTimeout
    name = (kind,) if generic else ()
    if how == "cancel":
        return cls.cancel(*name)
    if how == "update":
        return cls.update(*name, content)
    return cls(*name, LONG_S if how else 0, content)


TIMEOUTS = st.one_of(
    st.tuples(st.sampled_from(KINDS), st.just("cancel")),
    st.tuples(st.sampled_from(KINDS), st.sampled_from([0, 0, 0, "update", 1_000_000]), CONTENTS),
)
INSERTED = st.tuples(st.just("next_event"), st.sampled_from(["internal", "cast", "info"]), CONTENTS)
ACTIONS = st.one_of(
    st.just("postpone"), st.just("postpone"), st.just("again"), st.just("reply"), INSERTED, TIMEOUTS
)
RESULTS = st.one_of(
    st.just("keep"),
    st.just("keep"),
    st.just("repeat"),
    st.tuples(st.just("next"), STATES),
    st.tuples(st.just("next"), STATES),
    st.tuples(st.just("next"), STATES),
)
ENDS = st.tuples(st.just("stop"), st.sampled_from(["odd", "normal"]))
KEYS = st.tuples(STATES, st.sampled_from(["cast", "info", "call", "internal", *KINDS]), CONTENTS)
ENTERS = st.tuples(STATES, st.just("enter"), STATES)
VALUES = st.tuples(RESULTS, st.lists(ACTIONS, max_size=3))
ENTERED = st.tuples(
    st.sampled_from(["keep", "keep", "keep", "repeat"]), st.lists(TIMEOUTS, max_size=2)
)
TABLES = st.tuples(
    st.lists(st.tuples(KEYS, st.tuples(ENDS, st.just([]))), max_size=1),
    st.lists(st.tuples(KEYS, VALUES), min_size=10, max_size=30),
    st.lists(st.tuples(ENTERS, ENTERED), max_size=5),
).map(lambda parts: dict(itertools.chain(*parts)))
FED = st.lists(
    st.tuples(st.sampled_from(["cast", "info", "call"]), CONTENTS), min_size=1, max_size=8
)
PROGRAMS = st.tuples(
    st.booleans(), STATES, st.lists(st.one_of(INSERTED, TIMEOUTS), max_size=2), TABLES, FED
)


def term(value: Any) -> str:
    """A value as Erlang writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "{" + ",".join(map(term, value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(term, value)) + "]"
    if isinstance(value, dict):
        return term(list(value.items()))
    return str(value)


def ours(program: Any, cls: type[Machine]) -> str:
    enter, state, actions, table, events = program
    log: list[str] = []

    class Subject(cls):  # type: ignore[valid-type,misc]
        state_enter = enter

    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> None:
            pid, ref = ctx.spawn_monitor(Subject, log, state, actions, table)
            for kind, content in events:
                if kind == "cast":
                    ctx.cast(pid, content)
                elif kind == "info":
                    ctx.send(pid, content)
                else:
                    ctx.send_request(pid, content)
            with contextlib.suppress(CallFailed):
                await ctx.call(pid, "sync")
            ctx.exit(pid, KILL)
            down = await ctx.receive(lambda m: isinstance(m, Down) and m.ref is ref)
            if down.reason is not KILLED:
                log.append(f"ended:{down.reason}")

        await w.node.wait(w.node.spawn(owner))
        assert not w.observer.crashes or log[-1] == "ended:odd"

    run(test)
    return " ".join(log)


class Peer:
    """The escript, which runs one program after the other."""

    def __init__(self, escript: str) -> None:
        self.process = subprocess.Popen(
            [escript, str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, program: Any) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(term(program) + ".\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    escript = shutil.which("escript")
    if escript is None:
        pytest.skip("there is no escript: install erlang-base")
    peer = Peer(escript)
    yield peer
    peer.close()


@pytest.mark.peer
@pytest.mark.parametrize("cls", [Machine, Methods])
@given(program=PROGRAMS)
@settings(
    max_examples=int(os.environ.get("PROGRAMS", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_a_state_machine_does_what_it_does_on_otp(
    peer: Peer, cls: type[Machine], program: Any
) -> None:
    theirs = peer.run(program)
    event(f"callbacks: {min(theirs.count(' ') // 10, 6)}0")
    assert ours(program, cls) == theirs


def test_the_interpreter_here_does_what_a_program_says() -> None:
    # Without a peer this still shows that what is compared is not empty.
    table = {
        (0, "cast", 1): (("next", 1), ["postpone", ("next_event", "internal", 2)]),
        (1, "enter", 0): ("keep", [("a", 0, 3)]),
    }
    program = (True, 0, [("timeout", 0, 5)], table, [("cast", 1), ("call", 2), ("info", 0)])
    for cls in (Machine, Methods):
        assert ours(program, cls) == (
            "0:enter:0 0:timeout:5 0:cast:1 1:enter:0 1:internal:2 1:cast:1 1:a:3 1:call:2 1:info:0"
        )
