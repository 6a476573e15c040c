"""New code in what supervisors keep: specifications, and the arguments they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import FunctionType
from typing import Any, Final

from palaver.supervisors.spec import ChildSpec

__all__ = ["renewed"]

MAX_DEPTH: Final = 8


def renewed(value: Any, changes: Mapping[Any, Any], depth: int = MAX_DEPTH) -> Any:
    """A value in which every class or function of `changes` is replaced; itself if there is none.

    It looks into specifications, tuples, lists and dicts, down to 8 of them within each other.
    What a closure, a partial or an object of another kind holds stays as it is.
    """
    if isinstance(value, (type, FunctionType)):
        return changes.get(value, value)
    if depth == 0:
        return value
    if isinstance(value, ChildSpec):
        start = changes.get(value.start, value.start)
        args = renewed(value.args, changes, depth - 1)
        options = renewed(value.options, changes, depth - 1)
        if start is value.start and args is value.args and options is value.options:
            return value
        return replace(value, start=start, args=args, options=options)
    if type(value) in (tuple, list):
        items = [renewed(item, changes, depth - 1) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(items)
    if type(value) is dict:
        found = {key: renewed(item, changes, depth - 1) for key, item in value.items()}
        return value if all(found[key] is value[key] for key in value) else found
    return value
