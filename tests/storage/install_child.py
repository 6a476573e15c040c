"""Installs a snapshot or clears a partition, and is killed at the n-th step that touches files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage_kit import talk

from palaver.storage import SnapshotInfo, Store
from palaver.storage import folder as store_folder

path, source, info, last = sys.argv[1:5]
store = Store.open(path, talk)
steps = 0


def counted(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    def step(*args: Any, **options: Any) -> Any:
        global steps
        if steps == int(last):
            os.write(1, f"{name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        return do(*args, **options)

    return step


# Each renaming, removal and making durable is one step.
Path.rename = counted("rename", Path.rename)  # type: ignore[method-assign]
shutil.rmtree = counted("rmtree", shutil.rmtree)  # type: ignore[assignment]
store_folder.sync_folder = counted("sync", store_folder.sync_folder)
Path.mkdir = counted("mkdir", Path.mkdir)  # type: ignore[method-assign]
if source:
    store.install(0, source, SnapshotInfo(**json.loads(info)))
else:
    store.clear(0)
os.write(1, b"finished\n")
