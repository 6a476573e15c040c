"""A simulated distributed engine: a quorum of machines that keep journals and registers.

It keeps the contract of `palaver.storage.replicated.ports`, and nothing beyond it: answers are late
or never come, what was refused is done all the same, machines answer that have not heard of the
latest, and for seconds nobody leads. What was confirmed is never lost.

The engine outlives the nodes that use it, as a disk does. A node reaches it by a connection, which
ends with the node's process.
"""

from __future__ import annotations

from .connection import Connection, Quorums
from .engine_faults import EngineFaults, EngineHabits
from .faults import CallLater
from .journal import JournalLog, SimulatedJournal
from .registers import RegisterTable, SimulatedRegisters

__all__ = ["SimulatedConnection", "SimulatedEngine"]


class SimulatedEngine(Quorums):
    """A cluster's journals and registers; see the module.

    Args:
        faults: decides what happens, and keeps the time.
        habits: how fast it is and how often it fails.

    Attributes:
        logs: the journals by their partition.
        table: the registers.
    """

    def __init__(self, faults: EngineFaults, habits: EngineHabits | None = None) -> None:
        super().__init__(faults, EngineHabits() if habits is None else habits)
        self.logs: dict[int, JournalLog] = {}
        self.table = RegisterTable(self, self.group("registers"))

    def log(self, partition: int) -> JournalLog:
        """Return a partition's journal, an empty one when there was none."""
        log = self.logs.get(partition)
        if log is None:
            log = self.logs[partition] = JournalLog(self, self.group(f"journal.{partition}"))
        return log

    def connect(self, node: str, call_later: CallLater) -> SimulatedConnection:
        """Connect a node's process.

        Args:
            node: its name.
            call_later: calls back on the node; so with the loop's turn, and never after its end.
        """
        return SimulatedConnection(self, node, call_later)

    def delete_journal(self, partition: int) -> None:
        """Have an operator delete a partition's journal: it is gone for good."""
        self.log(partition).delete(f"the journal of partition {partition} was deleted")

    def silence(self, seconds: float) -> None:
        """Have nobody lead anything for a while."""
        for group in self.groups:
            group.silence(seconds)

    def calm(self) -> None:
        """Let nothing be wrong with it from now on, and end every election."""
        old = self.habits
        self.habits = EngineHabits(
            old.latency_s, old.timeout_s, old.heartbeat_s, old.election_s, old.window_s
        )
        for group in self.groups:
            group.silent_until_s = 0.0


class SimulatedConnection(Connection):
    """The way of one node's process to the engine; made by `SimulatedEngine.connect`."""

    def __init__(self, engine: SimulatedEngine, node: str, call_later: CallLater) -> None:
        super().__init__(engine, node, call_later)
        self._simulated = engine

    def journal(self, partition: int) -> SimulatedJournal:
        """Return a partition's journal, a `Journal`."""
        return SimulatedJournal(self, self._simulated.log(partition))

    def registers(self) -> SimulatedRegisters:
        """Return the registers, a `Registers`."""
        return SimulatedRegisters(self, self._simulated.table)
