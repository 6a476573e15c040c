"""Messages to users who are away: stored, drained when they return, and what a kill -9 leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from palaver.supervisors.cli.bench.children import kill_tree
from palaver.supervisors.cli.bench.load import (
    NUMBERS_PER_EPOCH,
    ClosedLoop,
    Flow,
    LoadDriver,
    LoadFault,
    Meter,
    Session,
    until_none,
)
from palaver.supervisors.cli.bench.scenarios import (
    LOGIN_CONCURRENCY,
    Round,
    Window,
    close_all,
    in_parallel,
    latencies,
    login_all,
)


def _flows(job: dict[str, Any], number: int, meter: Meter, *, sent: int) -> list[Flow]:
    """One flow for each pair, to a user that never logs in but to drain."""
    base = (job["epoch"] + number) * NUMBERS_PER_EPOCH
    pairs = range(job["pairs"])
    flows = [Flow(2 * pair, 2 * pair + 1, base, meter, sent_count=sent) for pair in pairs]
    for flow in flows:
        flow.receiver_away = True
    return flows


async def _drain(
    driver: LoadDriver, flows: Sequence[Flow], meter: Meter, *, quiet_s: float
) -> list[Session]:
    """Log the receivers in and take all that waits for them, acknowledged to the last.

    Ends when everything has arrived, or nothing more for `quiet_s`.
    """
    receivers: list[Session] = []

    async def one(flow: Flow) -> None:
        receivers.append(await driver.login(flow.to_user, inbox=flow))

    await in_parallel(
        ((lambda flow=flow: one(flow)) for flow in flows),  # type: ignore[misc]
        width=LOGIN_CONCURRENCY,
    )
    expected = sum(flow.sent_count for flow in flows)
    seen, since_s = -1, perf_counter()
    while (now := sum(flow.arrived_count for flow in flows)) < expected:
        meter.check()
        if now != seen:
            seen, since_s = now, perf_counter()
        elif perf_counter() - since_s > quiet_s:
            break
        await asyncio.sleep(0.002)
    for receiver in receivers:
        await receiver.barrier()
    return receivers


async def _senders(driver: LoadDriver, flows: Sequence[Flow]) -> list[Session]:
    senders = await login_all(driver, [flow.from_user for flow in flows])
    by_user = {flow.from_user: flow for flow in flows}
    for sender in senders:
        flow = by_user[sender.user]
        flow.sender, sender.outbox = sender, flow
    return senders


async def _store(flows: Sequence[Flow], meter: Meter, job: dict[str, Any]) -> int:
    """Send to everybody until all is acknowledged; returns how many messages that were."""
    each: int = job["messages"] // job["pairs"]
    closed = ClosedLoop(job["window"], upto=each, answers_only=True)
    total = each * len(flows)
    for flow in flows:
        flow.wake = closed.wake
    meter.recording = True
    closed.start(flows)
    await until_none(
        lambda: total - meter.acked, meter, timeout_s=120, what="messages were not acknowledged"
    )
    return total


async def offline(driver: LoadDriver, server_pid: int, job: dict[str, Any]) -> list[Round]:
    """Messages to users who are away, then these users log in and take them all."""
    rounds: list[Round] = []
    for number in range(job["rounds"]):
        meter = Meter()
        flows = _flows(job, number, meter, sent=0)
        senders = await _senders(driver, flows)
        window = Window(server_pid)
        window.open()
        total = await _store(flows, meter, job)
        stored = window.close(total, "message")
        await close_all(senders)
        await asyncio.sleep(job["settle_s"])  # the server ends its side; not measured
        found = {f"store_{name}": value for name, value in (stored | latencies(meter)).items()}
        window.open()
        receivers = await _drain(driver, flows, meter, quiet_s=30)
        drained = window.close(sum(flow.arrived_count for flow in flows), "message")
        found |= {f"drain_{name}": value for name, value in drained.items()}
        if lost := sum(flow.sent_count - flow.arrived_count for flow in flows):
            raise LoadFault(f"{lost} of {total} offline messages never came")
        rounds.append(found)
        await close_all(receivers)
        await asyncio.sleep(job["settle_s"])
    return rounds


async def kill_after(driver: LoadDriver, server_pid: int, job: dict[str, Any]) -> list[Round]:
    """Store messages for users who are away and kill the server as the last ack comes in."""
    meter = Meter()
    flows = _flows(job, 0, meter, sent=0)
    await _senders(driver, flows)
    total = await _store(flows, meter, job)
    kill_tree(server_pid)
    return [{"acked": total}]


async def collect(driver: LoadDriver, server_pid: int, job: dict[str, Any]) -> list[Round]:
    """Log in the users that messages were stored for before the kill, and count what is lost."""
    each = job["messages"] // job["pairs"]
    meter = Meter()
    flows = _flows(job, 0, meter, sent=each)
    for flow in flows:
        flow.gaps_allowed = True
    receivers = await _drain(driver, flows, meter, quiet_s=job["quiet_s"])
    arrived = sum(flow.arrived_count for flow in flows)
    await close_all(receivers)
    return [{"acked": each * len(flows), "lost": each * len(flows) - arrived}]
