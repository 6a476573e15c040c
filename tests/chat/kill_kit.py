"""People who keep talking while things die, and the promises that must hold when all is quiet.

A `Persona` is one device that does what the protocol asks of a client: on a close it connects
again and sends once more, in order and under the same ids, what was not answered; it shows each
position of its queue once. What it notices at once (a gap, a repeat under another position, a
stamp that does not rise) it raises; what can only be seen in the end, `verify` checks.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.protocol import State

from palaver.actors.runtime import CrashReport, Pid
from palaver.actors.runtime.observer import NullObserver
from palaver.actors.runtime.reasons import Crash
from palaver.transport import wire

PATIENCE_S = 20.0
IN_FLIGHT = 8
_RETRY = frozenset({"unavailable", "overloaded", "timeout", "going_away"})
_AGAIN_S = 0.02


class Crashes(NullObserver):
    """Remembers who ended by an exception of its own."""

    def __init__(self) -> None:
        self.reports: list[CrashReport] = []
        self.gave_up: list[str] = []

    def process_crashed(self, report: CrashReport) -> None:
        if isinstance(report.reason, Crash):
            self.reports.append(report)

    def supervisor_gave_up(self, supervisor: Pid, reason: object) -> None:
        self.gave_up.append(f"{supervisor}: {reason}")


class Broken(AssertionError):
    """A promise was broken."""


class Outgoing(NamedTuple):
    """A message (or, with `members`, a group) that its sender has composed."""

    cid: int
    conversation: bytes
    to: str | bytes
    seen: int
    after: int
    body: bytes
    members: tuple[str, ...] = ()


class Crowd:
    """All personas of a test, and the news between them."""

    def __init__(self, url: Callable[[], str]) -> None:
        self.url = url
        self.personas: list[Persona] = []
        self.progress = 0
        self.said: Counter[bytes] = Counter()  # answered messages by conversation
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, account: str, device: int, key: Ed25519PrivateKey) -> Persona:
        persona = Persona(self, account, device, key)
        self.personas.append(persona)
        return persona

    def begin(self) -> None:
        """Let everyone live: connect whenever they want to be connected."""
        self._tasks = [asyncio.ensure_future(persona.live()) for persona in self.personas]

    def told(self) -> None:
        self.progress += 1
        self._news.set()

    def failed(self) -> None:
        """Raise what a persona has noticed."""
        for persona in self.personas:
            if persona.broken is not None:
                raise persona.broken

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition that the personas' progress makes true."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self.failed()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            state = "\n".join(map(str, self.personas))
            raise Broken(f"waited in vain for {what}\n{state}") from None
        self.failed()

    async def settle(self) -> None:
        """Connect everyone and wait until all is answered, delivered and acknowledged."""
        for persona in self.personas:
            persona.lazy = False
            persona.come()
        await self.until(lambda: not any(p.outbox for p in self.personas), "all answers")
        await self.until(lambda: all(p.is_complete() for p in self.personas), "all deliveries")
        for persona in self.personas:
            persona.acknowledge()  # what a lazy one has left

    async def end(self) -> None:
        for persona in self.personas:
            persona.stopped = True
            await persona.leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def seqs(self, conversation: bytes) -> dict[int, tuple[str, int, int]]:
        """Who said what under which seq, by the answers that the senders got."""
        said: dict[int, tuple[str, int, int]] = {}
        for persona in self.personas:
            for cid, (where, seq, _) in persona.answers.items():
                if where == conversation:
                    if seq in said:
                        raise Broken(f"seq {seq} was given to two messages")
                    said[seq] = (persona.account, persona.device, cid)
        return said


class Persona:
    """One device of a person."""

    def __init__(self, crowd: Crowd, account: str, device: int, key: Ed25519PrivateKey) -> None:
        self.crowd = crowd
        self.account = account
        self.device = device
        self.key = key
        self.lazy = False  # acknowledges only sometimes
        self.chance = random.Random(f"{account}/{device}")
        self.watches: list[str] = []
        self.conversations: set[bytes] = set()  # that it belongs to
        # What it knows.
        self.outbox: dict[int, Outgoing] = {}
        self.composed: dict[int, Outgoing] = {}
        self.answers: dict[int, tuple[bytes, int, int]] = {}
        self.events: list[list[Any]] = []
        self.heads: dict[bytes, int] = {}  # conversation -> last seq it was pushed
        self.said: Counter[bytes] = Counter()
        self.heard: Counter[bytes] = Counter()
        self.stamp = 0
        self.acked = 0  # the greatest position that it ever acknowledged
        self._told = 0  # ... and on this connection, or before it as the server says
        self.last_seen: dict[str, int] = {}
        self.logins = 0
        self.closes: Counter[int] = Counter()
        self.refusals: Counter[str] = Counter()
        self.broken: BaseException | None = None
        self.stopped = False
        self._wanted = asyncio.Event()
        self._ws: ClientConnection | None = None
        self._ready = False
        self._next_id = 0
        self._asked: dict[int, Callable[[Any], None]] = {}
        self._in_flight: dict[int, int] = {}  # cid -> request id
        self._held = False

    def __str__(self) -> str:
        complete = {c.hex()[:6]: self.heads.get(c, 0) for c in self.conversations}
        return (
            f"{self.account}/{self.device} ready={self._ready} wanted={self._wanted.is_set()} "
            f"open={list(self.outbox)[:5]} in_flight={dict(list(self._in_flight.items())[:5])} "
            f"held={self._held} events={len(self.events)} heads={complete} logins={self.logins} "
            f"closes={dict(self.closes)} refusals={dict(self.refusals)}"
        )

    # -- what a test has it do -------------------------------------------------------------------

    def come(self) -> None:
        self._wanted.set()

    async def leave(self) -> None:
        """Hang up, without a goodbye."""
        self._wanted.clear()
        if self._ws is not None:
            self._ws.transport.abort()

    @property
    def is_wanted(self) -> bool:
        """Whether it wants to be connected."""
        return self._wanted.is_set()

    def say(self, to: str | bytes, members: tuple[str, ...] = ()) -> Outgoing:
        """Compose a message (with `members`: a group named `to`) and send it when possible."""
        cid = len(self.composed) + 1
        if members:
            text = f"palaver-group-v1\0{self.account}\0{self.device}\0{cid}"
            conversation = _digest(text)
        elif isinstance(to, str):
            conversation = wire.direct_conversation(self.account, to)
        else:
            conversation = to
        body = f"{self.account}/{self.device}/{cid}".encode()
        seen = self.heads.get(conversation, 0)
        message = Outgoing(cid, conversation, to, seen, self.stamp, body, members)
        self.composed[cid] = self.outbox[cid] = message
        self._pump()
        return message

    def acknowledge(self) -> None:
        if self._ready and len(self.events) > self._told:
            self.acked = self._told = len(self.events)
            self._write([wire.ACK, self.acked])

    def is_complete(self) -> bool:
        """Whether it has everything that was said where it belongs."""
        for conversation in self.conversations:
            foreign = self.crowd.said[conversation] - self.said[conversation]
            if self.heard[conversation] < foreign:
                return False
        return True

    async def ask(self, opcode: int, *args: Any) -> Any:
        """A request that is asked again whenever the connection ends before the answer."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if self._ready:
                    future = asyncio.get_running_loop().create_future()
                    self._request([opcode, *args], _settle(future))
                    await asyncio.wait([future], timeout=1.0)
                    if future.done() and future.result() is not None:
                        reply = future.result()
                        if reply[0] == wire.OK:
                            return reply[2]
                        if reply[2] not in _RETRY:
                            raise Broken(f"{opcode} was refused: {reply}")
                await asyncio.sleep(_AGAIN_S)

    # -- a life --------------------------------------------------------------------------------

    async def live(self) -> None:
        while not self.stopped:
            await self._wanted.wait()
            try:
                await self._session()
            except (OSError, ConnectionClosed, InvalidHandshake, EOFError):
                # Nobody tells when a server is there again: try until it is.
                await asyncio.sleep(_AGAIN_S)
            except Exception as error:
                self.broken = error
                self.crowd.told()
                return

    async def _session(self) -> None:
        async with connect(
            self.crowd.url(), compression=None, ping_interval=None, open_timeout=3.0,
            close_timeout=0.0,
        ) as ws:  # fmt: skip
            self._ws, self._next_id = ws, 0
            self._asked = {}
            try:
                self._request([wire.HELLO, [1], "test"], self._welcomed)
                async for frame in ws:
                    assert isinstance(frame, bytes)
                    for op in wire.decode_frame(frame):
                        self._take(op)
                    self.crowd.told()
            finally:
                self._ws, self._ready = None, False
                self._in_flight.clear()
                asked, self._asked = self._asked, {}
                for then in asked.values():
                    then(None)
        self.closes[ws.close_code or 0] += 1
        self.crowd.told()
        await asyncio.sleep(_AGAIN_S)

    def _welcomed(self, reply: list[Any] | None) -> None:
        if reply is None:
            return
        self._must_be_ok(reply)
        payload = wire.auth_payload(reply[2][2], self.account, self.device)
        signature = self.key.sign(payload)
        self._request([wire.AUTH, self.account, self.device, signature], self._authenticated)

    def _authenticated(self, reply: list[Any] | None) -> None:
        if reply is None:
            return
        if reply[0] == wire.ERROR and reply[2] in _RETRY:
            self.refusals[reply[2]] += 1
            assert self._ws is not None
            self._ws.transport.abort()
            return
        self._must_be_ok(reply)
        pending, first, _ = reply[2]
        if first > len(self.events) + 1 or first - 1 > self.acked or pending < 0:
            raise Broken(
                f"{self.account}/{self.device} has {len(self.events)} events, acknowledged "
                f"{self.acked}, and is offered {pending} from {first}"
            )
        # An acknowledgement answers what was pushed on this connection: it waits for the push.
        self._told = first - 1
        self.logins += 1
        self._ready = True
        for account in self.watches:
            self._request([wire.WATCH, account], self._watched(account))
        self._held = False
        self._pump()

    def _must_be_ok(self, reply: list[Any]) -> None:
        if reply[0] != wire.OK:
            raise Broken(f"{self.account}/{self.device} was refused: {reply}")

    # -- out ---------------------------------------------------------------------------------------

    def _write(self, *ops: list[Any]) -> None:
        """Begin to write; what cannot be written any more is sent again on the next connection."""
        ws = self._ws
        if ws is None or ws.state is not State.OPEN or ws.transport.is_closing():
            return
        # The library's own send waits for room; what is open here is bounded anyhow.
        ws.protocol.send_binary(wire.encode(list(ops)))
        ws.send_data()

    def _request(self, op: list[Any], then: Callable[[Any], None]) -> int:
        self._next_id += 1
        self._asked[self._next_id] = then
        self._write([op[0], self._next_id, *op[1:]])
        return self._next_id

    def _pump(self) -> None:
        """Send what is not on its way, in order."""
        if not self._ready or self._held:
            return
        for cid, message in list(self.outbox.items()):
            if len(self._in_flight) >= IN_FLIGHT:
                return
            if cid not in self._in_flight:
                self._in_flight[cid] = self._request(self._op(message), self._answered(cid))

    def _op(self, message: Outgoing) -> list[Any]:
        low = min(self.outbox)
        if message.members:
            return [wire.GROUP, message.cid, low, message.to, list(message.members)]
        return [
            wire.SEND, message.to, message.cid, low, message.seen, message.after, "text",
            message.body, None,
        ]  # fmt: skip

    def _answered(self, cid: int) -> Callable[[Any], None]:
        def then(reply: list[Any] | None) -> None:
            if reply is None:
                return
            del self._in_flight[cid]
            if reply[0] == wire.OK:
                self._accepted(cid, reply[2])
            elif reply[2] in _RETRY:
                self._refused(cid, reply)
            else:
                raise Broken(f"{self.account}/{self.device}: {self.composed[cid]} got {reply}")
            self._pump()

        return then

    def _accepted(self, cid: int, answer: list[Any]) -> None:
        conversation, seq, stamp = answer
        message = self.outbox.pop(cid)
        if conversation != message.conversation:
            raise Broken(f"{message} went to {conversation.hex()}")
        if stamp <= message.after:
            raise Broken(f"{message} got stamp {stamp}, its sender had seen {message.after}")
        self.answers[cid] = (conversation, seq, stamp)
        self.said[conversation] += 1
        self.crowd.said[conversation] += 1
        self.stamp = max(self.stamp, stamp)

    def _refused(self, cid: int, reply: list[Any]) -> None:
        """To be sent again, with whatever followed it on its way."""
        self.refusals[reply[2]] += 1
        self._held = True
        asyncio.get_running_loop().call_later(_AGAIN_S, self._release)

    def _release(self) -> None:
        self._held = False
        self._pump()

    # -- in ----------------------------------------------------------------------------------------

    def _take(self, op: list[Any]) -> None:
        match op:
            case [wire.OK | wire.ERROR, request_id, *_]:
                then = self._asked.pop(request_id, None)
                if then is None:
                    raise Broken(f"an answer to a request that is not open: {op}")
                then(op)
            case [wire.PUSH, first, events]:
                for position, event in enumerate(events, first):
                    self._event(position, event)
                if not self.lazy or self.chance.random() < 0.5:
                    self.acknowledge()
            case [wire.PRESENCE, account, _, last_seen_ms]:
                self._saw(account, last_seen_ms)
            case [wire.RECEIPT | wire.TYPING_FROM | wire.GOING, *_]:
                pass
            case _:
                raise Broken(f"an operation that no server sends: {op}")

    def _event(self, position: int, event: list[Any]) -> None:
        if position <= len(self.events):
            if self.events[position - 1] != event:
                raise Broken(f"position {position} was {self.events[position - 1]}, is {event}")
            return
        if position != len(self.events) + 1:
            raise Broken(f"position {position} comes after {len(self.events)}")
        conversation, seq, stamp = event[1:4]
        if seq <= self.heads.get(conversation, 0):
            raise Broken(f"seq {seq} comes after {self.heads[conversation]}: {event}")
        self.heads[conversation] = seq
        self.stamp = max(self.stamp, stamp)
        self.events.append(event)
        self.heard[conversation] += 1

    def _watched(self, account: str) -> Callable[[Any], None]:
        def then(reply: list[Any] | None) -> None:
            if reply is not None and reply[0] == wire.OK:
                self._saw(account, reply[2][1])

        return then

    def _saw(self, account: str, last_seen_ms: int | None) -> None:
        before = self.last_seen.get(account)
        if last_seen_ms is None:
            if before is not None:
                raise Broken(f"last seen of {account} was {before}, is unknown")
        elif before is not None and last_seen_ms < before:
            raise Broken(f"last seen of {account} went back by {before - last_seen_ms} ms")
        else:
            self.last_seen[account] = last_seen_ms


# -- the promises ------------------------------------------------------------------------------


def verify(crowd: Crowd) -> None:
    """Check what must hold once everything is answered and delivered."""
    conversations = sorted({c for p in crowd.personas for c in p.conversations})
    for conversation in conversations:
        _verify_conversation(crowd, conversation)
    for persona in crowd.personas:
        assert not persona.outbox
        assert set(persona.answers) == set(persona.composed), "every message has its answer"


def _verify_conversation(crowd: Crowd, conversation: bytes) -> None:
    said = crowd.seqs(conversation)
    # Gap-free, and as many as were sent: nothing acknowledged is lost, nothing is doubled.
    assert sorted(said) == list(range(1, len(said) + 1))
    events: dict[int, list[Any]] = {}
    for persona in crowd.personas:
        mine = [event for event in persona.events if event[1] == conversation]
        if conversation not in persona.conversations:
            assert not mine, "a stranger was told"
            continue
        seqs = [event[2] for event in mine]
        own = [seq for seq, who in said.items() if who[:2] == (persona.account, persona.device)]
        assert seqs == sorted(set(said) - set(own)), f"{persona} misses or repeats something"
        for event in mine:
            assert events.setdefault(event[2], event) == event, "the same on every device"
    _verify_events(crowd, said, events)
    _verify_order(crowd, conversation)


def _verify_events(
    crowd: Crowd, said: dict[int, tuple[str, int, int]], events: dict[int, list[Any]]
) -> None:
    by_device = {(p.account, p.device): p for p in crowd.personas}
    last_stamp = 0
    for seq in sorted(said):
        account, device, cid = said[seq]
        sender = by_device[account, device]
        message, stamp = sender.composed[cid], sender.answers[cid][2]
        assert stamp > last_stamp, "stamps rise with the order"
        assert stamp > message.after, "stamps rise along causality"
        last_stamp = stamp
        if seq in events:
            event = events[seq]
            assert event[3] == stamp
            if event[0] == wire.EVENT_MESSAGE:
                assert event[4:8] == [min(message.seen, seq - 1), account, device, cid]
                assert event[10] == message.body


def _verify_order(crowd: Crowd, conversation: bytes) -> None:
    """What a device says in a conversation stays in its order."""
    for persona in crowd.personas:
        sent = sorted(
            (seq, cid) for cid, (c, seq, _) in persona.answers.items() if c == conversation
        )
        for i, (_, cid) in enumerate(sent):
            for _, later in sent[i + 1 :]:
                assert cid < later, (
                    f"{persona.account}/{persona.device}: {later} was sent before {cid}"
                )


async def verify_marks(crowd: Crowd, one_each: Iterable[Persona]) -> None:
    """What everyone has acknowledged is delivered, for all to see."""
    for persona in one_each:
        for conversation in persona.conversations:
            said = crowd.seqs(conversation)
            if not said:
                continue

            def wanted(account: str, said: dict[int, tuple[str, int, int]] = said) -> int:
                return max((seq for seq, who in said.items() if who[0] != account), default=0)

            async with asyncio.timeout(PATIENCE_S):
                while True:
                    marks = await persona.ask(wire.MARKS, conversation)
                    if all(delivered >= wanted(account) for account, delivered, _ in marks):
                        break
                    await asyncio.sleep(_AGAIN_S)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()[:16]


def _settle(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    def then(reply: Any) -> None:
        if not future.done():
            future.set_result(reply)

    return then
