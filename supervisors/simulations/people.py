"""People with their devices: the real client library, and somebody who uses it.

A `Device` is the program on one machine: it signs up, opens the client with the machine's state,
shows what arrives and says what its person wants to say. All that happens goes into the
`Chronicle`. When its machine dies, the next `Device` on it goes on with what was kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from palaver.supervisors.simulations.chronicle import Broken, Chronicle, DeviceLog
from palaver.supervisors.simulations.clients import WatchedState, Writer
from palaver.supervisors.simulations.machines import Machine
from palaver.transport.client import (
    AuthFailed,
    ClientError,
    CodeExpired,
    CodeWrong,
    ConnectionFailed,
    Identity,
    MembersChanged,
    MemoryState,
    Outgoing,
    ProtocolViolation,
    RateLimited,
    Replaced,
    Revoked,
    SentMessage,
    ServerError,
    SignUp,
    StateError,
    TransientError,
    UnsupportedVersion,
)
from palaver.transport.client.link import pause

__all__ = ["Day", "Device", "Habits", "Person"]

_RETRY_S = 1.0

#: What ends the client says nothing of the messages on its outbox.
_ENDS = (AuthFailed, Replaced, Revoked, UnsupportedVersion)


@dataclass(slots=True)
class Day:
    """How far the run is: people act by day, only listen in the evening, and stop at night.

    Who is `watching` looks at the presence of all contacts meanwhile.
    """

    evening: bool = False
    night: bool = False
    watching: bool = False


@dataclass(slots=True)
class Person:
    """Somebody with a phone number, and whom they know.

    Attributes:
        account: the phone number, E.164.
        contacts: the accounts that they write to.
        groups: the groups that they know of, by the order in which they heard of them.
        wishes: how many things this person still wants to do.
    """

    account: str
    contacts: list[str] = field(default_factory=list)
    groups: dict[bytes, None] = field(default_factory=dict)
    wishes: int = 20


class Habits(Protocol):
    """What a person does while the client runs."""

    async def spend(self, device: Device) -> float:
        """Act until the person puts the device away; for how many seconds, before the next time."""


class Device:
    """One device's program, from the start of its machine to the machine's end.

    Args:
        machine: what it runs on.
        chronicle: where everything is noted.
        person: whose it is.
        habits: what the person does with it.
        day: how far the run is.
        label: the device's name as the account's list of devices shows it.
    """

    def __init__(
        self,
        machine: Machine,
        chronicle: Chronicle,
        person: Person,
        habits: Habits,
        day: Day,
        label: str = "phone",
    ) -> None:
        self.machine = machine
        self.chronicle = chronicle
        self.person = person
        self.day = day
        self.client: Writer | None = None
        self.ended = ""
        """Why the device came to its end for good (revoked); empty while it goes on."""
        self._habits = habits
        self._label = label
        self._log: DeviceLog | None = None

    @property
    def log(self) -> DeviceLog:
        """The chronicle's page of this device; it is registered."""
        assert self._log is not None, "the device is not registered yet"
        return self._log

    @property
    def client_is_online(self) -> bool:
        """Whether its program is signed in."""
        return self.is_registered and self.client is not None and self.client.online

    @property
    def watched(self) -> frozenset[str]:
        """The accounts whose presence its program looks at."""
        return frozenset() if self.client is None else self.client.watched

    @property
    def is_registered(self) -> bool:
        """Whether it has signed up."""
        return self._log is not None

    async def sleep(self, delay_s: float) -> None:
        """Let time pass."""
        await pause(self.machine.clock, delay_s)

    async def live(self) -> None:
        """Sign up where that was not done, then use the client until night or the device's end."""
        identity = await self._identity()
        while not self.day.night and not self.ended:
            away_s = await self._use(identity)
            if not self.ended and not self.day.night:
                await self._away(away_s)

    async def _away(self, away_s: float) -> None:
        """Put the device away; in the evening everybody takes theirs up again."""
        while away_s > 0 and not self.day.evening:
            some_s = min(away_s, 1.0)
            await self.sleep(some_s)
            away_s -= some_s
        await self.sleep(0.05)

    # -- signing up ----------------------------------------------------------------------------

    async def _identity(self) -> Identity:
        disk, account = self.machine.disk, self.person.account
        raw = disk.get("key")
        if raw is None:
            raw = disk["key"] = self.machine.random.randbytes(32)
        key = Ed25519PrivateKey.from_private_bytes(raw)
        device = disk.get("device")
        if device is None:
            if "asked" not in disk:
                disk["asked"] = self.chronicle.asking()
            device = await self._sign_up(key)
            disk["device"] = device
            self._log = self.chronicle.registered(account, device, disk["asked"])
        else:
            self._log = self.chronicle.devices[account, device]
        return Identity(account, device, key)

    async def _sign_up(self, key: Ed25519PrivateKey) -> int:
        machine, account = self.machine, self.person.account
        while True:
            asking = SignUp(
                machine.url, proxy=None, timeouts=machine.timeouts, random=machine.random
            )
            try:
                await asking.request_code(account)
                async with asyncio.timeout(machine.timeouts.request_s):
                    code = await machine.codes.next_code(account)
                identity = await asking.register(account, code, self._label, key)
            except (CodeWrong, CodeExpired, RateLimited, ConnectionFailed, TransientError):
                machine.happened("signing up took more than one try")
            except TimeoutError:
                machine.happened("a code was lost")
            else:
                if identity.account != account:
                    raise Broken(f"{account} was registered as {identity.account}")
                return identity.device
            await self.sleep(_RETRY_S * (0.5 + machine.random.random()))

    # -- using the client ----------------------------------------------------------------------

    async def _use(self, identity: Identity) -> float:
        machine = self.machine
        self.client = client = Writer(
            machine.url,
            identity,
            state=WatchedState(machine.state(), self.chronicle, self.log),
            clock=machine.clock,
            random=machine.random,
            timeouts=machine.timeouts,
            backoff=machine.backoff,
            proxy=None,
            connect_timeout_s=None,
        )
        tasks: list[asyncio.Task[object]] = []
        try:
            await client.start()
            for outgoing in client.outbox:
                self._follow(outgoing)
                machine.happened("a message of an earlier run was on the outbox")
            spending = asyncio.create_task(self._habits.spend(self))
            tasks = [
                spending,
                *map(
                    asyncio.create_task,
                    (
                        self._read(client),
                        self._hear_receipts(client),
                        self._hear_presence(client),
                        self._hear_connectivity(client),
                        self._hear_typing(client),
                    ),
                ),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks[1:]:
                if task.done():
                    task.result()
            return spending.result() if spending.done() else 0.0
        except ClientError as error:
            return self._client_ended(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            try:
                await client.close()
            except StateError:
                machine.happened("the client's state failed at its end")

    def _client_ended(self, error: ClientError) -> float:
        match error:
            case Revoked():
                if self.log.revoked is None:
                    raise Broken(f"{self.log} was told that it is revoked; nobody asked for it")
                self.ended = "revoked"
            case Replaced():
                self.machine.happened("a newer connection replaced this one")
            case StateError():
                self.machine.happened("the client's state failed")
            case AuthFailed() | ProtocolViolation() | ServerError():
                raise Broken(f"{self.log}: the client ended with {error!r}") from error
            case _:
                raise error
        return _RETRY_S

    async def _read(self, client: Writer) -> None:
        async for event in client.events():
            self.chronicle.shown(self.log, event)
            if isinstance(event, MembersChanged):
                self.person.groups[event.conv] = None
            if self.machine.choose("pause", 8) > 5:
                await self.sleep(self.machine.random.random())

    async def _hear_receipts(self, client: Writer) -> None:
        async for receipt in client.receipts():
            self.chronicle.receipt(self.log, receipt)

    async def _hear_connectivity(self, client: Writer) -> None:
        async for online in client.connectivity():
            if online:
                self.chronicle.online(self.log)

    async def _hear_typing(self, client: Writer) -> None:
        async for typing in client.typing():
            self.chronicle.sees_typing(self.log, typing)

    async def _hear_presence(self, client: Writer) -> None:
        async for presence in client.presence():
            self.chronicle.presence(self.log, presence)

    def _follow(self, outgoing: Outgoing) -> None:
        """Note what becomes of a message."""
        log, cid = self.log, outgoing.cid

        def over(future: asyncio.Future[SentMessage]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                self.chronicle.accepted(log, cid, future.result())
            elif isinstance(error, ServerError) and not isinstance(error, _ENDS):
                self.chronicle.refused(log, cid, error.code)

        def reached(read: bool, future: asyncio.Future[None]) -> None:
            if not future.cancelled() and future.exception() is None:
                self.chronicle.reached(log, cid, read=read)

        outgoing.acked.future.add_done_callback(over)
        outgoing.delivered.future.add_done_callback(partial(reached, False))
        outgoing.read.future.add_done_callback(partial(reached, True))

    # -- what habits do with it ------------------------------------------------------------------

    def say(self, to: str | bytes, text: str) -> None:
        """Write a text; it goes when it can."""
        assert self.client is not None
        outgoing = self.client.enqueue_message(self.person.account, to, "text", text=text)
        self.chronicle.composed(self.log, outgoing.cid, to, type="text", body=text.encode())
        self._follow(outgoing)

    def make_group(self, name: str, members: tuple[str, ...]) -> None:
        """Make a group with others."""
        assert self.client is not None
        outgoing = self.client.begin_group(name, members)
        self.chronicle.composed(self.log, outgoing.cid, name, kind="group", members=members)
        self._follow(outgoing)

        def made(future: asyncio.Future[SentMessage]) -> None:
            if not future.cancelled() and future.exception() is None:
                self.person.groups[future.result().conv] = None

        outgoing.acked.future.add_done_callback(made)

    def change_group(self, conv: bytes, add: tuple[str, ...], remove: tuple[str, ...]) -> None:
        """Add members to a group and remove others."""
        assert self.client is not None
        outgoing = self.client.begin_change(conv, add, remove)
        self.chronicle.composed(
            self.log, outgoing.cid, conv, kind="members", members=(*add, *remove)
        )
        self._follow(outgoing)

    async def read(self, conv: bytes, seq: int) -> None:
        """Say that a conversation was read so far."""
        assert self.client is not None
        self.chronicle.reading(self.log, conv, seq)
        try:
            await self.client.mark_read(conv, seq)
        except ClientError:
            return
        self.chronicle.has_read(self.log, conv, seq)

    def _program(self, identity: Identity) -> Writer:
        machine = self.machine
        return Writer(
            machine.url,
            identity,
            state=MemoryState(),
            clock=machine.clock,
            random=machine.random,
            timeouts=machine.timeouts,
            backoff=machine.backoff,
            proxy=None,
        )

    async def twin(self) -> None:
        """Sign in once more as this device; both may not stay."""
        assert self.client is not None
        other = self._program(self.client.identity)
        try:
            await other.start()
            await other.wait_online(self.machine.timeouts.handshake_s)
            await self.sleep(self.machine.timeouts.answer_s)  # a closing takes time
            if self.client.online and other.online:
                raise Broken(f"two programs are signed in as {self.log}")
        except ClientError:
            self.machine.happened("a twin was sent away")
        except asyncio.CancelledError:
            await other.close()
            raise
        await other.close()

    async def impersonate(self, account: str) -> None:
        """Sign in as somebody's first device, with a key of one's own: it must be refused."""
        machine = self.machine
        key = Ed25519PrivateKey.from_private_bytes(machine.random.randbytes(32))
        stranger = self._program(Identity(account, 1, key))
        try:
            await stranger.start()
            await stranger.wait_online(machine.timeouts.handshake_s)
        except (AuthFailed, Revoked):
            machine.happened("a stranger was refused")
        except ClientError:
            machine.happened("a stranger did not reach the server")
        except asyncio.CancelledError:
            await stranger.close()
            raise
        else:
            raise Broken(f"{self.log} signed in as {account}, with another key")
        await stranger.close()

    async def ask(self, question: Awaitable[object]) -> object | None:
        """Ask something that may fail while servers come and go; None where it did."""
        try:
            return await question
        except ClientError:
            return None
