"""Expressions as trees: the nodes that operators and functions build.

See `expressions` for what they mean; nothing here computes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from palaver.storage.tables.errors import BadArgument

MAX_NODES: Final = 10_000
"""So large may an expression be, counted in operations and values."""

MAX_DEPTH: Final = 60
"""So many operations may lie in one another; a chain of `&` or of `|` is one."""

Key: TypeAlias = tuple[Any, ...]


class Reader(Protocol):
    """What reads a comprehension: it runs the code with expressions in the place of values."""

    def decide(self, condition: Expression) -> bool:
        """Return which way the code goes at this condition."""

    def enter(self, table: Any) -> Iterator[Any]:
        """Yield what stands for the records of a table."""


READER: Final[ContextVar[Reader]] = ContextVar("palaver_query_reader")
"""Set only while a comprehension is being read, for the code that is being read."""


class Expression:
    """The base of every expression; use the operators and the functions of this module."""

    __slots__ = ()
    __hash__ = object.__hash__

    depth: int = 0

    @property
    def key(self) -> Key:
        """A hashable value, equal for expressions that are written alike."""
        raise AssertionError(type(self))

    def operands(self) -> tuple[Expression, ...]:
        """Return the expressions that this one is made of."""
        return ()

    def __eq__(self, other: object) -> Any:
        return Operation("==", self, other)

    def __ne__(self, other: object) -> Any:
        return Operation("!=", self, other)

    def __lt__(self, other: object) -> Any:
        return Operation("<", self, other)

    def __le__(self, other: object) -> Any:
        return Operation("<=", self, other)

    def __gt__(self, other: object) -> Any:
        return Operation(">", self, other)

    def __ge__(self, other: object) -> Any:
        return Operation(">=", self, other)

    def __and__(self, other: object) -> Any:
        return _joined("and", self, other)

    def __rand__(self, other: object) -> Any:
        return _joined("and", other, self)

    def __or__(self, other: object) -> Any:
        return _joined("or", self, other)

    def __ror__(self, other: object) -> Any:
        return _joined("or", other, self)

    def __invert__(self) -> Any:
        return Operation("not", self)

    def __add__(self, other: object) -> Any:
        return Operation("+", self, other)

    def __radd__(self, other: object) -> Any:
        return Operation("+", other, self)

    def __sub__(self, other: object) -> Any:
        return Operation("-", self, other)

    def __rsub__(self, other: object) -> Any:
        return Operation("-", other, self)

    def __mul__(self, other: object) -> Any:
        return Operation("*", self, other)

    def __rmul__(self, other: object) -> Any:
        return Operation("*", other, self)

    def __truediv__(self, other: object) -> Any:
        return Operation("/", self, other)

    def __rtruediv__(self, other: object) -> Any:
        return Operation("/", other, self)

    def __floordiv__(self, other: object) -> Any:
        return Operation("//", self, other)

    def __rfloordiv__(self, other: object) -> Any:
        return Operation("//", other, self)

    def __mod__(self, other: object) -> Any:
        return Operation("%", self, other)

    def __rmod__(self, other: object) -> Any:
        return Operation("%", other, self)

    def __neg__(self) -> Any:
        return Operation("neg", self)

    def __pos__(self) -> Any:
        return Operation("pos", self)

    def __abs__(self) -> Any:
        return Operation("abs", self)

    def __getitem__(self, index: object) -> Any:
        if isinstance(index, slice):
            raise BadArgument("an expression has no slices; take the elements one by one")
        return Operation("item", self, index)

    def startswith(self, prefix: object) -> Any:
        """Whether this string (or byte string) begins with `prefix`; as `starts_with`."""
        return Operation("starts_with", self, prefix)

    def endswith(self, suffix: object) -> Any:
        """Whether this string (or byte string) ends with `suffix`; as `ends_with`."""
        return Operation("ends_with", self, suffix)

    def __bool__(self) -> bool:
        reader = READER.get(None)
        if reader is None:
            raise BadArgument(
                f"{self!r} is an expression and has no truth of its own: write &, | and ~ for "
                "and, or and not, put each comparison into brackets, and split a < b < c"
            )
        return reader.decide(self)

    def __iter__(self) -> Iterator[Any]:
        raise BadArgument(f"{self!r} is an expression: it cannot be iterated or unpacked")

    def __contains__(self, item: object) -> bool:
        return bool(Operation("contains", self, item))

    def __len__(self) -> int:
        raise BadArgument(f"write size(...) instead of len({self!r})")

    def __format__(self, spec: str) -> str:
        raise BadArgument(f"{self!r} is an expression: format the results, not the query")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an expression cannot be changed (attribute {name!r})")


class Variable(Expression):
    """What a pattern has bound: Mnesia's `'$1'`, `'$2'`, ... Made by `V`."""

    __slots__ = ("number",)
    number: int

    def __init__(self, number: int) -> None:
        if type(number) is not int or not 0 <= number < 1_000_000:
            raise BadArgument(f"V takes a number from 0 to 999,999, not {number!r}")
        object.__setattr__(self, "number", number)

    @property
    def key(self) -> Key:
        """See `Expression.key`."""
        return ("$", self.number)

    def __repr__(self) -> str:
        return f"V({self.number})"


class Whole(Expression):
    """The record as it is (`RECORD`, Mnesia's `'$_'`) or all variables (`BINDINGS`, `'$$'`)."""

    __slots__ = ("name",)
    name: str

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "name", name)

    @property
    def key(self) -> Key:
        """See `Expression.key`."""
        return (self.name,)

    def __repr__(self) -> str:
        return self.name


class Literal(Expression):
    """A plain value within an expression; made by `literal`, or by itself where one is needed."""

    __slots__ = ("value",)
    value: Any

    def __init__(self, value: object) -> None:
        object.__setattr__(self, "value", value)

    @property
    def key(self) -> Key:
        """See `Expression.key`."""
        return ("literal", type(self.value), repr(self.value))

    def __repr__(self) -> str:
        return repr(self.value)


class Build(Expression):
    """A tuple, list or dict with expressions in it.

    Attributes:
        kind: `tuple`, `list` or `dict`.
        items: what it is built of; of a dict key, value, key, value, ...
    """

    __slots__ = ("depth", "items", "kind")
    kind: type
    items: tuple[Expression, ...]

    def __init__(self, kind: type, items: tuple[Expression, ...]) -> None:
        object.__setattr__(self, "depth", depth_of(items))
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "items", items)

    @property
    def key(self) -> Key:
        """See `Expression.key`."""
        return ("build", self.kind, *(item.key for item in self.items))

    def operands(self) -> tuple[Expression, ...]:
        """See `Expression.operands`."""
        return self.items

    def __repr__(self) -> str:
        texts = [repr(item) for item in self.items]
        if self.kind is dict:
            pairs = zip(texts[::2], texts[1::2], strict=True)
            return "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"
        inner = ", ".join(texts)
        if self.kind is list:
            return f"[{inner}]"
        return f"({inner},)" if len(texts) == 1 else f"({inner})"


class Operation(Expression):
    """An operator or function applied to expressions."""

    __slots__ = ("depth", "name", "parts")
    name: str
    parts: tuple[Expression, ...]

    def __init__(self, name: str, *parts: object) -> None:
        lifted = tuple(lift(part) for part in parts)
        object.__setattr__(self, "depth", depth_of(lifted))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "parts", lifted)

    @property
    def key(self) -> Key:
        """See `Expression.key`."""
        return (self.name, *(part.key for part in self.parts))

    def operands(self) -> tuple[Expression, ...]:
        """See `Expression.operands`."""
        return self.parts

    def __repr__(self) -> str:
        texts = [repr(part) for part in self.parts]
        if self.name in INFIX:
            return "(" + f" {self.name} ".join(texts) + ")"
        if self.name in _PREFIX:
            return f"{_PREFIX[self.name]}{texts[0]}"
        if self.name == "item":
            return f"{texts[0]}[{texts[1]}]"
        if self.name == "if":
            return f"({texts[1]} if {texts[0]} else {texts[2]})"
        return f"{self.name}({', '.join(texts)})"


COMPARISONS: Final = frozenset(("==", "!=", "<", "<=", ">", ">="))
INFIX: Final = COMPARISONS | {"and", "or", "+", "-", "*", "/", "//", "%"}
_PREFIX: Final = {"not": "not ", "neg": "-", "pos": "+"}
_KINDS: Final = ("none", "bool", "int", "float", "number", "str", "bytes", "tuple", "list", "dict")
BOOLEAN: Final = (
    COMPARISONS
    | {"and", "or", "not", "same", "differs", "contains", "starts_with", "ends_with", "truth"}
    | {f"is_{kind}" for kind in _KINDS}
)
"""Operations whose value, where they have one, is a boolean."""


def depth_of(parts: tuple[Expression, ...]) -> int:
    """Return how many operations deep an expression of these is; BadArgument if too many."""
    depth = 1 + max((part.depth for part in parts), default=0)
    if depth > MAX_DEPTH:
        raise BadArgument(f"an expression is more than {MAX_DEPTH} operations deep; flatten it")
    return depth


def _joined(name: str, left: object, right: object) -> Expression:
    """Make `and` or `or` of two; a chain of the same is one operation."""
    parts: list[object] = []
    for side in (left, right):
        if isinstance(side, Operation) and side.name == name:
            parts.extend(side.parts)
        else:
            parts.append(side)
    if len(parts) > MAX_NODES:
        raise BadArgument(f"a condition has more than {MAX_NODES:,} parts")
    return Operation(name, *parts)


def lift(value: object) -> Expression:
    """Make an expression of a value; tuples, lists and dicts are looked into."""
    if isinstance(value, Expression):
        return value
    convert = getattr(type(value), "as_expression", None)
    if convert is not None:
        return convert(value)  # type: ignore[no-any-return]
    kind = type(value)
    parts: tuple[Expression, ...] = ()
    if kind is tuple or kind is list:
        parts = tuple(lift(item) for item in value)  # type: ignore[attr-defined]
    elif kind is dict:
        parts = tuple(lift(item) for pair in value.items() for item in pair)  # type: ignore[attr-defined]
    if all(type(part) is Literal for part in parts):
        return Literal(value)
    return Build(kind, parts)


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and everything within it.

    Raises:
        BadArgument: it is larger than `MAX_NODES`.
    """
    waiting = [expression]
    count = 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MAX_NODES:
            raise BadArgument(f"an expression has more than {MAX_NODES:,} parts; make it smaller")
        yield node
        waiting.extend(reversed(node.operands()))
