"""Puts watchful functions in the place of the machine's, and the machine's back, exactly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Lock, get_ident
from types import ModuleType
from typing import Any, Final, Protocol

from palaver.actors.simulation.guarding.callers import Callers, Kind
from palaver.actors.simulation.guarding.watched import Watched, class_attributes, functions

__all__ = ["OPEN", "Patches", "Warden"]


class Warden(Protocol):
    """Decides about the calls of one thread."""

    def called(self, watched: Watched, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A watched function was called; what its caller gets."""


#: The open guards, by their threads. Of the process, as the functions are that they watch.
OPEN: Final[dict[int, Warden]] = {}


class Watchful:
    """Stands for a function of the machine; in threads without a world it is that function."""

    # Not a function: as an attribute of a class, a function would become a method.
    __slots__ = ("__wrapped__", "_watched")

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self.__wrapped__ = watched.real

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        warden = OPEN.get(get_ident())
        if warden is None:
            return self.__wrapped__(*args, **kwargs)
        return warden.called(self._watched, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<watched {self.__wrapped__!r}>"


def _watchful_method(watched: Watched) -> Callable[..., Any]:
    real = watched.real

    def method(*args: Any, **kwargs: Any) -> Any:
        warden = OPEN.get(get_ident())
        if warden is None:
            return real(*args, **kwargs)
        return warden.called(watched, args, kwargs)

    return method


class Patches:
    """All that is put in place while any thread has a world; made once, for the process.

    `from time import monotonic` makes a name of its own in another module: so all modules are
    searched, each one once.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._watchful: dict[int, Watchful] = {}
        self.watched: list[Watched] = []
        self._searched: dict[str, tuple[int, int]] = {}
        self._found: dict[tuple[str, str], ModuleType] = {}
        self._callers = Callers()
        self._undo: list[Callable[[], None]] = []

    def acquire(self) -> None:
        """Put the watchful functions in place, if they are not."""
        with self._lock:
            self._users += 1
            if not self._watchful:
                self.watched.extend(functions())
                self._watchful = {id(each.real): Watchful(each) for each in self.watched}
            self._search()
            if self._users == 1:
                self._patch_modules()
                self._patch_classes()

    def release(self) -> None:
        """Put back what was there, when the last one goes."""
        with self._lock:
            self._users -= 1
            if not self._users:
                while self._undo:
                    self._undo.pop()()

    def _search(self) -> None:
        for name, module in list(sys.modules.items()):
            if type(module) is not ModuleType:
                continue
            names = vars(module)
            known = (id(module), len(names))
            if self._searched.get(name) == known:
                continue
            self._searched[name] = known
            if self._callers.kind(name) is Kind.TOOL:
                continue
            for attribute, value in list(names.items()):
                if id(value) in self._watchful:
                    self._found[name, attribute] = module

    def _patch_modules(self) -> None:
        for (_, attribute), module in self._found.items():
            names = vars(module)
            real = names.get(attribute)
            watchful = self._watchful.get(id(real))
            if watchful is not None:
                names[attribute] = watchful
                self._undo.append(lambda n=names, a=attribute, r=real: n.__setitem__(a, r))  # type: ignore[misc]

    def _patch_classes(self) -> None:
        for cls, attribute, watched in class_attributes():
            before = cls.__dict__[attribute]
            if isinstance(before, (staticmethod, classmethod)):
                setattr(cls, attribute, staticmethod(Watchful(watched)))
            else:
                setattr(cls, attribute, _watchful_method(watched))
            self._undo.append(lambda c=cls, a=attribute, b=before: setattr(c, a, b))  # type: ignore[misc]
