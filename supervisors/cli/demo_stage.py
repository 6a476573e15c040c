"""What a demo plays on: devices of people, a transcript, and a record of promises kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from palaver.supervisors.cli.node_process import NodeProcess
from palaver.supervisors.cli.output import CommandError
from palaver.transport.client import (
    Backoff,
    Client,
    FileState,
    Identity,
    MembersChanged,
    Message,
    Presence,
)

_WAIT_S = 15.0
_COLOURS = {"Anna": "green", "Ben": "magenta", "Cleo": "cyan"}


@dataclass(slots=True)
class Promise:
    """One thing that the demo checks, in a sentence."""

    text: str
    kept: bool
    detail: str = ""


class Stage:
    """The node, the transcript and the promises."""

    def __init__(self, folder: Path, out: Console, node: NodeProcess | None = None) -> None:
        self.folder = folder
        self.node = node or NodeProcess(folder, ["--set", "reconnect_spread_s=0.2"])
        self.out = out
        self.promises: list[Promise] = []
        self.devices: list[Device] = []
        self._news = asyncio.Event()
        self._began_s = time.monotonic()

    def heading(self, text: str) -> None:
        """Begin a scene."""
        self.out.print(Rule(Text(text, "bold"), align="left", style="dim"))

    def tell(self, who: str, text: str | Text, tick: str = "", style: str = "") -> None:
        """Write a line of the transcript."""
        at = f"{time.monotonic() - self._began_s:6.2f} s  "
        line = Text.assemble((at, "dim"), (f"{who:<14}", _COLOURS.get(who.split("'")[0], "dim")))
        line.append_text(text if isinstance(text, Text) else Text(text))
        if tick:
            line.append("  " + tick, style or "dim")
        self.out.print(line)

    def promise(self, text: str, kept: bool, detail: str = "") -> None:
        """Record whether a promise was kept."""
        self.promises.append(Promise(text, kept, detail))

    def heard(self) -> None:
        """Something arrived somewhere."""
        self._news.set()

    async def until(self, what: str, holds: Callable[[], bool], wait_s: float = _WAIT_S) -> None:
        """Wait for a condition over what arrived; `CommandError` when it does not come true."""
        try:
            async with asyncio.timeout(wait_s):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise CommandError(f"waited {wait_s:g} s in vain: {what}") from None

    async def close(self) -> None:
        """Disconnect everyone and end the node."""
        for device in self.devices:
            await device.disconnect()
        await self.node.kill()


@dataclass(slots=True)
class Device:
    """One device of a person: its key, its state, and everything that it received."""

    stage: Stage
    person: str
    name: str
    identity: Identity
    urls: list[str] = field(default_factory=list)
    received: list[Message] = field(default_factory=list)
    changes: list[MembersChanged] = field(default_factory=list)
    presences: list[Presence] = field(default_factory=list)
    client: Client | None = None
    _pumps: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def sign_up(
        cls, stage: Stage, person: str, name: str, phone: str, urls: list[str] | None = None
    ) -> Device:
        """Sign up by the real path: a code is sent, read from where the node sends it, entered.

        `urls` are nodes where the device may connect, the first first; by default the stage's node.
        """
        nth = 1 + sum(d.account == phone for d in stage.devices)
        node = stage.node
        urls = urls or [node.ws_url]
        identity = await Client.sign_up(urls[0], phone, lambda: node.code_for(phone, nth=nth), name)
        device = cls(stage, person, name, identity, urls)
        stage.devices.append(device)
        stage.tell(person, f"signed up {name} as device {identity.device} of {phone}")
        return device

    @property
    def account(self) -> str:
        """The person's account."""
        return self.identity.account

    @property
    def label(self) -> str:
        """The device in the transcript."""
        return f"{self.person}'s {self.name}"

    @property
    def live(self) -> Client:
        """The connected client."""
        assert self.client is not None
        return self.client

    async def connect(self) -> None:
        """Connect, and collect what arrives from now on; its state is kept in a file."""
        state = FileState(self.stage.folder / f"{self.person}-{self.name}.state")
        client = Client(
            self.urls, self.identity, state=state, backoff=Backoff(0.05, 0.5), near_first=True
        )
        self.client = await client.__aenter__()
        self._pumps = [
            asyncio.ensure_future(self._collect()),
            asyncio.ensure_future(self._watch()),
        ]

    async def _collect(self) -> None:
        async for event in self.live.events():
            if isinstance(event, Message):
                self.received.append(event)
            else:
                self.changes.append(event)
            self.stage.heard()

    async def _watch(self) -> None:
        async for presence in self.live.presence():
            self.presences.append(presence)
            self.stage.heard()

    async def disconnect(self) -> None:
        """Disconnect; what was collected stays."""
        client, self.client = self.client, None
        if client is None:
            return
        # Closing first lets the loops end by themselves, after their last event.
        await client.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def texts(self, conv: bytes) -> list[str]:
        """The texts received in a conversation, in the order of their numbers."""
        return [m.text for m in sorted(self.received, key=lambda m: m.seq) if m.conv == conv]

    def got(self, conv: bytes, seq: int) -> bool:
        """Whether the message of this number has arrived."""
        return any(m.conv == conv and m.seq == seq for m in self.received)
