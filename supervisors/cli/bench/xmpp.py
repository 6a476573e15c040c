"""The XMPP load client: stream management acks (XEP-0198), bytes scanned rather than parsed.

A load client must cost less than the server it measures, so no XML library: the stream is
searched for the few elements that matter. It relies on what servers write (attributes in
single or double quotes, `>` escaped within them) and on its own message ids, which are numbers.
"""

from __future__ import annotations

import asyncio
import base64
import re
from contextlib import suppress
from time import perf_counter
from typing import cast

from palaver.supervisors.cli.bench.load import Flow, LoadFault, message_body

DOMAIN = "localhost"
PASSWORD = "secret"  # noqa: S105 - of accounts that live for a minute on the loopback
RESOURCE = "bench"

_SM = b"urn:xmpp:sm:3"
_RECEIPTS = b"urn:xmpp:receipts"
_REQUEST = b"<r xmlns='" + _SM + b"'/>"
_OPEN = (
    f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
).encode()
_BIND = (
    "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
    f"<resource>{RESOURCE}</resource></bind></iq>"
).encode()
_ENABLE = b"<enable xmlns='" + _SM + b"'/><presence/>"
_END = b"</stream:stream>"

_ELEMENT = re.compile(
    rb"<message [^>]*?\bid=['\"](\d+)['\"][^>]*>"  # 1: a message, its number
    rb"|<(r) [^>]*/>"  # 2: an ack is asked for
    rb"|<a [^>]*?\bh=['\"](\d+)['\"][^>]*/>"  # 3: an ack, how many stanzas
    rb"|<(presence|iq) [^>]*>"  # 4: other stanzas, which acks count too
    rb"|<(stream:error|failed|/stream:stream)[ >]"  # 5: the end
)
_MESSAGE_END = b"</message>"
_STALE_BYTES = 1 << 16
"""More unread bytes than this without one complete element are not XMPP."""


class XmppSession(asyncio.Protocol):
    """One XMPP client connection with stream management."""

    __slots__ = (
        "_acked_by_server",
        "_barrier",
        "_closed",
        "_numbers",
        "_receipts",
        "_receipts_in",
        "_received",
        "_rest",
        "_steps",
        "_streaming",
        "_to",
        "_told",
        "_transport",
        "_unconfirmed",
        "_written",
        "alive",
        "inbox",
        "outbox",
        "user",
    )

    def __init__(self, user: int, inbox: Flow | None, *, receipts: bool) -> None:
        """Stand for a user; nothing happens before the connection is made."""
        self.user = user
        self.inbox = inbox
        self.outbox: Flow | None = None
        self.alive = False
        self._receipts = receipts
        self._receipts_in = 0
        self._rest = b""
        self._streaming = False
        self._steps: asyncio.Queue[bytes] = asyncio.Queue()
        self._closed = asyncio.Event()
        self._barrier: asyncio.Future[None] | None = None
        self._received = 0  # stanzas since stream management began, as its acks count them
        self._told = 0  # the highest count we have acknowledged
        self._unconfirmed = 0  # messages arrived since our last acknowledgement
        self._written = 0  # stanzas we have sent
        self._acked_by_server = 0
        self._numbers: list[int] = []  # number of the k-th stanza we sent; -1: no numbered one
        self._to = b""

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not registered
        self.alive = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self.alive = False
        self._closed.set()
        self._steps.put_nowait(b"")
        if self._barrier is not None and not self._barrier.done():
            self._barrier.set_exception(LoadFault(f"user {self.user}: connection lost"))
        self._fault("connection lost")

    def data_received(self, data: bytes) -> None:
        """Take what the server has sent: login steps first, then stanzas."""
        data = self._rest + data if self._rest else data
        if self._streaming:
            self._scan(data)
            return
        self._rest = data
        for mark in (b"</stream:features>", b"</iq>", b"<success", b"</failure>", b"<enabled"):
            at = data.find(mark)
            if at >= 0:
                end = data.find(b">", at) + 1
                if end > 0:
                    self._rest = data[end:]
                    self._streaming = mark == b"<enabled"
                    self._steps.put_nowait(data[:end])
                    if self._streaming and self._rest:
                        rest, self._rest = self._rest, b""
                        self.data_received(rest)
                    return

    def _scan(self, data: bytes) -> None:
        now_s = perf_counter()
        at = 0
        asked = False
        receipts: list[bytes] = []
        search = _ELEMENT.search
        inbox = self.inbox
        while (found := search(data, at)) is not None:
            kind = found.lastindex
            at = found.end()
            if kind == 1:
                end = data.find(_MESSAGE_END, at)
                if end < 0:
                    at = found.start()
                    break
                self._received += 1
                body, at = at, end + len(_MESSAGE_END)
                if self._receipts and data.find(b"<received", body, end) >= 0:
                    self._receipts_in += 1
                    continue
                if inbox is None:
                    self._fault("a message where none was expected")
                    return
                number = int(found[1])
                inbox.arrived(number, now_s)
                self._unconfirmed += 1
                if self._receipts:
                    receipts.append(self._receipt(number))
            elif kind == 2:
                asked = True
            elif kind == 3:
                self._acked(int(found[3]), now_s)
            elif kind == 4:
                self._received += 1
            else:
                self._fault(f"the server ended the stream: {data[at - 40 : at + 200]!r}")
                self._transport.close()
                return
        self._rest = data[at:]
        if len(self._rest) > _STALE_BYTES:
            self._fault("not XMPP")
        if asked or receipts:
            self._acknowledge(asked=asked, receipts=receipts)

    def _acknowledge(self, *, asked: bool, receipts: list[bytes]) -> None:
        out = b"".join(receipts)
        self._written += len(receipts)
        self._numbers.extend([-1] * len(receipts))
        if asked:
            self._told = self._received
            out += b"<a xmlns='" + _SM + b"' h='%d'/>" % self._received
        self._transport.write(out)
        if asked and self._unconfirmed and self.inbox is not None:
            count, self._unconfirmed = self._unconfirmed, 0
            self.inbox.confirmed(count)

    def _acked(self, upto: int, now_s: float) -> None:
        outbox = self.outbox
        if not self._acked_by_server <= upto <= self._written:
            self._fault(f"ack of {upto} stanzas where {self._written} were sent")
            return
        for place in range(self._acked_by_server, upto):
            number = self._numbers[place]
            if number >= 0 and outbox is not None:
                outbox.answered(number, now_s)
        self._acked_by_server = upto
        if self._barrier is not None and upto == self._written and not self._barrier.done():
            self._barrier.set_result(None)

    def _fault(self, what: str) -> None:
        for flow in (self.inbox, self.outbox):
            if flow is not None:
                flow.broken(f"user {self.user}: {what}")

    # -- the load's side

    def _receipt(self, number: int) -> bytes:
        assert self.inbox is not None
        return (
            f"<message to='u{self.inbox.from_user}@{DOMAIN}' id='{number}'>"
            f"<received xmlns='urn:xmpp:receipts' id='{number}'/></message>"
        ).encode()

    def submit(self, first: int, count: int) -> None:
        """Send messages in one write, with one request for their ack."""
        assert self.outbox is not None
        if not self._to:
            # A client that talks to one that is there has locked onto its resource (RFC 6121,
            # 5.1), which is also the cheaper way for the server.
            where = DOMAIN if self.outbox.receiver_away else f"{DOMAIN}/{RESOURCE}"
            to_user = self.outbox.to_user
            self._to = f"<message to='u{to_user}@{where}' type='chat' id='".encode()
        to = self._to
        ask = b"'><request xmlns='" + _RECEIPTS + b"'/><body>" if self._receipts else b"'><body>"
        parts: list[bytes] = []
        for number in range(first, first + count):
            parts += (to, b"%d" % number, ask, message_body(number), b"</body></message>")
        parts.append(_REQUEST)
        self._numbers.extend(range(first, first + count))
        self._written += count
        self._transport.write(b"".join(parts))

    @property
    def missing_receipts(self) -> int:
        """How many receipts have not come, if receipts are asked for."""
        outbox = self.outbox
        if outbox is None or not self._receipts:
            return 0
        return outbox.sent_count - self._receipts_in

    async def barrier(self) -> None:
        """Wait for an ack that follows all we have written; acknowledge all that came."""
        self._barrier = asyncio.get_running_loop().create_future()
        self._written += 1
        self._numbers.append(-1)
        self._acknowledge(asked=True, receipts=[])
        self._transport.write(
            f"<iq type='get' id='p' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>".encode()
            + _REQUEST
        )
        await asyncio.wait_for(self._barrier, 30)
        self._barrier = None

    async def close(self) -> None:
        """End the stream and wait for the server's end of it."""
        self.inbox = self.outbox = None
        if not self._transport.is_closing():
            self._transport.write(_END)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), 5)
            self._transport.close()

    async def negotiate(self) -> None:
        """Go through the login, step by step as a client does."""
        plain = base64.b64encode(f"\0u{self.user}\0{PASSWORD}".encode())
        steps = (
            (_OPEN, b"</stream:features>"),
            (
                b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"
                + plain
                + b"</auth>",
                b"<success",
            ),
            (_OPEN, b"</stream:features>"),
            (_BIND, b"<bind"),
            (_ENABLE, b"<enabled"),
        )
        for request, expected in steps:
            if request is _ENABLE:
                self._written, self._numbers = 1, [-1]  # the presence is the first that counts
            self._transport.write(request)
            answer = await asyncio.wait_for(self._steps.get(), 30)
            if expected not in answer:
                raise LoadFault(f"user {self.user}: login refused: {answer[-300:]!r}")


class XmppDriver:
    """The users u0, u1, ... of an XMPP server on the loopback."""

    name = "xmpp"

    def __init__(self, port: int, *, receipts: bool = False) -> None:
        """Talk to the server on this port; with `receipts` (XEP-0184) for every message too."""
        self._port = port
        self._receipts = receipts

    async def login(self, user: int, *, inbox: Flow | None = None) -> XmppSession:
        """Log in with SASL PLAIN, bind, enable stream management, send presence."""
        loop = asyncio.get_running_loop()
        try:
            _, session = await loop.create_connection(
                lambda: XmppSession(user, inbox, receipts=self._receipts), "127.0.0.1", self._port
            )
            await session.negotiate()
        except (OSError, TimeoutError) as error:
            raise LoadFault(f"user {user}: {str(error) or 'timed out'}") from error
        return session
