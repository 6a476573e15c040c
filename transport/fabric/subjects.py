"""The NATS subjects of a cluster: one per node, and one to which all listen.

palaver.<cluster>.to.<node>     what is meant for one node
palaver.<cluster>.all           what is meant for every node: who is here

Names are written so that no name can be a wildcard, a separator, or another name: letters, digits,
"-" and "_" stand for themselves, every other byte of the name's UTF-8 is "=" and two hex digits.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_NAME_BYTES", "Subjects", "check_name", "encoded"]

MAX_NAME_BYTES: Final = 255
"""The longest name of a node or a cluster, in UTF-8."""

_MAX_REMEMBERED: Final = 8_192

_SAFE: Final = re.compile(rb"[^A-Za-z0-9_-]")


def check_name(name: str) -> str:
    """Return a node's or cluster's name; raises `ValueError` if it is empty or too long."""
    size = len(name.encode("utf-8"))
    if not 0 < size <= MAX_NAME_BYTES:
        raise ValueError(f"a name has 1 to {MAX_NAME_BYTES} bytes, not {size}: {name[:40]!r}")
    return name


def encoded(name: str) -> str:
    """Return a name as one token of a subject; different names have different tokens."""
    raw = check_name(name).encode("utf-8")
    return _SAFE.sub(lambda found: b"=%02X" % found[0][0], raw).decode("ascii")


class Subjects:
    """The subjects of one cluster, as nats-py's short way wants them."""

    __slots__ = ("_nodes", "everybody", "prefix")

    def __init__(self, cluster: str) -> None:
        self.prefix = f"palaver.{encoded(cluster)}"
        self.everybody = f"{self.prefix}.all".encode()
        self._nodes: dict[str, bytes] = {}

    def node(self, name: str) -> bytes:
        """The subject of a node."""
        subject = self._nodes.get(name)
        if subject is None:
            if len(self._nodes) >= _MAX_REMEMBERED:
                self._nodes.clear()
            subject = self._nodes[name] = f"{self.prefix}.to.{encoded(name)}".encode()
        return subject
