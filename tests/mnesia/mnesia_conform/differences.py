"""Where the tables mean to differ from Mnesia: one list; what is not in it is not passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["DIFFERENCES", "Difference", "explain"]


@dataclass(frozen=True)
class Difference:
    """A difference that is meant.

    `meant(mnesia, ours)` says of two entries in the same place whether they differ just so. Where
    it is None, the interpreters or the generator see to it that it does not come up, as `text`
    says.
    """

    name: str
    text: str
    meant: Callable[[Any, Any], bool] | None = None


TOGETHER = [
    {"read_only", "already_exists"},
    {"read_only", "bad_type"},
    {"read_only", "combine_error"},
    {"nested_transaction", "no_exists"},
    {"nested_transaction", "read_only"},
]
"""Mistakes that programs make two at a time."""


def _two_mistakes(mnesia: Any, ours: Any) -> bool:
    """Both fail, each with the word for one of two mistakes."""
    failed = mnesia[:2] == ours[:2] and mnesia[2][0] == ours[2][0] == "error"
    return failed and {str(mnesia[2][1]), str(ours[2][1])} in TOGETHER


def _wrong(operations: str, types: str) -> Callable[[Any, Any], bool]:
    """Mnesia's own answer is not what its `read` says, and ours is."""

    def meant(mnesia: Any, ours: Any) -> bool:
        name, table, (kind, *values) = mnesia
        listed = name in operations.split() and table[0] in types
        return listed and kind == "twice" and ours == [name, table, ["value", values[1]]]

    return meant


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "ordered-walk-misses",
        "In a transaction that deleted a key of an ordered_set, Mnesia's first, next, ... skip "
        "keys that it wrote just before that one.",
        _wrong("first last next prev walk walk_back", "o"),
    ),
    Difference(
        "walk-loses-keys",
        "In a transaction that wrote to a set or a bag, Mnesia's first, next, ... may lose keys, "
        "or come to one twice.",
        _wrong("walk walk_back", "sb"),
    ),
    Difference(
        "fold-twice",
        "In a transaction that wrote several objects of a key to a bag, Mnesia's foldl and foldr "
        "come to each of them several times.",
        _wrong("foldl foldr", "b"),
    ),
    Difference(
        "stale-by-index",
        "In a transaction that wrote to an ordered_set, Mnesia's answers by an index may hold "
        "records as they were before.",
        _wrong("match_object index_match_object index_read", "o"),
    ),
    Difference(
        "two-mistakes",
        "What is wrong in two ways may fail with either word.",
        _two_mistakes,
    ),
    Difference(
        "more-without-result",
        "In a transaction that wrote, Mnesia's select with a limit forgets the form of the results "
        "once its own writes are through: it gives whole records.",
        _wrong("select_limit", "sob"),
    ),
    Difference(
        "bag-order",
        "The objects of one key of a bag keep the order in which they were first written. So do "
        "Mnesia's in memory after the commit; in a transaction and on the disc it moves an object "
        "that is written again to the end. There order is not compared.",
    ),
    Difference(
        "arity",
        "Patterns, match specifications and objects to delete that have another number of fields "
        "than the table's records are refused with bad_type. In Mnesia they match nothing; its "
        "interpreter counts.",
    ),
    Difference(
        "no-counter",
        "update_counter of what is no whole number fails with badarg. Mnesia's begins anew from 0; "
        "its interpreter looks.",
    ),
    Difference(
        "index-by-name",
        "An index is of an attribute, wherever transform_table puts it; Mnesia's is of a position. "
        "No attribute with an index is given another place.",
    ),
    Difference(
        "size-of-nothing",
        "table_info of a table that does not exist fails with no_exists. Mnesia says that its size "
        "is 0; its interpreter looks whether it exists.",
    ),
    Difference(
        "index-twice",
        "After change_table_copy_type Mnesia names an index twice in table_info; counted once.",
    ),
    Difference(
        "next-of-nothing",
        "next and prev of a key that is not there fail with badarg in a set or a bag. Mnesia gives "
        "something on the disc, and after transactions in memory; its interpreter looks.",
    ),
    Difference(
        "old-object",
        "The detailed event of delete_object shows the object as an old one if it was there; "
        "Mnesia's always. The old ones of this event are not compared.",
    ),
    Difference(
        "cleared-events",
        "clear_table is told to subscribers of the system as a change of the schema. Mnesia tells "
        "those of the table that its definition was deleted and written; left out.",
    ),
    Difference(
        "lists",
        "A list in a record is the tuple of its elements, as which it comes back. So it is to "
        "Mnesia: it is given a tuple.",
    ),
    Difference(
        "tuples-by-elements",
        "Tuples are ordered by their elements, in Python's way; Erlang's by size first. Only such "
        "come up as are in the same order either way.",
    ),
    Difference(
        "equal-numbers",
        "1 and 1.0 are two keys, also in an ordered_set; there they are one to Mnesia. And its "
        "scans in transactions take one for the other in sets and bags too. No two keys are such.",
    ),
    Difference(
        "counter-at-zero",
        "The detailed event of a counter that would fall below 0 shows what it was. Mnesia's shows "
        "nothing. No counter falls where somebody listens.",
    ),
    Difference(
        "transformed-bags",
        "transform_table of a bag transforms every object. Mnesia's loses those that stay as they "
        "were beside others of their key. No bag has such a transform.",
    ),
    Difference(
        "transformed-keys",
        "transform_table may change keys, if no two become one; Mnesia refuses. None does.",
    ),
    Difference(
        "ram-in-backups",
        "A backup holds the records of ram_copies, unless it is told not to with "
        "ram_overrides_dump=False. Mnesia's holds what was dumped of them; we tell ours not to.",
    ),
    Difference(
        "recreated-tables",
        "restore with recreate_tables makes tables that last. Mnesia loses their records at the "
        "next start where they are disc_copies, and hangs where such disc_only_copies are gone.",
    ),
    Difference(
        "restored-arity",
        "restore refuses records of other attributes than the table has; Mnesia takes them. None "
        "are restored.",
    ),
    Difference(
        "exceptions",
        "What Mnesia answers as {aborted, Reason} or {error, Reason}, and what it exits with, are "
        "exceptions. Their codes are compared with the words at the heads of the reasons.",
    ),
    Difference(
        "read-only",
        "Writing to a read_only table raises ReadOnly, whose code is bad_type. Mnesia says "
        "no_exists, as there is no place to write to. Both interpreters say read_only.",
    ),
    Difference(
        "transform-reasons",
        "An exception of a transform function is raised as it is, and records that do not fit are "
        "refused with bad_type. Mnesia wraps both into texts, which its interpreter unwraps.",
    ),
    Difference(
        "failing-results",
        "A result of a match specification that cannot be computed fails with badarg. Mnesia gives "
        "'EXIT' in its place. None is computed.",
    ),
    Difference(
        "plus-joins",
        "In guards and results + also joins texts and tuples; Erlang's fails. Only numbers are "
        "added.",
    ),
    Difference(
        "ordered-on-disc",
        "An ordered_set may be disc_only_copies; Mnesia has none. Ours are compared with its "
        "ram_copies.",
    ),
    Difference(
        "counter-in-transaction",
        "update_counter in a transaction is a part of it. Mnesia's is dirty. None is in one.",
    ),
    Difference(
        "dirty-in-transaction",
        "A transaction that writes what it has read with a dirty function stands in its own way, "
        "and ends with Conflict. Mnesia's goes on. Only dirty reading is compared.",
    ),
    Difference(
        "schema-in-dirty",
        "A dirty activity may change the schema; in Mnesia it fails with nested_transaction. None "
        "does.",
    ),
    Difference(
        "missing-index",
        "To read by an attribute without an index fails with no_exists. Mnesia looks for the index "
        "only where it needs one, and its dirty functions then say badarg; its interpreter looks.",
    ),
    Difference(
        "subscribe-twice",
        "One may subscribe as often as one likes; a process to Mnesia once, else already_exists. "
        "Our interpreter says so.",
    ),
)
"""All there are."""


def explain(mnesia: Any, ours: Any) -> str | None:
    """The difference that makes one entry into the other; None if there is none."""
    for difference in DIFFERENCES:
        if difference.meant is not None and difference.meant(mnesia, ours):
            return difference.name
    return None
