from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from palaver.supervisors.cli.bench import procfs
from palaver.supervisors.cli.bench.children import BenchFailed, Child

STAT = (
    "4711 (name (with) 9 brackets) S 1 4711 4711 0 -1 4194304 100 0 0 0 "
    "123 45 6 7 20 0 1 0 100 1000000 500 18446744073709551615"
)
ROLLUP = """\
555555554000-7ffffffff000 ---p 00000000 00:00 0 [rollup]
Rss:               92636 kB
Pss:               80000 kB
Anonymous:         70001 kB
Swap:                  0 kB
"""


def test_cpu_ticks_are_user_and_system_time() -> None:
    assert procfs.parse_cpu_ticks(STAT) == 123 + 45


def test_memory_is_read_from_a_rollup() -> None:
    assert procfs.parse_memory(ROLLUP) == procfs.Memory(92636, 70001)


def test_a_rollup_without_numbers_counts_nothing() -> None:
    assert procfs.parse_memory("") == procfs.Memory(0, 0)


def test_work_is_accounted() -> None:
    before = procfs.cpu_us(os.getpid())
    while procfs.cpu_us(os.getpid()) < before + 2 * procfs.TICK_US:
        sum(range(100_000))


def test_memory_of_this_process_grows_with_what_it_holds() -> None:
    before = procfs.memory(os.getpid()).anonymous_kb
    held = bytearray(b"x" * (64 << 20))
    assert procfs.memory(os.getpid()).anonymous_kb > before + (32 << 10)
    del held


def test_a_process_that_is_gone_counts_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert procfs.cpu_us(gone.pid) == 0
    assert procfs.memory(gone.pid) == procfs.Memory(0, 0)


def test_children_are_part_of_the_tree() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert child.pid in procfs.process_tree(os.getpid())
        assert child.stdin is not None
        child.stdin.close()


def test_a_pinned_child_stays_pinned_and_we_do_not(tmp_path: Path) -> None:
    cores = procfs.Cores.choose()
    before = os.sched_getaffinity(0)
    log = tmp_path / "log"
    program = "import os, sys; print(sorted(os.sched_getaffinity(0)), flush=True); sys.stdin.read()"
    child = Child([sys.executable, "-c", program], cores=cores.server, log_path=log)
    child.process.wait(20)
    assert log.read_text().strip() == str(sorted(cores.server))
    assert os.sched_getaffinity(0) == before
    child.stop()


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "print('no such file'); raise SystemExit(3)"],
        cores=procfs.Cores.choose().server,
        log_path=tmp_path / "log",
    )
    with pytest.raises(BenchFailed, match="ended with 3: no such file"):
        child.wait_until(lambda: False, timeout_s=20, what="it")
    child.kill()


def test_a_server_that_does_not_come_up_is_ended(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        cores=procfs.Cores.choose().server,
        log_path=tmp_path / "log",
    )
    with pytest.raises(BenchFailed, match="was not up"):
        child.wait_until(lambda: False, timeout_s=0.05, what="it")
    child.stop()
    assert child.process.returncode is not None


def test_the_machine_is_described(tmp_path: Path) -> None:
    found = procfs.machine(procfs.Cores.choose(), tmp_path)
    assert found["cores"] == os.cpu_count()
    assert {"processor", "python", "system", "versions", "server_cores", "load_cores"} <= set(found)
