"""How a session sends: one lane per conversation, in the client's order.

A lane finds the sequencer of its conversation, submits what one frame brought as one batch, and
remembers what is not answered. When the sequencer dies, the lane submits again what was open to
the next one: the state machine answers from its record what it had already accepted. Each batch
names the message before it while that one is open, so that none can be accepted without the
other before it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from palaver.actors.chat.doubts import Doubts
from palaver.actors.chat.messages import (
    Ask,
    FindSequencer,
    SequencerIs,
    Submit,
    SubmitGroup,
    SubmitMembers,
    TypingHint,
)
from palaver.actors.chat.refusals import refusal_of
from palaver.actors.chat.state.commands import Fresh, Refusal, Sent
from palaver.actors.runtime import Pid
from palaver.transport import wire
from palaver.transport.wire import ErrorCode, Group, Members, Send

if TYPE_CHECKING:
    from palaver.actors.chat.session import Session

__all__ = ["Lanes", "group_conversation"]

Outgoing = Send | Group | Members

#: Refused messages of one conversation that are remembered; a client has fewer on their way.
_REFUSED_KNOWN = 1_024

#: Refusals after which a client sends the same again.
_TRANSIENT = frozenset(
    {ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED, ErrorCode.TIMEOUT, ErrorCode.GOING_AWAY}
)


def group_conversation(account: str, device: int, client_id: int) -> bytes:
    """The id of the group that a device makes with this client id: the same on every retry."""
    text = f"palaver-group-v1\0{account}\0{device}\0{client_id}"
    return sha256(text.encode()).digest()[:16]


class _Lane:
    __slots__ = (
        "asking_file",
        "conversation",
        "files",
        "finding",
        "hint",
        "open",
        "pair",
        "ref",
        "refused",
        "sequencer",
        "waiting",
    )

    def __init__(self, conversation: bytes, pair: tuple[str, str] | None) -> None:
        self.conversation = conversation
        self.pair = pair
        self.sequencer: Pid | None = None
        self.ref: Any = None
        self.finding: Any = None  # a monitor of the partition that is asked
        self.asking_file = False
        self.files: dict[bytes, tuple[bytes, int, str] | None] = {}
        self.waiting: deque[Outgoing] = deque()
        # What was submitted, by tag, in order of submission; with the time it was.
        self.open: dict[int, tuple[list[Outgoing], float]] = {}
        self.hint: bool | None = None
        # The client ids that were refused for a moment and did not come again.
        self.refused: set[int] = set()

    def before(self, client_id: int, low: int) -> int:
        """The message that has to be accepted before this one can be, 0 if none has to.

        That is the last one before it whose outcome is open, or that was refused for a moment and
        did not come again; unless `low` says that its sender gave it up. `apply` refuses what comes
        without it: or a message would overtake the one that its sender will repeat.
        """
        if self.refused:
            self.refused = {refused for refused in self.refused if refused >= low}
        if not self.open and not self.refused:
            return 0
        return max((cid for cid in self._pending() if cid < client_id), default=0)

    def parts(self, client_id: int, next_id: int) -> bool:
        """Whether these two may not be submitted together: one between them may yet be refused.

        So it is where some messages are repeated while others wait for their answer, and new ones
        come with the repeated: the new one has to name the one that waits.
        """
        return any(client_id < cid < next_id for cid in self._pending())

    def newest(self) -> int:
        """The highest client id that was submitted or refused, and is not accepted yet, else 0."""
        return max(self._pending(), default=0)

    def _pending(self) -> Iterator[int]:
        yield from self.refused
        for requests, _ in self.open.values():
            for request in requests:
                yield request.cid

    def refuse(self, client_id: int) -> None:
        """Note that a message was refused for a moment."""
        if len(self.refused) >= _REFUSED_KNOWN:
            self.refused.remove(min(self.refused))
        self.refused.add(client_id)


class Lanes:
    """The sending side of one session."""

    __slots__ = ("_by_ref", "_dirty", "_doubts", "_lanes", "_session", "_tags")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lanes: OrderedDict[bytes, _Lane] = OrderedDict()
        self._by_ref: dict[Any, _Lane] = {}
        self._tags: dict[int, _Lane] = {}
        self._dirty: dict[bytes, _Lane] = {}
        self._doubts = Doubts(session, self._accept, self._refuse_doubted)

    # -- what the client says ------------------------------------------------------------------

    def add(self, request: Outgoing) -> None:
        """Take a request of the current frame; `flush` submits."""
        if type(request) is Send and request.to == self._session.account:
            text = "a conversation needs somebody else"
            self._session.answer_error(request.id, ErrorCode.BAD_REQUEST, text)
        else:
            self._doubts.take(request)

    def _accept(self, request: Outgoing) -> None:
        lane = self._lane_of(request)
        lane.waiting.append(request)
        self._dirty[lane.conversation] = lane
        self._session.flush_soon()

    def _refuse_doubted(
        self, request: Outgoing, code: ErrorCode, text: str, retry_after_ms: int | None
    ) -> None:
        self._refuse(self._lane_of(request), request, code, text, retry_after_ms)

    def _lane_of(self, request: Outgoing) -> _Lane:
        session = self._session
        if type(request) is Send:
            if type(request.to) is str:
                pair, conversation = session.direct(request.to)
                return self._lane(conversation, pair)
            return self._lane(request.to, None)  # type: ignore[arg-type]
        if type(request) is Members:
            return self._lane(request.conv, None)
        conversation = group_conversation(session.account, session.device, request.cid)
        return self._lane(conversation, None)

    def hint(self, to: str | bytes, on: bool) -> None:
        """Pass on that the person types."""
        session = self._session
        if isinstance(to, str):
            pair, conversation = session.direct(to)
        else:
            pair, conversation = None, to
        lane = self._lane(conversation, pair)
        lane.hint = on
        self._dirty[conversation] = lane

    def flush(self) -> None:
        """Submit what the frame brought."""
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            for lane in dirty.values():
                self._submit(lane)

    def _lane(self, conversation: bytes, pair: tuple[str, str] | None) -> _Lane:
        lane = self._lanes.get(conversation)
        if lane is None:
            lane = self._lanes[conversation] = _Lane(conversation, pair)
            if len(self._lanes) > self._session.context.limits.lanes:
                self._forget_idle()
        else:
            self._lanes.move_to_end(conversation)
            lane.pair = lane.pair or pair
        return lane

    def _forget_idle(self) -> None:
        for conversation, lane in self._lanes.items():
            if not lane.waiting and not lane.open and lane.hint is None and not lane.finding:
                if lane.ref is not None:
                    self._by_ref.pop(lane.ref, None)
                    self._session.demonitor(lane.ref)
                del self._lanes[conversation]
                return

    # -- submitting ------------------------------------------------------------------------------

    def _submit(self, lane: _Lane) -> None:
        session = self._session
        if lane.sequencer is None:
            if not lane.finding and (lane.waiting or lane.hint is not None):
                place = session.context.places.of(lane.conversation)
                lane.finding = session.monitor(place)
                self._by_ref[lane.finding] = lane
                session.send(place, FindSequencer(session.pid, lane.conversation))
            return
        if lane.hint is not None:
            hint = TypingHint(session.gateway, session.account, lane.hint)
            session.send(lane.sequencer, hint)
            lane.hint = None
        while lane.waiting and self._submit_some(lane):
            pass

    def _submit_some(self, lane: _Lane) -> bool:
        """Submit the next batch of messages, or the next change of the group."""
        first = lane.waiting[0]
        if type(first) is not Send:
            lane.waiting.popleft()
            self._submit_change(lane, first)  # type: ignore[arg-type]
            return True
        batch: list[Outgoing] = []
        messages: list[Fresh] = []
        low = 0
        newest = lane.newest()
        while lane.waiting:
            send = lane.waiting[0]
            if type(send) is not Send:
                break
            if batch and batch[-1].cid < newest and lane.parts(batch[-1].cid, send.cid):
                break
            file = None
            if send.file is not None:
                if send.file not in lane.files:
                    self._ask_file(lane, send.file)
                    break
                file = lane.files[send.file]
                if file is None:
                    lane.waiting.popleft()
                    self._session.answer_error(
                        send.id, ErrorCode.NO_SUCH_FILE, "there is no such file for you"
                    )
                    continue
            lane.waiting.popleft()
            batch.append(send)
            messages.append(Fresh(send.cid, send.seen, send.type, send.body, file))
            low = max(low, send.low)
        if not batch:
            return False
        session = self._session
        previous = lane.before(batch[0].cid, low)
        tag = self._open(lane, batch)
        session.send(
            lane.sequencer,  # type: ignore[arg-type]
            Submit(
                session.pid,
                tag,
                lane.pair,
                session.account,
                session.device,
                low,
                previous,
                messages,
                session.context.stamps.latest,
            ),
        )
        return bool(lane.waiting) and not lane.asking_file

    def _submit_change(self, lane: _Lane, change: Group | Members) -> None:
        session = self._session
        previous = lane.before(change.cid, change.low)
        tag = self._open(lane, [change])
        message: SubmitGroup | SubmitMembers
        if type(change) is Group:
            message = SubmitGroup(
                session.pid, tag, session.account, session.device, change.cid, change.low,
                change.name, change.members, session.context.stamps.latest,
            )  # fmt: skip
        else:
            assert type(change) is Members
            message = SubmitMembers(
                session.pid, tag, session.account, session.device, change.cid, change.low,
                change.add, change.remove, session.context.stamps.latest, previous,
            )  # fmt: skip
        session.send(lane.sequencer, message)  # type: ignore[arg-type]

    def _open(self, lane: _Lane, batch: list[Outgoing]) -> int:
        tag = self._session.new_tag()
        if lane.refused:
            lane.refused.difference_update(request.cid for request in batch)
        lane.open[tag] = (batch, self._session.clock.monotonic())
        self._tags[tag] = lane
        return tag

    def _ask_file(self, lane: _Lane, file: bytes) -> None:
        if lane.asking_file:
            return
        lane.asking_file = True
        session = self._session
        place = session.context.places.of(session.account)
        tag = session.expect(place, lambda value, error: self._file_known(lane, file, value, error))
        session.send(place, Ask(session.pid, tag, "file", (session.account, file)))

    def _file_known(
        self, lane: _Lane, file: bytes, value: Any, error: BaseException | None
    ) -> None:
        lane.asking_file = False
        if error is not None:
            code, text, retry_after_ms = refusal_of(error)
            self._refuse_waiting(lane, code, text, retry_after_ms)
            return
        if len(lane.files) >= 16:
            lane.files.clear()
        lane.files[file] = None if value is None else (file, value.size_bytes, value.type)
        self._submit(lane)

    def _refuse_waiting(
        self, lane: _Lane, code: ErrorCode, text: str, retry_after_ms: int | None
    ) -> None:
        while lane.waiting:
            self._refuse(lane, lane.waiting.popleft(), code, text, retry_after_ms)

    def _refuse(
        self,
        lane: _Lane,
        request: Outgoing,
        code: ErrorCode,
        text: str,
        retry_after_ms: int | None,
    ) -> None:
        if code in _TRANSIENT:
            lane.refuse(request.cid)
        self._session.answer_error(request.id, code, text, retry_after_ms)

    # -- what comes back -------------------------------------------------------------------------

    def found(self, message: SequencerIs) -> None:
        """The partition named the conversation's sequencer."""
        lane = self._lanes.get(message.conversation)
        if lane is None or not lane.finding:
            return
        self._by_ref.pop(lane.finding, None)
        self._session.demonitor(lane.finding)
        lane.finding = None
        if message.pid is None:
            self._not_found(lane)
            return
        lane.sequencer = message.pid
        lane.ref = self._session.monitor(message.pid)
        self._by_ref[lane.ref] = lane
        self._submit(lane)

    def _not_found(self, lane: _Lane) -> None:
        lane.hint = None
        text = "the conversation cannot be opened now"
        self._refuse_waiting(lane, ErrorCode.UNAVAILABLE, text, 200)

    def lost(self, ref: Any) -> bool:
        """A sequencer ended; whether it was one of these. What was open is submitted again."""
        lane = self._by_ref.pop(ref, None)
        if lane is None:
            return False
        if ref is lane.finding:  # the partition ended before it named the sequencer
            lane.finding = None
            self._not_found(lane)
            return True
        lane.sequencer = lane.ref = None
        again: list[Outgoing] = []
        for tag, (batch, _) in lane.open.items():
            del self._tags[tag]
            again.extend(batch)
        lane.open.clear()
        lane.waiting.extendleft(reversed(again))
        if lane.waiting:
            self._submit(lane)
        elif lane.hint is None and not lane.refused:
            self._lanes.pop(lane.conversation, None)
        return True

    def answered(self, tag: int, value: Any, error: Exception | None) -> bool:
        """A batch was applied or refused; whether it was one of these."""
        lane = self._tags.pop(tag, None)
        if lane is None:
            return False
        batch, since_s = lane.open.pop(tag)
        session = self._session
        if error is not None:
            code, text, retry_after_ms = refusal_of(error)
            for request in batch:
                self._refuse(lane, request, code, text, retry_after_ms)
            return True
        accepted = 0
        for request, answer in zip(batch, value, strict=True):
            if type(answer) is Sent:
                accepted += 1
                session.answer(request.id, wire.sent(request.id, *answer))
            else:
                refusal: Refusal = answer
                self._refuse(lane, request, ErrorCode(refusal.code), refusal.text, None)
        if accepted:
            stats = session.context.stats
            stats.messages_in += accepted
            stats.ack_seconds.observe_many(session.clock.monotonic() - since_s, accepted)
        return True
