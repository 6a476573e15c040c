"""When appends become commits: nothing is forgotten, nothing waits longer than it may."""

from __future__ import annotations

import heapq
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.chat.gathering import ACK_S, FULL_BATCH, MAX_PACE_S, Gathering
from palaver.actors.chat.messages import AckUpTo, Append
from palaver.actors.chat.state import commands as cmd

URGENT, PATIENT, ACK = "urgent", "patient", "ack"
TOLERANCE_S = 1e-9


class Partition:
    """The shell around `Gathering`, under a clock of the test's own."""

    def __init__(self) -> None:
        self.gathering = Gathering()
        self.now_s = 0.0
        self.flushes: list[tuple[float, bool]] = []
        self.waiting: dict[Any, float] = {}  # append or device, and since when
        self.committed: list[Append] = []
        self.waits: list[tuple[str, float]] = []

    def advance(self, to_s: float) -> None:
        while self.flushes and self.flushes[0][0] <= to_s:
            self.now_s, acks = heapq.heappop(self.flushes)
            self.flush(acks)
        self.now_s = to_s

    def arrange(self, wait_s: float | None, acks: bool) -> None:
        if wait_s is None:
            return
        assert wait_s >= 0
        if wait_s == 0:
            self.flush(acks)
        else:
            heapq.heappush(self.flushes, (self.now_s + wait_s, acks))

    def flush(self, acks: bool) -> None:
        for append in self.gathering.take(self.now_s, acks=acks):
            self.committed.append(append)
            kind = append.tag
            if kind is None:
                _, account, device, position = append.command
                since_s = self.waiting.pop((account, device))
                self.waits.append((ACK, self.now_s - since_s))
                assert position == self.positions[account, device]
            else:
                self.waits.append((kind[0], self.now_s - self.waiting.pop(kind)))

    positions: dict[tuple[str, int], int]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 0.05),
            st.sampled_from([URGENT, URGENT, URGENT, PATIENT, ACK]),
            st.integers(0, 2),
        ),
        max_size=300,
    )
)
def test_all_is_committed_once_and_in_time(steps: list[tuple[float, str, int]]) -> None:
    partition = Partition()
    partition.positions = {}
    for number, (pause_s, kind, device) in enumerate(steps):
        partition.advance(partition.now_s + pause_s)
        if kind == ACK:
            key = ("account", device)
            partition.positions[key] = number + 1
            partition.waiting.setdefault(key, partition.now_s)
            ack = AckUpTo(*key, number + 1)
            partition.arrange(partition.gathering.acknowledge(ack), acks=True)
        else:
            opcode = cmd.SEND if kind == URGENT else cmd.LAST_SEEN
            tag = (kind, number)
            partition.waiting[tag] = partition.now_s
            append = Append(None, tag, (opcode,))
            wait_s = partition.gathering.add(append, partition.now_s)
            partition.arrange(wait_s, acks=False)
    partition.advance(partition.now_s + 1.0)
    assert partition.waiting == {}
    limits = {URGENT: MAX_PACE_S, PATIENT: ACK_S, ACK: ACK_S}
    for kind, waited_s in partition.waits:
        assert waited_s <= limits[kind] + TOLERANCE_S
    urgent = [
        append.tag[1] for append in partition.committed if append.tag and append.tag[0] == URGENT
    ]
    assert urgent == sorted(urgent)


def test_a_quiet_partition_commits_at_once() -> None:
    gathering = Gathering()
    for moment_s in (0.0, 0.0001, 0.0002):
        assert gathering.add(Append(None, None, (cmd.SEND,)), moment_s) == 0.0
        assert len(gathering.take(moment_s, acks=False)) == 1


def test_under_load_commits_keep_a_distance_unless_they_are_full() -> None:
    gathering = Gathering()
    for _ in range(40):
        gathering.add(Append(None, None, (cmd.SEND,)), 0.0)
    assert len(gathering.take(0.0, acks=False)) == 40
    wait_s = gathering.add(Append(None, None, (cmd.SEND,)), 0.0)
    assert wait_s is not None
    assert 0 < wait_s <= MAX_PACE_S
    answers = [gathering.add(Append(None, None, (cmd.SEND,)), 0.0) for _ in range(FULL_BATCH)]
    assert answers.count(0.0) == 1
