"""Which classes may cross between nodes, and what they are called there.

    vocabulary = Vocabulary().add(Deposit, Withdraw, Overdrawn).add_module(messages)

Nothing is imported because another node names it: a node makes objects of those classes only that
its own program has registered. Each node numbers its own, and tells the others in its greeting
what the numbers mean; so nodes of different versions understand each other as far as they can.
"""

from __future__ import annotations

import builtins
import enum
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import FunctionType, ModuleType
from typing import Any, Final, Literal, Self, TypeAlias

from palaver.actors import names
from palaver.actors.distribution import requests
from palaver.actors.distribution.crossing import CannotCross
from palaver.actors.distribution.nodes import Nodedown, Nodeup
from palaver.actors.names import group_messages
from palaver.actors.runtime import (
    HIBERNATE,
    KILL,
    KILLED,
    NOCONNECTION,
    NOPROC,
    NOREPLY,
    NORMAL,
    SHUTDOWN,
    TIMEOUT,
    Continue,
    Crash,
    Down,
    Exit,
    ExitProcess,
    Ignore,
    NamedReason,
    Overflow,
    Response,
    RuntimeFault,
    Shutdown,
    Stop,
    Timeout,
    errors,
)

__all__ = ["Entry", "RemoteError", "Unreadable", "Vocabulary"]

Kind: TypeAlias = Literal["tuple", "record", "enum", "error", "thing"]

MAX_ENTRIES: Final = 100_000
"""How many names a vocabulary may have."""


class Unreadable(RuntimeFault):
    """Something from another node cannot be read here; the text says what, and what to do.

    A call that was answered so, or whose request the other node cannot read, fails with it.
    """


class RemoteError(RuntimeFault):
    """An exception of another node, of a class that is not registered on both: told as a text.

    Attributes:
        kind: what its class is called there, as ``module.Class``.
        text: what it says.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind
        self.text = text


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a vocabulary.

    Attributes:
        name: what it is called between nodes.
        kind: how it crosses; a ``thing`` only by its name.
        fields: what a ``tuple`` or a ``record`` consists of, in order.
        thing: the class, or the object itself.
        defaults: makes the value of a field that was not sent.
    """

    name: str
    kind: Kind
    fields: tuple[str, ...]
    thing: Any
    defaults: dict[str, Callable[[], Any]]


class Vocabulary:
    """The classes, functions and names that a node can send and understand.

    The runtime's own, and Python's exceptions, are in every one. It is complete when the node
    connects: from then on `add` raises.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._sealed = False
        for name, thing in _core():
            self._enter(name, thing)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, thing: object) -> bool:
        return any(entry.thing is thing for entry in self._entries.values())

    def add(self, *things: Any, name: str | None = None) -> Self:
        """Register classes, functions or named reasons; harmless if they are in it.

        Objects cross of NamedTuples, dataclasses, attrs classes, enums and exceptions. Other
        classes, functions and `NamedReason`s cross as themselves: there is the same one there.

        Args:
            *things: what to register.
            name: what one thing is called between nodes; by default ``module.Class``. Give it the
                old name when a class has moved, so that nodes of both versions know it.

        Raises:
            ValueError: the name means something else already, or the vocabulary is in use.
            TypeError: it is none of these.
        """
        if name is not None and len(things) != 1:
            raise ValueError("one name is for one thing")
        for thing in things:
            self._enter(name or _name_of(thing), thing)
        return self

    def add_module(self, module: ModuleType) -> Self:
        """Register every class of a module whose objects can cross; those it defines itself."""
        for thing in list(vars(module).values()):
            own = isinstance(thing, type) and thing.__module__ == module.__name__
            if own and _kind_of(thing) != "thing":
                self.add(thing)
        return self

    def entries(self) -> tuple[Entry, ...]:
        """All of it, in the order of the numbers; nothing can be added any more."""
        self._sealed = True
        return tuple(self._entries.values())

    def get(self, name: str) -> Entry | None:
        """What a name means."""
        return self._entries.get(name)

    def _enter(self, name: str, thing: Any) -> None:
        known = self._entries.get(name)
        if known is not None and known.thing is thing:
            return
        if known is not None:
            raise ValueError(f"{name} means {known.thing!r} already: give {thing!r} another name")
        if self._sealed:
            raise ValueError(f"the vocabulary is in use: add {name} before the node connects")
        if len(self._entries) >= MAX_ENTRIES:
            raise ValueError(f"a vocabulary has at most {MAX_ENTRIES} names")
        kind = _kind_of(thing)
        names, defaults = _fields_of(thing, kind)
        self._entries[name] = Entry(name, kind, names, thing, defaults)


def _name_of(thing: Any) -> str:
    if isinstance(thing, NamedReason):
        return thing.name
    if isinstance(thing, (type, FunctionType)):
        name = f"{thing.__module__}.{thing.__qualname__}"
        if "<" in name:
            raise TypeError(f"{name} is not defined in a module: others have no such thing")
        return name
    raise TypeError(f"{thing!r} is no class, function or named reason: nothing to register")


def _kind_of(thing: Any) -> Kind:
    if not isinstance(thing, type):
        return "thing"
    if issubclass(thing, enum.Enum):
        return "enum"
    if issubclass(thing, BaseException):
        return "error"
    if issubclass(thing, tuple) and hasattr(thing, "_fields"):
        return "tuple"
    if is_dataclass(thing) or hasattr(thing, "__attrs_attrs__"):
        return "record"
    return "record" if thing in (Shutdown, Overflow, Crash) else "thing"


def _fields_of(thing: Any, kind: Kind) -> tuple[tuple[str, ...], dict[str, Callable[[], Any]]]:
    defaults: dict[str, Callable[[], Any]] = {}
    if kind == "tuple":
        for name, value in thing._field_defaults.items():
            defaults[name] = _always(value)
        return tuple(thing._fields), defaults
    if kind != "record":
        return (), defaults
    if is_dataclass(thing):
        for each in fields(thing):
            if each.default is not MISSING:
                defaults[each.name] = _always(each.default)
            elif each.default_factory is not MISSING:
                defaults[each.name] = each.default_factory
        return tuple(each.name for each in fields(thing)), defaults
    if not hasattr(thing, "__attrs_attrs__"):
        return tuple(thing.__match_args__), defaults
    for each in thing.__attrs_attrs__:
        factory = getattr(each.default, "factory", None)
        if factory is not None and not each.default.takes_self:
            defaults[each.name] = factory
        elif factory is None and getattr(each.default, "name", "") != "NOTHING":
            defaults[each.name] = _always(each.default)
    return tuple(each.name for each in thing.__attrs_attrs__), defaults


def _always(value: Any) -> Callable[[], Any]:
    return lambda: value


def _core() -> Iterator[tuple[str, Any]]:
    """What every vocabulary has."""
    reasons = (NORMAL, SHUTDOWN, KILL, KILLED, NOPROC, NOCONNECTION)
    for thing in (NOREPLY, TIMEOUT, HIBERNATE, *reasons):
        yield f"palaver:{thing!r}", thing
    kinds: list[type] = [Shutdown, Overflow, Crash, Exit, Down, Response, Stop, Continue]
    kinds += [Ignore, Timeout, Nodeup, Nodedown, CannotCross, Unreadable, RemoteError, ExitProcess]
    for kind in kinds:
        yield f"palaver:{kind.__name__}", kind
    kinds = [group_messages.Discover, group_messages.Sync, group_messages.Join]
    kinds += [group_messages.Leave, group_messages.Joined, group_messages.Left]
    for kind in kinds:
        yield f"palaver:pg.{kind.__name__}", kind
    for kind in (bool, int, float, str, bytes, list, tuple, dict, set, frozenset):
        yield f"builtins.{kind.__name__}", kind
    for name in requests.__all__:
        if isinstance(getattr(requests, name), type):
            yield f"palaver:{name}", getattr(requests, name)
    for module in (errors, names):
        for name, thing in vars(module).items():
            if isinstance(thing, type) and issubclass(thing, RuntimeFault):
                yield f"palaver:{name}", thing
    for thing in vars(builtins).values():
        if isinstance(thing, type) and issubclass(thing, Exception):
            yield f"builtins.{thing.__name__}", thing
