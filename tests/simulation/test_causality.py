"""The checker of causality: Lamport's clocks are accepted, and every mutation refused."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.simulation import CausalEvent, CausalityBroken, CausalLog, HistoryError
from palaver.actors.simulation import check_causality as check


def honest(rng: random.Random, *, late: bool) -> CausalLog:
    """Processes with Lamport clocks write into lines that number what they get."""
    log = CausalLog()
    clocks = dict.fromkeys("abcd", 0)
    stamps: dict[str, int] = {}
    seqs: dict[str, int] = {"x": 0, "y": 0}
    for number in range(rng.randrange(2, 40)):
        process = rng.choice("abcd")
        if stamps and rng.random() < 0.5:
            message = rng.choice(list(stamps))
            clocks[process] = max(clocks[process], stamps[message])
            log.saw(process, message)
            continue
        clocks[process] += rng.randrange(1, 3)
        message, line = f"m{number}", rng.choice("xy")
        stamps[message] = clocks[process]
        seqs[line] += 1
        if late:
            log.wrote(process, message)
            log.stamped(message, stamp=clocks[process], line=line, seq=seqs[line])
        else:
            log.wrote(process, message, stamp=clocks[process], line=line, seq=seqs[line])
    return log


def happened_before(events: list[CausalEvent]) -> set[tuple[object, object]]:
    """All pairs, by trying every way from one to the other."""
    known: dict[object, set[object]] = {}
    before: dict[object, set[object]] = {}
    for event in events:
        mine = known.setdefault(event.process, set())
        if event.kind == "wrote":
            before[event.message] = set(mine)
            mine.add(event.message)
        elif event.kind == "saw":
            mine |= {event.message} | before.get(event.message, set())
    return {(one, other) for other, ones in before.items() for one in ones}


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), late=st.booleans())
def test_clocks_that_keep_the_rules_are_accepted(seed: int, late: bool) -> None:
    verdict = check(honest(random.Random(seed), late=late))
    assert verdict, str(verdict)
    verdict.require()


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_stamps_are_refused_exactly_where_one_is_not_above_its_causes(seed: int) -> None:
    rng = random.Random(seed)
    events = list(honest(rng, late=False))
    for _ in range(rng.randrange(1, 3)):
        index = rng.randrange(len(events))
        if events[index].kind == "wrote":
            events[index] = replace(events[index], stamp=rng.randrange(1, 12))
    stamps = {each.message: each.stamp for each in events if each.kind == "wrote"}
    right = all(stamps[one] < stamps[other] for one, other in happened_before(events))
    verdict = check(events, seq_follows_cause=False)
    assert bool(verdict) == right, str(verdict)


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["leave out", "double", "second"]))
def test_numbers_with_gaps_or_doubles_are_refused(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    events = list(honest(rng, late=False))
    last = {each.line: each.seq for each in events if each.kind == "wrote"}
    writes = [each for each in events if each.kind == "wrote"]
    if kind == "leave out":
        inner = [each for each in writes if each.seq != last[each.line]]
        if not inner:
            return
        victim = rng.choice(inner)
        events = [each for each in events if each.message != victim.message]
        expected = "gap"
    elif kind == "double":
        victim = rng.choice(writes)
        others = [each for each in writes if each.line == victim.line and each is not victim]
        if not others:
            return
        events[events.index(victim)] = replace(victim, seq=rng.choice(others).seq)
        expected = "two with one number"
    else:
        victim = rng.choice(writes)
        assert victim.seq is not None
        events.append(replace(victim, kind="saw", seq=victim.seq + 1))
        expected = "two numbers"
    verdict = check(events, seq_follows_cause=False)
    assert expected in {fault.kind for fault in verdict.faults}, str(verdict)
    with pytest.raises(CausalityBroken, match=expected):
        verdict.require()


def test_a_chain_over_a_third_process_counts() -> None:
    log = CausalLog()
    log.wrote("ann", "m1", stamp=5)
    log.saw("bob", "m1")
    log.wrote("bob", "m2", stamp=6)
    log.saw("cyd", "m2")
    log.wrote("cyd", "m3", stamp=6)
    (fault,) = check(log).faults
    assert str(fault).splitlines() == [
        "stamp: cyd had seen 'm2' (stamp 6) before it wrote 'm3', whose stamp 6 is not greater",
        "     3  cyd sees 'm2'",
        "     4  cyd writes 'm3' (stamp 6)",
    ]


def test_what_was_seen_only_later_is_no_cause() -> None:
    log = CausalLog()
    log.wrote("ann", "m1")
    log.saw("ann", "m2")
    log.wrote("bob", "m2")
    log.stamped("m2", stamp=9)
    log.stamped("m1", stamp=1)
    assert check(log)


def test_a_smaller_number_in_a_line_than_a_cause_has_is_refused() -> None:
    log = CausalLog()
    log.wrote("ann", "m1", line="x", seq=2)
    log.saw("bob", "m1")
    log.wrote("bob", "m2", line="x", seq=1)
    (fault,) = check(log).faults
    assert "whose seq 1 is smaller" in fault.why
    assert check(log, seq_follows_cause=False)


def test_a_number_below_the_first_and_a_gap_are_told() -> None:
    log = CausalLog()
    for message, seq in (("m0", 0), ("m4", 4)):
        log.wrote("ann", message, line="x", seq=seq)
    assert [fault.why for fault in check(log).faults] == [
        "the number 0 of 'x' is below the first, 1",
        "no message has the number 1-3 of 'x'",
    ]
    assert [fault.why for fault in check(log, first=0).faults] == [
        "no message has the number 1-3 of 'x'"
    ]


def test_histories_that_say_nothing_are_mistakes_of_who_recorded_them() -> None:
    log = CausalLog(max_events=2)
    log.wrote("ann", "m", stamp=1)
    log.wrote("bob", "m", stamp=2)
    with pytest.raises(HistoryError, match="written twice"):
        check(log)
    with pytest.raises(HistoryError, match="full"):
        log.saw("ann", "m")
    mixed = CausalLog()
    mixed.wrote("ann", "m1", stamp=1)
    mixed.wrote("ann", "m2", stamp="two")
    with pytest.raises(HistoryError, match="cannot be compared"):
        check(mixed)
