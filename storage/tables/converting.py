"""Records of a table as records of another class, or of another form."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import terms
from .copies import Copy, DiscCopy, Key, Slot
from .errors import BadType
from .identity import identical
from .table import TableState

Transform = Callable[[Any], Any]


def rebound_swaps(
    swaps: list[tuple[Copy, Key, Any]], bound: Copy, convert: Callable[[Slot], Slot]
) -> list[tuple[Copy, Key, Any]]:
    """Return what takes a commit back, where the records of a copy become ones of another class."""

    def before(kept: Any) -> Any:
        if kept is None or type(kept) is bytes:
            return kept
        if isinstance(bound, DiscCopy):
            number, slot = kept
            return number, None if slot is None else convert(slot)
        return convert(kept)

    return [(copy, key, before(kept) if copy is bound else kept) for copy, key, kept in swaps]


def _values(found: Any) -> tuple[Any, ...]:
    try:
        return tuple(found)
    except TypeError:
        raise BadType(f"{found!r} is neither a new record nor a tuple of its values") from None


def convert_slots(
    old: TableState, new: TableState, slots: Iterable[Slot], function: Transform | None
) -> dict[Key, Slot]:
    """Return all slots of a table in the form of its new records."""
    found: dict[Key, Slot] = {}
    record_type = new.record_type
    for slot in slots:
        for record in old.records_of(slot):
            changed = record if function is None else function(record)
            if type(changed) is not record_type.cls:
                values = changed if function is not None else old.record_type.values(record)
                changed = record_type.make(_values(values))
            record_type.check(changed)
            if new.on_disc:
                _, changed = record_type.keep(changed)
            key = terms.encode(record_type.key_of(changed))
            if new.is_bag:
                beside = found.get(key, ())
                if not any(identical(record_type, changed, other) for other in beside):
                    found[key] = (*beside, changed)
            elif key in found:
                raise BadType(f"two records of {new.name} would have the key of {changed}")
            else:
                found[key] = changed
    return found
