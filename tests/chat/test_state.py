"""The state machine alone: any history of commands against a model, on real tables."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.actors.chat import queries
from palaver.actors.chat.stamps import MAX_DRIFT_MS, StampClock, StampTooFarAhead
from palaver.actors.chat.state import ChatMachine, consistent_cut
from palaver.actors.chat.state import commands as cmd
from palaver.storage import Outcome, Store
from palaver.storage.simulated import Calm, SimulatedDisk, SimulatedStore
from palaver.transport import wire

PEOPLE = ("+4915112345001", "+4915112345002", "+4915112345003")
GROUP = b"G" * 16


class Tables:
    """A store driven by hand; what goes between partitions is carried when `carry` says so."""

    def __init__(self, folder: Path | SimulatedDisk, partitions: int) -> None:
        self.folder = folder
        self.partitions = partitions

        def machine(number: int) -> ChatMachine:
            return ChatMachine(number, partitions)

        self.store = (
            SimulatedStore.open(folder, machine, partitions=partitions)
            if isinstance(folder, SimulatedDisk)
            else Store.open(folder, machine, partitions=partitions)
        )
        self.stamp = 1

    def place(self, key: str | bytes) -> int:
        return self.store.partition_of(key.encode() if isinstance(key, str) else key)

    def apply(self, key: str | bytes, *command: Any) -> Any:
        (outcome,) = self.store.apply_now(self.place(key), [tuple(command)])
        assert isinstance(outcome, Outcome), outcome
        return outcome.value

    def ask(self, key: str | bytes, query: str, *args: Any) -> Any:
        return self.store.view(self.place(key), lambda txn: queries.QUERIES[query](txn, *args))

    def carry(self, *, confirm: bool = True, repeat: int = 1) -> None:
        """Deliver every outbox, perhaps several times; without `confirm` the outbox stays."""
        moved = True
        while moved:
            moved = False
            for source in range(self.partitions):
                rows = self.store.view(
                    source, lambda txn: queries.outbox(txn, self.partitions, 1000)
                )
                for target, first, commands in rows:
                    for _ in range(repeat):
                        self.store.apply_now(target, [(cmd.DELIVER, source, first, commands)])
                    if confirm:
                        last = first + len(commands) - 1
                        self.store.apply_now(source, [(cmd.CONFIRM, target, last)])
                        moved = True

    def violations(self) -> list[str]:
        found: list[str] = []
        for number in range(self.partitions):
            machine = ChatMachine(number, self.partitions)
            found += self.store.view(
                number,
                lambda txn, m=machine, n=number: list(m.check(txn, n)),  # type: ignore[misc]
            )
        return found

    def take_stamp(self, count: int = 1) -> int:
        first, self.stamp = self.stamp, self.stamp + count
        return first

    def send(
        self,
        to: str | bytes,
        sender: str,
        device: int,
        bodies: list[tuple[int, bytes]],
        low: int = 1,
        previous: int = 0,
    ) -> list[Any]:
        pair: list[str] | None = None
        conversation = to
        if isinstance(to, str):
            pair = sorted((sender, to))
            conversation = wire.direct_conversation(sender, to)
        assert isinstance(conversation, bytes)
        messages = [cmd.Fresh(cid, 0, "text", body, None) for cid, body in bodies]
        return self.apply(  # type: ignore[no-any-return]
            conversation, cmd.SEND, conversation, pair, True, sender, device,
            self.take_stamp(len(messages)), low, previous, messages,
        )  # fmt: skip

    def queue(self, account: str, device: int) -> list[Any]:
        login = self.ask(account, "login", account, device)
        first, events = self.ask(
            account, "drain", account, device, login.acked + 1, 10_000, 1 << 30
        )
        assert not events or first == login.acked + 1
        return [cbor2.loads(event) for event in events]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("send"),
            st.sampled_from(range(3)),
            st.sampled_from((0, 1, 2, "group")),
            st.integers(1, 3),
            st.sampled_from((1, 900, 30_000)),
        ),
        st.tuples(st.just("retry"), st.integers(0, 50)),
        st.tuples(st.just("ack"), st.sampled_from(range(3)), st.integers(1, 2), st.integers(0, 20)),
        st.tuples(st.just("carry"), st.booleans(), st.integers(1, 2)),
        st.tuples(st.just("reopen")),
    ),
    max_size=40,
)


@pytest.mark.parametrize("partitions", [1, 4])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_any_history_keeps_the_promises(partitions: int, steps: list[Any]) -> None:
    """On both engines; and what they hold in the end is the same."""
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for place in (Path(folder), SimulatedDisk(Calm(lambda *_: None, lambda: 0.0))):
            history = History(Tables(place, partitions))
            try:
                history.run(steps)
                store = history.tables.store
                found.append(
                    [(store.digest(n), store.content_digest(n)) for n in range(partitions)]
                )
            finally:
                history.tables.store.close_now()
        assert found[0] == found[1]


class History:
    """The model: per conversation what was accepted, per device what it acknowledged."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.next_cid = 1
        self.order: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        self.sent: list[tuple[Any, ...]] = []
        self.drained: dict[tuple[str, int], list[Any]] = defaultdict(list)
        for person in PEOPLE:
            for device in (1, 2):
                number = tables.apply(
                    person, cmd.REGISTER_DEVICE, person, f"{person}{device}".encode(), "d", 1
                )
                assert number == device
        answer = tables.apply(
            GROUP, cmd.CREATE_GROUP, GROUP, "g", PEOPLE[0], 1, tables.take_stamp(), 1,
            self.take_cid(), list(PEOPLE[1:]),
        )  # fmt: skip
        assert answer[0].seq == 1
        tables.carry()

    def take_cid(self) -> int:
        self.next_cid += 1
        return self.next_cid - 1

    def run(self, steps: list[Any]) -> None:
        for step in steps:
            getattr(self, f"do_{step[0]}")(*step[1:])
            assert self.tables.violations() == []
        self.do_carry(True, 1)
        for person in PEOPLE:
            for device in (1, 2):
                self.do_ack(PEOPLE.index(person), device, 10_000)
        assert self.tables.violations() == []
        self.compare()

    def do_send(self, who: int, to: Any, count: int, size: int) -> None:
        if to == who:
            return
        sender = PEOPLE[who]
        target = GROUP if to == "group" else PEOPLE[to]
        bodies = [(self.take_cid(), bytes([n]) * size) for n in range(count)]
        answers = self.tables.send(target, sender, 1, bodies)
        for (cid, body), answer in zip(bodies, answers, strict=True):
            assert isinstance(answer, cmd.Sent), answer
            log = self.order[answer.conversation]
            assert answer.seq == len(log) + (2 if target == GROUP else 1)
            log.append((answer.stamp, body))
            self.sent.append((target, sender, cid, body, answer))
        stamps = [stamp for stamp, _ in self.order[answers[0].conversation]]
        assert stamps == sorted(set(stamps))

    def do_retry(self, which: int) -> None:
        if self.sent:
            target, sender, cid, body, answer = self.sent[which % len(self.sent)]
            assert self.tables.send(target, sender, 1, [(cid, body)]) == [answer]

    def do_ack(self, who: int, device: int, count: int) -> None:
        person = PEOPLE[who]
        events = self.tables.queue(person, device)[:count]
        login = self.tables.ask(person, "login", person, device)
        if events:
            self.tables.apply(person, cmd.ACK, person, device, login.acked + len(events))
            self.drained[person, device] += events
            assert len(self.tables.queue(person, device)) >= 0

    def do_carry(self, confirm: bool, repeat: int) -> None:
        self.tables.carry(confirm=confirm, repeat=repeat)

    def do_reopen(self) -> None:
        stamp = self.tables.stamp
        self.tables.store.close_now()
        self.tables = Tables(self.tables.folder, self.tables.partitions)
        self.tables.stamp = stamp

    def compare(self) -> None:
        """Every device got every message of its conversations once, in the one order."""
        for (person, device), events in self.drained.items():
            seen: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
            for event in events:
                if event[0] == wire.EVENT_MESSAGE:
                    assert (event[5], event[6]) != (person, device), "an own message came back"
                    seen[event[1]].append((event[3], event[10]))
            for conversation, log in self.order.items():
                own = {
                    (answer.stamp, body)
                    for _, sender, _, body, answer in self.sent
                    if answer.conversation == conversation and (sender, 1) == (person, device)
                }
                mine = conversation == GROUP or any(
                    conversation == wire.direct_conversation(person, other)
                    for other in PEOPLE
                    if other != person
                )
                expected = [entry for entry in log if entry not in own] if mine else []
                assert seen[conversation] == expected


def test_a_message_is_not_accepted_without_the_one_before_it(tmp_path: Path) -> None:
    tables = Tables(tmp_path, 1)
    ann, bob = PEOPLE[:2]
    for person in (ann, bob):
        tables.apply(person, cmd.REGISTER_DEVICE, person, person.encode(), "d", 1)
    (refused,) = tables.send(bob, ann, 1, [(2, b"second")], previous=1)
    assert (type(refused), refused.code) == (cmd.Refusal, "unavailable")
    assert tables.send(bob, ann, 1, [(1, b"first")])[0].seq == 1
    assert tables.send(bob, ann, 1, [(2, b"second")], previous=1)[0].seq == 2
    tables.store.close_now()


def test_a_change_of_members_does_not_overtake_what_its_author_wrote_before(
    tmp_path: Path,
) -> None:
    tables = Tables(tmp_path, 1)
    ann, bob, cid = PEOPLE[:3]
    for person in (ann, bob, cid):
        tables.apply(person, cmd.REGISTER_DEVICE, person, person.encode(), "d", 1)
    group = b"g" * 16

    def change(number: int, added: list[str], removed: list[str], previous: int) -> Any:
        (answer,) = tables.apply(
            group, cmd.CHANGE_MEMBERS, group, ann, 1, tables.take_stamp(), 1, number,
            added, removed, previous,
        )  # fmt: skip
        return answer

    tables.apply(group, cmd.CREATE_GROUP, group, "g", ann, 1, tables.take_stamp(), 1, 1, [bob, cid])
    # Number 2, which removes Bob, could not be stored for a moment.
    assert change(3, [bob], [], previous=2).code == "unavailable"
    assert change(2, [], [bob], previous=0).seq == 2
    assert change(3, [bob], [], previous=2).seq == 3
    assert tables.ask(group, "conversation", group).members == (ann, bob, cid)
    # Number 4 was refused, and that answer was lost.
    assert tables.send(group, ann, 1, [(5, b"later")])[0].seq == 4
    assert change(4, [], [bob], previous=0).code == "not_allowed"
    tables.store.close_now()


def test_a_retry_gets_its_answer_though_its_author_has_left(tmp_path: Path) -> None:
    tables = Tables(tmp_path, 1)
    ann, bob = PEOPLE[:2]
    for person in (ann, bob):
        tables.apply(person, cmd.REGISTER_DEVICE, person, person.encode(), "d", 1)
    group = b"g" * 16
    tables.apply(group, cmd.CREATE_GROUP, group, "g", ann, 1, tables.take_stamp(), 1, 1, [bob])
    accepted = tables.send(group, bob, 1, [(1, b"said in time")])
    tables.apply(
        group, cmd.CHANGE_MEMBERS, group, bob, 1, tables.take_stamp(), 1, 2, [], [bob], 0
    )  # fmt: skip
    again = tables.send(group, bob, 1, [(1, b"said in time"), (3, b"said too late")])
    assert again[:1] == accepted
    assert again[1].code == "not_a_member"
    tables.store.close_now()


def test_what_was_refused_is_not_accepted_behind_what_was_written_later(tmp_path: Path) -> None:
    """The first refusal may be lost on its way to the author, who then asks again."""
    tables = Tables(tmp_path, 1)
    ann, bob = PEOPLE[:2]
    for person in (ann, bob):
        tables.apply(person, cmd.REGISTER_DEVICE, person, person.encode(), "d", 1)
    assert tables.send(bob, ann, 1, [(1, b"first")])[0].seq == 1
    # Number 2 was refused while Bob could not be reached; that was told, and did not arrive.
    assert tables.send(bob, ann, 1, [(3, b"third")])[0].seq == 2
    again = tables.send(bob, ann, 1, [(2, b"second"), (3, b"third"), (4, b"fourth")])
    assert again[0].code == "unreachable"
    assert [answer.seq for answer in again[1:]] == [2, 3]
    # In another conversation nothing is overtaken.
    assert tables.send(ann, ann, 1, [(2, b"note")])[0].seq == 1
    tables.store.close_now()


def test_an_author_hears_of_a_delivery_whichever_device_was_further(tmp_path: Path) -> None:
    tables = Tables(tmp_path, 1)
    ann, bob, cem = PEOPLE[:3]
    for person in (ann, bob, cem):
        tables.apply(person, cmd.REGISTER_DEVICE, person, person.encode(), "d", 1)
    group = b"g" * 16
    tables.apply(group, cmd.CREATE_GROUP, group, "g", ann, 1, tables.take_stamp(), 1, 1, [bob, cem])
    tables.send(group, ann, 1, [(2, b"of ann")], low=2)
    # A second device of bob's, which only gets what is said from now on, acknowledges first.
    tables.apply(bob, cmd.REGISTER_DEVICE, bob, b"another key", "d", 1)
    tables.send(group, cem, 1, [(1, b"of cem")])
    tables.apply(bob, cmd.ACK, bob, 2, 1)
    (outcome,) = tables.store.apply_now(0, [(cmd.ACK, bob, 1, 3)])
    assert isinstance(outcome, Outcome)
    assert [effect.accounts for effect in outcome.effects if type(effect) is cmd.Marked] == [
        (ann, cem)
    ]
    tables.store.close_now()


def test_a_wide_fan_out_stores_its_body_once_and_forgets_it(tmp_path: Path) -> None:
    tables = Tables(tmp_path, 1)
    ann, bob = PEOPLE[:2]
    tables.apply(ann, cmd.REGISTER_DEVICE, ann, b"a", "d", 1)
    for n in range(3):
        tables.apply(bob, cmd.REGISTER_DEVICE, bob, b"b%d" % n, "d", 1)
    tables.send(bob, ann, 1, [(1, b"x" * 40_000)])

    def count(table: str) -> int:
        return tables.store.view(0, lambda txn: txn.count(table))

    assert count("bodies") == 1
    for device in (1, 2, 3):
        assert tables.queue(bob, device)[0][10] == b"x" * 40_000
        assert tables.violations() == []
        if device < 3:
            tables.apply(bob, cmd.ACK, bob, device, 1)
        else:
            tables.apply(bob, cmd.REVOKE_DEVICE, bob, device)
    assert count("bodies") == 0
    assert tables.violations() == []
    tables.store.close_now()


def test_deleting_an_account_closes_its_conversations(tmp_path: Path) -> None:
    tables = Tables(tmp_path, 4)
    History(tables)
    ann, bob, cid = PEOPLE
    tables.send(bob, ann, 1, [(50, b"x")])
    tables.carry()
    tables.apply(ann, cmd.DELETE_ACCOUNT, ann, tables.take_stamp())
    tables.carry()
    (refused,) = tables.send(ann, bob, 1, [(51, b"y")])
    assert refused.code == "unreachable"
    row = tables.ask(GROUP, "conversation", GROUP)
    assert row.members == (bob, cid)
    assert tables.queue(bob, 1)[-1][-1] == [ann]
    assert tables.ask(ann, "devices", ann) == []
    assert tables.violations() == []
    tables.store.close_now()


def test_last_seen_never_goes_backwards(tmp_path: Path) -> None:
    tables = Tables(tmp_path, 1)
    ann = PEOPLE[0]
    tables.apply(ann, cmd.REGISTER_DEVICE, ann, b"a", "d", 1)
    for time_ms, expected in ((100, 100), (50, 100), (150, 150)):
        tables.apply(ann, cmd.LAST_SEEN, [(ann, 1, time_ms)])
        assert tables.ask(ann, "presence", ann).last_seen_ms == expected
    tables.store.close_now()


def test_a_cut_that_lost_what_was_under_way_is_seen(tmp_path: Path) -> None:
    tables = Tables(tmp_path, 2)
    sides = {tables.place(person): person for person in (f"+49151123456{n}" for n in range(20))}
    ann, bob = sides[0], sides[1]
    for person in (ann, bob):
        tables.apply(person, cmd.REGISTER_DEVICE, person, person.encode(), "d", 1)
    home = tables.place(wire.direct_conversation(ann, bob))
    other = 1 - home

    def cut(early: int, late: int) -> bool:
        """Whether the snapshot of `early`, taken before the outbox moved, fits that of `late`."""

        def inner(first: Any) -> bool:
            return tables.store.view(late, lambda second: judge(first, second))

        def judge(first: Any, second: Any) -> bool:
            return consistent_cut([first, second] if early == 0 else [second, first])

        return tables.store.view(early, inner)

    tables.send(bob, ann, 1, [(1, b"x")])
    assert cut(home, other)
    rows = tables.store.view(home, lambda txn: queries.outbox(txn, 2, 10))
    (target, first, commands) = rows[0]
    assert target == other
    # Confirmed without having been delivered: what a bad pair of snapshots looks like.
    tables.store.apply_now(home, [(cmd.CONFIRM, target, first + len(commands) - 1)])
    assert not cut(home, other)
    tables.store.close_now()


@given(st.lists(st.one_of(st.tuples(st.just("take"), st.integers(1, 5)),
                          st.tuples(st.just("clock"), st.integers(-10_000, 10_000)),
                          st.tuples(st.just("see"), st.integers(0, 2**62)))))  # fmt: skip
def test_stamps_rise_whatever_the_clock_does(steps: list[tuple[str, int]]) -> None:
    now_ms = 1_000_000
    clock = StampClock(lambda: now_ms)
    greatest = 0
    for what, value in steps:
        if what == "clock":
            now_ms = max(0, now_ms + value)
        elif what == "take":
            first = clock.take(value)
            assert first > greatest
            greatest = first + value - 1
        else:
            ahead = value >> 16 > max(now_ms, greatest >> 16) + MAX_DRIFT_MS + 1
            try:
                clock.observe_claim(value)
                assert not ahead
                greatest = max(greatest, value)
            except StampTooFarAhead:
                assert value > greatest
