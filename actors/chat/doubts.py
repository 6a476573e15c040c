"""Messages that claim to follow a stamp which this node cannot believe yet.

A client says what the latest stamp is that it has seen, and stamps of the future would push every
clock there. But where the nodes of a cluster have clocks that lie minutes apart, an honest client
that comes from one to another has seen such a stamp. So the partitions are asked: each knows a
bound of the stamps that were ever given out for its conversations, and what is beyond all of them
is a lie. Meanwhile what comes behind such a message waits, so that nothing overtakes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from palaver.actors.chat.messages import Ask
from palaver.actors.chat.refusals import refusal_of
from palaver.actors.chat.stamps import StampTooFarAhead
from palaver.transport.wire import ErrorCode, Group, Members, Send

if TYPE_CHECKING:
    from palaver.actors.chat.session import Session

__all__ = ["Doubts"]

Outgoing = Send | Group | Members
Refuse = Callable[[Outgoing, ErrorCode, str, "int | None"], None]


class Doubts:
    """The requests of one session of which the first claims too much, as far as is known here.

    Args:
        session: whose.
        accept: takes a request whose claim is true.
        refuse: answers one with an error.
    """

    __slots__ = ("_accept", "_error", "_held", "_left", "_refuse", "_session")

    def __init__(
        self, session: Session, accept: Callable[[Outgoing], None], refuse: Refuse
    ) -> None:
        self._session = session
        self._accept = accept
        self._refuse = refuse
        self._held: deque[Outgoing] = deque()
        self._left = 0  # partitions that have not answered
        self._error: BaseException | None = None

    def take(self, request: Outgoing) -> None:
        """Accept a request, or hold it until the partitions have been asked."""
        if self._held:
            self._held.append(request)
            return
        try:
            self._believe(request)
        except StampTooFarAhead:
            self._held.append(request)
            self._ask()
        else:
            self._accept(request)

    def _believe(self, request: Outgoing) -> None:
        if type(request) is Send:
            self._session.context.stamps.observe_claim(request.after)

    def _ask(self) -> None:
        session, places = self._session, self._session.context.places
        self._left, self._error = places.partitions, None
        for number in range(places.partitions):
            place = places.name_of(number)
            tag = session.expect(place, self._answered)
            session.send(place, Ask(session.pid, tag, "reserved_stamp", ()))

    def _answered(self, stamp: int | None, error: BaseException | None) -> None:
        if stamp is not None:
            self._session.context.stamps.observe(stamp)
        self._error = error or self._error
        self._left -= 1
        if self._left == 0:
            held, self._held = self._held, deque()
            for request in held:
                self._decide(request)

    def _decide(self, request: Outgoing) -> None:
        try:
            self._believe(request)
        except StampTooFarAhead as wrong:
            if self._error is None:
                self._refuse(request, ErrorCode.BAD_REQUEST, str(wrong), None)
            else:  # who could have said that it is true was not there
                self._refuse(request, *refusal_of(self._error))
        else:
            self._accept(request)
