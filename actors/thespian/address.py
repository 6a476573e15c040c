"""Where Thespian actors are: addresses, and the ways between them and pids."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from thespian.actors import ActorAddress, InvalidActorAddress

from palaver.actors.runtime import Pid
from palaver.actors.thespian.outside import Outside

if TYPE_CHECKING:
    from palaver.actors.thespian.system import ThespianSystem

__all__ = ["ActorMessage", "Address", "Asker", "RemoteActor", "pid_of"]


class RemoteActor:
    """An actor that was created from another system; both systems hold this one object.

    So its address is there before the actor is, and compares equal on both sides. `pid` is None
    until the actor has begun, and for ever if it never does: then `refused` says why, until the
    parent has heard of it.
    """

    __slots__ = ("pid", "refused", "serial")

    def __init__(self, serial: int, refused: str | None = None) -> None:
        self.pid: Pid | None = None
        self.refused = refused
        self.serial = f"x{serial}"


class Asker:
    """Somebody who waits for one answer: the first message to this address is it."""

    __slots__ = ("put",)

    serial = "asker"

    def __init__(self, put: Callable[[Any], None]) -> None:
        self.put = put


class Address(ActorAddress):  # type: ignore[misc] # Thespian has no types
    """Where messages go: an actor, a process, or the program outside.

    Two addresses are equal if they lead to the same place. Unlike other `ActorAddress`es it has a
    hash. It cannot be pickled: it means something only in the program that it was made in.
    """

    # `_aaddr` is what ActorAddress calls it; as a slot, it saves the dict of each address.
    __slots__ = ("_aaddr", "system")

    def __init__(
        self, details: Pid | RemoteActor | Asker | Outside, system: ThespianSystem
    ) -> None:
        self._aaddr = details
        self.system = system

    @property
    def actorAddressString(self) -> str:  # noqa: N802 - Thespian's name
        """The address for people; nothing can be sent to a string."""
        return f"{self.system.label}~{self._aaddr.serial}"

    def __str__(self) -> str:
        return f"ActorAddr-{self.actorAddressString}"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._aaddr is other._aaddr

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._aaddr)

    def __copy__(self) -> Address:
        return self

    def __deepcopy__(self, memo: object) -> Address:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("an actor's address means nothing in another program: do not pickle it")


class ActorMessage(NamedTuple):
    """A message and who sent it, as it travels between actors and other processes.

    A `GenServer` gets it in `handle_info` when an actor sends to its address, and sends it, with
    `self.send(pid_of(address), ActorMessage(message, system.address_of(self.pid)))`, to be
    answered.
    """

    message: Any
    sender: Address


def pid_of(address: ActorAddress) -> Pid:
    """The process behind an address: to monitor it, to link to it, to call it.

    Raises `InvalidActorAddress` for the address of something that is no process, or of an actor of
    another system that has not begun.
    """
    details = address.addressDetails if isinstance(address, Address) else None
    if isinstance(details, RemoteActor):
        details = details.pid
    if not isinstance(details, Pid):
        raise InvalidActorAddress(address, "not the address of a process")
    return details
