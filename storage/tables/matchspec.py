"""Match specifications: what to find and what to make of it, as data.

The semantics are those of ets:select/2 (ERTS user's guide, "Match Specifications in Erlang"). A
specification is a list of clauses (head, guards, results). A record goes to the first clause whose
head matches it and whose guards are all True; the value of the last result is its answer. A guard
that fails, is False or is no boolean refuses the record in that clause.

Written out, as in Mnesia::

    [(pattern(Account, owner=V(1), balance=V(2)), [V(2) > 100], [(V(1), V(2))])]

or, which is the same::

    match(Account, owner=V(1), balance=V(2)).where(V(2) > 100).select(V(1), V(2))

A result that fails raises `BadArgument`; Mnesia gives the atom 'EXIT' in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

from .errors import BadArgument
from .expressions import BINDINGS, RECORD
from .patterns import Head, pattern
from .querying.analysis import analyse
from .querying.coding import Coder, make_function
from .querying.domains import Domain, Known, Path, any_of
from .querying.tree import Expression, Literal, Operation, Variable, Whole, lift, walk

R = TypeVar("R")
T = TypeVar("T")

MAX_CLAUSES: Final = 1_000
"""So many clauses may a match specification have."""

Clause: TypeAlias = tuple[Any, Sequence[Any], Sequence[Any]]
"""(head, guards, results): Mnesia's `{MatchHead, [Guard], [Result]}`."""


class MatchSpec(Generic[T]):
    """An immutable match specification whose answers are of type T; made by `match`.

    Attributes:
        clauses: (head, guards, results), tried in this order.
    """

    __slots__ = ("clauses",)

    def __init__(self, clauses: Iterable[Clause]) -> None:
        self.clauses: tuple[tuple[Any, tuple[Any, ...], tuple[Any, ...]], ...] = tuple(
            _clause(one) for one in clauses
        )
        if not 1 <= len(self.clauses) <= MAX_CLAUSES:
            raise BadArgument(f"a match specification has 1 to {MAX_CLAUSES:,} clauses")

    def otherwise(self, other: MatchSpec[Any]) -> MatchSpec[Any]:
        """Return a specification that tries the clauses of another after its own."""
        return MatchSpec((*self.clauses, *other.clauses))

    def __repr__(self) -> str:
        return f"MatchSpec({list(self.clauses)!r})"


class Match(MatchSpec[R]):
    """A specification of one clause that is being written; it can be used at any time."""

    __slots__ = ()

    def where(self, *guards: object) -> Match[R]:
        """Return it with more guards; a record must pass all of them."""
        head, before, results = self.clauses[0]
        return Match([(head, (*before, *guards), results)])

    def select(self, *results: object) -> MatchSpec[Any]:
        """Return it with what to make of a record: one value, or a tuple of several."""
        head, guards, _ = self.clauses[0]
        if not results:
            return MatchSpec([(head, guards, (RECORD,))])
        result = results[0] if len(results) == 1 else tuple(results)
        return MatchSpec([(head, guards, (result,))])


def match(record_type: type[R], /, **fields: object) -> Match[R]:
    """Begin a match specification: records of this class whose fields match.

    Without `select` the answers are the records.

    Raises:
        BadArgument: the class has no such field.
        BadType: it is no record class.
    """
    return Match([(pattern(record_type, **fields), (), (RECORD,))])


def _clause(clause: object) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    if not isinstance(clause, (tuple, list)) or len(clause) != 3:
        raise BadArgument(f"a clause is (head, guards, results), not {clause!r}")
    head, guards, results = clause
    for part, name in ((guards, "guards"), (results, "results")):
        if not isinstance(part, (tuple, list)):
            raise BadArgument(f"the {name} of a clause are a list, not {part!r}")
    if not results:
        raise BadArgument("a clause needs a result, [RECORD] for example")
    return head, tuple(guards), tuple(results)


class CompiledSpec:
    """A match specification, ready for records of one class.

    Attributes:
        run: takes a record and its values, returns (whether it matched, the result).
        known: by position and below, where the values of matching records are.
        whole_records: whether the results are the records themselves.
        key_position: which field is the key.
    """

    __slots__ = ("key_position", "known", "run", "whole_records")

    def __init__(
        self,
        run: Callable[[Any, Sequence[Any]], tuple[bool, Any]],
        known: Known,
        whole_records: bool,
        key_position: int,
    ) -> None:
        self.run = run
        self.known = known
        self.whole_records = whole_records
        self.key_position = key_position

    def domain(self, position: int) -> Domain:
        """Return where the values of a field are, for records that can match."""
        return self.known.at((position,))

    @property
    def key_equals(self) -> tuple[Any, ...] | None:
        """The keys that matching records can have, where these are few; else None."""
        return self.domain(self.key_position).values

    @property
    def key_ranges(self) -> tuple[tuple[bytes, bytes], ...]:
        """The intervals in which their encoded keys are: from (inclusive) and to (exclusive)."""
        intervals = self.domain(self.key_position).intervals
        return tuple((interval.lower, interval.upper) for interval in intervals)

    @property
    def bound(self) -> dict[int, Any]:
        """By position, the one value that a field of a matching record can have."""
        found = {}
        for position in {path[0] for path in self.known.domains}:
            values = self.domain(position).values
            if values is not None and len(values) == 1:
                found[position] = values[0]
        return found


def compile_match_spec(
    record_type: object, spec: MatchSpec[Any] | Sequence[Clause], *, key_position: int = 0
) -> CompiledSpec:
    """Compile a match specification for the records of a class (or with these attributes).

    Args:
        record_type: the class, or the names of the attributes.
        spec: what `match` makes, or a list of clauses.
        key_position: which field is the key.

    Raises:
        BadType: a head does not fit the class.
        BadArgument: a clause is malformed, or uses a variable that its head does not bind.
    """
    if not isinstance(spec, MatchSpec):
        if not isinstance(spec, (tuple, list)):
            raise BadArgument(f"a match specification is a list of clauses, not {spec!r}")
        spec = MatchSpec(spec)
    coder = Coder(lambda _: None)
    coder.names["Mismatch"] = (False, None)
    coder.names["refuse"] = _refuse
    lines: list[str] = []
    known: list[Known] = []
    several = len(spec.clauses) > 1
    whole = True
    for number, (head_pattern, guards, results) in enumerate(spec.clauses):
        head = Head(record_type, head_pattern, key_position)
        clause = _ClauseWriter(coder, head, "return None" if several else "return Mismatch")
        name = f"clause{number}" if several else "run"
        lines.append(f"def {name}(record, v):")
        lines.extend(clause.write(guards, results))
        known.append(clause.known)
        whole = whole and results[-1] is RECORD
    if several:
        tries = " or ".join(f"clause{number}(record, v)" for number in range(len(spec.clauses)))
        lines.append(f"def run(record, v):\n    return {tries} or Mismatch")
    run = make_function("\n".join([*lines, ""]), "run", coder.names)
    return CompiledSpec(run, any_of(known), whole, key_position)


class _ClauseWriter:
    """Writes the function of one clause.

    Attributes:
        known: what is known of the records that it takes.
    """

    __slots__ = ("_coder", "_failure", "_head", "known")

    def __init__(self, coder: Coder, head: Head, failure: str) -> None:
        self._coder = coder.with_leaf(self._leaf)
        self._head = head
        self._failure = failure
        self.known = head.known

    def write(self, guards: Sequence[object], results: Sequence[object]) -> list[str]:
        coder, failure = self._coder, self._failure
        lifted = [lift(guard) for guard in guards]
        made = [lift(result) for result in results]
        for expression in (*lifted, *made):
            self._check(expression)
        lines = self._head.source(coder, failure)
        if lifted:
            condition = " and ".join(coder.guard(guard) for guard in lifted)
            lines += [
                "    try:",
                f"        if not ({condition}): {failure}",
                f"    except Failed: {failure}",
            ]
        for guard in lifted:
            self.known = self.known.both(analyse(guard, self._path))
        code = coder.value(made[-1])
        if any(isinstance(one, Operation) for one in walk(made[-1])):
            lines += [
                "    try:",
                f"        return (True, {code})",
                "    except Failed as error: refuse(error)",
            ]
        else:
            lines.append(f"    return (True, {code})")
        return lines

    def _check(self, expression: Expression) -> None:
        for one in walk(expression):
            if isinstance(one, Variable):
                if one.number not in self._head.variables:
                    raise BadArgument(f"{one!r} is not bound by the head of its clause")
            elif not isinstance(one, (Operation, Literal, Whole)) and not one.operands():
                raise BadArgument(f"{one!r} belongs to a query, not into a match specification")

    def _is_record(self, expression: Expression) -> bool:
        if isinstance(expression, Variable):
            return expression.number == self._head.whole
        return expression is RECORD

    def _leaf(self, expression: Expression) -> str | None:
        if isinstance(expression, Variable):
            return f"x{expression.number}"
        if expression is RECORD:
            return "record"
        if expression is BINDINGS:
            return "[" + ", ".join(f"x{number}" for number in self._head.variables) + "]"
        if isinstance(expression, Operation) and expression.name in ("item", "element", "size"):
            parts = expression.parts
            if self._is_record(parts[-1] if expression.name == "element" else parts[0]):
                codes = ["v" if self._is_record(one) else self._coder.value(one) for one in parts]
                return f"{self._coder.operation(expression.name)}({', '.join(codes)})"
        return None

    def _path(self, expression: Expression) -> Path | None:
        if self._is_record(expression):
            return ()
        if isinstance(expression, Variable):
            return self._head.paths.get(expression.number)
        return None


def _refuse(error: Exception) -> None:
    raise BadArgument(f"a result cannot be computed: {error}") from error
