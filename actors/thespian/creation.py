"""From what `createActor` is given to an instance."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from thespian.actors import InvalidActorSpecification
from thespian.system.sourceLoader import loadModuleFromHashSource
from thespian.system.utilis import actualActorClass, checkActorCapabilities

__all__ = ["Maker", "fits", "resolve"]


def resolve(actor_class: Any, source_hash: str | None, sources: Mapping[str, bytes]) -> type[Any]:
    """The class that is meant: itself, or by a name like `package.module.Class`.

    Raises `InvalidActorSpecification`, `InvalidActorSourceHash` or `ImportError`.
    """
    loader = None
    if source_hash is not None:
        loader = functools.partial(loadModuleFromHashSource, source_hash, sources)
    try:
        found = actualActorClass(actor_class, loader)
    except AttributeError as error:
        raise ImportError(f"{actor_class}: {error}") from error
    if not isinstance(found, type) or not hasattr(found, "receiveMessage"):
        raise InvalidActorSpecification(actor_class, "an actor is a class with receiveMessage")
    return found


def fits(actor_class: type[Any], capabilities: Mapping[str, Any], requirements: Any) -> bool:
    """Whether an actor may run where these capabilities are.

    A check that raises says no: elsewhere it may say yes.
    """
    return bool(checkActorCapabilities(actor_class, capabilities, requirements))


class Maker:
    """Makes actors; remembers, while a class lives, what its `__init__` wants to know."""

    __slots__ = ("_wants",)

    def __init__(self) -> None:
        self._wants: WeakKeyDictionary[type[Any], tuple[str, ...]] = WeakKeyDictionary()

    def make(
        self, actor_class: type[Any], capabilities: Mapping[str, Any], requirements: Any
    ) -> Any:
        """A new actor, whose `__init__` gets `capabilities` and `requirements` if it names them."""
        wants = self._wants.get(actor_class)
        if wants is None:
            named = inspect.signature(actor_class.__init__).parameters
            wants = tuple(name for name in ("capabilities", "requirements") if name in named)
            self._wants[actor_class] = wants
        if not wants:
            return actor_class()
        known = {"capabilities": dict(capabilities), "requirements": requirements}
        return actor_class(**{name: known[name] for name in wants})
