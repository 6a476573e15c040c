from __future__ import annotations

import asyncio
import inspect
import sys
from pathlib import Path

import pytest

# The kit lies beside the tests; the runtime's has a clock that stands still.
for folder in (Path(__file__).parent, Path(__file__).parent.parent / "runtime"):
    sys.path.insert(0, str(folder))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
