"""The process that knows which gateways hold the connections of a partition's accounts.

The gateways of all nodes announce sessions here and ask here; whoever asked about an account is
told when its placement changes, until it says that it no longer wants to know. So a gateway's
caches are never wrong for longer than a message takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from palaver.actors.chat.messages import (
    Announce,
    Forget,
    GatewayUp,
    LookUp,
    Placement,
    Release,
    Withdraw,
)
from palaver.actors.chat.owned import Owned
from palaver.actors.chat.registry import ConnectionRegistry
from palaver.actors.runtime import Down, Pid

__all__ = ["Manager"]


class Manager(Owned):
    """Owns the connection registry of one partition."""

    __slots__ = ("_gateways", "_interest", "_registry")

    def init(self, number: int, registries: Callable[[int], ConnectionRegistry]) -> None:
        """Serve partition `number`; `registries` makes its registry."""
        self._registry = registries(number)
        self._gateways: dict[Pid, Any] = {}  # with their monitors
        self._interest: dict[str, dict[Pid, None]] = {}

    async def handle_info(self, message: Any) -> None:
        """Take an announcement, a withdrawal or a question of a gateway."""
        registry = self._registry
        match message:
            case Announce(gateway, account, device, session):
                self._know(gateway)
                before = await registry.put(account, device, gateway, session)
                if before is not None:
                    self.send(before, Release(account, device, session))
                await self._tell(account, gateway)
            case Withdraw(_, account, device, session, last):
                # One of several devices going leaves the placement as it was.
                if await registry.remove(account, device, session) and last:
                    await self._tell(account, None)
            case LookUp(gateway, account):
                self._interest.setdefault(account, {})[gateway] = None
                self.send(gateway, Placement(account, await registry.gateways(account)))
            case Forget(gateway, account):
                self._lose_interest(gateway, account)
            case GatewayUp(gateway):
                self._know(gateway)
                # It tells of all its sessions now. Of some that ended it could not tell before.
                await self._drop(gateway)
            case Down(_, pid, _):
                assert isinstance(pid, Pid), "gateways are monitored by pid"
                self._gateways.pop(pid, None)
                for account in list(self._interest):
                    self._lose_interest(pid, account)
                await self._drop(pid)
            case _:
                super().handle_info(message)

    def _know(self, gateway: Pid) -> None:
        if gateway not in self._gateways:
            self._gateways[gateway] = self.monitor(gateway)

    async def _drop(self, gateway: Pid) -> None:
        for account in await self._registry.drop_gateway(gateway):
            await self._tell(account, None)

    async def _tell(self, account: str, newcomer: Pid | None) -> None:
        gateways = await self._registry.gateways(account)
        told = dict.fromkeys(gateways)
        told.update(self._interest.get(account, {}))
        if newcomer is not None:
            told[newcomer] = None
        for gateway in told:
            self.send(gateway, Placement(account, gateways))

    def _lose_interest(self, gateway: Pid, account: str) -> None:
        interested = self._interest.get(account)
        if interested is not None:
            interested.pop(gateway, None)
            if not interested:
                del self._interest[account]
