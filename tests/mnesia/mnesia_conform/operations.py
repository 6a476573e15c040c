"""Random operations on the tables of a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mnesia_conform.choices import Choices
from mnesia_conform.language import ITEMS
from mnesia_conform.specs import make_spec

__all__ = ["ATTRIBUTES", "DIRTY", "TRANSACTIONS", "Tables"]

ATTRIBUTES = ["k", "a", "b", "c"]
TRANSACTIONS = ["transaction", "sync_transaction"]
DIRTY = ["async_dirty", "sync_dirty"]

CHANGES: list[Callable[[str], Any]] = [
    lambda table: ("clear_table", table),
    lambda table: ("change_table_load_order", table, 1),
]
"""Of the schema: all refused within a transaction."""


class Tables:
    """The tables of a program, and what may be in them; makes operations on them."""

    def __init__(self, choices: Choices, keys: list[Any], values: list[Any], *, disc: bool) -> None:
        self.choices = choices
        self.disc = disc
        self.keys = keys
        self.values = values
        self.arities: dict[str, int] = {}
        self.indexes: dict[str, list[str]] = {}
        self.backups: list[str] = []
        self.files = 0

    def add(self, name: str, arity: int, index: list[str]) -> None:
        """There is such a table."""
        self.arities[name] = arity
        self.indexes[name] = index

    # -- parts of operations --------------------------------------------------------------------

    def name(self) -> str:
        return self.choices.pick([*self.arities])

    def key(self) -> Any:
        return self.choices.pick(self.keys)

    def value(self) -> Any:
        return self.choices.pick(self.values)

    def record(self, table: str) -> list[Any]:
        return [self.key(), *[self.value() for _ in range(self.arities[table] - 1)]]

    def pattern(self, table: str) -> list[Any]:
        """Wild, a variable (perhaps the same twice), bound, or a tuple with these in it."""
        pick = self.choices.pick
        free = ["_", "_", "_", "$1", "$2"]
        within = (pick(["_", "$1", 1]), pick(["_", "$1", 2]))
        key = pick([*free, *[self.key()] * 2, within])
        rest = range(self.arities[table] - 1)
        return [key, *[pick([*free, *[self.value()] * 3, within]) for _ in rest]]

    def attribute(self, table: str) -> str:
        """Mostly an indexed one."""
        return self.choices.pick(self.indexes[table] * 6 + ATTRIBUTES[1 : self.arities[table]])

    # -- operations -----------------------------------------------------------------------------

    def change(self) -> Any:
        """An operation that writes."""
        t = self.name()
        return self.choices.weighted(
            (5, lambda: ("write", t, self.record(t))),
            (2, lambda: ("delete", t, self.key())),
            (3, lambda: ("delete_object", t, self.record(t))),
        )

    def question(self) -> Any:
        """What works in a transaction and with one of the dirty functions."""
        t = self.name()
        pick = self.choices.pick
        return self.choices.weighted(
            (5, lambda: ("read", t, self.key())),
            (3, lambda: ("match_object", t, self.pattern(t))),
            (3, lambda: self.index_match_object(t)),
            (3, lambda: ("index_read", t, self.value(), self.attribute(t))),
            (3, lambda: ("select", t, self.spec(t))),
            (2, lambda: ("walk", t)),
            (2, lambda: ("walk_back", t)),
            (2, lambda: (pick(["first", "last"]), t)),
            (2, lambda: (pick(["next", "prev"]), t, self.key())),
            (2, lambda: ("all_keys", t)),
        )

    def index_match_object(self, table: str) -> Any:
        """With a pattern that is bound in the attribute."""
        attribute = self.attribute(table)
        pattern = self.pattern(table)
        pattern[ATTRIBUTES.index(attribute)] = self.value()
        return ("index_match_object", table, pattern, attribute)

    def spec(self, table: str) -> Any:
        return make_spec(self.choices, self.arities[table], self.keys, self.values)

    def question_in_activity(self) -> Any:
        """What works in an activity only."""
        t = self.name()
        choices = self.choices
        return choices.weighted(
            (2, lambda: ("wread", t, self.key())),
            (3, lambda: ("select_limit", t, self.spec(t), choices.number(1, 3))),
            (2, lambda: ("foldl", t)),
            (2, lambda: ("foldr", t)),
            (1, lambda: ("table_info", t, choices.pick(ITEMS))),
            (1, lambda: ("lock", t, choices.pick(["read", "write"]))),
            (1, lambda: ("is_transaction",)),
        )

    def perhaps_wrong(self, table: str) -> Any:
        """An operation with one mistake at most: which of two is told first is not promised."""
        choices = self.choices
        known = table in self.arities
        attribute = choices.pick([*ATTRIBUTES, "z"])

        def fields() -> list[Any]:
            return choices.many(self.value, 1 if known else 2, 4)

        def index_match() -> Any:
            if known and self.indexes[table]:
                return self.index_match_object(table)
            free = ["_"] * (self.arities.get(table, 3) - 2)
            return ("index_match_object", table, ["_", self.value(), *free], "a")

        return choices.weighted(
            (1, lambda: ("read", table, self.key())),
            (2, lambda: ("write", table, fields())),
            (1, lambda: ("delete", table, self.key())),
            (2, lambda: ("delete_object", table, fields())),
            (2, lambda: ("match_object", table, fields())),
            (2, lambda: ("index_read", table, self.value(), attribute)),
            (1, index_match),
            (2, lambda: (choices.pick(["next", "prev"]), table, self.key())),
            (1, lambda: ("first", table)),
            (1, lambda: ("all_keys", table)),
        )

    # -- bodies of activities -------------------------------------------------------------------

    def in_transaction(self, depth: int = 2) -> list[Any]:
        """The body of a transaction."""
        choices = self.choices

        def simple() -> Any:
            return choices.weighted(
                (6, self.change), (5, self.question), (2, self.question_in_activity)
            )

        def operation() -> Any:
            return choices.weighted(
                (32, simple),
                (4, lambda: ("try", simple())),
                (2, lambda: choices.pick([("abort", 1), ("abort", 2), ("raise",)])),
                (6 if depth else 0, lambda: self.nested(depth)),
                (2, lambda: ("dirty", self.question())),
                (1, lambda: ("schema", choices.pick(CHANGES)(self.name()))),
            )

        return choices.many(operation, 1, 7)

    def nested(self, depth: int) -> Any:
        """A transaction within an activity."""
        then = self.choices.pick(["catch", "catch", "catch", "pass"])
        kind = self.choices.pick(TRANSACTIONS)
        return ("nested", kind, self.in_transaction(depth - 1), then)

    def in_dirty(self) -> list[Any]:
        """The body of a dirty activity."""
        choices = self.choices

        def simple() -> Any:
            return choices.weighted(
                (5, self.change), (5, self.question), (1, self.question_in_activity)
            )

        def operation() -> Any:
            return choices.weighted(
                (20, simple),
                (2, lambda: ("try", simple())),
                (2, lambda: ("raise",)),
                (1, lambda: self.nested(1)),
            )

        return choices.many(operation, 1, 6)
