"""The checker of queues: what an honest queue does is accepted, and every mutation refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.simulation import HistoryError, QueueBroken, QueueEvent, QueueLog, check_queue
from palaver.actors.simulation.histories.queues import QueueMode

MODES = get_args(QueueMode)
Mutation = Callable[[random.Random, list[QueueEvent]], bool]


def honest(rng: random.Random, mode: str, *, acks: bool) -> QueueLog:
    """What a queue that keeps its word might do: some senders, one receiver, lost answers."""
    log = QueueLog()
    waiting: list[tuple[str, int]] = []
    unconfirmed: list[tuple[str, int]] = []
    unacked: list[tuple[str, int]] = []
    counts = dict.fromkeys("abc", 0)
    for _ in range(rng.randrange(4, 40)):
        step = rng.choice(["send", "send", "deliver", "deliver", "ack", "drop", "again"])
        if step == "send":
            sender = rng.choice("abc")
            counts[sender] += 1
            item = (sender, counts[sender])
            log.sent(sender, item)
            outcome = rng.choice(["accepted", "accepted", "refused", "unknown", "unknown but in"])
            if outcome == "accepted":
                log.accepted(item)
            elif outcome == "refused":
                log.refused(item)
            if outcome in ("accepted", "unknown but in"):
                waiting.append(item)
                if outcome != "accepted":
                    unconfirmed.append(item)
        elif step == "deliver" and waiting:
            item = waiting.pop(0)
            log.delivered("r", item)
            unacked.append(item)
        elif step == "ack" and unacked:
            item = unacked.pop(0)
            log.acked("r", item)
            log.settled(item)
        elif step == "drop" and waiting and mode == "at-most-once":
            waiting.pop(rng.randrange(len(waiting)))
        elif step == "again" and unacked and mode == "at-least-once":
            log.delivered("r", rng.choice(unacked))
    for item in waiting:
        log.delivered("r", item)
    for item in unacked + waiting:
        log.acked("r", item)
        if rng.random() < 0.5:
            log.settled(item)
    return log


def renumbered(events: list[QueueEvent]) -> list[QueueEvent]:
    return [
        QueueEvent(number, each.kind, each.item, each.who, each.queue)
        for number, each in enumerate(events)
    ]


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32), mode=st.sampled_from(MODES), acks=st.booleans())
def test_what_an_honest_queue_does_is_accepted(seed: int, mode: Any, acks: bool) -> None:
    verdict = check_queue(honest(random.Random(seed), mode, acks=acks), mode=mode, acks=acks)
    assert verdict, str(verdict)
    verdict.require()


def chosen(
    rng: random.Random, events: list[QueueEvent], wanted: Callable[[QueueEvent], bool]
) -> QueueEvent | None:
    found = [event for event in events if wanted(event)]
    return rng.choice(found) if found else None


def lose(rng: random.Random, events: list[QueueEvent]) -> bool:
    victim = chosen(rng, events, lambda each: each.kind == "accepted")
    if victim is not None:
        events[:] = [
            each for each in events if each.item != victim.item or each.kind in ("sent", "accepted")
        ]
    return victim is not None


def forge(rng: random.Random, events: list[QueueEvent]) -> bool:
    events.insert(rng.randrange(len(events) + 1), QueueEvent(0, "delivered", "forged", "r", None))
    return True


def deliver_what_was_refused(rng: random.Random, events: list[QueueEvent]) -> bool:
    victim = chosen(rng, events, lambda each: each.kind == "refused")
    if victim is not None:
        events.append(QueueEvent(0, "delivered", victim.item, "r", None))
    return victim is not None


def double(rng: random.Random, events: list[QueueEvent]) -> bool:
    victim = chosen(rng, events, lambda each: each.kind in ("delivered", "settled"))
    if victim is not None:
        events.append(QueueEvent(0, "delivered", victim.item, "r", None))
    return victim is not None


def come_again_after_the_ack(rng: random.Random, events: list[QueueEvent]) -> bool:
    victim = chosen(rng, events, lambda each: each.kind == "settled")
    if victim is not None:
        events.append(QueueEvent(0, "delivered", victim.item, "r", None))
    return victim is not None


def never_ack(rng: random.Random, events: list[QueueEvent]) -> bool:
    taken = {each.item for each in events if each.kind == "accepted"}
    victim = chosen(rng, events, lambda each: each.kind == "delivered" and each.item in taken)
    if victim is not None:
        events[:] = [
            each
            for each in events
            if each.item != victim.item or each.kind not in ("acked", "settled")
        ]
    return victim is not None


def swap(rng: random.Random, events: list[QueueEvent]) -> bool:
    """Two items of one sender change places in all deliveries."""
    came = list(dict.fromkeys(each.item for each in events if each.kind == "delivered"))
    pairs = [(x, y) for x in came for y in came if x[0] == y[0] and x < y]
    if not pairs:
        return False
    one, other = rng.choice(pairs)
    change = {one: other, other: one}
    last_send = max(i for i, each in enumerate(events) if each.kind == "sent")
    sent = [each for each in events[: last_send + 1] if each.kind in ("sent", "accepted")]
    came_events = [each for each in events if each.kind == "delivered"]
    events[:] = sent + [
        QueueEvent(0, "delivered", change.get(each.item, each.item), each.who, None)
        for each in came_events
    ]
    return True


def send_too_late(rng: random.Random, events: list[QueueEvent]) -> bool:
    victim = chosen(rng, events, lambda each: each.kind == "delivered")
    if victim is not None:
        sends = [each for each in events if each.item == victim.item and each.kind == "sent"]
        events[:] = [each for each in events if each not in sends] + sends
    return victim is not None


MUTATIONS: list[tuple[Mutation, str, list[str], bool]] = [
    (lose, "lost", ["at-least-once", "exactly-once"], False),
    (forge, "phantom", list(MODES), False),
    (deliver_what_was_refused, "phantom", list(MODES), False),
    (send_too_late, "phantom", list(MODES), False),
    (double, "doubled", ["at-most-once", "exactly-once"], False),
    (come_again_after_the_ack, "doubled", ["at-least-once"], True),
    (never_ack, "lost", ["at-least-once"], True),
    (swap, "out of order", list(MODES), False),
]


@pytest.mark.parametrize(("mutate", "kind", "modes", "acks"), MUTATIONS)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_a_mutated_history_is_refused(
    mutate: Mutation, kind: str, modes: list[Any], acks: bool, seed: int, data: st.DataObject
) -> None:
    mode = data.draw(st.sampled_from(modes))
    rng = random.Random(seed)
    events = list(honest(rng, mode, acks=acks))
    if not mutate(rng, events):
        return
    verdict = check_queue(renumbered(events), mode=mode, acks=acks)
    assert kind in {fault.kind for fault in verdict.faults}, str(verdict)
    with pytest.raises(QueueBroken, match=kind):
        verdict.require()


def test_a_fault_shows_only_the_events_that_make_it_one() -> None:
    log = QueueLog()
    for number in range(5):
        log.sent("ann", number)
        log.accepted(number)
    for number in (0, 2, 1, 3, 4):
        log.delivered("bob", number)
    (fault,) = check_queue(log, mode="exactly-once").faults
    assert str(fault).splitlines() == [
        "out of order: 1: ann had sent it before 2, and it came after that",
        "     2  ann sends 1",
        "     4  ann sends 2",
        "    11  bob gets 2",
        "    12  bob gets 1",
    ]


def test_several_receivers_may_take_turns_but_a_session_keeps_the_order() -> None:
    log = QueueLog()
    for item in ("1", "2"):
        log.sent("ann", item, "jobs")
        log.accepted(item, "jobs")
    for receiver, item in (("r1", "1"), ("r1", "2"), ("r2", "2"), ("r2", "1")):
        log.delivered(receiver, item, "jobs")
    assert check_queue(log)
    (fault,) = check_queue(log, order="per_session").faults
    assert fault.kind == "out of order"
    assert "of queue 'jobs'" in str(fault)
    assert check_queue(log, order="none")


def test_queues_know_nothing_of_each_other() -> None:
    log = QueueLog()
    log.sent("ann", "m", "phone")
    log.accepted("m", "phone")
    log.delivered("bob", "m", "tablet")
    kinds = [fault.kind for fault in check_queue(log).faults]
    assert sorted(kinds) == ["lost", "phantom"]


def test_nothing_is_lost_before_the_queue_is_empty() -> None:
    log = QueueLog()
    log.sent("ann", "m")
    log.accepted("m")
    assert not check_queue(log)
    assert check_queue(log, drained=False)
    assert check_queue(log, mode="at-most-once")


def test_a_retry_is_the_same_item() -> None:
    log = QueueLog()
    log.sent("ann", "m")
    log.refused("m")
    log.sent("ann", "m")
    log.accepted("m")
    log.delivered("bob", "m")
    assert check_queue(log, mode="exactly-once")
    log.sent("eve", "m")
    with pytest.raises(HistoryError, match="a name of its own"):
        check_queue(log)


def test_a_log_has_a_limit() -> None:
    log = QueueLog(max_events=1)
    log.sent("ann", "m")
    with pytest.raises(HistoryError, match="full"):
        log.accepted("m")


def test_a_verdict_explains_ten_faults_and_counts_the_others() -> None:
    log = QueueLog()
    for number in range(25):
        log.delivered("bob", number)
    text = str(check_queue(log))
    assert text.startswith("25 faults in 25 items")
    assert text.count("phantom") == 10
    assert text.endswith("... and 15 more")
