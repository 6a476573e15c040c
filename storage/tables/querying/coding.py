"""Expressions as Python source: a scan then costs no call per operation.

The source is made of our own words and of names for constants (`k1`, `k2`, ...); no text of a user
is ever in it. Where an operation has a cheap form for the types that are met most often, the code
tries that first and calls `semantics` for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, Final

from palaver.storage.tables.errors import BadArgument

from . import operations
from .comparing import Failed
from .operations import OPERATIONS
from .tree import (
    BOOLEAN,
    Build,
    Expression,
    Literal,
    Operation,
    walk,
)

Leaf = Callable[[Expression], "str | None"]
"""Returns the source of a variable or field, None for anything else."""

_PYTHON: Final = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_STRICT: Final = {"same": "==", "differs": "!="}
_FUNCTION_NAMES: Final = {name: f"op{number}" for number, name in enumerate(OPERATIONS)}
_ALWAYS: Final = {
    "Failed": Failed,
    "make_dict": operations.make_dict,
    **{kind.__name__: kind for kind in (type, int, str, bytes, tuple, list)},
    "isinstance": isinstance,
    "len": len,
}


class Coder:
    """Makes the source of functions that share a set of constants.

    Attributes:
        names: what the source's names stand for.
    """

    __slots__ = ("_constants", "_leaf", "names")

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf
        self._constants: dict[int, str] = {}
        self.names: dict[str, Any] = dict(_ALWAYS)

    def with_leaf(self, leaf: Leaf) -> Coder:
        """Return a coder with other leaves and the same constants."""
        other = Coder(leaf)
        other.names, other._constants = self.names, self._constants
        return other

    def constant(self, value: Any) -> str:
        """Return the source of a value: a name, so that alike conditions have one source."""
        if value is None or value is True or value is False:
            return repr(value)
        name = self._constants.get(id(value))
        if name is None:
            name = f"k{len(self._constants)}"
            self.names[name] = value  # this also keeps its id from being used again
            self._constants[id(value)] = name
        return name

    def operation(self, name: str) -> str:
        """Return the name of the function of an operation."""
        own = _FUNCTION_NAMES[name]
        self.names[own] = OPERATIONS[name]
        return own

    def guard(self, condition: Expression) -> str:
        """Return the source of a condition: it has the value True, another one, or fails."""
        code = self.value(condition)
        return code if is_boolean(condition) else f"({code}) is True"

    def value(self, expression: Expression) -> str:
        """Return the source of an expression's value."""
        code = self._leaf(expression)
        if code is not None:
            return code
        if isinstance(expression, Literal):
            return self._fresh(expression.value)
        if isinstance(expression, Build):
            return _display(expression.kind, [self.value(one) for one in expression.items])
        if isinstance(expression, Operation):
            return self._operation(expression)
        raise BadArgument(f"{expression!r} has no value here")

    def _fresh(self, value: Any) -> str:
        """Return the source of a value; lists and dicts are made anew, as they can be changed."""
        kind = type(value)
        if kind is list or (kind is tuple and any(type(one) in (list, dict) for one in value)):
            return _display(kind, [self._fresh(one) for one in value])
        if kind is dict:
            return _display(dict, [self._fresh(one) for pair in value.items() for one in pair])
        return self.constant(value)

    def _boolean(self, expression: Expression) -> str:
        code = self.value(expression)
        return code if is_boolean(expression) else f"{self.operation('boolean')}({code})"

    def _operation(self, expression: Operation) -> str:
        name, parts = expression.name, expression.parts
        if name in ("and", "or"):
            codes = [self._boolean(part) for part in parts[:-1]]
            return "(" + f" {name} ".join([*codes, self.value(parts[-1])]) + ")"
        if name == "not":
            return f"(not {self._boolean(parts[0])})"
        if name == "if":
            condition = self._boolean(parts[0])
            return f"({self.value(parts[1])} if {condition} else {self.value(parts[2])})"
        codes = [self.value(part) for part in parts]
        slow = f"{self.operation(name)}({', '.join(codes)})"
        if len(parts) == 2:
            return self._quick(name, parts, codes, slow)
        return slow

    def _quick(self, name: str, parts: tuple[Expression, ...], codes: list[str], slow: str) -> str:
        """Return source that does the usual case in place: a field beside a plain constant."""
        for field, constant in ((0, 1), (1, 0)):
            value = parts[constant].value if isinstance(parts[constant], Literal) else None  # type: ignore[attr-defined]
            if self._leaf(parts[field]) is None or type(value) not in (int, str, bytes):
                continue
            sign = _PYTHON.get(name)
            if type(value) is int and name in "+-":
                sign = name
            sign = sign or _STRICT.get(name)
            if sign is not None:
                quick = f"{codes[0]} {sign} {codes[1]}"
                return f"({quick} if type({codes[field]}) is {type(value).__name__} else {slow})"
        return slow


def _display(kind: type, codes: list[str]) -> str:
    if kind is list:
        return "[" + ", ".join(codes) + "]"
    if kind is dict:
        pairs = zip(codes[::2], codes[1::2], strict=True)
        return "make_dict(" + ", ".join(f"({name}, {value})" for name, value in pairs) + ")"
    return "(" + "".join(code + ", " for code in codes) + ")"


def is_boolean(expression: Expression) -> bool:
    """Whether the value, where there is one, is certainly a boolean."""
    if isinstance(expression, Literal):
        return type(expression.value) is bool
    if not isinstance(expression, Operation):
        return False
    if expression.name in ("and", "or"):
        return is_boolean(expression.parts[-1])
    if expression.name == "if":
        return is_boolean(expression.parts[1]) and is_boolean(expression.parts[2])
    return expression.name in BOOLEAN


def check_size(expressions: tuple[Expression, ...]) -> None:
    """Raise BadArgument where one of these is too large."""
    for expression in expressions:
        for _ in walk(expression):
            pass


def make_function(source: str, name: str, names: dict[str, Any]) -> Callable[..., Any]:
    """Return the function of this name that the source defines."""
    space = {"__builtins__": {}, **names}
    exec(_compiled(source), space)  # noqa: S102 - made by this module, see above
    made: Callable[..., Any] = space[name]
    return made


@lru_cache(maxsize=512)
def _compiled(source: str) -> CodeType:
    return compile(source, "<palaver expression>", "exec")
