from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palaver.supervisors.cli.bench.children import Child
from palaver.supervisors.cli.bench.procfs import Cores

USERS = 2000


class FakeServer:
    """The fake node as a server under test; its data is in memory, so a kill loses all of it."""

    name = "fake"
    engine = "palaver"

    def __init__(self, folder: Path, fault: str = "") -> None:
        self._folder = folder
        self._fault = fault
        self._child: Child | None = None
        self._port = 0
        self.devices = folder / "devices.json"
        self.devices.write_text(json.dumps([1] * USERS))

    @property
    def endpoint(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self._port, "devices": str(self.devices)}

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        announce = self._folder / "announce.json"
        announce.unlink(missing_ok=True)
        program = Path(__file__).with_name("fake_node.py")
        self._child = Child(
            [sys.executable, str(program), str(announce), self._fault],
            cores=Cores.choose().server,
            log_path=self._folder / "fake.log",
        )
        self._child.wait_until(announce.exists, timeout_s=20, what="the fake node")
        self._port = json.loads(announce.read_text())["port"]

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def kill(self) -> None:
        self.stop()

    def median_batch(self) -> int | None:
        return 7


@pytest.fixture
def fake_server(tmp_path: Path) -> Iterator[Callable[..., FakeServer]]:
    made: list[FakeServer] = []

    def make(fault: str = "") -> FakeServer:
        server = FakeServer(tmp_path, fault)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.stop()
