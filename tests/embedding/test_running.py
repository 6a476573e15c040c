"""`run`: a node alone; real signals, in processes of their own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import uvloop
from embedding_kit import Counter, nothing_left

from palaver.actors.embedding import TopProcessFailed, run
from palaver.actors.runtime import NORMAL, SHUTDOWN, GenServer, Node, NullObserver, Stop
from palaver.supervisors import ChildSpec, Supervisor, SupervisorFlags

PROGRAM = Path(__file__).with_name("running_program.py")


async def count(node: Node, *numbers: int) -> int:
    counter = await node.start_server(Counter)
    for number in numbers:
        node.cast(counter, number)
    return sum(await node.call(counter, "seen"))


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_it_runs_main_and_returns_its_exit_code(loop_factory: Any) -> None:
    async def nothing(node: Node) -> None:
        assert node.name == "mine"

    with nothing_left():
        assert run(count, 1, 2, loop_factory=loop_factory) == 3
        assert run(nothing, node=Node("mine")) == 0


def test_what_main_raises_is_raised() -> None:
    async def fails(node: Node) -> int:
        await node.start_server(Counter)
        raise KeyError("mine")

    async def cancels(node: Node) -> int:
        raise asyncio.CancelledError

    with nothing_left():
        with pytest.raises(KeyError, match="mine"):
            run(fails)
        with pytest.raises(asyncio.CancelledError):
            run(cancels)


class Ends(GenServer):
    def init(self, reason: object) -> None:
        self.cast(self.pid, reason)

    def handle_cast(self, reason: object) -> Stop:
        return Stop(reason)


def test_it_runs_a_top_process_to_its_end() -> None:
    with nothing_left():
        assert run(Ends, NORMAL) == 0
        assert run(Ends, SHUTDOWN) == 0
        with pytest.raises(TopProcessFailed, match="boom") as caught:
            run(Ends, "boom", node=Node(observer=NullObserver()))
        assert caught.value.reason == "boom"
        with pytest.raises(TopProcessFailed, match="takes 1 positional argument"):
            run(Counter, "one too many", node=Node(observer=NullObserver()))


def test_a_supervisor_whose_significant_child_ends_ends_the_run() -> None:
    class Tree(Supervisor):
        def specification(self) -> Any:
            child = ChildSpec("job", Ends, (NORMAL,), restart="transient", significant=True)
            return SupervisorFlags(auto_shutdown="any_significant"), [child]

    assert run(Tree) == 0


def test_signals_are_for_the_main_thread() -> None:
    ends: list[Any] = []

    def work() -> None:
        with pytest.raises(ValueError, match="signals=False"):
            run(count, 1)
        ends.append(run(count, 1, signals=False))

    with nothing_left():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert ends == [1]


@pytest.mark.parametrize(
    ("loop", "number"),
    [("asyncio", signal.SIGTERM), ("asyncio", signal.SIGINT), ("uvloop", signal.SIGTERM)],
)
@pytest.mark.parametrize(
    ("kind", "said", "code"),
    [
        ("tree", "terminated: shutdown", 0),
        ("main", "cancelled\nterminated: shutdown", 0),
        ("stubborn", "will not go", 128),
        ("hanging", "hangs", 128),
    ],
)
def test_signals(loop: str, number: int, kind: str, said: str, code: int) -> None:
    if kind == "hanging":
        number = signal.SIGINT  # of two different ones, Python handles this before SIGTERM
    program = subprocess.Popen(
        [sys.executable, "-W", "error", str(PROGRAM), kind, loop],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        program.send_signal(number)
        first = program.stdout.readline()
        if kind == "stubborn":
            program.send_signal(number)
        elif kind == "hanging":  # another one: two of a kind that wait together are one
            program.send_signal(signal.SIGTERM)
        rest = program.stdout.read()
        program.wait()
    finally:
        program.kill()
        program.communicate()
    assert (first + rest).strip() == said  # nothing was complained about either
    assert program.returncode == (code + number if code else 0)


def test_handlers_are_put_back() -> None:
    def mine(*_: Any) -> None:
        """Somebody's own."""

    before = signal.signal(signal.SIGTERM, mine)
    try:
        assert run(count, 1) == 1
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
