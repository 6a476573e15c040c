"""Four threads append and wait until the process is killed; each answer goes to stdout."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from storage_kit import say, talk, u64

from palaver.storage import Outcome, Store

path, life = Path(sys.argv[1]), int(sys.argv[2])
store = Store.open(path, talk, map_size_bytes=1 << 20, max_batch=16, flush_ms=1)


def acknowledge(thread: int, number: int, results: list[object]) -> None:
    (result,) = results
    assert isinstance(result, Outcome)
    os.write(1, f"{thread} {number} {result.value}\n".encode())


def work(thread: int) -> None:
    number = life * 1_000_000
    while True:
        number += 1
        command = say(number, u64(thread), bytes(number * 37 % 3000))
        if number % 3:
            acknowledge(thread, number, store.apply_now(0, [command]))
        else:  # by `done`, whoever makes it durable
            store.append(0, [command], lambda r, n=number: acknowledge(thread, n, r))


for me in range(4):
    threading.Thread(target=work, args=(me,), daemon=True).start()
threading.Event().wait()
