"""The same people, habits and promises over real sockets, with a real store."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path

from chat_kit import PATIENCE_S, Codes, running

from palaver.supervisors.simulations.chronicle import Chronicle
from palaver.supervisors.simulations.habits import Mixed
from palaver.supervisors.simulations.machines import Machine
from palaver.supervisors.simulations.people import Day, Device, Person
from palaver.supervisors.simulations.promises import missing, verify
from palaver.transport.client import Backoff, MemoryState, SystemClock, Timeouts

ACCOUNTS = ("+4915112345001", "+4915112345002", "+4915112345003")
HABITS = {
    "say": 6, "burst": 1, "read": 3, "watch": 1, "leave": 1, "group": 1, "members": 1, "look": 1,
}  # fmt: skip


class Phones:
    """Where people read the codes that a node sends."""

    def __init__(self, codes: Codes) -> None:
        self._codes = codes

    async def next_code(self, phone: str) -> str:
        return await self._codes.next_for(phone)


def machine(name: str, url: str, codes: Codes) -> Machine:
    chance = random.Random(name)
    state = MemoryState()
    return Machine(
        name=name,
        url=url,
        clock=SystemClock(),
        random=chance,
        disk={},
        state=lambda: state,
        choose=lambda what, options: chance.randrange(options) if what == "act" else 0,
        codes=Phones(codes),
        vanish=lambda _: None,
        happened=lambda _: None,
        timeouts=Timeouts(close_s=0.5),
        backoff=Backoff(base_s=0.01, cap_s=0.1),
    )


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # nobody tells of it: the people's side has no events of its own
            await asyncio.sleep(0.01)
    assert condition(), what


def settled(device: Device) -> bool:
    client = device.client
    return client is not None and client.online and not client.outbox


async def live_a_day(folder: Path) -> Chronicle:
    chronicle = Chronicle(lambda: time.time_ns() // 1_000_000)
    day, habits = Day(), Mixed(HABITS, pace_s=0.01, away_s=0.05)
    async with running(folder, partitions=2, gateways=2) as place:
        people = [
            Person(account, [other for other in ACCOUNTS if other != account], wishes=30)
            for account in ACCOUNTS
        ]
        devices = [
            Device(machine(person.account, place.url, place.codes), chronicle, person, habits, day)
            for person in people
        ]
        tasks = [asyncio.create_task(device.live()) for device in devices]
        try:
            await until(lambda: all(person.wishes <= 0 for person in people), "wishes")
            day.evening = True
            await until(lambda: all(map(settled, devices)), "all is sent")
            await until(lambda: not list(missing(chronicle)), "all arrives")
            verify(chronicle)
            day.night = True
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
    return chronicle


def test_people_live_over_real_sockets(tmp_path: Path) -> None:
    chronicle = asyncio.run(live_a_day(tmp_path))
    assert sum(map(len, chronicle.said.values())) > 20
    assert len(chronicle.devices) == len(ACCOUNTS)
