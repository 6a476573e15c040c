"""Types for what a server understands, so that a type checker finds a wrong message at its sender.

    class Count(Call["Counter", int]): ...

    @dataclass(frozen=True, slots=True)
    class Add(Cast["Counter"]):
        step: int

    class Counter(GenServer["Counter"]): ...

    counter = await node.start_server(Counter)     # a Pid[Counter]
    node.cast(counter, Add(2))
    total = await node.call(counter, Count())      # an int
    node.cast(counter, "add 2")                    # mypy: no overload matches

The parameter of `GenServer` names the *protocol*: any type will do, the server's own class is the
usual one. A server without it takes anything: its pid is a `Pid[Any]`. Names and aliases are not
typed. Nothing of this costs anything when the program runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    P = TypeVar("P", default=Any)
    P_co = TypeVar("P_co", covariant=True, default=Any)
    P_contra = TypeVar("P_contra", contravariant=True)
    R_co = TypeVar("R_co", covariant=True)
else:  # the interpreter needs to know no defaults
    from typing import TypeVar

    P = TypeVar("P")
    P_co = TypeVar("P_co", covariant=True)
    P_contra = TypeVar("P_contra", contravariant=True)
    R_co = TypeVar("R_co", covariant=True)

__all__ = ["Call", "Cast", "P", "P_co", "R_co", "Untyped"]


class Call(Generic[P_contra, R_co]):
    """A request that servers of protocol `P` answer with an `R`; the base of request classes."""

    __slots__ = ()


class Cast(Generic[P_contra]):
    """A message to servers of protocol `P` that needs no answer; the base of message classes."""

    __slots__ = ()


class Untyped:
    """The protocol of a server that did not say what it understands: anything goes."""

    __slots__ = ()
