"""What the operating system says about processes and the machine (Linux, /proc)."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
"""Microseconds in one tick of the kernel's CPU accounting (10,000 on most machines)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one or several processes, in KB."""

    resident_kb: int
    anonymous_kb: int
    """Private memory no file backs: heaps. Without mapped data files and kernel memory."""


def parse_cpu_ticks(stat: str) -> int:
    """Return utime + stime, in ticks, from the text of /proc/PID/stat."""
    # The command's name is in brackets and may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def parse_memory(rollup: str) -> Memory:
    """Return resident and anonymous memory from the text of /proc/PID/smaps_rollup."""
    found: dict[str, int] = {}
    for line in rollup.splitlines():
        name, colon, rest = line.partition(":")
        words = rest.split()
        if colon and len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0])
    return Memory(found.get("Rss", 0), found.get("Anonymous", 0))


def process_tree(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
    return found


def cpu_us(pid: int) -> float:
    """Return the CPU microseconds a process and its living descendants have used.

    Resolution is one kernel tick. A process that has just gone counts nothing.
    """
    ticks = 0
    for each in process_tree(pid):
        with suppress(OSError):
            ticks += parse_cpu_ticks(Path(f"/proc/{each}/stat").read_text())
    return ticks * TICK_US


def memory(pid: int) -> Memory:
    """Return the memory of a process and its living descendants."""
    resident = anonymous = 0
    for each in process_tree(pid):
        with suppress(OSError):
            found = parse_memory(Path(f"/proc/{each}/smaps_rollup").read_text())
            resident += found.resident_kb
            anonymous += found.anonymous_kb
    return Memory(resident, anonymous)


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores a benchmark uses: one for the server, another for the load."""

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def choose(cls) -> Cores:
        """Take the first core for the server and the second for the load, where there are two."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            return cls(frozenset(allowed), frozenset(allowed))
        return cls(frozenset(allowed[:1]), frozenset(allowed[1:2]))

    @staticmethod
    def all() -> frozenset[int]:
        """Return every core that this process may use."""
        return frozenset(os.sched_getaffinity(0))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Pin this thread for the duration; children started meanwhile inherit it for good."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Allow as many open files as the system lets us, and return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # slow, and seldom needed

    found: dict[str, str] = {}
    for name in ("palaver", "websockets", "lmdb", "cbor2", "uvloop"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def machine(cores: Cores, data_dir: Path) -> dict[str, object]:
    """Describe where the figures were measured."""
    disk = os.statvfs(data_dir)
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "server_cores": sorted(cores.server),
        "load_cores": sorted(cores.load),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "free_disk_gb": disk.f_bavail * disk.f_frsize >> 30,
        "load_average": round(os.getloadavg()[0], 2),
        "versions": _versions(),
        "command": " ".join(["palaver", *sys.argv[1:]]),
    }
