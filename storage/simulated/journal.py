"""The simulated journal: a partition's log at the engine, and how a node sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from palaver.storage.replicated.ports import (
    Entry,
    JournalError,
    JournalGone,
    JournalRefused,
    JournalTruncated,
    JournalUnavailable,
)

from .connection import Connection, Errand, Group, Quorums, Standing

__all__ = ["JournalLog", "SimulatedFollow", "SimulatedJournal"]

T = TypeVar("T")

MAX_BODY_BYTES: Final = 8 << 20
_MAX_DELIVERED: Final = 64
_KNOWN_IDS: Final = 4096
_PAST: Final = 16
_BACK: Final = (0, 1, 4, _PAST - 1)
"""By how many changes an answer about the bounds is behind."""
_FOLLOWING: Final = 4
"""Ways of a delivery: all there is; the follower stops without a word; it fails; one entry only."""
_STOPS, _FAILS, _ONE = range(1, _FOLLOWING)


class JournalLog:
    """One partition's entries, as the quorum has them.

    Attributes:
        engine: whose.
        group: who keeps it.
        first: the position of the first entry that is still there.
        gone: why there is no such journal any more, "" as long as there is.
        followers: who is told of new entries.
        witnesses: called with each entry as it is stored; for those who judge a run.
        forgetting: called with the last position that is forgotten, before it is; for them too.
    """

    def __init__(self, engine: Quorums, group: Group) -> None:
        self.engine = engine
        self.group = group
        self.first = 1
        self.gone = ""
        self.followers: dict[SimulatedFollow, None] = {}
        self.witnesses: list[Callable[[Entry], None]] = []
        self.forgetting: list[Callable[[int], None]] = []
        self._entries: list[Entry] = []
        self._known: dict[str, tuple[int, float]] = {}
        self._past: deque[tuple[int, int]] = deque([(1, 0)], maxlen=_PAST)

    def delete(self, why: str) -> None:
        """Let it be gone from now on: nothing of it is there, and nothing is taken."""
        self.gone = why
        for follower in self.followers:
            follower.wake()

    def check(self) -> None:
        """Raise `JournalGone` if it is."""
        if self.gone:
            raise JournalGone(self.gone)

    @property
    def last(self) -> int:
        """The position of the last entry; `first` - 1 if there is none."""
        return self.first + len(self._entries) - 1

    def append(self, name: str, body: bytes) -> int:
        """Store an entry, unless its id is known; return where it is.

        Raises:
            JournalGone: it is.
        """
        self.check()
        engine = self.engine
        now_s = engine.faults.now_s()
        known = self._known.get(name)
        if (
            known is not None
            and now_s - known[1] <= engine.habits.window_s
            and not engine.choose(f"forgets/{self.group.name}", 2, engine.habits.forgets)
        ):
            return known[0]
        self._store(name, body)
        position = self.last
        self._known.pop(name, None)
        self._known[name] = (position, now_s)
        if len(self._known) > _KNOWN_IDS:
            del self._known[next(iter(self._known))]
        if engine.choose(f"twice/{self.group.name}", 2, engine.habits.twice):
            engine.faults.call_later(engine.habits.timeout_s, partial(self._store, name, body))
        return position

    def _store(self, name: str, body: bytes) -> None:
        if self.gone:
            return  # one that came late
        position = self.last + 1
        entry = Entry(position, name, body)
        self._entries.append(entry)
        self._past.append((self.first, position))
        for witness in self.witnesses:
            witness(entry)
        for follower in self.followers:
            follower.wake()

    def after(self, position: int, most: int) -> list[Entry]:
        """Return entries behind a position that is not before `first` - 1."""
        at = position + 1 - self.first
        return self._entries[at : at + most]

    def bounds(self, back: int) -> tuple[int, int]:
        """Return first and last position, as they were so many changes ago."""
        return self._past[max(0, len(self._past) - 1 - back)]

    def truncate(self, up_to: int) -> None:
        """Forget entries up to a position, at most all there are."""
        self.check()
        count = min(up_to, self.last) + 1 - self.first
        if count > 0:
            for witness in self.forgetting:
                witness(self.first + count - 1)
            del self._entries[:count]
            self.first += count
            self._past.append((self.first, self.last))


class SimulatedJournal:
    """A node's way to a partition's journal; keeps the contract of `Journal`."""

    def __init__(self, connection: Connection, log: JournalLog) -> None:
        self._connection = connection
        self._log = log

    def publish(self, id: str, body: bytes, done: Callable[[int | JournalError], None]) -> None:  # noqa: A002
        """Append an entry; see `Journal.publish`."""
        if len(body) > MAX_BODY_BYTES:
            text = f"an entry has at most {MAX_BODY_BYTES} bytes, not {len(body)}"
            self._connection.deliver(partial(done, JournalRefused(text)))
            return

        def tell(answer: int | Exception) -> None:
            assert isinstance(answer, int | JournalError), answer
            done(answer)

        self._connection.ask(
            Errand(
                self._connection,
                self._log.group,
                "publish",
                lambda: self._log.append(id, body),
                JournalUnavailable,
                tell,
            )
        )

    def follow(
        self,
        after: int,
        deliver: Callable[[list[Entry]], None],
        failed: Callable[[JournalError], None],
    ) -> SimulatedFollow:
        """Deliver every entry behind a position; see `Journal.follow`."""
        return SimulatedFollow(self._connection, self._log, after, deliver, failed)

    async def bounds(self) -> tuple[int, int]:
        """Return the first and the last position, perhaps of the past; see `Journal.bounds`."""
        engine, name = self._connection.engine, self._connection.node
        log = self._log

        def perform() -> tuple[int, int]:
            log.check()
            way = engine.choose(f"stale/{log.group.name}/{name}", len(_BACK), engine.habits.stale)
            return log.bounds(_BACK[way])

        return await self._connection.answer(self._errand("bounds", perform))

    async def truncate(self, up_to: int) -> None:
        """Forget entries up to a position; see `Journal.truncate`."""
        await self._connection.answer(self._errand("truncate", partial(self._log.truncate, up_to)))

    def _errand(self, kind: str, perform: Callable[[], T]) -> Errand[T]:
        return Errand(self._connection, self._log.group, kind, perform, JournalUnavailable)


class SimulatedFollow(Standing):
    """Entries that are being delivered to a node; keeps the contract of `Follow`."""

    __slots__ = ("_cursor", "_deliver", "_failed", "_log")

    def __init__(
        self,
        connection: Connection,
        log: JournalLog,
        after: int,
        deliver: Callable[[list[Entry]], None],
        failed: Callable[[JournalError], None],
    ) -> None:
        super().__init__(connection, log.group)
        self._log = log
        self._cursor = after
        self._deliver = deliver
        self._failed = failed
        log.followers[self] = None
        self._later(2 * connection.engine.latency_s(self._name))

    @property
    def _name(self) -> str:
        return f"{self._group.name}/{self._connection.node}"

    def wake(self) -> None:
        """Hear that there is something new."""
        self._later(self._connection.engine.latency_s(self._name))

    def _push(self) -> None:
        log, engine = self._log, self._connection.engine
        if log.gone:
            self._fail(JournalGone(log.gone))
            return
        if self._cursor + 1 < log.first:
            self._fail(JournalTruncated(log.first))
            return
        if self._cursor >= log.last:
            return
        way = engine.choose(f"follow/{self._name}", _FOLLOWING, engine.habits.follow)
        if way == _STOPS:
            self._stopped = True
        elif way == _FAILS:
            self._fail(JournalUnavailable("the follower was lost"))
        else:
            batch = log.after(self._cursor, 1 if way == _ONE else _MAX_DELIVERED)
            self._cursor += len(batch)
            self._connection.deliver(partial(self._give, batch))
            if self._cursor < log.last:
                self.wake()

    def _give(self, batch: list[Entry]) -> None:
        if not self.over:
            self._deliver(batch)

    def _fail(self, error: JournalError) -> None:
        """Stop, and tell why, after all that was delivered."""
        self._stopped = True
        self._log.followers.pop(self, None)
        self._connection.standing.pop(self, None)
        self._connection.deliver(partial(self._tell, error))

    def _tell(self, error: JournalError) -> None:
        if not self.over:
            self.close()
            self._failed(error)

    def _ended(self) -> None:
        self._log.followers.pop(self, None)

    def _silent(self) -> None:
        self._fail(JournalUnavailable("the journal is silent"))

    def _heard(self, back: bool) -> None:
        if self._cursor != self._log.last or self._log.gone:
            self._later(0.0)
