"""A pytest plugin that runs Thespian's own tests on one system base and reports what came of it.

The environment says which: `CONFORM_BASE`. `CONFORM_REPORT` is the JSON file that is written,
`CONFORM_LEFT_OUT` one with the names of tests that do not run.
Thespian's tests get their systems from the fixture `asys` and the function `similar_asys`, which
know Thespian's bases only: for ours, both are replaced before the tests import them.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import thespian.test
from thespian.actors import ActorSystem

from palaver.actors.thespian import use

OURS = "palaverBase"
SIMPLE = "simpleSystemBase"
BASE = os.environ["CONFORM_BASE"]

# Thespian runs this one on its simple base only, since on its others a source load that fails takes
# a minute. On ours it takes no time.
AS_SIMPLE = "test07_sourceAuthorityExceptions"

PICKLED = (
    "needs pickled messages: an address in a message is held back there until its actor has begun; "
    "here a message is passed on as it is"
)
HA = "test_HAConvention.py::TestFuncHAConvention::"
DIFFERS = {
    HA + "test03_actor_create_failure_on_leader_exit": PICKLED,
    HA + "test04_actor_create_on_leader_re_enter": PICKLED,
}

ports = itertools.count(1901)


@pytest.fixture(params=[OURS])
def asys(request: pytest.FixtureRequest) -> Iterator[Any]:
    port = next(ports)
    capabilities = {
        "Foo Allowed": True,
        "Cows Allowed": True,
        "Dogs Allowed": True,
        "dog": "food",
        "Admin Port": port,
        "Convention Address.IPv4": ("", port),
    }
    system = start(capabilities)
    if request.node.name.startswith(AS_SIMPLE):
        system.base_name = SIMPLE
    yield system
    system.shutdown()


def similar_asys(
    asys: Any,
    in_convention: bool = True,
    start_wait: bool = True,
    capabilities: dict[str, Any] | None = None,
) -> Any:
    capabilities = dict(capabilities or {})
    capabilities["Admin Port"] = next(ports)
    if in_convention:
        capabilities["Convention Address.IPv4"] = ("", asys.port_num)
    return start(capabilities)


def start(capabilities: dict[str, Any]) -> Any:
    system = ActorSystem(OURS, capabilities, logDefs=False, transientUnique=True)
    system.base_name = OURS
    system.port_num = capabilities["Admin Port"]
    system.txonly = False
    # The tests of pre-registration look the system's own address up in Thespian's TCP transport.
    system._systemBase.transport = SimpleNamespace(
        getAddressFromString=lambda _: system.systemAddress
    )
    return system


if BASE == OURS:
    use()
    thespian.test.asys = asys
    thespian.test.similar_asys = similar_asys


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Of Thespian's bases, by which its fixtures are parametrised, leave only the one."""
    for name in metafunc.fixturenames:
        for fixture in metafunc._arg2fixturedefs.get(name, ()):
            if fixture.params and SIMPLE in fixture.params:
                fixture.params = (BASE,)  # type: ignore[misc]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of Thespian's tests, leave those that are about a base; skip what is known to differ."""
    left_out = set(json.loads(Path(os.environ["CONFORM_LEFT_OUT"]).read_text()))
    chosen = [item for item in items if BASE in item.nodeid and plain(item.nodeid) not in left_out]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    if BASE == OURS:
        for item in items:
            reason = DIFFERS.get(plain(item.nodeid))
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


def plain(nodeid: str) -> str:
    """A test's name without the folder and the base."""
    name = nodeid.rpartition("/")[2].replace(BASE, "")
    return name.replace("[-", "[").replace("-]", "]").replace("[]", "")


class Report:
    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}
        self.began = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        entry = self.tests.setdefault(
            plain(report.nodeid), {"outcome": "passed", "reason": "", "seconds": 0.0}
        )
        entry["seconds"] += report.duration
        if report.failed:
            entry["outcome"] = "failed"
            entry["reason"] = str(report.longrepr)[-3000:]
        elif report.skipped and entry["outcome"] == "passed":
            entry["outcome"] = "skipped"
            longrepr = report.longrepr
            entry["reason"] = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)

    def pytest_sessionfinish(self) -> None:
        Path(os.environ["CONFORM_REPORT"]).write_text(
            json.dumps({"seconds": time.monotonic() - self.began, "tests": self.tests})
        )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Report())
