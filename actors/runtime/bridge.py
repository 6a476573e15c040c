"""The way from a hand-driven coroutine to asyncio code and to threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from palaver.actors.runtime.parking import Raise

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process

__all__ = ["Bridges"]


class BridgeWait:
    """A process is parked until an asyncio future is done."""

    __slots__ = ("future", "process")

    def __init__(self, process: Process, future: asyncio.Future[Any]) -> None:
        self.process: Process | None = process
        self.future = future

    def done(self, future: asyncio.Future[Any]) -> None:
        """Wake the process with what came of it."""
        # Asked in any case: asyncio complains about an exception that nobody looked at.
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        process, self.process = self.process, None
        if process is not None and process.wait is self:
            process.wake(future.result() if error is None else Raise(error))

    def cancel(self) -> None:
        """The process is exiting: nobody wants the outcome."""
        self.process = None
        self.future.cancel()


class Bridges:
    """The asyncio tasks and threads that work for the processes of one node."""

    __slots__ = ("_futures", "_max_threads", "_pool", "_threads", "_work")

    def __init__(self, max_threads: int, threads: Callable[[int], Executor] | None = None) -> None:
        self._max_threads = max_threads
        self._threads = threads or _thread_pool
        # Dicts, not sets: their order is the same in every run.
        self._futures: dict[asyncio.Future[Any], None] = {}
        self._work: dict[Future[Any], None] = {}
        self._pool: Executor | None = None

    def wait_for(self, process: Process, awaitable: Awaitable[Any]) -> None:
        """Park `process` on foreign asyncio code; a coroutine gets a task."""
        future = asyncio.ensure_future(awaitable)
        self._futures[future] = None
        future.add_done_callback(self._forget)
        wait = BridgeWait(process, future)
        future.add_done_callback(wait.done)
        process.wait = wait

    def in_thread(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run some work in a thread of the node's own pool."""
        if self._pool is None:
            self._pool = self._threads(self._max_threads)
        future = self._pool.submit(work)
        self._work[future] = None
        future.add_done_callback(self._worked)
        return asyncio.wrap_future(future)

    def _forget(self, future: asyncio.Future[Any]) -> None:
        self._futures.pop(future, None)

    def _worked(self, future: Future[Any]) -> None:
        self._work.pop(future, None)

    async def close(self, timeout_s: float) -> None:
        """Cancel the tasks and end the threads.

        A thread cannot be interrupted: one whose function has not returned after `timeout_s` ends
        when it does.
        """
        futures = list(self._futures)
        for future in futures:
            future.cancel()
        if futures:
            await asyncio.wait(futures, timeout=timeout_s)
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for work in list(self._work):
            work.cancel()
        running = [asyncio.wrap_future(work) for work in list(self._work)]
        late: set[asyncio.Future[Any]] = set()
        if running:
            done, late = await asyncio.wait(running, timeout=timeout_s)
            for future in done:
                if not future.cancelled():
                    future.exception()  # asked, so that asyncio does not complain about it
        pool.shutdown(wait=not late)  # nothing runs: the threads end at once


def _thread_pool(max_threads: int) -> Executor:
    return ThreadPoolExecutor(max_threads, thread_name_prefix="palaver-node")
