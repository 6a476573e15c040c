"""In which system of a convention an actor is to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from thespian.actors import NoCompatibleSystemForActor

from palaver.actors.thespian import creation

if TYPE_CHECKING:
    from palaver.actors.thespian.system import ThespianSystem

__all__ = ["ALLOWS_SOURCES", "place"]

ALLOWS_SOURCES: Final = "AllowRemoteActorSources"
"""The capability that says whether a system takes sources from others in its convention.

`yes` (the default), `LeaderOnly`, or anything else for no.
"""


def place(
    system: ThespianSystem, actor_class: Any, requirements: Any, source_hash: str | None
) -> tuple[ThespianSystem, type[Any]]:
    """Where an actor can run, `system` itself first, and its class.

    Raises as `ThespianSystem.create_actor`.
    """
    zips = system.sources.zips
    if source_hash is not None and source_hash not in zips:
        borrow(system, source_hash)
    found = creation.resolve(actor_class, source_hash, zips)
    if creation.fits(found, system.capabilities, requirements):
        return system, found
    for peer in system.network.peers(system):
        if creation.fits(found, peer.capabilities, requirements) and (
            source_hash is None or takes(peer, source_hash, system)
        ):
            return peer, found
    raise NoCompatibleSystemForActor(found, "No compatible ActorSystem could be found")


def takes(system: ThespianSystem, source_hash: str, peer: ThespianSystem) -> bool:
    """Whether `system` has, or may have, a source that `peer` has loaded."""
    if source_hash in system.sources.zips:
        return True
    allowed = str(system.capabilities.get(ALLOWS_SOURCES, "yes")).lower()
    return allowed in ("yes", "true") or (
        allowed == "leaderonly" and system.network.leader(system) is peer
    )


def borrow(system: ThespianSystem, source_hash: str) -> None:
    """Take a source from another system of the convention, if one has it and that is allowed."""
    for peer in system.network.peers(system):
        data = peer.sources.zips.get(source_hash)
        if data is not None and takes(system, source_hash, peer):
            system.sources.zips[source_hash] = data
            return
