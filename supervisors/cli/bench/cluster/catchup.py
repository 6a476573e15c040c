"""How long a fresh (or wiped) replica takes until it has everything, beside a bare ordered read.

An owner fills the journal of a partition; then replicas with empty folders come, one after the
other: first by reading the whole journal, then, when the journal has forgotten most of it, by the
owner's snapshot and what is behind it. Bare nats-py reads the same stream in order meanwhile.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

from nats.errors import Error as NatsError
from nats.js.api import DeliverPolicy

from palaver.storage import Outcome
from palaver.storage.batch import Result
from palaver.storage.installing import SnapshotInfo
from palaver.storage.jetstream import JetStreamJournals
from palaver.storage.replicated import Limits, ReplicatedStore
from palaver.storage.replicated.publishing import PublishLimits
from palaver.storage.replicated.settings import FetchSnapshot, no_snapshot
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part
from palaver.supervisors.cli.bench.cluster.messages import MessageCodec, open_tables
from palaver.supervisors.cli.bench.cluster.replicated import owner_of_tables
from palaver.supervisors.cli.bench.cluster.servers import REPLICAS, NatsServers
from palaver.supervisors.cli.bench.report import Tell

__all__ = ["CatchupPlan", "Times", "catchup_figures", "measure_catchup"]

_OUTSTANDING: Final = 10_000
"""Messages that wait for their confirmation while the journal is filled."""
_ENTRY_COMMANDS: Final = 100
_POLL_S: Final = 0.005
_STALL_S: Final = 60.0
_READ_S: Final = 60.0
_ON: Final = (
    "an empty folder becomes a replica in this process, beside the owner, which is idle; three "
    "nats-server processes on this machine, R3"
)


@dataclass(frozen=True, slots=True)
class CatchupPlan:
    """How much there is to catch up.

    Attributes:
        messages: in the partition.
        message_bytes: of each.
        rounds: fresh replicas of each kind.
        snapshot_share: of the messages that the snapshot has, the others are read behind it.
    """

    messages: int = 1_000_000
    message_bytes: int = 200
    rounds: int = 2
    snapshot_share: float = 0.9


@dataclass(slots=True)
class Times:
    """Seconds until everything was there, of each round.

    Attributes:
        replay: of replicas that read the whole journal.
        snapshot: of replicas that took a snapshot and read what is behind it.
        bare: of bare nats-py that read the whole stream.
    """

    replay: list[float] = field(default_factory=list)
    snapshot: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


async def measure_catchup(plan: CatchupPlan, folder: Path, tell: Tell) -> list[ClusterFigure]:
    """Measure fresh replicas, with servers of their own.

    Raises:
        BenchFailed: no nats-server; a message was refused, or a replica does not get there or has
            another history than the owner.
    """
    times = Times()
    limits = Limits(publish=PublishLimits(entry_commands=_ENTRY_COMMANDS))
    tell("catchup: starting three NATS servers")
    with NatsServers(folder) as servers:
        async with (
            owner_of_tables(servers, folder / "owner", limits=limits) as owner,
            _journals(servers) as journals,
        ):
            file, info, position = await _fill(plan, owner, folder, tell)
            fresh = _Fresh(owner, journals, folder / "fresh")
            last = (await journals(0).bounds())[1]
            for number in range(1, plan.rounds + 1):
                tell(f"catchup: round {number}/{plan.rounds}, bare nats-py reads the stream")
                times.bare.append(await _read_bare(servers, journals(0).stream, last))
                tell(f"catchup: round {number}/{plan.rounds}, a replica reads the whole journal")
                times.replay.append(await fresh.catch_up(no_snapshot))
            await journals(0).truncate(position)
            for number in range(1, plan.rounds + 1):
                tell(f"catchup: round {number}/{plan.rounds}, a replica takes a snapshot")

                async def fetch(_: int) -> tuple[Path, SnapshotInfo]:
                    brought = folder / "brought"
                    await asyncio.to_thread(shutil.copyfile, file, brought)
                    return brought, info

                times.snapshot.append(await fresh.catch_up(fetch))
    return catchup_figures(plan, times)


def catchup_figures(plan: CatchupPlan, times: Times) -> list[ClusterFigure]:
    """Reckon the figures: messages a second, and how long it took."""
    count = plan.messages
    reader = (
        "an ordered consumer of nats-py that reads the whole stream (entries of up to "
        f"{_ENTRY_COMMANDS} messages) and does nothing with it"
    )

    def figures(name: str, what: str, took: list[float]) -> list[ClusterFigure]:
        details = {
            "messages": count,
            "message_bytes": plan.message_bytes,
            "snapshot_share": plan.snapshot_share if name == "catchup_snapshot" else 0,
        }
        rate = ClusterFigure(
            Part.CATCHUP,
            f"{name}_per_s",
            "1/s",
            "higher",
            f"messages that {what}, a second",
            _ON,
            [count / each for each in took],
            "nats-py",
            reader,
            [count / each for each in times.bare],
            paired=False,
            details=details,
        )
        seconds = ClusterFigure(
            Part.CATCHUP,
            f"{name}_s",
            "s",
            "lower",
            f"until everything is there that {what}",
            _ON,
            took,
            "nats-py",
            reader,
            times.bare,
            paired=False,
            details=details,
        )
        return [rate, seconds]

    return [
        *figures(
            "catchup_snapshot",
            "a fresh replica has by a snapshot and what is behind it in the journal",
            times.snapshot,
        ),
        *figures("catchup_replay", "a fresh replica reads in the whole journal", times.replay),
    ]


# -- what is to be caught up ---------------------------------------------------------------------


async def _fill(
    plan: CatchupPlan, owner: ReplicatedStore, folder: Path, tell: Tell
) -> tuple[Path, SnapshotInfo, int]:
    """Append all messages, and take a snapshot on the way; that, and where in the journal it is."""
    first = round(plan.messages * plan.snapshot_share)
    body = bytes(plan.message_bytes)
    tell(f"catchup: an owner appends {plan.messages:,} messages")
    await _Filling(owner, body).append(first)
    state = owner.state(0)
    assert state is not None
    file = folder / "snapshot"
    info = await asyncio.to_thread(owner.snapshot, 0, file)
    await _Filling(owner, body).append(plan.messages - first)
    return file, info, state.position


class _Filling:
    """Appends so many messages, some thousand of them outstanding."""

    def __init__(self, owner: ReplicatedStore, body: bytes) -> None:
        self._owner = owner
        self._body = body
        self._left = self._open = 0
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def append(self, count: int) -> None:
        self._left = count
        if count:
            self._send()
            await self._over

    def _send(self) -> None:
        while self._left and self._open < _OUTSTANDING:
            self._left -= 1
            self._open += 1
            self._owner.append(0, [(self._body,)], self._done)

    def _done(self, results: list[Result]) -> None:
        self._open -= 1
        if self._over.done():
            return
        if not isinstance(results[0], Outcome):
            self._over.set_exception(BenchFailed(f"a message was refused: {results[0]!r}"))
        elif self._left:
            self._send()
        elif not self._open:
            self._over.set_result(None)


# -- who catches up ------------------------------------------------------------------------------


@asynccontextmanager
async def _journals(servers: NatsServers) -> AsyncIterator[JetStreamJournals]:
    async with servers.connect() as client:
        journals = JetStreamJournals(client, "bench", replicas=REPLICAS)
        await journals.open([0])
        try:
            yield journals
        finally:
            await journals.close()


class _Fresh:
    """Replicas in an empty folder, one after the other."""

    def __init__(self, owner: ReplicatedStore, journals: JetStreamJournals, folder: Path) -> None:
        self._owner = owner
        self._journals = journals
        self._folder = folder

    async def catch_up(self, fetch: FetchSnapshot) -> float:
        """Follow from nothing until everything is there, the same as the owner's; seconds."""
        shutil.rmtree(self._folder, ignore_errors=True)
        wanted = self._owner.digest(0)
        store = ReplicatedStore(
            open_tables(self._folder),
            self._journals,
            MessageCodec(),
            node_name="fresh",
            fetch_snapshot=fetch,
        )
        try:
            began_s = perf_counter()
            store.follow(0)
            await _until_applied(store, wanted[0])
            took_s = perf_counter() - began_s
            if store.digest(0) != wanted:
                raise BenchFailed(f"the replica has {store.digest(0)}, the owner {wanted}")
            return took_s
        finally:
            await store.close()


def _state(store: ReplicatedStore) -> str:
    state = store.state(0)
    return "" if state is None else f"at {state.position} of {state.last}; {state.trouble}"


async def _until_applied(store: ReplicatedStore, wanted: int) -> None:
    """Wait until a replica is so far; `BenchFailed` if it gets nowhere for a minute."""
    loop = asyncio.get_running_loop()
    applied, since_s = 0, loop.time()
    while applied < wanted:
        await asyncio.sleep(_POLL_S)
        now = store.applied(0)
        if now != applied:
            applied, since_s = now, loop.time()
        elif loop.time() - since_s > _STALL_S:
            raise BenchFailed(f"a replica gets no further than {applied}: {_state(store)}")


async def _read_bare(servers: NatsServers, stream: str, last: int) -> float:
    """Read a stream up to a position by an ordered consumer; seconds."""
    async with servers.connect_bare() as client:
        js = client.jetstream(timeout=_READ_S)
        info = await js.stream_info(stream)
        began_s = perf_counter()
        subscription = await js.subscribe(
            (info.config.subjects or [""])[0],
            stream=stream,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.ALL,
        )
        try:
            while True:
                message = await subscription.next_msg(_READ_S)
                if message.metadata.sequence.stream >= last:
                    return perf_counter() - began_s
        except (NatsError, TimeoutError) as error:
            raise BenchFailed(f"bare nats-py does not read the stream: {error!r}") from error
        finally:
            await subscription.unsubscribe()
