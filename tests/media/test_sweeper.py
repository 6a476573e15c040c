from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from palaver.actors.chat.media import MediaLimits
from palaver.actors.chat.media_sweeper import MediaSweeper
from palaver.actors.runtime import Node


class Alarm:
    def __init__(self, cancel: Callable[[], object]) -> None:
        self.cancel = cancel


class HandClock:
    """A clock that a test moves."""

    def __init__(self, wall: Any) -> None:
        self.wall = wall
        self.now_s = 0.0
        self.alarms: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now_s

    def time_ms(self) -> int:
        return int(self.wall.now_ms)

    def call_at(self, when_s: float, fn: Callable[[], None]) -> Any:
        alarm = (when_s, fn)
        self.alarms.append(alarm)
        return Alarm(lambda: alarm in self.alarms and self.alarms.remove(alarm))

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall.now_ms += int(seconds * 1000)
        due = [alarm for alarm in self.alarms if alarm[0] <= self.now_s]
        for alarm in due:
            self.alarms.remove(alarm)
            alarm[1]()


def test_the_sweeper_removes_what_expired(kit: Any, tmp_path: Path) -> None:
    async def main() -> None:
        limits = MediaLimits(upload_ttl_s=60)
        async with kit.world(tmp_path, limits=limits) as w:
            await w.begin(10)
            clock = HandClock(w.clock)
            async with Node(clock=clock) as node:
                pid = await node.start_server(MediaSweeper, w.service, 50.0)
                await kit.until(lambda: clock.alarms)
                assert w.service.open_uploads == 1
                clock.advance(50)
                await kit.until(lambda: clock.alarms)
                assert w.service.open_uploads == 1
                await w.begin(10)
                clock.advance(50)
                await kit.until(lambda: w.service.open_uploads == 1)
                assert w.service.stats.uploads_expired == 1
                assert node.is_alive(pid)

    asyncio.run(main())
