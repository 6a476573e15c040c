"""What stands for a socket where a transport or a server is asked for its own."""

from __future__ import annotations

import socket
from typing import Any

__all__ = ["SimulatedSocket"]


class SimulatedSocket:
    """A socket to be asked for its names; options do nothing."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = 0

    def __init__(self, here: tuple[str, int], there: tuple[str, int] | None = None) -> None:
        self._here, self._there = here, there

    def getsockname(self) -> tuple[str, int]:
        """The own address."""
        return self._here

    def getpeername(self) -> tuple[str, int]:
        """The other side's address; raises OSError where there is none."""
        if self._there is None:
            raise OSError("not connected")
        return self._there

    def setsockopt(self, *_: Any) -> None:
        """Options change nothing here."""

    def fileno(self) -> int:
        """None of the operating system's."""
        return -1
