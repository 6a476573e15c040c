"""Pids that were told to others: the living are kept, the dead are not for ever."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.distribution.told import ToldPids

LEAST = 8


class Looked:
    """Stands for a pid; counts how often it is looked whether its process is alive."""

    looks = 0

    def __init__(self, serial: int, *, alive: bool) -> None:
        self.serial = serial
        self.alive = alive

    @property
    def process_(self) -> Any:
        Looked.looks += 1
        return self if self.alive else None


@given(st.lists(st.booleans(), max_size=300))
def test_the_living_are_kept_and_most_of_the_dead_are_not(alive: list[bool]) -> None:
    told = ToldPids(LEAST)
    pids: list[Any] = [Looked(serial, alive=lives) for serial, lives in enumerate(alive)]
    living = 0
    for pid, lives in zip(pids, alive, strict=True):
        told.add(pid)
        told.add(pid)
        living += lives
        assert told.get(pid.serial) is pid
        assert len(told) <= max(LEAST, 2 * living) + 1
    for pid, lives in zip(pids, alive, strict=True):
        if lives:
            assert told.get(pid.serial) is pid


def test_what_forgetting_costs_does_not_grow_with_those_who_live() -> None:
    told = ToldPids(LEAST)
    Looked.looks = 0
    for serial in range(20_000):
        told.add(Looked(serial, alive=True))  # type: ignore[arg-type]
    assert len(told) == 20_000
    assert Looked.looks < 2 * 20_000
