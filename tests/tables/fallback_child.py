"""Dies at every step of installing a fallback, or of bringing it in: one folder for each death.

A fork for each: the n-th of them kills itself before the n-th time that it changes a folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from palaver.storage import folder
from palaver.storage.tables import Database


def dying(function: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    """Return the function; it kills the process when nothing is left."""

    def die_or_do(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    return die_or_do


def arm(steps: int) -> None:
    left = [steps]
    for place, names in (
        (Path, ("rename", "unlink", "mkdir")),
        (folder, ("sync_folder", "sync_tree")),
        (shutil, ("rmtree",)),
    ):
        for name in names:
            setattr(place, name, dying(getattr(place, name), left))


def work(place: Path, backup: Path, what: str, steps: int) -> None:
    if what == "bring_in":
        arm(steps)
        Database.open(place).close()
    else:
        with Database.open(place) as db:
            arm(steps)
            db.install_fallback(backup, partitions=4)


def main() -> None:
    template, out, backup, what = (
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        Path(sys.argv[3]),
        sys.argv[4],
    )
    for steps in count():
        place = out / str(steps)
        shutil.copytree(template, place)
        pid = os.fork()
        if not pid:
            work(place, backup, what, steps)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            print(os.waitstatus_to_exitcode(status))
            return


main()
