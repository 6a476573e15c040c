"""kill -9 of writing processes at random moments, life after life in the same folder.

    python killing.py [ROUNDS] [SEED]

says after each hundred rounds how far it is, and ends with 1 if anything was lost or torn.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bank_story import Content
from bank_teller import content_of, index_problems, open_bank
from crash_scenarios import scratch
from database_judge import DatabaseJudge, numbers
from judgement import LostError, TornError
from store_judge import StoreJudge

from palaver.storage import StoreError
from palaver.storage.tables.archives.format import inspect

HERE = Path(__file__).parent
MAX_BYTES = 12_000
"""Of acknowledgements in a life."""


def one_life(command: list[str], folder: Path, wanted: int) -> list[str]:
    """Let a process live until it has said `wanted` bytes; return the lines it had completed.

    The moment is drawn in bytes, not in seconds, so that each kind of moment comes up on a fast and
    on a slow machine alike. With 0 it is killed as soon as there is a folder.
    """
    with subprocess.Popen(
        [sys.executable, *command], cwd=HERE, stdout=subprocess.PIPE, bufsize=0
    ) as child:
        assert child.stdout is not None
        received = b""
        if not wanted:
            while not folder.exists() and child.poll() is None:
                time.sleep(0)
        while len(received) < wanted:
            chunk = child.stdout.read(4096)
            if not chunk:
                raise AssertionError(f"{command} ended by itself")
            received += chunk
        child.send_signal(signal.SIGKILL)
        received += child.stdout.read()
    return received.rpartition(b"\n")[0].decode().splitlines()


class StoreLives:
    """Lives of a bare store with two partitions, which also makes backups."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.seed = seed
        self.judge = StoreJudge(seed)
        self.notes: list[str] = []
        self.number = 0

    def live(self, wanted: int) -> None:
        """Live once, and look at what is left."""
        self.number += 1
        command = ["store_child.py", "endless", str(self.root), str(self.seed), str(self.number)]
        told = one_life(command, self.root / "store", wanted)
        self.judge.judge(self.root, [*self.notes, *told])
        for backup in self.root.glob("backup-*"):
            shutil.rmtree(backup)
        # What was acknowledged last covers what was acknowledged before.
        self.notes = [*self.notes, *(note for note in told if note.startswith("acked "))][-200:]


class DatabaseLives:
    """Lives of a database; each tells a story of its own, on top of what the last one has left."""

    def __init__(self, root: Path, seed: int, partitions: int) -> None:
        self.root = root
        self.seed = seed
        self.partitions = partitions
        self.content: Content = {}

    def live(self, wanted: int) -> None:
        """Live once, and look at what is left."""
        self.seed += 1
        arguments = [str(self.root), str(self.seed), "0", str(self.partitions)]
        told = one_life(["database_child.py", "endless", *arguments], self.root / "bank", wanted)
        judge = DatabaseJudge(self.seed, self.partitions, self.content)
        acked, begun = numbers(told)
        try:
            with open_bank(self.root / "bank", self.partitions) as db:
                content = content_of(db)
                judge.compare(content, acked, begun + 1)
                for problem in index_problems(db, content):
                    raise TornError(problem)
        except StoreError as error:
            raise TornError(f"{type(error).__name__}: {error}") from error
        self.content = content
        for backup in self.root.glob("backup-*"):
            if not backup.name.endswith(".part"):  # it has its name when it is complete
                inspect(backup)
            backup.unlink()


Lives = StoreLives | DatabaseLives


def lives(root: Path, seed: int) -> list[Lives]:
    """Return one of each kind, each in a folder of its own."""
    kinds: list[Callable[[Path], Lives]] = [
        lambda place: StoreLives(place, seed),
        lambda place: DatabaseLives(place, seed, 1),
        lambda place: DatabaseLives(place, seed, 4),
    ]
    made = []
    for number, kind in enumerate(kinds):
        place = root / str(number)
        place.mkdir()
        made.append(kind(place))
    return made


def kill(rounds: int, seed: int, root: Path, progress: Callable[[int], None]) -> None:
    """Do so many rounds, in turn over the kinds; raise LostError or TornError."""
    chance = random.Random(seed)
    kinds = lives(root, seed)
    for number in range(rounds):
        early = number < 2 * len(kinds) or chance.random() < 0.05
        kinds[number % len(kinds)].live(0 if early else chance.randrange(1, MAX_BYTES))
        progress(number + 1)


def main() -> int:
    """Run from the command line."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    print(f"seed {seed}", flush=True)
    root = scratch()
    done = 0

    def progress(number: int) -> None:
        nonlocal done
        done = number
        if number % 100 == 0:
            print(f"{number} rounds", flush=True)

    try:
        kill(rounds, seed, root, progress)
    except (LostError, TornError) as error:
        print(f"{type(error).__name__} in round {done + 1}: {error}; what is left is in {root}")
        return 1
    shutil.rmtree(root)
    print(f"{done} rounds, 0 acked lost, 0 torn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
