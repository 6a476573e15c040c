"""Who calls: the program under test, a library that needs it, or a tool that only looks on."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Final

from palaver.actors.simulation.guarding.errors import Place

__all__ = ["Caller", "Callers", "Kind", "is_importing", "place_of"]


class Kind(Enum):
    """What a module's calls get."""

    PROGRAM = "refused"
    LIBRARY = "values of the tape, virtual time"
    TOOL = "the machine's own"
    WORLD = "refused, but it only drives what is above it on the stack"
    WRAPPER = "what its caller gets"


#: They use time and chance where the program's behaviour does not hang on it, or only as it should:
#: masks and keys of frames, backoff, timestamps of logs.
LIBRARIES: Final = (
    "aiohttp",
    "asyncio",
    "cbor2",
    "cryptography",
    "email",
    "http",
    "logging",
    "prometheus_client",
    "ssl",
    "structlog",
    "urllib",
    "warnings",
    "websockets",
    "yarl",
)

#: They look at a run from outside, or load code.
TOOLS: Final = (
    "_pytest",
    "bdb",
    "cProfile",
    "coverage",
    "hypothesis",
    "importlib",
    "_frozen_importlib",
    "_frozen_importlib_external",
    "inspect",
    "linecache",
    "palaver.actors.simulation.driving",
    "palaver.actors.simulation.guarding",
    "palaver.actors.simulation.histories",
    "palaver.actors.simulation.reporting",
    "pdb",
    "pluggy",
    "profile",
    "pytest",
    "pytest_timeout",
    "tokenize",
    "traceback",
    "tracemalloc",
    "zipimport",
)

#: They do nothing by themselves: whoever calls them is meant.
WRAPPERS: Final = (
    "_pyrepl",
    "codecs",
    "concurrent",
    "contextlib",
    "functools",
    "glob",
    "io",
    "multiprocessing",
    "os",
    "palaver.actors.runtime.bridge",
    "palaver.actors.runtime.clock",
    "palaver.actors.runtime.context",
    "pathlib",
    "posixpath",
    "queue",
    "random",
    "sched",
    "secrets",
    "selectors",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "uuid",
)


class Caller:
    """Who is responsible for a call."""

    __slots__ = ("frame", "kind", "module", "via")

    def __init__(self, kind: Kind, frame: FrameType, module: str, via: str | None) -> None:
        self.kind = kind
        self.frame = frame
        self.module = module
        self.via = via
        """The function of a wrapper or library that it went through: what the program called."""


class Callers:
    """Tells modules apart by their names; what is inside of a package counts as the package.

    Args:
        allow: further modules that are treated as libraries.
        real: further modules that are treated as tools.
    """

    __slots__ = ("_kinds", "_named")

    def __init__(self, allow: Iterable[str] = (), real: Iterable[str] = ()) -> None:
        self._named: dict[str, Kind] = {}
        for names, kind in (
            (WRAPPERS, Kind.WRAPPER),
            (LIBRARIES, Kind.LIBRARY),
            (TOOLS, Kind.TOOL),
            (("palaver.actors.simulation.world",), Kind.WORLD),
            (allow, Kind.LIBRARY),
            (real, Kind.TOOL),
        ):
            self._named.update(dict.fromkeys(names, kind))
        self._kinds: dict[str, Kind] = {}

    def kind(self, module: str) -> Kind:
        """What a module is."""
        kind = self._kinds.get(module)
        if kind is None:
            name = module
            while name and name not in self._named:
                name = name.rpartition(".")[0]
            kind = self._kinds[module] = self._named.get(name, Kind.PROGRAM)
        return kind

    def find(self, frame: FrameType, *, beyond_libraries: bool) -> Caller:
        """Who is responsible for the call made in `frame`.

        With `beyond_libraries`, a library is only where there is nobody else.
        """
        via: str | None = None
        library: Caller | None = None
        at: FrameType | None = frame
        while at is not None:
            module = at.f_globals.get("__name__") or ""
            kind = self.kind(module)
            if kind is Kind.LIBRARY and beyond_libraries:
                library = library or Caller(kind, at, module, via)
                via = via or _called(at)
            elif kind is Kind.WRAPPER:
                via = _called(at)
            elif library is not None and kind in (Kind.TOOL, Kind.WORLD):
                return library  # the world itself drives the library
            else:
                return Caller(kind, at, module, via)
            at = at.f_back
        return library or Caller(Kind.PROGRAM, frame, "", None)


def _called(frame: FrameType) -> str:
    """The function of a frame, as one calls it."""
    name = frame.f_code.co_qualname.removesuffix(".__init__")
    return f"{frame.f_globals.get('__name__')}.{name}"


def is_importing(frame: FrameType) -> bool:
    """Whether the frame belongs to a module that is being imported: no part of any run."""
    at: FrameType | None = frame
    while at is not None:
        if at.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        at = at.f_back
    return False


def place_of(frame: FrameType) -> Place:
    """The line that runs in a frame; its file as seen from here, if it is below."""
    path = frame.f_code.co_filename
    here = f"{Path.cwd()}/"
    name = path.removeprefix(here) if sys.platform != "win32" else path
    return Place(name, frame.f_lineno, frame.f_code.co_qualname)
