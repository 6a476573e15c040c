"""Random match specifications."""

from __future__ import annotations

from typing import Any

from mnesia_conform.choices import Choices

__all__ = ["make_spec"]

COMPARISONS = ["==", "/=", "=:=", "=/=", "<", "=<", ">", ">="]
TESTS = ["is_integer", "is_float", "is_number", "is_binary", "is_tuple"]


def make_spec(choices: Choices, arity: int, keys: list[Any], values: list[Any]) -> list[Any]:
    """Mostly one clause, sometimes two."""
    maker = _Clauses(choices, arity, keys, values)
    return [maker.clause() for _ in range(choices.pick([1, 1, 1, 2]))]


class _Clauses:
    def __init__(self, choices: Choices, arity: int, keys: list[Any], values: list[Any]) -> None:
        self.choices = choices
        self.arity = arity
        self.keys = keys
        self.values = values
        self.variables: list[str] = []

    def clause(self) -> Any:
        pick = self.choices.pick
        free = ["_", "$1", "$2", "$3"] * 2
        within = (pick(["_", "$1", 1]), pick(["$3", 2]))
        head = [pick([*free, pick(self.keys), within])]
        head += [pick([*free, *[pick(self.values)] * 3, within]) for _ in range(self.arity - 1)]
        words = [*head, *(within if within in head else ())]
        self.variables = sorted({w for w in words if type(w) is str and w[0] == "$"})
        guards = self.choices.many(self.guard, 0, 2) if self.variables else []
        return (head, guards, self.body())

    def variable(self) -> str:
        return self.choices.pick(self.variables)

    def guard(self) -> Any:
        return self.choices.weighted(
            (6, self.simple),
            (1, lambda: ("not", self.simple())),
            (2, lambda: (self.choices.pick(["andalso", "orelse"]), self.simple(), self.simple())),
        )

    def simple(self) -> Any:
        pick = self.choices.pick
        return self.choices.weighted(
            (4, lambda: (pick(COMPARISONS), self.variable(), self.operand())),
            (1, lambda: (pick(TESTS), self.variable())),
        )

    def operand(self) -> Any:
        pick = self.choices.pick
        return self.choices.weighted(
            (6, self.constant),
            (4, self.variable),
            (1, lambda: (pick("+-*"), self.variable(), pick([0, 1, 0.5, 2**70]))),
            (1, lambda: ("element", pick([1, 2]), self.variable())),
        )

    def constant(self) -> Any:
        plain = [v for v in [0, *self.keys, *self.values] if not isinstance(v, tuple | list)]
        return self.choices.pick(plain)

    def body(self) -> list[Any]:
        whole = [["$_"], ["$_"], ["$$"]]
        if not self.variables:
            return self.choices.pick(whole)
        one, other = self.variable(), self.choices.pick(["$_", *self.variables * 2])
        return self.choices.pick([*whole, [one], [one], [((one, other),)], [[one, other]]])
