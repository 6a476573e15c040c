"""What of two observations must be equal: everything that Mnesia determines, and nothing else.

* The records of a scan of a set or a bag come in no order; those of an ordered_set do, except where
  an index was used, or may have been.
* Where one is in a set or a bag (`first`, `next`, ...) is not determined; that `next` of all the
  keys comes to every key once (`walk`) is.
* The objects of one key of a bag come in the order in which they were written, in memory; see
  `bag-order`.
* The events of one commit come in an order by key only.
* In a transaction the Erlang interpreter says "twice" where Mnesia's answer is not what `read` of
  every key says, and tells both. The second is right; what is wrong with the first is listed.
* A list is as good as a tuple, see `lists`.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any, TypeAlias

__all__ = ["PLACES", "Entry", "canonical"]

Entry: TypeAlias = list[Any]

SCANS = frozenset(["match_object", "select", "select_limit", "all_keys", "contents"]) | frozenset(
    ["walk", "walk_back", "foldl", "foldr"]
)
"""Of many records: in order in an ordered_set only."""

BY_INDEX = frozenset(["match_object", "index_match_object", "index_read"])
"""In no order in any table."""

OBJECTS = (frozenset(["read", "wread"]), frozenset(["read", "wread", "dirty_read", "object"]))
"""Of one key, in no order, as `bag-order` says: in memory, and on the disc."""

PLACES = frozenset(["first", "last", "next", "prev"])
"""In a set or a bag: one key or another."""


def canonical(log: list[Entry], *, disc: bool) -> list[Entry]:
    """An observation without what is not determined; `disc` is the program's."""
    entries = []
    for name, group in groupby(log, key=lambda entry: entry[0]):
        found = [_entry(entry, disc=disc) for entry in group]
        if name == "event":
            found.sort(key=_event_order)
        elif name == "object":
            found.sort(key=_order)
        entries += found
    return entries


def _entry(entry: Entry, *, disc: bool) -> Entry:
    name, table, (kind, *values) = entry
    if kind == "error":
        return [name, table, [kind, _same_kind(values[0])]]
    operation = name.removeprefix("dirty_")
    ordered = table[0] == "o"
    values = list(map(_same_kind, values))
    if operation in BY_INDEX or (operation in SCANS and not ordered) or name in OBJECTS[disc]:
        values = [[value[0], *sorted(value[1:], key=_order)] for value in values]
    elif operation in PLACES and not ordered:
        values = ["somewhere"] * len(values)
    if kind == "twice" and _order(values[0]) == _order(values[1]):
        return [name, table, ["value", values[0]]]  # 1 and 1.0 have no order in Erlang
    return [name, table, [kind, *values]]


def _same_kind(value: Any) -> Any:
    """A value with lists as tuples."""
    if not isinstance(value, list):
        return value
    tag = "tuple" if value[0] == "list" else value[0]
    return [tag, *map(_same_kind, value[1:])]


def _order(value: Any) -> str:
    return json.dumps(value)


def _event_order(entry: Entry) -> tuple[str, bool, str]:
    """By table, by kind of subscription and by key."""
    _, table, (_, (_, name, what, *_)) = entry
    detailed = name.startswith("detailed")
    whole = isinstance(what, list) and what[:2] == ["tuple", table]
    return table, detailed, _order(what[2] if whole else what)
