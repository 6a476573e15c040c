"""The world: hosts, their network, time, and what is said of them; all in one thread."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from palaver.actors.simulation.guarding import guarded
from palaver.actors.simulation.world.clocks import WALL_ORIGIN_MS
from palaver.actors.simulation.world.collector import calm_collector
from palaver.actors.simulation.world.coverage import Coverage
from palaver.actors.simulation.world.hosts import Boot, Host
from palaver.actors.simulation.world.loop import ORIGIN_S, SimulatedLoop
from palaver.actors.simulation.world.nemesis import Faults, Nemesis
from palaver.actors.simulation.world.network import Network
from palaver.actors.simulation.world.place import hush
from palaver.actors.simulation.world.sources import Quiet
from palaver.actors.simulation.world.statements import (
    NotReached,
    SimulationError,
    Statements,
    Stuck,
    TooLong,
    Violation,
)
from palaver.actors.simulation.world.tape import Tape
from palaver.actors.simulation.world.trace import Trace

if TYPE_CHECKING:
    from palaver.actors.runtime import Node
    from palaver.actors.simulation.world.place import Place

__all__ = ["DEFAULT_MAX_STEPS", "DEFAULT_MAX_VIRTUAL_S", "World"]

T = TypeVar("T")

DEFAULT_MAX_VIRTUAL_S: Final = 30 * 86_400.0
DEFAULT_MAX_STEPS: Final = 5_000_000

#: After so many steps cyclic garbage is freed.
_COLLECT_STEPS: Final = 50_000

#: A coroutine that is still running after so many endings is given up.
_MAX_CLOSES: Final = 100


class World:
    """A deterministic world, driven by ordinary code.

        with World(Tape(Seeded(7))) as world:
            host = world.host("a", boot)
            world.run(host.start())
            world.advance(60.0)

    One at a time in a thread. Nothing of it is left when the block ends. While it is open, what
    asks the machine for time, chance, threads or the network is refused (`guarding.guarded`).

    Args:
        tape: where every choice comes from; the quiet run if None.
        max_virtual_s: a run that lasts longer raises `TooLong`; so does one of more than
        max_steps: callbacks.
        allow: packages that get virtual time and values of the tape when they ask the machine.
        calms_collector: see to it that garbage is freed at counted steps; False if the caller does.
        strict: see hidden calls too, such as `datetime.now()`; three times as slow.
        no_files: refuse real files too.

    Attributes:
        hosts: by name.
        network: links and connections, to be cut.
        trace: what happened, and its hash.
        coverage: what was reached.
    """

    def __init__(
        self,
        tape: Tape | None = None,
        *,
        max_virtual_s: float = DEFAULT_MAX_VIRTUAL_S,
        max_steps: int = DEFAULT_MAX_STEPS,
        allow: Iterable[str] = (),
        strict: bool = False,
        calms_collector: bool = True,
        no_files: bool = False,
    ) -> None:
        self.tape = tape = tape or Tape(Quiet())
        self.trace = Trace(lambda: self.now_s)
        self.loop = SimulatedLoop(tape, self.trace, self._unhandled)
        self.network = self.loop.network = Network(self.loop, tape, self.trace)
        self.network.came(self.loop.outside)
        self.coverage = Coverage()
        self.hosts: dict[str, Host] = {}
        self.statements = Statements(self)
        self.nemeses: list[Nemesis] = []
        self._max_s = ORIGIN_S + max_virtual_s
        self._max_steps = max_steps
        self._graves: list[Any] = []
        self._open = False
        self._calms_collector = calms_collector
        self._allow = tuple(allow)
        self._strict = strict
        self._no_files = no_files
        self._guard = ExitStack()
        tape.on_deviation = self._deviated

    # -- life ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with self.loop.running():  # or is told that there is one already
            self._open = True
        if self._calms_collector:
            self._guard.enter_context(calm_collector())
        self._guard.enter_context(
            guarded(
                self.tape,
                now_s=lambda: self.now_s,
                wall_s=lambda: WALL_ORIGIN_MS / 1000 + self.now_s,
                tell=self.statements.found,
                allow=self._allow,
                strict=self._strict,
                no_files=self._no_files,
            )
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything, without a word; harmless when repeated."""
        if not self._open:
            return
        self._open = False
        try:
            for host in self.hosts.values():
                if host.alive:
                    self.bury(host.place.end(), host.nodes)
            self.bury(self.loop.outside.end(), [])
            self.network.close()
            self.loop.close()
            with self.loop.running(), _unheard():
                for one in self._graves:
                    _lay_to_rest(one)
                self._graves.clear()
        finally:
            # Who keeps the tape or the trace does not keep the world.
            self.tape.end()
            self.trace.stop_clock(self.now_s)
            self._guard.close()

    def bury(self, tasks: list[asyncio.Task[Any]], nodes: list[Node]) -> None:
        """Keep what has ended in the middle of its work until the world ends.

        Freed, it would run its `finally` blocks, at a moment that the garbage collector chooses.
        """
        self._graves += tasks
        self._graves += nodes

    # -- time ----------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        """Virtual seconds since the world began."""
        return self.loop.time() - ORIGIN_S

    def run(self, awaitable: Awaitable[T]) -> T:
        """Run until a coroutine is done, as a task of the scenario; its value, or what it raised.

        Raises:
            Violation: a statement does not hold, or nothing happens any more (`Stuck`).
        """
        with self.loop.running():
            task = self.loop.create_task(_coroutine(awaitable), context=self._outside_context())
            try:
                self._drive(task.done, self._max_s)
            except BaseException:
                hush(task)
                self._graves.append(task)
                raise
            if not task.done():
                raise Stuck("nothing will ever happen any more, and the scenario waits")
        return task.result()  # type: ignore[no-any-return]

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, with everything that happens in it."""
        until_s = self.loop.time() + seconds
        with self.loop.running():
            self._drive(lambda: False, until_s)

    def settle(self) -> None:
        """Run until nothing can happen without time passing."""
        self.advance(0.0)

    def _drive(self, done: Callable[[], bool], until_s: float) -> None:
        loop, statements = self.loop, self.statements
        step, after_step = loop.step, statements.after_step
        while not done():
            if not loop.is_idle:
                step()
                after_step()
                if loop.steps % _COLLECT_STEPS == 0:
                    gc.collect()
                    if loop.steps > self._max_steps:
                        raise TooLong(f"more than {self._max_steps} steps")
                continue
            if statements.before_time_passes() and not loop.is_idle:
                continue
            if not loop.pass_time(until_s):
                if until_s >= self._max_s and loop.next_s() is not None:
                    raise TooLong(f"more than {self._max_s - ORIGIN_S:g} virtual seconds")
                return

    def _outside_context(self) -> Any:
        return self.loop.outside.context.copy()

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass, in a scenario."""
        await asyncio.sleep(seconds)

    # -- hosts ---------------------------------------------------------------------------------

    def host(self, name: str, boot: Boot | None = None) -> Host:
        """Make a host, which is down until it is started.

        `boot` runs whenever it starts. Raises `SimulationError` if the name is taken.
        """
        if name in self.hosts or name == self.loop.outside.name:
            raise SimulationError(f"there is a host {name!r} already")
        host = self.hosts[name] = Host(self, name, boot)
        self.network.machines.setdefault(name, None)
        return host

    async def start_all(self) -> None:
        """Start every host that is down, in the order in which they were made."""
        for host in list(self.hosts.values()):
            host.boot()
        for host in list(self.hosts.values()):
            await host.start()

    def nemesis(self, faults: Faults, among: Sequence[Host] | None = None) -> Nemesis:
        """Let faults happen to these hosts from now on (to all, if None), until `calm`."""
        return Nemesis(self, faults, among)

    # -- statements ----------------------------------------------------------------------------

    def always(self, holds: Callable[[], object], what: str) -> None:
        """State that `holds()` is never false; it may raise AssertionError to say more.

        It is checked after every step (callback), so it should be cheap; see `invariant`.
        """
        self.statements.always(holds, what)

    def invariant(self, holds: Callable[[], object], what: str, *, every_s: float = 0.0) -> None:
        """State the same of moments at which time passes, at most every `every_s` seconds."""
        self.statements.invariant(holds, what, every_s)

    async def eventually(
        self, condition: Callable[[], object], what: str, *, within_s: float = 60.0
    ) -> None:
        """State that a condition comes to hold within some virtual time; wait for it.

        The condition is looked at whenever time passes. Raises `NotReached`.
        """
        if not await self.statements.wait_until(condition, within_s):
            raise NotReached(f"eventually: {what}", f"not within {within_s:g} s")

    async def until(
        self, condition: Callable[[], object], *, within_s: float | None = None, what: str = ""
    ) -> bool:
        """Wait for a condition, without a statement; False if it did not hold in time."""
        return await self.statements.wait_until(condition, within_s)

    def sometimes(self, name: str, reached: object = True) -> None:
        """State that this is reached in some run of a long search; counts if it is now."""
        self.coverage.declare([name])
        if reached:
            self.coverage.reach(name)

    def reach(self, name: str) -> None:
        """Count that something worth knowing was reached."""
        self.coverage.reach(name)

    def fail(self, what: str, text: str = "") -> None:
        """Raise `Violation`: `what` is the statement, `text` the circumstances."""
        raise Violation(what, text)

    async def calm(self) -> None:
        """Let no more faults happen, heal those there are, and start every host that is down."""
        for nemesis in self.nemeses:
            nemesis.stop()
        await self.start_all()

    # -- what the loop tells -------------------------------------------------------------------

    def _unhandled(self, place: Place, context: dict[str, Any]) -> None:
        if place.alive and self._open:
            self.trace.tell("unhandled", place.name, str(context.get("exception")))
            self.statements.unhandled(place.name, context)

    def _deviated(self, name: str, number: int, options: int, value: int) -> None:
        # No part of the hash: two schedules of which the same came are the same run.
        self.trace.tell("deviation", name, f"#{number}: {value} of {options}")


async def _coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


@contextmanager
def _unheard() -> Iterator[None]:
    """Let coroutines that are freed before their end complain to nobody.

    What was about to be awaited never will be; what awaits in its `finally` does not get to do so.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, RuntimeError):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        sys.unraisablehook = before


def _lay_to_rest(one: Any) -> None:
    """Close the coroutines of what will never run again."""
    coroutines: list[Coroutine[Any, Any, Any] | None]
    if isinstance(one, asyncio.Task):
        coroutines = [one.get_coro()]  # type: ignore[list-item]
    else:
        coroutines = [process.coroutine for process in one.table.values()]
    for coroutine in coroutines:
        if coroutine is not None:
            _close(coroutine)


def _close(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine, also one that awaits something else when it is told to end."""
    for _ in range(_MAX_CLOSES):
        try:
            coroutine.close()
        except RuntimeError:  # it goes on; when it is freed, Python would complain
            continue
        except BaseException:  # noqa: BLE001 - nobody is left to hear of it
            return
        else:
            return
