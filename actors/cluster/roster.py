"""Which nodes there are, and which of them are there: what is known, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from palaver.actors.cluster.decisions import NodeView
from palaver.actors.cluster.records import ClusterRecord, NodeRecord, Placement
from palaver.actors.cluster.settings import ClusterSettings

__all__ = ["Lease", "Members", "Roster"]


class Lease:
    """When this node last reached the registers; shared by the cluster's processes of a node.

    A courtesy, not a promise: a node that cannot hear of changes gives up what it owns. What it
    would do wrong until it does so, the journal does not accept.
    """

    __slots__ = ("_length_s", "_reached_s")

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._reached_s: float | None = None

    def reached(self, asked_s: float) -> None:
        """The registers have done what they were asked to at this time."""
        if self._reached_s is None or asked_s > self._reached_s:
            self._reached_s = asked_s

    def holds(self, now_s: float) -> bool:
        """Whether they were reached lately."""
        return self._reached_s is not None and now_s - self._reached_s <= self._length_s


@dataclass(frozen=True, slots=True)
class Members:
    """The cluster as a node sees it; sent to those who have subscribed, whenever it changes.

    Attributes:
        me, creation: this node.
        joined: whether it has been checked, and belongs to the cluster.
        refused: why it does not; "" if it does, or that is not known yet.
        removed: whether that is because it was removed for good.
        cluster: None until it is founded.
        placement: None until it is founded.
        nodes: the registers of all nodes, by name.
        lost_s: those that are not heard of, and since when, by this node's monotonic clock.
    """

    me: str
    creation: int
    joined: bool = False
    refused: str = ""
    removed: bool = False
    cluster: ClusterRecord | None = None
    placement: Placement | None = None
    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)
    lost_s: Mapping[str, float] = field(default_factory=dict)

    def live(self) -> tuple[str, ...]:
        """The nodes that are there now, this one included, by name."""
        return tuple(
            sorted(
                name
                for name, record in self.nodes.items()
                if record.state != "down" and (name == self.me or name not in self.lost_s)
            )
        )

    def views(self) -> dict[str, NodeView]:
        """The nodes, as decisions see them."""
        views = {
            name: NodeView(
                record.creation,
                None if name == self.me else self.lost_s.get(name),
                willing=record.state not in ("draining", "leaving"),
            )
            for name, record in self.nodes.items()
        }
        views.setdefault(self.me, NodeView(self.creation, None))
        return views


class Roster:
    """What is known of the nodes; kept by `Membership`.

    A node is lost while there is no connection to it, or while its register stands still for longer
    than its lease: then it has stepped down by itself. Registers that all stand still say only that
    this node does not hear of changes, so its own has to move.
    """

    __slots__ = ("_connected", "_disconnected_s", "_me", "_moved_s", "_settings", "nodes")

    def __init__(self, me: str, settings: ClusterSettings) -> None:
        self._me = me
        self._settings = settings
        self.nodes: dict[str, NodeRecord] = {}
        self._moved_s: dict[str, float] = {}
        self._connected: dict[str, None] = {}
        self._disconnected_s: dict[str, float] = {}

    def changed(self, name: str, record: NodeRecord | None, now_s: float) -> None:
        """The register of a node holds this now; None: it is gone."""
        if record is None:
            self.nodes.pop(name, None)
            self._moved_s.pop(name, None)
            return
        if self.nodes.get(name) != record:
            self._moved_s[name] = now_s
        self.nodes[name] = record

    def connected(self, name: str) -> None:
        """There is a connection to a node."""
        self._connected[name] = None
        self._disconnected_s.pop(name, None)

    def disconnected(self, name: str, now_s: float) -> None:
        """It is lost."""
        self._connected.pop(name, None)
        self._disconnected_s.setdefault(name, now_s)

    def lost_s(self, now_s: float) -> dict[str, float]:
        """The nodes that are not heard of, and since when."""
        lost: dict[str, float] = {}
        silent_s = self._settings.lease_s + self._settings.refresh_s
        hears = now_s - self._moved_s.get(self._me, -silent_s) <= self._settings.lease_s / 2
        for name, record in self.nodes.items():
            if name == self._me:
                continue
            moved_s = self._moved_s[name]
            if record.state == "down":
                lost[name] = moved_s
            elif name not in self._connected:
                # Not yet connected is not lost: a node that has just begun meets the others first.
                lost[name] = self._disconnected_s.setdefault(name, now_s)
            elif hears and now_s - moved_s > silent_s:
                lost[name] = moved_s + silent_s
        return lost
