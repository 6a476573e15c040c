"""When a partition's appends become a commit: plain decisions, without a process or a clock.

A commit costs the same whether it holds one command or fifty (two hand-overs between threads, an
fsync), so under load a little waiting makes every message cheaper:

- What somebody waits for goes at once when the partition is quiet. Otherwise commits begin so far
  apart that each command of the one before has :data:`PACE_S`, at most :data:`MAX_PACE_S`: about
  what a message costs a node alone. So when messages come faster than they could be served one by
  one, the intervals grow, everything behind them (answers, pushes, acknowledgements, receipts)
  comes in batches, and the node can serve them; when they come slower, the intervals shrink to
  nothing. :data:`FULL_BATCH` commands do not wait.
- Acknowledgements of devices wait :data:`ACK_S`, so that those of one device become one, with one
  receipt. A crash before that only repeats a push, which the device recognises.
- What nobody waits for at all rides with whatever goes next.
"""

from __future__ import annotations

from palaver.actors.chat.messages import AckUpTo, Append
from palaver.actors.chat.state import commands as cmd

__all__ = ["ACK_S", "FULL_BATCH", "MAX_PACE_S", "PACE_S", "Gathering"]

PACE_S = 0.000_25
MAX_PACE_S = 0.04
ACK_S = 0.04
FULL_BATCH = 256

#: A commit of at least so many commands says that several clients are at work.
_CONCURRENT = 4

_CAN_WAIT = frozenset({cmd.LAST_SEEN, cmd.CONFIRM})


class Gathering:
    """What waits for the next commit of a partition."""

    __slots__ = ("_acks", "_began_s", "_last_size", "_patient", "_urgent")

    def __init__(self) -> None:
        self._urgent: list[Append] = []
        self._patient: list[Append] = []
        self._acks: dict[tuple[str, int], int] = {}
        self._began_s = float("-inf")
        self._last_size = 0

    def add(self, append: Append, now_s: float) -> float | None:
        """Take an append; in how many seconds to commit, None if that is arranged already."""
        if append.command[0] in _CAN_WAIT:
            self._patient.append(append)
            first = len(self._patient) == 1 and not self._urgent and not self._acks
            return ACK_S if first else None
        self._urgent.append(append)
        waiting = len(self._urgent)
        if waiting == FULL_BATCH:
            return 0.0
        if waiting > 1:
            return None
        if self._last_size < _CONCURRENT:
            return 0.0
        pace_s = min(self._last_size * PACE_S, MAX_PACE_S)
        return max(0.0, self._began_s + pace_s - now_s)

    def acknowledge(self, ack: AckUpTo) -> float | None:
        """Keep a device's highest position; in how many seconds to commit, None if arranged."""
        first = not self._acks
        key = (ack.account, ack.device)
        if ack.position > self._acks.get(key, 0):
            self._acks[key] = ack.position
        return ACK_S if first else None

    def take(self, now_s: float, *, acks: bool) -> list[Append]:
        """What goes into a commit that begins now; `acks` says that theirs is the turn."""
        batch, self._urgent = self._urgent, []
        batch += self._patient
        self._patient = []
        if acks:
            batch += [
                Append(None, None, (cmd.ACK, account, device, position))
                for (account, device), position in self._acks.items()
            ]
            self._acks = {}
        if batch:
            self._began_s = now_s
            self._last_size = len(batch)
        return batch
