"""Many callers at once: threads, and coroutines of one loop, each doing one thing after another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import TypeVar

from palaver.supervisors.cli.bench.runtime.results import Result, Watch, WorkFailed
from palaver.supervisors.cli.bench.stats import percentile
from palaver.supervisors.cli.bench.tables.adapter import Job

Item = TypeVar("Item")


def from_threads(do: Callable[[Item], object], items: Sequence[Item], job: Job) -> Result:
    """Let `width` threads do items until none is left or the time is up."""
    left = iter(items)
    times: list[float] = []
    failures: list[BaseException] = []
    begun = threading.Barrier(job.width + 1)
    ends = 0.0

    def caller() -> None:
        begun.wait()
        try:
            then = perf_counter()
            for item in left:  # every item goes to one of them
                do(item)
                now = perf_counter()
                times.append(now - then)
                then = now
                if now >= ends:
                    return
        except BaseException as failure:  # noqa: BLE001 - raised again by the one who waits
            failures.append(failure)

    threads = [threading.Thread(target=caller, daemon=True) for _ in range(job.width)]
    for thread in threads:
        thread.start()
    watch = Watch()
    ends = perf_counter() + job.limit_s
    begun.wait()
    for thread in threads:
        thread.join()
    return _result(watch.stop(len(times)), times, failures)


async def from_tasks(
    do: Callable[[Item], Awaitable[object]], items: Sequence[Item], job: Job
) -> Result:
    """Let `width` tasks do items until none is left or the time is up."""
    left = iter(items)
    times: list[float] = []
    watch = Watch()
    ends = perf_counter() + job.limit_s

    async def caller() -> None:
        then = perf_counter()
        for item in left:
            await do(item)
            now = perf_counter()
            times.append(now - then)
            then = now
            if now >= ends:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(job.width):
            group.create_task(caller())
    return _result(watch.stop(len(times)), times, ())


def _result(result: Result, times: list[float], failures: Sequence[BaseException]) -> Result:
    if failures:
        raise WorkFailed(f"{type(failures[0]).__name__}: {failures[0]}") from failures[0]
    result["p50_us"] = percentile(times, 0.5) * 1e6
    result["p99_us"] = percentile(times, 0.99) * 1e6
    return result
