"""The process that knows which gateway holds whose connections.

Gateways announce sessions here and ask here; whoever asked about an account is told when its
placement changes, until it says that it no longer wants to know. So a gateway's caches are never
wrong for longer than a message takes.
"""

from __future__ import annotations

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
from palaver.actors.chat.registry import ConnectionRegistry
from palaver.actors.runtime import Down, GenServer, Pid

__all__ = ["Manager"]


class Manager(GenServer):
    """Owns the connection registry."""

    __slots__ = ("_gateways", "_interest", "_registry")

    def init(self, registry: ConnectionRegistry) -> None:
        """Serve the given registry."""
        self._registry = registry
        self._gateways: dict[Any, Pid] = {}
        self._interest: dict[str, dict[Pid, None]] = {}

    async def handle_info(self, message: Any) -> None:
        """Take an announcement, a withdrawal or a question of a gateway."""
        registry = self._registry
        match message:
            case Announce(gateway, account, device, session):
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
                if gateway not in self._gateways.values():
                    self._gateways[self.monitor(gateway)] = gateway
            case Down(ref, pid, _):
                self._gateways.pop(ref, None)
                assert isinstance(pid, Pid), "gateways are monitored by pid"
                for account in list(self._interest):
                    self._lose_interest(pid, account)
                for account in await registry.drop_gateway(pid):
                    await self._tell(account, None)
            case _:
                super().handle_info(message)

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
