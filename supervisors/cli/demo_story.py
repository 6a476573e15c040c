"""The demo's story: three people, five devices, a group, a picture, and a kill -9."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

from rich.text import Text

from palaver.supervisors.cli.demo_picture import picture
from palaver.supervisors.cli.demo_stage import Device, Stage
from palaver.supervisors.cli.output import CommandError
from palaver.transport.client import (
    ConnectionFailed,
    FileId,
    Milestone,
    NoSuchFile,
    Outgoing,
    SentMessage,
    TransientError,
)

ANNA, BEN, CLEO = "+491701234567", "+491701234568", "+491701234569"
_GROUP_ROUNDS = 4
_QUEUED = 5
_WAIT_S = 15.0
T = TypeVar("T")


@dataclass(slots=True)
class Sent:
    """A message that was sent, and what became of it."""

    device: Device
    outgoing: Outgoing
    sent: SentMessage


class Story:
    """The scenes in their order; each ends with promises on the stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.sent: list[Sent] = []

    async def play(self) -> None:
        """Play all scenes."""
        self.stage.heading("A node, three people, five devices")
        await self.stage.node.start()
        self.stage.tell("node", f"up at {self.stage.node.ws_url}, process {self.stage.node.pid}")
        await self._sign_up()
        self.stage.heading("Two people talk")
        await self._talk()
        self.stage.heading("A group; everyone writes at once")
        await self._group()
        self.stage.heading("A picture")
        await self._picture()
        self.stage.heading("Ben goes offline; Anna goes on writing; then kill -9")
        await self._kill()
        self.stage.heading("The end, in order")
        await self._everything()
        await self._stop()

    async def _sign_up(self) -> None:
        stage = self.stage
        self.anna = await Device.sign_up(stage, "Anna", "laptop", ANNA)
        self.anna_phone = await Device.sign_up(stage, "Anna", "phone", ANNA)
        self.ben = await Device.sign_up(stage, "Ben", "laptop", BEN)
        self.ben_tablet = await Device.sign_up(stage, "Ben", "tablet", BEN)
        self.cleo = await Device.sign_up(stage, "Cleo", "phone", CLEO)
        for device in stage.devices:
            await device.connect()

    async def _say(self, device: Device, to: str | bytes, text: str, **more: FileId) -> Sent:
        client = device.live
        kind = "image/png" if more else "text"
        outgoing = client.enqueue_message(client.account, to, kind, text, **more)
        sent = Sent(device, outgoing, await outgoing.acked)
        self.sent.append(sent)
        self.stage.tell(device.label, Text.assemble((text, "bold"), (f"  #{sent.sent.seq}", "dim")),
                        "✓")  # fmt: skip
        return sent

    async def _ticks(self, sent: Sent, readers: list[Device]) -> None:
        """The message is delivered, then read by these devices; the transcript shows the ticks."""
        stage, conv, seq = self.stage, sent.sent.conv, sent.sent.seq
        for reader in readers:
            await stage.until(
                f"{reader.label} gets #{seq}",
                lambda r=reader: r.got(conv, seq),  # type: ignore[misc]
            )
        await _reached(sent.outgoing.delivered)
        stage.tell(sent.device.label, f"#{seq} is delivered", "✓✓")
        for reader in {r.account: r for r in readers}.values():
            await reader.live.mark_read(conv, seq)
        await _reached(sent.outgoing.read)
        stage.tell(sent.device.label, f"#{seq} is read", "✓✓", "bold bright_blue")

    async def _talk(self) -> None:
        first = await self._say(self.anna, BEN, "Ben, a picnic on Sunday?")
        await self._ticks(first, [self.ben, self.ben_tablet])
        answer = await self._say(self.ben_tablet, ANNA, "Gladly. I bring the bread.")
        await self._ticks(answer, [self.anna, self.anna_phone])
        stage = self.stage
        await stage.until(
            "Ben's laptop gets what his tablet sent",
            lambda: self.ben.got(answer.sent.conv, answer.sent.seq),
        )
        stage.promise(
            "an answer is stamped after what it answers, and says what its sender had seen",
            answer.sent.stamp > first.sent.stamp
            and any(m.seq == answer.sent.seq and m.seen >= first.sent.seq
                    for m in self.anna.received),
        )  # fmt: skip

    async def _group(self) -> None:
        stage = self.stage
        made = await self.anna.live.create_group("Picnic", [BEN, CLEO])
        stage.tell("Anna's laptop", "made the group Picnic with Ben and Cleo", "✓")
        await stage.until(
            "everyone hears of the group", lambda: bool(self.cleo.changes and self.ben.changes)
        )
        writers = [self.anna, self.ben, self.cleo]
        said = await asyncio.gather(
            *(
                self._say(d, made.conv, f"{d.person}'s idea {n}")
                for n in range(1, _GROUP_ROUNDS + 1)
                for d in writers
            )
        )
        everyone = stage.devices
        await stage.until(
            "every device has what the others wrote",
            lambda: all(
                d.got(made.conv, s.sent.seq) for d in everyone for s in said if s.device is not d
            ),
        )
        orders = {tuple(d.texts(made.conv)) for d in (self.anna_phone, self.ben_tablet)}
        numbers = sorted(s.sent.seq for s in said)
        stage.tell("everyone", "sees " + ", ".join(f"#{n}" for n in numbers) + " in one order")
        stage.promise(
            "one order: every device sees a group's messages in the same order, without a gap",
            len(orders) == 1 and numbers == list(range(made.seq + 1, made.seq + 1 + len(said))),
        )

    async def _picture(self) -> None:
        stage = self.stage
        file = stage.folder / "sunset.png"
        content = picture()
        file.write_bytes(content)
        steps: list[int] = []
        file_id = await self.anna.live.upload_file(
            "image/png", file, progress=lambda done, total: steps.append(done)
        )
        stage.tell("Anna's laptop", f"uploaded sunset.png, {len(content):,} bytes", "✓")
        sent = await self._say(self.anna, BEN, "The place last summer", doc=file_id)
        await self._ticks(sent, [self.ben, self.ben_tablet])
        fetched = stage.folder / "ben.png"
        await self.ben.live.download_file(BEN, file_id, to=fetched)
        hashed = hashlib.sha256(fetched.read_bytes()).hexdigest()
        stage.tell("Ben's laptop", f"fetched it: SHA-256 {hashed[:24]}...")
        part = await self.ben_tablet.live.download_file(BEN, file_id, range=(0, 8))
        stage.promise(
            "a picture arrives whole, or in parts, under the hash of its content",
            hashed == hashlib.sha256(content).hexdigest() == str(file_id)
            and part == content[:8] and steps[-1:] == [len(content)],
            f"SHA-256 {hashed}",
        )  # fmt: skip
        refused = False
        try:
            await self.cleo.live.download_file(CLEO, file_id)
        except NoSuchFile:
            refused = True
        stage.tell("Cleo's phone", "asks for the picture by its hash: there is no such file")
        stage.promise("who was not sent a picture cannot fetch it", refused)

    async def _kill(self) -> None:
        stage = self.stage
        anna = self.anna
        before = await anna.live.watch(BEN)
        stage.tell("Anna's laptop", "sees Ben " + ("online" if before.online else "offline"))
        await self.ben.disconnect()
        await self.ben_tablet.disconnect()
        await stage.until(
            "Anna sees Ben go",
            lambda: any(not p.online for p in anna.presences if p.account == BEN),
        )
        seen = [p.last_seen_ms for p in anna.presences if p.account == BEN and not p.online]
        stage.tell("Anna's laptop", f"sees Ben offline, last seen {_clock(seen[-1])}")
        queued = [await self._say(anna, BEN, f"while you are away, {n}")
                  for n in range(1, _QUEUED + 1)]  # fmt: skip
        early = any(s.outgoing.delivered.done for s in queued)

        await stage.node.kill()
        stage.tell("node", "killed with -9", style="red")
        late_text = "written while the node was down"
        late = anna.live.enqueue_message(ANNA, BEN, "text", late_text)
        stage.tell("Anna's laptop", Text(late_text, "bold"), "◌")
        await stage.node.start()
        stage.tell("node", f"up again, process {stage.node.pid}, same folder")
        self.sent.append(Sent(anna, late, await _reached(late.acked)))
        stage.tell("Anna's laptop", f"#{self.sent[-1].sent.seq} went out by itself", "✓")
        again = await _again(lambda: anna.live.watch(BEN))
        stage.tell("Anna's laptop", f"sees Ben last seen {_clock(again.last_seen_ms)}")
        early = early or any(s.outgoing.delivered.done for s in queued) or late.delivered.done
        await self.ben.connect()
        await self.ben_tablet.connect()
        waiting = [*queued, self.sent[-1]]
        for sent in waiting:
            await self._ticks(sent, [self.ben, self.ben_tablet])
        after = await anna.live.watch(BEN)
        stage.promise(
            "an ack means durable: everything acked before kill -9 arrives after it",
            all(d.got(s.sent.conv, s.sent.seq)
                for s in queued for d in (self.ben, self.ben_tablet)),
        )  # fmt: skip
        stage.promise(
            "a tick never comes too early: while Ben is away his messages have one", not early
        )
        stage.promise(
            "last seen is kept and never goes backwards",
            None not in seen
            and again.last_seen_ms is not None
            and max(t or 0 for t in seen) <= again.last_seen_ms
            and after.online,
            f"{', '.join(map(_clock, seen))}; after the kill {_clock(again.last_seen_ms)};"
            f" then {'online' if after.online else 'offline'}",
        )

    async def _everything(self) -> None:
        """What holds for the whole history, on every device."""
        stage = self.stage
        try:
            await stage.until("every device has everything", lambda: not self._missing())
        except CommandError:
            stage.tell("everyone", f"{self._missing()} deliveries never came", style="red")
        missing, doubled, stamps = self._missing(), 0, True
        for device in stage.devices:
            counts = Counter((m.conv, m.seq) for m in device.received)
            doubled += sum(n - 1 for n in counts.values())
            in_order = sorted(device.received, key=lambda m: (m.conv, m.seq))
            stamps = stamps and all(
                a.stamp < b.stamp
                for a, b in pairwise(in_order)
                if a.conv == b.conv and a.seq != b.seq
            )
        arrived = sum(len(d.received) for d in stage.devices)
        stage.tell("everyone", f"{len(self.sent)} messages sent, {arrived} deliveries to 5 devices,"
                   f" {missing} lost, {doubled} doubled")  # fmt: skip
        stage.promise("nothing acked is lost", missing == 0)
        stage.promise("nothing is shown twice", doubled == 0)
        stage.promise("stamps follow the order of every conversation", stamps)

    def _missing(self) -> int:
        """Deliveries that have not come: each message to each other device in its conversation."""
        return sum(
            not device.got(sent.sent.conv, sent.sent.seq)
            for sent in self.sent
            for device in self.stage.devices
            if device is not sent.device and _is_in(device, sent)
        )

    async def _stop(self) -> None:
        stage = self.stage
        for device in stage.devices:
            await device.disconnect()
        code = await stage.node.stop()
        stage.tell("node", f"stopped by SIGTERM with exit code {code}")
        stage.promise("a node that is asked to stop does, in order (exit code 0)", code == 0)
        findings = await asyncio.to_thread(_check, stage)
        stage.tell("check", "nothing wrong in the data folder" if not findings else findings[0])
        stage.promise("the data folder is whole afterwards", not findings, "; ".join(findings[:3]))


def _is_in(device: Device, sent: Sent) -> bool:
    # A device is in a conversation if it has received, or sent, anything in it.
    return any(m.conv == sent.sent.conv for m in device.received)


def _check(stage: Stage) -> list[str]:
    from palaver.supervisors.trees.offline import check

    return [str(finding) for finding in check(stage.node.data)]


async def _reached(milestone: Milestone[T]) -> T:
    async with asyncio.timeout(_WAIT_S):
        return await milestone


async def _again(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the client is connected again."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            try:
                return await ask()
            except TransientError as error:
                await asyncio.sleep(error.retry_after_s or 0.05)
            except ConnectionFailed:
                await asyncio.sleep(0.05)


def _clock(ms: int | None) -> str:
    if ms is None:
        return "never"
    return datetime.fromtimestamp(ms / 1000, tz=UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
