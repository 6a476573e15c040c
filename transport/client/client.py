"""The client: what a program calls."""

from __future__ import annotations

import asyncio
import os
import random as random_module
import ssl as ssl_module
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from palaver.transport import wire
from palaver.transport.client import signup
from palaver.transport.client.arriving import Arriving
from palaver.transport.client.core import Limits, Timeouts
from palaver.transport.client.directory import Directory
from palaver.transport.client.engine import Engine, Settings
from palaver.transport.client.errors import (
    BadMessage,
    ConnectionFailed,
    InboxFull,
)
from palaver.transport.client.files import Files
from palaver.transport.client.http import Http
from palaver.transport.client.identity import Identity
from palaver.transport.client.link import Proxy
from palaver.transport.client.model import (
    EVENT_TYPES,
    Event,
    FileId,
    Message,
    SentMessage,
)
from palaver.transport.client.objects import encode_object
from palaver.transport.client.ports import Backoff, Clock, SystemClock
from palaver.transport.client.servers import server_urls
from palaver.transport.client.state import ClientState, MemoryState
from palaver.transport.client.streams import Outgoing

__all__ = ["Client"]

#: Below the server's window of unacknowledged bytes, so that one batch never waits for itself.
_BATCH_BYTES: Final = 128 * 1024
_MESSAGE_OVERHEAD_BYTES: Final = 128


class Client(Directory, Files):
    """A device's connection to Palaver.

    Use it as ``async with Client(url, identity) as client``: that opens the state, connects, and
    raises AuthFailed, Revoked or ConnectionFailed where it cannot (after ``connect_timeout_s``
    seconds; None does not wait at all, so that a program can start offline). From then on the
    client reconnects by itself, with exponential backoff and full jitter, sends what is on the
    outbox in order, and goes on where it was.

    Args:
        url: The server's WebSocket URL, such as ``ws://127.0.0.1:4222/ws``; or those of several
            servers of one cluster, in any order. It stays with one while that is good, and goes
            to the next when it goes, breaks off, refuses, or is ``unavailable`` for long. Files
            travel over the server it is connected to.
        identity: The account, device and key; see :meth:`sign_up`.
        state: Where the outbox and the position are kept. MemoryState (the default) survives
            lost connections; FileState survives the program too.
        near_first: Whether to begin with the first of several servers, as the one nearby.
        clock, random: Ports for tests.
        limits, timeouts, backoff: Bounds and times; the defaults suit a person's device.
        ssl: TLS settings for a ``wss`` URL.
        proxy: A proxy's URL, True for the system's, None for none; never used for loopback.
        connect_timeout_s: How long ``async with`` waits for the first sign-in.
        agent: What the client calls itself, at most 128 bytes.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        identity: Identity,
        *,
        state: ClientState | None = None,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        backoff: Backoff | None = None,
        ssl: ssl_module.SSLContext | None = None,
        proxy: Proxy = True,
        connect_timeout_s: float | None = 10.0,
        agent: str = "palaver-python",
        near_first: bool = False,
    ) -> None:
        self.identity = identity
        self._connect_timeout_s = connect_timeout_s
        settings = Settings(
            urls=server_urls(url),
            clock=clock or SystemClock(),
            chance=random or random_module.SystemRandom(),
            limits=limits or Limits(),
            timeouts=timeouts or Timeouts(),
            backoff=backoff or Backoff(),
            ssl=ssl,
            proxy=proxy,
            agent=agent,
            near_first=near_first,
        )
        self._engine = Engine(identity, state or MemoryState(), settings)
        self._http = Http(self._engine)

    # -- signing up ----------------------------------------------------------------------------

    @staticmethod
    async def sign_up(
        url: str | Sequence[str],
        phone: str,
        code_provider: Callable[[], str | Awaitable[str]],
        device_name: str,
        key: Ed25519PrivateKey | None = None,
        *,
        ssl: ssl_module.SSLContext | None = None,
        proxy: Proxy = True,
        timeouts: Timeouts | None = None,
        random: random_module.Random | None = None,
    ) -> Identity:
        """Register a new device for a phone number and return its identity.

        The server sends a one-time code to the phone; ``code_provider`` is then called (and
        awaited, where it gives an awaitable) and returns what the person read. ``key`` is the
        device's key, a fresh one where it is None. Of several URLs the first that can be reached
        is taken, from one drawn by ``random`` on.

        Raises:
            CodeWrong, CodeExpired, RateLimited, TooMany: The server refused.
            BadMessage: ``phone`` or ``device_name`` is not fit to be sent.
            ConnectionFailed: No server could be reached, or it went away before it answered.
        """
        asking = signup.SignUp(
            url, ssl=ssl, proxy=proxy, timeouts=timeouts or Timeouts(), random=random
        )
        await asking.request_code(phone)
        code = code_provider()
        if not isinstance(code, str):
            code = await code
        return await asking.register(phone, code, device_name, key)

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the state and begin to connect; raises StateError. ``async with`` does it."""
        await self._engine.start()

    async def wait_online(self, timeout_s: float | None = None) -> None:
        """Return when the client is signed in.

        Raises:
            ConnectionFailed: It was not within ``timeout_s`` seconds; the last reason is the cause.
            AuthFailed, Revoked, Replaced, ...: What ended the client.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._engine.board.online.wait()
        except TimeoutError:
            failure = self._engine.link.last_failure
            reason = "no answer" if failure is None else str(failure)
            raise ConnectionFailed(f"not online after {timeout_s} s: {reason}") from failure
        _ = self._engine.core

    async def close(self) -> None:
        """Keep and acknowledge what was handled, and disconnect. The outbox stays in the state."""
        await self._http.close()
        await self._engine.close()

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            if self._connect_timeout_s is not None:
                await self.wait_online(self._connect_timeout_s)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def account(self) -> str:
        """The own account."""
        return self.identity.account

    @property
    def device(self) -> int:
        """The own device's number."""
        return self.identity.device

    @property
    def online(self) -> bool:
        """Whether the client is signed in at this moment."""
        return self._engine.board.online.is_set() and self._engine.goes_on

    @property
    def server(self) -> str:
        """The URL of the server that it is connected to, or tries next."""
        return self._engine.core.servers.current

    @property
    def outbox(self) -> tuple[Outgoing, ...]:
        """The messages without an acknowledgement, oldest first; also those of an earlier run."""
        handles = self._engine.board.handles
        return tuple(handles[cid] for cid in self._engine.core.outbox.cids if cid in handles)

    # -- sending -------------------------------------------------------------------------------

    async def send_message(
        self,
        sender: str,
        receiver: str | bytes,
        type: str,  # noqa: A002 - the name that the interface is known by
        text: str | None = None,
        object: Any = None,  # noqa: A002
        doc: FileId | str | os.PathLike[str] | None = None,
    ) -> SentMessage:
        """Send a message and return when it is durable on the server (one tick).

        ``receiver`` is an account or a conversation's 16 bytes. ``type`` says what it is, such as
        "text", "image", "video", "file" or "object". A ``text`` is sent as UTF-8, an ``object``
        (plain data) as CBOR; ``doc`` is a FileId, or a path that is uploaded first, and may have
        a text as its caption.

        A lost connection or a busy server only makes it take longer; cancelling the call leaves
        the message on the outbox.

        Raises:
            NotOwnAccount, BadMessage: Before anything is sent.
            OutboxFull: 10,000 messages wait already (see Limits).
            Unreachable, NotAMember, TooLarge, ...: The server refused it for good.
            InboxFull: Nobody takes what arrives, so no answer can be read.
        """
        self._own(sender, "sender")
        body = _body(type, text, object, doc is not None)
        if doc is not None and not isinstance(doc, FileId):
            doc = await self.upload_file(type, doc)
        outgoing = self._enqueue(receiver, type, body, doc)
        acked: asyncio.Future[Any] = outgoing.acked.future
        await asyncio.wait({acked, self._engine.link.stuck}, return_when=asyncio.FIRST_COMPLETED)
        if not acked.done():
            raise InboxFull("take messages: nothing more is read, not even answers, until then")
        return outgoing.acked.future.result()

    def enqueue_message(
        self,
        sender: str,
        receiver: str | bytes,
        type: str,  # noqa: A002
        text: str | None = None,
        object: Any = None,  # noqa: A002
        doc: FileId | None = None,
    ) -> Outgoing:
        """Put a message on the outbox and return at once; await its milestones as you like.

        Arguments and errors as in ``send_message``, but a ``doc`` must be uploaded already.
        """
        self._own(sender, "sender")
        if doc is not None and not isinstance(doc, FileId):
            raise BadMessage("enqueue_message takes a FileId: upload the file first")
        return self._enqueue(receiver, type, _body(type, text, object, doc is not None), doc)

    def _enqueue(
        self, receiver: str | bytes, kind: str, body: bytes, file: FileId | None
    ) -> Outgoing:
        raw = None if file is None else bytes(file)
        return self._engine.outgoing(self._engine.core.send(receiver, kind, body, raw))

    async def flush(self, timeout_s: float | None = None) -> None:
        """Return when nothing is on the outbox any more; raises TimeoutError after ``timeout_s``.

        Refusals count as done here; await the messages themselves to hear of them.
        """
        async with asyncio.timeout(timeout_s):
            while waiting := [each.acked.future for each in self.outbox]:
                await asyncio.wait(waiting)
                await self._engine.settled()

    def conversation_with(self, account: str) -> bytes:
        """Return the id of the direct conversation with another account."""
        return wire.direct_conversation(self.account, account)

    # -- receiving -----------------------------------------------------------------------------

    async def get_messages(
        self, user: str, *, limit: int = 500, wait_s: float = 0.0, patience_s: float = 1.0
    ) -> list[Message]:
        """Return what is queued for this device, in order; empty where nothing is.

        Each message is returned once, and acknowledged when this returns; changes of groups are
        passed over (see ``events``). At most ``limit`` messages or 128 KiB of them come at once,
        so call it until it gives nothing. Where something was queued when the client signed in,
        it waits for that to arrive, at most ``patience_s`` seconds from one arrival to the next;
        where nothing is there it waits up to ``wait_s`` seconds for a first message.

        Raises:
            NotOwnAccount: ``user`` is not the own account.
            ConnectionFailed: Nothing has arrived and the server cannot be reached.
        """
        self._own(user, "user")
        engine = self._engine
        events: list[Event] = []
        messages: list[Message] = []
        size_bytes = 0
        if not engine.core.inbox.unhandled:
            await self.wait_online(engine.settings.timeouts.request_s)
        while len(messages) < limit and size_bytes < _BATCH_BYTES:
            event = engine.take()
            if event is not None:
                events.append(event)
                size_bytes += _MESSAGE_OVERHEAD_BYTES
                if isinstance(event, Message):
                    messages.append(event)
                    size_bytes += len(event.body)
            elif not await self._more(
                patience_s if not engine.core.caught_up else wait_s, messages
            ):
                break
        for event in events:
            engine.handled(event.position)
        await engine.settled()
        return messages

    async def _more(self, wait_s: float, messages: list[Message]) -> bool:
        engine = self._engine
        if wait_s <= 0.0 or (engine.core.caught_up and messages):
            return False
        try:
            async with asyncio.timeout(wait_s):
                await engine.board.arrival.wait()
        except TimeoutError:
            return False
        return True

    def messages(self) -> AsyncIterator[Message]:
        """Iterate over arriving messages, without end.

        A message is kept as handled, and acknowledged, when the next one is asked for, or when
        the loop is left. Several iterators share what arrives: each message goes to one of them.
        Changes of groups are passed over. Ends when the client is closed; raises its error where
        it failed.
        """
        return Arriving(self._engine, (Message,))

    def events(self) -> AsyncIterator[Event]:
        """Iterate over arriving messages and changes of groups, otherwise as ``messages``."""
        return Arriving[Event](self._engine, EVENT_TYPES)


def _body(kind: str, text: str | None, value: Any, has_file: bool) -> bytes:
    if text is not None and value is not None:
        raise BadMessage("a message has a text or an object, not both")
    if text is not None:
        try:
            return text.encode()
        except (UnicodeEncodeError, AttributeError) as error:
            raise BadMessage(f"the text is not Unicode text: {error}") from error
    if value is not None:
        return encode_object(value)
    if not has_file:
        raise BadMessage(f"a message of type {kind!r} needs a text, an object or a file")
    return b""
