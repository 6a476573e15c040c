"""Programs over tables, as plain data that an Erlang and a Python interpreter both understand.

A program is a list of steps on an empty database. Words (names of instructions, tables,
attributes, the `_` and `$1` of patterns) are `str`; values in records are None, booleans, integers,
floats, `Text`, tuples and `Items`. On Mnesia a `Text` is a binary and None is the atom `'None'`, so
that the terms are in the same order here and there; and a list in a record is a tuple, see `lists`.

The first letter of a table's name says its type: `s1` is a set, `o1` an ordered_set, `b1` a bag.
A record is written as the list of its fields, the key first.

Steps:

* `("create_table", t, (attributes, storage, index, load_order, access_mode))`,
  `("delete_table", t)`, `("clear_table", t)`, `("add_table_index", t, attribute)`,
  `("del_table_index", t, attribute)`, `("transform_table", t, how, attributes)` (how: ``same``,
  ``add``, ``drop``, ``swap`` or ``crash``), `("change_table_copy_type", t, storage)`,
  `("change_table_access_mode", t, mode)`, `("change_table_load_order", t, n)`.
* `("activity", kind, [operation, ...])`: kinds `transaction`, `sync_transaction`, `async_dirty`,
  `sync_dirty`.
* `("dirty", operation)`: one of the dirty functions. `("outside", operation)`: without an activity.
* `("archive", operation)`: `("backup", file)`, `("restore", file, default_op, [(op, [t, ...])])`,
  `("install_fallback", file)`, `("uninstall_fallback",)`, `("backup_checkpoint", name, file)`,
  `("activate_checkpoint", name, [t, ...])`, `("deactivate_checkpoint", name)`.
* `("table_info", t, item)`, `("restart",)`, `("subscribe", t, detail)`,
  `("unsubscribe", t, detail)`.

Operations:

* `("read", t, key)`, `("wread", t, key)`, `("write", t, fields)`, `("delete", t, key)`,
  `("delete_object", t, fields)`.
* `("match_object", t, pattern)`, `("index_match_object", t, pattern, attribute)`,
  `("index_read", t, value, attribute)`, `("select", t, spec)`, `("select_limit", t, spec, limit)`:
  all chunks, one after the other.
* `("first", t)`, `("last", t)`, `("next", t, key)`, `("prev", t, key)`; `("walk", t)` and
  `("walk_back", t)` from one end to the other; `("foldl", t)`, `("foldr", t)`: the records as they
  come; `("all_keys", t)`, `("table_info", t, item)`, `("update_counter", t, key, n)`,
  `("lock", t, kind)`, `("is_transaction",)`.
* `("nested", kind, [operation, ...], then)`: if it is aborted, the outer one goes on (`catch`) or
  is aborted too (`pass`).
* `("try", operation)`: goes on where it fails. `("abort", reason)`, `("raise",)`.
* `("dirty", operation)` and `("schema", step)` in the middle of an activity.

A match specification is a list of `(pattern, guards, body)`; guards and body are Erlang's, with
Python's tuples and lists: `[(">", "$1", 2)]`, `["$_"]`, `[(("$1", "$2"),)]`, `("const", (1, 2))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["ITEMS", "Items", "Program", "Step", "Text", "erlang", "plain", "type_of"]

Step: TypeAlias = Any

ITEMS = ["type", "size", "attributes", "arity", "index", "access_mode", "load_order"]
"""What of `table_info` is compared; and the storage type, where there is a folder."""


class Text(str):
    """A text in a record; words of the language are ordinary strings."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Text({str(self)!r})"


class Items(list[Any]):
    """A list in a record; the lists of the language are ordinary ones."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Items({super().__repr__()})"


@dataclass(frozen=True)
class Program:
    """What both sides run; `disc` says whether in a folder, with a restart at the end."""

    steps: list[Step]
    disc: bool = False

    def erlang(self) -> str:
        """One line for the Erlang interpreter."""
        return erlang(self.steps) + ".\n"

    def __str__(self) -> str:
        where = "in a folder" if self.disc else "in memory"
        lines = [f"a program {where}:"]
        for step in self.steps:
            if step[0] == "activity":
                lines.append(f"  {step[1]}")
                lines += [f"    {operation!r}" for operation in step[2]]
            else:
                lines.append(f"  {step!r}")
        return "\n".join(lines)


def type_of(table: str) -> str:
    """The type of a table, by its name."""
    return {"s": "set", "o": "ordered_set", "b": "bag"}[table[0]]


def erlang(term: object) -> str:
    """A term as Erlang writes it."""
    if term is None:
        return "'None'"
    if isinstance(term, bool):
        return "true" if term else "false"
    if isinstance(term, int | float):
        return repr(term) if isinstance(term, int) else _float(term)
    if isinstance(term, Text):
        return "<<" + ",".join(map(str, term.encode())) + ">>"
    if isinstance(term, str):
        return f"'{term}'"
    if isinstance(term, tuple | Items):
        return "{" + ",".join(map(erlang, term)) + "}"
    if isinstance(term, list):
        return "[" + ",".join(map(erlang, term)) + "]"
    raise TypeError(f"no Erlang term for {term!r}")


def _float(number: float) -> str:
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    return text if "." in mantissa else f"{mantissa}.0{e}{exponent}"


def plain(value: Any) -> Any:
    """A value as a user of the tables has it: a `Text` is a `str`."""
    if isinstance(value, Text):
        return str(value)
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, list):
        return list(map(plain, value))
    return value
