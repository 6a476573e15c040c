"""Programs behind a simulated launcher: every time and every order, without a machine."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_kit import World
from runtime_kit import run as run_in_a_world

from palaver.actors.programs import (
    Ack,
    Close,
    Command,
    Data,
    Drained,
    Ended,
    ExitStatus,
    Output,
    OutputClosed,
    Program,
    ProgramEvent,
    ProgramExited,
    ProgramStartError,
    ProgramStartTimeout,
    Refused,
    Released,
    Started,
    StopSteps,
    Write,
)
from palaver.actors.runtime import (
    KILL,
    NORMAL,
    SHUTDOWN,
    CallTimeout,
    MailboxLimit,
    ProcessContext,
    StartError,
)

COMMAND = Command(("simulated",))


def run(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run a test, and kill what is left: nobody moves the clock for a patient stop."""

    async def whole(w: World) -> None:
        try:
            await test(w)
        finally:
            for info in w.node.processes():
                w.node.exit(info.pid, KILL)
            await w.settle()

    run_in_a_world(whole)


class SimulatedProgram:
    """Does what the test says, and remembers what it was told and when."""

    def __init__(self, launcher: SimulatedLauncher, tell: Callable[[ProgramEvent], None]) -> None:
        self.launcher = launcher
        self.tell = tell
        self.log: list[tuple[float, Any]] = []
        self.buffered = 0
        self.written: list[bytes] = []
        self.stdin_open = True
        self.unconsumed = 0
        self.ended = False
        self.released = False

    def _note(self, what: Any) -> None:
        self.log.append((self.launcher.now() - self.launcher.began_s, what))
        self.launcher.on_note(self, what)

    def write(self, data: bytes) -> None:
        self.buffered += len(data)
        self.written.append(data)

    def drain(self) -> None:
        self.buffered = 0
        self.tell(Drained())

    def close_stdin(self) -> None:
        if self.stdin_open:
            self.stdin_open = False
            self._note("close")

    def consumed(self) -> None:
        self.unconsumed -= 1

    def signal(self, number: int) -> None:
        if not self.ended:
            self._note(signal.Signals(number).name)
            if number == signal.SIGKILL and self.launcher.obeys_kill:
                self.end(ExitStatus(signal=9))

    def end(self, status: ExitStatus) -> None:
        if not self.ended:
            self.ended = True
            self.tell(Ended(status))
            if self.released:
                self.tell(Released())

    def release(self) -> None:
        if not self.released:
            self.released = True
            self._note("release")
            self.signal(signal.SIGKILL)
            if self.ended:
                self.tell(Released())

    def says(self, data: bytes) -> None:
        self.unconsumed += 1
        self.tell(Output(data, False))


class SimulatedLauncher:
    def __init__(self, here: World) -> None:
        self.now = here.clock.monotonic
        self.began_s = 0.0
        self.programs: list[SimulatedProgram] = []
        self.answer: ProgramEvent | None = Started(4711)
        self.obeys_kill = True
        self.on_note: Callable[[SimulatedProgram, Any], None] = lambda *_: None

    def start(self, command: Command, tell: Callable[[ProgramEvent], None]) -> SimulatedProgram:
        program = SimulatedProgram(self, tell)
        self.programs.append(program)
        if self.answer is not None:
            tell(self.answer)
        return program


class Owned:
    """A program with an owner that keeps what it gets."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.launcher = SimulatedLauncher(w)
        self.got: list[Any] = []

    async def start(self, **options: Any) -> SimulatedProgram:
        async def owner(ctx: ProcessContext) -> None:
            while True:
                self.got.append(await ctx.receive())

        self.owner = self.w.node.spawn(owner)
        self.program = self.w.node.spawn(
            Program, COMMAND, owner=self.owner, launcher=self.launcher, **options
        )
        await self.w.settle()
        self.launcher.began_s = self.w.clock.now_s
        return self.launcher.programs[0]


@given(
    steps=st.tuples(*[st.integers(0, 5)] * 3),
    ends_s=st.integers(0, 20),
    obeys_kill=st.booleans(),
)
def test_the_steps_of_stopping_keep_their_times(
    steps: tuple[int, int, int], ends_s: int, obeys_kill: bool
) -> None:
    """The program ends by itself half a second after `ends_s`, or when it is killed."""

    async def test(w: World) -> None:
        here = Owned(w)
        os_program = await here.start(stop=StopSteps(*steps))
        here.launcher.obeys_kill = obeys_kill
        w.node.send_after(ends_s + 0.5, here.owner, "tick")
        w.node.timers.add(ends_s + 0.5, lambda: os_program.end(ExitStatus(code=7)))
        w.node.exit(here.program, SHUTDOWN)
        await w.advance(30)
        close_s, term_s, kill_s = steps
        ends_at = ends_s + 0.5
        expected: list[tuple[float, Any]] = [(0, "close")]
        over = ends_at
        if ends_at > close_s:
            expected.append((close_s, "SIGTERM"))
            if ends_at > close_s + term_s:
                expected.append((close_s + term_s, "SIGKILL"))
                over = close_s + term_s if obeys_kill else min(ends_at, close_s + term_s + kill_s)
        expected.append((over, "release"))
        if not obeys_kill and ends_at > over:
            expected.append((over, "SIGKILL"))
        assert os_program.log == expected
        assert not w.node.is_alive(here.program)
        [end] = [message for message in here.got if isinstance(message, ProgramExited)]
        seen = ends_at <= over
        by_kill = obeys_kill and ends_at > close_s + term_s
        status = ExitStatus(signal=9) if by_kill else ExitStatus(code=7) if seen else None
        assert end.status == status

    run(test)


def test_a_killed_process_releases_its_program_at_once() -> None:
    async def test(w: World) -> None:
        here = Owned(w)
        os_program = await here.start()
        w.node.exit(here.program, KILL)
        await w.settle()
        assert os_program.log == [(0, "release"), (0, "SIGKILL")]
        assert w.node.stats().processes == 1  # the owner

    run(test)


@pytest.mark.parametrize("answer", [None, Refused(ProgramStartError("x", "because"))])
def test_a_start_that_fails_releases_the_program(answer: Any) -> None:
    async def test(w: World) -> None:
        launcher = SimulatedLauncher(w)
        launcher.answer = answer

        async def parent(ctx: ProcessContext) -> None:
            with pytest.raises(StartError) as caught:
                await ctx.start_link(Program, COMMAND, launcher=launcher, start_timeout_s=3)
            errors.append(caught.value.reason)

        errors: list[Any] = []
        w.node.spawn(parent)
        await w.advance(5)
        assert [type(error) for error in errors] == [
            ProgramStartTimeout if answer is None else ProgramStartError
        ]
        assert launcher.programs[0].released
        assert w.node.stats().processes == 0

    run(test)


def test_a_launcher_that_crashes_is_a_failed_start() -> None:
    class Broken:
        def start(self, *_: Any) -> Any:
            raise RuntimeError("broken")

    async def test(w: World) -> None:
        async def parent(ctx: ProcessContext) -> None:
            with pytest.raises(StartError, match="broken"):
                await ctx.start_link(Program, COMMAND, launcher=Broken())

        await w.node.wait(w.node.spawn(parent))
        assert w.node.stats().processes == 0

    run(test)


@given(
    chunks=st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=10),
    window=st.integers(1, 7),
    acks=st.lists(st.integers(1, 3), max_size=30),
)
def test_frames_in_flight_never_exceed_the_window(
    chunks: list[list[int]], window: int, acks: list[int]
) -> None:
    async def test(w: World) -> None:
        here = Owned(w)
        os_program = await here.start(window=window)
        lines = [b"%d" % number for chunk in chunks for number in chunk]
        for chunk in chunks:
            os_program.says(b"".join(b"%d\n" % number for number in chunk))
        delivered = unacked = 0
        for ack in [*acks, *[99] * (len(lines) + 1)]:
            await w.settle()
            more = min(window - unacked, len(lines) - delivered)
            delivered += more
            unacked += more
            assert [data.frame for data in here.got] == lines[:delivered]
            w.node.cast(here.program, Ack(ack))
            unacked = max(0, unacked - ack)
        assert delivered == len(lines)
        assert os_program.unconsumed == 0

    run(test)


def test_a_write_that_timed_out_is_not_written() -> None:
    async def test(w: World) -> None:
        here = Owned(w)
        os_program = await here.start(max_buffered=10)

        async def writer(ctx: ProcessContext, text: bytes, timeout_s: float) -> None:
            try:
                await ctx.call(here.program, Write(text), timeout_s=timeout_s)
            except CallTimeout:
                timed_out.append(text)

        timed_out: list[bytes] = []
        for text, timeout_s in ((b"first-one", 1.0), (b"second", 1.0), (b"third", 9.0)):
            w.node.spawn(writer, text, timeout_s)
            await w.settle()
        await w.advance(2)
        os_program.drain()
        await w.settle()
        assert timed_out == [b"second"]
        assert os_program.written == [b"first-one\n", b"third\n"]

    run(test)


def test_a_limit_on_the_process_s_own_mailbox_never_loses_an_event() -> None:
    async def test(w: World) -> None:
        here = Owned(w)
        os_program = await here.start(mailbox=MailboxLimit(2, "reject"))
        for _ in range(5):
            os_program.says(b"x\n")
        await w.settle()
        assert not w.node.is_alive(here.program)  # killed, rather than made to miss something
        assert os_program.released

    run(test)


def test_the_end_waits_for_the_acknowledgements_of_the_owner() -> None:
    async def test(w: World) -> None:
        here = Owned(w)
        os_program = await here.start(window=1)
        os_program.says(b"a\nb\nc\n")
        os_program.end(ExitStatus(code=0))
        os_program.tell(OutputClosed())
        await w.advance(60)
        assert here.got == [Data(here.program, b"a")]
        w.node.cast(here.program, Ack())
        w.node.cast(here.program, Ack())
        await w.settle()
        assert here.got[1:] == [
            Data(here.program, b"b"),
            Data(here.program, b"c"),
            ProgramExited(here.program, ExitStatus(code=0)),
        ]

    run(test)


def test_close_answers_and_ends_normally() -> None:
    async def test(w: World) -> None:
        here = Owned(w)
        os_program = await here.start()
        here.launcher.on_note = lambda program, what: (
            program.end(ExitStatus(code=5)) if what == "close" else None
        )
        end: list[Any] = []

        async def closer(ctx: ProcessContext) -> None:
            watch = ctx.monitor(here.program)
            end.append(await ctx.call(here.program, Close()))
            end.append((await ctx.receive(lambda m: m.ref is watch)).reason)

        await w.node.wait(w.node.spawn(closer))
        assert end == [ExitStatus(code=5), NORMAL]
        assert [what for _, what in os_program.log] == ["close", "release"]

    run(test)
