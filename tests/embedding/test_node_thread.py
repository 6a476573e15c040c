"""A node in a thread: its synchronous face, its errors, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
import structlog
import uvloop
from embedding_kit import Counter, Hanging, forever, nothing_left

from palaver.actors.embedding import (
    ForkedNode,
    NodeThread,
    StopTimeout,
    ThreadsafeNode,
    WouldDeadlock,
    node_threadsafe,
)
from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOREPLY,
    NORMAL,
    SHUTDOWN,
    CalleeExited,
    CallTimeout,
    From,
    GenServer,
    MailboxFull,
    MailboxLimit,
    NameTaken,
    Node,
    NodeStopped,
    NoProcess,
    NullObserver,
    ProcessContext,
    StartError,
)


class Mute(GenServer):
    """Never answers, and remembers who asked."""

    __slots__ = ("asked",)

    def init(self, asked: list[From]) -> None:
        self.asked = asked

    def handle_call(self, request: Any, from_: From) -> Any:
        self.asked.append(from_)
        return NOREPLY


def quiet(**options: Any) -> NodeThread:
    return NodeThread(Node(observer=NullObserver()), **options)


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_synchronous_program_uses_a_node(loop_factory: Any) -> None:
    with nothing_left(), NodeThread(loop_factory=loop_factory) as node:
        counter = node.start_server(Counter, name="counter")
        node.cast(counter, 1)
        node.send("counter", 2)
        node.cast("counter", 3, confirm=True)
        assert node.call("counter", "seen") == [1, ("info", 2), 3]
        assert node.whereis("counter") is counter
        assert node.is_alive(counter)
        assert node.stats().processes == 1
        node.exit(counter, SHUTDOWN)
        assert node.wait(counter) in (SHUTDOWN, node.wait(counter))
        assert node.whereis("counter") is None
        pid = node.spawn(forever)
        node.exit(pid, KILL)
        assert not node.is_alive(pid)


def test_errors_are_raised_in_the_thread_that_asks() -> None:
    class Broken(GenServer):
        def init(self) -> None:
            raise ValueError("broken")

    async def fails() -> None:
        raise KeyError("mine")

    with nothing_left(), quiet() as node:
        with pytest.raises(StartError, match="broken"):
            node.start_server(Broken)
        with pytest.raises(NoProcess):
            node.call("nobody", 1)
        counter = node.start_server(Counter, name="counter")
        with pytest.raises(NameTaken):
            node.spawn(Counter, name="counter")
        with pytest.raises(CalleeExited, match="crash"):
            node.call(counter, "crash")
        with pytest.raises(KeyError, match="mine"):
            node.run(fails())
        with pytest.raises(ZeroDivisionError):
            node.apply(lambda _: 1 // 0)
        with pytest.raises(TypeError):
            node.spawn("not a process")  # type: ignore[arg-type]


def test_a_timeout_ends_the_call_and_a_late_answer_reaches_nobody() -> None:
    asked: list[From] = []
    with nothing_left(), quiet() as node:
        mute = node.start_server(Mute, asked)
        with pytest.raises(CallTimeout, match=r"0\.02 s"):
            node.call(mute, 1, timeout_s=0.02)
        while asked[0].open:  # the call is withdrawn a moment later
            node.apply(lambda _: None)
        with pytest.raises(TimeoutError):
            node.wait(mute, timeout_s=0.02)


def test_a_call_times_out_even_while_the_event_loop_hangs() -> None:
    entered, let_go = threading.Event(), threading.Event()
    with nothing_left(), quiet() as node:
        hanging = node.start_server(Hanging, entered, let_go)
        node.cast(hanging, 1)
        entered.wait()
        with pytest.raises(CallTimeout):
            node.call(hanging, 1, timeout_s=0.02)
        let_go.set()
        assert node.call(hanging, 1) == "alive"


def test_a_timeout_of_the_coroutine_itself_is_its_own() -> None:
    async def times_out() -> None:
        raise TimeoutError("mine")

    with quiet() as node, pytest.raises(TimeoutError, match="mine"):
        node.run(times_out(), timeout_s=60)


def test_many_threads_and_the_order_of_each() -> None:
    with nothing_left(), quiet(max_waiting=100) as node:
        counter = node.start_server(Counter)

        def work(me: int) -> None:
            for n in range(500):
                node.cast(counter, (me, n))
                if n % 100 == 99:
                    seen = [number for who, number in node.call(counter, "seen") if who == me]
                    assert seen == list(range(n + 1))

        threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(node.call(counter, "seen")) == 8 * 500


def test_many_casts_wake_the_event_loop_once() -> None:
    entered, let_go = threading.Event(), threading.Event()
    with quiet() as node:
        counter = node.start_server(Counter)
        hanging = node.start_server(Hanging, entered, let_go)
        node.cast(hanging, 1)
        entered.wait()
        loop = node._loop
        assert loop is not None
        wakes = []
        original = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *a: wakes.append(original(*a))  # type: ignore[method-assign, assignment]
        for n in range(1000):
            node.cast(counter, n)
        assert len(wakes) == 1
        let_go.set()
        assert len(node.call(counter, "seen")) == 1000


def test_a_thread_waits_for_room_and_is_freed_by_the_end() -> None:
    entered, let_go = threading.Event(), threading.Event()
    ends: list[Any] = []
    with nothing_left():
        node = quiet(max_waiting=3).start()
        hanging = node.start_server(Hanging, entered, let_go)
        node.cast(hanging, 1)
        entered.wait()
        sent: list[int] = []

        def work() -> None:
            try:
                for n in range(10):
                    node.cast("nobody", n)
                    sent.append(n)
            except NodeStopped as error:
                ends.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        while not node._room._waiters:  # type: ignore[attr-defined]
            pass
        assert sent == [0, 1, 2]
        with pytest.raises(StopTimeout, match=r"let_go\.wait"):
            node.stop(timeout_s=0.05)
        thread.join()
        assert len(ends) == 1
        let_go.set()
        node.stop()


def test_a_refused_message_is_logged_or_raised() -> None:
    entered, let_go = threading.Event(), threading.Event()
    with quiet() as node, structlog.testing.capture_logs() as logs:
        hanging = node.start_server(Hanging, entered, let_go, mailbox=MailboxLimit(1, "reject"))

        def flood(inner: Node) -> None:  # within one turn of the loop: nothing is handled between
            inner.cast(hanging, 1)
            with pytest.raises(MailboxFull):
                inner.cast(hanging, 1)
            node._queue.append(lambda: inner.cast(hanging, 1))
            node._queue.append(lambda: inner.cast(None, 1))  # type: ignore[arg-type]
            inner.cast(hanging, 1)

        let_go.set()
        with pytest.raises(MailboxFull):
            node.apply(flood)
        assert node.call(hanging, 1) == "alive"
    assert [entry["event"] for entry in logs][:1] == ["message dropped"]


def test_a_request_that_makes_no_sense_harms_no_other() -> None:
    with quiet() as node, structlog.testing.capture_logs() as logs:
        counter = node.start_server(Counter)
        node.cast(5, 1)  # type: ignore[arg-type]
        node.cast(counter, 1)
        assert node.call(counter, "seen") == [1]
    assert [entry["event"] for entry in logs] == ["request failed"]


def test_the_node_s_own_thread_may_not_block_on_itself() -> None:
    with nothing_left(), quiet() as node:

        async def asks(ctx: ProcessContext) -> None:
            for ask in (
                lambda: node.call("x", 1),
                lambda: node.cast("x", 1),
                lambda: node.run(asyncio.sleep(0)),
                lambda: node.start_server(Counter),
                lambda: node.stop(),
            ):
                with pytest.raises(WouldDeadlock):
                    ask()
            ok.append(await ctx.run_blocking(lambda: node.call(counter, "seen")))

        ok: list[Any] = []
        counter = node.start_server(Counter)

        async def both() -> Any:
            return await node.node.wait(node.node.spawn(asks))

        assert node.run(both()) is NORMAL
        assert ok == [[]]


def test_a_forked_child_is_told() -> None:
    code = """
import os
from palaver.actors.embedding import ForkedNode, NodeThread
with NodeThread() as node:
    pid = os.fork()
    if pid == 0:
        told = 0
        for ask in (lambda: node.whereis("x"), lambda: node.cast("x", 1), node.stop):
            try:
                ask()
            except ForkedNode:
                told += 1
        node._stop_at_exit()
        os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert node.whereis("x") is None
print("parent goes on")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "parent goes on\n"), done.stderr


def test_a_forgotten_node_is_stopped_at_exit() -> None:
    code = """
from palaver.actors.embedding import NodeThread
from palaver.actors.runtime import GenServer
class Last(GenServer):
    def init(self): self.trap_exit = True
    def terminate(self, reason): print("terminated:", reason, flush=True)
NodeThread().start().start_server(Last)
print("main ends")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "main ends\nterminated: shutdown\n"), done.stderr


def test_what_waits_fails_when_the_node_stops() -> None:
    asked: list[From] = []
    ends: list[Any] = []
    with nothing_left():
        node = quiet().start()
        mute = node.start_server(Mute, asked)

        def work(ask: Any) -> None:
            try:
                ask()
            except Exception as error:
                ends.append(type(error))

        never = threading.Thread(target=work, args=(lambda: node.run(asyncio.Event().wait()),))
        call = threading.Thread(target=work, args=(lambda: node.call(mute, 1, timeout_s=None),))
        for thread in (never, call):
            thread.start()
        while len(node._open) < 2 or not asked:
            pass
        node.stop()
        for thread in (never, call):
            thread.join()
        assert set(ends) <= {NodeStopped, CalleeExited}
        assert len(ends) == 2
        for ask in (lambda: node.cast("x", 1), lambda: node.run(asyncio.sleep(0)), node.start):
            with pytest.raises(NodeStopped):
                ask()
        node.stop()
        assert not node.is_running


def test_before_the_start_there_is_no_node() -> None:
    node = quiet()
    with pytest.raises(NodeStopped):
        node.cast("x", 1)
    node.stop()


def test_a_failing_start_raises_and_leaves_nothing() -> None:
    def no_loop() -> Any:
        raise OSError("no loop for you")

    with nothing_left():
        with pytest.raises(OSError, match="no loop for you"):
            quiet(loop_factory=no_loop).start()

        with pytest.raises(NodeStopped):
            NodeThread(asyncio.run(_used())).start()


async def _used() -> Node:
    async with Node() as node:
        node.spawn(forever)
    return node


def test_an_exception_in_the_block_stops_the_node() -> None:
    with nothing_left(), pytest.raises(KeyError), quiet() as node:  # noqa: PT012
        node.spawn(forever)
        raise KeyError("x")


def test_an_interrupt_in_a_handler_ends_the_node_and_is_raised_by_stop() -> None:
    class Quits(GenServer):
        def handle_cast(self, message: Any) -> None:
            raise SystemExit(3)

    with nothing_left():
        node = quiet().start()
        node.cast(node.start_server(Quits), 1)
        with pytest.raises(SystemExit):
            node.stop()


def test_fifty_rounds_leave_nothing_behind() -> None:
    with nothing_left():
        for n in range(50):
            with quiet(loop_factory=uvloop.new_event_loop if n % 2 else None) as node:
                counter = node.start_server(Counter)
                node.cast(counter, n)
                assert node.call(counter, "seen") == [n]


def test_a_node_in_an_existing_loop_is_used_from_threads() -> None:
    async def main() -> None:
        async with Node() as node:
            face = node_threadsafe(node)
            assert type(face) is ThreadsafeNode

            def work() -> list[Any]:
                counter = face.start_server(Counter)
                face.cast(counter, 1)
                return list(face.call(counter, "seen"))

            assert await asyncio.to_thread(work) == [1]
            with pytest.raises(WouldDeadlock):
                face.whereis("x")
            face.close()
            with pytest.raises(NodeStopped):
                await asyncio.to_thread(face.whereis, "x")

    with nothing_left():
        asyncio.run(main())


def test_a_loop_that_was_closed_is_noticed() -> None:
    async def main() -> ThreadsafeNode:
        async with Node() as node:
            return node_threadsafe(node)

    face = asyncio.run(main())
    for _ in range(2):
        with pytest.raises(NodeStopped):
            face.cast("x", 1)


def test_several_nodes_in_one_program() -> None:
    with nothing_left(), quiet() as one, quiet() as two:
        here, there = one.start_server(Counter), two.start_server(Counter)
        one.cast(here, 1)
        two.cast(there, 2)
        assert (one.call(here, 0), two.call(there, 0)) == ([1], [2])
        assert one.node is not two.node


def test_reasons_come_through() -> None:
    with quiet() as node:
        pid = node.spawn(forever)
        waiting: list[Any] = []
        thread = threading.Thread(target=lambda: waiting.append(node.wait(pid)))
        thread.start()
        while not node._open:
            pass
        node.exit(pid, KILL)
        thread.join()
        assert waiting == [KILLED]


def test_a_stopped_node_is_forgotten() -> None:
    with quiet() as node:
        gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="at least one"):
        NodeThread(max_waiting=0)
    assert issubclass(ForkedNode, Exception)
    assert os.getpid() == NodeThread()._os_pid


def test_a_stop_can_be_asked_for_from_the_node_s_own_thread() -> None:
    thread = NodeThread().start()
    inside: list[bool] = []

    def ask(_: Node) -> None:
        inside.append(thread.is_inside)
        with pytest.raises(WouldDeadlock):
            thread.join(1)
        thread.request_stop()

    with pytest.raises(NodeStopped):  # what has not been answered yet is not any more
        thread.apply(ask)
    assert thread.join(10)
    assert inside == [True]
    assert not thread.is_inside
    assert not thread.is_running
    thread.stop()
