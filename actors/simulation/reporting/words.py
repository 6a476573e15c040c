"""Deviations in words: what happened otherwise than in the quiet run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from palaver.actors.simulation.world import hosts, loop, network
from palaver.actors.simulation.world.tape import kind_of

if TYPE_CHECKING:
    from palaver.actors.simulation.reporting.labels import Labels
    from palaver.actors.simulation.world.run_queue import TapeQueue
    from palaver.actors.simulation.world.world import World

__all__ = ["Words"]

MAX_NAMED: Final = 3

#: The kinds of a simulated disk, which is known only by these names here.
_DISKS: Final = {
    "disk-slow": "the disk {} was slow to sync",
    "disk-stall": "the disk {} stalled",
    "disk-late": "the disk {} was late",
    "disk-full": "the disk {} was full",
    "disk-fail": "the disk {} failed",
    "disk-lost": "the disk {} lost what was not synced",
    "disk-read": "a read of the disk {} was late",
}


class Words:
    """Says a deviation in words, at the moment in which it happens.

    Attributes:
        queue: The run queue from which the next turn is taken at this moment.
    """

    def __init__(self, labels: Labels) -> None:
        self.queue: TapeQueue | None = None
        self._labels = labels

    def of(self, world: World, name: str, options: int, value: int) -> str:
        """What the deviation means; what nobody knows is said by its number."""
        kind, where = kind_of(name), name.partition("/")[2]
        if kind in _DISKS:
            return _DISKS[kind].format(where)
        tell = {
            "order": self._order,
            "turn": self._turn,
            "slice": self._slice,
            "late": self._late,
            "executor": self._executor,
            "delay": self._delay,
            "split": self._split,
            "loss": self._loss,
            "drift": self._drift,
        }.get(kind)
        said = tell(world, where, value) if tell is not None else None
        return said or f"option {value} of {options}"

    def _order(self, world: World, where: str, value: int) -> str | None:
        if self.queue is None or value >= len(self.queue):
            return None
        label = self._labels.process
        first = [label(self.queue[at]) for at in range(min(value, MAX_NAMED))]
        more = f" and {value - MAX_NAMED} more" if value > MAX_NAMED else ""
        return f"{label(self.queue[value])} ran before {', '.join(first)}{more}"

    def _turn(self, world: World, where: str, value: int) -> str | None:
        waiting = world.loop._waiting  # noqa: SLF001 - the loop is asked in the middle of a step
        if value >= len(waiting):
            return None
        first = [place.name for place in waiting[: min(value, MAX_NAMED)]]
        more = f" and {value - MAX_NAMED} more" if value > MAX_NAMED else ""
        return f"{waiting[value].name} ran before {', '.join(first)}{more}"

    def _slice(self, world: World, where: str, value: int) -> str:
        return f"the slice of {where} ended early: its event loop had a turn"

    def _late(self, world: World, where: str, value: int) -> str:
        return f"{where} was {_seconds(loop._LATE_S, value)} late for a timer"  # noqa: SLF001

    def _executor(self, world: World, where: str, value: int) -> str:
        return f"work in a thread took {_seconds(loop._LATE_S, value)}"  # noqa: SLF001

    def _delay(self, world: World, where: str, value: int) -> str:
        source, _, target = where.partition(">")
        longer = _seconds(network._DELAYS, value)  # noqa: SLF001
        return f"bytes from {source} to {target} came {longer} later"

    def _split(self, world: World, where: str, value: int) -> str:
        source, _, target = where.partition(">")
        return f"bytes from {source} to {target} came in pieces"

    def _loss(self, world: World, where: str, value: int) -> str:
        source, _, target = where.partition(">")
        return f"what was under way from {source} to {target} was lost with the reset"

    def _drift(self, world: World, where: str, value: int) -> str:
        rates = hosts._RATES  # noqa: SLF001
        return f"the clock of {where} runs at {rates[value]:g} of its rate"


def _seconds(options: tuple[float, ...], value: int) -> str:
    seconds = options[value] if value < len(options) else options[-1]
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
