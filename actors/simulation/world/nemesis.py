"""The nemesis: it does to hosts, network and actors what may happen to them, at the tape's choice.

Every fault is a legal one: real systems meet it, and Palaver promises to bear it. At each pulse,
each kind of fault chooses for each host whether it happens; so a fault is one deviation, and can be
left out of a failing run by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from palaver.actors.runtime import KILL

if TYPE_CHECKING:
    from palaver.actors.simulation.world.hosts import Host
    from palaver.actors.simulation.world.place import Handle
    from palaver.actors.simulation.world.world import World

__all__ = ["Fault", "Faults", "Nemesis"]

#: How long a fault lasts, in seconds: its options.
_SPANS_S: Final = (0.05, 0.5, 2.0, 8.0, 30.0)

_JUMPS_S: Final = (0.01, -0.01, 1.0, -1.0, 120.0, -120.0, 86_400.0, -86_400.0)

_VICTIMS: Final = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault of one's own.

    Args:
        name: the kind, part of its streams' names.
        rate: how often it happens to a host at a pulse, from 0 to 1.
        options: how many ways it can happen.
        happen: does it, given the host and the way, from 0 on.
    """

    name: str
    rate: float
    options: int
    happen: Callable[[Host, int], None]


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each kind of fault happens to a host at one pulse, from 0 (never) to 1.

    Attributes:
        crash: kill -9; the host starts again after a while.
        power: the power is gone for a while: what was not synced is lost.
        kill: one of its actors is killed.
        partition: it is cut off from all others, in both directions, for a while.
        oneway: it does not reach the others, but hears them; or the other way round.
        clog: nothing passes on one way for a while.
        reset: one of its connections is lost.
        pause: it stands still.
        jump: its wall clock jumps.
        own: kinds of one's own.
        pulse_s: the time between two pulses.
    """

    crash: float = 0.0
    power: float = 0.0
    kill: float = 0.0
    partition: float = 0.0
    oneway: float = 0.0
    clog: float = 0.0
    reset: float = 0.0
    pause: float = 0.0
    jump: float = 0.0
    own: tuple[Fault, ...] = ()
    pulse_s: float = 0.25
    spare: tuple[str, ...] = field(default=("root",))
    """Names of actors that are never killed: with them, nobody could restart the others."""


class Nemesis:
    """Faults that happen to some hosts from now on; made by `nemesis`.

    Args:
        world: whose.
        faults: which, how often.
        among: to which hosts; all there are at each pulse if None.
    """

    def __init__(self, world: World, faults: Faults, among: Sequence[Host] | None = None) -> None:
        self._world = world
        self._faults = faults
        self._among = among
        self._heals: list[Callable[[], None]] = []
        self._timer: Handle | None = None
        self._kinds = self._make_kinds()
        self._prefix = "" if not world.nemeses else f"{len(world.nemeses)}:"
        world.nemeses.append(self)
        world.coverage.declare(f"fault: {kind.name}" for kind in self._kinds)
        self._arm()

    def stop(self) -> None:
        """Let nothing more happen, and heal what lasts."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._heals:
            self._heals[0]()
        self._world.network.unclog()
        for host in self._hosts():
            if host.alive:
                self._world.loop.resume(host.place)

    # -- pulses --------------------------------------------------------------------------------

    def _arm(self) -> None:
        loop = self._world.loop
        self._timer = loop.deliver_at(loop.time() + self._faults.pulse_s, loop.outside, self._pulse)

    def _pulse(self) -> None:
        self._arm()
        tape = self._world.tape
        for host in self._hosts():
            for kind in self._kinds:
                stream = tape.stream(f"{kind.name}/{self._prefix}{host.name}", kind.rate)
                chosen = stream.choose(1 + kind.options)
                if chosen and host.alive:
                    self._world.coverage.reach(f"fault: {kind.name}")
                    kind.happen(host, chosen - 1)

    def _hosts(self) -> list[Host]:
        return list(self._world.hosts.values()) if self._among is None else list(self._among)

    def _make_kinds(self) -> list[Fault]:
        faults, spans = self._faults, len(_SPANS_S)
        kinds = [
            Fault("crash", faults.crash, 2 * spans, self._crash),
            Fault("power", faults.power, spans, self._power),
            Fault("kill", faults.kill, _VICTIMS, self._kill),
            Fault("partition", faults.partition, spans, self._partition),
            Fault("oneway", faults.oneway, 2 * spans, self._oneway),
            Fault("clog", faults.clog, 8 * spans, self._clog),
            Fault("reset", faults.reset, 8, self._reset),
            Fault("pause", faults.pause, spans, self._pause),
            Fault("jump", faults.jump, len(_JUMPS_S), self._jump),
            *faults.own,
        ]
        return [kind for kind in kinds if kind.rate > 0.0]

    def _later(self, seconds: float, heal: Callable[[], None]) -> None:
        """Heal after a while, or when the nemesis stops."""

        def once() -> None:
            if once in self._heals:
                self._heals.remove(once)
                heal()

        self._heals.append(once)
        self._world.network.later(seconds, once)

    # -- faults --------------------------------------------------------------------------------

    def _crash(self, host: Host, way: int) -> None:
        span_s = _SPANS_S[way % len(_SPANS_S)]
        host.crash(reset=way >= len(_SPANS_S))
        self._later(span_s, host.boot)

    def _power(self, host: Host, way: int) -> None:
        host.power_off()
        self._later(_SPANS_S[way], host.boot)

    def _kill(self, host: Host, way: int) -> None:
        found = [
            (node, process)
            for node in host.nodes
            for process in node.table.values()
            if not (process.names and set(process.names) & set(self._faults.spare))
        ]
        if not found:
            return
        node, process = found[way % len(found)]
        names = "/".join(process.names or ())
        self._world.trace.note("fault", f"{host.name}/{names or process.pid.serial}", "is killed")
        node.exit(process.pid, KILL)

    def _partition(self, host: Host, way: int) -> None:
        self._cut(host, _SPANS_S[way], [host.name], self._others(host), both_ways=True)

    def _oneway(self, host: Host, way: int) -> None:
        span_s = _SPANS_S[way % len(_SPANS_S)]
        here, there = [host.name], self._others(host)
        if way >= len(_SPANS_S):
            here, there = there, here
        self._cut(host, span_s, here, there, both_ways=False)

    def _cut(
        self, host: Host, span_s: float, here: list[str], there: list[str], *, both_ways: bool
    ) -> None:
        way = "both ways" if both_ways else ("out" if here == [host.name] else "in")
        self._world.trace.note("fault", host.name, f"is cut off ({way}) for {span_s:g} s")
        self._later(span_s, self._world.network.cut(here, there, both_ways=both_ways))

    def _clog(self, host: Host, way: int) -> None:
        others = self._others(host)
        if others:
            span_s = _SPANS_S[way % len(_SPANS_S)]
            other = others[(way // len(_SPANS_S)) % len(others)]
            self._world.trace.note("fault", host.name, f"clogged for {span_s:g} s", to=other)
            self._world.network.link(host.name, other).clog(span_s)

    def _reset(self, host: Host, way: int) -> None:
        ends = self._world.network.connections(host.name)
        if ends:
            end = ends[way % len(ends)]
            self._world.trace.note("fault", host.name, "connection lost", to=end.peer.place.name)
            self._world.network.drop(end)

    def _pause(self, host: Host, way: int) -> None:
        host.pause(_SPANS_S[way])

    def _jump(self, host: Host, way: int) -> None:
        host.jump(_JUMPS_S[way])

    def _others(self, host: Host) -> list[str]:
        return [name for name in self._world.hosts if name != host.name]
