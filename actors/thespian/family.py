"""An actor's children: how they begin, how it hears of their end, how they end with it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

import structlog
from thespian.actors import ActorAddress, ActorExitRequest, ChildActorExited

from palaver.actors.runtime import NORMAL, Exit, GenServer, Pid, Stop
from palaver.actors.thespian import creation
from palaver.actors.thespian.address import ActorMessage, Address, RemoteActor
from palaver.actors.thespian.face import ThespianFace
from palaver.actors.thespian.placing import place

__all__ = ["CHECK_CAPABILITIES", "ActorFamily"]

log = structlog.get_logger("palaver.actors.thespian")

CHILDREN_S: Final = 5.0
"""How long an actor that exits waits for its children to exit before it; then it ends them."""

CHECK_CAPABILITIES: Final = object()
"""A message: the capabilities have changed."""


class ActorFamily(ThespianFace, GenServer):
    """The part of `ActorProcess` that is about its children."""

    __slots__ = ("actor", "children", "requirements", "source_hash")

    # The actor itself; None if it could not be made.
    actor: Any
    requirements: Any
    source_hash: str | None
    # By what their addresses lead to; None until there is one.
    children: dict[Pid | RemoteActor, Address] | None

    @abstractmethod
    def take(self, message: Any, sender: ActorAddress) -> Any:
        """Let the actor handle a message."""

    def create_child(
        self, actor_class: Any, requirements: Any, global_name: str | None, source_hash: str | None
    ) -> Address:
        """Create an actor whose parent is this one; its address, before it has begun.

        Whatever prevents it comes as a `ChildActorExited`; what is sent to it until then comes back
        as a `PoisonMessage`.
        """
        system = self.system
        found = system.find_name(global_name)
        if found is not None:
            return found
        source_hash = source_hash or self.source_hash
        try:
            where, kind = place(system, actor_class, requirements, source_hash)
        except Exception as error:  # noqa: BLE001 - the user's class, its modules, its check
            return self.refuse_child(error)
        if where is system:
            pid = self.spawn_link(
                type(self),
                system,
                kind,
                requirements,
                source_hash=source_hash,
                global_name=global_name,
                parent_address=self.address,
                lenient=True,
            )
            address = Address(pid, system)
        else:
            address = where.adopt(kind, requirements, source_hash, global_name, self.address)
            system.process.take_along(self.pid, address)
        if global_name is not None:
            where.names[global_name] = address
        if self.children is None:
            self.children = {}
        self.children[address.addressDetails] = address
        return address

    def refuse_child(self, error: Exception) -> Address:
        """The address of an actor that cannot be."""
        log.warning("actor not created", parent=str(self.address), reason=str(error))
        address = Address(RemoteActor(0, str(error) or type(error).__name__), self.system)
        self.send(self.pid, ActorMessage(ChildActorExited(address), self.system.address))
        return address

    def forget_child(self, address: ActorAddress) -> None:
        """A child has exited; it may be one of another system."""
        details = address.addressDetails
        if isinstance(details, RemoteActor):
            details.refused = None
        if self.children is not None:
            self.children.pop(details, None)

    def linked_exit(self, message: Exit) -> Any:
        """A linked process has exited: a child, or one that wants this actor to exit as well."""
        sender = message.sender
        child = None
        if self.children is not None and sender is not None:
            child = self.children.get(sender)
        if child is not None:
            return self.take(ChildActorExited(child), self.system.address)
        return None if message.reason is NORMAL else Stop(message.reason)

    def check_capabilities(self) -> None:
        """Exit, unless this actor still fits; let the children look as well."""
        system = self.system
        if not creation.fits(type(self.actor), system.capabilities, self.requirements):
            self.send(self.pid, ActorMessage(ActorExitRequest(), system.address))
        for child in self.children or ():
            if isinstance(child, Pid):
                self.send(child, CHECK_CAPABILITIES)

    async def end_children(
        self, children: dict[Pid | RemoteActor, Address], recursive: bool
    ) -> None:
        """Ask the children to exit and wait for them; or leave them to themselves."""
        pids = [child for child in children if isinstance(child, Pid)]
        if not recursive:
            self.system.process.let_go(list(children.values()))
            for pid in pids:
                self.unlink(pid)
            return
        for pid in pids:
            self.send(pid, ActorMessage(ActorExitRequest(), self.system.address))
        await self.join(pids, timeout_s=CHILDREN_S)
