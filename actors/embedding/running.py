"""`run`: a node alone, from the start of the program to its end, with its signals.

sys.exit(run(main))                       # async def main(node, *args)
sys.exit(run(Tree, "settings.toml"))      # a supervisor, or any other GenServer
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from types import FrameType
from typing import Any

import structlog

from palaver.actors.embedding.errors import TopProcessFailed
from palaver.actors.embedding.garbage import calm_garbage_collector
from palaver.actors.runtime import KILL, GenServer, Node, is_abnormal

__all__ = ["run"]

log = structlog.get_logger("palaver.actors.embedding")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(
    main: type[GenServer] | Callable[..., Coroutine[Any, Any, int | None]],
    *args: Any,
    node: Node | None = None,
    signals: bool = True,
    stop_timeout_s: float = 10.0,
    calm_garbage: bool = True,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Start an event loop and a node, run `main` in it to its end, stop the node.

    The first SIGTERM or SIGINT stops it in good order: `main` is cancelled, or the top process is
    stopped as the node's others are. A second one kills every process; if not even the first was
    noticed, because a handler does not return, it raises `KeyboardInterrupt` in that handler. The
    handlers that were there before are put back.

    Args:
        main: An `async def main(node, *args)`, or a `GenServer` class, as a supervisor, that is
            started with `args` and waited for.
        *args: Given to it.
        node: The node to run, not started yet; `Node()` if None.
        signals: Whether to handle SIGTERM and SIGINT: only in the main thread.
        stop_timeout_s: How long the node's processes may take to stop.
        calm_garbage: Whether the garbage collector looks less often meanwhile: see
            `calm_garbage_collector`.
        loop_factory: Makes the event loop, as `uvloop.new_event_loop`.

    Returns:
        An exit code: what `main` returned (None is 0); 0 after an orderly end of the top process
        or a first signal; 128 and the signal's number if a second was needed.

    Raises:
        TopProcessFailed: The top process has not started, or has exited abnormally.
        BaseException: Whatever `main` raised.
    """
    if signals and threading.current_thread() is not threading.main_thread():
        raise ValueError("only the main thread can handle signals: say signals=False")
    life = _Life(node or Node(), main, args, stop_timeout_s)
    before = {number: signal.signal(number, life.on_signal) for number in SIGNALS if signals}
    try:
        with (
            calm_garbage_collector() if calm_garbage else nullcontext(),
            asyncio.Runner(loop_factory=loop_factory) as runner,
        ):
            return runner.run(life.live())
    except KeyboardInterrupt:
        if life.signal is None:
            raise
        return 128 + life.signal
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Life:
    """One run: from the start of the node to its stop."""

    def __init__(self, node: Node, main: Any, args: tuple[Any, ...], stop_timeout_s: float) -> None:
        self.node = node
        self.main = main
        self.args = args
        self.stop_timeout_s = stop_timeout_s
        self.loop: asyncio.AbstractEventLoop | None = None
        self.work: asyncio.Task[int | None] | None = None
        self.signal: int | None = None  # the first that came
        self.noticed = False  # by the event loop
        self.forced = False

    async def live(self) -> int:
        """Start, run, stop."""
        self.loop = asyncio.get_running_loop()
        await self.node.start()
        try:
            self.work = self.loop.create_task(self._work())
            if self.signal is not None:  # it came before there was anything to stop
                self.work.cancel()
            await asyncio.wait([self.work])
            if self.work.cancelled() and self.signal is None:
                raise asyncio.CancelledError
        finally:
            if self.work is not None:
                self.work.cancel()
            if self.forced:
                self._kill()
            await self.node.stop(timeout_s=self.stop_timeout_s)
        if self.forced and self.signal is not None:
            return 128 + self.signal
        return 0 if self.work.cancelled() else self.work.result() or 0

    async def _work(self) -> int | None:
        if not isinstance(self.main, type):
            code: int | None = await self.main(self.node, *self.args)
            return code
        # Not `start_server`: between that and `wait` it might have exited unseen.
        reason = await self.node.wait(self.node.spawn(self.main, *self.args))
        if is_abnormal(reason):
            raise TopProcessFailed(reason)
        return 0

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """A signal: in the main thread, between two instructions of whatever runs there."""
        if self.signal is None:
            self.signal = number
            if self.loop is not None:
                self.loop.call_soon_threadsafe(self._stop)
        elif self.loop is None or not self.noticed or self.forced:
            self.forced = True
            raise KeyboardInterrupt
        else:
            self.forced = True
            self.loop.call_soon_threadsafe(self._kill)

    def _stop(self) -> None:
        self.noticed = True
        log.info("stopping", node=self.node.name, signal=self.signal)
        if self.work is not None:
            self.work.cancel()

    def _kill(self) -> None:
        """End every process now."""
        for info in self.node.processes():
            self.node.exit(info.pid, KILL)
