"""What a server is put through: the same scenarios for every protocol.

Each is a coroutine over a `LoadDriver` that returns plain numbers, one dict for each round.
The server's CPU time is the operating system's account of its process, read at the two ends
of the measured window.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from palaver.supervisors.cli.bench import procfs
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
from palaver.supervisors.cli.bench.stats import percentile

Round = dict[str, float]

LOGIN_CONCURRENCY = 32
MAX_OPEN = 50_000
"""Paced load gives up when this many messages are sent and not done: the server cannot follow."""


@dataclass(slots=True)
class Window:
    """A stretch of time with the CPU that the server and this load client used in it."""

    _server_pid: int
    _began_s: float = 0.0
    _server_us: float = 0.0
    _client_us: float = 0.0

    def open(self) -> None:
        """Begin the stretch."""
        self._server_us = procfs.cpu_us(self._server_pid)
        self._client_us = time.process_time() * 1e6
        self._began_s = perf_counter()

    def close(self, count: int, what: str) -> Round:
        """End the stretch, in which `count` of `what` were done."""
        took_s = perf_counter() - self._began_s
        server_us = procfs.cpu_us(self._server_pid) - self._server_us
        client_us = time.process_time() * 1e6 - self._client_us
        if count <= 0:
            raise LoadFault(f"no {what} was done within {took_s:.1f} s")
        return {
            f"{what}s": count,
            f"{what}s_per_s": count / took_s,
            f"server_cpu_us_per_{what}": server_us / count,
            f"client_cpu_us_per_{what}": client_us / count,
            "server_cpu_share": server_us / took_s / 1e6,
            "client_cpu_share": client_us / took_s / 1e6,
            "took_s": took_s,
        }


async def in_parallel(jobs: Iterable[Callable[[], Awaitable[Any]]], *, width: int) -> None:
    """Do all jobs, at most `width` at a time."""
    queue = iter(list(jobs))

    async def work() -> None:
        for job in queue:
            await job()

    await asyncio.gather(*(work() for _ in range(width)))


async def login_all(driver: LoadDriver, users: Sequence[int]) -> list[Session]:
    """Log users in, a few at a time; all stay connected."""
    sessions: list[Session] = []

    async def one(user: int) -> None:
        sessions.append(await driver.login(user))

    await in_parallel(
        ((lambda user=user: one(user)) for user in users),  # type: ignore[misc]
        width=LOGIN_CONCURRENCY,
    )
    return sessions


async def close_all(sessions: Sequence[Session]) -> None:
    """Log everybody out in order."""
    await in_parallel((session.close for session in sessions), width=LOGIN_CONCURRENCY)


def latencies(meter: Meter) -> Round:
    """Return the percentiles of what a meter has recorded."""
    shown: Round = {}
    for name, samples in (("send_ack", meter.ack_s), ("deliver", meter.deliver_s)):
        if samples:
            ordered = sorted(samples)
            shown[f"{name}_p50_ms"] = percentile(ordered, 0.50) * 1e3
            shown[f"{name}_p99_ms"] = percentile(ordered, 0.99) * 1e3
    return shown


async def _pair_up(
    driver: LoadDriver, pairs: int, base: int, meter: Meter, wake: Callable[[Flow], None] | None
) -> tuple[list[Flow], list[Session]]:
    """Log in users 2k and 2k+1 for each pair; the first sends to the second."""
    flows: list[Flow] = []
    sessions: list[Session] = []

    async def one(pair: int) -> None:
        flow = Flow(2 * pair, 2 * pair + 1, base, meter, wake=wake)
        receiver = await driver.login(2 * pair + 1, inbox=flow)
        sender = await driver.login(2 * pair)
        flow.sender = sender
        sender.outbox = flow
        flows.append(flow)
        sessions.extend((sender, receiver))

    await in_parallel(
        ((lambda pair=pair: one(pair)) for pair in range(pairs)),  # type: ignore[misc]
        width=LOGIN_CONCURRENCY,
    )
    return flows, sessions


async def _pace(flows: Sequence[Flow], rate: float, late_s: list[float]) -> None:
    """Send `rate` messages a second over all flows in turn, whatever the answers do."""
    began_s = perf_counter()
    sent = 0
    while True:
        now_s = perf_counter()
        due = int((now_s - began_s) * rate)
        if due > sent:
            late_s.append((now_s - began_s) - sent / rate)
        while sent < due:
            flows[sent % len(flows)].send(1, now_s)
            sent += 1
        if sent - sum(flow.arrived_count for flow in flows) > MAX_OPEN:
            raise LoadFault(f"the server does not follow {rate:.0f} messages/s")
        await asyncio.sleep(0.001)


async def steady(driver: LoadDriver, server_pid: int, job: dict[str, Any]) -> list[Round]:
    """Pairs of users, one sending to the other, all connected.

    With `rate` (messages a second) the load is paced, whatever the answers do; without it
    each pair keeps `window` messages in flight. Delivered means that the receiver has
    acknowledged the message.
    """
    rate = job.get("rate")
    meter = Meter()
    closed = ClosedLoop(job["window"], refill=job.get("refill", 1))
    flows, sessions = await _pair_up(
        driver, job["pairs"], job["epoch"] * NUMBERS_PER_EPOCH, meter, None if rate else closed.wake
    )
    late_s: list[float] = []
    pacer: asyncio.Task[None] | None = None
    if rate:
        pacer = asyncio.create_task(_pace(flows, rate, late_s))
    else:
        closed.start(flows)
    await _pass(job["warmup_s"], meter, pacer)
    rounds: list[Round] = []
    for _ in range(job["rounds"]):
        window = Window(server_pid)
        meter.reset()
        late_s.clear()
        meter.recording = True
        window.open()
        await _pass(job["round_s"], meter, pacer)
        found = window.close(meter.delivered, "message")
        meter.recording = False
        found |= latencies(meter)
        if late_s:
            found["pacing_p99_ms"] = percentile(late_s, 0.99) * 1e3
        rounds.append(found)
    closed.running = False
    if pacer is not None:
        pacer.cancel()
    allowed_s = job.get("settled_timeout_s", 30)
    await until_none(
        lambda: sum(flow.unsettled for flow in flows),
        meter,
        timeout_s=allowed_s,
        what="messages were not delivered",
    )
    await until_none(
        lambda: sum(flow.sender.missing_receipts for flow in flows if flow.sender is not None),
        meter,
        timeout_s=allowed_s,
        what="receipts did not come",
    )
    await close_all(sessions)
    return rounds


async def _pass(time_s: float, meter: Meter, pacer: asyncio.Task[None] | None) -> None:
    """Let the load run for a time; a broken promise ends it."""
    deadline_s = perf_counter() + time_s
    while (left_s := deadline_s - perf_counter()) > 0:
        meter.check()
        if pacer is not None and pacer.done():
            pacer.result()
        await asyncio.sleep(min(left_s, 0.25))


async def logins(driver: LoadDriver, server_pid: int, job: dict[str, Any]) -> list[Round]:
    """Full logins, a few at a time; all stay connected until the round's end."""
    rounds: list[Round] = []
    users = range(job["first_user"], job["first_user"] + job["logins"])
    for _ in range(job["rounds"]):
        window = Window(server_pid)
        window.open()
        sessions = await login_all(driver, users)
        rounds.append(window.close(len(sessions), "login"))
        await close_all(sessions)
        await asyncio.sleep(job["settle_s"])
    return rounds


async def idle(driver: LoadDriver, server_pid: int, job: dict[str, Any]) -> list[Round]:
    """Memory growth of the server for each authenticated connection that does nothing."""
    first = job["first_user"]
    await close_all(await login_all(driver, range(first, first + job["warmup_logins"])))
    await asyncio.sleep(job["settle_s"])
    before = procfs.memory(server_pid)
    sessions: list[Session] = []
    found: Round = {}
    for step in job["steps"]:
        sessions += await login_all(driver, range(first + len(sessions), first + step))
        await asyncio.sleep(job["settle_s"])
        if not all(session.alive for session in sessions):
            raise LoadFault("the server ended idle connections")
        now = procfs.memory(server_pid)
        found[f"anonymous_kb_at_{step}"] = (now.anonymous_kb - before.anonymous_kb) / step
        found[f"resident_kb_at_{step}"] = (now.resident_kb - before.resident_kb) / step
    return [found]  # the process ends, and all these connections with it
