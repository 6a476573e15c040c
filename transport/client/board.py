"""Who waits for what: messages on their way, answers, listeners. Effects reach them here."""

from __future__ import annotations

import asyncio
from typing import Any

from palaver.transport import wire
from palaver.transport.client import effects as fx
from palaver.transport.client.errors import ClientClosed, ClientError, ReceiptLost
from palaver.transport.client.model import Presence, Receipt, Typing
from palaver.transport.client.streams import Listeners, Outgoing

__all__ = ["Board"]


class Board:
    """The tasks that wait on one client."""

    def __init__(self) -> None:
        self.handles: dict[int, Outgoing] = {}
        self.answers: dict[int, asyncio.Future[wire.Result]] = {}
        self.receipts: Listeners[Receipt] = Listeners()
        self.presences: Listeners[Presence] = Listeners()
        self.typings: Listeners[Typing] = Listeners()
        self.connectivity: Listeners[bool] = Listeners()
        self.online = asyncio.Event()
        self.arrival = asyncio.Event()

    def perform(self, effect: fx.Effect) -> None:
        """Tell whoever waits for it."""
        match effect:
            case fx.Acked() | fx.Refused() | fx.Delivered() | fx.ReadByAll() | fx.ReceiptsLost():
                self._advance(effect)
            case fx.Answered() | fx.Failed():
                self._answer(effect)
            case fx.Arrived():
                self.arrival.set()
            case fx.Shown():
                self._show(effect.what)
            case fx.Ready():
                self.set_online(True)

    def _advance(
        self, effect: fx.Acked | fx.Refused | fx.Delivered | fx.ReadByAll | fx.ReceiptsLost
    ) -> None:
        handle = self.handles.get(effect.cid)
        if handle is None:
            return
        over = True
        match effect:
            case fx.Acked():
                handle.acked.reach(effect.sent)
                over = not effect.followed
            case fx.Delivered():
                handle.delivered.reach(None)
                over = False
            case fx.ReadByAll():
                handle.delivered.reach(None)
                handle.read.reach(None)
            case fx.Refused():
                handle.fail(effect.error)
            case fx.ReceiptsLost():
                handle.fail_receipts(ReceiptLost("too many newer messages are followed"))
        if over:
            del self.handles[effect.cid]

    def _answer(self, effect: fx.Answered | fx.Failed) -> None:
        answer = self.answers.pop(effect.token, None)
        if answer is None or answer.done():
            return
        if isinstance(effect, fx.Answered):
            answer.set_result(effect.result)
        else:
            answer.set_exception(effect.error)

    def _show(self, what: Receipt | Presence | Typing) -> None:
        if isinstance(what, Receipt):
            self.receipts.put(what)
        elif isinstance(what, Presence):
            self.presences.put(what)
        else:
            self.typings.put(what)

    def set_online(self, online: bool) -> None:
        """The client came online, or went offline."""
        if online != self.online.is_set():
            (self.online.set if online else self.online.clear)()
            self.connectivity.put(online)

    def end(self, error: ClientError | None) -> None:
        """Tell everyone that nothing more will come: what failed, or None for an orderly end."""
        closed = error or ClientClosed("the client was closed")
        for handle in self.handles.values():
            handle.fail(closed)
        self.handles.clear()
        for answer in self.answers.values():
            if not answer.done():
                answer.set_exception(closed)
        self.answers.clear()
        everyone: list[Listeners[Any]]
        everyone = [self.receipts, self.presences, self.typings, self.connectivity]
        for listeners in everyone:
            listeners.end(error)
        # Whoever waits for these looks at the client next, and hears of its end there.
        self.arrival.set()
        self.online.set()
