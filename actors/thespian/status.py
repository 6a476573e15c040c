"""Answers to `Thespian_StatusReq`: what an actor or a system says of itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from thespian.system.messages.status import Thespian_ActorStatus, Thespian_SystemStatus
from thespian.system.timing import ExpirationTimer

if TYPE_CHECKING:
    from palaver.actors.thespian.actor import ActorProcess
    from palaver.actors.thespian.system import ThespianSystem

__all__ = ["actor_status", "system_status"]


def actor_status(process: ActorProcess) -> Thespian_ActorStatus:
    """An actor: its class, its parent, its children, the wake-ups it waits for."""
    status = Thespian_ActorStatus(
        process.address,
        type(process.actor).__name__,
        process.system.address,
        process.parent_address,
        process.source_hash,
    )
    for child in (process.children or {}).values():
        status.addChild(child)
    now_s = process.clock.monotonic()
    status.addWakeups(
        [
            (process.address, ExpirationTimer(timedelta(seconds=max(0.0, due.deadline_s - now_s))))
            for due in process.wakeups or ()
        ]
    )
    return status


def system_status(system: ThespianSystem) -> Thespian_SystemStatus:
    """A system: its actors without a parent, its capabilities, its convention, its names."""
    leader = system.network.leader(system)
    status = Thespian_SystemStatus(
        system.address,
        None if leader is None else leader.address,
        dict(system.capabilities),
    )
    for child in system.process.children.values():
        status.addChild(child)
    if leader is system:
        for peer in system.network.peers(system):
            status.addConventioneer(peer.address, "while it runs")
    status.setDeadLetterHandler(system.dead_letter_handler)
    status.setNotifyHandlers(list(system.convention_watchers))
    for name, address in list(system.names.items()):  # other systems add to it
        status.addGlobalActor(name, address)
    status.sourceAuthority = system.sources.authority
    status.loadedSources = [(source_hash, "") for source_hash in list(system.sources.zips)]
    return status
