"""Which streams a node's replicas have followed: kept in a file beside them.

A replica's position means something only in the stream that it followed. So the identities of the
streams lie with the replicas: who wipes the one wipes the other.

The file is JSON: `{"format": 1, "journals": {"0": "<identity>", ...}}`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from palaver.storage.errors import StoreCorrupt, StoreVersion
from palaver.storage.folder import sync_folder

__all__ = ["JournalIdentities"]

_FORMAT: Final = 1


class JournalIdentities:
    """The identities of the journals that this node has followed.

    Args:
        path: of the file; it is made when there is something to remember.

    Raises:
        StoreCorrupt, StoreVersion: the file is not what this wrote.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)

    def get(self, partition: int) -> str | None:
        """Return the identity of a partition's journal, None if none was followed yet."""
        return self._known.get(partition)

    def remember(self, partition: int, identity: str) -> None:
        """Keep an identity; on the disk when this returns. An `OSError` if it cannot be."""
        if self._known.get(partition) == identity:
            return
        known = {**self._known, partition: identity}
        self._write(known)
        self._known = known

    def forget(self, partition: int) -> None:
        """Follow any journal from now on: the partition's replica has been wiped."""
        if partition in self._known:
            known = {number: text for number, text in self._known.items() if number != partition}
            self._write(known)
            self._known = known

    def _write(self, known: dict[int, str]) -> None:
        beside = self._path.with_suffix(".new")
        text = json.dumps({"format": _FORMAT, "journals": {str(n): i for n, i in known.items()}})
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        sync_folder(self._path.parent)


def _read(path: Path) -> dict[int, str]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != _FORMAT:
            raise StoreVersion(path, "the list of journals", int(said["format"]), _FORMAT)
        return {int(number): str(identity) for number, identity in said["journals"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        advice = "remove it only together with this node's replicas: it says what they follow"
        raise StoreCorrupt(path, f"it does not name journals ({error})", advice) from error
