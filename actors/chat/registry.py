"""Where connection information is kept: which gateways hold sessions of an account.

Soft state: when it is lost, the gateways announce their sessions again. A port, so that it can
live in memory (the default) or in a server that several nodes share.
"""

from __future__ import annotations

from typing import Final, Protocol

from palaver.actors.runtime import Pid

__all__ = ["ConnectionRegistry", "MemoryRegistry", "RegistryAway"]


class RegistryAway(Exception):
    """The registry cannot be reached now; what was to be noted is to be announced again later."""


class ConnectionRegistry(Protocol):
    """Which device of which account is connected where; one for each manager.

    All of its methods but `drop_gateway` either do the whole or raise `RegistryAway`;
    `drop_gateway` does it later by itself.
    """

    @property
    def outside(self) -> bool:
        """Whether it is outside of the process: a manager awaits it as it awaits any I/O."""

    @property
    def upkeep_s(self) -> float | None:
        """How soon `upkeep` should be called again, in seconds; None where it has none."""

    async def upkeep(self) -> bool:
        """Do what is due from time to time; whether sessions that were noted may be lost."""

    async def put(self, account: str, device: int, gateway: Pid, session: Pid) -> Pid | None:
        """Note a session; the gateway of the session that it replaces, if that is another's."""

    async def remove(self, account: str, device: int, session: Pid) -> bool:
        """Forget a session; whether it was the one on record."""

    async def gateways(self, account: str) -> tuple[Pid, ...]:
        """The gateways that hold sessions of an account, each once."""

    async def drop_gateway(self, gateway: Pid) -> tuple[str, ...]:
        """Forget all sessions of a gateway; the accounts concerned."""


class MemoryRegistry:
    """A registry in this process."""

    __slots__ = ("_by_account",)

    outside: Final = False
    upkeep_s: Final = None

    def __init__(self) -> None:
        self._by_account: dict[str, dict[int, tuple[Pid, Pid]]] = {}

    async def upkeep(self) -> bool:
        """There is nothing to do, and nothing is lost."""
        return False

    async def put(self, account: str, device: int, gateway: Pid, session: Pid) -> Pid | None:
        """Note a session; the gateway of the session that it replaces, if that is another's."""
        devices = self._by_account.setdefault(account, {})
        before = devices.get(device)
        devices[device] = (gateway, session)
        return before[0] if before is not None and before[0] is not gateway else None

    async def remove(self, account: str, device: int, session: Pid) -> bool:
        """Forget a session; whether it was the one on record."""
        devices = self._by_account.get(account)
        if devices is None or device not in devices or devices[device][1] is not session:
            return False
        del devices[device]
        if not devices:
            del self._by_account[account]
        return True

    async def gateways(self, account: str) -> tuple[Pid, ...]:
        """The gateways that hold sessions of an account, each once."""
        devices = self._by_account.get(account)
        if devices is None:
            return ()
        if len(devices) == 1:
            return (next(iter(devices.values()))[0],)
        return tuple({id(gateway): gateway for gateway, _ in devices.values()}.values())

    async def drop_gateway(self, gateway: Pid) -> tuple[str, ...]:
        """Forget all sessions of a gateway; the accounts concerned."""
        concerned = []
        for account, devices in list(self._by_account.items()):
            mine = [device for device, (where, _) in devices.items() if where is gateway]
            if mine:
                concerned.append(account)
            for device in mine:
                del devices[device]
            if not devices:
                del self._by_account[account]
        return tuple(concerned)
