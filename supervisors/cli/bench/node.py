"""A Palaver node under test: `palaver serve` as a child process, its users imported beforehand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from palaver.supervisors.cli.bench.children import BenchFailed, Child
from palaver.supervisors.cli.bench.identities import account, write_import

_COMMAND = (sys.executable, "-m", "palaver.supervisors.cli")
_START_TIMEOUT_S = 60.0
_IMPORT_TIMEOUT_S = 300.0
_BATCH = re.compile(
    r'^palaver_commit_batch_commands_bucket\{[^}]*le="([^"]+)"[^}]*\} ([0-9.e+]+)$', re.MULTILINE
)


class PalaverNode:
    """One node, one partition, one gateway, as its defaults are."""

    name = "palaver"
    engine = "palaver"

    def __init__(self, folder: Path, users: int, cores: frozenset[int]) -> None:
        """Prepare a node whose data lies in a folder, with load users 0 .. users - 1."""
        self._folder = folder
        self._users = users
        self._cores = cores
        self._child: Child | None = None
        self._where: dict[str, Any] = {}
        self._devices = folder / "devices.json"

    @property
    def endpoint(self) -> dict[str, Any]:
        """Host, port, and the file with the number of each user's device."""
        url = urlsplit(self._where["ws"])
        return {"host": url.hostname, "port": url.port, "devices": str(self._devices)}

    @property
    def pid(self) -> int:
        """The node's process."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        """Start the node (the first time: import its users) and wait until it is up."""
        data = self._folder / "data"
        if not self._devices.exists():
            data.mkdir(parents=True, exist_ok=True)
            self._import_users(data)
        announce = self._folder / "announce.json"
        announce.unlink(missing_ok=True)
        self._child = Child(
            [
                *(*_COMMAND, "serve", "--data", str(data), "--host", "127.0.0.1", "--port", "0"),
                *("--admin-port", "0", "--announce", str(announce), "--log-level", "warning"),
            ],
            cores=self._cores,
            log_path=self._folder / "output.log",
            env=self._environment(),
            cwd=self._folder,
        )
        self._child.wait_until(announce.exists, timeout_s=_START_TIMEOUT_S, what="palaver serve")
        self._where = json.loads(announce.read_text())

    def _import_users(self, data: Path) -> None:
        records = self._folder / "users.jsonl"
        write_import(records, range(self._users))
        try:
            done = subprocess.run(  # noqa: S603 - this very program
                [*_COMMAND, "user", "import", str(records), "--data", str(data), "--json"],
                capture_output=True,
                env=self._environment(),
                timeout=_IMPORT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"users were not imported in {_IMPORT_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise BenchFailed(f"users were not imported: {said[-1]}")
        found = {each["account"]: each["device"] for each in json.loads(done.stdout)}
        self._devices.write_text(json.dumps([found[account(n)] for n in range(self._users)]))

    @staticmethod
    def _environment() -> dict[str, str]:
        """Return this environment without the settings that somebody may have in it."""
        return {name: v for name, v in os.environ.items() if not name.startswith("PALAVER_")}

    def stop(self) -> None:
        """Let the node drain and end."""
        if self._child is not None:
            child, self._child = self._child, None
            child.stop()

    def kill(self) -> None:
        """End the node with -9."""
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()

    def median_batch(self) -> int | None:
        """Return the upper bound of the metrics' bucket that holds the median commit."""
        try:
            url = f"{self._where['admin'].rstrip('/')}/metrics"
            with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own child on the loopback
                return median_bucket(answer.read().decode())
        except (URLError, OSError, KeyError, AttributeError):
            return None


def median_bucket(metrics: str) -> int | None:
    """Return the upper bound of the commit size's bucket that holds the median commit."""
    buckets: dict[float, float] = {}
    for bound, count in _BATCH.findall(metrics):  # cumulative, a set for each partition
        buckets[float(bound)] = buckets.get(float(bound), 0.0) + float(count)
    commits = max(buckets.values(), default=0.0)
    for bound, below in sorted(buckets.items()):
        if commits and below * 2 >= commits:
            return int(bound) if bound != float("inf") else None
    return None
