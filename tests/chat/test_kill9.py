"""`kill -9` of the whole node, again and again, under people who talk: every promise still holds.

`ROUNDS` in the environment sets how often the node is killed, `SEED` repeats a history.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kill_kit import Crowd, Persona, verify, verify_marks

from palaver.supervisors.cli.admin_client import open_admin
from palaver.supervisors.cli.node_process import NodeProcess
from palaver.supervisors.trees.offline import check
from palaver.transport import wire
from palaver.transport.http.admin_port import NewDevice

ROUNDS = int(os.environ.get("ROUNDS", "8"))
LONG_ROUNDS = int(os.environ.get("ROUNDS", "200"))
ACCOUNTS = tuple(f"+49151123451{n:02d}" for n in range(5))
DEVICES = (*ACCOUNTS, ACCOUNTS[0], ACCOUNTS[1])  # the first two have two devices
OPEN_AT_MOST = 12
MESSAGES_PER_ROUND = 300


class Talk:
    """People who talk at random, while their node dies at random."""

    def __init__(self, folder: Path, partitions: int, seed: int) -> None:
        self.node = NodeProcess(folder, ["--partitions", str(partitions), "--log-level", "warning"])
        self.crowd = Crowd(lambda: self.node.ws_url)
        self.random = random.Random(seed)
        self.group = b""
        self.left = 0

    async def begin(self) -> None:
        await self.node.start()
        keys = [Ed25519PrivateKey.generate() for _ in DEVICES]
        new = [
            NewDevice(account, f"device {n}", key.public_key().public_bytes_raw())
            for n, (account, key) in enumerate(zip(DEVICES, keys, strict=True))
        ]
        async with open_admin(self.node.data) as admin:
            added = await admin.add_devices(new)
        for device, key in zip(added, keys, strict=True):
            self.crowd.add(device.account, device.device, key)
        people = self.crowd.personas
        for persona in people:
            persona.watches = [account for account in ACCOUNTS if account != persona.account]
            persona.lazy = self.random.random() < 0.3
            persona.come()
        self.group = people[0].say("everyone", ACCOUNTS[1:]).conversation
        for persona in people:
            persona.conversations = {
                self.group,
                *(wire.direct_conversation(persona.account, other) for other in persona.watches),
            }
        self.crowd.begin()
        await self.crowd.until(lambda: not people[0].outbox, "the group")

    def chat(self, persona: Persona) -> None:
        """Say something, if not too much is open; or come, or go."""
        chance = self.random.random()
        if chance < 0.02 and persona.is_wanted:
            self._leaving.append(persona)
        elif chance < 0.04:
            persona.come()
        if self.left > 0 and len(persona.outbox) < OPEN_AT_MOST:
            self.left -= 1
            to = self.group if chance > 0.6 else self.random.choice(persona.watches)
            persona.say(to)

    async def talk(self, progress: int) -> None:
        """Talk until the people have made so much progress."""
        crowd = self.crowd
        self.left = MESSAGES_PER_ROUND
        aim = crowd.progress + progress
        self._leaving: list[Persona] = []
        while crowd.progress < aim and self.left:
            for persona in self.random.sample(crowd.personas, 3):
                self.chat(persona)
            for persona in self._leaving:
                await persona.leave()
            self._leaving.clear()
            if not any(p.outbox for p in crowd.personas):
                continue
            if not any(p.is_wanted and p.outbox for p in crowd.personas):
                self.random.choice([p for p in crowd.personas if p.outbox]).come()
            before = crowd.progress
            await crowd.until(lambda before=before: crowd.progress > before, "any progress")

    async def rounds(self, count: int) -> None:
        for _ in range(count):
            await self.talk(self.random.randrange(20, 400))
            await self.node.kill()
            await self.node.start()


async def history(folder: Path, partitions: int, rounds: int, seed: int) -> None:
    talk = Talk(folder, partitions, seed)
    try:
        await talk.begin()
        await talk.rounds(rounds)
        await talk.crowd.settle()
        verify(talk.crowd)
        await verify_marks(talk.crowd, talk.crowd.personas)
        talk.crowd.failed()
        said = sum(talk.crowd.said.values())
        print(f"{said} messages in {rounds} lives of the node")
    except BaseException:
        print(*talk.crowd.personas, sep="\n")
        print(talk.node.tail())
        raise
    finally:
        await talk.crowd.end()
        await talk.node.kill()
    assert list(check(talk.node.data)) == []


def run(folder: Path, partitions: int, rounds: int) -> None:
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"SEED={seed}")  # pytest shows it when the test fails
    asyncio.run(asyncio.wait_for(history(folder, partitions, rounds, seed), 120 + 20 * rounds))


@pytest.mark.parametrize("partitions", [1, 4])
def test_promises_hold_when_the_node_is_killed(tmp_path: Path, partitions: int) -> None:
    run(tmp_path, partitions, ROUNDS)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("partitions", [1, 4])
def test_promises_hold_when_the_node_is_killed_very_often(tmp_path: Path, partitions: int) -> None:
    run(tmp_path, partitions, LONG_ROUNDS)
