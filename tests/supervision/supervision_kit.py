"""Helpers of the supervision tests: a worker that writes its life into a list."""

from __future__ import annotations

from typing import Any

from palaver.actors.runtime import GenServer, Ignore, Stop
from palaver.supervisors import ChildSpec


class Life:
    """What the workers of one test share: their events, and how their next starts go."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.plans: dict[Any, list[str]] = {}

    def next_step(self, name: Any) -> str:
        plan = self.plans.get(name)
        return plan.pop(0) if plan else "up"

    def take(self) -> list[tuple[str, Any]]:
        """The events since the last time."""
        events = list(self.events)
        self.events.clear()
        return events


class Worker(GenServer):
    """Starts as the plan says; a cast stops it with that reason, or crashes it."""

    life: Life
    name: Any

    def init(self, name: Any, life: Life, *more: Any, **options: Any) -> Any:
        self.name, self.life, self.more, self.options = name, life, more, options
        self.trap_exit = True
        step = life.next_step(name)
        if step == "ignore":
            return Ignore()
        if step != "up":
            return Stop(step)
        life.events.append(("up", name))
        return None

    def handle_cast(self, message: Any) -> Any:
        if message == "crash":
            raise ValueError(message)
        return Stop(message)

    def handle_call(self, request: Any, from_: Any) -> Any:
        return (self.name, self.more, self.options)

    def terminate(self, reason: Any) -> Any:
        self.life.events.append(("down", self.name))


class SlowWorker(Worker):
    """Its start has to wait for others."""

    async def init(self, name: Any, life: Life, *more: Any, **options: Any) -> Any:
        await self.sleep(0)
        return super().init(name, life, *more, **options)


def spec(name: Any, life: Life, *, slow: bool = False, **options: Any) -> ChildSpec:
    return ChildSpec(name, SlowWorker if slow else Worker, (name, life), name=name, **options)


def ups(*names: Any) -> list[tuple[str, Any]]:
    return [("up", name) for name in names]


def downs(*names: Any) -> list[tuple[str, Any]]:
    return [("down", name) for name in names]
