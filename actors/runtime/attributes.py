"""The state of a server as data: its attributes by name, in slots or in its dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["attribute_names", "attributes", "replace_attributes"]

RESERVED: Final = "process_"
NOT_STATE: Final = frozenset({RESERVED, "__dict__", "__weakref__"})


def attribute_names(kind: type) -> list[str]:
    """The slots of a class that hold state, those of its bases first; private names as stored."""
    names: list[str] = []
    for base in reversed(kind.__mro__):
        slots = base.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in NOT_STATE:
                private = slot.startswith("__") and not slot.endswith("__")
                names.append(f"_{base.__name__.lstrip('_')}{slot}" if private else slot)
    return names


def attributes(server: object) -> dict[str, Any]:
    """All attributes of a server that are set, but the reserved one."""
    found = {}
    for name in attribute_names(type(server)):
        try:
            found[name] = getattr(server, name)
        except AttributeError:  # not set yet
            continue
    found.update(getattr(server, "__dict__", {}))
    found.pop(RESERVED, None)
    return found


def replace_attributes(server: object, state: Mapping[str, Any]) -> None:
    """Let a server have these attributes and no others.

    Raises `TypeError` for what is no mapping or names an attribute that the class has no room for;
    the server is then as it was.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"the state is a mapping of attributes, not {type(state).__name__}")
    room = set(attribute_names(type(server)))
    unknown = [name for name in state if name not in room]
    if RESERVED in state or (unknown and not hasattr(server, "__dict__")):
        raise TypeError(f"{type(server).__qualname__} has no attribute for {unknown}")
    for name in attributes(server):
        if name not in state:
            delattr(server, name)
    for name, value in state.items():
        setattr(server, name, value)
