"""Faults for real nodes and real connections, drawn from a tape at the rates of a simulated town.

What the simulated nemesis does to hosts and links is done here to processes (SIGKILL, SIGSTOP) and
at the fault proxies in front of them; and what only a real network does beside: a half-close, a
connection that ends in the middle of a frame, bytes one by one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from fault_proxy import WAYS, FaultProxy, Name
from fault_way import Conditions, End

import standing
from palaver.actors.simulation import Faults

if TYPE_CHECKING:
    from real_town import RealNode, RealResident

    from palaver.actors.simulation.world.tape import Tape

#: How long something lasts, in seconds; the first is the quiet choice.
_LASTS: Final = (0.1, 0.02, 0.3, 0.8, 1.5)
#: How many more bytes pass before an end in the middle of something.
_BYTES: Final = (1, 2, 7, 40, 200, 1500)
#: How a connection ends that is "reset" in a simulated world: there are more ways in the real one.
ENDINGS: Final = ("reset", "cut", "half_close", "mid_frame")
AT_NODES: Final = ("pause", "kill")
KINDS: Final = (*ENDINGS, *AT_NODES, "clog", "oneway", "partition", "refuse")
_ENDS: Final[tuple[End, ...]] = ("reset", "cut", "half_close")
#: What a clogged link does.
_CLOGS: Final = (
    Conditions(stalled=True),
    Conditions(rate_bytes_s=20_000.0),
    Conditions(delay_s=0.05, jitter_s=0.1),
    Conditions(segment_bytes=1),
    Conditions(delay_s=0.02, segment_bytes=3),
    Conditions(swallowing=True),
)


class RealNemesis:
    """Lets faults happen, at every pulse of real time, until `calm`.

    Attributes:
        counts: what has happened, by name.
    """

    def __init__(self, tape: Tape, speed: float) -> None:
        self.tape = tape
        self.counts: Counter[str] = Counter()
        self._speed = speed
        self._pulses: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, faults: Faults, one: RealNode | RealResident) -> None:
        """Let faults of these rates happen to a node, or to a device."""
        self._pulses.append(asyncio.create_task(self._pulse(faults, one)))

    async def calm(self) -> None:
        """Nothing more happens; what is under way comes to its end."""
        for task in self._pulses:
            task.cancel()
        await asyncio.gather(*self._pulses, return_exceptions=True)
        await asyncio.gather(*self._under_way)

    def happens(self, kind: str, who: str, rate: float) -> bool:
        """Whether it happens now: a choice."""
        return rate > 0.0 and self.tape.choose(f"{kind}/{who}", 2, rate=rate) == 1

    def at_least_once(self, kind: str, one: RealNode | RealResident) -> None:
        """Let a fault happen at once, unless one of its kind has happened already."""
        if not self.counts[kind] and not one.is_changing:
            self._fault(kind, one)

    async def _pulse(self, faults: Faults, one: RealNode | RealResident) -> None:
        kinds = {
            one.crash_kind: faults.crash + faults.power,
            "pause": faults.pause,
            "partition": faults.partition,
            "refuse": faults.partition,
            "oneway": faults.oneway,
            "clog": faults.clog,
            **dict.fromkeys(ENDINGS, faults.reset / len(ENDINGS)),
        }
        while True:
            await asyncio.sleep(faults.pulse_s / self._speed)
            for kind, rate in kinds.items():
                if one.is_changing:  # It is down, or stands still.
                    break
                if self.happens(kind, one.name, rate):
                    self._fault(kind, one)

    def _fault(self, kind: str, one: RealNode | RealResident) -> None:
        if kind == one.crash_kind:
            self.do(kind, one.crash(self._lasting(one.name)))
        elif kind == "pause":
            self.do(kind, one.pause(self._lasting(one.name)))
        else:
            which = self.tape.choose(f"link/{one.name}", len(one.proxies), rate=0.8)
            self._at_link(kind, one.name, one.proxies[which])

    def _at_link(self, kind: str, who: str, proxy: FaultProxy) -> None:
        tape = self.tape
        way = WAYS[tape.choose(f"way/{who}", 2, rate=0.5)]
        if kind in ENDINGS:
            self._end(kind, who, way, proxy)
        elif kind == "partition":
            self.do(kind, self.blocked(proxy, WAYS, self._lasting(who)))
        elif kind == "oneway":
            self.do(kind, self.blocked(proxy, (way,), self._lasting(who)))
        elif kind == "refuse":
            self.do(kind, self._refusing(proxy, self._lasting(who)))
        else:
            conditions = _CLOGS[tape.choose(f"how/{who}", len(_CLOGS), rate=0.8)]
            self.do(kind, self._clogged(proxy, way, conditions, self._lasting(who)))

    def _end(self, kind: str, who: str, way: Name, proxy: FaultProxy) -> None:
        passages = proxy.passages
        if not passages:
            return
        passage = passages[self.tape.choose(f"which/{who}", len(passages), rate=0.5)]
        self.counts[kind] += 1
        if kind == "reset":
            passage.reset()
        elif kind == "cut":
            passage.cut()
        elif kind == "half_close":
            passage.half_close(way)
        else:
            count = _BYTES[self.tape.choose(f"bytes/{who}", len(_BYTES), rate=0.8)]
            end = _ENDS[self.tape.choose(f"end/{who}", len(_ENDS), rate=0.6)]
            passage.way(way).end_after(count, end)

    def _lasting(self, who: str) -> float:
        return _LASTS[self.tape.choose(f"lasting/{who}", len(_LASTS), rate=0.8)]

    def do(self, kind: str, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on beside; `calm` waits for its end."""
        self.counts[kind] += 1
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def blocked(self, proxy: FaultProxy, ways: tuple[Name, ...], seconds: float) -> None:
        """Let nothing pass for a while."""
        for way in ways:
            proxy.change(way, Conditions(stalled=True))
        await asyncio.sleep(seconds)
        for way in ways:
            proxy.change(way, Conditions())

    async def _clogged(
        self, proxy: FaultProxy, way: Name, conditions: Conditions, seconds: float
    ) -> None:
        proxy.change(way, conditions)
        await asyncio.sleep(seconds)
        proxy.change(way, Conditions())

    async def _refusing(self, proxy: FaultProxy, seconds: float) -> None:
        proxy.refuse()
        await asyncio.sleep(seconds)
        proxy.accept()


async def stand_still(pid: Callable[[], int], seconds: float) -> None:
    """Stop a process of ours for a while, as a debugger or a suspended machine does."""
    stopped = pid()
    if not stopped:
        return
    standing.stop(stopped)
    try:
        await asyncio.sleep(seconds)
    finally:
        if pid() == stopped:  # else it was killed meanwhile
            standing.go_on(stopped)
