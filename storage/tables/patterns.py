"""Patterns: records with `ANY` and variables in them, as in Mnesia's `match_object`.

A pattern is a record of the table's class in which fields may be `ANY` (Mnesia's `'_'`), variables
(`V(1)` is `'$1'`), or tuples, lists and dicts with these inside. It matches a record whose every
field is the same (Erlang's `=:=`: 1 is neither 1.0 nor True) or is matched by what stands there.
One variable at several places wants the same value at all of them.

A dict in a pattern matches a dict that has at least these keys, with values that match; so do maps
in Mnesia's patterns. Where the whole key of the table is a dict without variables, it is the key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeGuard, TypeVar

from .errors import BadArgument, BadType
from .querying import domains, operations
from .querying.coding import Coder, make_function
from .querying.comparing import Failed
from .querying.domains import Known, Path
from .querying.tree import Expression, Variable

R = TypeVar("R")

MAX_DEPTH: Final = 32
"""How many containers of a pattern may lie in one another."""


class _Wildcard:
    """The type of `ANY`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ANY"


ANY: Final[Any] = _Wildcard()
"""Matches everything: Mnesia's `'_'`."""


def V(number: int) -> Any:  # noqa: N802 - a variable, as '$1' is in Mnesia
    """Return a variable of patterns, guards and results: `V(1)` is Mnesia's `'$1'`."""
    return Variable(number)


def attributes_of(record_type: object) -> tuple[str, ...]:
    """Return the names of the fields of a record class, or the names that were given themselves.

    Raises:
        BadType: neither a dataclass, an attrs class or a NamedTuple, nor a sequence of names.
    """
    if isinstance(record_type, type):
        names = _fields_of(record_type)
        if names is not None:
            return names
    elif _are_names(record_type):
        return tuple(record_type)
    raise BadType(
        f"{record_type!r} is no record class: use a frozen dataclass, a frozen attrs class, "
        "a NamedTuple, or a sequence of attribute names"
    )


@lru_cache(maxsize=256)
def _fields_of(record_class: type) -> tuple[str, ...] | None:
    if dataclasses.is_dataclass(record_class):
        return tuple(field.name for field in dataclasses.fields(record_class))
    for kept in ("__attrs_attrs__", "_fields"):
        found = getattr(record_class, kept, None)
        if isinstance(found, tuple):
            return tuple(str(getattr(field, "name", field)) for field in found)
    return None


def _are_names(record_type: object) -> TypeGuard[Sequence[str]]:
    if isinstance(record_type, (str, bytes)) or not isinstance(record_type, Sequence):
        return False
    return all(isinstance(name, str) for name in record_type)


def pattern(record_type: type[R], /, **fields: object) -> R:
    """Return a pattern of a record class: the fields that are not given are `ANY`.

    The class's `__init__` and its validators are not run, as a pattern is no record.

    Raises:
        BadArgument: the class has no such field.
        BadType: it is no record class.
    """
    names = attributes_of(record_type)
    unknown = sorted(fields.keys() - set(names))
    if unknown:
        raise BadArgument(f"{record_type.__name__} has no field {unknown[0]!r}; it has {names}")
    values = [fields.get(name, ANY) for name in names]
    if issubclass(record_type, tuple):
        made: R = tuple.__new__(record_type, values)
        return made
    made = object.__new__(record_type)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made


def values_of(record_type: object, record: object) -> tuple[Any, ...]:
    """Return a record's (or a pattern's) values in the order of the fields.

    Raises:
        BadType: it is no record of this class, or has another number of fields.
    """
    names = attributes_of(record_type)
    if isinstance(record_type, type):
        if not isinstance(record, record_type):
            raise BadType(f"{record!r} is no {record_type.__name__}")
        return tuple([getattr(record, name) for name in names])
    if not isinstance(record, tuple) or len(record) != len(names):
        raise BadType(f"{record!r} is no tuple of the {len(names)} values {names}")
    return tuple(record)


class Matcher:
    """A compiled pattern.

    Attributes:
        test: takes the values of a record, and returns what the variables are bound to, in the
            order of `variables`, or None where the record does not match.
        variables: the numbers of the variables, rising.
        bound: by position, the fields that are given wholly: a key, or values for an index.
        known: by position and below, where the values of matching records are.
    """

    __slots__ = ("bound", "known", "test", "variables")

    def __init__(
        self,
        test: Callable[[Sequence[Any]], tuple[Any, ...] | None],
        variables: tuple[int, ...],
        bound: Mapping[int, Any],
        known: Known,
    ) -> None:
        self.test = test
        self.variables = variables
        self.bound = bound
        self.known = known


def compile_pattern(record_type: object, pattern: object, *, key_position: int = 0) -> Matcher:
    """Compile a pattern for the records of a class (or with these attributes).

    Args:
        record_type: the class, or the names of the attributes.
        pattern: a record of that class, of attributes a tuple; or `ANY` or a variable alone.
        key_position: which field is the key.

    Raises:
        BadType: the pattern does not fit the class.
        BadArgument: it holds an expression that is no variable.
    """
    head = Head(record_type, pattern, key_position)
    coder = Coder(lambda _: None)
    lines = head.source(coder, "return None")
    names = "".join(f"x{number}, " for number in head.variables)
    source = "\n".join(["def test(v, record=None):", *lines, f"    return ({names})", ""])
    test = make_function(source, "test", coder.names)
    return Matcher(test, head.variables, head.bound, head.known)


class Head:
    """A pattern that is understood: the head of a match specification.

    Attributes:
        variables: the numbers of its variables, rising.
        whole: the variable that the record as such is bound to, if any.
        paths: where in the record a variable is bound, for those that are in fields or tuples.
        bound: see `Matcher`.
        known: see `Matcher`.
    """

    __slots__ = ("_fields", "_key_position", "bound", "known", "paths", "variables", "whole")

    def __init__(self, record_type: object, pattern: object, key_position: int) -> None:
        names = attributes_of(record_type)
        self._key_position = key_position
        self.whole: int | None = None
        if isinstance(pattern, (Variable, _Wildcard)):
            self.whole = pattern.number if isinstance(pattern, Variable) else None
            self._fields: tuple[Any, ...] = (ANY,) * len(names)
        else:
            self._fields = values_of(record_type, pattern)
        self.paths: dict[int, Path] = {}
        self.bound: dict[int, Any] = {}
        found: set[int] = set() if self.whole is None else {self.whole}
        known = domains.NOTHING_KNOWN
        for position, term in enumerate(self._fields):
            if term is ANY:
                continue
            found.update(_variables(term, 0))
            if self._is_ground(position):
                self.bound[position] = term
            known = known.both(self._known(term, (position,)))
        self.known = known
        self.variables = tuple(sorted(found))

    def _is_ground(self, position: int) -> bool:
        term = self._fields[position]
        return _is_exact(term) or (position == self._key_position and not _is_open(term))

    def _known(self, term: object, path: Path) -> Known:
        if isinstance(term, Variable):
            self.paths.setdefault(term.number, path)
        if (len(path) == 1 and path[0] in self.bound) or _is_exact(term):
            try:
                return Known({path: domains.point(term)}, {})
            except BadType:
                return domains.NOTHING_KNOWN
        known = domains.NOTHING_KNOWN
        if isinstance(term, (tuple, list)):
            known = Known({}, {path: len(term)})
            for index, one in enumerate(term):
                known = known.both(self._known(one, (*path, index)))
            if not known.domains:
                known = Known({path: domains.TUPLES}, known.sizes)
        return known

    def source(self, coder: Coder, failure: str) -> list[str]:
        """Return lines that bind `x<n>` for every variable, or do `failure`.

        They use `v`, the values of the record, and `record`.
        """
        writer = _HeadWriter(coder, failure)
        if self.whole is not None:
            writer.bind(self.whole, "record")
        for position, term in enumerate(self._fields):
            if term is ANY:
                continue
            if position in self.bound:
                writer.compare(f"v[{position}]", term)
            else:
                writer.match(f"v[{position}]", term)
        return writer.lines


class _HeadWriter:
    """Writes the tests of a pattern."""

    __slots__ = ("_bound", "_coder", "_count", "_failure", "lines")

    def __init__(self, coder: Coder, failure: str) -> None:
        self._coder = coder
        self._failure = failure
        self._bound: set[int] = set()
        self._count = 0
        self.lines: list[str] = []

    def _unless(self, condition: str) -> None:
        self.lines.append(f"    if not ({condition}): {self._failure}")

    def bind(self, number: int, code: str) -> None:
        if number in self._bound:
            same = self._coder.operation("same")
            self._unless(f"x{number} is {code} or {same}(x{number}, {code})")
        else:
            self._bound.add(number)
            self.lines.append(f"    x{number} = {code}")

    def compare(self, code: str, term: object) -> None:
        constant, kind = self._coder.constant(term), type(term)
        slow = f"{self._coder.operation('same')}({code}, {constant})"
        if kind in (int, str, bytes):
            slow = f"{code} == {constant} if type({code}) is {kind.__name__} else {slow}"
        elif term is None or kind is bool:
            slow = f"{code} is {constant} or {slow}"
        self._unless(slow)

    def match(self, code: str, term: object) -> None:
        if isinstance(term, Variable):
            self.bind(term.number, code)
        elif _is_exact(term):
            self.compare(code, term)
        elif isinstance(term, (tuple, list)):
            name = self._name(code)
            self._unless(f"isinstance({name}, (tuple, list)) and len({name}) == {len(term)}")
            for index, one in enumerate(term):
                self.match(f"{name}[{index}]", one)
        elif isinstance(term, Mapping):
            name = self._name(f"{self._need('as_mapping', _as_mapping)}({code}, {len(term)})")
            self._unless(f"{name} is not None")
            for key, value in term.items():
                find = self._need("find", _find)
                inner = self._name(f"{find}({name}, {self._coder.constant(key)})")
                self._unless(f"{inner} is not {self._need('missing', _MISSING)}")
                self.match(inner, value)

    def _name(self, code: str) -> str:
        self._count += 1
        self.lines.append(f"    t{self._count} = {code}")
        return f"t{self._count}"

    def _need(self, name: str, value: object) -> str:
        self._coder.names[name] = value
        return name


_MISSING: Final = object()


def _as_mapping(term: object, least: int) -> Mapping[Any, Any] | None:
    return term if isinstance(term, Mapping) and len(term) >= least else None


def _find(term: Mapping[Any, Any], key: object) -> Any:
    try:
        return operations.item(term, key)
    except Failed:
        return _MISSING


def _inner(term: object, depth: int) -> Iterator[object]:
    if depth > MAX_DEPTH:
        raise BadType(f"a pattern has at most {MAX_DEPTH} containers in one another")
    if isinstance(term, (tuple, list)):
        yield from term
    elif isinstance(term, Mapping):
        for key, value in term.items():
            if _is_open(key):
                raise BadArgument(f"a dict's key cannot be a pattern: {key!r}")
            yield value


def _variables(term: object, depth: int) -> Iterator[int]:
    if isinstance(term, Variable):
        yield term.number
    elif isinstance(term, Expression):
        raise BadArgument(f"a pattern holds variables, no expressions: {term!r} goes into a guard")
    for one in _inner(term, depth):
        yield from _variables(one, depth + 1)


def _is_open(term: object) -> bool:
    """Whether there is something in it that is no plain value."""
    if isinstance(term, (Expression, _Wildcard)):
        return True
    return any(_is_open(one) for one in _inner(term, 0))


_PLAIN: Final = frozenset((int, str, bytes, bool, float, type(None)))


def _is_exact(term: object) -> bool:
    """Whether it is a value that matches itself only: a dict matches larger ones too."""
    if type(term) in _PLAIN:
        return True
    if isinstance(term, (Expression, _Wildcard, Mapping)):
        return False
    return all(_is_exact(one) for one in _inner(term, 0))
