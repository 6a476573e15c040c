"""What people do: habits, drawn step by step.

Every step is one choice of the machine's `choose`; 0 is "nothing". So a run in which people do
less is a run with fewer deviations, and what is left of a failing one is what matters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from palaver.transport.client import LimitReached, Presence

if TYPE_CHECKING:
    from palaver.supervisors.simulations.people import Device

__all__ = ["WORDS", "Mixed"]

#: Texts that a careless server would change: nothing, an emoji, a zero, a long line.
WORDS: Final = (
    "hi", "", "\u00e4\U0001f600\u200d", "a\0b", "x" * 700, " ", "1e9", "\u202eabc",
    "y" * 23, "z" * 254,
)  # fmt: skip

_BURST: Final = 24
_LONG_BURST: Final = 120
_DELUGE: Final = 530


class Mixed:
    """Habits by weights.

    Args:
        weights: how often each habit is taken up, by its name (a method of this class).
        pace_s: the middle time between two steps.
        away_s: how long a person leaves the device alone, at most.
    """

    def __init__(
        self, weights: Mapping[str, int], *, pace_s: float = 0.5, away_s: float = 8.0
    ) -> None:
        self._table = ("nothing", *(name for name, n in weights.items() for _ in range(n)))
        self._pace_s = pace_s
        self._away_s = away_s
        self._doing: dict[str, Callable[[Device], Awaitable[None]]] = {
            name: getattr(self, name) for name in weights if name not in ("leave", "vanish")
        }

    async def spend(self, device: Device) -> float:
        """Act until the person puts the device away; for how many seconds."""
        machine, person, day = device.machine, device.person, device.day
        watched: set[str] = set()
        while not day.night:
            await device.sleep(self._pace_s * machine.random.uniform(0.2, 1.8))
            if day.evening or person.wishes <= 0:
                if day.watching:
                    await self._watch_all(device, watched)
                await device.sleep(0.25)
                continue
            person.wishes -= 1
            name = self._table[machine.choose("act", len(self._table))]
            if name == "leave":
                return machine.random.uniform(0.1, self._away_s)
            if name == "vanish":
                machine.vanish(machine.random.uniform(0.05, self._away_s))
            elif name != "nothing":
                try:
                    await self._doing[name](device)
                except LimitReached:
                    machine.happened("a limit of the client was reached")
        return 0.0

    # -- habits --------------------------------------------------------------------------------

    async def say(self, device: Device) -> None:
        """Write a few messages to somebody, or to a group."""
        to = _somebody(device)
        if to is not None:
            for _ in range(device.machine.random.randint(1, 3)):
                device.say(to, _text(device))

    async def burst(self, device: Device) -> None:
        """Write many messages at once."""
        to = _somebody(device)
        if to is not None:
            for _ in range(device.machine.random.randint(4, _BURST)):
                device.say(to, _text(device))

    async def flood(self, device: Device) -> None:
        """Write more than the client has on its way at a time."""
        to = _somebody(device)
        if to is not None:
            for _ in range(device.machine.random.randint(_BURST, _LONG_BURST)):
                device.say(to, _text(device))

    async def deluge(self, device: Device) -> None:
        """Write more than a server pushes at a time to somebody who has not acknowledged it."""
        to = _somebody(device)
        if to is not None:
            for _ in range(_DELUGE):
                device.say(to, "x")

    async def everyone(self, device: Device) -> None:
        """Write one message to everybody."""
        everyone: list[str | bytes] = [*device.person.contacts, *device.person.groups]
        for to in everyone:
            device.say(to, _text(device))

    async def group(self, device: Device) -> None:
        """Make a group with some of the contacts."""
        contacts = device.person.contacts
        if contacts:
            count = device.machine.random.randint(1, len(contacts))
            members = tuple(device.machine.random.sample(contacts, count))
            device.make_group(f"group of {device.person.account[-3:]}", members)

    async def members(self, device: Device) -> None:
        """Add somebody to a group, or remove somebody, perhaps oneself."""
        groups = list(device.person.groups)
        if groups:
            chance = device.machine.random
            who = chance.choice([*device.person.contacts, device.person.account])
            add = chance.random() < 0.5 and who != device.person.account
            device.change_group(chance.choice(groups), *(((who,), ()) if add else ((), (who,))))

    async def read(self, device: Device) -> None:
        """Say what was read, of the conversation heard last."""
        events = device.log.events
        if events and device.client is not None:
            event = events[max(events)]
            await device.read(event.conv, event.seq)

    async def watch(self, device: Device) -> None:
        """Look at somebody's presence from now on."""
        if device.person.contacts:
            await self._watch_one(device, device.machine.random.choice(device.person.contacts))

    async def _watch_one(self, device: Device, account: str) -> bool:
        assert device.client is not None
        # What the answer tells is heard with the news.
        return isinstance(await device.ask(device.client.watch(account)), Presence)

    async def _watch_all(self, device: Device, watched: set[str]) -> None:
        for account in device.person.contacts:
            if account not in watched and await self._watch_one(device, account):
                watched.add(account)

    async def unwatch(self, device: Device) -> None:
        """Look at somebody's presence no longer."""
        if device.person.contacts and device.client is not None:
            account = device.machine.random.choice(device.person.contacts)
            await device.ask(device.client.unwatch(account))

    async def hide(self, device: Device) -> None:
        """Hide the own last seen, or show it again."""
        if device.client is not None:
            hidden = device.machine.random.random() < 0.5
            device.chronicle.hiders.add(device.person.account)
            await device.ask(device.client.hide_last_seen(hidden))

    async def typing(self, device: Device) -> None:
        """Type something that is not said."""
        to = _somebody(device)
        if to is not None and device.client is not None:
            device.chronicle.typing(device.log, to)
            device.client.set_typing(to)

    async def look(self, device: Device) -> None:
        """Look through conversations, marks and devices."""
        if device.client is not None:
            moment = device.chronicle.moment
            conversations = await device.ask(device.client.conversations())
            if isinstance(conversations, list):
                device.chronicle.conversations(device.log, moment, conversations)
            devices = await device.ask(device.client.devices())
            if isinstance(devices, list):
                device.chronicle.own_devices(device.log, devices)
            to = _somebody(device)
            if to is not None:
                conv = to if isinstance(to, bytes) else device.client.conversation_with(to)
                marks = await device.ask(device.client.marks(conv))
                if isinstance(marks, list):
                    device.chronicle.marks(device.log, conv, marks)

    async def revoke(self, device: Device) -> None:
        """Revoke another device of the same person."""
        account, own = device.log.id
        others = [
            number
            for (owner, number), log in device.chronicle.devices.items()
            if owner == account and number != own and log.revoked is None
        ]
        if others and device.client is not None:
            number = device.machine.random.choice(others)
            device.chronicle.revoking(account, number)
            await device.ask(device.client.revoke(number))

    async def twin(self, device: Device) -> None:
        """Start a second program with this device's key: the first one has to go."""
        await device.twin()

    async def impersonate(self, device: Device) -> None:
        """Try to sign in as somebody else."""
        if device.person.contacts:
            await device.impersonate(device.machine.random.choice(device.person.contacts))

    async def forget(self, device: Device) -> None:
        """Lose the device's state: the machine starts again with none."""
        device.machine.disk["set back"] = "forget"
        device.machine.vanish(1.0)

    async def backup(self, device: Device) -> None:
        """Make a backup of the device's state."""
        account, number = device.log.id
        device.machine.disk["backup"] = device.machine.state().open(account, number)

    async def restore(self, device: Device) -> None:
        """Put the backup back: the machine starts again with old state, if it has any."""
        if "backup" in device.machine.disk:
            device.machine.disk["set back"] = "restore"
            device.machine.vanish(1.0)


def _text(device: Device) -> str:
    chance = device.machine.random
    return f"{chance.choice(WORDS)}{len(device.log.composed)}"


def _somebody(device: Device) -> str | bytes | None:
    people: list[str | bytes] = [*device.person.contacts, *device.person.groups]
    return device.machine.random.choice(people) if people else None
