"""Threads without a loop: the first who waits works for all."""

from __future__ import annotations

import asyncio
import errno
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import BUSY, Failing, Talk, bodies, problems, say, talk, u64

from palaver.storage import Outcome, Store, StoreClosed, StoreFailed, Ticket, WrongSequence
from palaver.storage.batch import Batch, Identity
from palaver.storage.leading import Flusher, Leader
from palaver.storage.stats import StoreStats

HERE = Path(__file__).parent


def together(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own; raise what the first that failed raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "somebody waits for ever"
    if failures:
        raise failures[0]


@contextmanager
def hasty() -> Iterator[None]:
    """Make threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class Paper:
    """Stands for a partition whose disk takes no time; keeps the batches as they were made."""

    def __init__(self) -> None:
        self.identity = Identity(0, 0)
        self.life = 0
        self.batches: list[list[int]] = []
        self.inside = 0

    def run(self, batch: Batch) -> None:
        self.inside += 1
        assert self.inside == 1, "two lead at once"
        for entry in batch.entries:
            assert not entry.results
            entry.results = [Outcome(command) for command in entry.commands]
        self.batches.append([len(entry.commands) for entry in batch.entries])
        self.inside -= 1


def paper_leader(**options: Any) -> tuple[Leader, Paper]:
    paper = Paper()
    leader = Leader(
        paper,  # type: ignore[arg-type]
        max_batch=options.get("max_batch", 16),
        max_backlog=options.get("max_backlog", 1000),
        stats=StoreStats(),
        counting=threading.Lock(),
        arm=options.get("arm", lambda: None),
    )
    return leader, paper


def test_a_single_thread_is_handed_over_to_nobody(tmp_path: Path) -> None:
    machine = Talk()
    threads: list[int] = []
    machine.gate = lambda: threads.append(threading.get_ident())
    store = Store.open(tmp_path, lambda _: machine, flush_ms=None)
    answers: list[Any] = []

    def done(results: list[Any]) -> None:
        threads.append(threading.get_ident())
        answers.extend(results)

    ticket = store.append(0, [say(1), (BUSY,)], done)
    assert isinstance(ticket, Ticket)
    assert not ticket.settled
    assert not answers
    results = store.wait(ticket)
    assert [type(r) for r in results] == [Outcome, Outcome]
    assert (answers, ticket.results, ticket.settled) == (results, results, True)
    assert set(threads) == {threading.get_ident()}
    assert ticket.wait() is results
    assert not [t for t in threading.enumerate() if t.name == "palaver-flusher"]
    store.close_now()


@pytest.mark.parametrize("flush_ms", [None, 1])
def test_many_threads_each_get_their_answers_in_order_and_after_the_commit(
    tmp_path: Path, flush_ms: float | None
) -> None:
    store = Store.open(tmp_path, talk, partitions=2, max_batch=8, flush_ms=flush_ms)
    order: list[list[int]] = [[], []]
    running = [0, 0]
    appended: list[list[int]] = [[], []]
    queueing = [threading.Lock(), threading.Lock()]

    def work(me: int) -> None:
        chance = random.Random(me)
        conv = b"conv%d" % me
        partition = me % 2
        tickets: list[tuple[int, Ticket]] = []
        for number in range(1, 61):
            mark = me * 1000 + number

            def done(results: list[Any], mark: int = mark) -> None:
                running[partition] += 1
                assert running[partition] == 1, "two dones at once"
                assert isinstance(results[0], Outcome)
                order[partition].append(mark)
                running[partition] -= 1

            with queueing[partition]:
                appended[partition].append(mark)
                ticket = store.append(partition, [say(number, conv)], done, lead=False)
            assert ticket is not None
            store.relieve(partition)
            tickets.append((number, ticket))
            if chance.random() < 0.5:
                number, ticket = tickets[chance.randrange(len(tickets))]
                (result,) = store.wait(ticket)
                assert result == Outcome(number, (("said", conv, number),))
                assert store.peek(partition, "client", conv + u64(number)) == u64(number)
        for number, ticket in tickets:
            assert ticket.wait()[0].value == number  # type: ignore[union-attr]

    together(*(lambda me=me: work(me) for me in range(6)))
    store.drain()
    assert order == appended
    stats = store.stats()
    assert (stats.commands, stats.backlog, stats.failed) == (360, 0, 0)
    assert sum(stats.batch_sizes) == stats.commits <= 360
    assert problems(store) == []
    store.close_now()
    again = Store.open(tmp_path, talk)
    assert [again.applied(p) for p in range(2)] == [180, 180]
    again.close_now()


def test_nobody_is_forgotten_in_thousands_of_rounds() -> None:
    leader, paper = paper_leader(max_batch=3)
    rounds = 1500

    def work(me: int) -> None:
        for number in range(rounds):
            ticket = leader.append([(me, number)], None, None)
            assert leader.wait(ticket) == [Outcome((me, number))]

    with hasty():
        together(*(lambda me=me: work(me) for me in range(5)))
    assert sum(map(sum, paper.batches)) == 5 * rounds
    assert max(map(sum, paper.batches)) <= 3
    assert leader.backlog == 0


def test_whatever_the_flusher_meets_it_leaves_nothing_behind() -> None:
    flusher = Flusher(0.0001)
    leader, _ = paper_leader(max_batch=3, arm=flusher.arm)
    flusher.serve([leader])

    def work(me: int) -> None:
        for number in range(200):
            answered = threading.Event()
            ticket = leader.append([(me, number)], lambda _, e=answered: e.set(), None)
            if number % 3:
                leader.wait(ticket)
            assert answered.wait(30), "nobody came"

    with hasty():
        together(*(lambda me=me: work(me) for me in range(4)))
    flusher.stop()
    flusher.stop()
    assert not [t for t in threading.enumerate() if t.name == "palaver-flusher"]


def test_locks_that_dones_need_may_be_held_while_appending(tmp_path: Path) -> None:
    """How tables commit: in order under a mutex, which is also needed to take answers in."""
    store = Store.open(tmp_path, talk, max_batch=4, max_backlog=10, flush_ms=1)
    mutex = threading.Lock()
    taken = 0
    foreseen = 0

    def done(results: list[Any]) -> None:
        nonlocal taken
        with mutex:
            assert isinstance(results[0], Outcome)
            taken += 1

    def work(me: int) -> None:
        nonlocal foreseen
        for number in range(80):
            with mutex:
                command = [say(me * 1000 + number)]
                ticket = store.append(0, command, done, expected=foreseen, lead=False)
                foreseen += 1
            store.relieve(0)
            if number % 5 == me:
                assert ticket is not None
                store.wait(ticket)

    with hasty():
        together(*(lambda me=me: work(me) for me in range(5)))
    store.drain()
    assert taken == 400
    assert len(bodies(store)) == 400
    store.close_now()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 7), max_size=30),
    max_batch=st.integers(1, 10),
    waits=st.lists(st.integers(0, 40), max_size=10),
)
def test_batches_are_full_and_appends_whole(
    sizes: list[int], max_batch: int, waits: list[int]
) -> None:
    leader, paper = paper_leader(max_batch=max_batch)
    tickets = []
    for size in sizes:
        tickets.append(leader.append([(n,) for n in range(size)], None, None, lead=False))
        if waits and waits[0] < len(tickets):
            leader.wait(tickets[waits.pop(0)])
    leader.drain()
    assert all(ticket.settled for ticket in tickets)
    assert [n for batch in paper.batches for n in batch] == sizes
    assert all(sum(batch) <= max_batch or len(batch) == 1 for batch in paper.batches)
    expected = [list(map(Outcome, ticket.commands)) for ticket in tickets]
    assert [ticket.results for ticket in tickets] == expected


def busy_store(path: Path, **options: Any) -> tuple[Store, threading.Event, threading.Event]:
    """A store whose leader is held up by a (BUSY,) command until the second event is set."""
    entered, go_on = threading.Event(), threading.Event()

    def gate() -> None:
        entered.set()
        assert go_on.wait(60)

    options.setdefault("flush_ms", None)
    return Store.open(path, lambda _: Talk(gate), **options), entered, go_on


def until(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.001)


def leader_of(store: Store) -> Leader:
    leader = store._driver._leaders[0]  # type: ignore[attr-defined]
    assert isinstance(leader, Leader)
    return leader


def test_what_followers_bring_is_the_next_batch_of_one_of_them(tmp_path: Path) -> None:
    store, entered, go_on = busy_store(tmp_path)
    threads: dict[str, int] = {}

    def first() -> None:
        threads["first"] = threading.get_ident()
        store.apply_now(0, [(BUSY,)])

    def follow(number: int) -> None:
        threads[f"follower {number}"] = threading.get_ident()
        answer = lambda _: led.append(threading.get_ident())  # noqa: E731
        ticket = store.append(0, [say(number)], answer)
        assert ticket is not None
        assert isinstance(store.wait(ticket)[0], Outcome)

    led: list[int] = []

    def release() -> None:
        until(lambda: len(leader_of(store)._followers) == 8)
        go_on.set()

    leading = threading.Thread(target=first)
    leading.start()
    assert entered.wait(60)
    together(release, *(lambda n=n: follow(n) for n in range(8)))
    leading.join()
    stats = store.stats()
    assert (stats.commits, stats.commands) == (2, 9)
    assert len(led) == 8
    assert len(set(led)) == 1
    assert led[0] != threads["first"]
    store.close_now()


def test_two_may_wait_for_the_same(tmp_path: Path) -> None:
    store, entered, go_on = busy_store(tmp_path)
    first = store.append(0, [(BUSY,)])
    second = store.append(0, [say(1)])
    assert first is not None
    assert second is not None

    def release() -> None:
        until(lambda: len(leader_of(store)._followers) == 3)
        go_on.set()

    def start() -> None:
        store.wait(first)

    leading = threading.Thread(target=start)
    leading.start()
    assert entered.wait(60)
    # Both commands are in the batch that is under way.
    together(release, first.wait, second.wait, second.wait)
    leading.join()
    assert store.stats().commits == 1
    store.close_now()


def test_what_nobody_waits_for_is_made_durable(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, flush_ms=1)
    for number in range(3):
        answered = threading.Event()
        store.append(0, [say(number)], lambda _, answered=answered: answered.set())
        assert answered.wait(60)
        assert store.applied(0) == number + 1
    store.close_now()
    idle = Store.open(tmp_path, talk, flush_ms=None)
    idle.append(0, [say(9)])
    assert idle.applied(0) == 3
    idle.close_now()
    again = Store.open(tmp_path, talk)
    assert again.applied(0) == 4
    again.close_now()


def test_who_comes_by_lends_the_interpreter_and_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palaver.storage.lending.LEND_S", 60)
    committing, go_on = threading.Event(), threading.Event()

    class Slow(Failing):
        def commit(self, raw: lmdb.Transaction[bytes]) -> None:
            committing.set()
            assert go_on.wait(60)
            super().commit(raw)

    Store.open(tmp_path, talk).close_now()
    monkeypatch.setattr("palaver.storage.store.Environment", Slow)
    threads: list[str] = []
    machine = Talk(lambda: threads.append(threading.current_thread().name))
    store = Store.open(tmp_path, lambda _: machine, flush_ms=60_000)
    flusher = store._driver._flusher  # type: ignore[attr-defined]
    flusher._half_s = 0.001
    ticket = store.append(0, [(BUSY,)], lead=False)
    assert ticket is not None
    flusher._half_s = 60
    until(lambda: leader_of(store)._due)
    assert not threads
    store.relieve(0)
    assert threads == ["palaver-flusher"]
    assert not ticket.settled
    assert committing.wait(60)
    store.relieve(0)  # nothing is due any more
    go_on.set()
    assert isinstance(ticket.wait()[0], Outcome)
    flusher._half_s = 0.001
    store.close_now()


def test_nobody_lends_for_longer_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palaver.storage.lending.LEND_S", 0.001)
    store, entered, go_on = busy_store(tmp_path, flush_ms=2)
    ticket = store.append(0, [(BUSY,)], lead=False)
    assert ticket is not None
    while not entered.is_set():
        store.relieve(0)
    assert not ticket.settled
    go_on.set()
    assert isinstance(ticket.wait()[0], Outcome)
    store.close_now()


def test_a_full_batch_is_led_by_its_last_append(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, max_batch=5, flush_ms=None)
    threads: list[int] = []
    for number in range(12):
        store.append(0, [say(number)], lambda _: threads.append(threading.get_ident()))
        assert store.applied(0) == (number + 1) // 5 * 5 == len(threads)
    assert set(threads) == {threading.get_ident()}
    store.close_now()
    assert len(threads) == 12


def test_a_full_backlog_makes_the_append_wait(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, max_batch=100, max_backlog=5, flush_ms=None)
    for number in range(5):
        store.append(0, [say(number)])
    assert store.stats().backlog == 5
    ticket = store.append(0, [say(5)])
    assert ticket is not None
    assert ticket.settled
    assert (store.stats().backlog, store.applied(0), store.stats().overloaded) == (0, 6, 0)
    # Told not to lead, it queues whatever is there; `relieve` makes up for it.
    for number in range(6, 20):
        store.append(0, [say(number)], lead=False)
    assert (store.stats().backlog, store.applied(0)) == (14, 6)
    store.relieve(0)
    assert (store.stats().backlog, store.applied(0)) == (0, 20)
    store.relieve(0)
    # And one that is larger than the bound is taken, alone.
    assert len(store.apply_now(0, [say(100 + n) for n in range(30)])) == 30
    store.close_now()


def test_expectations_and_failures_are_those_of_every_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk)
    first = store.append(0, [say(1)], expected=0)
    wrong = store.append(0, [say(2), say(3)], expected=0)
    assert first is not None
    assert wrong is not None
    assert [type(r) for r in wrong.wait()] == [WrongSequence] * 2
    assert isinstance(first.wait()[0], Outcome)
    store.close_now()


def test_a_failing_disk_is_told_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path, talk).close_now()
    monkeypatch.setattr("palaver.storage.store.Environment", Failing)
    store, entered, go_on = busy_store(tmp_path)
    environment = store._environments[0]
    assert isinstance(environment, Failing)
    failed: list[Any] = []

    def follow(number: int) -> None:
        ticket = store.append(0, [say(number)], failed.extend)
        assert ticket is not None
        assert isinstance(store.wait(ticket)[0], StoreFailed)

    def release() -> None:
        until(lambda: len(leader_of(store)._followers) == 4)
        environment.fail_commits = [lmdb.Error("commit", errno.EIO) for _ in range(2)]
        go_on.set()

    def first() -> None:
        (result,) = store.apply_now(0, [(BUSY,)])
        assert isinstance(result, StoreFailed)

    leading = threading.Thread(target=first)
    leading.start()
    assert entered.wait(60)
    together(release, *(lambda n=n: follow(n) for n in range(4)))
    leading.join()
    store.drain()
    assert [type(r) for r in failed] == [StoreFailed] * 4
    assert store.stats().failed == 5
    assert store.apply_now(0, [say(9)]) == [Outcome(1, (("said", b"c", 1),))]
    store.close_now()


def test_a_done_that_raises_is_told_to_the_process_and_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    store = Store.open(tmp_path, talk, flush_ms=None)
    order: list[int] = []

    def bad(_: list[Any]) -> None:
        order.append(1)
        raise LookupError("mine")

    store.append(0, [say(1)], bad)
    ticket = store.append(0, [say(2)], lambda _: order.append(2))
    assert ticket is not None
    assert isinstance(store.wait(ticket)[0], Outcome)
    assert order == [1, 2]
    assert [(t.exc_type, t.thread) for t in told] == [(LookupError, threading.current_thread())]
    store.close_now()


def test_an_interrupted_leader_gives_the_lead_on(tmp_path: Path) -> None:
    interrupts = [KeyboardInterrupt()]
    entered, go_on = threading.Event(), threading.Event()

    def gate() -> None:
        entered.set()
        assert go_on.wait(60)
        if interrupts:
            raise interrupts.pop()

    store = Store.open(tmp_path, lambda _: Talk(gate), flush_ms=None)

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            store.apply_now(0, [say(1), (BUSY,)])

    def follow() -> None:
        assert isinstance(store.apply_now(0, [say(2)])[0], Outcome)

    def release() -> None:
        until(lambda: leader_of(store)._followers)
        go_on.set()

    leading = threading.Thread(target=lead)
    leading.start()
    assert entered.wait(60)
    together(release, follow)
    leading.join()
    assert (store.applied(0), store.stats().failed) == (1, 2)
    assert problems(store) == []
    store.close_now()


@pytest.mark.parametrize("promoted", [False, True])
def test_an_interrupted_follower_is_waited_for_by_nobody(tmp_path: Path, promoted: bool) -> None:
    store, entered, go_on = busy_store(tmp_path)
    leader = leader_of(store)
    main = threading.get_ident()
    leading = threading.Thread(target=lambda: store.apply_now(0, [(BUSY,)]))
    leading.start()
    assert entered.wait(60)
    ticket = store.append(0, [say(1)])
    assert ticket is not None

    def interrupt() -> None:
        until(lambda: leader._followers)
        if promoted:  # as if the lead came in the same moment
            with leader._mutex:
                leader._followers.popitem()
                ticket.sleepers.clear()
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        store.wait(ticket)
    interrupter.join()
    if promoted:
        assert not leader._leading
        leader._leading = True  # of the thread that in truth still has it
    assert not leader._followers
    go_on.set()
    leading.join()
    assert isinstance(store.wait(ticket)[0], Outcome)
    store.close_now()


def test_an_interrupted_done_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, flush_ms=None)
    order: list[str] = []

    def interrupted(_: list[Any]) -> None:
        raise KeyboardInterrupt

    store.append(0, [say(1)], interrupted)
    store.append(0, [say(2)], lambda _: order.append("second"))
    with pytest.raises(KeyboardInterrupt):
        store.drain()
    assert not order
    store.drain()
    assert order == ["second"]
    store.close_now()


def test_closing_settles_everything_and_refuses_the_rest(tmp_path: Path) -> None:
    store, entered, go_on = busy_store(tmp_path, flush_ms=1)
    answers: list[Any] = []
    outcomes: list[Any] = []
    leading = threading.Thread(target=lambda: store.apply_now(0, [(BUSY,)]))
    leading.start()
    assert entered.wait(60)

    def follow(number: int) -> None:
        ticket = store.append(0, [say(number)], answers.extend)
        assert ticket is not None
        outcomes.extend(store.wait(ticket))

    def release() -> None:
        until(lambda: len(leader_of(store)._followers) >= 3 and leader_of(store)._closed)
        with pytest.raises(StoreClosed):
            store.append(0, [say(99)])
        go_on.set()

    def close() -> None:
        until(lambda: len(leader_of(store)._followers) >= 3)
        store.close_now()

    together(release, close, close, *(lambda n=n: follow(n) for n in range(3)))
    leading.join()
    assert [type(r) for r in outcomes + answers] == [Outcome] * 6
    with pytest.raises(StoreClosed):
        store.apply_now(0, [say(1)])
    with pytest.raises(StoreClosed):
        store.peek(0, "last", b"c")
    assert not [t for t in threading.enumerate() if t.name == "palaver-flusher"]
    again = Store.open(tmp_path, talk)
    assert again.applied(0) == 4
    again.close_now()


def test_a_store_without_a_loop_closes_under_one(tmp_path: Path) -> None:
    async def story() -> None:
        store = Store.open(tmp_path, talk, flush_ms=None)
        answers: list[Any] = []
        store.append(0, [say(1)], answers.extend)
        store.read(0, lambda txn: txn.count("message"), answers.append)
        await store.close()
        assert [answers[0].value, answers[1]] == [1, 1]

    asyncio.run(story())


def test_a_process_may_end_without_closing(tmp_path: Path) -> None:
    code = (
        "import sys; from palaver.storage import Store; from storage_kit import *\n"
        "store = Store.open(sys.argv[1], talk)\n"
        "store.apply_now(0, [say(1)])\n"
        "store.append(0, [say(2)])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=HERE, check=True, timeout=60)
    store = Store.open(tmp_path, talk)
    assert store.applied(0) in (1, 2)
    store.close_now()


def test_a_view_of_one_thread_does_not_concern_another(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk)
    inside, go_on = threading.Event(), threading.Event()

    def look() -> None:
        def see(txn: Any) -> int:
            inside.set()
            assert go_on.wait(60)
            return int(txn.count("message"))

        assert store.view(0, see) == 0

    def work() -> None:
        assert inside.wait(60)
        store.apply_now(0, [say(1)])
        assert store.view(0, lambda txn: txn.count("message")) == 1
        go_on.set()

    together(look, work)
    with pytest.raises(AssertionError, match="inside a view"):
        store.view(0, lambda _: store.append(0, [say(2)]))
    store.close_now()


def test_peeking_beside_a_map_that_grows_and_an_environment_that_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path, talk).close_now()
    monkeypatch.setattr("palaver.storage.store.Environment", Failing)
    store = Store.open(tmp_path, talk, map_size_bytes=1 << 20)
    environment = store._environments[0]
    assert isinstance(environment, Failing)
    finished = threading.Event()

    def look() -> None:
        while not finished.is_set():
            last = store.applied(0)
            if last:
                assert store.peek(0, "message", b"c" + u64(last)) == bytes(20_000)
            assert store.peek(0, "message", b"nobody") is None

    def write() -> None:
        try:
            for number in range(150):
                if number % 50 == 25:
                    environment.broken_head = True
                (result,) = store.apply_now(0, [say(number, body=bytes(20_000))])
                assert isinstance(result, Outcome)
        finally:
            finished.set()

    together(write, look, look, look)
    assert environment.growths >= 2
    assert environment.reopened == 3
    store.close_now()
