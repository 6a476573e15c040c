"""`NodeThread`: a node in a thread of its own, beside a program that knows no asyncio.

with NodeThread() as node:
counter = node.start_server(Counter)
node.cast(counter, 5)
assert node.call(counter, "count") == 5
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

from palaver.actors.embedding.errors import ForkedNode, StopTimeout, WouldDeadlock
from palaver.actors.embedding.threadsafe import ThreadsafeNode
from palaver.actors.runtime import Node, NodeStopped

__all__ = ["NodeThread"]


class NodeThread(ThreadsafeNode):
    """A node with an event loop in a thread, and the methods of `ThreadsafeNode` to use it.

    It is started once, as a node is. Nothing of it is left after `stop`: no thread, task, file
    descriptor or handler.

    Args:
        node: A node that was not started yet; `Node()` if None.
        loop_factory: Makes the event loop, as `uvloop.new_event_loop`; asyncio's own if None.
        daemon: True: if the program ends without `stop`, the node is stopped at the interpreter's
            exit. False: the program does not end before somebody stops the node.
        max_waiting: See `ThreadsafeNode`.
    """

    def __init__(
        self,
        node: Node | None = None,
        *,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        daemon: bool = True,
        max_waiting: int = 100_000,
    ) -> None:
        self._loop_factory = loop_factory
        self._daemon = daemon
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._end: asyncio.Event | None = None
        self._stop_timeout_s = 10.0
        super().__init__(node or Node(), None, max_waiting=max_waiting)
        self._closed = True  # until it is started

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the thread and the node in it, and return when it runs.

        Raises what went wrong, with nothing left behind, or `NodeStopped` the second time.
        """
        with self._lock:
            if self._thread is not None:
                raise NodeStopped(f"node {self.node.name} was started before")
            self._os_pid = os.getpid()
            thread = threading.Thread(
                target=self._main, name=f"palaver {self.node.name}", daemon=self._daemon
            )
            self._thread = thread
            thread.start()
        self._ready.wait()
        if self._failure is not None:
            thread.join()
            failure, self._failure = self._failure, None
            raise failure
        if self._daemon:
            atexit.register(self._stop_at_exit)
        return self

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Stop the node, as `Node.stop`, then its event loop and thread; harmless if repeated.

        Half of the time is for the processes to end by themselves. Raises `StopTimeout` if the
        thread has not ended in the whole of it: a handler does not return. It may be called again.
        """
        if os.getpid() != self._os_pid:
            raise ForkedNode("the node runs in the parent process: it is stopped there")
        thread = self._thread
        if thread is None:
            return
        if thread is threading.current_thread():
            raise WouldDeadlock("a node's thread cannot wait for its own end: stop it from another")
        atexit.unregister(self._stop_at_exit)
        self.request_stop(timeout_s=timeout_s / 2)
        if not self.join(timeout_s):
            frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - as documented
            raise StopTimeout(timeout_s, "".join(traceback.format_stack(frame)))
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def request_stop(self, *, timeout_s: float = 10.0) -> None:
        """Let the node stop, and do not wait for it; from any thread, also from the node's own.

        Its processes are killed after `timeout_s`. Harmless if repeated.
        """
        self._stop_timeout_s = timeout_s
        self.close()
        if self._end is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._end.set)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end, at most `timeout_s`; whether it has ended."""
        if self.is_inside:
            raise WouldDeadlock("a node's thread cannot wait for its own end: wait in another")
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._os_pid:
            self.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the node takes requests."""
        return not self._closed

    @property
    def is_inside(self) -> bool:
        """Whether the caller is in the node's thread, and so must not wait for it."""
        return self._thread is threading.current_thread()

    # -- the thread ---------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 - raised by `start` or by `stop`
            self._failure = error
        finally:
            self.close()
            self._ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        await self.node.start()
        try:
            with self._room:
                self._closed = False
            self._ready.set()
            await self._end.wait()
        finally:
            self.close()
            await self.node.stop(timeout_s=self._stop_timeout_s)
