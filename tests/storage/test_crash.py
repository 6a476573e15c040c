from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from storage_kit import talk, u64

from palaver.storage import Store
from palaver.storage.check import check

HERE = Path(__file__).parent
ROUNDS = 16


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """kill -9 at random points, the first of them while the store is being made."""
    chance = random.Random(7)
    path = tmp_path / "store"
    acknowledged: dict[tuple[int, int, int], int] = {}
    lives = 0
    for life in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "crash_child.py", str(path), str(life)],
            cwd=HERE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert child.stdout is not None
        with child:
            # The moment is drawn in bytes of acknowledgements, so that each kind of moment comes
            # up on a fast and on a slow machine alike; the first lives end before any.
            wanted = 0 if life < 3 else chance.randrange(1, 20_000)
            received = b""
            if not wanted:
                while not path.exists() and child.poll() is None:
                    time.sleep(0)
            while len(received) < wanted:
                chunk = child.stdout.read(4096)
                assert chunk, "the child ended by itself"
                received += chunk
            child.send_signal(signal.SIGKILL)
            received += child.stdout.read()
        complete, _, _ = received.rpartition(b"\n")
        lives += bool(complete)
        for line in complete.splitlines():
            partition, conv, cid, value = map(int, line.split())
            key = (partition, conv, cid)
            assert acknowledged.setdefault(key, value) == value
        if life % 6 == 5 and path.joinpath("tables").exists():
            assert check(path, talk).problems == ()
    assert lives >= ROUNDS - 3
    assert check(path, talk).problems == ()
    store = Store.open(path, talk)
    for (partition, conv, cid), value in acknowledged.items():
        key = u64(conv) + u64(cid)
        assert store.view(partition, lambda txn, key=key: txn.get("client", key)) == u64(value)
    assert len(acknowledged) > 1000
    store.close_now()


def test_threads_without_a_loop_lose_nothing_that_was_answered(tmp_path: Path) -> None:
    chance = random.Random(9)
    path = tmp_path / "store"
    acknowledged: dict[tuple[int, int], int] = {}
    for life in range(5):
        child = subprocess.Popen(
            [sys.executable, "threads_child.py", str(path), str(life)],
            cwd=HERE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert child.stdout is not None
        with child:
            wanted = chance.randrange(500, 20_000)
            received = b""
            while len(received) < wanted:
                chunk = child.stdout.read(4096)
                assert chunk, "the child ended by itself"
                received += chunk
            child.send_signal(signal.SIGKILL)
            received += child.stdout.read()
        complete, _, _ = received.rpartition(b"\n")
        for line in complete.splitlines():
            thread, number, value = map(int, line.split())
            assert acknowledged.setdefault((thread, number), value) == value
    assert check(path, talk).problems == ()
    store = Store.open(path, talk)
    for (thread, number), value in acknowledged.items():
        assert store.peek(0, "client", u64(thread) + u64(number)) == u64(value)
    assert len(acknowledged) > 200
    store.close_now()
