"""What the operations of expressions mean, as functions over terms.

Every function raises `Failed` where its operands do not fit; nothing else, and nothing of the
operands is changed. Generated code calls these for whatever it does not do in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from .comparing import (
    NUMBERS,
    Failed,
    at_least,
    at_most,
    differs,
    equal,
    finite,
    greater,
    less,
    plain,
    same,
    unequal,
)

MAX_INTEGER_BITS: Final = 65_536
"""An integer that is computed may have so many bits, so that no query fills the memory."""

MAX_JOINED: Final = 16 * 1024 * 1024
"""So long may a string, byte string, tuple or list be that `+` makes."""


def boolean(value: object) -> bool:
    """Return a boolean, and fail for anything else."""
    if value is True:
        return True
    if value is False:
        return False
    raise Failed(f"{value!r} is no boolean")


def negate(value: object) -> bool:
    """Erlang's `not`."""
    return not boolean(value)


def truth(value: object) -> bool:
    """Python's truth of a term: empty, zero, None and False are not."""
    return bool(plain(value))


def _number(value: object) -> Any:
    value = plain(value)
    if type(value) not in NUMBERS:
        raise Failed(f"{value!r} is no number")
    return value


def _pair(left: object, right: object) -> tuple[Any, Any]:
    """Return two numbers that Python computes with: Decimal goes with int and itself only."""
    one, other = _number(left), _number(right)
    kinds = {type(one), type(other)}
    if Decimal in kinds and not kinds <= {Decimal, int}:
        if not (finite(one) and finite(other)):
            return float(one), float(other)
        return Fraction(one), Fraction(other)
    return one, other


def _computed(value: Any) -> Any:
    if type(value) is int and value.bit_length() > MAX_INTEGER_BITS:
        raise Failed(f"an integer would have more than {MAX_INTEGER_BITS:,} bits")
    if type(value) is float and math.isnan(value):
        raise Failed("the result is not a number")
    return value


def _arithmetic(compute: Callable[[Any, Any], Any]) -> Callable[[object, object], Any]:
    def operation(left: object, right: object) -> Any:
        one, other = _pair(left, right)
        try:
            if type(one) is Decimal or type(other) is Decimal:
                with localcontext(_DECIMALS):  # the thread's own would make results differ
                    return compute(one, other)
            return _computed(compute(one, other))
        except ArithmeticError as error:
            raise Failed(f"{one!r} and {other!r}: {error}") from error

    return operation


_DECIMALS: Final = Context(prec=34)
"""As decimal128: 34 digits, half to even; division by zero and the like fail."""

_plus = _arithmetic(lambda left, right: left + right)


def add(left: object, right: object) -> Any:
    """Add two numbers, or join two strings, byte strings, tuples or lists."""
    one, other = plain(left), plain(right)
    kind = type(one)
    if kind is type(other) and kind in (str, bytes, tuple, list):
        if len(one) + len(other) > MAX_JOINED:
            raise Failed(f"a result of more than {MAX_JOINED:,} elements")
        return one + other
    return _plus(one, other)


subtract = _arithmetic(lambda left, right: left - right)
multiply = _arithmetic(lambda left, right: left * right)
divide = _arithmetic(lambda left, right: left / right)
floor_divide = _arithmetic(lambda left, right: left // right)
modulo = _arithmetic(lambda left, right: left % right)


def _integers(left: object, right: object) -> tuple[int, int]:
    one, other = plain(left), plain(right)
    if type(one) is not int or type(other) is not int:
        raise Failed(f"{one!r} and {other!r} are not two integers")
    return one, other


def div(left: object, right: object) -> int:
    """Erlang's `div`."""
    one, other = _integers(left, right)
    if other == 0:
        raise Failed(f"{one} div 0")
    quotient = abs(one) // abs(other)
    return quotient if (one < 0) == (other < 0) else -quotient


def rem(left: object, right: object) -> int:
    """Erlang's `rem`."""
    one, other = _integers(left, right)
    return one - other * div(one, other)


def band(left: object, right: object) -> int:
    """Erlang's `band`."""
    one, other = _integers(left, right)
    return one & other


def bor(left: object, right: object) -> int:
    """Erlang's `bor`."""
    one, other = _integers(left, right)
    return one | other


def bxor(left: object, right: object) -> int:
    """Erlang's `bxor`."""
    one, other = _integers(left, right)
    return one ^ other


def negative(value: object) -> Any:
    """The number with the other sign."""
    return -_number(value)


def positive(value: object) -> Any:
    """The number itself."""
    return _number(value)


def absolute(value: object) -> Any:
    """Erlang's `abs`."""
    return abs(_number(value))


_SIZED: Final = (str, bytes, tuple, list, Mapping, frozenset, set)


def make_dict(*pairs: tuple[Any, Any]) -> dict[Any, Any]:
    """Return the dict of these pairs."""
    try:
        return dict(pairs)
    except TypeError as error:
        raise Failed(f"no key of a dict: {error}") from error


def size(value: object) -> int:
    """How many elements, characters or bytes there are."""
    value = plain(value)
    if isinstance(value, _SIZED):
        return len(value)
    raise Failed(f"{value!r} has no size")


def item(value: object, index: object) -> Any:
    """`value[index]` of a tuple, list or dict."""
    value = plain(value)
    if isinstance(value, (tuple, list)):
        if type(index) is not int or not -len(value) <= index < len(value):
            raise Failed(f"no element {index!r}")
        return value[index]
    if isinstance(value, Mapping):
        if type(index) is str and index in value:
            return value[index]
        for name in value:
            if same(name, index):
                return value[name]
        raise Failed(f"no key {index!r}")
    raise Failed(f"{value!r} has no elements")


def element(number: object, value: object) -> Any:
    """Erlang's `element`."""
    if not isinstance(value, (tuple, list)):
        raise Failed(f"{value!r} is no tuple")
    if type(number) is not int or not 1 <= number <= len(value):
        raise Failed(f"no element {number!r}")
    return value[number - 1]


def contains(value: object, part: object) -> bool:
    """Whether a container has an element (a dict a key), or a string a part."""
    value = plain(value)
    if isinstance(value, (str, bytes)):
        text, piece = _texts(value, part)
        return piece in text
    if isinstance(value, (tuple, list, Mapping, frozenset, set)):
        return any(same(part, one) for one in value)
    raise Failed(f"{value!r} has no elements")


def _texts(value: object, part: object) -> tuple[Any, Any]:
    value, part = plain(value), plain(part)
    if type(value) is type(part) and isinstance(value, (str, bytes)):
        return value, part
    raise Failed(f"{value!r} and {part!r} are not two strings")


def starts_with(value: object, prefix: object) -> bool:
    """Whether a string begins so."""
    one, other = _texts(value, prefix)
    return bool(one.startswith(other))


def ends_with(value: object, suffix: object) -> bool:
    """Whether a string ends so."""
    one, other = _texts(value, suffix)
    return bool(one.endswith(other))


def _test(*kinds: type) -> Callable[[object], bool]:
    return lambda value: type(plain(value)) in kinds


def is_number(value: object) -> bool:
    """Whether a term is an integer or a float (or Decimal or Fraction)."""
    return type(plain(value)) in NUMBERS


def is_dict(value: object) -> bool:
    """Whether a term is a dict."""
    return isinstance(value, Mapping)


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "==": equal,
        "!=": unequal,
        "<": less,
        "<=": at_most,
        ">": greater,
        ">=": at_least,
        "same": same,
        "differs": differs,
        "not": negate,
        "truth": truth,
        "boolean": boolean,
        "+": add,
        "-": subtract,
        "*": multiply,
        "/": divide,
        "//": floor_divide,
        "%": modulo,
        "div": div,
        "rem": rem,
        "band": band,
        "bor": bor,
        "bxor": bxor,
        "neg": negative,
        "pos": positive,
        "abs": absolute,
        "size": size,
        "item": item,
        "element": element,
        "contains": contains,
        "starts_with": starts_with,
        "ends_with": ends_with,
        "is_none": _test(type(None)),
        "is_bool": _test(bool),
        "is_int": _test(int),
        "is_float": _test(float),
        "is_number": is_number,
        "is_str": _test(str),
        "is_bytes": _test(bytes),
        "is_tuple": _test(tuple, list),
        "is_list": _test(list),
        "is_dict": is_dict,
    }
)
"""The functions behind the names of operations; `and`, `or` and `if` are code, not functions."""
