from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from nets import Net, RealNet, SimulatedNet


@pytest.fixture(params=["asyncio", "uvloop", "simulated"])
def net(request: pytest.FixtureRequest) -> Net:
    """Real loops over real sockets, and the simulated one under many schedules."""
    if request.param == "simulated":
        return SimulatedNet(seeds=200 if request.config.getoption("--long") else 20)
    return RealNet(request.param)
