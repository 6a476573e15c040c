"""How a node's process and a simulated engine talk: requests with their answers, and deliveries.

Here is what goes wrong between them. What is done at the engine is elsewhere.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

from palaver.storage.replicated.ports import JournalError, RegisterChanged

from .engine_faults import EngineFaults, EngineHabits
from .faults import CallLater

__all__ = ["Connection", "Errand", "Group", "Quorums", "Standing"]

T = TypeVar("T")

WAYS: Final = 6
"""Ways of a request: done and answered; lost; done, but the answer is lost; done long after its
sender has given up; refused at once; refused at once, and done a little later."""
_LOST, _UNANSWERED, _LATE, _REFUSED, _REFUSED_AND_DONE = range(1, WAYS)
_SLOWNESS: Final = 9
"""Ways in which a message is slow: 2, 4, ... 256 times."""
_ELECTIONS: Final = 4
"""An election takes a quarter, a half, or all of the longest one's time."""
_INSTANT_S: Final = 1e-6
"""Less time than this does not pass: a sum of floats may not reach what it is meant to."""
BEATS: Final = 3
"""So many heartbeats that do not come, and a follower gives up."""


class Group:
    """The machines that agree on one journal, or on the registers.

    Attributes:
        name: where choices are made.
        silent_until_s: nobody leads before this time.
    """

    __slots__ = ("_engine", "name", "silent_until_s")

    def __init__(self, engine: Quorums, name: str) -> None:
        self._engine = engine
        self.name = name
        self.silent_until_s = 0.0

    @property
    def silent_s(self) -> float:
        """For how long nobody will lead, seconds; 0.0 if somebody does."""
        left_s = self.silent_until_s - self._engine.faults.now_s()
        return left_s if left_s > _INSTANT_S else 0.0

    def silence(self, seconds: float) -> None:
        """Have no leader for a while."""
        self.silent_until_s = max(self.silent_until_s, self._engine.faults.now_s() + seconds)

    def maybe_elect(self) -> None:
        """Choose whether an election begins."""
        engine = self._engine
        way = engine.choose(f"election/{self.name}", _ELECTIONS, engine.habits.election)
        if way:
            self.silence(engine.habits.election_s / (1 << (_ELECTIONS - 1 - way)))


class Quorums:
    """What all groups of machines of an engine have in common.

    Attributes:
        faults: decides what happens, and keeps the time.
        habits: how fast it is and how often it fails.
        groups: everybody who leads something.
    """

    def __init__(self, faults: EngineFaults, habits: EngineHabits) -> None:
        self.faults = faults
        self.habits = habits
        self.groups: list[Group] = []

    def group(self, name: str) -> Group:
        """Return a new group of machines."""
        group = Group(self, name)
        self.groups.append(group)
        return group

    def choose(self, name: str, options: int, rate: float) -> int:
        """Choose one of some ways; 0 is the quiet one."""
        return self.faults.choose(f"engine-{name}", options, rate) if rate else 0

    def latency_s(self, name: str) -> float:
        """Choose how long a message of this name is under way."""
        habits = self.habits
        return habits.latency_s * (1 << self.choose(f"slow/{name}", _SLOWNESS, habits.slow))


class Standing(ABC):
    """What goes on until it is closed, or fails: a follower, a watch."""

    __slots__ = ("_connection", "_due", "_group", "_missed", "_stopped", "over")

    def __init__(self, connection: Connection, group: Group) -> None:
        self._connection = connection
        self._group = group
        self._due = False
        self._stopped = False
        self._missed = 0
        self.over = False
        connection.standing[self] = None

    @property
    def is_reached(self) -> bool:
        """Whether the engine's messages arrive now."""
        connection = self._connection
        passes = connection.engine.faults.passes(connection.node, back=True)
        return passes and not self._group.silent_s

    def close(self) -> None:
        """Deliver nothing more; harmless when repeated."""
        if not self.over:
            self.over = True
            self._connection.standing.pop(self, None)
            self._ended()

    def beat(self) -> None:
        """Take note of a heartbeat, if it comes."""
        if self._stopped or not self.is_reached:
            self._missed += 1
            if self._missed == BEATS:
                self._silent()
        else:
            back, self._missed = self._missed >= BEATS, 0
            self._heard(back)

    def _later(self, delay_s: float) -> None:
        """Deliver after a while, once."""
        if not (self._due or self.over):
            self._due = True
            self._connection.engine.faults.call_later(delay_s, self._go)

    def _go(self) -> None:
        self._due = False
        if not (self.over or self._stopped) and self.is_reached:
            self._push()

    @abstractmethod
    def _push(self) -> None:
        """Deliver what there is, or ask for another turn by `_later`."""

    @abstractmethod
    def _ended(self) -> None:
        """It was closed."""

    @abstractmethod
    def _silent(self) -> None:
        """Nothing was heard for as long as a heartbeat allows."""

    @abstractmethod
    def _heard(self, back: bool) -> None:
        """A heartbeat has come; `back`: after a silence."""


class Connection:
    """The way of one node's process to the engine; ends with the process.

    Attributes:
        engine: at the other end.
        node: its name.
        standing: followers and watches that are open.
    """

    def __init__(self, engine: Quorums, node: str, call_later: CallLater) -> None:
        self.engine = engine
        self.node = node
        self.standing: dict[Standing, None] = {}
        self._call_later = call_later
        self._inbox: deque[Callable[[], None]] = deque()
        self._draining = False
        self._closed = False
        self._lost = False
        self._asked: dict[Errand[Any], None] = {}
        self._beat()

    def close(self) -> None:
        """Close it in order: what is under way fails, the outcome unknown; harmless again."""
        if not self._closed:
            self._closed = True
            for errand in list(self._asked):
                errand.give_up("the connection was closed")
            for standing in list(self.standing):
                standing.close()

    def lost(self) -> None:
        """End it with its process: nobody hears of anything any more."""
        self._closed = self._lost = True
        self._asked.clear()
        self._inbox.clear()
        for standing in list(self.standing):
            standing.close()

    def deliver(self, fn: Callable[[], None]) -> None:
        """Call `fn` on the node, after all that was to be called before."""
        if self._lost:
            return
        self._inbox.append(fn)
        if not self._draining:
            self._draining = True
            self._call_later(0.0, self._drain)

    def _drain(self) -> None:
        inbox = self._inbox
        try:
            while inbox:
                inbox.popleft()()
        finally:
            self._draining = False
            if inbox and not self._lost:  # one of them has raised
                self._draining = True
                self._call_later(0.0, self._drain)

    def _beat(self) -> None:
        if not self._closed:
            for standing in list(self.standing):
                standing.beat()
            self.engine.faults.call_later(self.engine.habits.heartbeat_s / BEATS, self._beat)

    # -- requests ------------------------------------------------------------------------------

    def ask(self, errand: Errand[T]) -> None:
        """Send a request off."""
        if self._closed:
            errand.refuse("the connection is closed")
            return
        self._asked[errand] = None
        errand.send()

    def settled(self, errand: Errand[T]) -> None:
        """Take note that a request has its answer."""
        self._asked.pop(errand, None)

    async def answer(self, errand: Errand[T]) -> T:
        """Send a request off and wait for its answer."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def settle(answer: T | Exception) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        errand.tell = settle
        self.ask(errand)
        return await future


class Errand(Generic[T]):
    """One request on its way to the engine and back.

    Args:
        connection: from where.
        group: to whom.
        kind: of request, where choices are made.
        perform: does it, at the engine.
        unavailable: makes the error of an unknown outcome, of a text.
        tell: told of the answer, on the node, once.
    """

    __slots__ = (
        "_connection", "_deadline_s", "_group", "_kind", "_perform", "_settled", "_unavailable",
        "_way", "tell",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        group: Group,
        kind: str,
        perform: Callable[[], T],
        unavailable: Callable[[str], Exception],
        tell: Callable[[T | Exception], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._group = group
        self._kind = kind
        self._perform = perform
        self._unavailable = unavailable
        self._settled = False
        self._way = 0
        self._deadline_s = 0.0
        self.tell = tell

    def send(self) -> None:
        """Set out; see `WAYS`."""
        engine, group = self._connection.engine, self._group
        habits = engine.habits
        self._deadline_s = engine.faults.now_s() + habits.timeout_s
        group.maybe_elect()
        way = self._way = engine.choose(
            f"{self._kind}/{group.name}/{self._connection.node}", WAYS, habits.trouble
        )
        if way == _LOST or not self._passes(back=False):
            self._miss()
        elif way == _LATE:
            self._miss()
            engine.faults.call_later(2 * habits.timeout_s, self._arrive)
        elif way == _REFUSED:
            engine.faults.call_later(habits.latency_s, partial(self.give_up, "nobody leads"))
        elif way == _REFUSED_AND_DONE:
            engine.faults.call_later(habits.latency_s, partial(self.give_up, "nobody leads"))
            engine.faults.call_later(habits.timeout_s / 4, self._arrive)
        else:
            engine.faults.call_later(self._latency_s(), self._arrive)

    def give_up(self, why: str) -> None:
        """Answer that the outcome is not known, unless it was answered."""
        self._settle(self._unavailable(f"{why}: it may have been done"))

    def refuse(self, why: str) -> None:
        """Answer that it was not done."""
        self._settle(self._unavailable(why))

    def _passes(self, *, back: bool) -> bool:
        connection = self._connection
        return connection.engine.faults.passes(connection.node, back=back)

    def _latency_s(self) -> float:
        name = f"{self._group.name}/{self._connection.node}"
        return self._connection.engine.latency_s(name)

    def _miss(self) -> None:
        """Nobody will answer: its sender waits for as long as it has patience."""
        faults = self._connection.engine.faults
        wait_s = max(0.0, self._deadline_s - faults.now_s())
        faults.call_later(wait_s, partial(self.give_up, "no answer came in time"))

    def _arrive(self) -> None:
        engine, group = self._connection.engine, self._group
        if not self._passes(back=False):
            self._miss()
            return
        silent_s = group.silent_s
        if not silent_s:
            self._do()
            return
        self._miss()
        if not engine.choose(f"dropped/{group.name}", 2, engine.habits.dropped):
            engine.faults.call_later(silent_s, self._arrive)

    def _do(self) -> None:
        answer: T | Exception
        try:
            answer = self._perform()
        except (JournalError, RegisterChanged) as error:
            answer = error
        if self._way == _UNANSWERED or not self._passes(back=True):
            self._miss()
        else:
            faults = self._connection.engine.faults
            faults.call_later(self._latency_s(), partial(self._come_back, answer))

    def _come_back(self, answer: T | Exception) -> None:
        if not self._passes(back=True) or self._connection.engine.faults.now_s() > self._deadline_s:
            self._miss()
        else:
            self._settle(answer)

    def _settle(self, answer: T | Exception) -> None:
        if not self._settled:
            self._settled = True
            self._connection.settled(self)
            self._connection.deliver(partial(self.tell, answer))
