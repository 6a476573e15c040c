"""The shell around the core: its state, its turns, its timer."""

from __future__ import annotations

import asyncio
import random
import ssl as ssl_module
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from palaver.transport import wire
from palaver.transport.client import effects as fx
from palaver.transport.client.board import Board
from palaver.transport.client.core import Core, Limits, Timeouts
from palaver.transport.client.errors import ClientClosed, StateError
from palaver.transport.client.identity import Identity
from palaver.transport.client.link import Link, Proxy
from palaver.transport.client.model import Event
from palaver.transport.client.ports import Backoff, Clock, TimerHandle
from palaver.transport.client.state import ClientState, Snapshot, StateChange
from palaver.transport.client.streams import Outgoing

__all__ = ["Engine", "Settings"]

T = TypeVar("T")
Barriers = list[asyncio.Future[None]]


class Settings(NamedTuple):
    """How a client runs."""

    urls: tuple[str, ...]
    clock: Clock
    chance: random.Random
    limits: Limits
    timeouts: Timeouts
    backoff: Backoff
    ssl: ssl_module.SSLContext | None
    proxy: Proxy
    agent: str
    near_first: bool = False


class Engine:
    """Runs one core: keeps its state, performs its effects, holds its connection."""

    def __init__(self, identity: Identity, state: ClientState, settings: Settings) -> None:
        self.settings = settings
        self.board = Board()
        self.closed = False
        self._identity = identity
        self._state = state
        self._core: Core | None = None
        self._link: Link | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._barriers: Barriers = []
        self._turn_due = False
        self._committing: asyncio.Task[None] | None = None
        self._state_failure: StateError | None = None
        self._timer: TimerHandle | None = None
        self._timer_at_s = 0.0

    # -- life ----------------------------------------------------------------------------------

    @property
    def core(self) -> Core:
        """The running core; raises what ended it."""
        if self._core is None or self.closed:
            raise ClientClosed("the client is not running")
        if self._core.failed is not None:
            raise self._core.failed
        return self._core

    @property
    def goes_on(self) -> bool:
        """Whether it was started, and nothing has ended it."""
        return self._core is not None and not self.closed and self._core.failed is None

    @property
    def link(self) -> Link:
        """The link of a started engine."""
        if self._link is None:
            raise ClientClosed("the client is not running")
        return self._link

    async def start(self) -> None:
        """Open the state and begin to connect."""
        if self._core is not None or self.closed:
            raise ClientClosed("a client is started once")
        identity, settings = self._identity, self.settings
        if self._state.blocking:
            self._executor = ThreadPoolExecutor(1, "palaver-client-state")
        snapshot = await self._open_state()
        self._core = Core(
            identity.account,
            identity.device,
            identity.sign,
            snapshot,
            # A device whose state was lost must not use its ids again: time only goes up.
            first_cid=settings.clock.time_ms() << 10,
            chance=settings.chance,
            limits=settings.limits,
            timeouts=settings.timeouts,
            backoff=settings.backoff,
            agent=settings.agent,
            urls=settings.urls,
            near_first=settings.near_first,
        )
        for cid in self._core.outbox.cids:
            self.board.handles[cid] = Outgoing(cid)
        self._link = Link(
            self._core,
            self.board,
            settings.clock,
            self.touch,
            ssl=settings.ssl,
            proxy=settings.proxy,
        )
        self._link.start()

    async def close(self) -> None:
        """Keep and acknowledge what was handled, then let go of everything."""
        if self.closed:
            return
        core, link = self._core, self._link
        try:
            if core is not None and link is not None and core.failed is None:
                await self.settled()
                await link.last_words()
        finally:
            self.closed = True
            try:
                if link is not None:
                    await link.close()
                if self._committing is not None:
                    await self._committing
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                self.board.end(None if core is None else core.failed)
                self._release(self._barriers, ClientClosed("the client was closed"))
                await self._let_go()

    async def _open_state(self) -> Snapshot:
        identity = self._identity
        if self._executor is None:
            return self._state.open(identity.account, identity.device)
        opening = asyncio.get_running_loop().run_in_executor(
            self._executor, self._state.open, identity.account, identity.device
        )
        try:
            return await asyncio.shield(opening)
        except (Exception, asyncio.CancelledError):
            try:
                await _finished(opening)
            finally:
                if opening.exception() is None:  # It is open, and nobody waits for it any more.
                    await self._let_go()
                self._end_worker()
            raise

    async def _let_go(self) -> None:
        """Close the state, also where the caller is cancelled meanwhile: nobody else could."""
        if self._executor is None:
            self._state.close()
            return
        loop = asyncio.get_running_loop()
        closing = loop.run_in_executor(self._executor, self._state.close)
        self._end_worker()
        await _finished(closing)
        closing.result()

    def _end_worker(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    async def _in_worker(self, fn: Callable[[], T]) -> T:
        if self._executor is None:
            return fn()
        return await asyncio.get_running_loop().run_in_executor(self._executor, fn)

    # -- turns ---------------------------------------------------------------------------------

    def touch(self) -> None:
        """The core was changed: run a turn soon, together with what else happens now."""
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turns)

    async def settled(self) -> None:
        """Return when everything that happened up to now is kept; raises StateError."""
        barrier: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._barriers.append(barrier)
        self.touch()
        await barrier

    def _turns(self) -> None:
        self._turn_due = False
        core = self._core
        if core is None or self.closed or self._committing is not None:
            return  # A commit's end comes back here; after the end the next start catches up.
        while True:
            if self._state_failure is not None:
                core.fail(self._state_failure)
            turn = core.begin()
            barriers, self._barriers = self._barriers, []
            if turn is None and not barriers:
                break
            turn = turn or fx.Turn(None)
            if turn.change is None or self._state_failure is not None:
                self._perform(core, turn, barriers)
            elif self._executor is None:
                self._kept(self._commit_now(turn.change), core, turn, barriers)
            else:
                commit = self._commit(turn.change, core, turn, barriers)
                self._committing = asyncio.create_task(commit)
                return
        self.link.wake_writer()
        self._arm(core)

    def _commit_now(self, change: StateChange) -> bool:
        try:
            self._state.commit(change)
        except StateError as error:
            self._state_failure = error
        except Exception as error:  # noqa: BLE001 - a foreign engine's failure ends the client
            self._state_failure = StateError(f"the state failed: {error!r}")
            self._state_failure.__cause__ = error
        return self._state_failure is None

    async def _commit(
        self, change: StateChange, core: Core, turn: fx.Turn, barriers: Barriers
    ) -> None:
        kept = await self._in_worker(lambda: self._commit_now(change))
        self._kept(kept, core, turn, barriers)
        self._committing = None
        self._turns()

    def _kept(self, kept: bool, core: Core, turn: fx.Turn, barriers: Barriers) -> None:
        if kept:
            self._perform(core, turn, barriers)
        else:
            # What is not kept must not count: nothing of this turn happens, and the client ends.
            self._barriers += barriers

    def _perform(self, core: Core, turn: fx.Turn, barriers: Barriers) -> None:
        if self._state_failure is None:
            core.finish(turn)
        for effect in turn.effects:
            if isinstance(effect, fx.Drop):
                self.link.drop(effect.code, effect.reason)
            elif isinstance(effect, fx.Fatal):
                self.link.drop(wire.CloseCode.NORMAL, "")
                self.board.end(effect.error)
            else:
                self.board.perform(effect)
        self._release(barriers, self._state_failure)

    @staticmethod
    def _release(barriers: Barriers, error: Exception | None) -> None:
        for barrier in barriers:
            if barrier.done():
                continue
            if error is None:
                barrier.set_result(None)
            else:
                barrier.set_exception(error)

    # -- time ----------------------------------------------------------------------------------

    def _arm(self, core: Core) -> None:
        now_s = self.settings.clock.monotonic()
        due_s = core.next_deadline_s(now_s)
        if self._timer is not None:
            if due_s == self._timer_at_s:
                return
            self._timer.cancel()
            self._timer = None
        if due_s is not None:
            self._timer_at_s = due_s
            self._timer = self.settings.clock.call_later(max(0.0, due_s - now_s), self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._core is not None and not self.closed:
            self._core.tick(self.settings.clock.monotonic())
            self.touch()

    # -- what the client's methods stand on ----------------------------------------------------

    def outgoing(self, cid: int) -> Outgoing:
        """Follow a message that was just put on the outbox."""
        handle = self.board.handles[cid] = Outgoing(cid)
        self.touch()
        return handle

    def take(self) -> Event | None:
        """The next event, or None where none has arrived."""
        core = self.core
        event = core.take()
        if event is None:
            self.board.arrival.clear()
        self.link.taken()
        self.touch()
        return event

    def handled(self, position: int) -> None:
        """The application is past this event."""
        if self._core is not None and not self.closed:
            self._core.handled(position)
            self.touch()

    async def past(self, position: int) -> None:
        """As ``handled``; where the state waits for a disk, return when it is on it."""
        self.handled(position)
        if self._executor is not None and not self.closed:
            await self.settled()

    async def ask(self, op: wire.Request) -> wire.Result:
        """Ask the server something and return its answer; raises its typed error."""
        core = self.core
        now_s = self.settings.clock.monotonic()
        token = core.request(op, now_s, self.settings.timeouts.request_s)
        answer: asyncio.Future[wire.Result] = asyncio.get_running_loop().create_future()
        self.board.answers[token] = answer
        self.touch()
        try:
            return await answer
        finally:
            if self.board.answers.pop(token, None) is not None:
                core.give_up(token)


async def _finished(work: asyncio.Future[Any]) -> None:
    """Wait for some work of a disk to its end; who is cancelled meanwhile hears of it then."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
