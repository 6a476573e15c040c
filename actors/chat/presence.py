"""Who is online, who may know it, and when someone was last seen.

It costs what is looked at: an account's changes go only to the sessions that watch it, a flapping
connection is told once per :data:`COALESCE_S`, and last seen is written behind, many accounts in
one command, every :data:`WRITE_S` seconds (that is how much of it a crash of the node can lose).
Nobody is shown a value before it is durable, so that none is ever seen to go backwards.

The rule is reciprocal: who hides their last seen does not see others', and a block hides both
from each other. What may not be seen looks like an account that does not exist.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.actors.chat.messages import (
    Answer,
    Append,
    Applied,
    Ask,
    PresenceChanged,
    Present,
    SessionOp,
    Unwatch,
    Watch,
    Watched,
)
from palaver.actors.chat.names import Places
from palaver.actors.chat.queries import PresenceRow
from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import NOREPLY, Down, From, GenServer, NoProcess, Pid
from palaver.transport import wire

__all__ = ["COALESCE_S", "MAX_WATCHES", "WRITE_S", "Presence", "WhoIsOnline", "WriteLastSeen"]

COALESCE_S = 0.1
WRITE_S = 1.0

#: Accounts that stay online have their last seen refreshed this often.
REFRESH_S = 60.0

#: Subscriptions that one session may hold.
MAX_WATCHES = 256

_WRITE_BATCH = 500
_KNOWN_ROWS = 50_000


_Row = tuple[str, int, int]  # account, device, unix ms


class _Home(NamedTuple):
    """Where a session is: of which device, at which gateway."""

    device: int
    gateway: Pid


class WriteLastSeen(NamedTuple):
    """Call: write what is unwritten; the reply comes when it is durable."""


class WhoIsOnline(NamedTuple):
    """Call: the devices with sessions of each of these accounts that is online."""

    accounts: tuple[str, ...]


class _Tell(NamedTuple):
    pass


class _Write(NamedTuple):
    pass


class _Refresh(NamedTuple):
    pass


class Presence(GenServer):
    """Knows the accounts that are online here, and who watches whom."""

    __slots__ = (
        "_asking",
        "_dirty",
        "_flushing",
        "_gateways",
        "_homes",
        "_last_seen",
        "_online",
        "_partitions",
        "_places",
        "_rows",
        "_stats",
        "_telling",
        "_unwritten",
        "_watchers",
        "_watching",
        "_writes",
        "_written",
    )

    def init(self, places: Places, stats: ChatStats) -> None:
        """Begin knowing nothing; the gateways tell who is here."""
        self._places = places
        self._stats = stats
        stats.accounts_online_now = 0
        self._online: dict[str, dict[Pid, _Home]] = {}  # account -> session
        self._homes: dict[_Home, _Home] = {}  # one object for all sessions that have an equal one
        self._gateways: dict[Any, Pid] = {}  # by monitor
        self._partitions: dict[Any, str] = {}  # by monitor
        self._last_seen: dict[str, int] = {}
        self._unwritten: dict[tuple[str, int], int] = {}
        self._rows: dict[str, PresenceRow] = {}
        self._asking: dict[str, list[Watch]] = {}
        self._watchers: dict[str, dict[Pid, str]] = {}  # account -> session -> viewer
        self._watching: dict[Pid, dict[str, None]] = {}
        self._dirty: dict[str, None] = {}
        self._telling = False
        self._writes: dict[int, tuple[str, list[_Row]]] = {}  # under way
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
                self._ask(account)
            case Answer(account, value, error):
                self._known(account, value, error)
            case _Tell():
                self._tell()
            case _Write():
                self._write()
                self.send_after(WRITE_S, self.pid, _Write())
            case _Refresh():
                self._refresh()
                self.send_after(REFRESH_S, self.pid, _Refresh())
            case Applied(number, _, error):
                self._applied(number, error)
            case Down(ref, _, _):
                self._down(ref)
            case _:
                super().handle_info(message)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Tell an operator who is online, or write last seen before a stop."""
        if isinstance(request, WhoIsOnline):
            return {
                account: tuple(home.device for home in self._online[account].values())
                for account in request.accounts
                if account in self._online
            }
        assert isinstance(request, WriteLastSeen)
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

    def _down(self, ref: Any) -> None:
        gateway = self._gateways.pop(ref, None)
        if gateway is not None:
            # Its sessions ended with it, and nobody is left to tell.
            for account, sessions in list(self._online.items()):
                for session, home in list(sessions.items()):
                    if home.gateway is gateway:
                        self._went(account, session)
            return
        place = self._partitions.pop(ref, None)
        if place is None:
            return
        for number, (where, _) in list(self._writes.items()):
            if where == place:
                self._applied(number, NoProcess(place))
        for account in list(self._asking):
            if self._places.of(account) == place:
                self._known(account, None, NoProcess(place))

    # -- coming and going ----------------------------------------------------------------------

    def _came(self, gateway: Pid, account: str, device: int, session: Pid) -> None:
        if gateway not in self._gateways.values():
            self._gateways[self.monitor(gateway)] = gateway
        sessions = self._online.setdefault(account, {})
        row = self._rows.get(account)
        if row is not None and not row.known:
            self._ask(account)  # it signed up after somebody had looked for it
        elif not sessions:
            self._changed(account)
        home = _Home(device, gateway)
        sessions[session] = self._homes.setdefault(home, home)
        self._seen(account, device, self.clock.time_ms())
        self._stats.accounts_online_now = len(self._online)

    def _went(self, account: str, session: Pid) -> None:
        for watched in self._watching.pop(session, ()):
            self._drop_watcher(watched, session)
        sessions = self._online.get(account)
        if sessions is None or session not in sessions:
            return
        self._seen(account, sessions.pop(session).device, self.clock.time_ms())
        if not sessions:
            del self._online[account]
            self._changed(account)
        self._stats.accounts_online_now = len(self._online)

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
        by_place: dict[str, list[_Row]] = {}
        for (account, device), time_ms in self._unwritten.items():
            by_place.setdefault(self._place_of(account), []).append((account, device, time_ms))
        self._unwritten.clear()
        for place, rows in by_place.items():
            for start in range(0, len(rows), _WRITE_BATCH):
                some = rows[start : start + _WRITE_BATCH]
                self._written += 1
                self._writes[self._written] = (place, some)
                self.send(place, Append(self.pid, self._written, (cmd.LAST_SEEN, some)))

    def _applied(self, number: int, error: Exception | None) -> None:
        """A write is durable: show it to those who look. Or it failed: write it again later."""
        write = self._writes.pop(number, None)
        if write is None:
            return
        for account, device, time_ms in write[1]:
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
        watched = self._watching.setdefault(watch.session, {})
        if watch.account not in watched and len(watched) >= MAX_WATCHES:
            text = f"a connection watches at most {MAX_WATCHES} accounts"
            refusal = cmd.Refusal("too_many", text)
            self.send(watch.session, Watched(watch.tag, False, None, refusal))
            return
        watched[watch.account] = None
        self._watchers.setdefault(watch.account, {})[watch.session] = watch.viewer
        missing = {watch.account, watch.viewer}.difference(self._rows)
        if not missing:
            self._answer(watch)
            return
        for name in sorted(missing):
            waiting = self._asking.get(name)
            if waiting is None:
                self._ask(name)
                waiting = self._asking[name]
            if watch not in waiting:
                waiting.append(watch)

    def _ask(self, account: str) -> None:
        self._rows.pop(account, None)
        self._asking.setdefault(account, [])
        self.send(self._place_of(account), Ask(self.pid, account, "presence", (account,)))

    def _known(self, account: str, row: PresenceRow | None, error: BaseException | None) -> None:
        waiting = self._asking.pop(account, [])
        if error is not None or row is None:
            for watch in waiting:
                refusal = cmd.Refusal("unavailable", "presence cannot be read now; try again")
                self.send(watch.session, Watched(watch.tag, False, None, refusal))
            self._tell_again(account)
            return
        if len(self._rows) >= _KNOWN_ROWS:
            self._rows.clear()
        self._rows[account] = row
        if row.last_seen_ms is not None:
            self._last_seen[account] = max(row.last_seen_ms, self._last_seen.get(account, 0))
        for watch in waiting:
            if watch.account in self._watching.get(watch.session, ()):
                self._watch(watch)  # answers, or waits for the other row
        self._tell_again(account)

    def _tell_again(self, account: str) -> None:
        self._changed(account)
        for watched in self._watched_by(account):
            self._changed(watched)

    def _watched_by(self, viewer: str) -> list[str]:
        watched: set[str] = set()
        for session in self._online.get(viewer, ()):
            watched.update(self._watching.get(session, ()))
        return sorted(watched)

    def _answer(self, watch: Watch) -> None:
        online, last_seen_ms = self._view(watch.viewer, watch.account)
        self.send(watch.session, Watched(watch.tag, online, last_seen_ms, None))

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
        watched = self._watching.get(session)
        if watched is not None:
            watched.pop(account, None)
            if not watched:
                del self._watching[session]
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
        unsafe = {row[0] for _, rows in self._writes.values() for row in rows}
        for account in dirty:
            if account in self._online or account not in unsafe:
                self._show(account)

    def _show(self, account: str) -> None:
        """Tell all who watch an account what they may see of it now."""
        for session, viewer in self._watchers.get(account, {}).items():
            missing = {account, viewer}.difference(self._rows)
            for name in sorted(missing):  # told when they are known
                if name not in self._asking:
                    self._ask(name)
            if not missing:
                online, last_seen_ms = self._view(viewer, account)
                op = wire.presence(account, online, last_seen_ms)
                self._stats.presence_out += 1
                self.send(session, SessionOp(("presence", account), op))
