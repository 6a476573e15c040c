"""A WebSocket server's process: it admits connections, and knows whose sessions are here.

Two caches spare it the manager. The first: the sessions here, with the placement of their
accounts, which the manager keeps current; if both parties are here, the manager is not asked. The
second: where recent peers are, the least recently used forgotten first; the manager tells of
changes as long as an account is in it.

Each partition has a manager and a presence, on whatever node; those of an account are told of its
sessions, and a new one is told of all that concern it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from palaver.actors.chat.messages import (
    Announce,
    AnnounceAgain,
    Close,
    Drain,
    Forget,
    GatewayUp,
    LookUp,
    Opened,
    Placement,
    Present,
    RegisterSession,
    Release,
    Rewatch,
    Route,
    RouteHere,
    SessionOp,
    Welcome,
    Withdraw,
)
from palaver.actors.chat.names import (
    manager_name,
    presence_name,
    queues_name,
    sessions_name,
)
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import NOREPLY, Down, From, GenServer, NoReply, Pid, Response
from palaver.supervisors import ChildSpec, StartChild
from palaver.transport import wire
from palaver.transport.edge import Connection

if TYPE_CHECKING:
    from palaver.actors.chat.context import SessionContext

__all__ = ["Gateway"]

#: How many accounts the cache of recent peers remembers, unless told otherwise.
RECENT_PEERS = 10_000

#: Operations that wait for the manager's answer, per account; hints beyond it are dropped.
_WAITING_OPS = 64

_MEET_S = 0.05

#: A drain that is paced tells the next clients so often at most.
_PACE_MS = 20


class _Meet(NamedTuple):
    """A manager or presence was not there: try again."""


class _SendNextAway(NamedTuple):
    drain: Drain


class Gateway(GenServer):
    """Admits connections of one listener and routes hints to the sessions here and elsewhere."""

    __slots__ = (
        "_context",
        "_drainers",
        "_draining",
        "_elsewhere",
        "_leaving",
        "_lines",
        "_managers",
        "_meeting",
        "_number",
        "_opening",
        "_owners",
        "_pace",
        "_peers",
        "_peers_limit",
        "_places",
        "_presences",
        "_refs",
        "_session_class",
        "_sessions",
        "_stats",
        "_unmet",
        "_waiting",
    )

    def init(
        self,
        number: int,
        session_class: type[GenServer],
        context: SessionContext,
        stats: ChatStats,
        hang_up: Callable[[int], None],
        recent_peers: int = RECENT_PEERS,
    ) -> None:
        """Serve as gateway `number`; `context` is passed to every session.

        `hang_up` closes the connections of an earlier gateway of this number.
        """
        hang_up(number)
        self._number = number
        self._session_class = session_class
        self._context = context
        self._places = context.places
        self._stats = stats
        stats.sessions_by_gateway[number] = 0  # those of an earlier one have ended with it
        self._peers_limit = recent_peers
        self._sessions: dict[str, dict[int, Pid]] = {}
        self._elsewhere: dict[str, tuple[Pid, ...]] = {}
        self._refs: dict[Any, tuple[Connection, Pid]] = {}
        self._owners: dict[Pid, tuple[str, int]] = {}
        self._lines: dict[Pid, Connection] = {}
        self._peers: OrderedDict[str, tuple[Pid, ...]] = OrderedDict()
        self._waiting: dict[str, deque[tuple[Any, bytes]]] = {}
        self._opening: dict[Any, Connection] = {}
        self._draining: Drain | None = None
        self._drainers: list[From] = []
        self._leaving: deque[Pid] = deque()
        self._pace = 1, 0.0
        # The numbers of the partitions whose manager or presence it has met, by monitor.
        self._managers: dict[Any, int] = {}
        self._presences: dict[Any, int] = {}
        self._unmet: dict[tuple[Callable[[int], None], int], None] = {}
        self._meeting = False
        for partition in range(self._places.partitions):
            self._meet_manager(partition)
            self._meet_presence(partition)

    def handle_info(self, message: Any) -> None:
        """Take a connection, a session's registration, something to route, or news."""
        if type(message) is Route:
            for account in message.accounts:
                self._route(account, message.key, message.op)
            return
        match message:
            case RouteHere(account, key, op):
                self._deliver(account, key, op)
            case Opened(connection):
                self._admit(connection)
            case Response(ref, value, error):
                self._admitted(ref, value, error)
            case RegisterSession():
                self._register(*message)
            case Placement() | Release() | AnnounceAgain():
                self._told(message)
            case Down(ref, _, _):
                self._down(ref)
            case _SendNextAway(drain):
                self._send_next_away(drain)
            case Welcome():
                self._welcome()
            case _Meet():
                self._meeting = False
                unmet, self._unmet = self._unmet, {}
                for meet, partition in unmet:
                    meet(partition)
            case _:
                super().handle_info(message)

    def handle_call(self, request: Drain, from_: From) -> NoReply | None:
        """Tell every client to come back later; the reply comes when all have gone."""
        self._draining = request
        if request.paced:
            self._leaving = deque(session for _, session in self._refs.values())
            count, spread_ms = max(1, len(self._leaving)), max(1, request.spread_ms)
            every_ms = max(_PACE_MS, spread_ms / count)
            self._pace = ceil(count * every_ms / spread_ms), every_ms / 1000
            self._send_next_away(request)
        else:
            for _, session in self._refs.values():
                self._send_away(session, request)
        if not self._refs and not self._opening:
            return None
        self._drainers.append(from_)
        return NOREPLY

    def _send_away(self, session: Pid, drain: Drain) -> None:
        delay_ms = int(self.random.uniform(0, drain.spread_ms)) + drain.least_ms
        self.send(session, Close(wire.CloseCode.GOING_AWAY, "this server restarts", delay_ms))

    def _send_next_away(self, drain: Drain) -> None:
        """Tell the next ones, unless the drain is over or another one."""
        if self._draining is not drain:
            return
        count, every_s = self._pace
        for _ in range(min(count, len(self._leaving))):
            self._send_away(self._leaving.popleft(), drain)
        if self._leaving:
            self.send_after(every_s, self.pid, _SendNextAway(drain))

    def _welcome(self) -> None:
        self._draining = None
        self._leaving.clear()
        for from_ in self._drainers:
            self.reply(from_, None)
        self._drainers.clear()

    # -- connections -------------------------------------------------------------------------

    def _admit(self, connection: Connection) -> None:
        if self._draining is not None:
            connection.close(wire.CloseCode.GOING_AWAY, "this server is going away")
            return
        spec = ChildSpec(
            id=connection,
            start=self._session_class,
            args=(connection, self.pid, queues_name(self._number), self._context),
            restart="temporary",
        )
        ref = self.send_request(sessions_name(self._number), StartChild(spec))
        self._opening[ref] = connection

    def _admitted(self, ref: Any, session: Any, error: BaseException | None) -> None:
        connection = self._opening.pop(ref, None)
        if connection is None:
            return
        if error is not None:
            connection.close(wire.CloseCode.INTERNAL, "no session could be started")
            return
        self._refs[self.monitor(session)] = (connection, session)
        if self._draining is not None:  # it was being started when the drain began
            self.send(session, Close(wire.CloseCode.GOING_AWAY, "this server restarts", 0))

    def _register(self, account: str, device: int, session: Pid, connection: Connection) -> None:
        devices = self._sessions.setdefault(account, {})
        before = devices.get(device)
        if before is not None and before is not session:
            self.send(before, _replaced())
        devices[device] = session
        self._owners[session] = (account, device)
        manager = self._places.manager_of(account)
        if self._peers.pop(account, None) is not None:
            self.send(manager, Forget(self.pid, account))
        self.send(manager, Announce(self.pid, account, device, session))
        presence = self._places.presence_of(account)
        self.send(presence, Present(self.pid, account, device, session, True))
        self._lines[session] = connection
        self._stats.sessions_by_gateway[self._number] += 1

    def _down(self, ref: Any) -> None:
        known = self._refs.pop(ref, None)
        if known is None:
            self._meet_next(ref)
            return
        connection, session = known
        # A session that ended in order has closed its connection; after a crash this does it.
        connection.close(wire.CloseCode.INTERNAL, "the session ended")
        if not self._refs:
            for from_ in self._drainers:
                self.reply(from_, None)
            self._drainers.clear()
        self._lines.pop(session, None)
        owner = self._owners.pop(session, None)
        if owner is None:
            return
        account, device = owner
        self._stats.sessions_by_gateway[self._number] -= 1
        devices = self._sessions.get(account, {})
        if devices.get(device) is session:
            del devices[device]
        if not devices:
            self._sessions.pop(account, None)
            self._elsewhere.pop(account, None)
        manager = self._places.manager_of(account)
        self.send(manager, Withdraw(self.pid, account, device, session, not devices))
        presence = self._places.presence_of(account)
        self.send(presence, Present(self.pid, account, device, session, False))

    def _release(self, account: str, device: int, newer: Pid) -> None:
        session = self._sessions.get(account, {}).get(device)
        if session is not None and session is not newer:
            self.send(session, _replaced())

    # -- routing -----------------------------------------------------------------------------

    def _route(self, account: str, key: Any, op: bytes) -> None:
        if account in self._sessions:
            self._stats.cache_hits["local"] += 1
            self._deliver(account, key, op)
            for gateway in self._elsewhere.get(account, ()):
                self.send(gateway, RouteHere(account, key, op))
            return
        self._stats.cache_misses["local"] += 1
        known = self._peers.get(account)
        if known is not None:
            self._stats.cache_hits["recent_peers"] += 1
            self._peers.move_to_end(account)
            for gateway in known:
                self.send(gateway, RouteHere(account, key, op))
            return
        self._stats.cache_misses["recent_peers"] += 1
        waiting = self._waiting.get(account)
        if waiting is None:
            waiting = self._waiting[account] = deque(maxlen=_WAITING_OPS)
            self.send(self._places.manager_of(account), LookUp(self.pid, account))
        waiting.append((key, op))

    def _deliver(self, account: str, key: Any, op: bytes) -> None:
        for session in self._sessions.get(account, {}).values():
            self._stats.hints_out += 1
            line = self._lines.get(session)
            if line is not None and line.writable:
                line.send_patiently(op)
            else:
                # Only for a slow reader the session has to keep the latest of each kind.
                self.send(session, SessionOp(key, op))

    def _placed(self, account: str, gateways: tuple[Pid, ...]) -> None:
        others = tuple(gateway for gateway in gateways if gateway is not self.pid)
        if account in self._sessions:
            if others:
                self._elsewhere[account] = others
            else:
                self._elsewhere.pop(account, None)
        elif account in self._peers or account in self._waiting:
            self._peers[account] = others
            self._peers.move_to_end(account)
            if len(self._peers) > self._peers_limit:
                oldest, _ = self._peers.popitem(last=False)
                self.send(self._places.manager_of(oldest), Forget(self.pid, oldest))
        for key, op in self._waiting.pop(account, ()):
            self._deliver(account, key, op)
            for gateway in others:
                self.send(gateway, RouteHere(account, key, op))

    def _told(self, news: Placement | Release | AnnounceAgain) -> None:
        """Do what a manager says."""
        match news:
            case Placement(account, gateways):
                self._placed(account, gateways)
            case Release(account, device, newer):
                self._release(account, device, newer)
            case AnnounceAgain(partition):
                self._announce_all(partition)

    # -- processes that may begin anew ----------------------------------------------------------

    def _meet_next(self, ref: Any) -> None:
        """A manager or a presence has ended."""
        partition = self._managers.pop(ref, None)
        if partition is not None:
            self._meet_manager(partition)
            return
        partition = self._presences.pop(ref, None)
        if partition is not None:
            self._meet_presence(partition)

    def _meet_manager(self, partition: int) -> None:
        """Begin with a new manager: announce what is here, forget what the old one said."""
        number_of = self._places.number_of
        for account in [one for one in self._peers if number_of(one) == partition]:
            del self._peers[account]
        for account in [one for one in self._waiting if number_of(one) == partition]:
            del self._waiting[account]
        manager = manager_name(partition)
        if self._meet(manager, partition, self._managers, self._meet_manager):
            self.send(manager, GatewayUp(self.pid))
            self._announce_all(partition)

    def _announce_all(self, partition: int) -> None:
        manager = manager_name(partition)
        for account, device, session in self._sessions_of(partition):
            self.send(manager, Announce(self.pid, account, device, session))

    def _meet_presence(self, partition: int) -> None:
        """Begin with a new presence: say who is here, and let the sessions subscribe again."""
        presence = presence_name(partition)
        if self._meet(presence, partition, self._presences, self._meet_presence):
            self.send(presence, GatewayUp(self.pid))
            for account, device, session in self._sessions_of(partition):
                self.send(presence, Present(self.pid, account, device, session, True))
            for session in self._owners:  # whoever watches an account of that partition
                self.send(session, Rewatch(partition))

    def _sessions_of(self, partition: int) -> Iterator[tuple[str, int, Pid]]:
        number_of = self._places.number_of
        for account, devices in self._sessions.items():
            if number_of(account) == partition:
                for device, session in devices.items():
                    yield account, device, session

    def _meet(
        self, name: str, partition: int, met: dict[Any, int], meet: Callable[[int], None]
    ) -> bool:
        if self.whereis(name) is not None:
            met[self.monitor(name)] = partition
            return True
        self._unmet[meet, partition] = None
        if not self._meeting:
            self._meeting = True
            self.send_after(_MEET_S, self.pid, _Meet())
        return False


def _replaced() -> Close:
    return Close(wire.CloseCode.REPLACED, "this device connected elsewhere", None)
