"""A node in a thread of its own, beside a program that knows nothing of asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from palaver.actors.runtime import Node, NodeStopped

__all__ = ["NodeThread"]

LOOK_S: Final = 0.5
"""How often somebody who waits for the node looks whether its thread is still there."""


class NodeThread:
    """One thread with one event loop with one node.

    Args:
        make_node: Called in the thread, to make the node.
        stop_s: How long the node's processes may take to stop, before they are killed.
    """

    def __init__(self, make_node: Callable[[], Node], *, stop_s: float) -> None:
        self._make_node = make_node
        self._stop_s = stop_s
        self._ready: concurrent.futures.Future[Node] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        # A daemon: a program can end although an actor blocks it.
        self._thread = threading.Thread(target=self._main, name="palaver-thespian", daemon=True)

    def start(self) -> Node:
        """Start the thread; the node when it runs. Raises what starting it raises."""
        self._thread.start()
        return self._ready.result()

    @property
    def alive(self) -> bool:
        """Whether the node has not stopped."""
        return self._thread.is_alive()

    @property
    def inside(self) -> bool:
        """Whether the caller is in the node's thread, and so must not wait for it."""
        return threading.current_thread() is self._thread

    def call(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine in the node's loop and wait for it.

        Raises `NodeStopped` if the node has stopped, or stops meanwhile.
        """
        loop = self._loop
        if loop is None or not self.alive:
            raise NodeStopped("the node's thread has ended")
        coroutine = make()
        try:
            outcome = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError as error:  # the loop has been closed since
            coroutine.close()
            raise NodeStopped("the node's thread has ended") from error
        while not concurrent.futures.wait([outcome], LOOK_S).done:
            if not self.alive:
                raise NodeStopped("the node's thread has ended")
        if outcome.cancelled():
            raise NodeStopped("the node stopped meanwhile")
        return outcome.result()

    def request_stop(self) -> None:
        """Let the node stop; from any thread, and harmless when it has."""
        loop, ending = self._loop, self._ending
        if loop is not None and ending is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(ending.set)
            except RuntimeError:  # closed since
                return

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _run(self) -> None:
        node = self._make_node()
        await node.start()
        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready.set_result(node)
        try:
            await self._ending.wait()
        finally:
            await node.stop(timeout_s=self._stop_s)
