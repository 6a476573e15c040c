"""What is measured: the figures, the works they are made of, how much of each, and the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from palaver.supervisors.cli.bench.stats import Better


class Peer(StrEnum):
    """What the tables are measured beside."""

    LMDB = "lmdb"
    LMDB_CBOR = "lmdb_cbor"
    MNESIA = "mnesia"
    SQLITE = "sqlite"


class FigureName(StrEnum):
    """What can be measured."""

    DURABLE_PUT_1 = "durable_put_1"
    DURABLE_PUT_10 = "durable_put_10"
    DURABLE_PUT_100 = "durable_put_100"
    DURABLE_PUT_1000 = "durable_put_1000"
    DURABLE_PUT_RANDOM_1 = "durable_put_random_1"
    DURABLE_PUT_RANDOM_10 = "durable_put_random_10"
    DURABLE_PUT_RANDOM_100 = "durable_put_random_100"
    DURABLE_PUT_RANDOM_1000 = "durable_put_random_1000"
    COMMIT_P50 = "commit_p50_us"
    COMMIT_P99 = "commit_p99_us"
    THREADS_8 = "durable_threads_8"
    THREADS_64 = "durable_threads_64"
    TASKS_1 = "durable_tasks_1"
    TASKS_64 = "durable_tasks_64"
    TASKS_1000 = "durable_tasks_1000"
    THREADS_RANDOM_64 = "durable_threads_random_64"
    TASKS_RANDOM_64 = "durable_tasks_random_64"
    TASKS_RANDOM_1000 = "durable_tasks_random_1000"
    TRANSACTION = "transaction"
    DIRTY_WRITE = "dirty_write"
    QUEUE = "queue"
    GET = "get"
    GET_HOT = "get_hot"
    GET_DISC_ONLY = "get_disc_only"
    GET_DISC_ONLY_HOT = "get_disc_only_hot"
    TRANSACTION_READ_1 = "transaction_read_1"
    TRANSACTION_READ_100 = "transaction_read_100"
    INDEX_READ = "index_read"
    SELECT = "select"
    KEY_RANGE = "key_range"
    BULK_LOAD = "bulk_load"
    DISK_BYTES = "disk_bytes"
    MEMORY_BYTES = "memory_bytes"
    MEMORY_BYTES_IN_USE = "memory_bytes_in_use"
    START_UP = "start_up_s"


class Value(StrEnum):
    """What a figure takes from the result of its work."""

    RATE = "rate"
    P50 = "p50_us"
    P99 = "p99_us"
    BYTES = "bytes"
    BYTES_IN_USE = "bytes_in_use"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a work is done.

    Args:
        count: Operations at most.
        width: Records of a commit, callers, hot keys, length of a range.
        limit_s: For how long at most; 0: until the count is done.
    """

    count: int
    width: int = 0
    limit_s: float = 0.0

    def quick(self) -> Size:
        """Return the same for a quarter of the time."""
        return Size(max(self.count // 4, self.width), self.width, self.limit_s / 4)


@dataclass(frozen=True, slots=True)
class WorkPlan:
    """A work that is done in turns by all engines.

    Args:
        name: Its name, which is that of its first figure.
        work: What the engines know it by.
        size: How much of it.
        batch_of_ours: Whether bare LMDB commits batches as large as the group commit's were in
            the same round. It has no group commit of its own; this is the floor of one.
    """

    name: str
    work: str
    size: Size
    batch_of_ours: bool = False


@dataclass(frozen=True, slots=True)
class FigurePlan:
    """One figure.

    Args:
        name: What it is called.
        work: Name of the work plan that it is made of.
        unit: What it counts.
        better: Which way it is good.
        about: What it is, in a sentence.
        value: What it takes from the work's result.
        targets: The least ratio that is wanted, by peer.
        without: Peers that it means nothing for, and why.
    """

    name: FigureName
    work: str
    unit: str
    better: Better
    about: str
    value: Value = Value.RATE
    targets: Mapping[str, float] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)


RECORDS, QUICK_RECORDS = 100_000, 20_000
"""Accounts that are there before anything is measured."""
LOADED, QUICK_LOADED = 1_000_000, 100_000
"""Accounts that the start-up is measured with."""

_WRITES_S = 0.2
_READS_S = 0.1

_FLOOR = 0.6
"""Of bare LMDB with the same batches."""
_READ_FLOOR = 0.5
_MNESIA = 10.0
"""Times Mnesia's sync_transaction followed by sync_log."""
_DURABLE: Mapping[str, float] = {Peer.LMDB: _FLOOR, Peer.SQLITE: 1.0}
_GROUPED: Mapping[str, float] = {Peer.LMDB: _FLOOR, Peer.MNESIA: _MNESIA, Peer.SQLITE: 1.0}
_READS: Mapping[str, float] = {Peer.LMDB: _READ_FLOOR}
_ONE_THREAD: Mapping[str, str] = {
    Peer.SQLITE: "it has one writer at a time and no group commit; see the threads"
}


def _put(name: str, work: str, count: int, width: int) -> WorkPlan:
    return WorkPlan(name, work, Size(count, width, _WRITES_S))


def _callers(name: str, work: str, width: int) -> WorkPlan:
    return WorkPlan(name, work, Size(40_000, width, _WRITES_S), batch_of_ours=True)


def _read(name: str, work: str, count: int, width: int = 0) -> WorkPlan:
    return WorkPlan(name, work, Size(count, width, _READS_S))


WORKS: tuple[WorkPlan, ...] = (
    _put("durable_put_1", "put", 4_000, 1),
    _put("durable_put_10", "put", 20_000, 10),
    _put("durable_put_100", "put", 60_000, 100),
    _put("durable_put_1000", "put", 60_000, 1_000),
    _put("durable_put_random_1", "put_random", 4_000, 1),
    _put("durable_put_random_10", "put_random", 20_000, 10),
    _put("durable_put_random_100", "put_random", 60_000, 100),
    _put("durable_put_random_1000", "put_random", 60_000, 1_000),
    _callers("durable_threads_8", "put_threads", 8),
    _callers("durable_threads_64", "put_threads", 64),
    _callers("durable_tasks_1", "put_tasks", 1),
    _callers("durable_tasks_64", "put_tasks", 64),
    _callers("durable_tasks_1000", "put_tasks", 1_000),
    _callers("durable_threads_random_64", "put_random_threads", 64),
    _callers("durable_tasks_random_64", "put_random_tasks", 64),
    _callers("durable_tasks_random_1000", "put_random_tasks", 1_000),
    _put("transaction", "transaction", 60_000, 0),
    _put("dirty_write", "dirty_write", 60_000, 0),
    _put("queue", "queue", 30_000, 100),
    _read("get", "get", 150_000),
    _read("get_hot", "get", 150_000, 100),
    _read("get_disc_only", "get_disc_only", 100_000),
    _read("get_disc_only_hot", "get_disc_only", 100_000, 100),
    _read("transaction_read_1", "transaction_read", 50_000, 1),
    _read("transaction_read_100", "transaction_read", 200_000, 100),
    _read("index_read", "index_read", 20_000),
    _read("select", "select", 1_000_000),
    _read("key_range", "key_range", 100_000, 100),
)


def _rate(
    name: FigureName,
    about: str,
    targets: Mapping[str, float] | None = None,
    without: Mapping[str, str] | None = None,
) -> FigurePlan:
    return FigurePlan(
        name, name.value, "1/s", "higher", about, targets=targets or {}, without=without or {}
    )


_ASCENDING = "new records in the order of their keys, {} in a durable transaction"
_RANDOM = "records that are there, in no order, {} in a durable transaction"
_SINGLE = "new records, one in a durable transaction, from {} at once"
_SINGLE_RANDOM = (
    "records that are there, in no order, one in a durable transaction, from {} at once"
)
_NOT_HELD: Mapping[str, str] = dict.fromkeys(
    (Peer.LMDB, Peer.LMDB_CBOR, Peer.SQLITE), "it loads nothing into memory"
)
_FILE = "the same file as of lmdb"

PLANS: tuple[FigurePlan, ...] = (
    _rate(FigureName.DURABLE_PUT_1, _ASCENDING.format("one"), _DURABLE),
    _rate(FigureName.DURABLE_PUT_10, _ASCENDING.format(10), _DURABLE),
    _rate(FigureName.DURABLE_PUT_100, _ASCENDING.format(100), _DURABLE),
    _rate(FigureName.DURABLE_PUT_1000, _ASCENDING.format("1,000"), _GROUPED),
    _rate(FigureName.DURABLE_PUT_RANDOM_1, _RANDOM.format("one"), _DURABLE),
    _rate(FigureName.DURABLE_PUT_RANDOM_10, _RANDOM.format(10), _DURABLE),
    _rate(FigureName.DURABLE_PUT_RANDOM_100, _RANDOM.format(100), _DURABLE),
    _rate(FigureName.DURABLE_PUT_RANDOM_1000, _RANDOM.format("1,000"), _GROUPED),
    FigurePlan(
        FigureName.COMMIT_P50,
        "durable_put_1",
        "us",
        "lower",
        "a durable transaction of one record, one caller: half take less",
        Value.P50,
    ),
    FigurePlan(
        FigureName.COMMIT_P99,
        "durable_put_1",
        "us",
        "lower",
        "the same: 99 of 100 take less",
        Value.P99,
    ),
    _rate(FigureName.THREADS_8, _SINGLE.format("8 threads"), _GROUPED),
    _rate(FigureName.THREADS_64, _SINGLE.format("64 threads"), _GROUPED),
    _rate(
        FigureName.TASKS_1,
        _SINGLE.format("one coroutine"),
        {Peer.LMDB: _FLOOR},
        without=_ONE_THREAD,
    ),
    _rate(FigureName.TASKS_64, _SINGLE.format("64 coroutines"), _GROUPED, _ONE_THREAD),
    _rate(FigureName.TASKS_1000, _SINGLE.format("1,000 coroutines"), _GROUPED, _ONE_THREAD),
    _rate(FigureName.THREADS_RANDOM_64, _SINGLE_RANDOM.format("64 threads"), _GROUPED),
    _rate(
        FigureName.TASKS_RANDOM_64, _SINGLE_RANDOM.format("64 coroutines"), _GROUPED, _ONE_THREAD
    ),
    _rate(
        FigureName.TASKS_RANDOM_1000,
        _SINGLE_RANDOM.format("1,000 coroutines"),
        _GROUPED,
        _ONE_THREAD,
    ),
    _rate(
        FigureName.TRANSACTION,
        "transactions that read and write one record, until the last is durable",
    ),
    _rate(
        FigureName.DIRTY_WRITE,
        "writes without a transaction, until the last is durable",
    ),
    _rate(
        FigureName.QUEUE,
        "messages appended to a queue and taken from it, 100 in a durable transaction",
    ),
    _rate(FigureName.GET, "reads without a transaction, in no order", _READS),
    _rate(FigureName.GET_HOT, "the same of 100 keys", _READS),
    _rate(FigureName.GET_DISC_ONLY, "reads of records that are not held in memory"),
    _rate(FigureName.GET_DISC_ONLY_HOT, "the same of 100 keys"),
    _rate(FigureName.TRANSACTION_READ_1, "reads in a transaction each", _READS),
    _rate(FigureName.TRANSACTION_READ_100, "reads, 100 in a transaction", _READS),
    _rate(FigureName.INDEX_READ, "reads by an index, each of which finds 10 records"),
    _rate(FigureName.SELECT, "records looked at by a search that finds a tenth of them"),
    _rate(FigureName.KEY_RANGE, "records read in the order of their keys, 100 at a time"),
    _rate(
        FigureName.BULK_LOAD,
        "records written into an empty folder, the way that is fastest, until all are durable",
    ),
    FigurePlan(
        FigureName.DISK_BYTES,
        "bulk_load",
        "B",
        "lower",
        "bytes of the disk for each record, thereafter",
        Value.BYTES,
        without={Peer.LMDB_CBOR: _FILE},
    ),
    FigurePlan(
        FigureName.MEMORY_BYTES,
        "start_up_s",
        "B",
        "lower",
        "bytes of private memory for each record, after a start",
        Value.BYTES,
        without=_NOT_HELD,
    ),
    FigurePlan(
        FigureName.MEMORY_BYTES_IN_USE,
        "start_up_s",
        "B",
        "lower",
        "the same when every record has been read",
        Value.BYTES_IN_USE,
        without=_NOT_HELD,
    ),
    FigurePlan(
        FigureName.START_UP,
        "start_up_s",
        "s",
        "lower",
        "from opening the folder until every record can be read",
        Value.SECONDS,
    ),
)
