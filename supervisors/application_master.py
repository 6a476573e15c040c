"""The process of one application: it runs the callbacks, and is the top supervisor's parent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from palaver.actors.runtime import Exit, GenServer, Pid, Stop
from palaver.supervisors.application import Application
from palaver.supervisors.failures import FailedToStart
from palaver.supervisors.spec import ChildSpec
from palaver.supervisors.starting import CANNOT_START, start_child, start_reason, stop_children

__all__ = ["ApplicationMaster", "EnvChanged", "Up"]

log = structlog.get_logger("palaver.supervisors")


@dataclass(frozen=True, slots=True)
class Up:
    """A master to the controller: the application runs."""

    master: Pid
    top: Pid | None


@dataclass(frozen=True, slots=True)
class EnvChanged:
    """The controller to a master."""

    old: Any


class ApplicationMaster(GenServer):
    """The process of one application: starts its top supervisor, and ends with it."""

    __slots__ = ("_application", "_spec", "_top")

    async def init(self, application: Application[Any]) -> Stop | None:
        """Start what the application says, and tell the controller."""
        self.trap_exit = True
        self._application = application
        self._top: Pid | None = None
        self._spec: ChildSpec | None = await _waited_for(application.start(self))
        if self._spec is not None:
            try:
                self._top = await start_child(self, self._spec)
            except CANNOT_START as error:
                return Stop(start_reason(error))
            if self._top is None:
                return Stop(FailedToStart(self._spec.id, "its init said Ignore()"))
        assert self.parent is not None
        self.send(self.parent, Up(self.pid, self._top))
        return None

    async def handle_info(self, message: Any) -> Stop | None:
        """The top supervisor has exited, or the configuration was changed."""
        if isinstance(message, Exit):
            if message.sender is self._top and self._top is not None:
                self._top = None
                return Stop(message.reason)
        elif isinstance(message, EnvChanged):
            await _waited_for(self._application.config_change(self, message.old))
        else:
            super().handle_info(message)
        return None

    async def terminate(self, reason: object) -> None:
        """Stop the application; a callback that fails is logged, and the rest is done."""
        top, spec, self._top = self._top, self._spec, None
        if top is not None and spec is not None:
            await self._call_back(self._application.prep_stop)
            await stop_children(self, [(top, replace(spec, shutdown_s=None))])
        elif spec is None:
            await self._call_back(self._application.prep_stop)
        await self._call_back(self._application.stop)

    async def _call_back(self, callback: Callable[[GenServer], Any]) -> None:
        try:
            await _waited_for(callback(self))
        except Exception:
            log.exception(
                "an application's callback failed; it is stopped all the same",
                application=self._application.name,
                callback=callback.__name__,
            )


async def _waited_for(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
