"""The publisher: random engines, judged by what every reader of the journal does."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.storage.replicated.calls import Call
from palaver.storage.replicated.entries import TAKEOVER, Body, Standing, unpack
from palaver.storage.replicated.publishing import Item, Pending, Publisher, PublishLimits

LIMITS = PublishLimits(entry_bytes=200, entry_commands=3, window=3)


class Bench:
    """A publisher, a journal that loses, repeats, remembers ids or not, and a reader."""

    def __init__(self, *, remembers: bool) -> None:
        self.publisher = Publisher(7, "t", LIMITS)
        self.remembers = remembers
        self.known: dict[str, int] = {}
        self.bodies: list[bytes] = []
        self.read, _ = Standing().after(0, Body(TAKEOVER, 7, 0, ("me", "t")))
        self.under_way: list[tuple[str, Pending]] = []
        self.counted: list[int] = []
        self.added = 0
        self.sent = 0

    def add(self, size: int) -> None:
        self.added += 1
        commands = [(self.added, n) for n in range(size)]
        self.publisher.add(Item(commands, b"x", None, Call(size, None), 0))

    def send(self) -> None:
        publisher = self.publisher
        if publisher.must_go_back(self.read.position):
            entries = publisher.go_back(0.0)
        else:
            entries = publisher.take(0.0)
        assert len(entries) <= LIMITS.window
        for pending in entries:
            self.sent += 1
            self.under_way.append((publisher.id_of(pending), pending))

    def store(self, name: str, body: bytes) -> int:
        if self.remembers and name in self.known:
            return self.known[name]
        self.bodies.append(body)
        self.known[name] = len(self.bodies)
        return len(self.bodies)

    def answer(self, at: int, stored: bool, told: bool, twice: bool) -> None:
        if not self.under_way:
            return
        name, pending = self.under_way.pop(at % len(self.under_way))
        position = self.store(name, pending.body) if stored else None
        if twice:
            self.bodies.append(pending.body)
        self.publisher.answered(pending, position if told else None)

    def see(self, most: int) -> None:
        """Read on; what counts is the owner's next entry."""
        while most and self.read.position < len(self.bodies):
            most -= 1
            entry = unpack(self.bodies[self.read.position])
            self.read, counts = self.read.after(self.read.position + 1, entry)
            if counts:
                pending = self.publisher.counted(entry.number)
                assert pending is not None, "an entry counts that the owner does not wait for"
                self.counted += [item.commands[0][0] for item in pending.items]

    def end(self) -> None:
        """With an engine that works, everything counts, in order and once, within a few rounds."""
        for _ in range(4 * self.added + 8):
            self.send()
            while self.under_way:
                self.answer(0, stored=True, told=True, twice=False)
            self.see(1 << 20)
        assert self.publisher.idle
        assert self.counted == list(range(1, self.added + 1))


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 4)),
    st.tuples(st.just("send")),
    st.tuples(st.just("see"), st.integers(1, 3)),
    st.tuples(st.just("answer"), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans()),
    st.tuples(st.just("checkpoint")),
)


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(STEPS, max_size=60))
def test_everything_counts_once_and_in_order_whatever_the_engine_does(
    remembers: bool, steps: list[tuple[object, ...]]
) -> None:
    bench = Bench(remembers=remembers)
    for name, *args in steps:
        if name == "checkpoint":
            bench.publisher.checkpoint()
        else:
            getattr(bench, str(name))(*args)
    bench.end()


def test_an_entry_that_stands_where_it_does_not_count_gets_a_new_id() -> None:
    bench = Bench(remembers=True)
    for _ in range(3):
        bench.add(3)
    bench.send()
    assert [name for name, _ in bench.under_way] == ["t-1", "t-2", "t-3"]
    bench.answer(0, stored=False, told=False, twice=False)
    bench.answer(0, stored=True, told=True, twice=False)
    bench.answer(0, stored=True, told=False, twice=False)
    bench.see(9)
    assert bench.counted == []
    bench.send()
    assert [name for name, _ in bench.under_way] == ["t-1", "t-2.1", "t-3"]
    bench.end()


def test_what_was_never_published_cannot_count() -> None:
    bench = Bench(remembers=False)
    for _ in range(9):
        bench.add(3)
    bench.send()
    published, gathered = bench.publisher.give_up()
    assert [item.commands[0][0] for item in published] == [1, 2, 3]
    assert [item.commands[0][0] for item in gathered] == [4, 5, 6, 7, 8, 9]
    assert bench.publisher.idle
