"""People who write all the time, and an operator at a cluster of real processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_programs import command, environment

from palaver.supervisors.cli.admin_client import RemoteAdmin
from palaver.supervisors.cli.cluster.processes import ClusterProcesses
from palaver.transport.client import Backoff, Client, Identity, Message, new_key
from palaver.transport.http.admin_port import NewDevice
from palaver.transport.http.cluster_port import Change

PATIENCE_S = 60.0
_EVERY_S = 0.05


def phone(number: int) -> str:
    return f"+49151234567{number:02d}"


@dataclass(slots=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(slots=True)
class Operator:
    """Gives `palaver cluster ...` to a node."""

    cluster: ClusterProcesses

    async def asks(self, name: str, *arguments: str, ok: bool = True) -> Done:
        data = self.cluster.nodes[f"{name}@127.0.0.1"].data
        process = await asyncio.create_subprocess_exec(
            *command("cluster", *arguments, "--data", str(data)),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment(),
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        done = Done(process.returncode, out.decode(), err.decode())
        if ok:
            assert done.code == 0, done
        return done

    async def does(self, name: str, what: Change, node: str | None = None) -> list[str]:
        """The same without the command; the steps."""
        data = self.cluster.nodes[f"{name}@127.0.0.1"].data
        async with RemoteAdmin(data / "admin.sock") as admin, asyncio.timeout(PATIENCE_S):
            return [step.text async for step in admin.change_cluster(what, node)]


@dataclass(slots=True)
class Person:
    """One device: what it was told and what it has heard."""

    identity: Identity
    client: Client
    acked: list[tuple[bytes, int, str]] = field(default_factory=list)
    heard: list[tuple[bytes, int, str]] = field(default_factory=list)


class People:
    """Devices that all talk in one group and each with its neighbour, until they are told to stop.

    They stop talking at the end only: whatever is done to the cluster is done to people who talk.
    """

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.persons: list[Person] = []
        self._group = b""
        self._talking = True
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, cluster: ClusterProcesses, count: int) -> AsyncIterator[People]:
        self = cls(cluster.urls)
        keys = [new_key() for _ in range(count)]
        new = [
            NewDevice(phone(n), "phone", key.public_key().public_bytes_raw())
            for n, key in enumerate(keys)
        ]
        async with RemoteAdmin(next(iter(cluster.nodes.values())).data / "admin.sock") as admin:
            added = await admin.add_devices(new)
        async with contextlib.AsyncExitStack() as stack:
            for each, key in zip(added, keys, strict=True):
                identity = Identity(each.account, each.device, key)
                client = Client(self.urls, identity, backoff=Backoff(0.05, 0.5))
                self.persons.append(Person(identity, await stack.enter_async_context(client)))
            first, *others = self.persons
            made = await first.client.create_group("all", [p.identity.account for p in others])
            self._group = made.conv
            self._tasks = [
                asyncio.ensure_future(task)
                for n, person in enumerate(self.persons)
                for task in (self._listen(person), self._talk(person, n))
            ]
            try:
                yield self
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, person: Person) -> None:
        async for event in person.client.events():
            if isinstance(event, Message):
                person.heard.append((event.conv, event.seq, event.text))

    async def _talk(self, person: Person, number: int) -> None:
        neighbour = self.persons[number - 1].identity.account
        for count in itertools.count():
            if not self._talking:
                return
            to: Any = neighbour if count % 4 else self._group
            text = f"{number}: {count}"
            sent = await person.client.enqueue_message(
                person.identity.account, to, "text", text
            ).acked
            person.acked.append((sent.conv, sent.seq, text))
            await asyncio.sleep(_EVERY_S)

    async def more(self) -> None:
        """Wait until everybody has had something acknowledged that was sent from now on."""
        before = [len(p.acked) for p in self.persons]
        async with asyncio.timeout(PATIENCE_S):
            while any(len(p.acked) < n + 2 for p, n in zip(self.persons, before, strict=True)):
                await asyncio.sleep(_EVERY_S)

    async def fell_silent(self) -> None:
        """Stop talking, and wait until everybody has heard what was said."""
        self._talking = False
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._tasks[1::2])
            while self.missing():
                await asyncio.sleep(_EVERY_S)

    def missing(self) -> int:
        """Acknowledged messages that somebody should have heard and has not."""
        heard = [set(person.heard) for person in self.persons]
        missing = 0
        for number, person in enumerate(self.persons):
            for message in person.acked:
                to_all = message[0] == self._group
                hearers = range(len(heard)) if to_all else [(number - 1) % len(heard)]
                missing += sum(message not in heard[h] for h in hearers if h != number)
        return missing

    def doubled(self) -> int:
        """Messages that a device was shown more than once, or that have the place of another."""
        return sum(
            count - 1
            for person in self.persons
            for count in Counter((conv, seq) for conv, seq, _ in person.heard).values()
        )


def log_lines(file: Path, message: str) -> list[dict[str, Any]]:
    """The lines of a node's log that say this."""
    lines = (line for line in file.read_text("utf-8").splitlines() if line.startswith("{"))
    return [each for each in map(json.loads, lines) if each.get("message") == message]
