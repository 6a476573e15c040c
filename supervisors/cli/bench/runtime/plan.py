"""What is measured: the figures, how much of each for whom, and the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from palaver.supervisors.cli.bench.stats import Better

PALAVER = "palaver"


class Peer(StrEnum):
    """What Palaver is measured beside."""

    ERLANG = "erlang"
    PYKKA = "pykka"
    XOSCAR = "xoscar"
    XOSCAR_REF = "xoscar_ref"
    THESPIAN = "thespian"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"
    DEFAULT_GC = "default_gc"


class Clock(StrEnum):
    """What the figures are made of: the time that passed, or the CPU time that was used.

    Nothing here waits for anything but itself, so on a quiet machine they are the same. On a busy
    one the first also measures the others that run there.
    """

    WALL = "wall"
    CPU = "cpu"

    @property
    def key(self) -> str:
        """Where a sample has it."""
        return f"{self.value}_s"


class FigureName(StrEnum):
    """What can be measured."""

    SPAWN = "spawn"
    SPAWN_PROCESS = "spawn_process"
    BYTES_PER_PROCESS = "bytes_per_process"
    CAST = "cast"
    CALL = "call"
    RING = "ring"
    FAN_IN = "fan_in"
    RESTART = "restart"
    RESTART_DYNAMIC = "restart_dynamic"
    RESTART_ALL = "restart_all"


@dataclass(frozen=True, slots=True)
class Size:
    """How much an engine does for a figure.

    Args:
        count: Operations that are measured.
        width: Members of the ring, senders, children of the supervisor.
        warm_up: Operations before the measured ones, in the same OS process.
    """

    count: int
    width: int = 0
    warm_up: int = 0

    def times(self, share: float) -> Size:
        """Return the same with other counts, at least as many as the width."""
        least = max(self.width, 10)
        count = max(least, round(self.count * share))
        warm_up = max(least, round(self.warm_up * share)) if self.warm_up else 0
        return Size(count, self.width, warm_up)


@dataclass(frozen=True, slots=True)
class FigurePlan:
    """One figure: what it is, its size for Palaver and Erlang, and for those who are slower."""

    name: FigureName
    unit: str
    better: Better
    about: str
    size: Size
    quick: Size
    targets: Mapping[str, float] = field(default_factory=dict)
    work: str = ""
    """The work that it is made of, if that has another name."""
    others: Mapping[Peer, Size] = field(default_factory=dict)
    """Sizes of their own, where neither the same nor less of it is possible."""
    same_for_all: bool = False
    """Whether the slower ones do no less of it."""

    def size_for(self, engine: str, *, quick: bool) -> Size:
        """Return how much an engine has to do."""
        size = self.quick if quick else self.size
        if engine in self.others:
            own = self.others[Peer(engine)]
            return own.times(0.2) if quick and not own.width else own
        share = SHARES.get(engine)
        return size if share is None or self.same_for_all else size.times(share)


SHARES: Mapping[str, float] = {
    Peer.ASYNCIO: 0.5,
    Peer.THESPIAN: 0.2,
    Peer.XOSCAR: 0.1,
    Peer.XOSCAR_REF: 0.03,
    Peer.PYKKA: 0.04,
}
"""What the slower ones do of it, so that each needs about half a second."""

_THREADS = 500
"""As many as any system allows."""


def _beside(erlang: float) -> dict[str, float]:
    return {Peer.ERLANG: erlang, Peer.PYKKA: 10.0, Peer.XOSCAR: 10.0, Peer.THESPIAN: 10.0}


PLANS: tuple[FigurePlan, ...] = (
    FigurePlan(
        FigureName.SPAWN,
        "1/s",
        "higher",
        "servers started with start_link, each when the one before has done its init",
        Size(20_000, warm_up=2_000),
        Size(10_000, warm_up=2_000),
        {Peer.ERLANG: 1.0},
        others={Peer.PYKKA: Size(_THREADS, warm_up=50)},
    ),
    FigurePlan(
        FigureName.SPAWN_PROCESS,
        "1/s",
        "higher",
        "bare processes spawned, until the last of them answers",
        Size(50_000, warm_up=5_000),
        Size(20_000, warm_up=2_000),
    ),
    FigurePlan(
        FigureName.BYTES_PER_PROCESS,
        "B",
        "lower",
        "growth of the OS process's private memory for each idle server",
        Size(20_000),
        Size(5_000),
        {Peer.ERLANG: 2.9},
        others={Peer.PYKKA: Size(_THREADS)},
        same_for_all=True,
    ),
    FigurePlan(
        FigureName.CAST,
        "1/s",
        "higher",
        "casts from one process to one server, sent and handled",
        Size(500_000, warm_up=50_000),
        Size(200_000, warm_up=50_000),
        _beside(0.5),
    ),
    FigurePlan(
        FigureName.CALL,
        "1/s",
        "higher",
        "calls from one process to one server, one after the other",
        Size(200_000, warm_up=20_000),
        Size(50_000, warm_up=20_000),
        _beside(1.0),
    ),
    FigurePlan(
        FigureName.RING,
        "1/s",
        "higher",
        "hops of one token round a ring of 100 servers",
        Size(500_000, 100, 50_000),
        Size(200_000, 100, 50_000),
        _beside(1.0),
    ),
    FigurePlan(
        FigureName.FAN_IN,
        "1/s",
        "higher",
        "casts from 100 processes to one server, sent and handled",
        Size(500_000, 100, 50_000),
        Size(200_000, 100, 50_000),
        _beside(0.6),
    ),
    FigurePlan(
        FigureName.RESTART,
        "1/s",
        "higher",
        "children killed one after the other and restarted, 1,000 of the 10,000 that a one_for_one "
        "supervisor was started with",
        Size(1_000, 10_000),
        Size(1_000, 10_000),
        {Peer.ERLANG: 5.0},
        others={Peer.PYKKA: Size(200, _THREADS)},
        same_for_all=True,
    ),
    FigurePlan(
        FigureName.RESTART_DYNAMIC,
        "1/s",
        "higher",
        "the same among children added on demand: DynamicSupervisor, and OTP's simple_one_for_one",
        Size(1_000, 10_000),
        Size(1_000, 10_000),
        same_for_all=True,
    ),
    FigurePlan(
        FigureName.RESTART_ALL,
        "1/s",
        "higher",
        "as `restart`, but every one of the children",
        Size(10_000, 10_000),
        Size(10_000, 10_000),
        work="restart",
        others={Peer.PYKKA: Size(_THREADS, _THREADS)},
        same_for_all=True,
    ),
)
