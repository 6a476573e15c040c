"""What happens to journals and registers when servers are killed, paused, wiped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from journal_contract import Notes, Reader, Writer
from nats_kit import QUICK, Servers, Town

from palaver.storage.jetstream import (
    JetStreamJournals,
    JetStreamRegisters,
    JournalFull,
    JournalIdentities,
    JournalLimits,
    JournalLost,
    JournalMissing,
    JournalReplaced,
    NotEnoughServers,
    NotStored,
    RegisterLimits,
)
from palaver.storage.replicated.ports import (
    Entry,
    Journal,
    JournalError,
    JournalTruncated,
    JournalUnavailable,
    Register,
    RegistersUnavailable,
)

pytestmark = pytest.mark.peer


class Follower(Notes):
    """Follows a journal for ever: after each failure again, behind what it has."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self.entries: list[Entry] = []
        self.failures = 0
        self._again()

    def _again(self) -> None:
        self._follow = self._journal.follow(len(self.entries), self._deliver, self._failed)

    def _deliver(self, entries: list[Entry]) -> None:
        for entry in entries:
            assert entry.position == len(self.entries) + 1, "an entry was skipped or came twice"
            self.entries.append(entry)
        self.look()

    def _failed(self, error: JournalError) -> None:
        assert isinstance(error, JournalUnavailable), error
        self.failures += 1
        asyncio.get_running_loop().call_later(0.05, self._again)

    async def until_has(self, ids: set[str]) -> None:
        await self.until(lambda: ids <= {entry.id for entry in self.entries})

    def close(self) -> None:
        self._follow.close()


class Load:
    """Publishes without a pause, retries what is in doubt, and keeps what was confirmed."""

    def __init__(self, journal: Journal, window: int = 16) -> None:
        self.confirmed: dict[str, int] = {}
        self.wanted: set[str] = set()
        self._journal = journal
        self._window = window
        self._stopping = False
        self._notes = Notes()
        self._next = 0
        self._under_way = 0
        self._more()

    def _more(self) -> None:
        while self._under_way < self._window and not self._stopping:
            self._next += 1
            name = f"m{self._next}"
            self.wanted.add(name)
            self._under_way += 1
            self._send(name)

    def _send(self, name: str) -> None:
        def done(answer: int | JournalError) -> None:
            if isinstance(answer, int):
                self.confirmed[name] = answer
                self._under_way -= 1
                self._more()
                self._notes.look()
            else:
                assert isinstance(answer, JournalUnavailable), answer
                asyncio.get_running_loop().call_later(0.02, self._send, name)

        self._journal.publish(name, name.encode(), done)

    async def until_confirmed(self, more: int) -> None:
        """Wait until so many more than now are confirmed."""
        goal = len(self.confirmed) + more
        await self._notes.until(lambda: len(self.confirmed) >= goal)

    async def stop(self) -> None:
        """Publish nothing new, and wait for what is under way."""
        self._stopping = True
        await self._notes.until(lambda: self._under_way == 0)


def _check(load: Load, follower: Follower) -> None:
    """Everything that was confirmed is there, at the place that was confirmed."""
    assert load.confirmed.keys() == load.wanted
    for name, position in load.confirmed.items():
        assert follower.entries[position - 1].id == name
    places = {}
    for entry in follower.entries:
        assert entry.body == entry.id.encode()
        places.setdefault(entry.id, entry.position)
    assert set(places) == load.wanted


def _story(servers: Servers, name: str, trouble: Callable[[int], None]) -> None:
    """Make trouble for a journal's leader under load; nothing confirmed is lost."""

    async def main() -> None:
        async with Town(servers, name, 3) as town:
            journal = await town.journal("a", 0)
            follower = Follower(await town.journal("b", 0))
            load = Load(journal)
            await load.until_confirmed(50)
            leader = await town.leader(journal)
            trouble(leader)
            await load.until_confirmed(50)
            await load.stop()
            await follower.until_has(load.wanted)
            _check(load, follower)
            follower.close()

    asyncio.run(main())


class TestThreeServers:
    def test_nothing_is_lost_when_the_leader_is_killed_and_comes_back(self, three: Servers) -> None:
        killed = []

        def kill(leader: int) -> None:
            three.kill(leader)
            killed.append(leader)

        _story(three, "killed", kill)
        three.start(killed[0])
        three.until_ready()

    def test_nothing_is_lost_when_the_leader_is_paused_and_wakes(self, three: Servers) -> None:
        paused = []

        def pause(leader: int) -> None:
            three.pause(leader)
            paused.append(leader)

        try:
            _story(three, "paused", pause)
        finally:
            three.resume(paused[0])
        three.until_ready()

    def test_without_a_majority_nothing_is_confirmed_and_all_comes_back_with_it(
        self, three: Servers
    ) -> None:
        async def main() -> None:
            async with Town(three, "minority", 3) as town:
                journal = await town.journal("a", 0)
                writer = Writer(journal)
                await writer.publish("before", b"")
                follower = Follower(journal)
                await follower.until_has({"before"})
                registers = await town.registers("a")
                register = await registers.write("k", b"1", None)
                for n in (1, 2):
                    three.pause(n)
                writer.send("during", b"")
                await writer.until(lambda: "during" in writer.answers)
                assert isinstance(writer.answers["during"], JournalUnavailable)
                with pytest.raises(RegistersUnavailable):
                    await registers.write("k", b"2", register)
                for n in (1, 2):
                    three.resume(n)
                await writer.publish("after", b"")
                await follower.until_has({"before", "after"})
                follower.close()

        try:
            asyncio.run(main())
        finally:
            for n in (1, 2):
                three.resume(n)
        three.until_ready()

    def test_a_watch_of_registers_recovers_from_the_end_of_its_server(self, three: Servers) -> None:
        async def main() -> None:
            async with Town(three, "watched", 3) as town:
                registers = await town.registers("a")
                notes = Notes()
                seen: dict[str, Register | None] = {}

                def changed(key: str, register: Register | None) -> None:
                    seen[key] = register
                    notes.look()

                watching = await town.registers("b")
                watch = watching.watch("owner.", changed)
                made = await registers.write("owner.0", b"a", None)
                await notes.until(lambda: seen.get("owner.0") == Register(b"a", made))
                for n in range(3):
                    three.kill(n)
                for n in range(3):
                    three.start(n)
                await asyncio.to_thread(three.until_ready)
                made = await _written(registers.write, "owner.0", made)
                await notes.until(lambda: seen.get("owner.0") == Register(b"b", made))
                watch.close()

        asyncio.run(main())

    def test_a_server_that_was_wiped_gets_everything_again(self, three: Servers) -> None:
        async def main() -> None:
            async with Town(three, "wiped", 3) as town:
                journals = await town.journals("a")
                journal = await town.journal("a", 0)
                load = Load(journal)
                await load.until_confirmed(20)
                three.kill(2)
                three.wipe(2)
                await load.until_confirmed(20)
                three.start(2)
                await asyncio.to_thread(three.until_ready, 2)
                await load.stop()
                while await _lagging(journals):
                    await asyncio.sleep(0.05)
                follower = Follower(journal)
                await follower.until_has(load.wanted)
                _check(load, follower)
                follower.close()

        asyncio.run(main())

    def test_copies_can_be_added_later(self, three: Servers) -> None:
        async def main() -> None:
            async with Town(three, "raised", 1) as town:
                journal = await town.journal("a", 0)
                journals = await town.journals("a")
                await Writer(journal).publish("one", b"1")
                assert (await journal.info()).config.num_replicas == 1
                await journals.set_replicas([0], 3)
                while await _lagging(journals):
                    await asyncio.sleep(0.05)
                info = await journal.info()
                assert info.config.num_replicas == 3
                assert info.cluster is not None
                assert len(info.cluster.replicas or []) == 2
                assert await Writer(journal).publish("two", b"2") == 2
                assert (await Reader(journal).got(2))[0] == Entry(1, "one", b"1")

        asyncio.run(main())

    def test_more_copies_than_servers_are_refused_with_what_to_do(self, three: Servers) -> None:
        async def main() -> None:
            async with three.connect() as client:
                journals = JetStreamJournals(client, "toomany", replicas=5, limits=QUICK)
                with pytest.raises(NotEnoughServers, match="set fewer replicas"):
                    await journals.found([0], timeout_s=1.0)
                await journals.close()

        asyncio.run(main())


async def _written(write: Callable[..., object], key: str, expected: int) -> int:
    while True:
        with contextlib.suppress(RegistersUnavailable):
            return await write(key, b"b", expected)  # type: ignore[misc]


async def _lagging(journals: JetStreamJournals) -> bool:
    try:
        return bool(await journals.lagging(0))
    except JournalUnavailable:
        return True


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Servers]:
    """A server for one test."""
    with Servers(tmp_path / "single", 1) as servers:
        yield servers


class TestOneServer:
    def test_positions_go_on_after_a_restart_of_a_truncated_journal(self, single: Servers) -> None:
        async def main() -> None:
            async with Town(single, "restarted", 1) as town:
                journal = await town.journal("a", 0)
                writer = Writer(journal)
                for n in range(5):
                    await writer.publish(f"id{n}", b"")
                await journal.truncate(100)
                assert await journal.bounds() == (5, 5)
                single.kill(0)
                single.start(0)
                await asyncio.to_thread(single.until_ready)
                assert await writer.publish("next", b"") == 6
                error = await Reader(journal, 2).error()
                assert isinstance(error, JournalTruncated)
                assert error.first == 5

        asyncio.run(main())

    def test_a_write_that_no_server_has_heard_of_is_repeated(self, single: Servers) -> None:
        async def main() -> None:
            async with single.connect() as client:
                unheard = RegisterLimits(unheard_s=60.0, pause_s=0.01)
                registers = JetStreamRegisters(client, "late", replicas=1, limits=unheard)
                writing = asyncio.ensure_future(registers.write("k", b"1", None))
                await asyncio.sleep(0)  # it has been sent
                await client.flush()
                await registers.found()
                assert await writing == 1
                assert await registers.read("k") == Register(b"1", 1)
                await registers.close()
                given_up = RegisterLimits(unheard_s=0.0)
                other = JetStreamRegisters(client, "never", replicas=1, limits=given_up)
                with pytest.raises(RegistersUnavailable):
                    await other.write("k", b"1", None)

        asyncio.run(main())

    def test_a_journal_that_was_deleted_is_missed_and_not_made_anew(
        self, single: Servers, tmp_path: Path
    ) -> None:
        known = tmp_path / "journals.json"

        async def main() -> None:
            async with single.connect() as client:
                first = JetStreamJournals(
                    client, "gone", replicas=1, limits=QUICK, identities=JournalIdentities(known)
                )
                await first.found([0])
                await Writer(first(0)).publish("one", b"")
                await client.jetstream().delete_stream(first(0).stream)
                error = await Reader(first(0)).error()
                assert isinstance(error, JournalMissing)
                writer = Writer(first(0))
                writer.send("two", b"")
                await writer.until(lambda: "two" in writer.answers)
                assert isinstance(writer.answers["two"], NotStored)
                await first.close()
                again = JetStreamJournals(
                    client, "gone", replicas=1, limits=QUICK, identities=JournalIdentities(known)
                )
                for step in (again.found, again.open):
                    with pytest.raises(JournalMissing):
                        await step([0], timeout_s=0.3)
                await again.close()

        asyncio.run(main())

    def test_a_journal_that_was_made_anew_is_refused_by_who_knew_the_old_one(
        self, single: Servers, tmp_path: Path
    ) -> None:
        known = tmp_path / "journals.json"

        async def main() -> None:
            async with single.connect() as client:
                old = JetStreamJournals(
                    client, "anew", replicas=1, limits=QUICK, identities=JournalIdentities(known)
                )
                await old.found([0])
                await Writer(old(0)).publish("one", b"")
                await client.jetstream().delete_stream(old(0).stream)
                other = JetStreamJournals(client, "anew", replicas=1, limits=QUICK)
                await other.found([0])
                await Writer(other(0)).publish("another", b"")
                # It would be told position 2 if it got through to the new one.
                writer = Writer(old(0))
                writer.send("two", b"")
                await writer.until(lambda: "two" in writer.answers)
                assert isinstance(writer.answers["two"], NotStored)
                assert isinstance(await Reader(old(0)).error(), JournalReplaced)
                with pytest.raises(JournalReplaced, match="wipe the replicas"):
                    await old(0).bounds()
                again = JetStreamJournals(
                    client, "anew", replicas=1, limits=QUICK, identities=JournalIdentities(known)
                )
                with pytest.raises(JournalReplaced):
                    await again.open([0], timeout_s=1.0)
                identities = JournalIdentities(known)
                identities.forget(0)
                fresh = JetStreamJournals(
                    client, "anew", replicas=1, limits=QUICK, identities=identities
                )
                await fresh.open([0])
                assert fresh(0).identity == other(0).identity
                for each in (old, other, again, fresh):
                    await each.close()

        asyncio.run(main())

    def test_a_journal_that_ends_before_what_was_confirmed_has_lost_entries(
        self, single: Servers
    ) -> None:
        async def main() -> None:
            async with Town(single, "lost", 1) as town:
                journal = await town.journal("a", 0)
                await Writer(journal).publish("one", b"")
                error = await Reader(journal, 7).error()
                assert isinstance(error, JournalLost)
                assert (error.position, error.last) == (7, 1)

        asyncio.run(main())

    def test_a_full_journal_says_so_and_keeps_what_it_has(self, single: Servers) -> None:
        limits = JournalLimits(max_bytes=64 << 10, publish_timeout_s=5.0)

        async def main() -> None:
            async with Town(single, "full", 1, limits) as town:
                journal = await town.journal("a", 0)
                writer = Writer(journal)
                count = 0
                error = None
                while error is None:
                    try:
                        await writer.publish(f"n{count}", bytes(5000))
                        count += 1
                    except JournalFull as full:
                        error = full
                assert "more room" in str(error)
                assert await journal.bounds() == (1, count)
                await journal.truncate(count - 1)
                assert await writer.publish("again", b"") == count + 1

        asyncio.run(main())

    def test_a_follower_that_hears_nothing_fails_and_goes_on_later(self, single: Servers) -> None:
        async def main() -> None:
            async with Town(single, "silent", 1) as town:
                journal = await town.journal("a", 0)
                writer = Writer(journal)
                await writer.publish("one", b"")
                reader = Reader(journal)
                await reader.got(1)
                single.pause(0)
                try:
                    assert isinstance(await reader.error(), JournalUnavailable)
                    writer.send("two", b"")
                    await writer.until(lambda: "two" in writer.answers)
                    assert isinstance(writer.answers["two"], JournalUnavailable)
                finally:
                    single.resume(0)
                await writer.publish("three", b"")
                follower = Follower(journal)
                await follower.until_has({"one", "three"})
                follower.close()

        asyncio.run(main())

    def test_what_waits_is_given_up_when_the_journals_close(self, single: Servers) -> None:
        async def main() -> None:
            async with Town(single, "closed", 1) as town:
                journal = await town.journal("a", 0)
                writer = Writer(journal)
                single.pause(0)
                try:
                    writer.send("one", b"")
                    await asyncio.sleep(0)
                    await (await town.journals("a")).close()
                finally:
                    single.resume(0)
                assert isinstance(writer.answers["one"], JournalUnavailable)
                writer.send("two", b"")
                await writer.until(lambda: "two" in writer.answers)
                assert isinstance(writer.answers["two"], NotStored)

        asyncio.run(main())
