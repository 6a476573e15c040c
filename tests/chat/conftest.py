"""Puts `chat_kit` on the path of these tests."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

LIMIT_S = 120


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine to its end, within two minutes."""

    def runner(main: Coroutine[Any, Any, None]) -> None:
        asyncio.run(asyncio.wait_for(main, LIMIT_S))

    return runner
