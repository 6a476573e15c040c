"""A mutation: a realistic bug, kept as an edit of the source text of the function it is in.

While a mutation is applied the function *is* the edited one, wherever it is known (its code object
is replaced, so dispatch tables and names that were imported are no way around it). An edit whose
text is not in the source exactly as often as it says is an error: when the code changes, the
mutation has to follow, and cannot silently become one that changes nothing.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

__all__ = ["Edit", "Mutation", "Put", "StaleMutation"]


class StaleMutation(Exception):
    """The text that a mutation replaces is not in the code: bring the mutation up to it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace a piece of a function's source.

    Attributes:
        function: a function or a plain method, or a property (its getter).
        old: lines of its source, whatever their indentation; they occur once.
        new: what is there instead; indented as `old` is. Empty: nothing.
    """

    function: Any
    old: str
    new: str

    @property
    def plain(self) -> FunctionType:
        """The function whose code changes."""
        function = self.function.fget if isinstance(self.function, property) else self.function
        assert isinstance(function, FunctionType), f"{function!r} has no code of its own"
        return function


@dataclass(frozen=True, slots=True)
class Put:
    """Give a module's or a class' name another value: a limit, or a function as a whole."""

    owner: Any
    name: str
    value: Any

    @contextmanager
    def applied(self) -> Iterator[None]:
        before = getattr(self.owner, self.name)
        if before == self.value:
            raise StaleMutation(f"{self.owner!r}.{self.name} is {before!r} already")
        setattr(self.owner, self.name, self.value)
        try:
            yield
        finally:
            setattr(self.owner, self.name, before)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A bug that somebody could have written.

    Attributes:
        name: what it is called on the command line and in the table.
        mistake: one sentence, what the programmer would have got wrong.
        promise: which promise it breaks, in a few words.
        edits: how the code differs.
        scenario: the name of the scenario that finds it.
        setting: what else is different, though no bug: a smaller limit, so that it is reached in a
            short run. The code without the bug runs with it too.
    """

    name: str
    mistake: str
    promise: str
    edits: Sequence[Edit | Put]
    scenario: str = "talk"
    setting: Sequence[Put] = ()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The code has the bug."""
        edits: dict[FunctionType, list[Edit]] = {}
        with self.set_up(), ExitStack() as stack:
            for edit in self.edits:
                if isinstance(edit, Put):
                    stack.enter_context(edit.applied())
                else:
                    edits.setdefault(edit.plain, []).append(edit)
            for function, some in edits.items():
                stack.callback(setattr, function, "__code__", function.__code__)
                function.__code__ = edited(function, some)
            yield

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """The code is right, with the setting of this mutation."""
        with ExitStack() as stack:
            for put in self.setting:
                stack.enter_context(put.applied())
            yield


def edited(function: FunctionType, edits: Sequence[Edit]) -> CodeType:
    """The code of a function after edits."""
    source = textwrap.dedent("".join(inspect.getsourcelines(function)[0]))
    for edit in edits:
        source = _replaced(source, edit.old, edit.new, function.__qualname__)
    free = function.__code__.co_freevars
    # A method's `super()` and what a function closes over are cells of the function around it.
    tree = ast.parse(_within(source, free))
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    module = compile(
        tree,
        function.__code__.co_filename,
        "exec",
        dont_inherit=True,
        flags=function.__code__.co_flags & __future__.annotations.compiler_flag,
    )
    code = _find(module, function.__name__, free)
    return code.replace(co_qualname=function.__qualname__)


def _replaced(source: str, old: str, new: str, where: str) -> str:
    """The source with `new` for `old`; matched line by line, at any indentation, exactly once."""
    lines = source.splitlines()
    wanted = textwrap.dedent(old).strip("\n").splitlines()
    found = []
    for start in range(len(lines) - len(wanted) + 1):
        part = lines[start : start + len(wanted)]
        if textwrap.dedent("\n".join(part)).splitlines() == wanted:
            found.append(start)
    if len(found) != 1:
        raise StaleMutation(f"{len(found)} places of {where} read:\n{old}")
    start = found[0]
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    instead = textwrap.indent(textwrap.dedent(new).strip("\n"), indent) if new.strip() else ""
    rest = lines[start + len(wanted) :]
    return "\n".join([*lines[:start], *instead.splitlines(), *rest, ""])


def _within(source: str, free: tuple[str, ...]) -> str:
    if not free:
        return source
    cells = "".join(f"    {name} = None\n" for name in free)
    return f"def _around():\n{cells}{textwrap.indent(source, '    ')}"


def _find(code: CodeType, name: str, free: tuple[str, ...]) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name == name and constant.co_freevars == free:
                return constant
            if constant.co_name == "_around":
                return _find(constant, name, free)
    raise StaleMutation(f"the edit of {name} uses other variables of the scope around it: {free}")
