"""What a device's program takes from the machine that it runs on: the ports of the people's side.

Nothing on the people's side knows a simulated world. The same devices, habits and promises run in
one (`town`), and against real processes over real sockets, where somebody else fills these ports.
"""

from __future__ import annotations

import random
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from palaver.transport.client import Backoff, ClientState, Clock, Timeouts

__all__ = ["Codes", "Machine"]


class Codes(Protocol):
    """Where a person reads the one-time codes that are sent to their phone."""

    async def next_code(self, phone: str) -> str:
        """The newest code for a phone; waits until there is one."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine (phone, laptop) between two crashes of it.

    Attributes:
        name: for people who read a trace.
        url: where its chat server is, ``ws://HOST:PORT/ws``, or those of several.
        clock: the client library's clock.
        random: jitter, keys and payloads.
        disk: what survives a crash, by name; plain values.
        state: opens the port of the client's durable state, with what was kept before.
        choose: (what, options): which of so many; 0 is always "nothing of the kind".
        codes: where one-time codes arrive.
        vanish: ends the machine as a power cut would, and brings it back after so many seconds.
        happened: counts an interesting state that was reached.
        timeouts, backoff: of the client library.
    """

    name: str
    url: str | tuple[str, ...]
    clock: Clock
    random: random.Random
    disk: MutableMapping[str, Any]
    state: Callable[[], ClientState]
    choose: Callable[[str, int], int]
    codes: Codes
    vanish: Callable[[float], None]
    happened: Callable[[str], None]
    timeouts: Timeouts = field(default_factory=Timeouts)
    backoff: Backoff = field(default_factory=Backoff)
