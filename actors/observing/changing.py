"""A server gets another class, its state kept."""

from __future__ import annotations

from typing import Any

from palaver.actors.runtime import BadReturn, GenServer, Pid, RuntimeFault
from palaver.actors.runtime.attributes import attribute_names, attributes, replace_attributes
from palaver.actors.runtime.server import COROUTINES, ServerProcess

__all__ = ["NotSuspended", "change_class", "version_of"]


class NotSuspended(RuntimeFault):
    """The code of a server is changed while it is suspended; `sys.suspend` comes first."""

    def __init__(self, pid: Pid) -> None:
        super().__init__(f"{pid} is not suspended: call sys.suspend first")
        self.pid = pid


def version_of(kind: type) -> object:
    """The version of a class: its `__vsn__`, as OTP's `-vsn`; None if it has none."""
    return getattr(kind, "__vsn__", None)


def change_class(
    process: ServerProcess,
    new_class: type[GenServer[Any]],
    extra: Any,
    *,
    old_version: object = None,
) -> None:
    """Put a server under another class; to be called within `Process.system`.

    The instance stays the same where both classes have the same slots. Otherwise a new one takes
    its place, with the attributes that it has room for. What `code_change` raises is raised here,
    and the server is what it was.
    """
    if not (isinstance(new_class, type) and issubclass(new_class, GenServer)):
        raise TypeError(f"a server's class is a GenServer, not {new_class!r}")
    server = process.server
    old_class = type(server)
    state = attributes(server)
    version = version_of(old_class) if old_version is None else old_version
    try:
        server.__class__ = new_class
    except TypeError:  # another layout
        server = _moved(server, new_class, state)
    try:
        result = server.system_code_change(version, dict(state), extra)
        if type(result) in COROUTINES:
            result.close()
            raise BadReturn(f"{new_class.__qualname__}.code_change must be a plain def")
    except BaseException:
        if server is process.context:
            server.__class__ = old_class
            replace_attributes(server, state)
        raise
    process.context = server
    if process.scheduler.current is process:
        # The turn that goes on holds the old instance: it ends here, the next one begins anew.
        process.put_back(process.scheduler.rest)


def _moved(
    old: GenServer[Any], new_class: type[GenServer[Any]], state: dict[str, Any]
) -> GenServer[Any]:
    server = new_class()
    server.process_ = old.process_
    anything = hasattr(server, "__dict__")
    room = set(attribute_names(new_class))
    for name, value in state.items():
        if anything or name in room:
            setattr(server, name, value)
    return server
