"""An owner over a journal that a test has in its hands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from engines import Lmdb, PlainCodec, Simulated
from journal_kit import MemoryJournal, Time, turns, until
from storage_kit import Talk, append, read, run, say, talk

from palaver.storage import ApplyFailed, Outcome, Overloaded, StoreClosed, WriteTxn
from palaver.storage.replicated import (
    EntryTooLarge,
    JournalLost,
    JournalMachine,
    JournalSilent,
    Limits,
    NotOwner,
    OwnershipLost,
    PublishLimits,
    ReplicatedStore,
)
from palaver.storage.replicated.entries import TAKEOVER, pack, unpack
from palaver.storage.replicated.ports import JournalUnavailable


class Bench:
    """One store, its journal, its time."""

    def __init__(self, engine: Any = None, machine: Any = talk, **limits: Any) -> None:
        self.engine = Simulated() if engine is None else engine
        self.journal = MemoryJournal()
        self.time = Time()
        self.lost: list[str] = []
        self.troubles: list[Exception | None] = []
        self.limits = Limits(**limits)
        self.machine = machine
        self.starts = 0

    def open(self, **more: Any) -> ReplicatedStore:
        self.starts += 1
        local = self.engine.open(lambda n: JournalMachine(self.machine(n)))
        return ReplicatedStore(
            local,
            lambda _: self.journal,
            PlainCodec(),
            node_name="me",
            timers=self.time,
            incarnation=str(self.starts),
            limits=self.limits,
            on_lost=lambda _, why: self.lost.append(why),
            on_trouble=lambda _, error: self.troubles.append(error),
            **more,
        )

    async def lead(self, epoch: int = 1, **more: Any) -> ReplicatedStore:
        store = self.open(**more)
        store.follow(0)
        await store.lead(0, epoch)
        return store

    def usurp(self, epoch: int) -> None:
        """Let another node take over."""
        self.journal.add(f"other{epoch}", pack(TAKEOVER, epoch, 0, ("other", f"other{epoch}")))


def test_a_takeover_between_pipelined_entries_divides_them() -> None:
    async def story() -> None:
        bench = Bench(publish=PublishLimits(entry_commands=1, window=4))
        store = await bench.lead()
        held = bench.journal.held = []
        answers = [asyncio.ensure_future(append(store, [say(n)])) for n in range(6)]
        await until(lambda: len(held) == 4)
        held[0].store()
        held[1].store()
        bench.usurp(2)
        held[2].store()  # too late
        found = [results[0] for results in await asyncio.gather(*answers)]
        assert [type(result) for result in found] == [Outcome] * 2 + [OwnershipLost] * 4
        assert all(result.certain for result in found[2:])
        assert not store.leads(0)
        with pytest.raises(NotOwner, match="other leads it in epoch 2") as refused:
            store.append(0, [say(9)])
        assert (refused.value.owner, refused.value.epoch) == ("other", 2)
        held[3].store().confirm()  # later still
        await turns()
        assert store.applied(0) == 2
        assert [why for why in bench.lost if "other leads" in why] == bench.lost != []
        await store.close()

    run(story)


def test_an_outcome_that_is_not_known_when_the_owner_steps_down() -> None:
    async def story() -> None:
        bench = Bench(publish=PublishLimits(entry_commands=1, window=2))
        store = await bench.lead()
        held = bench.journal.held = []
        answers = [asyncio.ensure_future(append(store, [say(n)])) for n in range(4)]
        await until(lambda: len(held) == 2)
        store.step_down(0)
        store.step_down(0)
        found = [results[0] for results in await asyncio.gather(*answers)]
        assert [result.certain for result in found] == [False, False, True, True]
        held[0].store()
        await until(lambda: store.applied(0) == 1)  # applied all the same
        assert bench.lost == [], "it was asked to"
        await store.close()

    run(story)


def test_an_entry_in_the_journal_is_answered_though_its_outcome_was_unknown() -> None:
    async def story() -> None:
        bench = Bench()
        store = await bench.lead()
        held = bench.journal.held = []
        answer = asyncio.ensure_future(append(store, [say(1)]))
        await until(lambda: held)
        held[0].store().lose()
        assert await answer == [Outcome(1, (("said", b"c", 1),))]
        bench.journal.add(held[0].id, held[0].body)  # and once more
        bench.journal.held = None
        await append(store, [say(2)])
        assert store.applied(0) == 2
        await store.close()

    run(story)


def test_an_entry_that_was_lost_is_published_again_with_all_behind_it() -> None:
    async def story() -> None:
        bench = Bench(publish=PublishLimits(entry_commands=1, window=3))
        bench.journal.known = {}
        store = await bench.lead()
        held = bench.journal.held = []
        answers = [asyncio.ensure_future(append(store, [say(n)])) for n in range(3)]
        await until(lambda: len(held) == 3)
        held[1].store().confirm()
        held[2].store().confirm()
        held[0].lose()
        await turns()
        assert store.applied(0) == 0
        bench.journal.held = None
        await bench.time.advance(0.1)
        found = await asyncio.gather(*answers)
        assert [results[0].value for results in found] == [1, 2, 3]
        await store.close()

    run(story)


def test_an_owner_that_hears_nothing_serves_no_longer_than_its_lease() -> None:
    async def story() -> None:
        bench = Bench(lease_s=3.0, checkpoint_s=1.0)
        store = await bench.lead()
        await bench.time.advance(30.0)
        assert store.leads(0)
        assert unpack(bench.journal.entries[-1].body).kind == 3  # checkpoints prove it
        assert bench.journal.last > 20
        held = bench.journal.held = []
        answer = asyncio.ensure_future(append(store, [say(1)]))
        await bench.time.advance(2.0)
        assert await read(store, lambda txn: txn.count("message")) == 0
        await bench.time.advance(2.0)
        assert [type(result) for result in await answer] == [OwnershipLost]
        for refused in (lambda: store.append(0, [say(2)]), lambda: store.read(0, len, print)):
            with pytest.raises(NotOwner):
                refused()
        assert store.view(0, lambda txn: txn.count("message")) == 0  # anybody may look
        assert len(bench.lost) == 1
        assert "does not answer" in bench.lost[0]
        state = store.state(0)
        assert state is not None
        assert (state.leading, state.backlog, state.eligible) == (False, 0, True)
        bench.journal.held = None
        for late in held:
            late.store().confirm()
        await turns()
        await store.lead(0, 2)
        assert kinds(await append(store, [say(3)])) == [Outcome]
        await store.close()

    run(story)


def kinds(results: list[Any]) -> list[type]:
    return [type(result) for result in results]


def test_who_stood_still_beyond_the_lease_finds_out_at_the_first_call() -> None:
    async def story() -> None:
        bench = Bench(lease_s=3.0)
        store = await bench.lead()
        bench.time.now += 3.1  # no timer has fired yet
        with pytest.raises(NotOwner):
            store.append(0, [say(1)])
        assert not store.leads(0)
        await store.close()

    run(story)


def test_an_answer_proves_what_was_when_its_entry_was_published() -> None:
    async def story() -> None:
        bench = Bench(lease_s=3.0, checkpoint_s=100.0)
        store = await bench.lead()
        held = bench.journal.held = []
        answer = asyncio.ensure_future(append(store, [say(1)]))
        await until(lambda: held)
        await bench.time.advance(2.0)
        held[0].store().confirm()
        await answer
        assert store.leads(0)
        await bench.time.advance(1.5)
        assert not store.leads(0), "somebody else may lead since the answer set out"
        await store.close()

    run(story)


def test_leading_again_needs_a_greater_epoch() -> None:
    async def story() -> None:
        bench = Bench()
        store = bench.open()
        with pytest.raises(NotOwner):
            await store.lead(0, 1)  # it does not follow
        store.follow(0)
        store.follow(0)
        bench.usurp(5)
        await until(lambda: bench.journal.last == store.state(0).position)  # type: ignore[union-attr]
        for epoch in (4, 5):
            with pytest.raises(NotOwner, match="epoch 5"):
                await store.lead(0, epoch)
        await asyncio.gather(store.lead(0, 6), store.lead(0, 6))
        await store.lead(0, 6)
        assert bench.journal.last == 2
        await store.close()
        again = bench.open()
        again.follow(0)
        with pytest.raises(NotOwner, match="me leads it in epoch 6"):
            await again.lead(0, 6)  # of another start of this node: its late entries count
        await again.lead(0, 7)
        await again.close()

    run(story)


def test_of_two_takeovers_of_one_epoch_the_first_counts() -> None:
    async def story() -> None:
        bench = Bench()
        store = bench.open()
        store.follow(0)
        held = bench.journal.held = []
        leading = asyncio.ensure_future(store.lead(0, 3))
        await until(lambda: held)
        bench.usurp(3)
        held[0].store().confirm()
        with pytest.raises(NotOwner, match="other leads it in epoch 3"):
            await leading
        bench.journal.held = None
        await store.lead(0, 4)
        bench.usurp(4)  # of an epoch that is not greater: nothing changes
        assert kinds(await append(store, [say(1)])) == [Outcome]
        await store.close()

    run(story)


def test_a_takeover_that_nobody_answers_comes_to_an_end() -> None:
    async def story() -> None:
        bench = Bench(takeover_s=5.0)
        store = bench.open()
        store.follow(0)
        held = bench.journal.held = []
        leading = asyncio.ensure_future(store.lead(0, 1))
        await until(lambda: held)
        held[0].lose()
        await bench.time.advance(1.0)
        assert len({each.id for each in held}) == 1 < len(held)
        await bench.time.advance(5.0)
        with pytest.raises(JournalSilent):
            await leading
        held[0].store()  # it counts after all, and nobody leads
        await turns()
        state = store.state(0)
        assert state is not None
        assert (state.owner, state.epoch, state.leading) == ("me", 1, False)
        await store.close()

    run(story)


def test_sizes_have_limits() -> None:
    async def story() -> None:
        bench = Bench(
            max_backlog=50,
            max_backlog_bytes=9000,
            publish=PublishLimits(entry_bytes=1000, entry_commands=10),
        )
        store = await bench.lead()
        before = bench.journal.last
        with pytest.raises(EntryTooLarge, match="of the journal takes"):
            store.append(0, [say(1), say(2, body=bytes(1000))])
        big = [say(n, body=bytes(400)) for n in range(8)]
        with pytest.raises(EntryTooLarge):
            store.append(0, big, expected=0)
        results = await append(store, big)
        assert [result.value for result in results] == list(range(1, 9))
        assert bench.journal.last - before >= 4
        assert all(len(entry.body) <= 1000 for entry in bench.journal.entries)
        bench.journal.held = []
        for number in range(2):
            store.append(0, [say(10 + 10 * number + n, body=bytes(400)) for n in range(9)])
        with pytest.raises(Overloaded):
            store.append(0, [say(40 + n, body=bytes(400)) for n in range(9)])
        with pytest.raises(Overloaded):
            store.append(0, [say(60 + n) for n in range(40)])
        store.step_down(0)
        await store.close()

    run(story)


def test_many_commands_are_divided() -> None:
    async def story() -> None:
        bench = Bench()
        store = await bench.lead()
        many = [say(n) for n in range(9000)]
        with pytest.raises(EntryTooLarge, match="9000 commands"):
            store.append(0, many, expected=0)
        results = await append(store, many)
        assert [result.value for result in results] == list(range(1, 9001))
        assert await append(store, []) == []
        await store.close()

    run(story)


def test_closing_answers_everything(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(Lmdb(tmp_path), close_s=0.01)
        store = await bench.lead()
        good = asyncio.ensure_future(append(store, [say(1)]))
        await turns(2)
        held = bench.journal.held = []
        lost = asyncio.ensure_future(append(store, [say(2)]))
        await until(lambda: held)
        closing = asyncio.ensure_future(store.close())
        await turns(2)
        for refused in (lambda: store.append(0, [say(3)]), lambda: store.follow(0)):
            with pytest.raises(StoreClosed):
                refused()
        with pytest.raises(StoreClosed):
            await store.lead(0, 9)
        await closing
        assert kinds(await good) == [Outcome]
        assert kinds(await lost) == [OwnershipLost]
        held[0].store().confirm()
        await turns()
        await store.close()

    run(story)


def test_a_journal_that_was_begun_anew_is_found_out_by_the_owner() -> None:
    async def story() -> None:
        bench = Bench()
        store = await bench.lead()
        await append(store, [say(1)])
        bench.journal.entries.clear()
        bench.journal.deaf = True
        answer = asyncio.ensure_future(append(store, [say(2)]))
        assert kinds(await answer) == [OwnershipLost]
        await turns()
        error = bench.troubles[-1]
        assert isinstance(error, JournalLost)
        assert "bring the journal's servers back" in str(error)
        for call in (lambda: store.lead(0, 2), lambda: asyncio.sleep(0, store.follow(0))):
            with pytest.raises(JournalLost):
                await call()
        state = store.state(0)
        assert state is not None
        assert not state.eligible
        await store.close()

    run(story)


def test_a_journal_that_was_begun_anew_is_found_out_by_a_replica() -> None:
    async def story() -> None:
        bench = Bench(look_s=5.0, lost_looks=3)
        store = await bench.lead()
        await append(store, [say(1)])
        await append(store, [say(2)])
        store.step_down(0)
        kept = list(bench.journal.entries)
        bench.journal.entries.clear()
        bench.journal.deaf = True
        held = bench.journal.held = []
        await bench.time.advance(60.0)
        assert held, "old answers prove nothing: it asks by an entry"
        assert bench.troubles == []
        bench.journal.entries += kept  # the answers were old
        held[0].store().confirm()
        await bench.time.advance(5.0)
        assert bench.troubles == []
        bench.journal.entries.clear()
        held.clear()
        await bench.time.advance(60.0)
        held[0].store().confirm()
        await turns()
        assert isinstance(bench.troubles[-1], JournalLost)
        await store.close()

    run(story)


class Tired(Talk):
    """Cannot sum up what a body of "tired" did."""

    def __init__(self) -> None:
        super().__init__()
        self.tired = False

    def say(self, txn: WriteTxn, conv: bytes, cid: bytes, body: bytes) -> Outcome:
        self.tired |= body == b"tired"
        return super().say(txn, conv, cid, body)

    def open(self, txn: Any, partition: int) -> None:
        super().open(txn, partition)
        self.tired = False

    def finish(self, txn: WriteTxn) -> None:
        if self.tired:
            raise ZeroDivisionError("tired")


def test_an_entry_that_the_machine_cannot_finish_fails_and_holds_up_nothing() -> None:
    async def story() -> None:
        bench = Bench(machine=lambda _: Tired(), publish=PublishLimits(entry_commands=1))
        store = await bench.lead()
        answers = [
            asyncio.ensure_future(append(store, [say(n, body=body)]))
            for n, body in enumerate((b"well", b"tired", b"well"))
        ]
        for _ in range(20):
            await bench.time.advance(0.2)
        found = [kinds(results)[0] for results in await asyncio.gather(*answers)]
        assert found[1] is ApplyFailed
        assert found[2] is Outcome
        assert store.leads(0)
        await store.close()

    run(story)


def test_a_journal_that_fails_is_followed_again() -> None:
    async def story() -> None:
        bench = Bench()
        store = await bench.lead()
        for _ in range(3):
            bench.journal.fail(JournalUnavailable("silent"))
            await turns()
        await turns()
        assert bench.troubles == []
        bench.journal.held = []
        bench.usurp(2)
        await bench.time.advance(2.0)
        assert store.state(0).epoch == 2  # type: ignore[union-attr]
        await store.close()

    run(story)
