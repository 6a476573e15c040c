from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import (
    BOOM,
    BOOM_LATE,
    BUSY,
    REJECT,
    REJECT_LATE,
    SAY,
    Talk,
    append,
    bodies,
    open_async,
    problems,
    run,
    say,
    talk,
    u64,
)

from palaver.storage import ApplyFailed, Outcome, Overloaded, Rejected, Store, WrongSequence


def test_appends_of_one_turn_share_one_commit_and_are_answered_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path)
        order: list[int] = []
        everything = asyncio.Event()

        def answer(number: int, results: list[Any]) -> None:
            order.append(number)
            assert results == [Outcome(number + 1, (("said", b"c", number + 1),))]
            assert store.applied(0) == 100
            if number == 99:
                everything.set()

        for number in range(100):
            store.append(0, [say(number)], lambda r, number=number: answer(number, r))
        assert store.stats().backlog == 100
        await everything.wait()
        assert order == list(range(100))
        stats = store.stats()
        assert (stats.commits, stats.commands, stats.backlog) == (1, 100, 0)
        assert sum(stats.batch_sizes) == sum(stats.commit_seconds) == 1
        await store.close()

    run(story)


def test_what_arrives_during_a_commit_is_the_next_batch(tmp_path: Path) -> None:
    async def story() -> None:
        entered, go_on = threading.Event(), threading.Event()

        def gate() -> None:
            entered.set()
            go_on.wait()

        store = open_async(tmp_path, lambda _: Talk(gate), stall_ms=1)
        first = asyncio.ensure_future(append(store, [(BUSY,)]))
        await asyncio.to_thread(entered.wait)
        rest = [asyncio.ensure_future(append(store, [say(n)])) for n in range(50)]
        await asyncio.sleep(0)
        assert store.stats().backlog == 51
        go_on.set()
        await asyncio.gather(first, *rest)
        assert store.stats().commits == 2
        await store.close()

    run(story)


def test_a_batch_holds_at_most_max_batch_commands_but_an_append_is_never_divided(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        store = open_async(tmp_path, max_batch=10)
        sizes = [4, 4, 4, 25, 1, 9, 10]
        number = 0
        waits = []
        for size in sizes:
            commands = [say(number + n) for n in range(size)]
            number += size
            waits.append(asyncio.ensure_future(append(store, commands)))
        await asyncio.gather(*waits)
        # [4, 4] [4] [25] [1, 9] [10]
        assert store.stats().commits == 5
        assert problems(store) == []
        await store.close()

    run(story)


def test_a_rejected_command_takes_no_sequence_and_no_commit(tmp_path: Path) -> None:
    with_sync = Store.open(tmp_path, talk)
    (result,) = with_sync.apply_now(0, [(REJECT,)])
    assert isinstance(result, Rejected)
    assert (result.code, result.text, str(result)) == ("not_allowed", "no", "not_allowed: no")
    stats = with_sync.stats()
    assert (stats.commits, stats.rejected, with_sync.applied(0)) == (0, 1, 0)
    results = with_sync.apply_now(0, [say(1), (REJECT,), say(2)])
    assert [type(r) for r in results] == [Outcome, Rejected, Outcome]
    assert with_sync.applied(0) == 2
    with_sync.close_now()


@pytest.mark.parametrize("bad", [BOOM, BOOM_LATE, REJECT_LATE])
def test_only_the_guilty_command_fails(tmp_path: Path, bad: int) -> None:
    machine = Talk()
    store = Store.open(tmp_path, lambda _: machine)
    results = store.apply_now(0, [say(1), (bad,), say(2), (REJECT,), (bad,), say(3)])
    kinds = [type(r) for r in results]
    assert kinds == [Outcome, ApplyFailed, Outcome, Rejected, ApplyFailed, Outcome]
    failed = results[1]
    assert isinstance(failed, ApplyFailed)
    assert failed.command == (bad,)
    assert isinstance(failed.cause, Rejected if bad == REJECT_LATE else ZeroDivisionError)
    assert [r.value for r in results if isinstance(r, Outcome)] == [1, 2, 3]
    assert store.applied(0) == 3
    # Nothing of the guilty one is left, neither in the tables nor in the machine's cache.
    assert bodies(store, b"late") == []
    assert b"late" not in machine.cache
    assert problems(store) == []
    assert store.stats().failed == 2
    assert [r.value for r in store.apply_now(0, [say(4)]) if isinstance(r, Outcome)] == [4]
    store.close_now()


def test_an_append_may_expect_a_sequence(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk)
    assert [type(r) for r in store.apply_now(0, [say(1), say(2)], expected=0)] == [Outcome] * 2
    results = store.apply_now(0, [say(3), say(4)], expected=1)
    assert [type(r) for r in results] == [WrongSequence] * 2
    wrong = results[0]
    assert isinstance(wrong, WrongSequence)
    assert (wrong.expected, wrong.actual) == (1, 2)
    assert len(bodies(store)) == 2
    assert isinstance(store.apply_now(0, [say(5)], expected=2)[0], Outcome)
    store.close_now()


def test_expectations_hold_at_the_place_in_the_batch(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk, flush_ms=None)
    answers: list[list[Any]] = []
    for expected in (0, 1, 1, 2):
        store.append(
            0, [say(100 + len(answers), b"%d" % expected)], answers.append, expected=expected
        )
    store.drain()
    assert store.stats().commits == 1
    assert [type(a[0]) for a in answers] == [Outcome, Outcome, WrongSequence, Outcome]
    store.close_now()


def test_a_full_backlog_refuses_and_queues_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path, max_backlog=5)
        answers: list[list[Any]] = []
        store.append(0, [say(n) for n in range(4)], answers.append)
        with pytest.raises(Overloaded) as refused:
            store.append(0, [say(n) for n in range(2)], answers.append)
        assert (refused.value.backlog, refused.value.limit) == (4, 5)
        store.append(0, [say(9)], answers.append)
        assert store.stats().overloaded == 1
        store.drain()
        assert [len(a) for a in answers] == [4, 1]
        store.append(0, [say(10)], answers.append)
        store.drain()
        assert store.applied(0) == 6
        await store.close()

    run(story)


def test_an_empty_append_is_answered(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk)
    assert store.apply_now(0, []) == []
    store.close_now()


def test_a_done_that_raises_disturbs_no_other(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_async(tmp_path)
        heard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: heard.append(context["exception"])
        )

        def bad(_: list[Any]) -> None:
            raise LookupError("mine")

        store.append(0, [say(1)], bad)
        (result,) = await append(store, [say(2)])
        assert result.value == 2
        store.append(0, [say(3)], bad)
        store.append(0, [say(4)], bad)
        await append(store, [say(5)])
        await asyncio.sleep(0)
        assert isinstance(heard[0], LookupError)
        assert isinstance(heard[1], ExceptionGroup)
        await store.close()

    run(story)


def test_a_done_may_append_and_wait(tmp_path: Path) -> None:
    """Order holds even where an answer blocks for a later command of its own."""
    store = Store.open(tmp_path, talk)
    order: list[str] = []

    def first(_: list[Any]) -> None:
        order.append("first")
        store.append(0, [say(3)], lambda _: order.append("third"))
        store.drain()
        order.append("end of first")

    store.append(0, [say(1)], first)
    store.append(0, [say(2)], lambda _: order.append("second"))
    store.drain()
    assert order == ["first", "second", "third", "end of first"]
    store.close_now()


class Skewed(Talk):
    """Raises something new at every second command, to break batches at every place."""

    def apply(self, txn: Any, seq: int, command: Any) -> Outcome:
        if command[0] == SAY and command[3] == b"boom":
            super().apply(txn, seq, command)
            raise KeyError("after its writes")
        return super().apply(txn, seq, command)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 20), st.sampled_from([b"ok", b"boom"]))
            | st.just(None),
            max_size=5,
        ),
        max_size=30,
    ),
    st.integers(1, 40),
)
def test_any_mixture_of_appends_equals_applying_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    appends: list[list[tuple[int, int, bytes] | None]],
    max_batch: int,
) -> None:
    store = Store.open(tmp_path_factory.mktemp("s"), lambda _: Skewed(), max_batch=max_batch)
    seqs: dict[tuple[int, int], int] = {}
    lasts: dict[int, int] = {}
    expected: list[list[object]] = []
    applied = 0
    answers: list[list[Any]] = []
    for commands in appends:
        wanted: list[object] = []
        sent = []
        for command in commands:
            if command is None:
                sent.append((REJECT,))
                wanted.append(Rejected)
                continue
            conv, cid, body = command
            sent.append((SAY, u64(conv), u64(cid), body))
            if body == b"boom":
                wanted.append(ApplyFailed)
                continue
            if (conv, cid) not in seqs:
                lasts[conv] = seqs[conv, cid] = lasts.get(conv, 0) + 1
            wanted.append(seqs[conv, cid])
            applied += 1
        expected.append(wanted)
        store.append(0, sent, answers.append)
    store.drain()
    assert [
        [r.value if isinstance(r, Outcome) else type(r) for r in a] for a in answers
    ] == expected
    assert store.applied(0) == applied
    assert problems(store) == []
    store.close_now()
