"""What the cluster's processes of two nodes say to each other can cross between them."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.actors.cluster.auditor import Audit, GetSummary
from palaver.actors.cluster.errors import (
    CannotHandOver,
    NotReplica,
    SnapshotError,
    TooManyTransfers,
)
from palaver.actors.cluster.events import Event
from palaver.actors.cluster.moving import IsBusy
from palaver.actors.cluster.ownership_messages import (
    GetPartition,
    GetPartitions,
    GiveTo,
    PartitionStatus,
    Rebuild,
)
from palaver.actors.cluster.snapshots import CloseSnapshot, Opened, OpenSnapshot, ReadChunk
from palaver.actors.cluster.standing import GetConnections
from palaver.actors.cluster.status import NodeSummary
from palaver.actors.distribution.decoding import Dialect, greeting_of
from palaver.actors.distribution.encoding import Encoder, load
from palaver.actors.distribution.signals import Where
from palaver.actors.runtime import Pid
from palaver.storage.installing import SnapshotInfo
from palaver.supervisors.trees.cluster_vocabulary import vocabulary

STATUS = PartitionStatus(
    0, "leading", "a@h", 1, "leading", True, 10, 10, 0, ready=True, digests=((9, 2**63),)
)
PID = Pid("a@h", 1)
INFO = SnapshotInfo(0, 5, 2**63, "chat", 1, 1, 100, "00" * 32)
EVENT = Event(1, 1.0, "a@h", "leading", "0", "after 0.1 s", "info")

#: Whatever goes to `distribution.at(...)` in `palaver.actors.cluster`, and the answers.
SAID: tuple[Any, ...] = (
    GetPartition(0), GetPartitions(None), GetPartitions((0, 1)), GiveTo(0, "b@h"), STATUS,
    Rebuild(0, "differs"), Audit(0), GetSummary(), NodeSummary("a@h", (STATUS,), (EVENT,)),
    IsBusy(), GetConnections(), OpenSnapshot(0, PID), Opened(1, INFO), ReadChunk(1, 0),
    CloseSnapshot(1),
)  # fmt: skip
ERRORS = (CannotHandOver, NotReplica, SnapshotError, TooManyTransfers)


def crossed(message: Any) -> Any:
    """A message after its way to another node."""
    words = vocabulary()
    encoder = Encoder(words, lambda pid: Where("pid", "a@h", 1, pid.serial), 2**20)
    dialect = Dialect(greeting_of(words), words, lambda _: PID)
    return dialect.read(load(encoder.encode(message)))


@pytest.mark.parametrize("message", SAID, ids=lambda one: type(one).__name__)
def test_what_is_said_between_nodes_arrives(message: Any) -> None:
    there = crossed(message)
    assert there == message
    assert type(there) is type(message)


@pytest.mark.parametrize("kind", ERRORS)
def test_refusals_arrive_as_what_they_are(kind: type[Exception]) -> None:
    there = crossed(kind("so it is"))
    assert type(there) is kind
    assert str(there) == "so it is"
