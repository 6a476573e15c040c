"""What a fabric tells its owner, as values."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from .link import Link

__all__ = ["Arrived", "Down", "Event", "Heard", "Up"]


class Up(NamedTuple):
    """There is a connection."""

    link: Link


class Arrived(NamedTuple):
    """Packets have come over a connection."""

    link: Link
    packets: list[bytes]


class Down(NamedTuple):
    """A connection that was up is over."""

    link: Link
    reason: str


class Heard(NamedTuple):
    """A node has said that it is here."""

    node_name: str
    creation: int
    payload: bytes


Event: TypeAlias = Up | Arrived | Down | Heard
