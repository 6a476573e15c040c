from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from palaver.supervisors.cli.bench.floors import FLOORS
from palaver.supervisors.cli.bench.identities import account, device_key
from palaver.supervisors.cli.bench.load import (
    BODY_BYTES,
    ClosedLoop,
    Flow,
    LoadFault,
    Meter,
    message_body,
    until_none,
)
from palaver.supervisors.cli.bench.node import median_bucket
from palaver.supervisors.cli.bench.wireload import masked_frame, split_frames
from palaver.supervisors.cli.bench.worker import SCENARIOS


class Sender:
    """Remembers what it was asked to send."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []

    def submit(self, first: int, count: int) -> None:
        self.sent.append((first, count))


def flow_of(meter: Meter, **more: Any) -> tuple[Flow, Sender]:
    flow, sender = Flow(0, 1, 1000, meter, **more), Sender()
    flow.sender = sender  # type: ignore[assignment]
    return flow, sender


def test_a_body_has_its_size_and_its_number() -> None:
    body = message_body(16_777_299)
    assert len(body) == BODY_BYTES
    assert int(body[:12]) == 16_777_299


def test_a_flow_measures_from_send_to_ack_and_to_arrival() -> None:
    meter = Meter()
    meter.recording = True
    flow, sender = flow_of(meter)
    flow.send(2, 10.0)
    flow.answered(1000, 10.5)
    flow.arrived(1000, 10.75)
    flow.confirmed(1)
    assert sender.sent == [(1000, 2)]
    assert list(meter.ack_s) == [0.5]
    assert list(meter.deliver_s) == [0.75]
    assert (meter.acked, meter.delivered, flow.unsettled) == (1, 1, 1)
    flow.answered(1001, 11.0)
    flow.arrived(1001, 11.0)
    flow.confirmed(1)
    assert flow.unsettled == 0
    meter.check()


@pytest.mark.parametrize("number", [1001, 999, 1002])
def test_a_message_out_of_order_is_a_fault(number: int) -> None:
    meter = Meter()
    flow, _ = flow_of(meter)
    flow.send(2, 0.0)
    flow.arrived(number, 0.0)
    with pytest.raises(LoadFault, match="arrived where 0 was next"):
        meter.check()


def test_a_message_twice_is_a_fault() -> None:
    meter = Meter()
    flow, _ = flow_of(meter)
    flow.send(2, 0.0)
    flow.arrived(1000, 0.0)
    flow.arrived(1000, 0.0)
    with pytest.raises(LoadFault, match="message 0 arrived where 1 was next"):
        meter.check()


def test_after_a_kill_gaps_are_counted_and_doubles_are_still_faults() -> None:
    meter = Meter()
    flow, _ = flow_of(meter, sent_count=5)
    flow.gaps_allowed = True
    flow.arrived(1001, 0.0)
    flow.arrived(1004, 0.0)
    meter.check()
    assert flow.arrived_count == 2
    flow.arrived(1004, 0.0)
    with pytest.raises(LoadFault):
        meter.check()


def test_an_answer_to_nothing_is_a_fault() -> None:
    meter = Meter()
    flow, _ = flow_of(meter)
    flow.answered(1000, 0.0)
    with pytest.raises(LoadFault, match="which was not open"):
        meter.check()


def test_a_closed_loop_joins_what_becomes_possible_in_one_turn() -> None:
    async def scenario() -> list[tuple[int, int]]:
        meter = Meter()
        closed = ClosedLoop(3)
        flow, sender = flow_of(meter, wake=closed.wake)
        closed.start([flow])
        await asyncio.sleep(0)
        for number in (1000, 1001):
            flow.answered(number, 0.0)
            flow.arrived(number, 0.0)
        flow.answered(1002, 0.0)  # not arrived yet: still in flight
        await asyncio.sleep(0)
        closed.running = False
        flow.arrived(1002, 0.0)
        await asyncio.sleep(0)
        meter.check()
        return sender.sent

    assert asyncio.run(scenario()) == [(1000, 3), (1003, 2)]


def test_a_closed_loop_stops_at_its_limit() -> None:
    async def scenario() -> list[tuple[int, int]]:
        meter = Meter()
        closed = ClosedLoop(4, upto=5, answers_only=True)
        flow, sender = flow_of(meter, wake=closed.wake)
        closed.start([flow])
        await asyncio.sleep(0)
        for number in range(1000, 1004):
            flow.answered(number, 0.0)
        await asyncio.sleep(0)
        return sender.sent

    assert asyncio.run(scenario()) == [(1000, 4), (1004, 1)]


def test_waiting_ends_with_the_condition_the_fault_or_the_time() -> None:
    meter = Meter()
    asyncio.run(until_none(lambda: 0, meter, timeout_s=1, what="are gone"))
    with pytest.raises(LoadFault, match="3 are gone within 0 s"):
        asyncio.run(until_none(lambda: 3, meter, timeout_s=0, what="are gone"))
    meter.broken("lost one")
    with pytest.raises(LoadFault, match="lost one"):
        asyncio.run(until_none(lambda: 0, meter, timeout_s=1, what="are gone"))


@given(st.lists(st.binary(max_size=70_000), max_size=5), st.integers(0, 200))
def test_frames_of_a_server_are_split_wherever_the_bytes_break(
    payloads: list[bytes], cut: int
) -> None:
    sent = b"".join(Frame(Opcode.BINARY, each).serialize(mask=False) for each in payloads)
    cut = min(cut, len(sent))
    first, rest = split_frames(sent[:cut])
    second, rest = split_frames(rest + sent[cut:])
    assert [payload for _, payload in first + second] == payloads
    assert all(head == 0x82 for head, _ in first + second)
    assert rest == b""


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_our_frames_are_read_by_websockets(size: int) -> None:
    reader = StreamReader()
    reader.feed_data(masked_frame(0x82, b"x" * size))
    parsing = Frame.parse(reader.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert done.value.value.data == b"x" * size


def test_a_server_that_masks_is_refused() -> None:
    with pytest.raises(LoadFault, match="masks"):
        split_frames(masked_frame(0x82, b"abc"))


def test_accounts_and_keys_are_the_same_in_every_process() -> None:
    assert account(7) == "+491702000007"
    assert account(7) != account(8)
    assert device_key(7).private_bytes_raw() == device_key(7).private_bytes_raw()
    with pytest.raises(ValueError, match="numbered"):
        account(-1)


METRICS = """\
# HELP palaver_commit_batch_commands Commands in one durable commit.
# TYPE palaver_commit_batch_commands histogram
palaver_commit_batch_commands_bucket{partition="0",le="1.0"} 10.0
palaver_commit_batch_commands_bucket{partition="0",le="8.0"} 60.0
palaver_commit_batch_commands_bucket{partition="0",le="64.0"} 100.0
palaver_commit_batch_commands_bucket{partition="0",le="+Inf"} 101.0
"""


def test_the_median_commit_is_read_from_metrics() -> None:
    assert median_bucket(METRICS) == 8
    assert median_bucket("") is None
    assert median_bucket('palaver_commit_batch_commands_bucket{le="+Inf"} 3.0') is None


def test_scenarios_and_floors_have_different_names() -> None:
    assert not set(SCENARIOS) & set(FLOORS)
