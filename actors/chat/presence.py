"""Which accounts of a partition are online, who may know it, and when someone was last seen.

It costs what is looked at: an account's changes go only to the sessions that watch it, a flapping
connection is told once per :data:`COALESCE_S`, and last seen is written behind, many accounts in
one command, every :data:`WRITE_S` seconds (that is how much of it a crash of the node can lose).
Nobody is shown a value before it is durable, so that none is ever seen to go backwards.

The rule is reciprocal: who hides their last seen does not see others', and a block hides both
from each other. What may not be seen looks like an account that does not exist. Who looks may be of
another partition: its rows are asked there, and the process of that partition tells of changes. If
it ends, they are asked again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.actors.chat.messages import (
    Answer,
    Append,
    Applied,
    Ask,
    GatewayUp,
    PresenceChanged,
    PresenceIs,
    Present,
    Unwatch,
    Watch,
    Watched,
    WhoIsOnline,
    WriteLastSeen,
)
from palaver.actors.chat.names import Places, partition_name
from palaver.actors.chat.owned import Owned
from palaver.actors.chat.presence_records import Asking, Home, Watching
from palaver.actors.chat.queries import PresenceRow
from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import NOREPLY, Down, From, NoProcess, Pid
from palaver.transport import wire

__all__ = ["COALESCE_S", "WRITE_S", "Presence", "WhoIsOnline", "WriteLastSeen"]

COALESCE_S = 0.1
WRITE_S = 1.0

#: Accounts that stay online have their last seen refreshed this often.
REFRESH_S = 60.0

#: A row that could not be read is asked again after so long.
_ASK_AGAIN_S = 0.5

_WRITE_BATCH = 500
_KNOWN_ROWS = 50_000


_Row = tuple[str, int, int]  # account, device, unix ms


class _Tell(NamedTuple):
    pass


class _Write(NamedTuple):
    pass


class _Refresh(NamedTuple):
    pass


class _AskAgain(NamedTuple):
    account: str


class Presence(Owned):
    """Knows the accounts of its partition that are online, and who watches them."""

    __slots__ = (
        "_asked",
        "_asking",
        "_dirty",
        "_flushing",
        "_gateways",
        "_homes",
        "_last_seen",
        "_number",
        "_online",
        "_partitions",
        "_places",
        "_rows",
        "_sessions",
        "_stats",
        "_telling",
        "_unwritten",
        "_viewers",
        "_watchers",
        "_watching",
        "_writes",
        "_written",
    )

    def init(self, number: int, places: Places, stats: ChatStats) -> None:
        """Serve partition `number`. Begin knowing nothing; the gateways tell who is here."""
        self._number = number
        self._places = places
        self._stats = stats
        stats.online_by_partition[number] = 0
        self._online: dict[str, dict[Pid, Home]] = {}  # account -> session
        self._homes: dict[Home, Home] = {}  # one object for all sessions that have an equal one
        self._gateways: dict[Pid, Any] = {}  # with their monitors
        self._partitions: dict[Any, str] = {}  # by monitor
        self._last_seen: dict[str, int] = {}
        self._unwritten: dict[tuple[str, int], int] = {}
        self._rows: dict[str, PresenceRow] = {}
        self._asking: dict[str, Asking] = {}
        self._asked = 0
        self._watchers: dict[str, dict[Pid, int]] = {}  # account -> session -> mark
        self._watching: dict[Pid, Watching] = {}
        self._sessions: dict[Any, Pid] = {}  # those that watch, by monitor
        self._viewers: dict[str, dict[Pid, None]] = {}  # account -> its sessions that watch
        self._dirty: dict[str, None] = {}
        self._telling = False
        self._writes: dict[int, list[_Row]] = {}  # under way
        self._written = 0
        self._flushing: list[From] = []
        self.send_after(WRITE_S, self.pid, _Write())
        self.send_after(REFRESH_S, self.pid, _Refresh())

    def handle_info(self, message: Any) -> None:
        """Take a session's coming or going, a subscription, a row, or a timer."""
        match message:
            case Present(gateway, account, device, session, True):
                self._came(gateway, account, device, session)
            case Present(_, account, _, session, False):
                self._went(account, session)
            case Watch():
                self._watch(message)
            case Unwatch(session, account):
                self._unwatch(session, account)
            case PresenceChanged(account):
                if account in self._rows or account in self._asking:
                    self._ask(account)
            case Answer((account, number), value, error):
                asking = self._asking.get(account)
                # An earlier question may be answered late, by a process that is no more.
                if asking is not None and asking.number == number:
                    self._known(account, value, error)
            case Applied(number, _, error):
                self._applied(number, error)
            case Down(ref, dest, _):
                self._down(ref, dest)
            case _:
                self._take_rare(message)

    def _take_rare(self, message: Any) -> None:
        match message:
            case GatewayUp(gateway):
                self._meet(gateway)
            case _AskAgain(account):
                self._tell_again(account)
            case _Tell():
                self._tell()
            case _Write():
                self._write()
                self.send_after(WRITE_S, self.pid, _Write())
            case _Refresh():
                self._refresh()
                self.send_after(REFRESH_S, self.pid, _Refresh())
            case _:
                super().handle_info(message)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Tell an operator who is online, or write last seen before a stop."""
        if not isinstance(request, WhoIsOnline | WriteLastSeen):
            return super().handle_call(request, from_)
        if isinstance(request, WhoIsOnline):
            return {
                account: tuple(home.device for home in self._online[account].values())
                for account in request.accounts
                if account in self._online
            }
        self._refresh()
        self._write()
        if not self._writes:
            return None
        self._flushing.append(from_)
        return NOREPLY

    # -- processes that may begin anew -----------------------------------------------------------

    def _place_of(self, account: str) -> str:
        """The partition of an account, which is asked or written to now; its end is noticed."""
        place = self._places.of(account)
        if place not in self._partitions.values():
            self._partitions[self.monitor(place)] = place
        return place

    def _down(self, ref: Any, dest: Any) -> None:
        session = self._sessions.get(ref)
        if session is not None:
            self._drop_session(session)
            return
        if self._gateways.pop(dest, None) is not None:
            # Its sessions ended with it, and nobody is left to tell.
            self._drop_gateway(dest)
            return
        place = self._partitions.pop(ref, None)
        if place is None:
            return
        if place == partition_name(self._number):
            for number in list(self._writes):
                self._applied(number, NoProcess(place))
        for account in list(self._asking):
            if self._places.of(account) == place:
                self._known(account, None, NoProcess(place))
        for account in [one for one in self._rows if self._places.of(one) == place]:
            del self._rows[account]  # nobody tells of its changes any more
            self._tell_again(account)

    def _meet(self, gateway: Pid) -> None:
        """A gateway tells of its sessions now: of some that ended it could not tell before."""
        if gateway in self._gateways:
            self._drop_gateway(gateway)
        else:
            self._gateways[gateway] = self.monitor(gateway)

    def _drop_gateway(self, gateway: Pid) -> None:
        for account, sessions in list(self._online.items()):
            for session, home in list(sessions.items()):
                if home.gateway is gateway:
                    self._went(account, session)

    # -- coming and going ----------------------------------------------------------------------

    def _came(self, gateway: Pid, account: str, device: int, session: Pid) -> None:
        if gateway not in self._gateways:
            self._gateways[gateway] = self.monitor(gateway)
        sessions = self._online.setdefault(account, {})
        row = self._rows.get(account)
        if row is not None and not row.known:
            self._ask(account)  # it signed up after somebody had looked for it
        elif not sessions:
            self._changed(account)
        home = Home(device, gateway)
        sessions[session] = self._homes.setdefault(home, home)
        self._seen(account, device, self.clock.time_ms())
        self._stats.online_by_partition[self._number] = len(self._online)

    def _went(self, account: str, session: Pid) -> None:
        sessions = self._online.get(account)
        if sessions is None or session not in sessions:
            return
        self._seen(account, sessions.pop(session).device, self.clock.time_ms())
        if not sessions:
            del self._online[account]
            self._changed(account)
        self._stats.online_by_partition[self._number] = len(self._online)

    def _refresh(self) -> None:
        now_ms = self.clock.time_ms()
        for account, sessions in self._online.items():
            for home in sessions.values():
                self._seen(account, home.device, now_ms)

    def _seen(self, account: str, device: int, now_ms: int) -> None:
        key = (account, device)
        self._unwritten[key] = max(now_ms, self._unwritten.get(key, 0))

    def _write(self) -> None:
        if not self._unwritten:
            return
        rows = [(account, device, at_ms) for (account, device), at_ms in self._unwritten.items()]
        self._unwritten.clear()
        place = self._place_of(rows[0][0])
        for start in range(0, len(rows), _WRITE_BATCH):
            some = rows[start : start + _WRITE_BATCH]
            self._written += 1
            self._writes[self._written] = some
            self.send(place, Append(self.pid, self._written, (cmd.LAST_SEEN, some)))

    def _applied(self, number: int, error: Exception | None) -> None:
        """A write is durable: show it to those who look. Or it failed: write it again later."""
        write = self._writes.pop(number, None)
        if write is None:
            return
        for account, device, time_ms in write:
            if error is not None:
                self._seen(account, device, time_ms)
                if account not in self._online:
                    self._show(account)  # that it is not there, at least
            elif account in self._watchers:
                self._last_seen[account] = max(time_ms, self._last_seen.get(account, 0))
                if account not in self._online:
                    self._changed(account)
        if not self._writes:
            for from_ in self._flushing:
                self.reply(from_, None)
            self._flushing.clear()

    # -- watching ------------------------------------------------------------------------------

    def _watch(self, watch: Watch) -> None:
        session = self._watching.get(watch.session)
        if session is None:
            ref = self.monitor(watch.session)
            self._sessions[ref] = watch.session
            session = self._watching[watch.session] = Watching(watch.viewer, ref)
            self._viewers.setdefault(watch.viewer, {})[watch.session] = None
        session.accounts[watch.account] = None
        self._watchers.setdefault(watch.account, {})[watch.session] = watch.mark
        missing = {watch.account, watch.viewer}.difference(self._rows)
        if not missing:
            self._answer(watch)
            return
        for name in sorted(missing):
            asking = self._asking.get(name) or self._ask(name)
            if watch not in asking.waiting:
                asking.waiting.append(watch)

    def _ask(self, account: str) -> Asking:
        self._rows.pop(account, None)
        asking = self._asking.setdefault(account, Asking())
        self._asked += 1
        asking.number = self._asked
        tag = (account, asking.number)
        self.send(self._place_of(account), Ask(self.pid, tag, "presence", (account,)))
        return asking

    def _known(self, account: str, row: PresenceRow | None, error: BaseException | None) -> None:
        waiting = self._asking.pop(account).waiting
        if error is not None or row is None:
            for watch in waiting:
                refusal = cmd.Refusal("unavailable", "presence cannot be read now; try again")
                self.send(watch.session, Watched(watch.mark, watch.tag, False, None, refusal))
            self.send_after(_ASK_AGAIN_S, self.pid, _AskAgain(account))
            return
        if len(self._rows) >= _KNOWN_ROWS:
            self._rows.clear()
        self._rows[account] = row
        if row.last_seen_ms is not None:
            self._last_seen[account] = max(row.last_seen_ms, self._last_seen.get(account, 0))
        for watch in waiting:
            if self._watchers.get(watch.account, {}).get(watch.session) == watch.mark:
                self._watch(watch)  # answers, or waits for the other row
        self._tell_again(account)

    def _tell_again(self, account: str) -> None:
        self._changed(account)
        for watched in self._watched_by(account):
            self._changed(watched)

    def _watched_by(self, viewer: str) -> list[str]:
        watched: set[str] = set()
        for session in self._viewers.get(viewer, ()):
            watched.update(self._watching[session].accounts)
        return sorted(watched)

    def _answer(self, watch: Watch) -> None:
        online, last_seen_ms = self._view(watch.viewer, watch.account)
        self.send(watch.session, Watched(watch.mark, watch.tag, online, last_seen_ms, None))

    def _view(self, viewer: str, account: str) -> tuple[bool, int | None]:
        """What a viewer may see of an account: the reciprocal rule."""
        mine, theirs = self._rows.get(viewer), self._rows.get(account)
        if mine is None or theirs is None or not theirs.known:
            return False, None
        if viewer != account:
            if mine.hides or theirs.hides:
                return False, None
            if viewer in theirs.blocked or account in mine.blocked:
                return False, None
        return account in self._online, self._last_seen.get(account)

    def _unwatch(self, session: Pid, account: str) -> None:
        watching = self._watching.get(session)
        if watching is not None and account in watching.accounts:
            del watching.accounts[account]
            self._drop_watcher(account, session)
            if not watching.accounts:
                self.demonitor(watching.ref)
                self._drop_session(session)

    def _drop_session(self, session: Pid) -> None:
        """A session has ended, or watches nobody here."""
        watching = self._watching.pop(session)
        del self._sessions[watching.ref]
        viewers = self._viewers[watching.viewer]
        del viewers[session]
        if not viewers:
            del self._viewers[watching.viewer]
        for account in watching.accounts:
            self._drop_watcher(account, session)

    def _drop_watcher(self, account: str, session: Pid) -> None:
        watchers = self._watchers.get(account)
        if watchers is not None:
            watchers.pop(session, None)
            if not watchers:
                del self._watchers[account]
                self._last_seen.pop(account, None)
                self._rows.pop(account, None)

    # -- telling -------------------------------------------------------------------------------

    def _changed(self, account: str) -> None:
        if account in self._watchers:
            self._dirty[account] = None
            if not self._telling:
                self._telling = True
                self.send_after(COALESCE_S, self.pid, _Tell())

    def _tell(self) -> None:
        self._telling = False
        dirty, self._dirty = self._dirty, {}
        # Who went is told together with when, which is written first.
        self._write()
        unsafe = {row[0] for rows in self._writes.values() for row in rows}
        for account in dirty:
            if account in self._online or account not in unsafe:
                self._show(account)

    def _show(self, account: str) -> None:
        """Tell all who watch an account what they may see of it now."""
        for session, mark in self._watchers.get(account, {}).items():
            viewer = self._watching[session].viewer
            missing = {account, viewer}.difference(self._rows)
            for name in sorted(missing):  # told when they are known
                if name not in self._asking:
                    self._ask(name)
            if not missing:
                online, last_seen_ms = self._view(viewer, account)
                op = wire.presence(account, online, last_seen_ms)
                self._stats.presence_out += 1
                self.send(session, PresenceIs(account, mark, op))
