"""The servers under test, as the benchmark sees them."""

from __future__ import annotations

import socket
from typing import Any, Protocol


class Server(Protocol):
    """A messaging server the benchmark starts, loads, kills and ends.

    Its users are numbered from 0. Its data lies in a temporary folder and survives a kill.
    """

    name: str
    engine: str
    """The load engine that speaks its protocol."""

    @property
    def endpoint(self) -> dict[str, Any]:
        """What the load engine must know to reach it."""

    @property
    def pid(self) -> int:
        """The server process, whose CPU and memory are accounted."""

    def start(self) -> None:
        """Start it and wait until it takes connections; the first time with its users made.

        Raises:
            BenchFailed: when it does not come up.
        """

    def stop(self) -> None:
        """End it in order, if it runs."""

    def kill(self) -> None:
        """End it with -9, if it runs."""

    def median_batch(self) -> int | None:
        """Return the median number of commands in a commit, if the server tells."""


def free_port() -> int:
    """Return a TCP port on the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def takes_connections(port: int) -> bool:
    """Return whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
