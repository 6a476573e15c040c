"""Which life of a node this is: a number that rises with every start of its folder."""

from __future__ import annotations

from pathlib import Path

from palaver.storage import StoreUnusable
from palaver.storage.folder import write_durably

__all__ = ["next_creation"]

_FILE = "creation"


def next_creation(folder: Path, time_ms: int) -> int:
    """Return the number of this start, and note it durably in the node's folder.

    It is the time of the start in unix milliseconds, or one more than the last if a clock was set
    back: so a folder that was emptied does not begin with numbers that others know already.

    Raises:
        StoreUnusable: the note of the last start is damaged.
    """
    file = folder / _FILE
    last = 0
    if file.exists():
        text = file.read_text("ascii", "replace").strip()
        if not text.isdigit():
            raise StoreUnusable(
                f"{file} is damaged: it should hold one number; remove it if this node's clock is "
                "right"
            )
        last = int(text)
    creation = max(time_ms, last + 1)
    write_durably(file, f"{creation}\n".encode())
    return creation
