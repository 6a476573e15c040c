"""The works of the engines in Python, over their adapters; Mnesia's are the same in Erlang."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import replace
from itertools import cycle
from time import perf_counter
from typing import Any, TypeVar

from palaver.supervisors.cli.bench.runtime.results import (
    Result,
    Scale,
    Watch,
    WorkFailed,
    check_count,
)
from palaver.supervisors.cli.bench.stats import percentile
from palaver.supervisors.cli.bench.tables.adapter import Adapter, Job
from palaver.supervisors.cli.bench.tables.records import (
    PER_OWNER,
    QUEUES,
    SELECTED_BELOW,
    account,
    chunks,
    message,
    owner_of,
    random_numbers,
)

Work = Callable[[Adapter, Job], Result]
Chunk = TypeVar("Chunk", bound=Sized)

_HANDFUL = 100
"""Operations between two looks at the clock, where one takes about a microsecond."""
_FILL = 1_000


def timed(steps: Iterable[Chunk], do: Callable[[Chunk], object], limit_s: float) -> Result:
    """Do the steps until they are done or the time is up; with the percentiles of their times."""
    ops = 0
    times: list[float] = []
    watch = Watch()
    then = perf_counter()
    ends = then + limit_s
    for step in steps:
        do(step)
        now = perf_counter()
        times.append(now - then)
        then = now
        ops += len(step)
        if now >= ends:
            break
    result = watch.stop(ops)
    result["p50_us"] = percentile(times, 0.5) * 1e6
    result["p99_us"] = percentile(times, 0.99) * 1e6
    return result


def fill(adapter: Adapter, count: int) -> None:
    """Write the first `count` accounts."""
    for at in range(0, count, _FILL):
        adapter.fill([account(number) for number in range(at, min(at + _FILL, count))])
    adapter.settle()


def new_items(adapter: Adapter, count: int) -> list[Any]:
    """Return accounts that are not there yet, in the order of their keys."""
    first = adapter.next_number
    adapter.next_number += count
    return [adapter.ready(account(number)) for number in range(first, first + count)]


def some_items(adapter: Adapter, count: int) -> list[Any]:
    """Return accounts that are there, in no order."""
    return [adapter.ready(account(n)) for n in random_numbers(adapter.records, count)]


def _check_last(adapter: Adapter, number: int) -> None:
    if adapter.get([number]) != account(number):
        raise WorkFailed(f"account {number} is not what was written")


# -- writes --------------------------------------------------------------------------------------


def put(adapter: Adapter, job: Job) -> Result:
    """New accounts, `width` in a durable transaction."""
    first = adapter.next_number
    items = new_items(adapter, job.count)
    result = timed(chunks(items, job.width), adapter.put, job.limit_s)
    _check_last(adapter, first + int(result["ops"]) - 1)
    return result


def put_random(adapter: Adapter, job: Job) -> Result:
    """Accounts that are there, in no order, `width` in a durable transaction."""
    items = some_items(adapter, job.count)
    return timed(chunks(items, job.width), adapter.put, job.limit_s)


def put_threads(adapter: Adapter, job: Job) -> Result:
    """New accounts, one in a durable transaction, from `width` threads."""
    return _from_callers(adapter, job, adapter.callers, new_items(adapter, job.count))


def put_random_threads(adapter: Adapter, job: Job) -> Result:
    """Accounts that are there, in no order, one in a durable transaction, from threads."""
    return _from_callers(adapter, job, adapter.callers, some_items(adapter, job.count))


def put_tasks(adapter: Adapter, job: Job) -> Result:
    """New accounts, one in a durable transaction, from `width` coroutines."""
    return _from_callers(adapter, job, adapter.tasks, new_items(adapter, job.count))


def put_random_tasks(adapter: Adapter, job: Job) -> Result:
    """Accounts that are there, in no order, one in a durable transaction, from coroutines."""
    return _from_callers(adapter, job, adapter.tasks, some_items(adapter, job.count))


def _from_callers(
    adapter: Adapter,
    job: Job,
    callers: Callable[[Sequence[Any], Job], Result | None],
    items: list[Any],
) -> Result:
    """Let the callers do it, or where the engine has none put as many in a transaction."""
    return callers(items, job) or timed(chunks(items, job.width), adapter.put, job.limit_s)


def transaction(adapter: Adapter, job: Job) -> Result:
    """Transactions that read and write one account, until the last of them is durable."""
    return _not_durable(adapter, job, adapter.transact)


def dirty_write(adapter: Adapter, job: Job) -> Result:
    """Writes without a transaction, until the last of them is durable."""
    return _not_durable(adapter, job, adapter.dirty_write)


def _not_durable(adapter: Adapter, job: Job, do: Callable[[Sequence[Any]], None]) -> Result:
    items = some_items(adapter, job.count)
    watch = Watch()
    done = timed(chunks(items, _HANDFUL), do, job.limit_s)
    adapter.settle()
    return watch.stop(int(done["ops"]))


# -- reads ---------------------------------------------------------------------------------------


def _reads(adapter: Adapter, job: Job, do: Callable[[Sequence[int]], Any], size: int) -> Result:
    adapter.warm_up()
    numbers = list(random_numbers(min(job.width or adapter.records, adapter.records), job.count))
    steps = chunks(numbers, size)
    if do(steps[0]) != account(steps[0][-1]):
        raise WorkFailed(f"account {steps[0][-1]} is not what was written")
    return timed(steps, do, job.limit_s)


def get(adapter: Adapter, job: Job) -> Result:
    """Reads of accounts in no order; of the first `width` only, if that is given."""
    return _reads(adapter, job, adapter.get, _HANDFUL)


def get_disc_only(adapter: Adapter, job: Job) -> Result:
    """The same of records that are not held in memory."""
    adapter.fill_for_reads()
    return _reads(adapter, job, adapter.get_disc_only, _HANDFUL)


def transaction_read(adapter: Adapter, job: Job) -> Result:
    """Transactions that read `width` accounts each."""
    return _reads(adapter, replace(job, width=0), adapter.transact_reads, job.width)


def index_read(adapter: Adapter, job: Job) -> Result:
    """Reads of all accounts of an owner, by an index; what is counted is owners."""
    adapter.fill_for_reads()
    owners = [owner_of(n) for n in random_numbers(adapter.records, job.count)]
    check_count(adapter.index_read(owners[:10]), 10 * PER_OWNER, "accounts")
    return timed(chunks(owners, 10), adapter.index_read, job.limit_s)


def select(adapter: Adapter, job: Job) -> Result:
    """Searches through all accounts; what is counted is accounts looked at."""
    adapter.fill_for_reads()
    expected = sum(account(n).balance < SELECTED_BELOW for n in range(adapter.records))
    check_count(adapter.select(), expected, "accounts")
    everything = range(adapter.records)
    turns = max(1, job.count // adapter.records)
    return timed([everything] * turns, lambda _: adapter.select(), job.limit_s)


def key_range(adapter: Adapter, job: Job) -> Result:
    """Reads of `width` accounts in the order of their keys; what is counted is accounts."""
    adapter.fill_for_reads()
    below = adapter.records - job.width
    starts = list(random_numbers(below, job.count // job.width))
    check_count(adapter.ranges(starts[:1], job.width), job.width, "accounts")
    result = timed(chunks(starts, 1), lambda some: adapter.ranges(some, job.width), job.limit_s)
    result["ops"] *= job.width
    return result


# -- queues --------------------------------------------------------------------------------------


def queue(adapter: Adapter, job: Job) -> Result:
    """Messages appended and taken again, `width` in a durable transaction.

    The queues take turns; each holds `width` older messages meanwhile.
    """
    for number in range(QUEUES):
        adapter.append(_messages(adapter, number, job.width))
    turns = job.count // job.width
    steps = [_messages(adapter, turn % QUEUES, job.width) for turn in range(turns)]
    queues = cycle(range(QUEUES))

    def append_and_take(items: list[Any]) -> None:
        adapter.append(items)
        check_count(adapter.take(next(queues), job.width), job.width, "messages")

    result = timed(steps, append_and_take, job.limit_s)
    for number in range(QUEUES):
        check_count(adapter.take(number, job.width + 1), job.width, "messages")
    return result


def _messages(adapter: Adapter, number: int, count: int) -> list[Any]:
    first = adapter.tails.get(number, 0)
    adapter.tails[number] = first + count
    return [adapter.message(message(number, at)) for at in range(first, first + count)]


# -- weight --------------------------------------------------------------------------------------


def bulk_load(adapter: Adapter, job: Job) -> Result:
    """All accounts written into an empty folder, until the last is durable; and the disk used."""
    spent = 0.0
    cpu_s = 0.0
    for at in range(0, job.count, _FILL):
        accounts = [account(number) for number in range(at, min(at + _FILL, job.count))]
        watch = Watch()
        adapter.fill(accounts)
        step = watch.stop(0)
        spent += step["wall_s"]
        cpu_s += step["cpu_s"]
    watch = Watch()
    adapter.settle()
    step = watch.stop(0)
    result: Result = {"ops": job.count, "wall_s": spent + step["wall_s"]}
    result |= {"cpu_s": cpu_s + step["cpu_s"], "bytes": adapter.disk_bytes()}
    return result


def start(adapter: Adapter, job: Job) -> Result:
    """Open a folder with `count` accounts until all can be read.

    And the memory they take, now and when all have been read.
    """
    scale = Scale()
    watch = Watch()
    found = adapter.open()
    result = watch.stop(job.count)
    result["bytes"] = scale.stop(job.count)["bytes"]
    check_count(found, job.count, "accounts")
    adapter.warm_up()
    result["bytes_in_use"] = scale.stop(job.count)["bytes"]
    _check_last(adapter, job.count - 1)
    return result


WORKS: dict[str, Work] = {
    work.__name__: work
    for work in (
        put, put_random, put_threads, put_random_threads, put_tasks, put_random_tasks,
        transaction, dirty_write, get, get_disc_only, transaction_read, index_read, select,
        key_range, queue, bulk_load, start,
    )
}  # fmt: skip
