"""What expressions of a query are about: tables, their fields, and what is made of many rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn

from palaver.storage.tables.errors import BadArgument

from .tree import Build, Expression, Key, Literal, Operation, depth_of, walk


class Alias:
    """One table in a query: each `each`, and each `rows` that is iterated, is another.

    Attributes:
        table: the record class, the table's handle or its name.
        label: for people.
        attributes: the names of the fields; None where only the table's name is known.
    """

    __slots__ = ("attributes", "label", "table")

    def __init__(self, table: Any, label: str, attributes: tuple[str, ...] | None) -> None:
        self.table = table
        self.label = label
        self.attributes = attributes


class Field(Expression):
    """A field of a record of a query, or with no name the record itself.

    Attributes:
        source: which of the query's tables it belongs to.
        name: the field's name; None for the record.
    """

    __slots__ = ("name", "source")
    source: Alias
    name: str | None

    def __init__(self, source: Alias, name: str | None) -> None:
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "name", name)

    @property
    def key(self) -> Key:
        """See `Expression.key`."""
        return ("field", self.source, self.name)

    def __repr__(self) -> str:
        return self.source.label if self.name is None else f"{self.source.label}.{self.name}"


class Row:
    """Stands for every record of a table in a query: its attributes are the fields."""

    __slots__ = ("_alias",)
    __hash__ = object.__hash__
    _alias: Alias

    def __init__(self, alias: Alias) -> None:
        object.__setattr__(self, "_alias", alias)

    def __getattribute__(self, name: str) -> Any:
        alias: Alias = object.__getattribute__(self, "_alias")
        known = alias.attributes
        if name.startswith("__") or (known is not None and name not in known):
            if name.startswith("_"):
                return object.__getattribute__(self, name)
            raise BadArgument(f"{alias.label} has no field {name!r}; it has {known}")
        return Field(alias, name)

    def as_expression(self) -> Field:
        """Return the expression for the record itself; called on the class, see `lift`."""
        return Field(object.__getattribute__(self, "_alias"), None)

    def __getitem__(self, index: int) -> Field:
        return list(self)[index]

    def __iter__(self) -> Iterator[Field]:
        alias: Alias = object.__getattribute__(self, "_alias")
        if alias.attributes is None:
            raise BadArgument(f"the fields of {alias.label} are not known here; take them by name")
        return iter([Field(alias, name) for name in alias.attributes])

    def __eq__(self, other: object) -> Any:
        return Operation("==", self, other)

    def __ne__(self, other: object) -> Any:
        return Operation("!=", self, other)

    def __repr__(self) -> str:
        alias: Alias = object.__getattribute__(self, "_alias")
        return alias.label

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a query changes no records (attribute {name!r})")


class Aggregate(Expression):
    """One value made of many rows: `count`, `sum`, `min` or `max`.

    Attributes:
        name: which of them.
        part: what is computed of each row; None counts the rows.
    """

    __slots__ = ("depth", "name", "part")
    name: str
    part: Expression | None

    def __init__(self, name: str, part: Expression | None) -> None:
        object.__setattr__(self, "depth", 1 if part is None else depth_of((part,)))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "part", part)

    @property
    def key(self) -> Key:
        """See `Expression.key`."""
        return ("aggregate", self.name, None if self.part is None else self.part.key)

    def operands(self) -> tuple[Expression, ...]:
        """See `Expression.operands`."""
        return () if self.part is None else (self.part,)

    def __repr__(self) -> str:
        return f"{self.name}()" if self.part is None else f"{self.name}({self.part!r})"


class Slot(Expression):
    """A value of a group that is complete: one that was grouped by, or an aggregate.

    Attributes:
        number: its place.
        shown: the expression that it holds the value of.
    """

    __slots__ = ("number", "shown")
    number: int
    shown: Expression

    def __init__(self, number: int, shown: Expression) -> None:
        object.__setattr__(self, "number", number)
        object.__setattr__(self, "shown", shown)

    @property
    def key(self) -> Key:
        """See `Expression.key`."""
        return ("slot", self.number)

    def __repr__(self) -> str:
        return repr(self.shown)


def replaced(expression: Expression, by: Callable[[Expression], Expression | None]) -> Expression:
    """Return an expression with parts exchanged: `by` gives the new part, None to look inside.

    An element of a tuple that is built of expressions becomes that expression.
    """
    new = by(expression)
    if new is not None:
        return new
    if isinstance(expression, Build):
        return Build(expression.kind, tuple(replaced(one, by) for one in expression.items))
    if isinstance(expression, Aggregate) and expression.part is not None:
        return Aggregate(expression.name, replaced(expression.part, by))
    if not isinstance(expression, Operation):
        return expression
    parts = tuple(replaced(one, by) for one in expression.parts)
    if expression.name == "item":
        value, index = parts
        if isinstance(value, Build) and value.kind is tuple and isinstance(index, Literal):
            number = index.value
            if type(number) is int and -len(value.items) <= number < len(value.items):
                return value.items[number]
    return Operation(expression.name, *parts)


def check_grouped(expression: Expression, grouped: AbstractSet[Key]) -> None:
    """Raise BadArgument unless an expression is made of what was grouped by and of aggregates."""
    if expression.key in grouped:
        return
    if isinstance(expression, Field):
        raise BadArgument(f"{expression!r} is neither grouped by nor within an aggregate")
    if isinstance(expression, Aggregate):
        if any(isinstance(part, Aggregate) for one in expression.operands() for part in walk(one)):
            raise BadArgument(f"{expression!r}: an aggregate of an aggregate")
        return
    for one in expression.operands():
        check_grouped(one, grouped)
