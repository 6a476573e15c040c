"""Real programs: their frames, their ends, their limits."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from programs_kit import frame, is_alive, run, shell, state, the_end, until

from palaver.actors.programs import (
    Ack,
    BadFrame,
    Close,
    CloseStdin,
    Command,
    Data,
    ExitStatus,
    Framing,
    GetInfo,
    Lines,
    Netstrings,
    OwnerDown,
    Packets,
    Program,
    ProgramExited,
    ProgramNotFound,
    ProgramNotPermitted,
    Raw,
    Signal,
    Stderr,
    StdinClosed,
    StopSteps,
    SystemLauncher,
    TooManyWriters,
    Write,
)
from palaver.actors.runtime import (
    NOREPLY,
    NORMAL,
    CallTimeout,
    Crash,
    Down,
    Exit,
    From,
    GenServer,
    MailboxLimit,
    ProcessContext,
    Shutdown,
    StartError,
)

LEAVE = """
import os, time
heard, said = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    os.write(said, b"x")
    time.sleep(1000)
os.read(heard, 1)
print(pid, flush=True)
"""
CAT = Command(("cat",))
AT_ONCE = StopSteps(0, 0, 5)


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_program_is_written_to_and_read_from(loop_factory: Any) -> None:
    async def test(ctx: ProcessContext) -> None:
        program = await ctx.start_link(Program, CAT)
        watch = ctx.monitor(program)
        for line in (b"one", b"", b"three"):
            await ctx.call(program, Write(line))
        ctx.cast(program, CloseStdin())
        assert [await ctx.receive() for _ in range(4)] == [
            Data(program, b"one"),
            Data(program, b""),
            Data(program, b"three"),
            ProgramExited(program, ExitStatus(code=0)),
        ]
        assert await ctx.receive() == Down(watch, program, NORMAL)

    run(test, loop_factory=loop_factory)


@pytest.mark.parametrize(
    "framing", [Lines(), Packets(1), Packets(2), Packets(4), Netstrings()], ids=repr
)
def test_frames_survive_the_way_through_a_program(framing: Framing) -> None:
    async def test(ctx: ProcessContext) -> None:
        sent = [bytes([65 + n % 26]) * (n % 250) for n in range(600)]
        program = await ctx.start_link(Program, CAT, framing=framing)

        async def write(writer: ProcessContext) -> None:
            for line in sent:
                await writer.call(program, Write(line))

        ctx.spawn_link(write)
        got = []
        for _ in sent:
            got.append(await frame(ctx))
            ctx.cast(program, Ack())
        assert got == sent
        assert await ctx.call(program, Close()) == ExitStatus(code=0)

    run(test)


def test_raw_chunks_and_a_large_write() -> None:
    async def test(ctx: ProcessContext) -> None:
        data = os.urandom(3_000_000)
        program = await ctx.start_link(Program, CAT, framing=Raw(), window=4, max_buffered=100_000)
        await ctx.call(program, Write(data))  # larger than the limit, but nothing else waits
        with pytest.raises(CallTimeout):
            await ctx.call(program, Write(b"x"), timeout_s=0.01)
        got = b""
        while len(got) < len(data):
            got += await frame(ctx)
            ctx.cast(program, Ack())
        assert got == data
        info = await ctx.call(program, GetInfo())
        assert (info.bytes_read, info.bytes_written) == (len(data), len(data))

    run(test)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", NORMAL),
        ("exit 3", ExitStatus(code=3)),
        ("kill -9 $$", ExitStatus(signal=9)),
        ("kill -TERM $$", ExitStatus(signal=15)),
    ],
)
def test_how_a_program_ended_is_the_exit_reason_of_its_process(script: str, reason: Any) -> None:
    async def test(ctx: ProcessContext) -> None:
        ctx.trap_exit = True
        program = await ctx.start_link(Program, shell(f"echo last; {script}"))
        assert await frame(ctx) == b"last"
        status = await the_end(ctx, program)
        assert status == (ExitStatus(code=0) if reason is NORMAL else reason)
        assert await ctx.receive() == Exit(program, reason)

    run(test)


def test_exit_statuses_read_well() -> None:
    assert str(ExitStatus(code=3)) == "exit status 3"
    assert str(ExitStatus(signal=9)) == "ended by SIGKILL"
    assert str(ExitStatus(signal=40)) == "ended by signal 40"
    assert ExitStatus(code=0).ok
    assert not ExitStatus(code=1).ok
    assert not ExitStatus(signal=15).ok


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (Command(("no-such-program",)), ProgramNotFound),
        (Command(("/etc/passwd/program",)), ProgramNotFound),
        (Command(("cat",), env={"PATH": "/nowhere"}), ProgramNotFound),
        (Command(("/etc/passwd",)), ProgramNotPermitted),
        (Command(("cat",), cwd="/no/such/folder"), ProgramNotFound),
    ],
    ids=lambda value: str(getattr(value, "argv", "")),
)
def test_a_program_that_does_not_start_says_why(command: Command, error: type) -> None:
    async def test(ctx: ProcessContext) -> None:
        with pytest.raises(StartError) as caught:
            await ctx.start_link(Program, command)
        reason = caught.value.reason
        assert isinstance(reason, error)
        assert command.name in str(reason)
        if command.cwd is not None:
            assert str(command.cwd) in str(reason)

    run(test)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Command("cat file"),  # type: ignore[arg-type]
        lambda: Command(()),
        lambda: Command(("cat", "a\0b")),
        lambda: Command(("cat",), env={"A=B": "c"}),
        lambda: Command(("cat",), stderr="nowhere"),  # type: ignore[arg-type]
    ],
)
def test_a_command_that_cannot_be_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"argv|NUL|stderr"):
        bad()


def test_environment_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("TAKEN_OUT", "here")
    monkeypatch.setenv("BYTES", os.fsdecode(b"\xff\xfe"))

    async def test(ctx: ProcessContext) -> None:
        async def lines(command: Command) -> list[bytes]:
            program = await ctx.start_link(Program, command)
            got = []
            while isinstance(message := await ctx.receive(), Data):
                got.append(message.frame)
                ctx.cast(program, Ack())
            return got

        script = 'pwd; echo "$KEPT,$ADDED,${TAKEN_OUT-gone},$BYTES"'
        env = {"ADDED": "ä", "TAKEN_OUT": None}
        assert await lines(shell(script, cwd=tmp_path, env=env)) == [
            os.fsencode(tmp_path),
            b"kept,\xc3\xa4,gone,\xff\xfe",
        ]
        assert (await lines(shell("pwd")))[0] == os.fsencode(Path.cwd())
        assert await lines(Command(("/usr/bin/env",), env={"ONLY": "this"}, clean_env=True)) == [
            b"ONLY=this"
        ]
        assert await lines(Command(("printf", "%s", b"\xff \xc3"))) == [b"\xff \xc3"]

    run(test)


def test_stderr_goes_where_it_is_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    async def test(ctx: ProcessContext) -> None:
        async def said(stderr: Any) -> list[Any]:
            program = await ctx.start_link(Program, shell("echo oh dear >&2", stderr=stderr))
            got = []
            while not isinstance(message := await ctx.receive(), ProgramExited):
                got.append(message)
            assert all(message.program is program for message in got)
            return got

        [line] = await said("deliver")
        assert (type(line), line.line, line.whole) == (Stderr, b"oh dear", True)
        [merged] = await said("merge")
        assert (type(merged), merged.frame) == (Data, b"oh dear")
        assert await said("discard") == []
        assert capfd.readouterr().err == ""
        assert await said("inherit") == []
        assert capfd.readouterr().err == "oh dear\n"
        with structlog.testing.capture_logs() as logs:
            assert await said("log") == []
        assert [(entry["program"], entry["line"]) for entry in logs] == [("sh", "oh dear")]

    run(test)


def test_signals_are_the_default_in_the_program() -> None:
    async def test(ctx: ProcessContext) -> None:
        # Python itself ignores SIGPIPE; the program must not.
        await ctx.start_link(Program, Command(("grep", "^Sig[BI]", "/proc/self/status")))
        masks = [int((await frame(ctx)).split()[1], 16) for _ in range(2)]
        # The first 31 are signals of the system; some beyond belong to the C library.
        assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0]

    run(test)


def test_a_program_has_its_three_descriptors_and_no_other() -> None:
    async def test(ctx: ProcessContext) -> None:
        with Path(os.devnull).open() as extra:
            os.set_inheritable(extra.fileno(), True)
            await ctx.start_link(Program, CAT)
            program = await ctx.start_link(Program, shell("ls /proc/$$/fd"))
            assert [await frame(ctx) for _ in range(3)] == [b"0", b"1", b"2"]
            assert await the_end(ctx, program) == ExitStatus(code=0)

    run(test)


# -- limits ----------------------------------------------------------------------------------------


def test_no_more_is_read_than_the_owner_acknowledges() -> None:
    async def test(ctx: ProcessContext) -> None:
        last = 100_000
        program = await ctx.start_link(Program, Command(("seq", str(last))), window=10)
        os_pid = (await ctx.call(program, GetInfo())).os_pid
        got = [await frame(ctx) for _ in range(10)]
        await ctx.bridge(until(lambda: state(os_pid) == "S"))  # it waits for its pipe
        info = await ctx.call(program, GetInfo())
        assert (info.unacked, is_alive(os_pid)) == (10, True)
        assert info.bytes_read <= 8 * 65536
        with pytest.raises(TimeoutError):
            await ctx.receive(timeout_s=0)
        while len(got) < last:
            ctx.cast(program, Ack(5))
            got.append(await frame(ctx))
            with_ack = [await frame(ctx) for _ in range(min(4, last - len(got)))]
            got += with_ack
        assert got == [b"%d" % n for n in range(1, last + 1)]
        ctx.cast(program, Ack(5))
        assert await the_end(ctx, program) == ExitStatus(code=0)

    run(test)


class SlowOwner(GenServer):
    def init(self, wanted: int) -> None:
        self.wanted = wanted
        self.got: list[bytes] = []
        self.waiting: From | None = None
        self.longest = 0

    async def handle_info(self, message: Any) -> None:
        if isinstance(message, Data):
            self.got.append(message.frame)
            self.longest = max(self.longest, len(self.process_.mailbox or ()))
            if len(self.got) % 20 == 0:
                await self.sleep(0)
        if len(self.got) == self.wanted and self.waiting is not None:
            self.reply(self.waiting, (self.got, self.longest))

    def handle_call(self, request: Any, from_: From) -> Any:
        self.waiting = from_
        return NOREPLY


@pytest.mark.parametrize("overflow", ["suspend", "reject"])
def test_without_a_window_the_limit_of_the_owner_s_mailbox_holds_the_program(overflow: Any) -> None:
    async def test(ctx: ProcessContext) -> None:
        limit = MailboxLimit(50, overflow)
        owner = ctx.spawn_link(SlowOwner, 500, mailbox=limit)
        asked = ctx.send_request(owner, "all")
        await ctx.start_link(Program, Command(("seq", "500")), owner=owner, window=None)
        response = await ctx.receive()
        got, longest = response.result()
        assert response.ref is asked
        assert got == [b"%d" % n for n in range(1, 501)]
        assert longest <= 50

    run(test)


def test_writers_wait_for_a_program_that_does_not_read() -> None:
    async def test(ctx: ProcessContext) -> None:
        program = await ctx.start_link(Program, CAT, max_buffered=50_000, max_writers=3)
        ctx.cast(program, Signal(signal.SIGSTOP))
        os_pid = (await ctx.call(program, GetInfo())).os_pid
        await ctx.bridge(until(lambda: state(os_pid) == "T"))
        line = b"x" * 30_000
        written = 0
        with pytest.raises(CallTimeout):  # noqa: PT012 - how many there is room for is no matter
            while True:
                await ctx.call(program, Write(b"%d " % written + line), timeout_s=0.05)
                written += 1
        info = await ctx.call(program, GetInfo())
        assert info.buffered <= 50_000
        assert info.writers == 1  # the one that timed out: nothing of it will be written
        asked = [ctx.send_request(program, Write(b"%d " % n + line)) for n in (97, 98, 99)]
        with pytest.raises(TooManyWriters):
            await ctx.call(program, Write(line))
        ctx.cast(program, Signal(signal.SIGCONT))
        numbers = []
        while len(numbers) < written + 3:
            message = await ctx.receive()
            if isinstance(message, Data):
                numbers.append(int(message.frame.split()[0]))
                ctx.cast(program, Ack())
            else:
                assert message.result() is None
                assert message.ref is asked.pop(0)
        assert numbers == [*range(written), 97, 98, 99]
        assert asked == []

    run(test)


def test_writing_to_a_closed_stdin_fails() -> None:
    async def test(ctx: ProcessContext) -> None:
        program = await ctx.start_link(Program, shell("exec 0<&-; echo closed; sleep 1000"))
        assert await frame(ctx) == b"closed"
        with pytest.raises(StdinClosed):  # noqa: PT012 - the first may still reach the pipe
            while True:
                await ctx.call(program, Write(b"anybody there?"))
        other = await ctx.start_link(Program, shell("sleep 1000"))
        ctx.cast(other, CloseStdin())
        with pytest.raises(StdinClosed):
            await ctx.call(other, Write(b"too late"))
        with pytest.raises(BadFrame):
            await ctx.call(other, Write(b"two\nlines"))
        with pytest.raises(TypeError, match="does not understand"):
            await ctx.call(other, "something else")

    run(test)


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "steps", "status"),
    [
        ("echo up; cat", StopSteps(5, 0, 0), ExitStatus(code=0)),
        ("echo up; cat; sleep 1000", StopSteps(0, 5, 0), ExitStatus(signal=15)),
        # A child between fork and exec may get the signal, too, and live on: so none stays long.
        (
            "trap 'exit 7' TERM; echo up; cat; while :; do sleep 0.02; done",
            StopSteps(0, 5, 0),
            ExitStatus(code=7),
        ),
        ("trap '' TERM; echo up; cat; sleep 1000", StopSteps(0, 0, 5), ExitStatus(signal=9)),
        ("trap '' TERM; echo up; kill -STOP $$; cat", StopSteps(0, 0, 5), ExitStatus(signal=9)),
    ],
)
def test_a_program_is_stopped_step_by_step(script: str, steps: StopSteps, status: Any) -> None:
    async def test(ctx: ProcessContext) -> None:
        program = await ctx.start_link(Program, shell(script), stop=steps)
        assert await frame(ctx) == b"up"
        assert await ctx.call(program, Close()) == status
        assert await the_end(ctx, program) == status

    run(test)


def test_output_that_waits_does_not_keep_a_program_from_stopping() -> None:
    async def test(ctx: ProcessContext) -> None:
        script = "trap 'i=0; while [ $i -lt 20000 ]; do echo more; i=$((i+1)); done; exit 0' TERM"
        steps = StopSteps(0, 60, 0)
        program = await ctx.start_link(
            Program, shell(f"{script}; echo up; cat; sleep 1000"), stop=steps, window=1
        )
        assert await frame(ctx) == b"up"
        assert await ctx.call(program, Close(), timeout_s=60) == ExitStatus(code=0)

    run(test)


def test_a_bad_frame_stops_the_program() -> None:
    async def test(ctx: ProcessContext) -> None:
        ctx.trap_exit = True
        command = shell("printf '3:abc,'; cat; printf boo; sleep 1000")
        program = await ctx.start_link(Program, command, framing=Netstrings(), stop=AT_ONCE)
        assert await frame(ctx) == b"abc"
        ctx.cast(program, CloseStdin())
        assert (await the_end(ctx, program)).signal in (signal.SIGTERM, signal.SIGKILL)
        end = await ctx.receive()
        assert isinstance(end.reason, BadFrame)

    run(test)


def test_a_line_without_an_end_is_marked() -> None:
    async def test(ctx: ProcessContext) -> None:
        program = await ctx.start_link(Program, shell("printf 'abcdefgh\\nij'"), framing=Lines(3))
        got = [await ctx.receive() for _ in range(4)]
        assert [(data.frame, data.whole) for data in got] == [
            (b"abc", False),
            (b"def", False),
            (b"gh", True),
            (b"ij", False),
        ]
        assert await the_end(ctx, program) == ExitStatus(code=0)

    run(test)


def test_a_program_stops_when_its_owner_exits() -> None:
    async def test(ctx: ProcessContext) -> None:
        async def owner(own: ProcessContext) -> None:
            await own.receive()

        pid = ctx.spawn(owner)
        program = ctx.spawn(Program, CAT, owner=pid)
        watch = ctx.monitor(program)
        os_pid = (await ctx.call(program, GetInfo())).os_pid
        ctx.send(pid, "end")
        assert await ctx.receive() == Down(watch, program, Shutdown(OwnerDown(NORMAL)))
        assert not is_alive(os_pid)
        assert str(OwnerDown(NORMAL)) == "its owner has exited: normal"

    run(test)


def test_the_owner_may_be_a_name() -> None:
    async def test(ctx: ProcessContext) -> None:
        ctx.register("owner")
        await ctx.start_link(Program, shell("echo hello"), owner="owner")
        assert await frame(ctx) == b"hello"

    run(test)


def test_a_program_needs_an_owner_and_a_window() -> None:
    async def test(ctx: ProcessContext) -> None:
        for options in ({}, {"owner": ctx.pid, "window": 0}):
            with pytest.raises(StartError) as caught:
                await ctx.bridge(ctx.node.start_server(Program, CAT, **options))
            assert isinstance(caught.value.reason, Crash)
            assert isinstance(caught.value.reason.exception, ValueError)

    run(test)


def test_a_program_that_forks_away_does_not_keep_its_process() -> None:
    async def test(ctx: ProcessContext) -> None:
        # Its child leaves the session and holds stdout: the end of the output never comes.
        program = await ctx.start_link(Program, Command((sys.executable, "-S", "-c", LEAVE)))
        escaped = int(await frame(ctx))
        try:
            assert await the_end(ctx, program) == ExitStatus(code=0)
        finally:
            os.kill(escaped, signal.SIGKILL)

    run(test)


def test_many_programs_share_one_helper() -> None:
    async def test(ctx: ProcessContext) -> None:
        launcher = SystemLauncher()
        programs = [
            await ctx.start_link(Program, shell(f"echo {n}; cat"), launcher=launcher)
            for n in range(20)
        ]
        got = [await ctx.receive() for _ in programs]
        assert {(data.program, data.frame) for data in got} == {
            (program, b"%d" % n) for n, program in enumerate(programs)
        }
        for program in programs:
            ctx.cast(program, CloseStdin())
        ends = [await ctx.receive() for _ in programs]
        assert {end.program for end in ends} == set(programs)
        # ... which has ended with the last of them, and another begins.
        program = await ctx.start_link(Program, shell("echo again"), launcher=launcher)
        assert await frame(ctx) == b"again"
        assert await the_end(ctx, program) == ExitStatus(code=0)

    run(test)
