"""The guard of a world: what is not deterministic is refused, or replaced where a library needs it.

A run is described by its tape only if nothing else has a say in it. So as long as a world is open,
its thread may not ask the machine for time, chance, threads, processes or the network. Other
threads are let alone.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import get_ident
from types import FrameType
from typing import Any, Final, Protocol

from palaver.actors.simulation.guarding.callers import Caller, Callers, Kind, is_importing, place_of
from palaver.actors.simulation.guarding.errors import NonDeterminism
from palaver.actors.simulation.guarding.patching import OPEN, Patches
from palaver.actors.simulation.guarding.watched import (
    EVENTS,
    FILE_EVENTS,
    Watched,
    methods,
)

__all__ = ["BEGIN_S", "Chance", "Guard", "guarded"]

BEGIN_S: Final = 1_767_225_600.0
"""The wall clock when virtual time is 0, unless the world says otherwise: 2026-01-01 00:00 UTC."""

_GUARDING: Final = "palaver.actors.simulation.guarding."

_frame: Final = sys._getframe  # noqa: SLF001 - CPython's, and no other way tells who calls


class Chance(Protocol):
    """What is needed of a tape."""

    def random(self, name: str) -> random.Random:
        """Values by chance; the same for the same seed and name."""


class Guard:
    """Watches one thread; made by `guarded`."""

    def __init__(
        self,
        tape: Chance,
        now_s: Callable[[], float],
        wall_s: Callable[[], float],
        tell: Callable[[NonDeterminism], None],
        callers: Callers,
        *,
        no_files: bool,
    ) -> None:
        self.now_s = now_s
        self.wall_s = wall_s
        self.first: NonDeterminism | None = None
        """The first refusal: the program may have swallowed the error."""
        self._tape = tape
        self._tell = tell
        self._callers = callers
        self._chances: dict[str, random.Random] = {}
        self._events = {**EVENTS, **FILE_EVENTS} if no_files else EVENTS

    def random(self, module: str) -> random.Random:
        """The chance of a library, from the tape."""
        package = module.partition(".")[0]
        chance = self._chances.get(package)
        if chance is None:
            chance = self._chances[package] = self._tape.random(f"guard/{package}")
        return chance

    def called(self, watched: Watched, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A watched function was called; what its caller gets."""
        if watched.only is not None and not watched.only(args, kwargs):
            return watched.real(*args, **kwargs)
        caller = self._callers.find(_frame(2), beyond_libraries=watched.value is None)
        if caller.kind is Kind.TOOL:
            return watched.real(*args, **kwargs)
        if caller.kind is Kind.LIBRARY and watched.value is not None:
            return watched.value(self, caller.module, args, kwargs)
        if is_importing(caller.frame):
            return watched.real(*args, **kwargs)
        raise self._refuse(watched.name, watched.instead, caller)

    def audit(self, event: str, frame: FrameType) -> None:
        """The interpreter tells of an event that may be refused."""
        refused = self._events.get(event)
        if refused is None:
            return
        caller = self._callers.find(frame, beyond_libraries=True)
        if caller.kind is not Kind.TOOL and not is_importing(caller.frame):
            raise self._refuse(*refused, caller)

    def profile(self, watched: Watched, frame: FrameType) -> None:
        """A strict guard has seen a call into C."""
        if (frame.f_globals.get("__name__") or "").startswith(_GUARDING):
            return
        caller = self._callers.find(frame, beyond_libraries=False)
        if caller.kind is Kind.PROGRAM and not is_importing(caller.frame):
            raise self._refuse(watched.name, watched.instead, caller)

    def _refuse(self, name: str, instead: str, caller: Caller) -> NonDeterminism:
        via = caller.via
        call = f"{name}()" if via is None or via == name else f"{via}() ({name})"
        error = NonDeterminism(call, place_of(caller.frame), instead)
        if self.first is None:
            self.first = error
            self._tell(error)
        return error


@contextmanager
def guarded(
    tape: Chance,
    *,
    now_s: Callable[[], float],
    wall_s: Callable[[], float] | None = None,
    tell: Callable[[NonDeterminism], None] | None = None,
    allow: Iterable[str] = (),
    real: Iterable[str] = (),
    no_files: bool = False,
    strict: bool = False,
) -> Iterator[Guard]:
    """Refuse what is not deterministic, in this thread, until the end of the block.

    Code of the program gets `NonDeterminism`. Libraries that need chance or time for what does
    not matter (websockets' masks, timestamps of logs) get values of the tape and virtual time.

    Args:
        tape: where their values come from.
        now_s: virtual time in seconds.
        wall_s: the wall clock in seconds; virtual time since `BEGIN_S` if None.
        tell: called with the first refusal, because a program may swallow what is raised.
        allow: names of further modules or packages that are treated as libraries.
        real: names of modules or packages that get the machine's own.
        no_files: refuse files and folders of the machine too.
        strict: look at every call, so that `datetime.now()` and functions kept in other places
            than modules are seen too. Takes about three times as long.
    """
    started = Guard(
        tape,
        now_s,
        wall_s if wall_s is not None else lambda: BEGIN_S + now_s(),
        tell if tell is not None else _nobody,
        Callers(allow, real),
        no_files=no_files,
    )
    thread = get_ident()
    outer = OPEN.get(thread)
    _audit_once()
    _PATCHES.acquire()
    OPEN[thread] = started
    try:
        with _own_chance(tape), _watching(started, strict=strict):
            yield started
    finally:
        if outer is None:
            del OPEN[thread]
        else:
            OPEN[thread] = outer
        _PATCHES.release()


def _nobody(_: NonDeterminism) -> None:
    """Only the exception tells."""


@contextmanager
def _own_chance(tape: Chance) -> Iterator[None]:
    """Whatever reaches the shared generator after all finds it in a state of the tape's."""
    shared: random.Random = random._inst  # noqa: SLF001
    before = shared.getstate()
    shared.setstate(tape.random("guard/shared").getstate())
    try:
        yield
    finally:
        shared.setstate(before)


@contextmanager
def _watching(guard: Guard, *, strict: bool) -> Iterator[None]:
    """Look at all calls into C, if strict."""
    if not strict:
        yield
        return
    watched = {each.real: each for each in (*_PATCHES.watched, *methods())}

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            found = watched.get(called)
            if found is not None:
                guard.profile(found, frame)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


_PATCHES: Final = Patches()
"""Of the process, as the modules are."""

_hooked: list[bool] = []
"""Not empty when the audit hook is there; none can be taken away again."""


def _audit_once() -> None:
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_audit)


def _audit(event: str, _args: tuple[Any, ...]) -> None:
    if OPEN and (event in EVENTS or event in FILE_EVENTS):
        guard = OPEN.get(get_ident())
        if isinstance(guard, Guard):
            guard.audit(event, _frame(1))
