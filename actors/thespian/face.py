"""What an `Actor`'s methods call: Thespian's names for what an actor's process can do."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress
from thespian.system.timing import timePeriodSeconds

from palaver.actors.thespian.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from palaver.actors.thespian.address import Address
    from palaver.actors.thespian.system import ThespianSystem

__all__ = ["ThespianFace"]


class ThespianFace:
    """The half of `ActorProcess` that an `Actor` sees as its `_myRef`."""

    __slots__ = ()

    system: ThespianSystem
    global_name: str | None

    @property
    @abstractmethod
    def address(self) -> Address:
        """The actor's own address."""

    @abstractmethod
    def in_loop(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call something in the thread of the node's loop, whichever thread the actor is in."""

    @abstractmethod
    def create_child(
        self, actor_class: Any, requirements: Any, global_name: str | None, source_hash: str | None
    ) -> Address:
        """Create an actor whose parent is this one."""

    @abstractmethod
    def wake_after(self, delay_s: float, period: Any, payload: Any) -> None:
        """Let the actor get a `WakeupMessage`."""

    @property
    def globalName(self) -> str | None:  # noqa: N802
        """The actor's global name; None if it has none."""
        return self.global_name

    def createActor(  # noqa: N802
        self,
        actorClass: Any,  # noqa: N803
        targetActorRequirements: Any,  # noqa: N803
        globalName: str | None,  # noqa: N803
        sourceHash: str | None = None,  # noqa: N803
    ) -> Address:
        """See `create_child`."""
        found: Address = self.in_loop(
            self.create_child, actorClass, targetActorRequirements, globalName, sourceHash
        )
        return found

    def wakeupAfter(self, timePeriod: Any, payload: Any) -> None:  # noqa: N802, N803
        """See `wake_after`; the period is a `timedelta`, or seconds."""
        self.in_loop(self.wake_after, timePeriodSeconds(timePeriod), timePeriod, payload)

    def handleDeadLetters(self, address: Address, enable: bool) -> None:  # noqa: N802
        """Let this actor handle dead letters, or no more."""
        self.in_loop(self.system.handle_dead_letters, address, enable)

    def registerSourceAuthority(self, address: Address) -> None:  # noqa: N802
        """Let this actor say which sources may be loaded."""

        def register() -> None:
            self.system.sources.authority = address

        self.in_loop(register)

    def notifyOnSourceAvailability(self, address: Address, enable: bool) -> None:  # noqa: N802
        """Tell this actor of sources that are loaded and unloaded."""
        self.in_loop(self.system.sources.watch, address, enable)

    def notifyOnSystemRegistrationChanges(  # noqa: N802
        self, address: Address, enable: bool
    ) -> None:
        """Tell this actor of systems that come and go."""
        self.in_loop(self.system.watch_convention, address, enable)

    def updateCapability(self, capabilityName: str, capabilityValue: Any) -> None:  # noqa: N802, N803
        """Set or remove a capability of the system."""
        self.in_loop(self.system.update_capability, capabilityName, capabilityValue)

    def loadActorSource(self, fname: Any) -> str:  # noqa: N802
        """Offer a source to the source authority; its hash."""
        source_hash, data = read_source(fname)
        self.in_loop(self.system.sources.offer, source_hash, data)
        return source_hash

    def unloadActorSource(self, sourceHash: str) -> None:  # noqa: N802, N803
        """Forget a source."""
        self.in_loop(self.system.unload_source, sourceHash)

    def preRegisterRemoteSystem(  # noqa: N802
        self,
        remoteAddress: Any,  # noqa: N803
        remoteCapabilities: Any,  # noqa: N803 - it has its own
    ) -> None:
        """Take a system of this program, by its port, into the convention."""
        self.system.network.register(self.system, remoteAddress, True)

    def deRegisterRemoteSystem(self, remoteAddress: Any) -> None:  # noqa: N802, N803
        """Undo `preRegisterRemoteSystem`; by its port or its address."""
        where: Any = remoteAddress
        if isinstance(remoteAddress, ActorAddress):
            where = getattr(remoteAddress, "system", self.system).port
        self.system.network.register(self.system, where, False)

    def actorSystemShutdown(self) -> None:  # noqa: N802
        """End the system that this actor is in."""
        self.in_loop(self.system.request_stop)
