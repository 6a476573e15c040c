"""The fabric's figures: both sides do the work that they are measured by."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.supervisors.cli.bench.cluster.fabric import FABRIC_WORKS, measure_fabric

pytestmark = pytest.mark.peer


def test_every_work_is_done_by_both(servers_kit: Any) -> None:
    if servers_kit.program() is None:
        pytest.skip("there is no nats-server 2.11 or later: make env")
    figures = measure_fabric(rounds=2, scale=0.01, timeout_s=60.0)
    assert [figure.name for figure in figures] == list(FABRIC_WORKS)
    for figure in figures:
        assert len(figure.fabric_per_s) == len(figure.bare_per_s) == 2
        assert figure.ratio > 0
