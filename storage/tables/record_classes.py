"""Record classes: frozen dataclasses, frozen attrs classes and named tuples, seen as one kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from inspect import signature
from operator import attrgetter
from typing import Any
from typing import get_type_hints as typing_hints

import attrs

from .errors import BadType


def is_record_class(hint: Any) -> bool:
    """Whether this is a dataclass, an attrs class or a NamedTuple."""
    return isinstance(hint, type) and (
        dataclasses.is_dataclass(hint) or attrs.has(hint) or is_named_tuple(hint)
    )


def is_named_tuple(cls: type) -> bool:
    """Whether this is a `typing.NamedTuple`."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make")


def field_hints(cls: type) -> dict[str, Any]:
    """Give a class's type hints by field, with names in them resolved.

    Raises:
        BadType: a name in them cannot be resolved.
    """
    try:
        return typing_hints(cls)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise BadType(
            f"the type hints of {cls.__qualname__} cannot be resolved ({error}); "
            "what they name has to be at the top of a module that imports it at run time"
        ) from error


def field_names(cls: Any) -> tuple[str, ...]:
    """Give the names of a record class's fields, in order.

    Raises:
        BadType: a field is not for the constructor, or has no type hint.
    """
    if is_named_tuple(cls):
        names: tuple[str, ...] = cls._fields
        given = set(names)
    else:
        fields = attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls)
        names = tuple(field.name for field in fields)
        given = {field.name for field in fields if field.init}
    hints = field_hints(cls)
    missing = [name for name in names if name not in given or name not in hints]
    if missing:
        raise BadType(
            f"{cls.__qualname__}.{missing[0]} needs a type hint, and has to be given to the "
            "constructor"
        )
    return names


def getter(cls: type, attributes: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Give what gives a record's values as a tuple."""
    if is_named_tuple(cls):
        return tuple
    if len(attributes) > 1:
        return attrgetter(*attributes)
    each = [attrgetter(attribute) for attribute in attributes]  # none, or one
    return lambda record: tuple([get(record) for get in each])


def check_class(cls: Any, attributes: tuple[str, ...]) -> None:
    """Make sure that records of a class do not change, and are equal by their values.

    Raises:
        BadType: they are not.
    """
    if cls.__eq__ is object.__eq__:
        raise BadType(f"{cls.__qualname__}: records are compared by their values; allow eq")
    if not is_named_tuple(cls):
        try:
            setattr(object.__new__(cls), attributes[0] if attributes else "any", None)
        except AttributeError:  # FrozenInstanceError, of either library, is one
            return
        raise BadType(f"{cls.__qualname__} is not frozen: declare it with frozen=True")


def maker(cls: Any, attributes: tuple[str, ...]) -> Callable[..., Any]:
    """Give what makes a record of its values by position.

    Raises:
        BadType: the constructor does not take just these.
    """
    if is_named_tuple(cls):
        return cls  # type: ignore[no-any-return]
    names = [field.alias for field in attrs.fields(cls)] if attrs.has(cls) else [*attributes]
    parameters = signature(cls).parameters
    needed = {name for name, p in parameters.items() if p.default is p.empty}
    if not needed <= set(names) <= set(parameters):
        raise BadType(f"the constructor of {cls.__qualname__} has to take just its fields")
    if names == list(parameters) and not any(p.kind is p.KEYWORD_ONLY for p in parameters.values()):
        return cls  # type: ignore[no-any-return]
    return lambda *values: cls(**dict(zip(names, values, strict=True)))
