"""What an operator can ask of a cluster, answered by its processes on this node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from palaver.actors.cluster.auditor import GetStatus
from palaver.actors.cluster.errors import ClusterError
from palaver.actors.cluster.moving import Progress
from palaver.actors.cluster.names import AUDITOR, REBALANCER
from palaver.actors.cluster.rebalancer import Rebalance
from palaver.actors.runtime import SHUTDOWN, CallFailed, GenServer, Node
from palaver.transport.http.admin_port import AdminRefused
from palaver.transport.http.cluster_port import (
    Change,
    ChangeProgress,
    ClusterEvent,
    ClusterStatus,
    NodeRecord,
    PartitionRecord,
    ReplicaRecord,
)

__all__ = ["ClusterOperator"]

_STATUS_S = 15.0
_STATES = {"leading": "leading", "following": "following", "unknown": "unknown"}


class _Listener(GenServer):
    """Takes the progress of a change for somebody who is no process."""

    __slots__ = ("_told",)

    def init(self, told: asyncio.Queue[Progress]) -> None:
        self._told = told

    def handle_info(self, message: Any) -> None:
        if isinstance(message, Progress):
            self._told.put_nowait(message)


class ClusterOperator:
    """The `ClusterPort` of a node that runs."""

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._name = name

    async def status(self) -> ClusterStatus:
        """How the cluster is, as this node and those that answer it see it."""
        try:
            found = await self._node.call(AUDITOR, GetStatus(), timeout_s=_STATUS_S)
        except CallFailed as error:
            raise AdminRefused("unavailable", f"the node cannot say now: {error}") from error
        nodes = tuple(_node(each) for each in found["nodes"])
        partitions = tuple(_partition(each) for each in found["partitions"])
        return ClusterStatus(
            found["cluster"]["name"],
            self._name,
            nodes,
            partitions,
            tuple(_event(each) for each in found["events"]),
            tuple(_problems(found, nodes, partitions)),
        )

    async def change(self, what: Change, node: str | None) -> AsyncIterator[ChangeProgress]:
        """Make a change, step by step."""
        told: asyncio.Queue[Progress] = asyncio.Queue()
        listener = await self._node.start_server(_Listener, told)
        asked = asyncio.ensure_future(
            self._node.call(REBALANCER, Rebalance(what, node or "", listener), timeout_s=None)
        )
        try:
            while True:
                hearing = asyncio.ensure_future(told.get())
                await asyncio.wait({hearing, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not hearing.done():
                    hearing.cancel()
                    break
                yield _progress(hearing.result())
            yield _progress(asked.result())
        except ClusterError as error:
            raise AdminRefused("refused", str(error)) from error
        except CallFailed as error:
            raise AdminRefused("unavailable", f"the change has stopped: {error}") from error
        finally:
            asked.cancel()
            self._node.exit(listener, SHUTDOWN)


def _progress(progress: Progress) -> ChangeProgress:
    return ChangeProgress(progress.done, progress.total, progress.text)


def _node(found: dict[str, Any]) -> NodeRecord:
    state = found["state"] if found["live"] or found["state"] in ("down", "gone") else "lost"
    return NodeRecord(
        found["name"],
        state,
        found["version"],
        found["owns"],
        found["replicas"],
        found["ws_url"],
        found["leftovers"],
    )


def _partition(found: dict[str, Any]) -> PartitionRecord:
    owner = found["owner"] if found["phase"] == "leading" else ""
    replicas = tuple(_replica(each) for each in found["replicas"])
    return PartitionRecord(found["number"], owner, found["epoch"], replicas)


def _replica(found: dict[str, Any]) -> ReplicaRecord:
    if found["role"] == "unknown":
        return ReplicaRecord(found["node"], -1, 0, "", 0, "unknown")
    position, digest = found["digest"] or (0, None)
    text = "" if digest is None else f"{digest:016x}"
    state = _STATES.get(found["role"], found["role"])
    if found["trouble"]:
        state = "failing"
    elif state == "following" and not found["ready"]:
        state = "catching up"
    return ReplicaRecord(found["node"], found["position"], found["behind"], text, position, state)


def _event(found: dict[str, Any]) -> ClusterEvent:
    about = f" {found['about']}" if found["about"] else ""
    text = f": {found['text']}" if found["text"] else ""
    return ClusterEvent(found["at_ms"], found["node"], f"{found['what']}{about}{text}")


def _problems(
    found: dict[str, Any], nodes: tuple[NodeRecord, ...], partitions: tuple[PartitionRecord, ...]
) -> list[str]:
    problems = []
    troubled = {
        each["number"]: [one for one in each["replicas"] if one.get("trouble")]
        for each in found["partitions"]
    }
    if found["cluster"]["refused"]:
        problems.append(f"this node may not join: {found['cluster']['refused']}")
    if not found["cluster"]["founded"]:
        problems.append("the cluster is not founded yet: start its founding nodes")
    problems += [f"node {node.name} is {node.state}" for node in nodes if node.state == "lost"]
    for partition in partitions:
        if not partition.owner:
            problems.append(f"partition {partition.number} has no owner")
        by_position: dict[int, set[str]] = {}
        problems += [
            f"the copy of partition {partition.number} at {each['node']}: {each['trouble']}"
            for each in troubled.get(partition.number, ())
        ]
        for replica in partition.replicas:
            if replica.state not in ("leading", "following", "failing"):
                problems.append(
                    f"the copy of partition {partition.number} at {replica.node} is {replica.state}"
                )
            if replica.digest:
                by_position.setdefault(replica.digest_position, set()).add(replica.digest)
        if any(len(digests) > 1 for digests in by_position.values()):
            problems.append(f"the copies of partition {partition.number} differ")
    return problems
