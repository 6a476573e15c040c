"""`palaver bench chat`: what is measured, in which order, and which figures come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from palaver.supervisors.cli.bench.children import BenchFailed, run_worker
from palaver.supervisors.cli.bench.ejabberd import Ejabberd, find_ejabberd
from palaver.supervisors.cli.bench.floors import EchoServer
from palaver.supervisors.cli.bench.node import PalaverNode
from palaver.supervisors.cli.bench.procfs import Cores
from palaver.supervisors.cli.bench.report import Tell
from palaver.supervisors.cli.bench.servers import Server
from palaver.supervisors.cli.bench.stats import Better, Figure, Summary

Samples = dict[str, list[float]]
"""The rounds of each figure, by the figure's name."""

PAIRS = 100
WINDOW = 10
OFFLINE_PAIRS = 200
"""Users who are away: a hundred messages wait for each when 20,000 are stored."""
FIRST_SPARE_USER = 2 * OFFLINE_PAIRS
"""Users from this number on only log in."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: counts and times (seconds) of the rounds."""

    steady_rounds: int = 5
    steady_round_s: float = 4.0
    warmup_s: float = 2.0
    idle_steps: tuple[int, ...] = (1000, 5000)
    idle_rounds: int = 3
    offline_messages: int = 20_000
    offline_rounds: int = 3
    logins: int = 1000
    login_rounds: int = 5
    kill_messages: int = 20_000
    floor_rounds: int = 5
    floor_round_s: float = 2.0
    floor_idle: int = 1000
    settle_s: float = 1.0
    quiet_s: float = 3.0
    """After a kill: what has not come when nothing came for so long is lost."""

    @property
    def users(self) -> int:
        """How many users a server needs."""
        return FIRST_SPARE_USER + max(*self.idle_steps, self.logins)


FULL = Plan()
QUICK = Plan(
    steady_rounds=3,
    steady_round_s=1.2,
    warmup_s=0.6,
    idle_steps=(1000,),
    idle_rounds=1,
    offline_messages=4000,
    offline_rounds=1,
    logins=300,
    login_rounds=2,
    kill_messages=4000,
    floor_rounds=3,
    floor_round_s=0.5,
    settle_s=0.4,
    quiet_s=2.0,
)

SHOWN: tuple[tuple[str, str, Better, str], ...] = (
    ("server_cpu_us_per_message", "us", "lower", "at saturation; receiver has acknowledged"),
    ("messages_per_s", "1/s", "higher", "at saturation: 100 pairs, 10 in flight each"),
    ("send_ack_p50_ms", "ms", "lower", "at half of saturation, paced"),
    ("send_ack_p99_ms", "ms", "lower", "at half of saturation, paced"),
    ("deliver_p50_ms", "ms", "lower", "at half of saturation, paced"),
    ("deliver_p99_ms", "ms", "lower", "at half of saturation, paced"),
    ("idle_connection_kb", "KB", "lower", "anonymous memory, at the most connections measured"),
    ("offline_store_per_s", "1/s", "higher", "to users who are away, acknowledged as stored"),
    ("offline_drain_per_s", "1/s", "higher", "from login to the last acknowledgement"),
    ("logins_per_s", "1/s", "higher", "connect, authenticate, ready; 32 at a time"),
    ("acked_lost_on_kill", "messages", "zero", "of those acknowledged before a kill -9"),
    ("send_ack_p50_ms_saturated", "ms", "lower", ""),
    ("send_ack_p99_ms_saturated", "ms", "lower", ""),
    ("deliver_p50_ms_saturated", "ms", "lower", ""),
    ("deliver_p99_ms_saturated", "ms", "lower", ""),
    ("server_cpu_us_per_message_half", "us", "lower", "at half of saturation"),
    ("half_load_per_s", "1/s", "higher", "delivered at half of saturation"),
    (
        "half_load_followed",
        "share",
        "higher",
        "well below 1: it fell behind, times are its backlog",
    ),
    ("idle_connection_kb_at_1000", "KB", "lower", "anonymous memory"),
    ("offline_store_cpu_us", "us", "lower", "server CPU for each message"),
    ("offline_drain_cpu_us", "us", "lower", "server CPU for each message, logins included"),
    ("login_cpu_us", "us", "lower", "server CPU for each login"),
    ("client_cpu_us_per_message", "us", "lower", "the load client itself, at saturation"),
    ("floor_echo_cpu_us", "us", "lower", "bare websockets: 200 bytes in and out"),
    ("floor_echo_per_s", "1/s", "higher", "bare websockets"),
    ("floor_echo_idle_kb", "KB", "lower", "bare websockets, 1,000 connections"),
    ("floor_lmdb_puts_per_s", "1/s", "higher", "bare LMDB, the server's median batch, fsynced"),
    ("floor_lmdb_commits_per_s", "1/s", "higher", "bare LMDB, the server's median batch, fsynced"),
)
"""The figures in the order shown: name, unit, which way is better, about."""

_BESIDE: dict[str, tuple[str, str]] = {
    "server_cpu_us_per_message": ("floor_websockets", "floor_echo_cpu_us"),
    "messages_per_s": ("floor_lmdb", "floor_lmdb_puts_per_s"),
    "offline_store_per_s": ("floor_lmdb", "floor_lmdb_puts_per_s"),
    "idle_connection_kb": ("floor_websockets", "floor_echo_idle_kb"),
    "idle_connection_kb_at_1000": ("floor_websockets", "floor_echo_idle_kb"),
}
"""The floor that stands beside a figure: its name there, and the figure it is."""


@dataclass(slots=True)
class Bench:
    """One run: the plan, where it lies, and the counter that keeps message numbers apart."""

    plan: Plan
    folder: Path
    cores: Cores
    tell: Tell
    pairs: int = PAIRS
    offline_pairs: int = OFFLINE_PAIRS
    _epoch: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, *, ejabberd: bool) -> list[Figure]:
        """Measure Palaver, the floors and, if asked for and installed, ejabberd.

        Raises:
            BenchFailed: when Palaver or a floor cannot be measured. What goes wrong with a
                peer is kept in `left_out` instead.
        """
        node = PalaverNode(self._room("palaver"), self.plan.users, self.cores.server)
        ours, batch = self.measure(node)
        ours |= self.floors(batch or 64)
        others: dict[str, Samples] = {}
        if ejabberd:
            others |= self.measure_ejabberd()
        return figures(ours, others)

    def _room(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def _running(self, server: Server) -> Iterator[Server]:
        self.tell(f"{server.name}: starting")
        try:
            server.start()  # one that does not come up in time is ended too
            yield server
        finally:
            server.stop()

    def work(
        self, server: Server, scenario: str, timeout_s: float, *, advance: bool = True, **job: Any
    ) -> list[dict[str, float]]:
        """Run one scenario in a load client process and return its rounds."""
        if advance:
            self._epoch += 1
        asked = {
            "scenario": scenario,
            "engine": server.engine,
            "endpoint": server.endpoint,
            "server_pid": server.pid,
            "epoch": self._epoch,
            "timeout_s": timeout_s,
            "settle_s": self.plan.settle_s,
            "pairs": self.pairs,
            "window": WINDOW,
            **job,
        }
        found: list[dict[str, float]] = run_worker(
            asked, cores=self.cores.load, timeout_s=timeout_s + 10
        )
        # Scenarios of several rounds use an epoch for each.
        self._epoch += int(job.get("rounds", 1)) - 1 if advance else 0
        return found

    def measure(self, server: Server) -> tuple[Samples, int | None]:
        """Put a server through everything; returns its rounds and its median commit, if any."""
        samples: Samples = {}
        for number in range(self.plan.idle_rounds):
            with self._running(server):
                self._idle(server, samples)
                if number < self.plan.idle_rounds - 1:
                    continue  # a fresh process for each round of memory
                self._steady(server, samples)
                batch = server.median_batch()
                self._logins(server, samples)
                self._offline(server, samples)
                self._store_and_kill(server)
        with self._running(server):
            self._collect(server, samples)
        return samples, batch

    def _idle(self, server: Server, samples: Samples) -> None:
        steps = self.plan.idle_steps
        self.tell(f"{server.name}: memory of {steps[-1]} idle connections")
        (found,) = self.work(
            server,
            "idle",
            180,
            first_user=FIRST_SPARE_USER,
            warmup_logins=min(50, steps[0]),
            steps=list(steps),
        )
        for step in steps:
            name = f"idle_connection_kb_at_{step}"
            samples.setdefault(name, []).append(found[f"anonymous_kb_at_{step}"])
        samples["idle_connection_kb"] = samples[f"idle_connection_kb_at_{steps[-1]}"]

    def _steady(self, server: Server, samples: Samples) -> None:
        plan = self.plan
        timing: dict[str, Any] = {
            "warmup_s": plan.warmup_s,
            "rounds": plan.steady_rounds,
            "round_s": plan.steady_round_s,
        }
        allowed_s = 60 + 2 * plan.steady_rounds * plan.steady_round_s
        self.tell(f"{server.name}: saturation, {self.pairs} pairs with {WINDOW} in flight")
        rounds = self.work(server, "steady", allowed_s, **timing)
        latencies = ("send_ack_p50_ms", "send_ack_p99_ms", "deliver_p50_ms", "deliver_p99_ms")
        for name in ("messages_per_s", "server_cpu_us_per_message", "client_cpu_us_per_message"):
            samples[name] = [each[name] for each in rounds]
        for name in latencies:
            samples[f"{name}_saturated"] = [each[name] for each in rounds]
        rate = median(samples["messages_per_s"]) / 2
        self.tell(f"{server.name}: half of that, {rate:.0f} messages/s")
        rounds = self.work(server, "steady", allowed_s, rate=rate, **timing)
        for name in latencies:
            samples[name] = [each[name] for each in rounds]
        samples["half_load_per_s"] = [each["messages_per_s"] for each in rounds]
        samples["half_load_followed"] = [each["messages_per_s"] / rate for each in rounds]
        samples["server_cpu_us_per_message_half"] = [
            each["server_cpu_us_per_message"] for each in rounds
        ]

    def _logins(self, server: Server, samples: Samples) -> None:
        plan = self.plan
        self.tell(f"{server.name}: logins")
        rounds = self.work(
            server,
            "logins",
            120,
            first_user=FIRST_SPARE_USER,
            logins=plan.logins,
            rounds=plan.login_rounds,
        )
        samples["logins_per_s"] = [each["logins_per_s"] for each in rounds]
        samples["login_cpu_us"] = [each["server_cpu_us_per_login"] for each in rounds]

    def _offline(self, server: Server, samples: Samples) -> None:
        plan = self.plan
        self.tell(f"{server.name}: {plan.offline_messages} messages to users who are away")
        rounds = self.work(
            server,
            "offline",
            60 + 60 * plan.offline_rounds,
            messages=plan.offline_messages,
            rounds=plan.offline_rounds,
            pairs=self.offline_pairs,
        )
        for part in ("store", "drain"):
            samples[f"offline_{part}_per_s"] = [r[f"{part}_messages_per_s"] for r in rounds]
            samples[f"offline_{part}_cpu_us"] = [
                r[f"{part}_server_cpu_us_per_message"] for r in rounds
            ]

    def _store_and_kill(self, server: Server) -> None:
        count = self.plan.kill_messages
        self.tell(f"{server.name}: kill -9 after {count} acknowledged messages")
        self.work(server, "kill_after", 120, messages=count, pairs=self.offline_pairs)
        server.kill()  # already dead: this takes note of it

    def _collect(self, server: Server, samples: Samples) -> None:
        self.tell(f"{server.name}: what is left after the kill")
        count = self.plan.kill_messages
        job = {"messages": count, "pairs": self.offline_pairs, "quiet_s": self.plan.quiet_s}
        rounds = self.work(server, "collect", 120, advance=False, **job)
        samples["acked_lost_on_kill"] = [each["lost"] for each in rounds]

    def floors(self, batch: int) -> Samples:
        """Measure bare `websockets` and bare LMDB with `batch` puts in a commit."""
        plan, folder = self.plan, self._room("floors")
        common = {
            "engine": "floor",
            "rounds": plan.floor_rounds,
            "round_s": plan.floor_round_s,
            "warmup_s": 0.3,
            "settle_s": plan.settle_s,
            "timeout_s": 60,
        }
        self.tell("floor: bare websockets")
        server = EchoServer(folder, self.cores.server)
        try:
            job = {"scenario": "echo", "server_pid": server.pid, "endpoint": {"port": server.port}}
            job |= {"pairs": self.pairs, "window": WINDOW, "idle": plan.floor_idle}
            echoes = run_worker(common | job, cores=self.cores.load, timeout_s=90)
        finally:
            server.stop()
        self.tell(f"floor: bare LMDB, {batch} puts in a commit")
        job = {"scenario": "commits", "server_pid": 0, "batch": batch, "folder": str(folder)}
        puts = run_worker(common | job, cores=self.cores.server, timeout_s=90)
        return {
            "floor_echo_cpu_us": [each["server_cpu_us_per_echo"] for each in echoes],
            "floor_echo_per_s": [each["echos_per_s"] for each in echoes],
            "floor_echo_idle_kb": [each["idle_kb"] for each in echoes[:1]],
            "floor_lmdb_puts_per_s": [each["puts_per_s"] for each in puts],
            "floor_lmdb_commits_per_s": [each["commits_per_s"] for each in puts],
        }

    def measure_ejabberd(self) -> dict[str, Samples]:
        """Measure ejabberd, with stream management and again with receipts (XEP-0184) too."""
        installed = find_ejabberd()
        if isinstance(installed, str):
            self.left_out["ejabberd"] = installed
            self.tell(f"left out: {installed}")
            return {}
        server = Ejabberd(installed, self._room("ejabberd"), self.plan.users, self.cores.server)
        found: dict[str, Samples] = {}
        try:
            found["ejabberd"], _ = self.measure(server)
            server.receipts = True
            samples: Samples = {}
            with self._running(server):
                self._steady(server, samples)
            found["ejabberd_receipts"] = samples
        except BenchFailed as error:
            self.left_out["ejabberd"] = str(error)
            self.tell(f"left out: {error}")
        return found


def figures(ours: Samples, others: Mapping[str, Samples]) -> list[Figure]:
    """Put the rounds together as figures, each beside its peers and its floor."""
    found: list[Figure] = []
    for name, unit, better, about in SHOWN:
        if name not in ours:
            continue
        figure = Figure(name, unit, better, Summary.of(ours[name]), about)
        for peer, samples in others.items():
            if name in samples:
                figure.others[peer] = Summary.of(samples[name])
        if name in _BESIDE and _BESIDE[name][1] in ours:
            floor, beside = _BESIDE[name]
            figure.others[floor] = Summary.of(ours[beside])
        found.append(figure)
    return found
