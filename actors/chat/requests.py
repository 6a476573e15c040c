"""What a ready session does for each request but SEND; one function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from palaver.actors.chat.messages import (
    Append,
    Ask,
    PresenceIs,
    Rewatch,
    Unwatch,
    Watch,
    Watched,
)
from palaver.actors.chat.queries import ConversationRow, DeviceRow
from palaver.actors.chat.state import commands as cmd
from palaver.transport import wire
from palaver.transport.wire import ErrorCode

if TYPE_CHECKING:
    from palaver.actors.chat.session import Session

__all__ = ["HANDLERS", "MAX_WATCHES", "Watching", "presence_says"]

#: Accounts that one session may watch.
MAX_WATCHES = 256


class Watching:
    """An account that a session watches: the mark of the subscription, the WATCHes to answer."""

    __slots__ = ("mark", "waiting")

    def __init__(self) -> None:
        self.mark = 0
        self.waiting: list[int] = []


#: A page of conversations ends before its answer grows beyond this.
_PAGE_BYTES = 200_000


def _append(session: Session, request_id: int, key: str | bytes, command: cmd.Command) -> None:
    """Append a command for a request; the answer is null."""

    def applied(_: Any) -> None:
        session.answer(request_id, wire.ok_null(request_id))

    place = session.context.places.of(key)
    tag = session.expect(place, session.or_error(request_id, applied))
    session.send(place, Append(session.pid, tag, command))


def _change(session: Session, request: wire.Group | wire.Members) -> None:
    session.lanes.add(request)


def _conversations(session: Session, request: wire.Conversations) -> None:
    """The account's partition has the ids, each conversation's partition the rest."""
    _conversations_after(session, request, request.after)


def _conversations_after(
    session: Session, request: wire.Conversations, after: bytes | None
) -> None:
    places = session.context.places

    def have_ids(ids: list[bytes]) -> None:
        by_place: dict[str, list[bytes]] = {}
        for conversation in ids:
            by_place.setdefault(places.of(conversation), []).append(conversation)
        if not by_place:
            session.answer(request.id, wire.ok(request.id, []))
            return
        found: list[ConversationRow] = []
        left = len(by_place)
        failed = False

        def have_rows(rows: list[ConversationRow], error: BaseException | None) -> None:
            nonlocal left, failed
            left -= 1
            if error is not None:
                if not failed:
                    failed = True
                    session.or_error(request.id, lambda _: None)(None, error)
                return
            found.extend(rows)
            if left or failed:
                return
            # Where the account was just removed, its own partition may not have heard of it yet.
            mine = [row for row in found if session.account in row.members]
            if mine:
                session.answer(request.id, wire.ok(request.id, _page(mine)))
            else:  # an empty page would be the end
                _conversations_after(session, request, ids[-1])

        for place, some in by_place.items():
            tag = session.expect(place, have_rows)
            session.send(place, Ask(session.pid, tag, "conversation_rows", (some,)))

    args = (session.account, after, request.limit)
    session.ask(request.id, session.account, "conversation_ids", args, have_ids)


def _page(rows: list[ConversationRow]) -> list[list[Any]]:
    """Conversations in the order of their ids, as many as fit a frame: at least one."""
    page: list[list[Any]] = []
    size_bytes = 0
    for row in sorted(rows, key=lambda row: row.conversation):
        item = [row.conversation, row.kind, row.name, list(row.members), row.last_seq]
        size_bytes += len(wire.encode(item))
        if page and size_bytes > _PAGE_BYTES:
            break
        page.append(item)
    return page


def _marks(session: Session, request: wire.Marks) -> None:
    def have(rows: list[tuple[str, int, int]] | None) -> None:
        if rows is None:
            text = "there is no such conversation for you"
            session.answer_error(request.id, ErrorCode.NO_SUCH_CONVERSATION, text)
        else:
            session.answer(request.id, wire.ok(request.id, [list(row) for row in rows]))

    session.ask(request.id, request.conv, "marks", (request.conv, session.account), have)


def _read(session: Session, request: wire.Read) -> None:
    command = (cmd.READ, request.conv, session.account, request.seq)
    _append(session, request.id, request.conv, command)


def _watch(session: Session, request: wire.Watch) -> None:
    watching = session.watching
    if watching is None:
        watching = session.watching = {}
    known = watching.get(request.account)
    if known is None:
        if len(watching) >= MAX_WATCHES:
            text = f"a connection watches at most {MAX_WATCHES} accounts"
            session.answer_error(request.id, ErrorCode.TOO_MANY, text)
            return
        known = watching[request.account] = Watching()
    known.waiting.append(request.id)
    _subscribe(session, request.account, known)


def _subscribe(session: Session, account: str, watching: Watching) -> None:
    """Ask presence, for all requests that wait, and for what it tells from now on."""
    watching.mark = mark = session.new_tag()
    place = session.context.places.presence_of(account)
    session.send(place, Watch(session.pid, mark, account, session.account, account))


def presence_says(session: Session, message: Watched | PresenceIs | Rewatch) -> None:
    """Tell the client what presence says; subscribe again to a new one."""
    match message:
        case PresenceIs(account, mark, op):
            if _is_current(session, account, mark):
                session.forward(("presence", account), op)
        case Watched():
            _watched(session, message)
        case Rewatch(number):
            _rewatch(session, number)


def _is_current(session: Session, account: str, mark: int) -> bool:
    """Whether this is of the last subscription: what is of an earlier one may be overtaken."""
    watching = (session.watching or {}).get(account)
    return watching is not None and watching.mark == mark


def _watched(session: Session, message: Watched) -> None:
    account = message.tag
    if not _is_current(session, account, message.mark):
        return  # asked again since, and what was unsubscribed has been answered
    assert session.watching is not None
    watching = session.watching[account]
    waiting, watching.waiting = watching.waiting, []
    if not waiting and message.refused is None:
        # The session subscribed again by itself, after presence began anew.
        op = wire.presence(account, message.online, message.last_seen_ms)
        session.forward(("presence", account), op)
    for request_id in waiting:
        if message.refused is not None:
            code, text = message.refused
            session.answer_error(request_id, ErrorCode(code), text)
        else:
            result = [message.online, message.last_seen_ms]
            session.answer(request_id, wire.ok(request_id, result))


def _rewatch(session: Session, number: int) -> None:
    number_of = session.context.places.number_of
    for account, watching in (session.watching or {}).items():
        if number_of(account) == number:
            _subscribe(session, account, watching)


def _unwatch(session: Session, request: wire.Unwatch) -> None:
    watching = (session.watching or {}).pop(request.account, None)
    for request_id in watching.waiting if watching is not None else ():
        # a WATCH that this one overtook
        session.answer(request_id, wire.ok(request_id, [False, None]))
    place = session.context.places.presence_of(request.account)
    session.send(place, Unwatch(session.pid, request.account))
    session.answer(request.id, wire.ok_null(request.id))


def _privacy(session: Session, request: wire.Privacy) -> None:
    account = session.account
    command = (cmd.SET_PRIVACY, account, request.hide_last_seen)
    _append(session, request.id, account, command)


def _block(session: Session, request: wire.Block) -> None:
    account = session.account
    if request.account == account:
        text = "nobody can block themselves"
        session.answer_error(request.id, ErrorCode.BAD_REQUEST, text)
        return
    _, conversation = session.direct(request.account)
    command = (cmd.SET_BLOCK, account, request.account, conversation, request.blocked)
    _append(session, request.id, account, command)


def _devices(session: Session, request: wire.Devices) -> None:
    def have(rows: list[DeviceRow]) -> None:
        result = [[*row, row.device == session.device] for row in rows]
        session.answer(request.id, wire.ok(request.id, result))

    session.ask(request.id, session.account, "devices", (session.account,), have)


def _revoke(session: Session, request: wire.Revoke) -> None:
    command = (cmd.REVOKE_DEVICE, session.account, request.device)
    _append(session, request.id, session.account, command)


def _token(session: Session, request: wire.Token) -> None:
    token, expires_ms = session.context.tokens.issue_token(session.account, session.device)
    session.answer(request.id, wire.ok(request.id, [token, expires_ms]))


HANDLERS: Mapping[type, Callable[..., None]] = {
    wire.Group: _change,
    wire.Members: _change,
    wire.Conversations: _conversations,
    wire.Marks: _marks,
    wire.Read: _read,
    wire.Watch: _watch,
    wire.Unwatch: _unwatch,
    wire.Privacy: _privacy,
    wire.Block: _block,
    wire.Devices: _devices,
    wire.Revoke: _revoke,
    wire.Token: _token,
}
