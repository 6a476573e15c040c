"""Stand-ins for the processes of a partition, on the nodes that do not own it.

A stand-in has the name that the real process has on its own node. It greets the real one, passes on
what comes, and ends when that ends: so whoever watches the name learns of it, just as if the real
one had ended here. As long as nobody is reached, it refuses what wants an answer and drops hints.
Whoever was refused or dropped may believe what is not so; therefore a stand-in that has turned
anything away ends as soon as the real one is reached, and its successor begins with those who begin
anew.

It passes on only to a process that has greeted back, never to another stand-in: nothing runs in
circles while nodes do not agree on who owns what.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import structlog

from palaver.actors.chat.accounts import RequestCode, SignUpAnswer, VerifyCode
from palaver.actors.chat.messages import (
    Answer,
    Append,
    Applied,
    Ask,
    AttachAgain,
    AttachQueue,
    FindSequencer,
    LookUp,
    Placement,
    SequencerIs,
    Submit,
    SubmitGroup,
    SubmitMembers,
    Watch,
    Watched,
)
from palaver.actors.chat.owned import Greet, PassedOn
from palaver.actors.chat.refusals import Unavailable, refusal_of
from palaver.actors.chat.state.commands import Refusal
from palaver.actors.runtime import (
    NOREPLY,
    Dest,
    Down,
    From,
    GenServer,
    Pid,
    Response,
    RuntimeFault,
    Shutdown,
    Stop,
)

__all__ = ["MAX_WAITING", "Proxy"]

log = structlog.get_logger("palaver")

#: What comes before the real one has greeted back waits; beyond so many messages it is refused.
MAX_WAITING = 1_000

#: Greeting again: first after so long, then twice as long each time, up to the second.
_AGAIN_S = 0.05
_MAX_AGAIN_S = 1.0


class _GreetAgain:
    __slots__ = ()


class Proxy(GenServer):
    """Stands in for one named process of another node."""

    __slots__ = ("_asked", "_owner", "_ref", "_there", "_tries", "_turned_away", "_waiting")

    def init(self, owner: Dest | None) -> None:
        """Stand in for `owner`, the address of a name on another node; None: for nobody."""
        self._owner = owner
        self._there: Pid | None = None
        self._ref: Any = None
        self._asked: Any = None
        self._tries = 0
        self._turned_away = False
        # None: nobody has greeted back to the last greeting, so nothing waits.
        self._waiting: deque[Any] | None = None
        if owner is not None:
            self._waiting = deque()
            self._greet()

    def handle_info(self, message: Any) -> Stop | None:
        """Pass a message on, or take the answer to a greeting, or the end of the real one."""
        kind = type(message)
        if kind is Response and message.ref is self._asked:
            return self._greeted(message.value, message.error)
        if kind is Down and message.ref is self._ref:
            return Stop(Shutdown(message.reason))
        if kind is _GreetAgain:
            self._greet()
            return None
        self._take(message)
        return None

    def handle_call(self, request: Any, from_: From) -> Any:
        """Pass a call on; the real one answers it."""
        if type(request) is Greet:
            self.reply_error(from_, Unavailable("this node does not own the partition"))
        else:
            self._take(PassedOn(from_, request))
        return NOREPLY

    # -- the real one --------------------------------------------------------------------------

    def _greet(self) -> None:
        assert self._owner is not None
        self._asked = self.send_request(self._owner, Greet())

    def _greeted(self, pid: Any, error: BaseException | None) -> Stop | None:
        self._asked = None
        if error is not None or not isinstance(pid, Pid):
            self._turn_away_all()
            again_s = min(_AGAIN_S * 2**self._tries, _MAX_AGAIN_S)
            self._tries += 1
            self.send_after(self.random.uniform(again_s / 2, again_s), self.pid, _GreetAgain())
            return None
        if self._turned_away:
            return Stop(Shutdown("the owner can be reached now"))
        self._there = pid
        self._ref = self.monitor(pid)
        waiting, self._waiting = self._waiting or (), None
        for message in waiting:
            self._take(message)
        return None

    # -- what comes ----------------------------------------------------------------------------

    def _take(self, message: Any) -> None:
        if self._there is not None:
            try:
                self.send(self._there, message)
            except RuntimeFault as error:  # it is no data, or a mailbox is full
                log.warning("not_passed_on", message=type(message).__name__, error=str(error))
                self._refuse(message, error)
        elif self._waiting is not None and len(self._waiting) < MAX_WAITING:
            self._waiting.append(message)
        else:
            self._turned_away = True
            self._refuse(message, Unavailable())

    def _turn_away_all(self) -> None:
        waiting, self._waiting = self._waiting or (), None
        for message in waiting:
            self._take(message)

    def _refuse(self, message: Any, error: Exception) -> None:
        """Answer whoever waits for an answer; what nobody waits for is dropped."""
        code, text, retry_after_ms = refusal_of(error)
        match message:
            case Append(None, From() as from_, _) | Ask(None, From() as from_, _, _):
                self.reply_error(from_, error)
            case PassedOn(from_, _):
                self.reply_error(from_, error)
            case Append(Pid() as asker, tag, _):
                self.send(asker, Applied(tag, None, error))
            case Submit() | SubmitGroup() | SubmitMembers():
                self.send(message.reply_to, Applied(message.tag, None, error))
            case Ask(Pid() as asker, tag, _, _):
                self.send(asker, Answer(tag, None, error))
            case FindSequencer(asker, conversation):
                self.send(asker, SequencerIs(conversation, None))
            case AttachQueue():
                self.send(message.queue, AttachAgain())
            case LookUp(gateway, account):
                self.send(gateway, Placement(account, ()))
            case Watch(session, mark, tag, _, _):
                refusal = Refusal(str(code), text)
                self.send(session, Watched(mark, tag, False, None, refusal))
            case RequestCode() | VerifyCode():
                answer = SignUpAnswer(message.tag, None, code, text, retry_after_ms)
                self.send(message.reply_to, answer)
