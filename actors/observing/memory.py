"""How much memory a process takes: estimates, for Python shares objects and counts none of them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from palaver.actors.runtime import Node, Pid, Ref
from palaver.actors.runtime.attributes import attributes
from palaver.actors.runtime.links import linked
from palaver.actors.runtime.process import Process

__all__ = ["deep_bytes", "resident_bytes", "shallow_bytes"]

MAX_OBJECTS: Final = 20_000

# Never counted: shared by all, or other processes' own.
SHARED: Final = (
    Node, Process, Pid, Ref, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType,
)  # fmt: skip


def shallow_bytes(process: Process) -> int:
    """An estimate that costs about a microsecond: the process, its server and their containers.

    What the attributes of the server hold is not followed; each is counted by its own size.
    """
    size = sys.getsizeof(process) + sys.getsizeof(process.pid)
    context = process.context
    for part in (context, process.mailbox, process.backlog, process.saved, process.coroutine):
        if part is not None:
            size += sys.getsizeof(part)
    if context is not None:
        own = getattr(context, "__dict__", None)
        if own is not None:
            size += sys.getsizeof(own)
        for value in attributes(context).values():
            if not isinstance(value, SHARED):
                size += sys.getsizeof(value)
    return size


def deep_bytes(process: Process) -> tuple[int, bool]:
    """An estimate that follows what the state and the waiting messages hold; whether to its end.

    Other processes, nodes, classes, functions and modules are not followed. What several processes
    share is counted for each. It ends after 20,000 objects.
    """
    seen = {id(process), *map(id, linked(process))}
    size = sys.getsizeof(process) + sys.getsizeof(process.pid)
    todo: list[Any] = [process.context, process.mailbox, process.backlog, process.saved]
    while todo:
        value = todo.pop()
        if value is None or id(value) in seen or isinstance(value, SHARED):
            continue
        if len(seen) >= MAX_OBJECTS:
            return size, False
        seen.add(id(value))
        size += sys.getsizeof(value)
        todo.extend(_held(value))
    return size, True


def _held(value: Any) -> Iterable[Any]:
    if isinstance(value, (str, bytes, bytearray, int, float)):
        return ()
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    held: list[Any] = [getattr(value, "__dict__", None)]
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            descriptor = base.__dict__.get(slot)
            if descriptor is not None and hasattr(descriptor, "__get__"):
                try:
                    held.append(descriptor.__get__(value, type(value)))
                except AttributeError:  # not set
                    continue
    if hasattr(type(value), "maxlen"):  # a deque
        held.extend(value)
    return held


def resident_bytes() -> int | None:
    """The resident memory of this operating system process; None where that cannot be known."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        # Elsewhere: the most it ever was, in bytes on macOS.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else None
    return pages * resource.getpagesize()
