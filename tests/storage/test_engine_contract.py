"""What every engine of the log promises, kept by each of them: see `palaver.storage.log`.

The engines that have tables of their own promise more: what concerns their folders, their batches,
and waiting for them.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines import Engine, Lmdb, Replicated, Simulated
from storage_kit import (
    BIG,
    BOOM,
    BOOM_LATE,
    FORGET,
    REJECT,
    REJECT_LATE,
    Talk,
    append,
    bodies,
    problems,
    read,
    run,
    say,
    talk,
    u64,
)

from palaver.storage import (
    ApplyFailed,
    BackupError,
    LogPort,
    Outcome,
    Overloaded,
    ReadTxn,
    Rejected,
    StoreBusy,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreMismatch,
    StoreMissing,
    StoreVersion,
    WriteTxn,
    WrongSequence,
)


@pytest.fixture(params=["local", "simulated"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An engine that has tables of its own, and can be waited for."""
    return Lmdb(tmp_path) if request.param == "local" else Simulated()


@pytest.fixture(params=["local", "simulated", "replicated"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Every engine of the log."""
    if request.param == "replicated":
        return Replicated()
    return Lmdb(tmp_path) if request.param == "local" else Simulated()


def kinds(results: list[Any]) -> list[type]:
    return [type(result) for result in results]


def test_it_is_a_log_port(log: Engine) -> None:
    async def story() -> None:
        port: LogPort = await log.log(partitions=4)
        assert port.partitions == 4
        assert {port.partition_of(b"%d" % n) for n in range(50)} == {0, 1, 2, 3}
        await port.close()

    run(story)


def test_what_was_acknowledged_is_there_after_reopening(log: Engine) -> None:
    async def story() -> None:
        for life in range(3):
            store = await log.log()
            assert store.applied(0) == life * 10
            digests = store.digest(0), store.content_digest(0)
            await append(store, [say(life * 10 + n) for n in range(10)])
            assert (store.digest(0), store.content_digest(0)) != digests
            await store.close()
        again = await log.log()
        assert len(bodies(again)) == 30
        await again.close()

    run(story)


def test_answers_come_once_in_the_order_of_the_appends_after_the_commit(log: Engine) -> None:
    async def story() -> None:
        store = await log.log(partitions=2, max_batch=7)
        heard: list[list[int]] = [[], []]
        everything = asyncio.Event()

        def answer(partition: int, number: int, results: list[Any]) -> None:
            heard[partition].append(number)
            assert results == [Outcome(number + 1, (("said", b"c", number + 1),))]
            assert store.applied(partition) > number
            assert len(bodies(store, partition=partition)) > number
            if sum(map(len, heard)) == 100:
                everything.set()

        for number in range(50):
            for partition in range(2):
                store.append(
                    partition, [say(number)], lambda r, p=partition, n=number: answer(p, n, r)
                )
        assert heard == [[], []], "nothing is answered before the loop has had its turn"
        assert store.stats().backlog == 100
        await everything.wait()
        await store.close()
        assert heard == [list(range(50))] * 2

    run(story)


def test_appends_of_one_turn_share_commits_of_max_batch(engine: Engine) -> None:
    async def story() -> None:
        store = engine.open(max_batch=10)
        number = 0
        waits = []
        for size in [4, 4, 4, 25, 1, 9, 10]:
            waits.append(append(store, [say(number + n) for n in range(size)]))
            number += size
        await asyncio.gather(*waits)
        stats = store.stats()
        assert (stats.commits, stats.commands, stats.backlog) == (5, 57, 0)
        assert sum(stats.batch_sizes) == sum(stats.commit_seconds) == 5
        await store.close()

    run(story)


def test_rejected_and_failed_commands_leave_nothing(log: Engine) -> None:
    async def story() -> None:
        machine = Talk()
        store = await log.log(lambda _: machine)
        (rejected,) = await append(store, [(REJECT,)])
        assert isinstance(rejected, Rejected)
        assert (rejected.code, rejected.text) == ("not_allowed", "no")
        assert store.applied(0) == 0
        before = store.digest(0), store.content_digest(0)
        for bad in (BOOM, BOOM_LATE, REJECT_LATE):
            (failed,) = await append(store, [(bad,)])
            assert isinstance(failed, ApplyFailed)
            assert failed.command == (bad,)
            assert isinstance(failed.cause, Rejected if bad == REJECT_LATE else ZeroDivisionError)
        assert (store.digest(0), store.content_digest(0)) == before
        results = await append(
            store, [say(1), (BOOM_LATE,), say(2), (REJECT,), (REJECT_LATE,), say(3)]
        )
        assert kinds(results) == [Outcome, ApplyFailed, Outcome, Rejected, ApplyFailed, Outcome]
        assert [r.value for r in results if isinstance(r, Outcome)] == [1, 2, 3]
        assert store.applied(0) == 3
        assert bodies(store, b"late") == []
        assert b"late" not in machine.cache
        assert problems(store) == []
        stats = store.stats()
        assert (stats.rejected, stats.failed) == (2, 5)
        await store.close()

    run(story)


def test_an_append_may_expect_a_sequence_at_its_place(log: Engine) -> None:
    async def story() -> None:
        store = await log.log()
        found = await asyncio.gather(
            *[
                append(store, [say(2 * n, b"%d" % n), say(2 * n + 1, b"%d" % n)], expected=expected)
                for n, expected in enumerate((0, 2, 2, 3, None))
            ]
        )
        good, wrong = [Outcome] * 2, [WrongSequence] * 2
        assert [kinds(results) for results in found] == [good, good, wrong, wrong, good]
        assert [(r.expected, r.actual) for r in found[2]] == [(2, 4)] * 2
        assert store.applied(0) == 6
        assert await append(store, []) == []
        await store.close()

    run(story)


def test_a_full_backlog_refuses_and_queues_nothing(log: Engine) -> None:
    async def story() -> None:
        store = await log.log(max_backlog=5)
        answers: list[list[Any]] = []
        store.append(0, [say(n) for n in range(4)], answers.append)
        with pytest.raises(Overloaded) as refused:
            store.append(0, [say(n) for n in range(2)], answers.append)
        assert (refused.value.backlog, refused.value.limit) == (4, 5)
        await append(store, [say(9)])
        await append(store, [say(10)])
        assert (store.applied(0), len(answers)) == (6, 1)
        await store.close()

    run(story)


def test_too_many_reads_are_refused_and_not_queued(engine: Engine) -> None:
    async def story() -> None:
        store = engine.open(max_backlog=5)
        answers: list[Any] = []
        for _ in range(5):
            store.read(0, lambda _: None, answers.append)
        with pytest.raises(Overloaded):
            store.read(0, lambda _: None, answers.append)
        assert store.stats().overloaded == 1
        store.drain()
        assert len(answers) == 5
        await store.close()

    run(story)


def test_reads_see_what_was_answered_share_a_snapshot_and_fail_alone(log: Engine) -> None:
    async def story() -> None:
        store = await log.log(partitions=2)
        for number in range(10):
            await append(store, [say(number)])
            assert await read(store, lambda txn: txn.count("message")) == number + 1
        txns: list[ReadTxn] = []

        def look(txn: ReadTxn) -> int:
            txns.append(txn)
            return txn.count("message")

        def fail(_: ReadTxn) -> int:
            raise LookupError("mine")

        found = await asyncio.gather(read(store, look, 1), read(store, fail), read(store, look))
        assert [f if isinstance(f, int) else type(f) for f in found] == [0, LookupError, 10]
        assert store.stats().reads == 13
        assert store.peek(0, "last", b"c") == u64(10)
        assert store.peek(1, "last", b"c") is None
        with pytest.raises(Exception, match=r"."):  # a snapshot has its time
            txns[0].get("last", b"c")
        await store.close()

    run(story)


def test_a_snapshot_stays_what_it_was(engine: Engine) -> None:
    async def story() -> None:
        store = engine.open()
        await append(store, [say(n, body=b"%d" % n) for n in range(20)])
        with store.look(0) as early:
            begun = early.range("message", b"")
            first = [next(begun) for _ in range(3)]
            before = bodies(store)
            await append(store, [say(n, body=b"later") for n in range(20, 40)])
            with store.look(0) as late:
                store.apply_now(0, [(FORGET,), say(50, b"other"), (BIG, b"x")])
                assert late.count("message") == 40
                assert late.get("last", b"other") is None
                assert late.first("blob") is None
            assert early.count("message") == 20
            assert early.get("last", b"c") == u64(20)
            assert early.last("message") == (b"c" + u64(20), b"19")
            assert [v for _, v in early.prefix("message", b"c", reverse=True)] == before[::-1]
            assert [v for _, v in first + list(begun)] == before
            assert store.stats().oldest_snapshot_commits == 2
        assert len(bodies(store)) == 40
        assert store.stats().oldest_snapshot == ""
        await store.close()

    run(story)


def test_waiting_inside_a_view_is_refused(engine: Engine) -> None:
    async def story() -> None:
        store = engine.open()
        with pytest.raises(AssertionError, match="inside a view"):
            store.view(0, lambda _: store.view(0, lambda _: None))
        for wait in (lambda _: store.apply_now(0, [say(1)]), lambda _: store.drain()):
            with pytest.raises(AssertionError, match="inside a view"):
                store.view(0, wait)
        await store.close()

    run(story)


def test_a_done_that_raises_disturbs_no_other_and_one_may_append_and_wait(engine: Engine) -> None:
    async def story() -> None:
        store = engine.open()
        heard: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: heard.append(context["exception"])
        )
        order: list[str] = []

        def bad(_: list[Any]) -> None:
            raise LookupError("mine")

        def first(_: list[Any]) -> None:
            order.append("first")
            store.append(0, [say(5)], lambda _: order.append("third"))
            store.drain()
            order.append("end of first")

        store.append(0, [say(1)], bad)
        (result,) = await append(store, [say(2)])
        assert result.value == 2
        store.append(0, [say(3)], first)
        store.append(0, [say(4)], lambda _: order.append("second"))
        store.drain()
        assert order == ["first", "second", "third", "end of first"]
        assert kinds(heard) == [LookupError]
        await store.close()

    run(story)


def test_a_done_that_raises_disturbs_no_other_and_one_may_append(log: Engine) -> None:
    async def story() -> None:
        store = await log.log()
        heard: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: heard.append(context["exception"])
        )
        order: list[str] = []

        def bad(_: list[Any]) -> None:
            raise LookupError("mine")

        def first(_: list[Any]) -> None:
            order.append("first")
            store.append(0, [say(5)], lambda _: order.append("third"))

        store.append(0, [say(1)], bad)
        store.append(0, [say(3)], first)
        store.append(0, [say(4)], lambda _: order.append("second"))
        (result,) = await append(store, [say(2)])
        assert result.value == 4
        await append(store, [say(6)])
        assert order == ["first", "second", "third"]
        assert kinds(heard) == [LookupError]
        await store.close()

    run(story)


def test_closing_answers_what_is_queued_and_refuses_the_rest(log: Engine) -> None:
    async def story() -> None:
        store = await log.log(max_batch=3)
        answers: list[Any] = []
        for number in range(20):
            store.append(0, [say(number)], answers.append)
        store.read(0, lambda txn: txn.count("message"), answers.append)
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        for refused in (
            lambda: store.append(0, [say(99)], answers.append),
            lambda: store.read(0, lambda _: None, answers.append),
        ):
            with pytest.raises(StoreClosed):
                refused()
        await closing
        await store.close()
        assert len(answers) == 21
        for refused in (
            lambda: store.view(0, lambda _: None),
            lambda: store.look(0),
            lambda: store.peek(0, "last", b"c"),
            lambda: store.content_digest(0),
            lambda: store.snapshot(0, log.file("late")),
        ):
            with pytest.raises(StoreClosed):
                refused()
        again = await log.log()
        assert again.applied(0) == 20
        await again.close()

    run(story)


class Other(Talk):
    kind = "other"


class Newer(Talk):
    version = Talk.version + 1


class Wider(Talk):
    tables = (*Talk.tables, "more")


def test_a_folder_is_opened_by_its_owner_as_it_was_made(engine: Engine) -> None:
    async def story() -> None:
        with pytest.raises(StoreMissing):
            engine.open(readonly=True)
        with pytest.raises(ValueError, match="power of two"):
            engine.open(partitions=3)
        store = engine.open(partitions=2)
        with pytest.raises(StoreLocked):
            engine.open()
        await append(store, [say(1)], 1)
        await store.close()
        beside = engine.open(readonly=True)
        assert (beside.partitions, beside.applied(1), len(bodies(beside, partition=1))) == (2, 1, 1)
        for refused in (
            lambda: beside.append(0, [say(1)]),
            lambda: beside.apply_now(0, [say(1)]),
        ):
            with pytest.raises(StoreClosed):
                refused()
        await beside.close()
        with pytest.raises(StoreCorrupt, match="a table is missing"):
            engine.open(lambda _: Wider(), readonly=True)
        with pytest.raises(StoreMismatch, match="created with 2 partitions, the settings say 4"):
            engine.open(partitions=4)
        with pytest.raises(StoreMismatch, match="that of 'chat', not of 'other'"):
            engine.open(lambda _: Other())
        with pytest.raises(StoreVersion, match="use the program that wrote it"):
            engine.open(lambda _: Newer())
        wider = engine.open(lambda _: Wider())
        assert wider.view(1, lambda txn: (txn.count("more"), txn.count("message"))) == (0, 1)
        await wider.close()

    run(story)


def test_a_sequence_that_has_not_come_cannot_be_truncated(log: Engine) -> None:
    async def story() -> None:
        store = await log.log()
        await append(store, [say(1), say(2)])
        store.truncate(0, 2)
        with pytest.raises(WrongSequence):
            store.truncate(0, 3)
        assert store.applied(0) == 2
        await store.close()

    run(story)


def test_a_replica_that_is_behind_catches_up_by_a_snapshot(engine: Engine) -> None:
    async def story() -> None:
        ahead = engine.open(name="ahead", partitions=2)
        await append(ahead, [say(n, body=b"%d" % n) for n in range(50)], 1)
        info = ahead.snapshot(1, engine.file("snap"))
        assert (info.partition, info.applied, info.digest) == (1, *ahead.digest(1))
        with pytest.raises(BackupError, match="overwrites nothing"):
            ahead.snapshot(1, engine.file("snap"))
        machine = Talk()
        behind = engine.open(lambda _: machine, name="behind", partitions=2)
        await append(behind, [say(n) for n in range(3)], 1)
        opened = machine.opened
        waiting = [append(behind, [say(77)], 1), append(behind, [say(78)], 1, 3)]
        late = [asyncio.ensure_future(each) for each in waiting]
        await asyncio.sleep(0)
        behind.install(1, engine.file("snap"), info)
        assert machine.opened > opened
        for results in await asyncio.gather(*late):
            assert kinds(results) in ([WrongSequence], [Outcome])
        assert behind.digest(1) == ahead.digest(1)
        assert behind.content_digest(1) == ahead.content_digest(1)
        for store in (ahead, behind):
            assert await append(store, [say(100)], 1, 50) == [Outcome(51, (("said", b"c", 51),))]
        assert behind.digest(1) == ahead.digest(1)
        assert behind.applied(0) == 0
        with behind.look(1), pytest.raises(StoreBusy):
            behind.install(1, engine.file("snap"), info)
        assert behind.applied(1) == 51
        await ahead.close()
        await behind.close()
        again = engine.open(name="behind")
        assert (again.applied(1), problems(again)) == (51, [])
        await again.close()

    run(story)


def test_a_snapshot_that_is_not_what_it_should_be_changes_nothing(log: Engine) -> None:
    async def story() -> None:
        store = await log.log(partitions=2)
        await append(store, [say(n) for n in range(9)])
        info = store.snapshot(0, log.file("snap"))
        await append(store, [say(10)])
        before = store.digest(0), store.content_digest(0)
        source = log.file("snap")
        refusals: list[tuple[type[StoreError], int, Any, Any]] = [
            (BackupError, 1, source, info),
            (BackupError, 0, log.file("none"), info),
            (BackupError, 0, source, replace(info, digest=info.digest + 1)),
            (BackupError, 0, source, replace(info, applied=8)),
            (BackupError, 0, source, replace(info, sha256="00")),
            (StoreMismatch, 0, source, replace(info, content="other")),
            (StoreVersion, 0, source, replace(info, machine_version=99)),
            (StoreVersion, 0, source, replace(info, folder_format=99)),
        ]
        for error, partition, path, said in refusals:
            with pytest.raises(error):
                store.install(partition, path, said)
        log.spoil("snap")
        with pytest.raises(BackupError):
            store.install(0, source, info)
        assert (store.digest(0), store.content_digest(0)) == before
        assert kinds(await append(store, [say(11)])) == [Outcome]
        await store.close()
        with pytest.raises(StoreClosed):
            store.install(0, source, info)

    run(story)


class Unsound(Talk):
    """Finds fault with everything."""

    def check(self, txn: ReadTxn, partition: int) -> Any:
        yield "nothing is right"


def test_a_snapshot_that_the_machine_finds_fault_with_is_refused(log: Engine) -> None:
    async def story() -> None:
        store = await log.log(lambda _: Unsound())
        await append(store, [say(1)])
        info = store.snapshot(0, log.file("snap"))
        with pytest.raises(BackupError, match="nothing is right"):
            store.install(0, log.file("snap"), info)
        await store.close()

    run(story)


def test_where_there_is_no_room_only_those_fail_that_find_none(engine: Engine) -> None:
    async def story() -> None:
        store = engine.open(limit_bytes=1 << 20)
        small = bytes(1000)
        found = await asyncio.gather(
            append(store, [say(1, body=small)]),
            append(store, [say(2, body=small), (BIG, bytes(3 << 20))]),
            append(store, [say(3, body=small)]),
        )
        assert [kinds(results) for results in found] == [
            [Outcome],
            [StoreFull, StoreFull],
            [Outcome],
        ]
        assert len(bodies(store)) == 2
        assert problems(store) == []
        assert store.stats().full == 2
        assert kinds(await append(store, [(BIG, bytes(300_000))])) == [Outcome]
        assert kinds(await append(store, [(FORGET,), say(4)])) == [Outcome, Outcome]
        assert kinds(await append(store, [(BIG, bytes(300_000))])) == [Outcome]
        await store.close()

    run(story)


class Summing(Talk):
    """Keeps the number of messages in a row that it writes once a batch."""

    tables = (*Talk.tables, "sizes")

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.finished = 0
        self.fail_finish: Exception | None = None

    def open(self, txn: ReadTxn, partition: int) -> None:
        super().open(txn, partition)
        self.size = int.from_bytes(txn.get("sizes", b"message") or b"", "big")

    def say(self, txn: WriteTxn, conv: bytes, cid: bytes, body: bytes) -> Outcome:
        self.size += 1
        return super().say(txn, conv, cid, body)

    def finish(self, txn: WriteTxn) -> None:
        self.finished += 1
        if self.fail_finish is not None:
            raise self.fail_finish
        txn.put("sizes", b"message", u64(self.size))


def test_a_machine_sums_up_once_a_batch_beside_the_history(engine: Engine) -> None:
    async def story() -> None:
        machine = Summing()
        store = engine.open(lambda _: machine)
        plain = engine.open(talk, name="plain")
        await append(store, [say(n) for n in range(5)])
        await append(plain, [say(n) for n in range(5)])
        assert machine.finished == 1
        assert plain.digest(0) == store.digest(0)
        results = await append(store, [say(6), (BOOM_LATE,), say(7), (REJECT,)])
        assert kinds(results) == [Outcome, ApplyFailed, Outcome, Rejected]
        assert machine.size == len(bodies(store)) == 7
        assert store.peek(0, "sizes", b"message") == u64(7)
        machine.fail_finish = ZeroDivisionError("sum")
        for commands in ([say(8), say(9)], [say(8), (BOOM_LATE,)]):
            assert kinds(await append(store, commands)) == [ApplyFailed, ApplyFailed]
        assert store.applied(0) == 7
        machine.fail_finish = None
        await append(store, [say(8)])
        assert store.peek(0, "sizes", b"message") == u64(8)
        await store.close()
        await plain.close()

    run(story)


class Picky(Talk):
    """Cannot be opened."""

    def open(self, txn: ReadTxn, partition: int) -> None:
        raise LookupError("its tables are not to its taste")


def test_a_machine_that_cannot_be_opened_leaves_the_folder_free(engine: Engine) -> None:
    async def story() -> None:
        await engine.open().close()
        with pytest.raises(LookupError):
            engine.open(lambda _: Picky())
        await engine.open().close()

    run(story)
