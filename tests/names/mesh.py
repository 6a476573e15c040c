"""A fabric for tests: it keeps its promises and nothing beyond them.

Between each two nodes there is a connection or none. What is sent waits in a queue for each
direction, and moves when a test lets it, one thing at a time, any pair before any other. When a
connection is lost, the end of what is under way is lost with it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

from palaver.actors.names import NodeUp, PeerDown, PeerEvent, PeerMessage
from palaver.actors.runtime import Pid

Deliver = Callable[[PeerEvent], None]


class Line:
    """One scope process."""

    def __init__(self, mesh: Mesh, scope: str, pid: Pid, deliver: Deliver) -> None:
        self.mesh = mesh
        self.scope = scope
        self.pid = pid
        self.node_name = pid.node_name
        self.deliver = deliver
        self.open = True
        self.watched: dict[Pid, None] = {}

    def nodes(self) -> list[str]:
        return [other for other in self.mesh.names if self.mesh.connected(self.node_name, other)]

    def send_to_node(self, node_name: str, message: PeerMessage) -> None:
        self.mesh.post(self.node_name, node_name, lambda: self._at(node_name, message))

    def _at(self, node_name: str, message: PeerMessage) -> None:
        line = self.mesh.line_of(node_name, self.scope)
        if line is not None:
            line.deliver(message)

    def send(self, peer: Pid, message: PeerMessage) -> None:
        def arrive() -> None:
            line = self.mesh.lines.get(peer)
            if line is not None:
                line.deliver(message)

        self.mesh.post(self.node_name, peer.node_name, arrive)

    def watch(self, peer: Pid) -> None:
        self.watched[peer] = None
        if not self.mesh.connected(self.node_name, peer.node_name):
            self.mesh.post_always(peer.node_name, self.node_name, lambda: self.lost(peer))
        elif peer not in self.mesh.lines:
            self.mesh.post(peer.node_name, self.node_name, lambda: self.lost(peer))

    def lost(self, peer: Pid) -> None:
        if self.open and peer in self.watched:
            del self.watched[peer]
            self.deliver(PeerDown(peer))

    def close(self) -> None:
        self.open = False
        del self.mesh.lines[self.pid]
        for other in self.mesh.names:
            self.mesh.post(self.node_name, other, lambda other=other: self._ended(other))

    def _ended(self, node_name: str) -> None:
        for line in list(self.mesh.lines.values()):
            if line.node_name == node_name:
                line.lost(self.pid)


class Mesh:
    """The nodes of these names, all connected at first."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.lines: dict[Pid, Line] = {}
        self.links = {frozenset((a, b)) for a in self.names for b in self.names if a != b}
        # By (from, to): what is under way.
        self.queues: dict[tuple[str, str], deque[Callable[[], None]]] = {}

    def open(self, scope: str, pid: Pid, deliver: Deliver) -> Line:
        line = Line(self, scope, pid, deliver)
        self.lines[pid] = line
        return line

    def line_of(self, node_name: str, scope: str) -> Line | None:
        for line in self.lines.values():
            if line.node_name == node_name and line.scope == scope:
                return line
        return None

    def connected(self, a: str, b: str) -> bool:
        return frozenset((a, b)) in self.links

    def post(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        if self.connected(source, target):
            self.post_always(source, target, arrive)

    def post_always(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        self.queues.setdefault((source, target), deque()).append(arrive)

    def drop(self, a: str, b: str, rng: random.Random) -> None:
        """Lose the connection, and some of what is under way; each side hears of it in time."""
        if not self.connected(a, b):
            return
        self.links.discard(frozenset((a, b)))
        for source, target in ((a, b), (b, a)):
            queue = self.queues.setdefault((source, target), deque())
            # Only what was sent on this connection may be lost, not the news of earlier losses.
            lost = rng.randrange(len(queue) + 1)
            kept = list(queue)[: len(queue) - lost]
            news = [each for each in list(queue)[len(queue) - lost :] if hasattr(each, "news")]
            queue.clear()
            queue.extend(kept + news)
            queue.append(News(self, source, target, up=False))

    def connect(self, a: str, b: str) -> None:
        if a == b or self.connected(a, b):
            return
        self.links.add(frozenset((a, b)))
        for source, target in ((a, b), (b, a)):
            self.post_always(source, target, News(self, source, target, up=True))

    def step(self, rng: random.Random) -> bool:
        """Let one thing arrive; False if nothing is under way."""
        busy = [pair for pair, queue in self.queues.items() if queue]
        if not busy:
            return False
        self.queues[rng.choice(busy)].popleft()()
        return True


class News:
    """What `target` hears about its connection to `source`."""

    news = True

    def __init__(self, mesh: Mesh, source: str, target: str, *, up: bool) -> None:
        self.mesh = mesh
        self.source = source
        self.target = target
        self.up = up

    def __call__(self) -> None:
        for line in [each for each in self.mesh.lines.values() if each.node_name == self.target]:
            if self.up:
                line.deliver(NodeUp(self.source))
                continue
            for peer in [each for each in line.watched if each.node_name == self.source]:
                line.lost(peer)
