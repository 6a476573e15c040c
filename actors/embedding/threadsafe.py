"""The synchronous face of a node: for any number of threads beside the one of its event loop.

Whatever a thread asks goes into one queue, and the first to find it empty wakes the event loop: a
thousand casts cost one wake-up. So what one thread asks is done in the order in which it asked.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final, TypeVar

import structlog

from palaver.actors.embedding.errors import ForkedNode, WouldDeadlock
from palaver.actors.runtime import (
    CallTimeout,
    Dest,
    ExitReason,
    MailboxFull,
    MailboxLimit,
    Node,
    NodeStats,
    NodeStopped,
    Pid,
    Spawnable,
)

__all__ = ["ThreadsafeNode", "node_threadsafe"]

T = TypeVar("T")
log = structlog.get_logger("palaver.actors.embedding")

BATCH: Final = 1024
"""What is taken from the queue before the event loop has its turn again."""

_Action = Callable[[], object]


class ThreadsafeNode:
    """A node's methods for other threads; they block until the answer is there.

    Errors are raised in the thread that asks: those of the node's own methods, and `NodeStopped`,
    `WouldDeadlock` in the thread of the event loop, `ForkedNode` in a forked child.

    Args:
        node: A running node.
        loop: The event loop that it runs in; None, for a `NodeThread`, until there is one.
        max_waiting: How many requests may wait for the event loop; a thread with one more waits for
            room, as a suspended sender does.
    """

    def __init__(
        self, node: Node, loop: asyncio.AbstractEventLoop | None, *, max_waiting: int = 100_000
    ) -> None:
        if max_waiting < 1:
            raise ValueError("at least one request may wait")
        self.node = node
        self._loop = loop
        self._os_pid = os.getpid()
        self._max_waiting = max_waiting
        self._queue: deque[_Action] = deque()
        self._room = threading.Condition()
        self._armed = False
        self._closed = False
        # What has not been answered yet, to be failed when the node stops.
        self._open: dict[Future[Any], None] = {}

    # -- processes ----------------------------------------------------------------------------

    def spawn(
        self,
        what: Spawnable,
        *args: Any,
        name: str | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid:
        """`Node.spawn`: start a process and do not wait for its `init`."""
        return self.apply(
            lambda node: node.spawn(what, *args, name=name, mailbox=mailbox, **options)
        )

    def start_server(
        self,
        what: Spawnable,
        *args: Any,
        name: str | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid:
        """`Node.start_server`: start a process and wait, however long it takes, for its `init`."""
        return self.run(self.node.start_server(what, *args, name=name, mailbox=mailbox, **options))

    def exit(self, pid: Pid, reason: object) -> None:
        """`Node.exit`: send an exit signal; returns at once."""
        self._hand_over(lambda: self.node.exit(pid, reason))

    def wait(self, pid: Pid, *, timeout_s: float | None = None) -> ExitReason:
        """Wait until a process has exited; its reason. Raises `TimeoutError`."""
        return self.run(self.node.wait(pid), timeout_s=timeout_s)

    def is_alive(self, pid: Pid) -> bool:
        """Whether the process has not exited, nor is about to."""
        return self.apply(lambda node: node.is_alive(pid))

    def whereis(self, name: str) -> Pid | None:
        """The process with this name; None if there is none."""
        return self.apply(lambda node: node.whereis(name))

    def stats(self) -> NodeStats:
        """The node's figures."""
        return self.apply(lambda node: node.stats())

    # -- messages -----------------------------------------------------------------------------

    def call(self, dest: Dest, request: Any, *, timeout_s: float | None = 5.0) -> Any:
        """`Node.call`: send a request and wait for the answer.

        Raises what `Node.call` does. The time is counted in this thread: it ends, with
        `CallTimeout`, even if the event loop hangs.
        """
        try:
            return self.run(self.node.call(dest, request, timeout_s=None), timeout_s=timeout_s)
        except _OutOfTime:
            assert timeout_s is not None
            raise CallTimeout(timeout_s) from None

    def cast(self, dest: Dest, message: Any, *, confirm: bool = False) -> None:
        """`Node.cast`, handed over: it returns before the message is in the mailbox.

        A message that the receiver's `MailboxLimit` refuses is dropped then and logged; with
        `confirm`, this waits until it is in the mailbox, and raises `MailboxFull` if it is refused.
        """
        if confirm:
            self.apply(lambda node: node.cast(dest, message))
        else:
            self._hand_over(lambda: self.node.cast(dest, message))

    def send(self, dest: Dest, message: Any, *, confirm: bool = False) -> None:
        """`Node.send`, handed over: see `cast`."""
        if confirm:
            self.apply(lambda node: node.send(dest, message))
        else:
            self._hand_over(lambda: self.node.send(dest, message))

    # -- anything else ------------------------------------------------------------------------

    def apply(self, fn: Callable[[Node], T]) -> T:
        """Call `fn(node)` in the node's thread; what it returns or raises."""
        future: Future[T] = Future()

        def action() -> None:
            if future.cancelled():
                return
            try:
                result = fn(self.node)
            except BaseException as error:
                self._settle(future, error=error)
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
            else:
                self._settle(future, result)

        self._ask(future, action)
        return self._await(future, None)

    def run(self, coroutine: Coroutine[Any, Any, T], *, timeout_s: float | None = None) -> T:
        """Run a coroutine in the node's event loop; what it returns or raises.

        After `timeout_s` it is cancelled and `TimeoutError` raised. It is also cancelled when this
        thread is interrupted, and with `NodeStopped` when the node is.
        """
        future: Future[T] = Future()
        task: list[asyncio.Task[T]] = []

        def begin() -> None:
            if future.cancelled():
                coroutine.close()
                return
            task.append(asyncio.get_running_loop().create_task(coroutine))
            task[0].add_done_callback(lambda done: self._task_done(future, done))

        try:
            self._ask(future, begin)
        except BaseException:
            coroutine.close()  # else Python complains that nobody has awaited it
            raise
        try:
            return self._await(future, timeout_s)
        except BaseException:
            if future.cancelled():
                self._quietly(lambda: [each.cancel() for each in task])
            raise

    # -- within: the asking thread ------------------------------------------------------------

    def _check(self) -> None:
        """Refuse to block where that would be for ever."""
        if os.getpid() != self._os_pid:
            raise ForkedNode("the node runs in the parent process: start one after the fork")
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            return
        if here is self._loop:
            raise WouldDeadlock(
                "this is the thread of the node's event loop, which would wait for itself: "
                "use the node's own methods here (self.call, self.cast, await node.call)"
            )

    def _hand_over(self, action: _Action, future: Future[Any] | None = None) -> None:
        self._check()
        with self._room:
            while len(self._queue) >= self._max_waiting and not self._closed:
                self._room.wait()
            if self._closed:
                raise NodeStopped(f"node {self.node.name} is not running")
            assert self._loop is not None
            if future is not None:
                self._open[future] = None
            self._queue.append(action)
            if self._armed:
                return
            self._armed = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop was closed without a word to us
                self._close_queue()
                raise NodeStopped(f"the event loop of node {self.node.name} is closed") from None

    def _ask(self, future: Future[Any], action: _Action) -> None:
        self._hand_over(action, future)

    def _await(self, future: Future[T], timeout_s: float | None) -> T:
        try:
            return future.result(timeout_s)
        except BaseException as error:
            if future.done():
                if isinstance(error, TimeoutError):
                    return future.result()  # it came at the last moment, or is the answer itself
                raise
            if not future.cancel() and isinstance(error, TimeoutError):
                return future.result()
            with self._room:
                self._open.pop(future, None)
            if isinstance(error, TimeoutError):
                raise _OutOfTime(f"not done within {timeout_s:g} s") from None
            raise

    def _quietly(self, action: _Action) -> None:
        """Hand over what may be lost when the node has stopped."""
        try:
            self._hand_over(action)
        except NodeStopped:
            return

    # -- within: the thread of the event loop -------------------------------------------------

    def _drain(self) -> None:
        """Do what was asked, at most `BATCH` of it before the event loop has its turn."""
        queue = self._queue
        try:
            for _ in range(BATCH):
                if not queue:
                    break
                try:
                    queue.popleft()()
                except MailboxFull as error:
                    log.warning("message dropped", reason=str(error))
                except Exception:
                    log.exception("request failed", node=self.node.name)
        finally:
            with self._room:
                self._armed = bool(queue)
                if queue:
                    asyncio.get_running_loop().call_soon(self._drain)
                self._room.notify_all()

    def _task_done(self, future: Future[Any], task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            text = f"node {self.node.name} has stopped, or the coroutine was cancelled"
            self._settle(future, error=NodeStopped(text))
        elif (error := task.exception()) is not None:
            self._settle(future, error=error)
        else:
            self._settle(future, task.result())

    def _settle(
        self, future: Future[Any], result: Any = None, error: BaseException | None = None
    ) -> None:
        with self._room:
            self._open.pop(future, None)
        try:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        except InvalidStateError:
            return  # nobody waits any more

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more requests: they, and those without an answer, fail with `NodeStopped`.

        What was handed over before is still done if the event loop goes on. For any thread.
        """
        with self._room:
            self._close_queue()
            left, self._open = list(self._open), {}
        for future in left:
            try:
                future.set_exception(NodeStopped(f"node {self.node.name} is not running"))
            except InvalidStateError:
                continue

    def _close_queue(self) -> None:
        self._closed = True
        self._room.notify_all()


class _OutOfTime(TimeoutError):
    """The time of `run` is up: apart from any `TimeoutError` of the coroutine itself."""


def node_threadsafe(
    node: Node, loop: asyncio.AbstractEventLoop | None = None, *, max_waiting: int = 100_000
) -> ThreadsafeNode:
    """The synchronous face of a node that runs in an existing event loop.

    Call it in the loop, or give the loop. Call its `close` before the node stops, so that threads
    that still ask get `NodeStopped`. It has no thread of its own and leaves nothing behind.
    """
    return ThreadsafeNode(node, loop or asyncio.get_running_loop(), max_waiting=max_waiting)
