"""An asyncio event loop whose time is virtual and whose network is simulated.

Real code runs in it unchanged. Time passes only when nobody has anything to do; then it jumps to
the next timer. Callbacks of one place run in the order in which they were asked for, as asyncio
promises; which place runs next is a choice, and so is whether a place is late for a timer.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from palaver.actors.simulation.world.futures import SimulatedFuture, SimulatedTask
from palaver.actors.simulation.world.place import HERE, Handle, Place, hush
from palaver.actors.simulation.world.statements import SimulationError

if TYPE_CHECKING:
    from palaver.actors.simulation.world.network import Network
    from palaver.actors.simulation.world.tape import Tape
    from palaver.actors.simulation.world.trace import Trace

__all__ = ["ORIGIN_S", "SimulatedLoop"]

T = TypeVar("T")

if TYPE_CHECKING:
    # Typeshed has it abstract in methods that a simulated network has no use for.
    _Base: Any = object
else:
    _Base = asyncio.AbstractEventLoop

ORIGIN_S: Final = 1000.0
"""When a world begins, by the loop's time."""

#: How late a place may be for a timer: the quiet choice is not at all.
_LATE_S: Final = (0.0, 0.0001, 0.001, 0.005, 0.02, 0.1, 0.5)


class SimulatedLoop(_Base):  # type: ignore[misc]
    """The event loop of a world; `step` runs one callback.

    Args:
        tape: where choices come from.
        trace: what is told of each step.
        report: called with the place and asyncio's exception context, where nobody handles an
            exception.
    """

    def __init__(
        self, tape: Tape, trace: Trace, report: Callable[[Place, dict[str, Any]], None]
    ) -> None:
        self._now_s = ORIGIN_S
        self._tape = tape
        self._trace = trace
        self._report = report
        self._serial = 0
        self._futures = 0
        self._timers: list[tuple[float, int, Handle]] = []
        self._waiting: list[Place] = []
        self._turn = tape.stream("turn", rate=0.2)
        self._work = tape.stream("executor/scenario", rate=0.1)
        self._closed = False
        self._running = False
        self.outside = self.place("scenario", exact=True)
        self.steps = 0
        self.network: Network

    # -- places --------------------------------------------------------------------------------

    def place(self, name: str, *, exact: bool = False) -> Place:
        """Make a new place; with `exact`, its timers are never late."""
        late = None if exact else self._tape.stream(f"late/{name}", rate=0.02)
        return Place(name, self._report, late)

    def forget(self, place: Place) -> None:
        """A place has ended: it is not waited for any more."""
        if place.waiting:
            self._waiting.remove(place)
            place.waiting = False

    # -- time ----------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual time in seconds; begins at `ORIGIN_S`."""
        return self._now_s

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        """Run a callback in the place of the caller, or of its context."""
        if context is None:
            context = copy_context()
        place = context.get(HERE)
        if place is None:
            place = self.outside
        handle = Handle(callback, args, context, place)
        if place.alive:
            self._ready(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any,
        context: Context | None = None,
    ) -> Any:  # fmt: skip
        """Run a callback after `delay` seconds of virtual time."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any,
        context: Context | None = None,
    ) -> Any:  # fmt: skip
        """Run a callback when virtual time has reached `when`, or a little later."""
        if context is None:
            context = copy_context()
        place = context.get(HERE)
        if place is None:
            place = self.outside
        handle = Handle(callback, args, context, place, when)
        if place.alive:
            self._push(handle, when)
        return handle

    def deliver_at(self, when: float, place: Place, callback: Callable[[], object]) -> Handle:
        """Run a callback in a place exactly at a time: what comes from outside of it."""
        handle = Handle(callback, (), place.context, place, when)
        if place.alive:
            self._push(handle, when)
        return handle

    def _push(self, handle: Handle, when: float) -> None:
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, handle))

    def _ready(self, handle: Handle) -> None:
        place = handle.place
        place.ready.append(handle)
        if not place.waiting and not place.waking:
            place.waiting = True
            self._waiting.append(place)

    # -- steps ---------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether time has to pass before anything can happen."""
        return not self._waiting

    def next_s(self) -> float | None:
        """When the next timer is due; None if there is none."""
        timers = self._timers
        while timers and (timers[0][2].cancelled() or not timers[0][2].place.alive):
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def pass_time(self, limit_s: float) -> bool:
        """Go to the next timer, at most to `limit_s`; False if there is none up to then."""
        when = self.next_s()
        if when is None or when > limit_s:
            self._now_s = max(self._now_s, limit_s)
            return False
        self._now_s = max(self._now_s, when)
        timers = self._timers
        asked: list[Place] = []  # once a moment: else the more there is to do, the later it is
        while timers and timers[0][0] <= self._now_s:
            when, _, handle = heapq.heappop(timers)
            place = handle.place
            if handle.cancelled() or not place.alive:
                continue
            if place.late is not None and place not in asked:
                asked.append(place)
                late = place.late.choose(len(_LATE_S))
                if late:
                    # As on a busy machine, the whole place is late: its order stays.
                    place.pause(self._now_s + _LATE_S[late])
            self._ready(handle)
        # Of what happened, when is a part: two runs are the same only if their times are.
        self._trace.feed(int(self._now_s * 1e9))
        return True

    def step(self) -> None:
        """Run one callback; there must be one (`is_idle`)."""
        waiting = self._waiting
        index = 0 if len(waiting) == 1 else self._turn.choose(len(waiting))
        place = waiting[index]
        if place.paused_until_s > self._now_s:
            self._set_aside(place)
            return
        handle = place.ready.popleft()
        del waiting[index]
        if place.ready:  # to the back: nobody is kept waiting by a busy one
            waiting.append(place)
        else:
            place.waiting = False
        self.steps += 1
        handle.run()

    def _set_aside(self, place: Place) -> None:
        """A paused place waits, with all that is to run there, in its order."""
        self.forget(place)
        if not place.waking:
            place.waking = True
            self.deliver_at(place.paused_until_s, self.outside, partial(self._wake, place))

    def _wake(self, place: Place) -> None:
        place.waking = False
        if place.paused_until_s > self._now_s:
            self._set_aside(place)
        elif place.ready and place.alive and not place.waiting:
            place.waiting = True
            self._waiting.append(place)

    def resume(self, place: Place) -> None:
        """End a pause now."""
        place.paused_until_s = 0.0
        self._wake(place)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the running loop of this thread for a while.

        Raises:
            RuntimeError: a loop runs in this thread already.
        """
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - public for those who write loops
            raise RuntimeError(
                "a world is driven by ordinary code, not from within a running event loop"
            )
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._finalize)
        asyncio._set_running_loop(self)  # noqa: SLF001
        self._running = True
        try:
            yield
        finally:
            self._running = False
            asyncio._set_running_loop(None)  # noqa: SLF001
            sys.set_asyncgen_hooks(*hooks)

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.call_soon(self._close_generator, generator)

    def _close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        self.create_task(generator.aclose())

    # -- what asyncio asks of a loop -----------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        self._futures += 1
        return SimulatedFuture(self, self._futures)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        """A task, in the place of the caller or of its context."""
        self._futures += 1
        task = SimulatedTask(coro, self, self._futures, name, context)
        place = HERE.get(self.outside) if context is None else context.get(HERE, self.outside)
        if not place.alive:
            hush(task)
        place.tasks.add(task)
        return task

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call a function a little later, in this thread: there are no others."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(_LATE_S[self._work.choose(len(_LATE_S))], work)
        return future

    def set_default_executor(self, executor: Any) -> None:
        """There are no threads: it is not used."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing is left to do."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing is left to do."""

    def get_debug(self) -> bool:
        """Never."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Debugging would look at real time: it stays off."""

    def is_running(self) -> bool:
        """Whether a world drives it at the moment."""
        return self._running

    def is_closed(self) -> bool:
        """Whether the world has ended."""
        return self._closed

    def close(self) -> None:
        """Drop everything that was to happen."""
        self._closed = True
        self._timers.clear()
        self._waiting.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell the world."""
        HERE.get(self.outside).report(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell the world."""
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        """There is none but the world's."""

    def get_task_factory(self) -> None:
        """There is none."""

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str | None = None,
        port: int | None = None, **options: Any,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Connect over the simulated network; a host's address is its name.

        Raises:
            OSError: as from a real network.
            ValueError: an option that the simulated network has not, such as TLS.
        """
        refuse(options, "ssl", "sock", "local_addr")
        if host is None or port is None:
            raise ValueError("the simulated network connects to the name of a host and a port")
        return await self.network.connect(protocol_factory, host, port)

    async def create_server(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: int | None = None,
        **options: Any,
    ) -> Any:  # fmt: skip
        """Listen in the simulated network, on this host whatever address is named.

        Raises:
            OSError: the port is in use.
            ValueError: an option that the simulated network has not, such as TLS.
        """
        refuse(options, "ssl", "sock")
        return self.network.listen(protocol_factory, port or 0)


def refuse(options: dict[str, Any], *names: str) -> None:
    """Raise ValueError if one of these options is used."""
    for name in names:
        if options.get(name):
            raise ValueError(f"the simulated network has no {name!r}")


def _missing(name: str) -> Callable[..., Any]:
    def refuse_it(self: SimulatedLoop, *_: Any, **__: Any) -> Any:
        raise SimulationError(
            f"the simulated loop has no {name}: what talks to the operating system goes behind a "
            "port, and the world gives it a simulated one"
        )

    return refuse_it


for _name in (
    "add_reader", "remove_reader", "add_writer", "remove_writer", "add_signal_handler",
    "remove_signal_handler", "connect_accepted_socket", "connect_read_pipe",
    "connect_write_pipe", "create_datagram_endpoint", "create_unix_connection",
    "create_unix_server", "getaddrinfo", "getnameinfo", "run_forever", "run_until_complete",
    "sendfile", "sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom",
    "sock_recvfrom_into", "sock_sendall", "sock_sendfile", "sock_sendto", "start_tls", "stop",
    "subprocess_exec", "subprocess_shell",
):  # fmt: skip
    setattr(SimulatedLoop, _name, _missing(_name))
