"""The feed: entries into a store that fails at any of them, in every way that a disk has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.storage import Outcome, Overloaded, StoreClosed, StoreFailed, StoreFull
from palaver.storage.machine import BESIDE
from palaver.storage.replicated.entries import COMMANDS, Standing
from palaver.storage.replicated.feeding import SKIPPED, Fed, Feed, News
from palaver.storage.replicated.machine import Begin, End, OutOfOrder
from palaver.storage.replicated.truncation import Sizes


class Tables:
    """Applies entries as `JournalMachine` and `Applier` do, and fails when it is told to."""

    def __init__(self) -> None:
        self.position = 0
        self.lines: list[Any] = []
        self.queue: deque[tuple[Sequence[Any], Callable[[list[Any]], None]]] = deque()
        self.most = 5
        self.closed = False

    def append(self, commands: Sequence[Any], done: Callable[[list[Any]], None]) -> None:
        if self.closed:
            raise StoreClosed
        if len(self.queue) >= self.most:
            raise Overloaded(len(self.queue), self.most)
        self.queue.append((commands, done))

    def work(self, way: int) -> None:
        """Answer the next append: it is applied; it fails; it fails and is there all the same."""
        if not self.queue:
            return
        commands, done = self.queue.popleft()
        begin, *inner, end = commands
        assert type(begin) is Begin
        assert type(end) is End
        if begin.position != self.position + 1:
            done([OutOfOrder(self.position)] * len(commands))
            return
        if way == 1:
            done([StoreFull("no room")] * len(commands))
            return
        self.position = end.standing.position
        self.lines += inner
        if way == 2:
            done([StoreFailed("the disk failed")] * len(commands))
        else:
            done([BESIDE, *[Outcome(len(self.lines))] * len(inner), BESIDE])


STEPS = st.lists(st.sampled_from(["put", "skip", "work", "fail", "kept", "again"]), max_size=60)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_entry_is_applied_once_and_in_order(steps: list[str]) -> None:
    tables = Tables()
    told: list[News] = []
    feed = Feed(tables.append, told.append, Standing(), Sizes(1 << 20))
    position, lines = 0, []
    for step in steps:
        if step in ("put", "skip"):
            position += 1
            kind = COMMANDS if step == "put" else SKIPPED
            pieces = [(None, [(position,)])] if step == "put" else []
            lines += [(position,)] if step == "put" else []
            feed.put(Fed(Standing(position), kind, pieces, (), 10))
            feed.pump()
        elif step == "again":
            feed.again()
        else:
            tables.work(("work", "fail", "kept").index(step))
    for _ in range(len(steps) + 3):
        while tables.queue:
            tables.work(0)
        feed.again()
    assert (tables.position, tables.lines) == (position, lines)
    assert (feed.durable.position, len(feed), feed.size_bytes) == (position, 0, 0)
    assert feed.error is None


def test_a_store_that_closes_ends_it_quietly() -> None:
    tables = Tables()
    feed = Feed(tables.append, lambda _: None, Standing(), Sizes(1 << 20))
    tables.closed = True
    feed.put(Fed(Standing(1), COMMANDS, [(None, [(1,)])], (), 10))
    feed.pump()
    assert len(feed) == 0
