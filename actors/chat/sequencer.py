"""The process that orders one conversation.

It stamps what its members submit, in the order it arrives, and appends it to the partition of the
conversation, whose state machine gives out the seq. It knows who the members are, so that it can
refuse what cannot be delivered before anything is written, and pass typing hints on.

It keeps nothing of its own: when it dies, its conversation's next message starts another.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from palaver.actors.chat.messages import (
    Answer,
    Append,
    Applied,
    Ask,
    Reload,
    Route,
    Submit,
    SubmitGroup,
    SubmitMembers,
    TypingHint,
)
from palaver.actors.chat.names import Places, partition_name
from palaver.actors.chat.queries import ConversationRow
from palaver.actors.chat.stamps import StampClock
from palaver.actors.chat.state import commands as cmd
from palaver.actors.runtime import NORMAL, Down, GenServer, Stop
from palaver.transport import wire

__all__ = ["IDLE_S", "Sequencer"]

#: A sequencer that had nothing to do for so long ends.
IDLE_S = 120.0

#: Whether someone can be reached is asked again after so long: the same for yes and for no, so that
#: nothing tells an account that does not exist from one that blocks the sender.
_REACHABLE_S = 5.0

_LOADED = "loaded"
_VERIFIED = "verified"


class _Idle(NamedTuple):
    seen: int


class Sequencer(GenServer):
    """Orders one conversation; started on demand by its partition's process."""

    __slots__ = (
        "_asked",
        "_conversation",
        "_loading",
        "_log",
        "_places",
        "_questions",
        "_reachable",
        "_row",
        "_stamps",
        "_taken",
        "_verifying",
        "_waiting",
    )

    def init(
        self,
        conversation: bytes,
        partition: int,
        places: Places,
        stamps: StampClock,
    ) -> None:
        """Order `conversation`, which lives in `partition`."""
        self._conversation = conversation
        self._log = partition_name(partition)
        self._places = places
        self._stamps = stamps
        self._row: ConversationRow | None = None
        self._reachable: dict[str, tuple[bool, float]] = {}
        self._verifying: set[str] = set()
        self._asked: dict[Any, tuple[int, tuple[str, ...]]] = {}  # by the monitor of who was asked
        self._questions = 0
        self._waiting: deque[Any] = deque()
        self._taken = 0
        self._loading = False
        self._load()
        self.send_after(IDLE_S, self.pid, _Idle(0))

    def handle_info(self, message: Any) -> Stop | None:
        """Take a submission, a typing hint, or an answer of a partition."""
        if type(message) is Submit:
            self._taken += 1
            if self._waiting or self._loading or not self._submit(message):
                self._waiting.append(message)
            return None
        match message:
            case SubmitGroup() | SubmitMembers() | TypingHint():
                self._taken += 1
                self._waiting.append(message)
                self._work()
            case Answer(tag, value, error):
                self._answered(tag, value, error)
            case Down(ref, _, _):
                self._cannot_tell(self._asked.pop(ref, (0, ()))[1])
            case Reload():
                self._load()
            case _Idle(seen):
                if seen == self._taken and not self._waiting:
                    return Stop(NORMAL)
                self.send_after(IDLE_S, self.pid, _Idle(self._taken))
            case _:
                super().handle_info(message)
        return None

    # -- what is known -----------------------------------------------------------------------

    def _load(self) -> None:
        self._loading = True
        self.send(self._log, Ask(self.pid, _LOADED, "conversation", (self._conversation,)))

    def _answered(self, tag: Any, value: Any, error: BaseException | None) -> None:
        if tag == _LOADED:
            self._loading = False
            if error is not None:
                self._refuse_all("unavailable", f"the conversation cannot be read: {error}")
                return
            self._row = value
        else:
            asked = self._answer_to(tag[1])
            if error is not None:
                self._cannot_tell(asked)
                return
            now = self.clock.monotonic()
            for account in asked:
                self._verifying.discard(account)
                self._reachable[account] = (account in value, now)
        self._work()

    def _answer_to(self, question: int) -> tuple[str, ...]:
        """The accounts of a question that is answered now."""
        for ref, (number, accounts) in self._asked.items():
            if number == question:
                del self._asked[ref]
                self.demonitor(ref)
                return accounts
        return ()  # who was asked has ended meanwhile

    def _cannot_tell(self, asked: tuple[str, ...]) -> None:
        """A partition failed, or ended, before it said who can be reached."""
        if asked:
            self._verifying.difference_update(asked)
            self._refuse_all("unavailable", "the other side cannot be looked up now")

    def _refuse_all(self, code: str, text: str) -> None:
        while self._waiting:
            message = self._waiting.popleft()
            if not isinstance(message, TypingHint):
                self._refuse(message, cmd.Refusal(code, text))

    def _refuse(self, message: Submit | SubmitGroup | SubmitMembers, why: cmd.Refusal) -> None:
        count = len(message.messages) if isinstance(message, Submit) else 1
        self.send(message.reply_to, Applied(message.tag, [why] * count, None))

    def _known_reachable(self, accounts: tuple[str, ...]) -> bool | None:
        """Whether all of these can be reached; None while it is being asked."""
        asked: dict[str, list[str]] = {}
        fresh_after = self.clock.monotonic() - _REACHABLE_S
        verdict: bool | None = True
        for account in accounts:
            reachable, since_s = self._reachable.get(account, (False, -1.0))
            if since_s < fresh_after:
                verdict = None
                if account not in self._verifying:
                    self._verifying.add(account)
                    asked.setdefault(self._places.of(account), []).append(account)
            elif not reachable and verdict is not None:
                verdict = False
        for place, names in asked.items():
            ref = self.monitor(place)
            self._questions += 1
            self._asked[ref] = (self._questions, tuple(names))
            self.send(place, Ask(self.pid, (_VERIFIED, self._questions), "reachable", (names,)))
        return verdict

    # -- work, in the order it came ----------------------------------------------------------

    def _work(self) -> None:
        while self._waiting and not self._loading:
            message = self._waiting[0]
            if isinstance(message, Submit):
                done = self._submit(message)
            elif isinstance(message, SubmitGroup):
                done = self._submit_group(message)
            elif isinstance(message, SubmitMembers):
                done = self._submit_members(message)
            else:
                done = self._pass_typing(message)
            if not done:
                return
            self._waiting.popleft()

    def _submit(self, message: Submit) -> bool:
        reachable = True
        pair = message.pair
        if pair is not None:
            other = pair[1] if pair[0] == message.sender else pair[0]
            known = self._known_reachable((other,))
            if known is None:
                return False
            reachable = known
        self._stamps.observe(message.after)
        stamp = self._stamps.take(len(message.messages))
        command = (
            cmd.SEND, self._conversation, pair, reachable, message.sender, message.device,
            stamp, message.low, message.previous, message.messages,
        )  # fmt: skip
        self.send(self._log, Append(message.reply_to, message.tag, command))
        return True

    def _submit_group(self, message: SubmitGroup) -> bool:
        reachable = self._known_reachable(message.members)
        if reachable is None:
            return False
        if not reachable:
            self._refuse(message, cmd.Refusal("unreachable", "a member cannot be reached"))
            return True
        self._stamps.observe(message.after)
        command = (
            cmd.CREATE_GROUP, self._conversation, message.name, message.sender, message.device,
            self._stamps.take(), message.low, message.client_id, list(message.members),
        )  # fmt: skip
        self.send(self._log, Append(message.reply_to, message.tag, command))
        return True

    def _submit_members(self, message: SubmitMembers) -> bool:
        reachable = self._known_reachable(message.added)
        if reachable is None:
            return False
        if not reachable:
            self._refuse(message, cmd.Refusal("unreachable", "a member cannot be reached"))
            return True
        self._stamps.observe(message.after)
        command = (
            cmd.CHANGE_MEMBERS, self._conversation, message.sender, message.device,
            self._stamps.take(), message.low, message.client_id,
            list(message.added), list(message.removed), message.previous,
        )  # fmt: skip
        self.send(self._log, Append(message.reply_to, message.tag, command))
        return True

    def _pass_typing(self, hint: TypingHint) -> bool:
        row = self._row
        if row is None or row.blocked_by or hint.account not in row.members:
            return True
        others = tuple(member for member in row.members if member != hint.account)
        op = wire.typing(self._conversation, hint.account, hint.on)
        key = ("typing", self._conversation, hint.account)
        self.send(hint.gateway, Route(others, key, op))
        return True
