"""The cluster demo's story: three nodes, three people, a group, and its owner killed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from palaver.storage.partitioning import partition_of
from palaver.supervisors.cli.cluster.processes import ClusterProcesses
from palaver.supervisors.cli.demo_stage import Device, Promise, Stage
from palaver.supervisors.cli.output import CommandError
from palaver.transport.client import SentMessage
from palaver.transport.http.cluster_port import ClusterEvent, ClusterStatus

__all__ = ["Happened", "Played", "Story"]

_PEOPLE = (("Anna", "+491701234567"), ("Ben", "+491701234568"), ("Cleo", "+491701234569"))
_EVERY_S = 0.05
_BEFORE_S = 2.0
_AFTER_S = 3.0
#: How long things took is told; that they took long on a busy machine breaks no promise.
_WAIT_S = 90.0


@dataclass(frozen=True, slots=True)
class Happened:
    """A line of the table: what happened, seconds from the kill."""

    at_s: float
    who: str
    what: str


@dataclass(slots=True)
class Played:
    """What came of it."""

    promises: list[Promise] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)


@dataclass(slots=True)
class _Acked:
    """A message that was acknowledged, and when: unix seconds."""

    device: Device
    text: str
    sent: SentMessage
    began_s: float
    acked_s: float


class Story:
    """The scenes in their order; each ends with promises on the stage."""

    def __init__(self, folder: Path, out: Console) -> None:
        self.cluster = ClusterProcesses(folder, options=["--set", "reconnect_spread_s=0.2"])
        first = next(iter(self.cluster.nodes.values()))
        self.stage = Stage(folder, out, first)
        self._out = out
        self._acked: list[_Acked] = []
        self._happened: list[Happened] = []
        self._writing = False

    def played(self) -> Played:
        """What came of it."""
        return Played(self.stage.promises, self._happened)

    async def close(self) -> None:
        """Disconnect everyone and end the nodes."""
        self._writing = False
        for device in self.stage.devices:
            await device.disconnect()
        await self.cluster.close()

    async def play(self) -> None:
        """Play all scenes."""
        stage = self.stage
        stage.heading("Three nodes, three people")
        await self._found()
        stage.heading("A group across them")
        await self._talk()
        stage.heading("Everybody writes, and the owner of the group is killed")
        await self._kill()
        stage.heading("It comes back")
        await self._return()
        stage.heading("What happened when")
        self._show()
        await self._everything()

    async def _found(self) -> None:
        stage, cluster = self.stage, self.cluster
        await cluster.start()
        status = await cluster.status()
        for record in status.nodes:
            stage.tell(record.name, f"up at {record.url}, owns {record.owns} partitions")
        urls = cluster.urls
        for at, (person, phone) in enumerate(_PEOPLE):
            # Each begins at another node, and knows the others.
            mine = urls[at:] + urls[:at]
            device = await Device.sign_up(stage, person, "phone", phone, mine)
            await device.connect()
        stage.promise(
            "three nodes found a cluster; every partition has an owner", not status.problems
        )

    async def _talk(self) -> None:
        stage = self.stage
        anna, ben, cleo = stage.devices
        made = await anna.live.create_group("Picnic", [ben.account, cleo.account])
        self._group = made.conv
        stage.tell(anna.label, "made the group Picnic with Ben and Cleo", "✓")
        for device in (anna, ben, cleo):
            await self._say(device, f"{device.person} is here", tell=True)
        await self._until_all_have("everyone has what the others wrote")
        stage.promise(
            "people at three nodes talk in one group", not self._missing(), "one order for all"
        )

    async def _say(self, device: Device, text: str, *, tell: bool = False) -> None:
        began_s = time.time()
        sent = await device.live.enqueue_message(device.account, self._group, "text", text).acked
        self._acked.append(_Acked(device, text, sent, began_s, time.time()))
        if tell:
            line = Text.assemble((text, "bold"), (f"  #{sent.seq}", "dim"))
            self.stage.tell(device.label, line, "✓")

    async def _write(self, device: Device) -> None:
        """Write one message after the other, each when the one before has its tick."""
        number = 0
        while self._writing:
            number += 1
            await self._say(device, f"{device.person} {number}")
            await asyncio.sleep(_EVERY_S)

    async def _kill(self) -> None:
        stage, cluster = self.stage, self.cluster
        status = await cluster.status()
        number = partition_of(self._group, len(status.partitions))
        owner = status.partitions[number].owner
        stage.tell("cluster", f"the group lies in partition {number}, which {owner} owns")
        self._writing = True
        writers = [asyncio.ensure_future(self._write(device)) for device in stage.devices]
        await asyncio.sleep(_BEFORE_S)
        self._victim = owner
        self._killed_s = time.time()
        await cluster.nodes[owner].kill()
        stage.tell(owner, "killed with -9, and its NATS server with it", style="red")
        await stage.until(
            "a message is acknowledged again",
            lambda: any(a.began_s > self._killed_s for a in self._acked),
            _WAIT_S,
        )
        served = await cluster.until(
            "every partition has an owner",
            lambda s: all(p.owner not in ("", owner) for p in s.partitions),
        )
        stage.tell("cluster", f"{served.partitions[number].owner} owns partition {number} now")
        await asyncio.sleep(_AFTER_S)
        self._writing = False
        async with asyncio.timeout(_WAIT_S):
            await asyncio.gather(*writers)
        acks = sorted(a.acked_s for a in self._acked)
        self._gap_s = max(
            later - earlier for earlier, later in pairwise(acks)
            if later > self._killed_s
        )  # fmt: skip
        after = sum(a.began_s > self._killed_s for a in self._acked)
        stage.tell("everyone", f"{len(self._acked)} messages have their tick, {after} of them sent"
                   f" after the kill; no tick for {self._gap_s:.1f} s")  # fmt: skip
        stage.promise(
            "another node takes over and messages go on",
            after > 0 and served.partitions[number].owner != owner,
            f"no tick for {self._gap_s:.1f} s",
        )

    async def _return(self) -> None:
        stage, cluster = self.stage, self.cluster
        await cluster.nodes[self._victim].start()
        stage.tell(self._victim, "up again on its folder")
        status = await cluster.equal_digests()
        positions = ", ".join(str(p.replicas[0].digest_position) for p in status.partitions)
        stage.tell("cluster", f"all copies of each partition are the same, at entries {positions}")
        stage.promise("a node that comes back catches up by itself; copies are equal", True)
        self._gather(status)

    def _gather(self, status: ClusterStatus) -> None:
        """The table: the nodes' events beside what people saw."""
        killed_s = self._killed_s
        self._happened = [
            _happened(event, killed_s)
            for event in status.events
            if event.time_ms / 1000 >= killed_s - 0.5
        ]
        self._happened.append(Happened(0.0, self._victim, "killed with -9"))
        firsts: dict[str, _Acked] = {}
        for acked in self._acked:
            if acked.began_s > killed_s:
                firsts.setdefault(acked.device.label, acked)
        self._happened += [
            Happened(acked.acked_s - killed_s, label, "first tick of a message sent after the kill")
            for label, acked in firsts.items()
        ]
        self._happened.sort(key=lambda line: line.at_s)

    def _show(self) -> None:
        table = Table(box=None, pad_edge=False)
        table.add_column("seconds", justify="right", header_style="dim")
        table.add_column("who", header_style="dim")
        table.add_column("what", header_style="dim")
        for line in self._happened:
            table.add_row(f"{line.at_s:+.2f}", line.who, Text(line.what))
        self._out.print(table)

    async def _until_all_have(self, what: str) -> None:
        await self.stage.until(what, lambda: not self._missing(), _WAIT_S)

    def _missing(self) -> int:
        return sum(
            not device.got(acked.sent.conv, acked.sent.seq)
            for acked in self._acked
            for device in self.stage.devices
            if device is not acked.device
        )

    async def _everything(self) -> None:
        """What holds for the whole history, on every device."""
        stage = self.stage
        try:
            await self._until_all_have("every device has everything")
        except CommandError as error:
            stage.tell("everyone", error.text, style="red")
        missing = self._missing()
        doubled = sum(
            count - 1
            for device in stage.devices
            for count in Counter((m.conv, m.seq) for m in device.received).values()
        )
        stage.tell("everyone", f"{len(self._acked)} messages, {missing} lost, {doubled} doubled")
        stage.promise("nothing acked is lost", missing == 0)
        stage.promise("nothing is shown twice", doubled == 0)
        seqs = sorted(acked.sent.seq for acked in self._acked)
        stage.promise(
            "one order without a gap, over the change of owners",
            seqs == list(range(seqs[0], seqs[0] + len(seqs))),
        )
        own = all(
            [a.sent.seq for a in self._acked if a.device is device]
            == sorted(a.sent.seq for a in self._acked if a.device is device)
            for device in stage.devices
        )
        stamps = [a.sent.stamp for a in sorted(self._acked, key=lambda a: a.sent.seq)]
        stage.promise(
            "each one's messages keep their order, and stamps follow it",
            own and stamps == sorted(stamps),
        )


def _happened(event: ClusterEvent, killed_s: float) -> Happened:
    return Happened(event.time_ms / 1000 - killed_s, event.node, event.text)
