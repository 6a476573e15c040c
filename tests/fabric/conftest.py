from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvloop


def _load(name: str) -> ModuleType:
    module_name = f"palaver_fabric_{name}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            module_name, Path(__file__).with_name(f"{name}.py")
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    return sys.modules[module_name]


@pytest.fixture(scope="session")
def servers_kit() -> ModuleType:
    """The helpers of `servers.py`."""
    return _load("servers")


@pytest.fixture
def servers(servers_kit: ModuleType, tmp_path: Path) -> Iterator[Any]:
    """Starts nats-servers, and ends them with the test."""
    program = servers_kit.program()
    if program is None:
        pytest.skip("there is no nats-server 2.11 or later: make env")
    made = servers_kit.Servers(program, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine, under asyncio's own loop and under uvloop."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def runner(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as it:
            it.run(asyncio.wait_for(main, 60))

    return runner


@pytest.fixture(scope="session")
def town() -> Any:
    """Makes nodes; see `meeting.py`."""
    return _load("meeting").town
