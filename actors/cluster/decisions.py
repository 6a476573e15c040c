"""What a node does about a partition: plain functions of what it knows.

Nothing here is safe or unsafe. Who leads is decided by the journal, in which a take-over of an old
epoch has no effect; this only sees to it that somebody tries, usually one, and soon.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from palaver.actors.cluster.records import OwnerRecord
from palaver.actors.cluster.settings import ClusterSettings

__all__ = [
    "Action",
    "Announce",
    "Campaign",
    "Decision",
    "GiveUp",
    "HandOver",
    "NodeView",
    "PartitionView",
    "ReplicaView",
    "Role",
    "Situation",
    "TakeOver",
    "candidates",
    "decide",
    "proxy_target",
    "successor",
    "vacant_since",
]


class Role(enum.StrEnum):
    """What a node is for a partition."""

    FOLLOWING = "following"
    CAMPAIGNING = "campaigning"
    TAKING_OVER = "taking over"
    LEADING = "leading"
    STEPPING_DOWN = "stepping down"


@dataclass(frozen=True, slots=True)
class NodeView:
    """What is known of a node.

    Attributes:
        creation: its incarnation, by its register; None if it has none.
        lost_s: since when it is not heard of; None while it is.
        willing: whether it may own partitions: it is neither draining nor leaving.
    """

    creation: int | None
    lost_s: float | None
    willing: bool = True


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """How far this node's replica is.

    Attributes:
        ready: whether it is near enough to the journal's end to lead.
        leading: whether the store leads.
        epoch: the last epoch that it has seen in the journal.
    """

    ready: bool
    leading: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What is the same for all partitions: this node, and the others.

    Attributes:
        me, creation: this node.
        now_s: by its monotonic clock.
        reachable: whether it has reached the registers within its lease.
        nodes: the others and itself, by name.
        settings: the times.
    """

    me: str
    creation: int
    now_s: float
    reachable: bool
    nodes: Mapping[str, NodeView]
    settings: ClusterSettings


@dataclass(frozen=True, slots=True)
class PartitionView:
    """What is known of one partition.

    Attributes:
        replicas: who keeps one, in order of preference.
        owner: the register; None if there is none yet.
        owner_since_s: since when the register says so, as seen here.
        replica: of this node; None if it has none.
        role: what this node is for it.
        role_since_s: since when.
        epoch: the one this node tries for, or leads with; 0 when following.
        announced: whether the register says that this node leads.
        not_before_s: no new attempt before that; after one that failed.
        jitter_s: a little time that is other on each node.
    """

    replicas: tuple[str, ...]
    owner: OwnerRecord | None
    owner_since_s: float
    replica: ReplicaView | None
    role: Role = Role.FOLLOWING
    role_since_s: float = 0.0
    epoch: int = 0
    announced: bool = False
    not_before_s: float = 0.0
    jitter_s: float = field(default=0.0)


@dataclass(frozen=True, slots=True)
class Campaign:
    """Have oneself named in the register, with this epoch, then take over."""

    epoch: int


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The register names this node: take over with this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Say in the register that this node leads."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop leading, or trying to, now.

    Attributes:
        why: for people.
        free: whether to say so in the register, so that others begin at once.
    """

    why: str
    free: bool


@dataclass(frozen=True, slots=True)
class HandOver:
    """Stop leading, then name another node in the register."""

    to: str
    why: str


Action: TypeAlias = Campaign | TakeOver | Announce | GiveUp | HandOver | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and when to look again at the latest, whatever happens; None: no need."""

    action: Action = None
    again_s: float | None = None


_NOTHING = Decision()


def decide(situation: Situation, view: PartitionView) -> Decision:
    """What this node does about a partition now."""
    if view.role is Role.STEPPING_DOWN:
        return _NOTHING
    if view.role is Role.FOLLOWING:
        return _as_follower(situation, view)
    why = _overtaken(situation, view)
    if why:
        return Decision(GiveUp(why, free=False))
    if not situation.reachable:
        return Decision(GiveUp("the registers cannot be reached", free=False))
    if view.role is Role.LEADING:
        return _as_leader(situation, view)
    late_s = view.role_since_s + situation.settings.takeover_s
    if situation.now_s >= late_s:
        return Decision(GiveUp("the take-over takes too long", free=True))
    return Decision(again_s=late_s)


def _overtaken(situation: Situation, view: PartitionView) -> str:
    """Why the register speaks against what this node does; "" if it does not."""
    owner = view.owner
    if owner is None or owner.epoch < view.epoch:
        return ""  # the register's change that named this node is still to be seen
    if owner.epoch > view.epoch:
        return f"{owner.node} is named for epoch {owner.epoch}"
    if (owner.node, owner.creation) != (situation.me, situation.creation):
        return f"{owner.node} is named for this epoch"
    return "it was given up" if owner.phase == "free" else ""


def _as_leader(situation: Situation, view: PartitionView) -> Decision:
    if view.replica is None or not view.replica.leading:
        return Decision(GiveUp("the store leads no longer", free=True))
    if not situation.nodes[situation.me].willing or situation.me not in view.replicas:
        to = successor(situation, view)
        # Without another one it goes on: better here than nowhere.
        if to is not None and situation.now_s >= view.not_before_s:
            return Decision(HandOver(to, f"{situation.me} is not to own it"))
    if not view.announced:
        if situation.now_s >= view.not_before_s:
            return Decision(Announce())
        return Decision(again_s=view.not_before_s)
    return _NOTHING


def _as_follower(situation: Situation, view: PartitionView) -> Decision:
    me, replica = situation.me, view.replica
    if not situation.reachable or replica is None or me not in view.replicas:
        return _NOTHING
    owner = view.owner
    mine = owner is not None and (owner.node, owner.creation) == (me, situation.creation)
    if mine and owner is not None and owner.phase == "taking" and owner.epoch > replica.epoch:
        # Named by the last owner: the others wait for this node alone, ready or not.
        if situation.now_s >= view.not_before_s:
            return Decision(TakeOver(owner.epoch))
        return Decision(again_s=view.not_before_s)
    since_s = vacant_since(situation, view)
    if since_s is None:
        return _NOTHING
    ranked = candidates(situation, view)
    if me not in ranked or not replica.ready:
        return Decision(again_s=situation.now_s + situation.settings.tick_s)
    # In a cluster that begins, those who are preferred may only not have been heard of yet.
    rank = view.replicas.index(me) if owner is None else ranked.index(me)
    wait_s = rank * situation.settings.rank_delay_s + view.jitter_s
    begin_s = max(since_s + wait_s, view.not_before_s)
    if situation.now_s < begin_s:
        return Decision(again_s=begin_s)
    known = 0 if owner is None else owner.epoch
    return Decision(Campaign(max(known, replica.epoch) + 1))


def vacant_since(situation: Situation, view: PartitionView) -> float | None:
    """Since when, or from when on, the partition needs another owner; None while it does not."""
    owner, settings = view.owner, situation.settings
    if owner is None or owner.phase == "free":
        return view.owner_since_s
    if owner.node == situation.me:
        # Not leading, whatever the register says: this is asked by followers only.
        return view.owner_since_s
    node = situation.nodes.get(owner.node)
    if node is None or node.creation is None or node.creation > owner.creation:
        return view.owner_since_s  # it has gone for good, or begun anew and forgotten
    if node.lost_s is not None:
        return max(node.lost_s + settings.grace_s, view.owner_since_s)
    if owner.phase == "taking":
        return view.owner_since_s + settings.takeover_s
    return None


def candidates(situation: Situation, view: PartitionView) -> tuple[str, ...]:
    """Who may lead, in the order in which they try.

    Those who are to own nothing come last, as do one that is named and does not get there, and one
    that has just given it up.
    """

    def rank(name: str) -> tuple[bool, bool]:
        owner = view.owner
        failed = owner is not None and owner.node == name
        if owner is not None and failed:
            hung = owner.phase == "taking" and name != situation.me
            failed = hung or owner.phase == "free"
        return (not situation.nodes[name].willing, failed)

    there = [
        name
        for name in view.replicas
        if name in situation.nodes
        and situation.nodes[name].creation is not None
        and situation.nodes[name].lost_s is None
    ]
    return tuple(sorted(there, key=rank))


def successor(situation: Situation, view: PartitionView) -> str | None:
    """To whom this node would give a partition that it is not to own; None if there is nobody."""
    placed = situation.me in view.replicas
    for name in candidates(situation, view):
        # One that is to own nothing itself would give it back.
        if name != situation.me and (situation.nodes[name].willing or not placed):
            return name
    return None


def proxy_target(situation: Situation, view: PartitionView) -> str | None:
    """The node to which messages for the partition are passed; None if nobody serves.

    Only one that says it leads: messages to one that is about to would find nobody.
    """
    owner = view.owner
    if owner is None or owner.phase != "leading" or owner.node == situation.me:
        return None
    node = situation.nodes.get(owner.node)
    if node is None or node.lost_s is not None or node.creation != owner.creation:
        return None
    return owner.node
