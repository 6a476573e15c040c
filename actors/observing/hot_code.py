"""Hot code: change a module in a running system, the state of its servers kept.

    loaded = await hot_code.load_module(node, "shop.basket")
    assert not loaded.failed

`load_module` runs a module's new source and puts every server whose class it defines under the new
class of the same name, each between two of its messages: `code_change` then adapts its state. What
is all or nothing, and what is not:

* A module that cannot be compiled or run changes nothing: `LoadFailed`.
* A server whose `code_change` raises goes on with the old class and the old attributes; the others
  are changed. It is in `Loaded.failed`, and logged.
* A server whose handler is parked is changed when that is done, if that is within `timeout_s`; a
  handler never changes under its own feet. Who did not get to it is in `Loaded.busy`, and keeps the
  old class until `change_processes` is called again.
* Supervisors start their children from the new classes and functions from now on.

There is no purge and no limit of two versions as in Erlang: old code stays until nothing uses it,
and then Python frees it. A module is run in its own namespace, as by `importlib.reload`: old code
that still runs sees the new globals. Other modules that did `from shop.basket import Basket`, and
classes elsewhere that inherit from it, keep the old one until they are loaded anew too, in order.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, Protocol

import structlog

from palaver.actors.observing.asking import Outcome, Seat, ask, ask_all, node_of
from palaver.actors.observing.changing import change_class
from palaver.actors.runtime import Dest, GenServer, Node, Pid, RuntimeFault
from palaver.actors.runtime.server import ServerProcess

__all__ = [
    "LoadFailed",
    "Loaded",
    "ReplacesCode",
    "change_code",
    "change_processes",
    "load_module",
]

log = structlog.get_logger("palaver.actors.hot_code")


class LoadFailed(RuntimeFault):
    """New code cannot be compiled or run: nothing was changed. `__cause__` says why."""

    def __init__(self, module: str, why: str) -> None:
        super().__init__(f"the new code of {module} cannot be loaded, nothing was changed: {why}")
        self.module = module


class ReplacesCode(Protocol):
    """A server that keeps classes or functions to start processes from: a supervisor."""

    def replace_code(self, changes: Mapping[Any, Any]) -> None:
        """Use the value from now on wherever a key of `changes` was kept."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a change of code did to the servers of a node."""

    module: str
    changed: tuple[Pid, ...]
    failed: Mapping[Pid, BaseException]
    """Servers whose `code_change` raised: they keep the old class and state."""
    busy: tuple[Pid, ...]
    """Servers that did not get to it in time: they keep the old class."""
    gone: tuple[str, ...]
    """Classes that have servers but are in the new code no more."""


async def change_code(
    seat: Seat,
    dest: Dest,
    new_class: type[GenServer[Any]],
    extra: Any = None,
    *,
    timeout_s: float | None = 5.0,
) -> None:
    """Put one server under another class, between two of its messages.

    Its `code_change` is told the old class's `__vsn__`, its attributes and `extra`. If it raises,
    the server keeps class and attributes, and `CallbackFailed` is raised here. As for what else is
    raised, see `sys`.
    """
    await ask(seat, dest, lambda process: change_class(process, new_class, extra), timeout_s)


async def load_module(
    seat: Seat, module: ModuleType | str, extra: Any = None, *, timeout_s: float | None = 5.0
) -> Loaded:
    """Load a module's new source and change every server of this node whose class it defines.

    The module must have been imported before. Holds the event loop while it compiles and runs.
    Raises `LoadFailed`. Another node in the same program is changed by `change_processes`.
    """
    target = _module(module)
    changes = _reload(target)
    loaded = await change_processes(seat, target, extra, timeout_s=timeout_s, changes=changes)
    log.info(
        "code loaded", module=target.__name__, changed=len(loaded.changed),
        failed=len(loaded.failed), busy=len(loaded.busy), gone=list(loaded.gone),
    )  # fmt: skip
    return loaded


async def change_processes(
    seat: Seat,
    module: ModuleType | str,
    extra: Any = None,
    *,
    timeout_s: float | None = 5.0,
    changes: Mapping[Any, Any] = MappingProxyType({}),
) -> Loaded:
    """Change every server whose class is an older one than the module's class of the same name.

    What `load_module` does after loading: to try again those that were busy, or whose
    `code_change` failed, and for other nodes of the program. `changes` says what supervisors are to
    replace beside those classes.
    """
    target = _module(module)
    new_of, gone, keepers = _scan(seat, target)
    new_of.update(changes)

    def replace(process: ServerProcess) -> None:
        server: Any = process.server
        server.replace_code(new_of)

    def change(process: ServerProcess) -> None:
        change_class(process, new_of[type(process.server)], extra)

    # Supervisors first, and only then the look at who is to be changed: whom they start from now
    # on is new already.
    told, ended = await ask_all(seat, keepers if new_of else (), replace, timeout_s)
    late = [p.pid for p in keepers if new_of and p.pid not in told and p.pid not in ended]
    old_ones = [p for p in _servers(seat) if type(p.context) in new_of]
    answers, ended = await ask_all(seat, old_ones, change, timeout_s)
    late += [p.pid for p in old_ones if p.pid not in answers and p.pid not in ended]
    failed = _errors(told) | _errors(answers)
    for pid, error in failed.items():
        log.error(
            "code change failed: the server keeps the old code",
            pid=str(pid), module=target.__name__, exc_info=error,
        )  # fmt: skip
    return Loaded(
        target.__name__,
        tuple(pid for pid, outcome in answers.items() if outcome.error is None),
        failed,
        tuple(dict.fromkeys(late)),
        tuple(sorted(gone)),
    )


def _servers(seat: Seat) -> list[ServerProcess]:
    """All servers but the one that asks: it cannot wait for itself."""
    own = None if isinstance(seat, Node) else seat.process_
    table = node_of(seat).table.values()
    return [p for p in table if isinstance(p, ServerProcess) and p is not own]


def _scan(seat: Seat, module: ModuleType) -> tuple[dict[Any, Any], set[str], list[ServerProcess]]:
    """Which classes are old and what replaces them, which have no successor, who keeps code."""
    new_of: dict[Any, Any] = {}
    gone: set[str] = set()
    keepers: list[ServerProcess] = []
    for process in _servers(seat):
        kind = type(process.context)
        if hasattr(kind, "replace_code"):
            keepers.append(process)
        if kind.__module__ == module.__name__ and kind not in new_of:
            new = _find(module, kind.__qualname__)
            if new is None:
                gone.add(kind.__qualname__)
            elif new is not kind:
                new_of[kind] = new
    return new_of, gone, keepers


def _errors(answers: Mapping[Pid, Outcome[None]]) -> dict[Pid, BaseException]:
    return {pid: o.error for pid, o in answers.items() if o.error is not None}


def _module(module: ModuleType | str) -> ModuleType:
    if isinstance(module, ModuleType):
        return module
    found = sys.modules.get(module)
    if found is None:
        raise LoadFailed(module, "it was never imported")
    return found


def _reload(module: ModuleType) -> dict[Any, Any]:
    """Run the new source in the module's namespace; which objects replace which."""
    name = module.__name__
    spec = module.__spec__
    get_source = getattr(getattr(spec, "loader", None), "get_source", None)
    if spec is None or get_source is None:
        raise LoadFailed(name, "it has no source")
    importlib.invalidate_caches()
    try:
        source = get_source(name)
        if source is None:
            raise LoadFailed(name, "it has no source")
        # Not `get_code`: the bytecode cache does not notice two changes within a second.
        code = compile(source, spec.origin or name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OSError, ImportError) as error:
        raise LoadFailed(name, str(error)) from error
    before = dict(module.__dict__)
    try:
        exec(code, module.__dict__)  # noqa: S102 - this is what loading a module is
    except BaseException as error:
        module.__dict__.clear()
        module.__dict__.update(before)
        if isinstance(error, Exception):
            raise LoadFailed(name, f"{type(error).__name__}: {error}") from error
        raise
    changes = {}
    for key, old in before.items():
        new = module.__dict__.get(key)
        mine = isinstance(old, (type, FunctionType)) and old.__module__ == name
        if mine and new is not old and isinstance(new, (type, FunctionType)):
            changes[old] = new
    return changes


def _find(module: ModuleType, qualname: str) -> type[GenServer[Any]] | None:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, GenServer) else None
