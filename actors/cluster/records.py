"""What the registers of a cluster hold, as data and as bytes (JSON, so that people can read them).

The keys, and what is there:

    cluster       {name, partitions, format}            made once, when the cluster is founded
    placement     {version, islands, partitions}        who keeps a replica of what
    node.<name>   {creation, state, since_ms, ...}      written by the node itself, again and again
    claim.<name>  {creation}                            a node asks whether its name is in use
    owner.<n>     {node, creation, epoch, phase}        who should lead a partition
    rebalance     {node, creation, epoch, what}         who changes the placement

A node's name has its "@" escaped in a key, since keys have none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from palaver.actors.cluster.errors import WrongCluster
from palaver.actors.cluster.settings import FORMAT

__all__ = [
    "CLUSTER",
    "PLACEMENT",
    "REBALANCE",
    "ClusterRecord",
    "NodeRecord",
    "NodeState",
    "OwnerRecord",
    "Phase",
    "Placement",
    "RebalanceRecord",
    "claim_key",
    "decoded",
    "encoded",
    "key_name",
    "node_key",
    "node_of_key",
    "owner_key",
]

CLUSTER: Final = "cluster"
PLACEMENT: Final = "placement"
REBALANCE: Final = "rebalance"

NodeState: TypeAlias = Literal["joining", "up", "draining", "leaving", "down"]
"""joining: not checked yet. draining: owns nothing. leaving: to be removed. down: stopped."""

Phase: TypeAlias = Literal["taking", "leading", "free"]
"""taking: named, and takes over. leading: serves. free: has given it up, nobody is named."""


def key_name(node_name: str) -> str:
    """A node's name as a part of a key, in which there is no "@"; one to one."""
    return "".join(
        char if char.isascii() and (char.isalnum() or char in "-.") else f"={ord(char):x}_"
        for char in node_name
    )


def node_key(node_name: str) -> str:
    """The register of a node."""
    return f"node.{key_name(node_name)}"


def claim_key(node_name: str) -> str:
    """The register in which a node asks whether its name is in use."""
    return f"claim.{key_name(node_name)}"


def owner_key(partition: int) -> str:
    """The register of a partition's owner."""
    return f"owner.{partition}"


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """What a cluster is; never changes."""

    name: str
    partitions: int
    format: int = FORMAT

    def __str__(self) -> str:
        return f"cluster {self.name} of {self.partitions} partitions, format {self.format}"

    def check(self, there: ClusterRecord) -> None:
        """See whether a node that is set up for this may be part of the cluster that is there.

        Raises:
            WrongCluster: it may not.
        """
        if there != self:
            raise WrongCluster(
                f"this node is set up for {self}, but the registers are those of {there}: "
                "change this node's settings or its version, or let it use other registers"
            )


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What a node says of itself.

    Attributes:
        name: its name.
        creation: which of its incarnations.
        state: see `NodeState`.
        since_ms: since when it is in this state, by its wall clock.
        beat: rises with every refresh.
        answered: the incarnation that has asked last whether the name is in use.
        version, ws_url, http_url: for operators and clients.
    """

    name: str
    creation: int
    state: NodeState
    since_ms: int = 0
    beat: int = 0
    answered: int = 0
    version: str = ""
    ws_url: str = ""
    http_url: str = ""

    def calm(self) -> NodeRecord:
        """The same without what changes with every refresh."""
        return replace(self, beat=0, answered=0)


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """Who should lead a partition.

    Attributes:
        node: its name; of the last one, if `phase` is "free".
        creation: which of its incarnations.
        epoch: rises whenever somebody is named.
        phase: see `Phase`.
    """

    node: str
    creation: int
    epoch: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class RebalanceRecord:
    """Who changes the placement, or last did.

    Attributes:
        node, creation: who; "" when it is done.
        epoch: rises with every change.
        what: for operators.
        since_ms: when it began, by that node's wall clock.
    """

    node: str
    creation: int
    epoch: int
    what: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Who keeps a replica of which partition.

    Attributes:
        version: rises with every change.
        islands: the groups of nodes within which replicas are placed.
        partitions: for each partition its nodes, in order of preference.
    """

    version: int
    islands: tuple[tuple[str, ...], ...]
    partitions: tuple[tuple[str, ...], ...]

    def nodes(self) -> tuple[str, ...]:
        """All nodes that have a place, island by island."""
        named = [name for island in self.islands for name in island]
        named += [name for nodes in self.partitions for name in nodes]
        return tuple(dict.fromkeys(named))

    def of(self, node_name: str) -> tuple[int, ...]:
        """The partitions of which a node keeps a replica."""
        return tuple(n for n, nodes in enumerate(self.partitions) if node_name in nodes)


Record: TypeAlias = ClusterRecord | NodeRecord | OwnerRecord | RebalanceRecord | Placement


def encoded(record: Record) -> bytes:
    """A record as the bytes of its register."""
    if isinstance(record, Placement):
        # By number: thousands of partitions have to fit.
        nodes = record.nodes()
        number = {name: index for index, name in enumerate(nodes)}
        fields: dict[str, Any] = {
            "version": record.version,
            "nodes": nodes,
            "islands": [[number[name] for name in island] for island in record.islands],
            "partitions": [[number[name] for name in each] for each in record.partitions],
        }
    else:
        fields = asdict(record)
    return json.dumps(fields, separators=(",", ":")).encode()


def decoded(kind: type[Any], value: bytes) -> Any:
    """The record of this class that a register holds.

    Fields that are not known are left out, so that nodes of two versions get along. Raises
    `WrongCluster` if it is no such record.
    """
    try:
        fields = json.loads(value)
        if kind is Placement:
            nodes = fields["nodes"]
            return Placement(
                int(fields["version"]),
                tuple(tuple(nodes[index] for index in each) for each in fields["islands"]),
                tuple(tuple(nodes[index] for index in each) for each in fields["partitions"]),
            )
        return kind(**{name: fields[name] for name in kind.__slots__ if name in fields})
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise WrongCluster(
            f"a register does not hold a {kind.__name__}: {value[:100]!r}; is it another "
            "program's, or of a newer version?"
        ) from error


def node_of_key(key: str, prefix: str) -> str:
    """The node's name in a key that was made by `node_key` or `claim_key`."""
    text, out = key.removeprefix(prefix), []
    while text:
        char, text = text[0], text[1:]
        if char == "=":
            code, _, text = text.partition("_")
            char = chr(int(code, 16))
        out.append(char)
    return "".join(out)
