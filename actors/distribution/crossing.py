"""How a message crosses from one node to another: it is copied, and must be data.

What two nodes share is nothing: a list that the sender goes on to change must not change for the
receiver. So everything that can be changed is copied, and what a network could not carry is refused
where it is sent, not where it happens to break.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import reprlib
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, EllipsisType, FunctionType, MappingProxyType, NoneType
from typing import Any, Final

from palaver.actors.distribution.signals import Where
from palaver.actors.runtime import (
    HIBERNATE,
    NOREPLY,
    TIMEOUT,
    Addressable,
    Crash,
    NamedReason,
    Overflow,
    Pid,
    Ref,
    RuntimeFault,
    Shutdown,
)

__all__ = ["CannotCross", "copied", "copied_reason", "shown"]

MAX_DEPTH: Final = 100
"""How deep values may be nested; so a value that contains itself is refused too."""

MAX_VALUES: Final = 1_000_000
"""How many values a message may consist of."""

_PLAIN: Final = frozenset(
    {
        NoneType,
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        range,
        EllipsisType,
        decimal.Decimal,
        fractions.Fraction,
        uuid.UUID,
        dt.date,
        dt.datetime,
        dt.time,
        dt.timedelta,
        dt.timezone,
        NamedReason,
        type(NOREPLY),
        type(TIMEOUT),
        type(HIBERNATE),
        BuiltinFunctionType,
    }
)
"""Types whose values nobody can change."""

_SEQUENCES: Final = frozenset({list, tuple, set, frozenset})
_MAPPINGS: Final = frozenset({dict, OrderedDict})


class CannotCross(RuntimeFault, TypeError):
    """A message has something in it that cannot go to another node; the text says what."""


Swap = Callable[[Any], Any]
"""Gives for an address or a reference what takes its place on the other side."""


def copied(value: Any, swap: Swap) -> Any:
    """A copy that shares nothing that can be changed, with addresses swapped.

    Carried are: None, numbers, texts, bytes, dates; tuples, lists, dicts, sets, deques of such;
    enums, dataclasses, attrs classes, named tuples; exceptions (without their traceback), exit
    reasons; pids, aliases, references, calls to be answered; classes and functions of modules. A
    defaultdict arrives as a dict.

    Raises:
        CannotCross: something else, nested too deeply or too much of it.
    """
    return _Copying(swap).copy(value, 0)


def copied_reason(reason: Any, swap: Swap) -> Any:
    """The same for an exit reason or an error, which has to arrive: else as a text."""
    try:
        return copied(reason, swap)
    except CannotCross as error:
        told = CannotCross(f"{shown(reason)} (as a text: {error})")
        return told if isinstance(reason, BaseException) else Crash(told)


class _Copying:
    """One copy under way."""

    def __init__(self, swap: Swap) -> None:
        self._swap = swap
        self._left = MAX_VALUES

    def copy(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise CannotCross(
                f"{shown(value)} cannot go to another node: a message is nested at most "
                f"{MAX_DEPTH} deep and has at most {MAX_VALUES} values"
            )
        below = depth + 1
        if kind in _SEQUENCES:
            return kind(self.copy(each, below) for each in value)
        if kind in _MAPPINGS:
            return kind((self.copy(k, below), self.copy(v, below)) for k, v in value.items())
        if isinstance(value, (Pid, Addressable, Ref, Where)):
            return self._swap(value)
        if is_dataclass(value) and not isinstance(value, type):
            names = [each.name for each in fields(value)]
            return self._rebuilt(value, kind, names, below)
        return self._rarer(value, kind, below)

    def _rarer(self, value: Any, kind: type, below: int) -> Any:
        if isinstance(value, (enum.Enum, type)):
            return value
        if isinstance(value, tuple) and hasattr(kind, "_make"):
            return kind._make(self.copy(each, below) for each in value)
        if isinstance(value, BaseException):
            return self._error(value, kind, below)
        if hasattr(kind, "__attrs_attrs__"):
            names = [each.name for each in kind.__attrs_attrs__]
            return self._rebuilt(value, kind, names, below)
        if kind in (Shutdown, Overflow, Crash):
            return kind(*(self.copy(getattr(value, name), below) for name in kind.__match_args__))
        if kind is deque:
            return deque((self.copy(each, below) for each in value), value.maxlen)
        if kind is bytearray:
            return bytearray(value)
        if kind in (defaultdict, MappingProxyType):
            return {self.copy(k, below): self.copy(v, below) for k, v in value.items()}
        if kind is FunctionType and value.__closure__ is None and "<" not in value.__qualname__:
            return value
        raise CannotCross(
            f"{shown(value)} cannot go to another node: a message consists of plain data, "
            "dataclasses, pids and references"
        )

    def _rebuilt(self, value: Any, kind: type, names: list[str], below: int) -> Any:
        new: Any = object.__new__(kind)
        for name in names:
            if hasattr(value, name):
                object.__setattr__(new, name, self.copy(getattr(value, name), below))
        return new

    def _error(self, error: BaseException, kind: type[BaseException], below: int) -> BaseException:
        args = self.copy(error.args, below)
        if kind.__module__ == "builtins":
            new = kind(*args)
        else:
            new = kind.__new__(kind, *args)
            new.args = args
        for name, each in vars(error).items():
            setattr(new, name, self.copy(each, below))
        if error.__cause__ is not None:
            new.__cause__ = self.copy(error.__cause__, below)
        return new


_BRIEF: Final = reprlib.Repr()
_BRIEF.maxlevel = 3
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = 200


def shown(value: object, how: Callable[[object], str] = _BRIEF.repr) -> str:
    """What an error says of a value: its type, and a text of bounded length."""
    try:
        text = how(value)
    except Exception as error:  # noqa: BLE001 - an error must not fail on what it is about
        text = f"<its repr raises {type(error).__name__}>"
    return f"{type(value).__name__} {text[:200]}"
