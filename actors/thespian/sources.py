"""Actor sources that are loaded while the system runs: zip files, known by their hash."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import structlog
from thespian.actors import LoadedSource, UnloadedSource, ValidatedSource, ValidateSource
from thespian.system.sourceLoader import SourceHashFinder

if TYPE_CHECKING:
    from palaver.actors.thespian.address import Address

__all__ = ["Sources", "read_source"]

log = structlog.get_logger("palaver.actors.thespian")

Tell = Callable[["Address", Any], None]


def read_source(source: str | IO[bytes]) -> tuple[str, bytes]:
    """The hash and the content of a file, or of what can be read like one. Raises `OSError`."""
    data = Path(source).read_bytes() if isinstance(source, str | Path) else source.read()
    # Thespian's name for a source, not a protection: that is the source authority's task.
    return hashlib.md5(data, usedforsecurity=False).hexdigest(), data


class Sources:
    """What one system has loaded.

    Nothing is loaded unless an actor has registered as the source authority and has answered
    `ValidateSource` with the zip file's content: that is Thespian's protection, and the only one.
    """

    __slots__ = ("_tell", "_used", "authority", "watchers", "zips")

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.zips: dict[str, bytes] = {}
        self.authority: Address | None = None
        self.watchers: dict[Address, None] = {}
        # How many actors run code of a source: its modules stay until the last has exited.
        self._used: dict[str, int] = {}

    def offer(self, source_hash: str, data: bytes) -> None:
        """Ask the authority; without one, the source is dropped."""
        if self.authority is None:
            log.warning("no source authority: the source is not loaded", source_hash=source_hash)
        else:
            self._tell(self.authority, ValidateSource(source_hash, data))

    def validated(self, answer: ValidatedSource) -> None:
        """The authority has answered: load the source, unless it was rejected or is no zip file."""
        if not answer.sourceZip:
            log.warning("the source authority rejects a source", source_hash=answer.sourceHash)
            return
        try:
            SourceHashFinder(answer.sourceHash, lambda data: data, answer.sourceZip).getZipNames()
        except Exception as error:  # noqa: BLE001 - whatever zipfile makes of foreign bytes
            log.warning("a source is corrupt", source_hash=answer.sourceHash, reason=str(error))
            return
        self.zips[answer.sourceHash] = answer.sourceZip
        for watcher in self.watchers:
            self._tell(watcher, LoadedSource(answer.sourceHash, answer.sourceInfo or ""))

    def watch(self, watcher: Address, enable: bool) -> None:
        """Tell this actor what is loaded, now and from now on; or no more."""
        if not enable:
            self.watchers.pop(watcher, None)
            return
        self.watchers[watcher] = None
        for source_hash in list(self.zips):  # other systems add to it
            self._tell(watcher, LoadedSource(source_hash, ""))

    def unloaded(self, source_hash: str) -> None:
        """The source has been taken out of `zips`: say so, and forget its modules if unused."""
        for watcher in self.watchers:
            self._tell(watcher, UnloadedSource(source_hash, ""))
        if source_hash not in self._used:
            forget_modules(source_hash)

    def use(self, source_hash: str) -> None:
        """One more actor runs this source."""
        self._used[source_hash] = self._used.get(source_hash, 0) + 1

    def release(self, source_hash: str) -> None:
        """An actor that ran this source has exited."""
        left = self._used.pop(source_hash, 1) - 1
        if left:
            self._used[source_hash] = left
        elif source_hash not in self.zips:
            forget_modules(source_hash)

    def close(self) -> None:
        """The system ends: forget every module that it has loaded."""
        for source_hash in dict.fromkeys((*self.zips, *self._used)):
            forget_modules(source_hash)
        self.zips.clear()
        self.watchers.clear()
        self.authority = None
        self._used.clear()


def forget_modules(source_hash: str) -> None:
    """Take the modules of a source, and the finder that Thespian made for it, out of Python's."""
    for finder in list(sys.meta_path):
        if getattr(finder, "srcHash", None) == source_hash:
            sys.meta_path.remove(finder)
    root = "{{" + source_hash + "}}"
    for name in [name for name in sys.modules if name.startswith(root)]:
        del sys.modules[name]
