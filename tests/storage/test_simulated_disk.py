"""What a simulated disk may leave, and what it may not: the contract of durability at its worst."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from engines import Clockwork
from storage_kit import BOOM_LATE, REJECT, Talk, bodies, problems, say, talk, u64

from palaver.storage import (
    ApplyFailed,
    BackupError,
    Outcome,
    RecordCorrupt,
    Rejected,
    Store,
    StoreClosed,
    StoreFailed,
    StoreFull,
    StoreLocked,
)
from palaver.storage.simulated import DiskHabits, SimulatedDisk, SimulatedStore
from palaver.storage.simulated.tables import Rows

PARTITIONS = 2
ROUGH = DiskHabits(
    slow=0.3, stall=0.03, late=0.4, slow_read=0.4, full=0.04, fail=0.08, lost=0.5, trouble_s=0.02,
    stall_s=0.01,
)  # fmt: skip
SOUND = DiskHabits(slow=0.3, stall=0.03, late=0.4, slow_read=0.4, stall_s=0.01)
FLUSH, HEAD, HEAD_KEPT, HEAD_FOR_LONG = range(1, 5)


class Append:
    """One append of messages, with a bad command among them at times, and what came of it."""

    def __init__(self, numbers: list[int], life: int) -> None:
        self.life = life
        self.bodies = [b"%d" % number for number in numbers]
        self.commands: list[Any] = [
            say(n, body=b) for n, b in zip(numbers, self.bodies, strict=True)
        ]
        self.results: list[Any] | None = None

    def may_be_there(self) -> tuple[bool, ...]:
        """Whether it may be in the tables after all is over."""
        if self.results is None or any(isinstance(r, StoreFailed) for r in self.results):
            return False, True
        return (any(isinstance(r, Outcome) for r in self.results),)


class Story:
    """A program that appends, looks and dies, and compares what it finds with what it was told."""

    def __init__(self, seed: int, habits: DiskHabits) -> None:
        self.random = Random(seed)
        self.clock = Clockwork(self.decide)
        self.disk = SimulatedDisk(self.clock, "d", habits=habits)
        self.sent: list[list[Append]] = [[] for _ in range(PARTITIONS)]
        self.seen: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.number = 0
        self.life = 0
        self.met: Counter[str] = Counter()
        self.log: list[Any] = []
        self.store = self.open()

    def decide(self, name: str, options: int, rate: float) -> int:
        return self.random.randrange(1, options) if self.random.random() < rate else 0

    def open(self) -> Store:
        return SimulatedStore.open(self.disk, talk, partitions=PARTITIONS, max_batch=5)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            what = self.random.choices(
                [self.append, self.look, self.read, self.wait, self.die], [8, 2, 2, 6, 1]
            )[0]
            what()
        self.clock.run_out()
        self.settle()
        self.die()
        self.settle()
        self.store.close_now()

    def append(self) -> None:
        partition = self.random.randrange(PARTITIONS)
        numbers = list(range(self.number, self.number + self.random.choice((1, 1, 2, 3))))
        self.number += len(numbers)
        append = Append(numbers, self.life)
        if self.random.random() < 0.2:
            place = self.random.randint(0, len(numbers))
            append.commands.insert(place, self.random.choice([(REJECT,), (BOOM_LATE,)]))
        life = self.life

        def done(results: list[Any]) -> None:
            assert life == self.life, "an answer after the end"
            assert append.results is None, "an answer twice"
            before = self.sent[partition][: self.sent[partition].index(append)]
            assert all(a.results is not None or a.life != life for a in before), "out of order"
            append.results = results
            self.log.append((self.clock.now, append.bodies, str(results)))
            if isinstance(results[0], Outcome):
                assert set(append.bodies) <= set(bodies(self.store, partition=partition))

        self.sent[partition].append(append)
        self.store.append(partition, append.commands, done)

    def look(self) -> None:
        for partition in range(PARTITIONS):
            try:
                found = bodies(self.store, partition=partition)
            except StoreFailed:
                self.met["a read that the disk failed"] += 1
                continue
            self.see(partition, found)

    def read(self) -> None:
        partition = self.random.randrange(PARTITIONS)
        acked = sum(len(a.bodies) for a in self.sent[partition] if a.may_be_there() == (True,))

        def done(found: Any) -> None:
            if not isinstance(found, StoreFailed):
                assert len(found) >= acked, "a read that does not see what was answered before it"

        self.store.read(partition, lambda txn: [v for _, v in txn.range("message", b"")], done)

    def see(self, partition: int, found: list[bytes]) -> None:
        before = self.seen[partition]
        assert found[: len(before)] == before, "what was seen is gone"
        self.seen[partition] = found

    def wait(self) -> None:
        self.clock.advance(self.random.choice((0.0, 0.0005, 0.001, 0.003, 0.03)))

    def die(self) -> None:
        self.clock.chosen.pop("disk-lost", None)
        if self.random.random() < 0.5:
            self.disk.power_off()
        else:
            self.disk.killed()
        self.life += 1
        for refused in (lambda: self.store.append(0, []), lambda: self.store.view(0, len)):
            with pytest.raises(StoreClosed):
                refused()
        if self.random.random() < 0.5:
            self.clock.forget()
        self.store = self.open()
        self.settle()

    def settle(self) -> None:
        """Compare what is there with what was said."""
        self.look()
        troubled = self.clock.chosen.keys() & {"disk-fail", "disk-full"}
        for partition in range(PARTITIONS):
            try:
                found = bodies(self.store, partition=partition)
            except StoreFailed:
                continue
            present = []
            open_end = False
            for append in self.sent[partition]:
                there = set(append.bodies) <= set(found)
                assert there or set(append.bodies).isdisjoint(found), "half an append"
                assert there in append.may_be_there(), (append.bodies, append.results, found)
                if append.results is None and append.life == self.life - 1:
                    assert troubled or not (there and open_end), "no prefix"
                    open_end = open_end or not there
                    self.met["unanswered, " + ("there" if there else "gone")] += 1
                elif append.results and isinstance(append.results[0], StoreFailed):
                    self.met["failed, " + ("there" if there else "gone")] += 1
                if there:
                    present.append(append)
            assert found == [body for append in present for body in append.bodies]
            assert self.store.view(partition, lambda txn: list(Talk().check(txn, 0))) == []
            self.compare(partition, present)

    def compare(self, partition: int, present: list[Append]) -> None:
        """The history is the one of what is there, and nothing else."""
        alone = SimulatedStore.open(SimulatedDisk(Clockwork()), talk)
        commands = [c for a in present for c in a.commands if c[0] not in (REJECT, BOOM_LATE)]
        if commands:
            alone.apply_now(0, commands)
        assert self.store.content_digest(partition) == alone.content_digest(0)
        if self.store.applied(partition) == len(commands):  # not behind a failed disk
            assert self.store.digest(partition) == alone.digest(0)
        else:
            assert self.store.applied(partition) < len(commands)


@pytest.mark.parametrize("habits", [SOUND, ROUGH], ids=["sound", "rough"])
def test_what_is_there_after_an_end_is_what_was_said(habits: DiskHabits) -> None:
    met: Counter[str] = Counter()
    for seed in range(80):
        story = Story(seed, habits)
        try:
            story.run(60)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        met += story.met
        met += Counter(story.clock.chosen)
    expected = {"unanswered, there", "unanswered, gone", "disk-slow", "disk-stall", "disk-late"}
    if habits is ROUGH:
        expected |= {"failed, there", "failed, gone", "disk-full", "a read that the disk failed"}
    assert expected <= met.keys(), met


def test_a_run_is_repeated_by_its_choices() -> None:
    logs = []
    for _ in range(2):
        story = Story(7, ROUGH)
        story.run(200)
        logs.append((story.log, story.clock.chosen, story.number))
    assert logs[0] == logs[1]
    assert len(logs[0][0]) > 30


def calm(**habits: Any) -> tuple[Clockwork, SimulatedDisk, Store]:
    clock = Clockwork()
    disk = SimulatedDisk(clock, habits=DiskHabits(**habits))
    return clock, disk, SimulatedStore.open(disk, talk)


def test_a_commit_is_seen_when_it_is_durable_and_not_before() -> None:
    clock = Clockwork(lambda name, *_: 2 if name.startswith("disk-late/") else 0)
    disk = SimulatedDisk(clock, habits=DiskHabits(commit_s=1.0))
    store = SimulatedStore.open(disk, talk)
    answers: list[Any] = []
    store.append(0, [say(1)], answers.append)
    clock.advance(0.999)
    assert (store.applied(0), bodies(store)) == (0, [])
    clock.advance(0.001)
    assert (store.applied(0), bodies(store), answers) == (1, [b"hello"], [])
    store.append(0, [say(2)], answers.append)
    clock.advance(3.9)
    assert (store.applied(0), answers) == (1, [])
    clock.advance(0.1)
    assert len(answers) == 1
    disk.power_off()
    clock.run_out()
    assert len(answers) == 1
    assert SimulatedStore.open(disk, talk).applied(0) == 1


@pytest.mark.parametrize("power", [True, False])
@pytest.mark.parametrize("survives", [0, 1])
def test_a_commit_under_way_is_there_or_not(power: bool, survives: int) -> None:
    clock = Clockwork(lambda name, *_: survives if name == "disk-lost/host/store/0" else 0)
    disk = SimulatedDisk(clock, "host")
    store = SimulatedStore.open(disk, talk)
    answers: list[Any] = []
    store.append(0, [say(1), (REJECT,), say(2)], answers.append)
    clock.advance(0.0)
    store.append(0, [say(3)], answers.append)
    clock.advance(0.0)
    disk.power_off() if power else disk.killed()
    clock.run_out()
    assert answers == []
    assert len(bodies(SimulatedStore.open(disk, talk))) == 2 * survives


def test_nothing_is_answered_or_chosen_after_the_end() -> None:
    clock = Clockwork(lambda name, *_: int(name.startswith("disk-late/")))
    disk = SimulatedDisk(clock)
    store = SimulatedStore.open(disk, talk)
    answers: list[Any] = []

    def last(results: list[Any]) -> None:
        answers.append(results)
        disk.killed()

    store.append(0, [say(1)], last)
    store.append(0, [say(2)], answers.append)
    clock.run_out()
    assert len(answers) == 1, "the rest of the batch was to hear after the end"
    store = SimulatedStore.open(disk, talk)
    assert len(bodies(store)) == 2
    store.append(0, [say(3)], answers.append)
    clock.advance(0.0015)  # durable, and nobody has heard of it
    store.append(0, [say(4)], answers.append)
    assert store.applied(0) == 3
    disk.power_off()
    asked: list[str] = []

    def decide(name: str, options: int, rate: float) -> int:
        asked.append(name)
        return 0

    clock.decide = decide
    clock.run_out()
    assert (len(answers), asked) == (1, [])
    assert len(bodies(SimulatedStore.open(disk, talk))) == 3


def test_a_full_disk_refuses_and_goes_on_with_room() -> None:
    clock, disk, store = calm()
    store.apply_now(0, [say(1)])
    disk.fill()
    results = store.apply_now(0, [say(2), (REJECT,)])
    assert [type(r) for r in results] == [StoreFull] * 2
    assert "no room" in str(results[0])
    assert len(bodies(store)) == 1
    with pytest.raises(BackupError, match="no space left"):
        store.snapshot(0, "s")
    disk.make_room()
    assert store.apply_now(0, [say(2)])[0].value == 2  # type: ignore[union-attr]
    disk.fill(5.0)
    assert isinstance(store.apply_now(0, [say(3)])[0], StoreFull)
    clock.advance(5.0)
    assert isinstance(store.apply_now(0, [say(3)])[0], Outcome)
    assert store.stats().full == 3


def test_a_stall_holds_up_commits_and_reads() -> None:
    clock, disk, store = calm()
    answers: list[Any] = []
    disk.stall(10.0)
    store.append(0, [say(1)], answers.append)
    store.read(0, lambda txn: txn.count("message"), answers.append)
    clock.advance(9.9)
    assert answers == []
    clock.advance(0.2)
    assert len(answers) == 2


@pytest.mark.parametrize("failure", [FLUSH, HEAD, HEAD_KEPT])
def test_a_failed_commit_is_there_or_not_and_the_next_one_goes_on(failure: int) -> None:
    _, disk, store = calm()
    store.apply_now(0, [say(1)])
    disk.fail_next.append(failure)
    results = store.apply_now(0, [say(2), say(3)])
    assert [type(r) for r in results] == [StoreFailed] * 2
    kept = failure == HEAD_KEPT
    assert len(bodies(store)) == (3 if kept else 1)
    assert [type(r) for r in store.apply_now(0, [say(4)])] == [Outcome]
    assert store.applied(0) == (4 if kept else 2)
    assert problems(store) == []


def test_a_head_that_was_written_again_stays() -> None:
    clock, disk, store = calm()
    disk.fail_next.append(HEAD)
    store.apply_now(0, [say(1)])
    assert bodies(store) == []
    clock.decide = lambda *_: 1
    disk.power_off()
    assert bodies(SimulatedStore.open(disk, talk)) == []


@pytest.mark.parametrize("power", [True, False])
def test_a_disk_that_goes_on_failing_serves_nothing_until_it_is_over(power: bool) -> None:
    clock, disk, store = calm(trouble_s=5.0)
    store.apply_now(0, [say(1)])
    disk.fail_next.append(HEAD_FOR_LONG)
    assert isinstance(store.apply_now(0, [say(2)])[0], StoreFailed)
    answers: list[Any] = []
    store.read(0, lambda txn: txn.count("message"), answers.append)
    clock.advance(1.0)
    assert [type(answer) for answer in answers] == [StoreFailed]
    with pytest.raises(StoreFailed):
        bodies(store)
    with pytest.raises(StoreFailed):
        store.peek(0, "last", b"c")
    assert isinstance(store.apply_now(0, [say(3)])[0], StoreFailed)
    if power:  # the disk may hold the head that memory took back
        clock.decide = lambda *_: 1
        disk.power_off()
        assert len(bodies(SimulatedStore.open(disk, talk))) == 2
        return
    clock.advance(4.0)
    assert isinstance(store.apply_now(0, [say(4)])[0], Outcome)
    assert store.applied(0) == 2
    clock.decide = lambda *_: 1
    disk.power_off()
    assert len(bodies(SimulatedStore.open(disk, talk))) == 2


def test_a_kill_does_not_bring_back_a_head_that_was_taken_back() -> None:
    clock, disk, store = calm()
    disk.fail_next.append(HEAD_FOR_LONG)
    store.apply_now(0, [say(1)])
    clock.decide = lambda *_: 1
    disk.killed()
    assert bodies(SimulatedStore.open(disk, talk)) == []


def test_folders_are_apart_and_their_owners_are_told_by_the_disk() -> None:
    _, disk, store = calm()
    other = SimulatedStore.open(disk, talk, folder="other", partitions=4)
    assert (store.partitions, other.partitions) == (1, 4)
    store.apply_now(0, [say(1)])
    beside = SimulatedStore.open(disk, talk, readonly=True)
    assert len(bodies(beside)) == 1
    store.apply_now(0, [say(2)])
    assert (len(bodies(beside)), beside.applied(0), other.applied(0)) == (2, 2, 0)
    with pytest.raises(StoreLocked):
        SimulatedStore.open(disk, talk, folder="other")
    disk.killed()
    for each in (store, other, beside):
        each.close_now()
        with pytest.raises(StoreClosed):
            each.view(0, bodies)
    again = SimulatedStore.open(disk, talk)
    store.close_now()  # of an incarnation that is over: it gives nothing free
    with pytest.raises(StoreLocked):
        SimulatedStore.open(disk, talk)
    beside = SimulatedStore.open(disk, talk, readonly=True)
    beside.close_now()
    assert disk.folder("store").readers == []
    again.close_now()
    disk.remove("store")
    assert SimulatedStore.open(disk, talk, partitions=2).applied(1) == 0


def test_a_damaged_record_fails_alone() -> None:
    _, disk, store = calm()
    store.apply_now(0, [say(1), say(2)])
    rows = disk.folder("store").plates[0].content.rows("message")
    rows.values[b"c" + u64(1)] += b"!"
    with pytest.raises(RecordCorrupt):
        bodies(store)
    with pytest.raises(RecordCorrupt):
        store.content_digest(0)
    assert store.peek(0, "message", b"c" + u64(2)) == b"hello"
    with pytest.raises(BackupError, match="does not pass the check"):
        store.install(0, "s", store.snapshot(0, "s"))


def test_there_is_nothing_to_wait_for_and_nothing_to_back_up() -> None:
    _, _, store = calm()
    assert store.append(0, [say(1)]) is None
    store.relieve(0)
    store.glance()
    store.drain()
    assert store.applied(0) == 1
    assert store.stats().late_turns == 0
    with pytest.raises(BackupError, match="take a snapshot of each partition"):
        store.backup("b")


def test_an_idle_store_is_not_asked_anything() -> None:
    asked: list[str] = []

    def decide(name: str, options: int, rate: float) -> int:
        asked.append(name)
        assert (options, rate) > (1, 0.0)
        return 0

    clock = Clockwork(decide)
    disk = SimulatedDisk(clock, "d", habits=DiskHabits(full=0.1, fail=0.1))
    store = SimulatedStore.open(disk, talk)
    clock.advance(100.0)
    assert asked == []
    store.append(0, [say(1)])
    clock.run_out()
    where = "d/store/0"
    assert asked == [f"disk-{k}/{where}" for k in ("slow", "stall", "full", "fail", "late")]
    quiet = DiskHabits(slow=0, stall=0, late=0, slow_read=0, lost=0)
    asked.clear()
    store = SimulatedStore.open(SimulatedDisk(clock, habits=quiet), talk)
    store.append(0, [say(1)])
    store.read(0, lambda txn: txn.count("message"), lambda _: None)
    clock.run_out()
    assert asked == []


def test_appends_behind_one_that_fails_are_not_concerned() -> None:
    _, _, store = calm()
    answers: list[Any] = []
    store.append(0, [say(1), (BOOM_LATE,)], answers.extend)
    store.append(0, [say(2), (REJECT,)], answers.extend)
    store.drain()
    assert [type(r) for r in answers] == [Outcome, ApplyFailed, Outcome, Rejected]
    machine = store._machines[0]
    assert isinstance(machine, Talk)
    assert machine.cache == {b"c": 2}


def test_a_large_table_stays_sorted_whatever_comes_and_goes() -> None:
    random = Random(5)
    rows = Rows()
    model: dict[bytes, bytes] = {}
    for _ in range(300):
        for _ in range(random.choice((1, 2, 40))):
            key = random.randbytes(2)
            if key not in model:
                rows.add(key, b"x")
                model[key] = b"x"
        if model and random.random() < 0.5:
            gone = random.choice(sorted(model))
            del model[gone]
            rows.drop(gone)
        assert rows.order() == sorted(model)
    assert rows.values == model
    assert len(model) > 1000
