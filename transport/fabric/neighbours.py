"""Which other nodes a node has heard of, connected or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from .limits import FabricLimits

__all__ = ["Known", "Neighbours"]

log = structlog.get_logger("palaver.fabric")

_FORGET_TIMES: Final = 10
"""A node that was silent for so many times `net_ticktime_s` may be forgotten for another."""


@dataclass(slots=True)
class Known:
    """What is known of a node, connected or not.

    Attributes:
        name: its name.
        creation: the latest of its incarnations that was heard of.
        payload: what it has told everybody.
        heard_s: when it was heard of last, by the fabric's clock.
        attempt: the latest of its attempts to connect.
        wanted: whether somebody has asked for a connection.
    """

    name: str
    creation: int = 0
    payload: bytes = b""
    heard_s: float = 0.0
    attempt: int = 0
    wanted: bool = False


class Neighbours:
    """The nodes that one node knows; at most `FabricLimits.max_nodes`."""

    __slots__ = ("_conflict", "_connected", "_full", "_limits", "_me", "_nodes")

    def __init__(self, me: str, limits: FabricLimits, connected: Mapping[str, object]) -> None:
        self._me = me
        self._limits = limits
        self._connected = connected
        self._nodes: dict[str, Known] = {}
        self._conflict = ("", 0)
        self._full = False

    def get(self, name: str) -> Known | None:
        """What is known of a node, if anything."""
        return self._nodes.get(name)

    def all(self) -> list[Known]:
        """All that are known, in the order in which they were heard of."""
        return list(self._nodes.values())

    def know(self, name: str, now_s: float) -> Known | None:
        """What is known of a node, from now on; None if there are too many, or it is this one."""
        known = self._nodes.get(name)
        if known is not None or name == self._me:
            return known
        if len(self._nodes) >= self._limits.max_nodes and not self._forget_one(now_s):
            if not self._full:
                log.error("fabric meets no more nodes", node=self._me, max_nodes=len(self._nodes))
            self._full = True
            return None
        self._full = False
        known = self._nodes[name] = Known(name, heard_s=now_s)
        return known

    def _forget_one(self, now_s: float) -> bool:
        """Forget who was not heard of for longest, of those that are not connected."""
        gone = [one for one in self._nodes.values() if one.name not in self._connected]
        if not gone:
            return False
        oldest = min(gone, key=lambda one: one.heard_s)
        if oldest.heard_s > now_s - _FORGET_TIMES * self._limits.net_ticktime_s:
            return False
        del self._nodes[oldest.name]
        return True

    def conflict(self, name: str, creation: int, mine: int) -> bool:
        """Somebody has this node's name, or calls though it is for this one to call; log it once.

        False for what is no sign of that: this node itself, and what an earlier life of it said.
        """
        if name == self._me and creation <= mine:
            return False
        if self._conflict != (name, creation):
            self._conflict = (name, creation)
            log.error(
                "another node has this node's name, or does not keep to the order of names; "
                "give each node of the cluster a name of its own",
                node=self._me,
                creation=mine,
                other=name,
                other_creation=creation,
            )
        return True
