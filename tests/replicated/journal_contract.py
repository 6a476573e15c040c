"""What every distributed engine promises of journals and registers; each runs this suite.

An engine's test module makes a subclass of `JournalContract` and of `RegistersContract` and gives
them a `cluster`. See `palaver.storage.replicated.ports` for the contract.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Any, Protocol

import pytest

from palaver.storage.replicated.ports import (
    Entry,
    Follow,
    Journal,
    JournalError,
    JournalGone,
    JournalTruncated,
    JournalUnavailable,
    Register,
    RegisterChanged,
    Registers,
)

PATIENCE_S = 20.0

_numbers = count(1)


class Cluster(Protocol):
    """An engine that runs, and any number of nodes that use it."""

    async def journal(self, node: str, partition: int) -> Journal:
        """A node's way to a partition's journal; the same journal for all nodes."""

    async def registers(self, node: str) -> Registers:
        """A node's way to the registers."""

    async def delete(self, partition: int) -> None:
        """Delete a partition's journal, as an operator might by mistake."""


class Notes:
    """What callbacks told, and who waits for it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def look(self) -> None:
        """Something was told: wake who waits for it."""
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, future))
        async with asyncio.timeout(PATIENCE_S):
            await future


class Reader(Notes):
    """Follows a journal, and keeps to what a follower may rely on."""

    def __init__(self, journal: Journal, after: int = 0) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.errors: list[JournalError] = []
        self._next = after + 1
        self._called = False
        self.follow: Follow = journal.follow(after, self._deliver, self._failed)
        assert not self._called, "a callback was called from within the call that it belongs to"

    def _deliver(self, entries: list[Entry]) -> None:
        self._called = True
        assert not self.errors, "nothing is delivered after a failure"
        assert entries, "an empty delivery says nothing"
        for entry in entries:
            assert entry.position == self._next
            self._next += 1
        self.entries += entries
        self.look()

    def _failed(self, error: JournalError) -> None:
        self._called = True
        self.errors.append(error)
        self.look()

    async def got(self, number: int) -> list[Entry]:
        """Wait for so many entries."""
        await self.until(lambda: len(self.entries) >= number)
        return self.entries

    async def error(self) -> JournalError:
        """Wait for the failure."""
        await self.until(lambda: bool(self.errors))
        return self.errors[0]


class Writer(Notes):
    """Publishes to a journal, and keeps what it is told."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.journal = journal
        self.answers: dict[str, int | JournalError] = {}

    def send(self, name: str, body: bytes) -> None:
        """Publish an entry; its answer comes later."""
        within = True

        def done(answer: int | JournalError) -> None:
            assert not within, "`done` was called from within `publish`"
            assert name not in self.answers, "`done` was called twice"
            self.answers[name] = answer
            self.look()

        self.journal.publish(name, body, done)
        within = False

    async def publish(self, name: str, body: bytes) -> int:
        """Publish an entry and wait for its position; again where the engine asks for it."""
        while True:
            self.answers.pop(name, None)
            self.send(name, body)
            await self.until(lambda: name in self.answers)
            answer = self.answers[name]
            if isinstance(answer, int):
                return answer
            if not isinstance(answer, JournalUnavailable):
                raise answer


class Contract(ABC):
    """What both suites need of an engine."""

    @abstractmethod
    def cluster(self) -> AbstractAsyncContextManager[Cluster]:
        """An engine that runs, for the time of one test."""

    def fresh(self) -> int:
        """A partition, or part of a key, that no other test uses."""
        return next(_numbers)

    def run(self, story: Callable[[Cluster], Coroutine[Any, Any, None]]) -> None:
        """Run a test against a cluster."""

        async def main() -> None:
            async with self.cluster() as cluster:
                await story(cluster)

        asyncio.run(main())


class JournalContract(Contract):
    """The promises of `Journal`."""

    keeps_last = False
    """Whether the engine keeps the last entry, whatever is to be truncated."""

    def test_positions_rise_by_one_from_one_and_all_followers_see_the_same(self) -> None:
        async def story(cluster: Cluster) -> None:
            partition = self.fresh()
            writer = Writer(await cluster.journal("a", partition))
            early = Reader(await cluster.journal("b", partition))
            positions = [await writer.publish(f"id-{n}", b"body %d" % n) for n in range(5)]
            assert positions == [1, 2, 3, 4, 5]
            late = Reader(await cluster.journal("c", partition), after=2)
            expected = [Entry(n + 1, f"id-{n}", b"body %d" % n) for n in range(5)]
            assert await early.got(5) == expected
            assert await late.got(3) == expected[2:]
            for reader in (early, late):
                reader.follow.close()

        self.run(story)

    def test_many_may_be_under_way_and_each_is_answered_once_with_its_place(self) -> None:
        async def story(cluster: Cluster) -> None:
            partition = self.fresh()
            writer = Writer(await cluster.journal("a", partition))
            other = Writer(await cluster.journal("b", partition))
            names = [f"n{n}" for n in range(40)]
            for name in names:
                (writer if name.endswith(("1", "3", "5")) else other).send(name, name.encode())
            await writer.until(lambda: len(writer.answers) == 12)
            await other.until(lambda: len(other.answers) == 28)
            answers = writer.answers | other.answers
            reader = Reader(await cluster.journal("c", partition))
            entries = await reader.got(40)
            assert {entry.id: entry.position for entry in entries} == answers
            assert all(entry.body == entry.id.encode() for entry in entries)
            reader.follow.close()

        self.run(story)

    def test_an_id_that_comes_again_soon_is_kept_once(self) -> None:
        async def story(cluster: Cluster) -> None:
            writer = Writer(await cluster.journal("a", self.fresh()))
            first = await writer.publish("same", b"x")
            assert await writer.publish("same", b"x") == first
            assert await writer.publish("other", b"y") == first + 1

        self.run(story)

    def test_bodies_of_any_bytes_and_of_a_megabyte_come_back_as_they_are(self) -> None:
        async def story(cluster: Cluster) -> None:
            partition = self.fresh()
            writer = Writer(await cluster.journal("a", partition))
            bodies = [b"", bytes(range(256)), bytes(1 << 20)]
            for number, body in enumerate(bodies):
                await writer.publish(f"b{number}", body)
            reader = Reader(await cluster.journal("b", partition))
            assert [entry.body for entry in await reader.got(3)] == bodies
            reader.follow.close()

        self.run(story)

    def test_a_body_that_is_too_great_is_refused_and_not_in_doubt(self) -> None:
        async def story(cluster: Cluster) -> None:
            partition = self.fresh()
            writer = Writer(await cluster.journal("a", partition))
            writer.send("huge", bytes(9 << 20))
            await writer.until(lambda: "huge" in writer.answers)
            error = writer.answers["huge"]
            assert isinstance(error, JournalError)
            assert not isinstance(error, JournalUnavailable)
            assert await writer.publish("next", b"x") == 1

        self.run(story)

    def test_a_follower_that_was_closed_hears_nothing_more(self) -> None:
        async def story(cluster: Cluster) -> None:
            partition = self.fresh()
            journal = await cluster.journal("a", partition)
            closed, open_ = Reader(journal), Reader(journal)
            writer = Writer(journal)
            await writer.publish("one", b"")
            await closed.got(1)
            closed.follow.close()
            closed.follow.close()
            await writer.publish("two", b"")
            await open_.got(2)
            assert len(closed.entries) == 1
            assert not closed.errors
            open_.follow.close()

        self.run(story)

    def test_bounds_say_what_is_there(self) -> None:
        async def story(cluster: Cluster) -> None:
            journal = await cluster.journal("a", self.fresh())
            assert await journal.bounds() == (1, 0)
            writer = Writer(journal)
            for n in range(6):
                await writer.publish(f"id{n}", b"")
            await _settles(journal.bounds, (1, 6))
            await journal.truncate(4)
            await _settles(journal.bounds, (5, 6))
            await journal.truncate(2)
            await _settles(journal.bounds, (5, 6))
            await journal.truncate(6)
            await _settles(journal.bounds, (6, 6) if self.keeps_last else (7, 6))
            assert await writer.publish("next", b"") == 7
            await _settles(journal.bounds, (6, 7) if self.keeps_last else (7, 7))

        self.run(story)

    def test_who_asks_for_what_was_truncated_is_told_where_the_journal_begins(self) -> None:
        async def story(cluster: Cluster) -> None:
            journal = await cluster.journal("a", self.fresh())
            writer = Writer(journal)
            for n in range(6):
                await writer.publish(f"id{n}", b"")
            await journal.truncate(4)
            await _settles(journal.bounds, (5, 6))
            for after in (0, 3):
                error = await Reader(journal, after).error()
                assert isinstance(error, JournalTruncated)
                assert error.first == 5
            reader = Reader(journal, 4)
            assert [entry.position for entry in await reader.got(2)] == [5, 6]
            reader.follow.close()

        self.run(story)

    def test_a_follower_behind_an_empty_journal_gets_what_comes(self) -> None:
        async def story(cluster: Cluster) -> None:
            journal = await cluster.journal("a", self.fresh())
            writer = Writer(journal)
            for n in range(3):
                await writer.publish(f"id{n}", b"")
            await journal.truncate(3)
            await _settles(journal.bounds, (3, 3) if self.keeps_last else (4, 3))
            reader = Reader(journal, 3)
            await writer.publish("next", b"new")
            assert await reader.got(1) == [Entry(4, "next", b"new")]
            reader.follow.close()

        self.run(story)

    def test_a_journal_that_was_deleted_is_gone_for_good_and_the_others_go_on(self) -> None:
        async def story(cluster: Cluster) -> None:
            partition, other = self.fresh(), self.fresh()
            journal = await cluster.journal("a", partition)
            whole = Writer(await cluster.journal("a", other))
            await Writer(journal).publish("one", b"1")
            reader = Reader(journal)
            await reader.got(1)
            await cluster.delete(partition)
            async with asyncio.timeout(PATIENCE_S):
                # At first it may seem to be away for a while only.
                while not isinstance(error := await reader.error(), JournalGone):
                    assert isinstance(error, JournalUnavailable)
                    reader = Reader(journal, 1)
            for after in (0, 1):
                assert isinstance(await Reader(journal, after).error(), JournalGone)
            with pytest.raises(JournalGone):
                await journal.bounds()
            with pytest.raises(JournalGone):
                await journal.truncate(1)
            writer = Writer(journal)
            writer.send("two", b"2")
            await writer.until(lambda: bool(writer.answers))
            assert isinstance(writer.answers["two"], JournalGone | JournalUnavailable)
            assert await whole.publish("one", b"1") == 1

        self.run(story)

    def test_journals_of_partitions_know_nothing_of_each_other(self) -> None:
        async def story(cluster: Cluster) -> None:
            one = await cluster.journal("a", self.fresh())
            two = await cluster.journal("a", self.fresh())
            assert await Writer(one).publish("same", b"1") == 1
            assert await Writer(two).publish("same", b"2") == 1
            await one.truncate(1)
            await _settles(two.bounds, (1, 1))

        self.run(story)


class RegistersContract(Contract):
    """The promises of `Registers`."""

    def prefix(self) -> str:
        """A beginning of keys that no other test uses."""
        return f"test{self.fresh()}."

    def test_a_register_is_written_only_as_it_was_expected(self) -> None:
        async def story(cluster: Cluster) -> None:
            key = self.prefix() + "owner/0_x-y="
            one, two = await cluster.registers("a"), await cluster.registers("b")
            assert await one.read(key) is None
            first = await one.write(key, b"a", None)
            await _settles(lambda: two.read(key), Register(b"a", first))
            with pytest.raises(RegisterChanged):
                await two.write(key, b"b", None)
            second = await two.write(key, b"b", first)
            assert second > first
            with pytest.raises(RegisterChanged):
                await one.write(key, b"c", first)
            await _settles(lambda: one.read(key), Register(b"b", second))

        self.run(story)

    def test_of_many_writers_who_expect_the_same_one_succeeds(self) -> None:
        async def story(cluster: Cluster) -> None:
            key = self.prefix() + "owner"
            writers = [await cluster.registers(name) for name in "abc"]
            answers = await asyncio.gather(
                *(one.write(key, b"%d" % n, None) for n, one in enumerate(writers)),
                return_exceptions=True,
            )
            won = [n for n, answer in enumerate(answers) if isinstance(answer, int)]
            assert len(won) == 1
            assert sum(isinstance(answer, RegisterChanged) for answer in answers) == 2
            await _settles(lambda: writers[0].read(key), Register(b"%d" % won[0], answers[won[0]]))

        self.run(story)

    def test_a_register_that_was_removed_is_made_anew_with_a_greater_revision(self) -> None:
        async def story(cluster: Cluster) -> None:
            key = self.prefix() + "gone"
            registers = await cluster.registers("a")
            first = await registers.write(key, b"x", None)
            with pytest.raises(RegisterChanged):
                await registers.delete(key, first + 1000)
            await registers.delete(key, first)
            await _settles(lambda: registers.read(key), None)
            with pytest.raises(RegisterChanged):
                await registers.write(key, b"y", first)
            assert await registers.write(key, b"y", None) > first

        self.run(story)

    def test_items_are_those_with_the_prefix(self) -> None:
        async def story(cluster: Cluster) -> None:
            prefix = self.prefix()
            registers = await cluster.registers("a")
            revisions = {
                key: await registers.write(prefix + key, key.encode(), None)
                for key in ("node.a", "node.b", "nodes", "owner.1")
            }
            await registers.delete(prefix + "node.b", revisions.pop("node.b"))

            async def look() -> dict[str, Register]:
                return dict(await registers.items(prefix + "node."))

            await _settles(look, {prefix + "node.a": Register(b"node.a", revisions["node.a"])})
            assert await registers.items(prefix + "none") == {}

        self.run(story)

    def test_values_and_keys_have_limits(self) -> None:
        async def story(cluster: Cluster) -> None:
            prefix = self.prefix()
            registers = await cluster.registers("a")
            await registers.write(prefix.ljust(128, "x"), bytes(64 << 10), None)
            with pytest.raises(ValueError, match="bytes"):
                await registers.write(prefix + "k", bytes((64 << 10) + 1), None)
            for key in ("", "a b", "a*", "ä", "x" * 129, "a>"):
                with pytest.raises(ValueError, match="key"):
                    await registers.read(key)

        self.run(story)

    def test_a_watch_tells_what_is_and_every_last_change(self) -> None:
        async def story(cluster: Cluster) -> None:
            prefix = self.prefix()
            registers = await cluster.registers("a")
            there = await registers.write(prefix + "there", b"1", None)
            await registers.write(prefix[:-1] + "x.other", b"no", None)
            notes = Notes()
            seen: dict[str, Register | None] = {}

            def changed(key: str, register: Register | None) -> None:
                seen[key] = register
                notes.look()

            watch = (await cluster.registers("b")).watch(prefix, changed)
            assert not seen, "a callback was called from within the call that it belongs to"
            await notes.until(lambda: seen == {prefix + "there": Register(b"1", there)})
            made = await registers.write(prefix + "new", b"2", None)
            for n in range(3, 9):
                made = await registers.write(prefix + "new", b"%d" % n, made)
            await registers.delete(prefix + "there", there)
            last = Register(b"8", made)
            await notes.until(lambda: seen == {prefix + "there": None, prefix + "new": last})
            watch.close()
            watch.close()
            other = await cluster.registers("c")
            again = Notes()
            heard: list[str] = []

            def hear(key: str, _register: Register | None) -> None:
                heard.append(key)
                again.look()

            second = other.watch(prefix + "new", hear)
            await registers.write(prefix + "new2", b"", None)
            await again.until(lambda: {prefix + "new", prefix + "new2"} <= set(heard))
            assert prefix + "new2" not in seen, "a watch that was closed hears nothing"
            second.close()

        self.run(story)


async def _settles(look: Callable[[], Coroutine[Any, Any, Any]], expected: object) -> None:
    """Wait until a read, which may be of the past for a while, shows what is expected."""
    async with asyncio.timeout(PATIENCE_S):
        while await look() != expected:
            await asyncio.sleep(0)
