"""The garbage collector is calm while a program is a node, and as before afterwards."""

from __future__ import annotations

import gc

import pytest

from palaver.actors.embedding import calm_garbage_collector, run
from palaver.actors.runtime import Node


def test_it_is_as_before_afterwards() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with calm_garbage_collector():
        assert gc.get_threshold() != before
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("calm", [True, False])
def test_run_calms_it_unless_told_otherwise(calm: bool) -> None:
    before = gc.get_threshold()
    seen: list[bool] = []

    async def main(node: Node) -> None:
        seen.append(gc.get_threshold() == before)

    assert run(main, signals=False, calm_garbage=calm) == 0
    assert seen == [not calm]
    assert gc.get_threshold() == before
