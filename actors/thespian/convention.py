"""Several systems in one program: who leads a convention, and who belongs to it.

Thespian's systems find each other by address over the network, and speak pickle there without
asking who is there. Here they find each other within one program: in a `LocalNetwork`, by the same
capabilities, `Admin Port` and `Convention Address.IPv4`, of which only the port counts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from thespian.actors import ActorSystemStartupFailure

if TYPE_CHECKING:
    from palaver.actors.thespian.system import ThespianSystem

__all__ = ["LocalNetwork", "port_of"]

log = structlog.get_logger("palaver.actors.thespian")


def port_of(where: object) -> int | None:
    """The port in `host:port`, `(host, port)` or a port alone; None if there is none."""
    if isinstance(where, tuple | list) and len(where) == 2:
        where = where[1]
    if isinstance(where, str):
        where = where.rpartition(":")[2]
    try:
        return int(where)  # type: ignore[call-overload,no-any-return] # it may be anything
    except (TypeError, ValueError):
        return None


def leader_ports(capabilities: Mapping[str, Any]) -> list[int]:
    """Where this system looks for the leader of its convention, in this order."""
    given = capabilities.get("Convention Address.IPv4")
    several = given if isinstance(given, list) else [given]
    return [port for port in map(port_of, several) if port is not None]


class LocalNetwork:
    """The systems of one program that may meet in a convention; usable from any thread.

    A system is here under its `Admin Port`. The leader of its convention is the first of its
    convention addresses under which there is a system; all that have the same leader belong
    together, and those that an actor has registered by `preRegisterRemoteSystem`.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._systems: dict[int, ThespianSystem] = {}
        # Pairs of ports: this one has registered that one.
        self._registered: dict[tuple[int, int], None] = {}

    def join(self, system: ThespianSystem) -> None:
        """A system is there. Raises `ActorSystemStartupFailure` if its port is taken."""
        with self._lock:
            port = system.port
            if port is None:
                return
            if port in self._systems:
                raise ActorSystemStartupFailure(
                    f"this program has a system with the Admin Port {port} already"
                )
            before = {other: self.peers(other) for other in self._systems.values()}
            self._systems[port] = system
            self._tell_changes(before)
            for peer in self.peers(system):
                system.convention_changed(peer, True)

    def leave(self, system: ThespianSystem) -> None:
        """A system ends."""
        with self._lock:
            if system.port is None or self._systems.get(system.port) is not system:
                return
            before = {other: self.peers(other) for other in self._systems.values()}
            del self._systems[system.port]
            del before[system]
            self._tell_changes(before)

    def register(self, system: ThespianSystem, where: object, registered: bool) -> None:
        """An actor of `system` has registered, or unregistered, the system at `where`."""
        port = port_of(where)
        if system.port is None or port is None:
            log.warning(
                "no such system: only systems of this program with an Admin Port can be registered",
                where=str(where),
            )
            return
        with self._lock:
            before = {other: self.peers(other) for other in self._systems.values()}
            if registered:
                self._registered[system.port, port] = None
            else:
                self._registered.pop((system.port, port), None)
            self._tell_changes(before)

    def peers(self, system: ThespianSystem) -> list[ThespianSystem]:
        """The other systems that are in a convention with this one, its leader first."""
        with self._lock:
            leader = self.leader(system)
            found: dict[ThespianSystem, None] = {}
            if leader is not None:
                found[leader] = None
                for other in self._systems.values():
                    if self.leader(other) is leader:
                        found[other] = None
            for other in self._known(system):
                found[other] = None
            found.pop(system, None)
            return list(found)

    def leader(self, system: ThespianSystem) -> ThespianSystem | None:
        """The leader of its convention; itself, if it leads; None if it is in none."""
        with self._lock:
            for port in leader_ports(system.capabilities):
                if port in self._systems:
                    return self._systems[port]
            return None

    def _known(self, system: ThespianSystem) -> Iterator[ThespianSystem]:
        for one, other in self._registered:
            if system.port in (one, other):
                found = self._systems.get(other if system.port == one else one)
                if found is not None:
                    yield found

    def _tell_changes(self, before: Mapping[ThespianSystem, list[ThespianSystem]]) -> None:
        for system, peers in before.items():
            now = self.peers(system)
            for peer in peers:
                if peer not in now:
                    system.convention_changed(peer, False)
            for peer in now:
                if peer not in peers:
                    system.convention_changed(peer, True)
