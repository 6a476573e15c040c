"""A simulated engine in a world: one of its machines beside each node, and who leads them.

A machine is up while its host is. One of them leads as long as it is in touch with a majority of
them, in both directions. A node reaches the engine by its way to the leader: who is on the minority
side of a cut gets nothing, and who is heard but hears nothing has written what it does not know of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from palaver.actors.simulation import Host, World
from palaver.storage.simulated import EngineHabits, SimulatedConnection, SimulatedEngine

__all__ = ["WorldEngine"]

#: How long nobody leads after a leader was lost, as far as the tape says.
_ELECTIONS_S: Final = (0.2, 0.05, 1.0, 4.0)


class WorldEngine:
    """The journals and registers of a cluster in a world; decides what happens to them.

    Args:
        world: where.
        machines: the names of the hosts on which the engine runs.
        habits: how fast it is and how often it fails.

    Attributes:
        engine: to look into it.
        leader: the machine that leads; None while none has a majority.
    """

    def __init__(
        self, world: World, machines: Sequence[str], habits: EngineHabits | None = None
    ) -> None:
        self.world = world
        self.machines = tuple(machines)
        self.leader: str | None = None
        self.engine = SimulatedEngine(self, habits)

    def connect(self, host: Host) -> SimulatedConnection:
        """Connect the program that runs on a host now; it ends with it."""
        clock = host.clock
        connection = self.engine.connect(
            host.name, lambda delay_s, fn: clock.call_later(delay_s, fn)
        )
        host.on_end.append(lambda _power: connection.lost())
        return connection

    # -- what the engine asks ------------------------------------------------------------------

    def choose(self, name: str, options: int, rate: float) -> int:
        """One of so many ways; 0 is the quiet one."""
        return self.world.tape.choose(name, options, rate)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> object:
        """Call a function once, whatever becomes of the hosts."""
        self.world.network.later(delay_s, fn)
        return None

    def now_s(self) -> float:
        """Virtual time."""
        return self.world.now_s

    def passes(self, node: str, *, back: bool) -> bool:
        """Whether a message passes between a node and whoever leads."""
        leader = self._lead()
        if leader is None:
            return False
        if node == leader:
            return True
        network = self.world.network
        link = network.link(leader, node) if back else network.link(node, leader)
        return not link.is_blocked

    # -- who leads -----------------------------------------------------------------------------

    def _lead(self) -> str | None:
        """Return who leads, after an election if that is another one than before."""
        before = self.leader
        if before is not None and self._has_majority(before):
            return before
        self.leader = next(filter(self._has_majority, self.machines), None)
        if self.leader is not None and self.world.now_s > 0:
            chosen = self.world.tape.choose("engine-lead", len(_ELECTIONS_S), rate=0.3)
            self.engine.silence(_ELECTIONS_S[chosen])
            if before is not None:
                self.world.reach("the engine lost its leader")
        return self.leader

    def _has_majority(self, machine: str) -> bool:
        hosts, network = self.world.hosts, self.world.network
        if not hosts[machine].alive:
            return False
        count = 1
        for other in self.machines:
            if (
                other != machine
                and hosts[other].alive
                and not network.link(machine, other).cuts
                and not network.link(other, machine).cuts
            ):
                count += 1
        return 2 * count > len(self.machines)
