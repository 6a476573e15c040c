"""What each operation of the server does to the core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cbor2

from palaver.transport import wire
from palaver.transport.client import effects as fx
from palaver.transport.client.errors import (
    AuthFailed,
    GoingAway,
    InternalError,
    NotAuthenticated,
    ProtocolViolation,
    Revoked,
    TransientError,
    Unavailable,
    UnsupportedVersion,
    server_error,
)
from palaver.transport.client.inbox import Skipped
from palaver.transport.client.model import (
    Event,
    FileId,
    Mark,
    MembersChanged,
    Message,
    Presence,
    Receipt,
    SentMessage,
    Typing,
)
from palaver.transport.client.session import Opened, Phase

if TYPE_CHECKING:
    from palaver.transport.client.core import Core
    from palaver.transport.client.errors import ServerError
    from palaver.transport.client.receipts import Progress

__all__ = ["react"]

#: `internal` says that the outcome is unknown, so the same id is tried again, but not for ever.
_MAX_INTERNAL_RETRIES: Final = 8
_GOING_PAUSE_S: Final = 5.0


def react(core: Core, reply: wire.Reply, now_s: float) -> None:
    """Let one operation of the server change the core.

    Raises:
        ProtocolViolation, wire.BadFrame: The server may not say that, or not now.
    """
    match reply:
        case wire.Ok():
            _answered(core, core.session.answered(reply.id), reply.result, now_s)
        case wire.Error():
            error = server_error(reply.code, reply.text, reply.retry_after_ms)
            _refused(core, core.session.answered(reply.id), error, now_s)
        case wire.Push():
            _pushed(core, reply)
        case wire.Receipt():
            _progress(core, reply.conv, core.receipts.receipt(Receipt(*reply)))
        case wire.Presence():
            core.effects.append(fx.Shown(Presence(*reply)))
        case wire.TypingFrom():
            core.effects.append(fx.Shown(Typing(*reply)))
        case wire.Going():
            core.reconnect_after_s = reply.reconnect_after_ms / 1000.0
            core.session.leave(now_s)
        case wire.Unknown():
            pass  # A newer server says more than this version understands.


def _pushed(core: Core, push: wire.Push) -> None:
    if core.session.phase not in (Phase.READY, Phase.LEAVING):
        raise ProtocolViolation("events before the device was authenticated")
    if push.first_pos <= core.ack_position:
        # The server did not hear of the acknowledgement, and may wait for it.
        core.session.repeat_ack(push.first_pos)
    news = False
    for position, said in enumerate(push.events, push.first_pos):
        event: Event | Skipped
        if isinstance(said, wire.MessageEvent):
            file = None if said.file is None else FileId(said.file)
            event = Message(*said[:10], file, position)
        elif isinstance(said, wire.MembersEvent):
            event = MembersChanged(*said, position)
        else:
            event = Skipped(position)
        if core.inbox.admit(event):
            news = True
            if isinstance(event, MembersChanged):
                _progress(core, event.conv, core.receipts.changed(event))
    if news:
        core.effects.append(fx.Arrived())


# -- answers -----------------------------------------------------------------------------------


def _answered(core: Core, opened: Opened, raw: object, now_s: float) -> None:
    result = wire.parse_result(opened.opcode, raw)
    if isinstance(result, wire.Welcome):
        core.session.welcomed(result)
    elif isinstance(result, wire.Authenticated):
        _signed_in(core, result, now_s)
    elif opened.cid:
        assert isinstance(result, wire.Sent)
        core.served()
        _sent(core, opened.cid, result)
    else:
        core.served()
        _told(core, opened.token, result)


def _signed_in(core: Core, result: wire.Authenticated, now_s: float) -> None:
    if core.session.phase is not Phase.SIGNING_IN:
        raise ProtocolViolation("signed in twice")
    # A server that was set back to a backup counts positions again that this device has handled.
    # They will hold other events, which must not pass for old ones.
    last = result.next_pos + result.pending - 1
    if last < core.inbox.received:
        core.inbox.rewind(max(0, last))
        core.change.position = core.ack_position = core.inbox.position
    core.queued_upto = last
    core.session.accepted()
    core.now_ready(now_s)
    core.effects.append(fx.Ready(result.pending, result.now_ms))


def _sent(core: Core, cid: int, result: wire.Sent) -> None:
    item = core.outbox.answered(cid).item
    core.change.removed.append(cid)
    core.knowledge.wrote(result.conv, result.seq, result.stamp)
    core.note_knowledge(result.conv)
    core.effects.append(fx.Acked(cid, SentMessage(*result), item.op == wire.SEND))
    if item.op != wire.SEND:
        return
    to = cbor2.loads(item.args)[0]
    peer = to if isinstance(to, str) else None
    progress, lost = core.receipts.wrote(result.conv, result.seq, cid, peer)
    if lost:
        core.effects.append(fx.ReceiptsLost(lost))
    _progress(core, result.conv, progress)
    core.change.awaited[result.conv] = core.receipts.awaited(result.conv)
    if not core.receipts.members_known(result.conv):
        core.marks_due[result.conv] = None
        core.ask_own()


def _told(core: Core, token: int, result: wire.Result) -> None:
    pending = core.requests.done(token)
    if pending is None:
        return  # Its time was over.
    own = token in core.own_requests
    core.own_requests.discard(token)
    op = pending.op
    if isinstance(op, wire.Marks):
        assert isinstance(result, list)
        marks = [Mark(*each) for each in result if isinstance(each, wire.Mark)]
        _progress(core, op.conv, core.receipts.marks(op.conv, marks))
    elif isinstance(op, wire.Watch):
        assert isinstance(result, wire.PresenceState)
        core.watched[op.account] = None
        # Also where somebody awaits it: only here it is in order with the news of the account.
        core.effects.append(fx.Shown(Presence(op.account, *result)))
    if own:
        core.ask_own()
    else:
        core.effects.append(fx.Answered(token, result))


def _progress(core: Core, conv: bytes, progress: Progress) -> None:
    core.effects += [fx.Shown(receipt) for receipt in progress.receipts]
    core.effects += [fx.Delivered(cid) for cid in progress.delivered if cid]
    core.effects += [fx.ReadByAll(cid) for cid in progress.read if cid]
    if progress.settled:
        core.change.awaited[conv] = None


# -- errors ------------------------------------------------------------------------------------


def _refused(core: Core, opened: Opened, error: ServerError, now_s: float) -> None:
    if isinstance(error, Unavailable):
        core.unserved(now_s)
    if isinstance(error, Revoked):
        core.fail(error)
    elif not opened.cid and not opened.token:
        _handshake_refused(core, error)
    elif isinstance(error, NotAuthenticated):
        # The server forgot this connection; the next one signs in again and repeats.
        core.drop(wire.CloseCode.NORMAL, "the server does not know this connection")
    elif opened.cid:
        _command_refused(core, opened.cid, error, now_s)
    else:
        _request_refused(core, opened.token, error, now_s)


def _handshake_refused(core: Core, error: ServerError) -> None:
    # While the nodes of a cluster are upgraded, another one may be of a version that is known here.
    strange = isinstance(error, UnsupportedVersion) and core.servers.estranged()
    if isinstance(error, AuthFailed) or strange:
        core.fail(error)
        return
    core.reconnect_after_s = error.retry_after_s
    core.drop(wire.CloseCode.NORMAL, f"the server refused to begin: {error}")


def _pause_s(core: Core, error: ServerError, attempt: int) -> float:
    if error.retry_after_s is not None:
        return core.backoff.after_s(error.retry_after_s, core.chance)
    if isinstance(error, GoingAway):
        return _GOING_PAUSE_S
    return core.backoff.delay_s(attempt, core.chance)


def _command_refused(core: Core, cid: int, error: ServerError, now_s: float) -> None:
    if isinstance(error, TransientError | InternalError):
        attempt = core.outbox.attempts(cid)
        if isinstance(error, TransientError) or attempt < _MAX_INTERNAL_RETRIES:
            core.outbox.retry(cid, now_s + _pause_s(core, error, attempt))
            return
    core.outbox.answered(cid)
    core.change.removed.append(cid)
    core.effects.append(fx.Refused(cid, error))


def _request_refused(core: Core, token: int, error: ServerError, now_s: float) -> None:
    pending = core.requests.get(token)
    if pending is None:
        return
    if isinstance(error, TransientError):
        until_s = now_s + _pause_s(core, error, pending.attempts)
        # Waiting beyond the time limit would only hide the reason.
        if pending.deadline_s is None or until_s < pending.deadline_s:
            core.requests.retry(pending, until_s)
            return
    core.requests.done(token)
    if token not in core.own_requests:
        core.effects.append(fx.Failed(token, error))
        return
    core.own_requests.discard(token)
    if isinstance(pending.op, wire.Marks):
        for cid in core.receipts.forget(pending.op.conv):
            core.effects.append(fx.ReceiptsLost(cid))
        core.change.awaited[pending.op.conv] = None
    core.ask_own()
