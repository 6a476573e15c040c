"""The process of a Thespian system: the parent of every actor that no actor has created."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from thespian.actors import (
    ActorExitRequest,
    ChildActorExited,
    Thespian_StatusReq,
    ValidatedSource,
)

from palaver.actors.runtime import (
    NOREPLY,
    NORMAL,
    Crash,
    Down,
    Exit,
    From,
    GenServer,
    Pid,
    Ref,
    StartError,
    Stop,
)
from palaver.actors.thespian.actor import ActorProcess
from palaver.actors.thespian.address import ActorMessage, Address, RemoteActor
from palaver.actors.thespian.family import CHECK_CAPABILITIES
from palaver.actors.thespian.placing import place
from palaver.actors.thespian.status import system_status
from palaver.actors.thespian.system import ThespianSystem

__all__ = ["Adopted", "CreateActor", "SystemProcess"]

STOP_S: Final = 10.0
"""How long the actors may take to exit after an `ActorExitRequest`; then they are stopped."""


@dataclass(frozen=True, slots=True)
class CreateActor:
    """A call: create an actor; answered with its `Address`."""

    actor_class: Any
    requirements: Any = None
    global_name: str | None = None
    source_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """An actor that runs here for another system: its address, and its parent's there."""

    address: Address
    parent: Address


class SystemProcess(GenServer):
    """Creates actors, hears of their end, and takes them along at its own.

    `SystemProcess(system)` can be a child of a `Supervisor`; when it is restarted, the system
    begins anew, without actors.
    """

    __slots__ = ("adopted", "children", "system", "wards")

    system: ThespianSystem
    # Dicts of their own order: the actors, those of other systems among them, and which actors of
    # other systems end with which actor here.
    children: dict[Pid, Address]
    adopted: dict[Pid, Adopted]
    wards: dict[Ref, Address]

    def init(self, system: ThespianSystem) -> None:
        """Begin; raises `ActorSystemStartupFailure` if the system's port is taken."""
        self.trap_exit = True
        self.system = system
        self.children = {}
        self.adopted = {}
        self.wards = {}
        system.begin(self)

    async def handle_call(self, request: Any, from_: From) -> Any:
        """Create an actor, or say the status; whatever prevents it is raised in the caller."""
        if isinstance(request, Thespian_StatusReq):
            return system_status(self.system)
        if not isinstance(request, CreateActor):
            self.reply_error(from_, TypeError(f"an actor system cannot be asked {request!r}"))
            return NOREPLY
        try:
            return await self.create(request)
        except StartError as error:
            reason = error.reason
            self.reply_error(from_, reason.exception if isinstance(reason, Crash) else error)
        except Exception as error:  # noqa: BLE001 - the caller's class, its modules, its name
            self.reply_error(from_, error)
        return NOREPLY

    async def create(self, request: CreateActor) -> Address:
        """Create what is asked for, here or in another system."""
        system = self.system
        found = system.find_name(request.global_name)
        if found is not None:
            return found
        where, actor_class = place(
            system, request.actor_class, request.requirements, request.source_hash
        )
        if where is not system:
            return where.adopt(
                actor_class,
                request.requirements,
                request.source_hash,
                request.global_name,
                system.address,
            )
        pid = await self.start_link(
            ActorProcess,
            system,
            actor_class,
            request.requirements,
            source_hash=request.source_hash,
            global_name=request.global_name,
        )
        self.children[pid] = address = Address(pid, system)
        return address

    def adopt(
        self,
        address: Address,
        actor_class: type[Any],
        requirements: Any,
        source_hash: str | None,
        global_name: str | None,
        parent: Address,
    ) -> None:
        """Create an actor whose parent is in another system."""
        if not self.node.is_alive(self.pid):
            self.system.deliver(parent, ChildActorExited(address), parent)
            return
        remote: RemoteActor = address.addressDetails
        remote.pid = pid = self.spawn_link(
            ActorProcess,
            self.system,
            actor_class,
            requirements,
            source_hash=source_hash,
            global_name=global_name,
            address=address,
            parent_address=parent,
            lenient=True,
        )
        self.children[pid] = address
        self.adopted[pid] = Adopted(address, parent)

    def take_along(self, parent: Pid, child: Address) -> None:
        """When `parent`, which is here, exits, `child`, which is not, is to exit as well."""
        self.wards[self.monitor(parent)] = child

    def let_go(self, children: list[Address]) -> None:
        """These are no longer to exit with their parent."""
        for ref, child in list(self.wards.items()):
            if child in children:
                self.demonitor(ref)
                del self.wards[ref]

    def check_capabilities(self) -> None:
        """The capabilities have changed: every actor is to see whether it still fits."""
        for pid in self.children:
            self.send(pid, CHECK_CAPABILITIES)

    def handle_info(self, message: Any) -> Any:
        """An actor has exited, or says something to the system."""
        if isinstance(message, ActorMessage):
            self.hear(message.message, message.sender)
        elif isinstance(message, Exit):
            return self.linked_exit(message)
        elif isinstance(message, Down):
            ward = self.wards.pop(message.ref, None)
            if ward is not None:
                self.system.deliver(ward, ActorExitRequest(), self.system.address)
        return None

    def hear(self, message: Any, sender: Address) -> None:
        """What actors and programs say to the system's own address."""
        if isinstance(message, ValidatedSource) and sender == self.system.sources.authority:
            self.system.sources.validated(message)
        elif isinstance(message, Thespian_StatusReq):
            self.system.deliver(sender, system_status(self.system), self.system.address)

    def linked_exit(self, message: Exit) -> Stop | None:
        """A process that this one is linked to has exited."""
        sender = message.sender
        if sender is not None and self.children.pop(sender, None) is not None:
            adopted = self.adopted.pop(sender, None)
            if adopted is not None:
                exited = ChildActorExited(adopted.address)
                self.system.deliver(adopted.parent, exited, self.system.address)
            return None
        return None if message.reason is NORMAL else Stop(message.reason)

    async def terminate(self, reason: object) -> None:
        """Let every actor exit as if it had been sent an `ActorExitRequest`, and wait for it."""
        for pid in self.children:
            self.send(pid, ActorMessage(ActorExitRequest(), self.system.address))
        await self.join(list(self.children), timeout_s=STOP_S)
        for adopted in self.adopted.values():
            exited = ChildActorExited(adopted.address)
            self.system.deliver(adopted.parent, exited, self.system.address)
        self.system.end()
