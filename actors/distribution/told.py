"""Own processes of which others have heard, by their serial numbers; the dead are forgotten."""

from __future__ import annotations

from typing import Final

from palaver.actors.runtime import Pid

__all__ = ["MAX_TOLD", "ToldPids"]

MAX_TOLD: Final = 100_000


class ToldPids:
    """Pids that were told to others.

    Those whose processes have exited are forgotten when there are more than `least`, and then
    whenever there are twice as many as were alive the last time: what that costs is spread over
    all that came in between, however many are alive.

    Args:
        least: up to so many are kept, dead or alive.
    """

    __slots__ = ("_least", "_most", "_pids")

    def __init__(self, least: int = MAX_TOLD) -> None:
        self._least = self._most = least
        self._pids: dict[int, Pid] = {}

    def __len__(self) -> int:
        return len(self._pids)

    def get(self, serial: int) -> Pid | None:
        """The pid of a serial number; None if it was not told, or is forgotten."""
        return self._pids.get(serial)

    def add(self, pid: Pid) -> None:
        """Remember a pid; harmless when repeated."""
        if self._pids.get(pid.serial) is pid:
            return
        if len(self._pids) >= self._most:
            self._pids = {
                serial: each for serial, each in self._pids.items() if each.process_ is not None
            }
            self._most = max(self._least, 2 * len(self._pids))
        self._pids[pid.serial] = pid
