"""What a condition says about the fields that it tests: expressions to domains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from palaver.storage.tables.errors import BadType

from . import domains
from .comparing import Failed
from .domains import IMPOSSIBLE, NOTHING_KNOWN, Domain, Known, Path
from .tree import Expression, Literal, Operation

PathOf = Callable[[Expression], "Path | None"]
"""Returns where the value of a variable or field is in the record: () for the record as such, None
if it is not in it."""

COMPARED: Final = frozenset(("==", "same", "<", "<=", ">", ">="))
"""Operations with a value that say where a field is."""

FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "same": "same"}
_NEGATED: Final = {
    "<": ">=", "<=": ">", ">": "<=", ">=": "<", "!=": "==", "differs": "same"
}  # fmt: skip


def analyse(condition: Expression, path_of: PathOf) -> Known:
    """Return what is known of a record for which the condition is true."""
    if isinstance(condition, Literal):
        return NOTHING_KNOWN if condition.value is True else IMPOSSIBLE
    path = path_in(condition, path_of)
    if path:
        return _known(path, domains.point(True))
    if not isinstance(condition, Operation):
        return NOTHING_KNOWN
    name, parts = condition.name, condition.parts
    if name == "and":
        known = NOTHING_KNOWN
        for part in parts:
            known = known.both(analyse(part, path_of))
        return known
    if name == "or":
        return domains.any_of([analyse(part, path_of) for part in parts])
    if name == "not":
        return _negated(parts[0], path_of)
    return _simple(name, parts, path_of)


def _negated(condition: Expression, path_of: PathOf) -> Known:
    """Return what is known where a condition is false (not: where it fails)."""
    if isinstance(condition, Operation):
        name, parts = condition.name, condition.parts
        if name == "not":
            return analyse(parts[0], path_of)
        if name in _NEGATED:
            return _simple(_NEGATED[name], parts, path_of)
        if name in ("and", "or"):
            dual = "or" if name == "and" else "and"
            return analyse(Operation(dual, *(Operation("not", one) for one in parts)), path_of)
        return NOTHING_KNOWN
    path = path_in(condition, path_of)
    return _known(path, domains.point(False)) if path else NOTHING_KNOWN


def _known(path: Path, domain: Domain) -> Known:
    return Known({path: domain}, {}, domain.empty)


def path_in(expression: Expression, path_of: PathOf) -> Path | None:
    """Return where in the record the value of an expression is, None if it is not in it."""
    path = path_of(expression)
    if path is not None or not isinstance(expression, Operation):
        return path
    index: Any = None
    if expression.name == "item":
        value, number = expression.parts
        index = number.value if isinstance(number, Literal) else None
    elif expression.name == "element":
        number, value = expression.parts
        index = number.value - 1 if _is_count(number) else None  # type: ignore[attr-defined]
    if type(index) is not int or index < 0:
        return None
    outer = path_in(value, path_of)
    return None if outer is None else (*outer, index)


def _is_count(number: Expression) -> bool:
    return isinstance(number, Literal) and type(number.value) is int


def _simple(name: str, parts: tuple[Expression, ...], path_of: PathOf) -> Known:
    if name == "is_none":
        path = path_in(parts[0], path_of)
        return _known(path, domains.point(None)) if path else NOTHING_KNOWN
    if len(parts) != 2:
        return NOTHING_KNOWN
    left, right = parts
    if isinstance(left, Literal) and name in FLIPPED:
        name, left, right = FLIPPED[name], right, left
    path = path_in(left, path_of)
    if not path or not isinstance(right, Literal):
        return NOTHING_KNOWN
    try:
        domain = domain_of(name, right.value)
    except (BadType, Failed):
        return NOTHING_KNOWN  # it will fail for every record, with its own text
    return NOTHING_KNOWN if domain is None else _known(path, domain)


def domain_of(name: str, value: Any) -> Domain | None:
    """Return where x is, if the operation of this name is true for x and the value.

    Raises:
        BadType, Failed: the value can be no key.
    """
    match name:
        case "==":
            return domains.equal_to(value)
        case "same":
            return domains.point(value)
        case "<" | "<=":
            return domains.below(value, name == "<=")
        case ">" | ">=":
            return domains.above(value, name == ">=")
        case "starts_with" if type(value) in (str, bytes):
            return domains.beginning_with(value)
    return None
