"""The fabric's decisions, as plain code over bytes and times: who is there, who is connected.

A node tells everybody, by heartbeats, that it is here. Of two nodes the one whose name comes first
calls the other: hello, welcome, and with the first frame behind them the connection is up on both
sides. It is over when a frame is missing, when nothing has come for `net_ticktime_s`, when too much
waits, when a frame makes no sense, when the other node is another incarnation, or when one of both
says so; whoever ends it says bye, so that the other side need not wait for the silence.

What belongs to an earlier incarnation or an earlier attempt is recognised by its numbers, and has
no effect. The incarnation of a node (`creation`) must be greater than those before it.

Nothing is sent and nobody is told here: `out` collects what is to be sent, `events` what is to be
told, each in its order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog

from . import frames
from .events import Arrived, Down, Event, Heard, Up
from .frames import BadFrame
from .limits import FabricLimits, FabricStats
from .link import Gap, Link
from .neighbours import Known, Neighbours
from .subjects import check_name

__all__ = ["Core", "meet_all"]

log = structlog.get_logger("palaver.fabric")

_TICKS_PER_TIME: Final = 4


def meet_all(_node_name: str, _payload: bytes) -> bool:
    """Meet every node of the cluster."""
    return True


class Core:
    """One node's part in the fabric of its cluster.

    Args:
        name: the node's.
        creation: which of its incarnations this is; greater than those before.
        limits: times and sizes.
        frame_bytes: the largest frame; at most what NATS takes.
        now_s: the time.
        meets: whether to be connected to a node, by its name and what it tells everybody; both
            sides have to come to the same answer. Others are connected to when `want`ed.
        greeting: what the other side of a connection gets first.
    """

    def __init__(
        self,
        name: str,
        creation: int,
        limits: FabricLimits,
        frame_bytes: int,
        now_s: float,
        meets: Callable[[str, bytes], bool] = meet_all,
        greeting: bytes = b"",
    ) -> None:
        self.name = check_name(name)
        self.creation = creation
        self.greet(greeting)
        self.payload = b""
        self.stats = FabricStats()
        self.out: list[tuple[str | None, bytes]] = []
        self.events: deque[Event] = deque()
        self.links: dict[str, Link] = {}
        """The connections that are up."""
        self.frame_bytes = frame_bytes
        self.neighbours = Neighbours(name, limits, self.links)
        self._limits = limits
        self._meets = meets
        self._dials: dict[str, tuple[int, float]] = {}
        self._accepting: dict[str, Link] = {}
        self._dirty: list[Link] = []
        self._byes: dict[str, float] = {}
        self._attempts = 0
        self._looked_s = now_s
        self._lenient = False
        self._told_all_s = now_s - limits.heartbeat_s
        self._writable = True
        self._stopped = False

    # -- what the owner asks -------------------------------------------------------------------

    def send(self, node_name: str, packet: bytes) -> bool:
        """Queue a packet, if the node is connected; True if `flush` is to be called."""
        link = self.links.get(node_name)
        if link is None:
            return False
        if not link.push(packet):
            self.stats.overflows += 1
            waits = link.waiting_bytes + link.unacked_bytes
            self.give_up(link, f"{waits} bytes wait, which is too much")
            return True
        if link.dirty:
            return False
        link.dirty = True
        self._dirty.append(link)
        return True

    def flush(self, now_s: float) -> None:
        """Put all that was queued, and that windows let go, into `out`."""
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            link.dirty = False
            self._pump(link, now_s)

    def disconnect(self, node_name: str, reason: str) -> None:
        """Give up the connection to a node, made or half made."""
        self._dials.pop(node_name, None)
        self._accepting.pop(node_name, None)
        link = self.links.get(node_name)
        if link is not None:
            self.give_up(link, reason)

    def want(self, node_name: str, now_s: float) -> None:
        """Be connected to a node, whatever `meets` says of it, as long as it is there."""
        known = self.neighbours.know(node_name, now_s)
        if known is not None and not known.wanted:
            known.wanted = True
            self._meet(known, now_s)

    def greet(self, greeting: bytes) -> None:
        """Say something else first on connections to come."""
        if len(greeting) > frames.MAX_GREETING_BYTES:
            raise ValueError(f"{len(greeting)} bytes; at most {frames.MAX_GREETING_BYTES}")
        self.greeting = greeting

    def announce(self, payload: bytes, now_s: float) -> None:
        """Tell everybody something, now and with each heartbeat."""
        if len(payload) > frames.MAX_PAYLOAD_BYTES:
            raise ValueError(f"{len(payload)} bytes; at most {frames.MAX_PAYLOAD_BYTES}")
        self.payload = payload
        self._tell_all(now_s)

    def stop(self, reason: str) -> None:
        """Say goodbye to all, and answer nobody any more."""
        for link in list(self.links.values()):
            self.give_up(link, reason)
        self._stopped = True
        self._dials.clear()
        self._accepting.clear()

    def writable(self, writable: bool, now_s: float) -> None:
        """Hear whether something can be sent at all; what is queued waits meanwhile."""
        if writable and not self._writable:
            self._writable = True
            for link in self.links.values():
                self._pump(link, now_s)
        self._writable = writable

    # -- what the clock says -------------------------------------------------------------------

    def look(self, now_s: float) -> None:
        """Do what is due; to be called every `limits.beat_s`.

        If it is called much later than that, this node was paused or busy, and what has come
        meanwhile is not read yet: silence is judged when it is called the next time.
        """
        limits = self._limits
        late = now_s - self._looked_s > 2 * limits.beat_s
        self._looked_s = now_s
        self._lenient = late and not self._lenient
        if not self._lenient:
            self._end_silent(now_s)
        if not self._writable:
            return
        for link in self.links.values():
            if now_s - link.told_s >= limits.net_ticktime_s / _TICKS_PER_TIME:
                self._put(link.name, link.tick(now_s))
        if now_s - self._told_all_s >= limits.heartbeat_s:
            self._tell_all(now_s)

    def _end_silent(self, now_s: float) -> None:
        limits = self._limits
        for link in list(self.links.values()):
            silent_s = now_s - link.heard_s
            if silent_s >= limits.net_ticktime_s:
                self.stats.silent += 1
                self.give_up(link, f"nothing has come for {silent_s:.1f} s")
        for name, link in list(self._accepting.items()):
            if now_s - link.since_s >= limits.net_ticktime_s:
                del self._accepting[name]
        for name, (_, since_s) in list(self._dials.items()):
            if now_s - since_s >= limits.setup_s:
                del self._dials[name]

    def _tell_all(self, now_s: float) -> None:
        if self._writable and not self._stopped:
            self._told_all_s = now_s
            self._put(None, frames.here(self.name, self.creation, self.payload))

    # -- what comes ----------------------------------------------------------------------------

    def receive(self, raw: bytes, now_s: float) -> None:
        """Take a message that NATS has brought; nothing is raised, whatever it is."""
        if self._stopped:
            return
        self.stats.frames_in += 1
        self.stats.bytes_in += len(raw)
        try:
            fields = frames.parse(raw)
        except BadFrame as exc:
            self.stats.bad_frames += 1
            log.warning("fabric got no frame", node=self.name, bytes=len(raw), error=str(exc))
            return
        kind = fields[0]
        if kind == frames.DATA:
            self._data(fields, len(raw), now_s)
        elif kind == frames.BYE:
            self._bye(fields)
        elif kind == frames.HELLO:
            self._hello(fields, now_s)
        elif kind == frames.WELCOME:
            self._welcome(fields, now_s)
        else:
            self._here(fields, now_s, call_me=kind == frames.CALL_ME)

    def _data(self, fields: list[Any], size: int, now_s: float) -> None:
        _, name, creation, to, attempt, sequence, acknowledged, packets = fields[:8]
        link = self.links.get(name)
        if link is None or not link.is_of(creation, attempt) or to != self.creation:
            link = self._accepting.get(name)
            if link is None or not link.is_of(creation, attempt) or to != self.creation:
                self._stray(name, creation, to, attempt, now_s)
                return
            del self._accepting[name]
            self._open(link)
        try:
            whole = link.take(sequence, acknowledged, packets, size, now_s)
        except Gap as exc:
            self.stats.gaps += 1
            self.give_up(link, f"messages between the nodes were lost: {exc}")
            return
        except BadFrame as exc:
            self.stats.bad_frames += 1
            self.give_up(link, f"a bad frame has come: {exc}")
            return
        if whole:
            self.stats.packets_in += len(whole)
            self.events.append(Arrived(link, whole))
        if link.can_send:
            self._pump(link, now_s)
        if link.must_ack:
            self._put(name, link.tick(now_s))

    def _bye(self, fields: list[Any]) -> None:
        _, name, creation, to, attempt, reason = fields[:6]
        if to != self.creation:
            return
        link = self.links.get(name)
        if link is not None and link.is_of(creation, attempt):
            self._end(link, f"{name} says: {reason}")
        accepting = self._accepting.get(name)
        if accepting is not None and accepting.is_of(creation, attempt):
            del self._accepting[name]
        if self._dials.get(name, (0, 0.0))[0] == attempt:
            del self._dials[name]
            log.info("fabric call refused", node=self.name, peer=name, reason=reason)

    def _hello(self, fields: list[Any], now_s: float) -> None:
        _, version, name, creation, attempt, window, greeting = fields[:7]
        if name >= self.name:
            self._conflict(name, creation)
            return
        known = self.neighbours.know(name, now_s)
        if known is None:
            return
        if version < frames.VERSION:
            self._put(name, frames.bye(self.name, self.creation, creation, attempt, "too old"))
            return
        if (creation, attempt) <= (known.creation, known.attempt):
            self.stats.strays += 1
            return
        self._see(known, creation, now_s)
        known.attempt = attempt
        earlier = self.links.get(name)
        if earlier is not None:
            # It would not call if it had that one still.
            self._end(earlier, f"{name} has connected again")
        self._accepting[name] = self._link(name, creation, attempt, window, greeting, now_s)
        mine = (self._limits.window_bytes, self.greeting)
        self._put(name, frames.welcome(self.name, self.creation, creation, attempt, *mine))

    def _welcome(self, fields: list[Any], now_s: float) -> None:
        _, _, name, creation, to, attempt, window, greeting = fields[:8]
        known = self.neighbours.get(name)
        dial = self._dials.get(name)
        if known is None or dial is None or dial[0] != attempt or to != self.creation:
            self.stats.strays += 1
            return
        if creation < known.creation:
            self.stats.strays += 1
            return
        self._see(known, creation, now_s)
        self._dials.pop(name, None)
        link = self._link(name, creation, attempt, window, greeting, now_s)
        self._open(link)
        self._put(name, link.tick(now_s))  # only now it is up over there

    def _here(self, fields: list[Any], now_s: float, *, call_me: bool) -> None:
        _, _, name, creation, payload = fields[:5]
        if name == self.name:
            self._conflict(name, creation)
            return
        known = self.neighbours.know(name, now_s)
        if known is None:
            return
        if creation < known.creation:
            self.stats.strays += 1
            return
        new = known.creation != creation
        self._see(known, creation, now_s)
        known.payload = payload
        self.events.append(Heard(name, creation, payload))
        if name > self.name:
            if call_me or known.wanted or self._meets(name, payload):
                self._dial(known, now_s)
        elif new or known.wanted:
            self._meet(known, now_s)

    # -- nodes ---------------------------------------------------------------------------------

    def _see(self, known: Known, creation: int, now_s: float) -> None:
        """A node has been heard of; what was connected to an earlier life of it is over."""
        known.heard_s = now_s
        if creation > known.creation:
            known.creation = creation
            known.attempt = 0
            link = self.links.get(known.name)
            if link is not None and link.creation < creation:
                self._end(link, f"{known.name} has begun anew")
            accepting = self._accepting.get(known.name)
            if accepting is not None and accepting.creation < creation:
                del self._accepting[known.name]
            self._dials.pop(known.name, None)

    def _meet(self, known: Known, now_s: float) -> None:
        """Dial a node, or ask it to dial, if they are to meet."""
        if known.name in self.links or self._stopped:
            return
        if known.wanted or self._meets(known.name, known.payload):
            if known.name > self.name:
                self._dial(known, now_s)
            else:
                mine = frames.call_me(self.name, self.creation, self.payload)
                self._put(known.name, mine)

    def _dial(self, known: Known, now_s: float) -> None:
        name = known.name
        if name in self.links or name in self._dials or not self._writable or self._stopped:
            return
        self._attempts += 1
        self._dials[name] = (self._attempts, now_s)
        mine = (self._limits.window_bytes, self.greeting)
        self._put(name, frames.hello(self.name, self.creation, self._attempts, *mine))

    def _conflict(self, name: str, creation: int) -> None:
        if self.neighbours.conflict(name, creation, self.creation):
            self.stats.conflicts += 1

    # -- connections ---------------------------------------------------------------------------

    def _link(
        self, name: str, creation: int, attempt: int, window: int, greeting: bytes, now_s: float
    ) -> Link:
        me, them = (self.name, self.creation), (name, creation)
        return Link(me, them, attempt, window, greeting, self._limits, self.frame_bytes, now_s)

    def _open(self, link: Link) -> None:
        earlier = self.links.get(link.name)
        if earlier is not None:
            self._end(earlier, f"{link.name} has connected again")
        link.opened = True
        self.links[link.name] = link
        self.stats.ups += 1
        self.stats.connected = len(self.links)
        self.events.append(Up(link))

    def _pump(self, link: Link, now_s: float) -> None:
        """Send what waits on a connection, as far as the window goes."""
        if not self._writable or link.over:
            return
        while link.can_send:
            self._put(link.name, link.next_frame(now_s))

    def give_up(self, link: Link, reason: str) -> None:
        """End a connection, and say so to the other side; harmless when repeated."""
        if not link.over:
            self._put(link.name, link.bye(reason))
            self._end(link, reason)

    def _end(self, link: Link, reason: str) -> None:
        link.over = True
        if self.links.get(link.name) is link:
            del self.links[link.name]
            self.stats.downs += 1
            self.stats.connected = len(self.links)
            self.events.append(Down(link, reason))

    def _stray(self, name: str, creation: int, to: int, attempt: int, now_s: float) -> None:
        """A frame of no connection has come: tell its sender, but not for each of them."""
        self.stats.strays += 1
        if to != self.creation or now_s - self._byes.get(name, -1e9) < self._limits.beat_s:
            return
        if len(self._byes) >= self._limits.max_nodes:
            self._byes.clear()
        self._byes[name] = now_s
        gone = "there is no such connection"
        self._put(name, frames.bye(self.name, self.creation, creation, attempt, gone))

    def _put(self, name: str | None, frame: bytes) -> None:
        self.stats.frames_out += 1
        self.stats.bytes_out += len(frame)
        self.out.append((name, frame))
