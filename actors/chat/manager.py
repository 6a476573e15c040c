"""The process that knows which gateways hold the connections of a partition's accounts.

The gateways of all nodes announce sessions here and ask here; whoever asked about an account is
told when its placement changes, until it says that it no longer wants to know. So a gateway's
caches are never wrong for longer than a message takes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from palaver.actors.chat.messages import (
    Announce,
    AnnounceAgain,
    Forget,
    GatewayUp,
    LookUp,
    Placement,
    Release,
    Withdraw,
)
from palaver.actors.chat.owned import Owned
from palaver.actors.chat.registry import ConnectionRegistry, RegistryAway
from palaver.actors.runtime import Down, Pid, TimerRef

__all__ = ["Manager"]

T = TypeVar("T")


class _Upkeep(NamedTuple):
    """The registry's upkeep is due."""


class Manager(Owned):
    """Owns the connection registry of one partition.

    Where that is away, sessions are not known for a while, and hints do not find them; when it is
    back, and has missed or lost something, the gateways announce all that they have again.
    """

    __slots__ = ("_gateways", "_interest", "_missed", "_number", "_registry", "_timer")

    def init(self, number: int, registries: Callable[[int], ConnectionRegistry]) -> None:
        """Serve partition `number`; `registries` gives its registry."""
        self._registry = registry = registries(number)
        self._gateways: dict[Pid, Any] = {}  # with their monitors
        self._interest: dict[str, dict[Pid, None]] = {}
        self._number = number
        self._missed = False
        self._timer: TimerRef | None = None
        if registry.upkeep_s is not None:
            self.send(self.pid, _Upkeep())

    async def handle_info(self, message: Any) -> None:
        """Take an announcement, a withdrawal or a question of a gateway."""
        try:
            await self._take(message)
        except RegistryAway:
            if not self._missed:
                self._missed = True
                self._plan_upkeep()
            if isinstance(message, LookUp):  # who asks does not wait until it is back
                self.send(message.gateway, Placement(message.account, ()))

    async def _take(self, message: Any) -> None:
        registry = self._registry
        match message:
            case Announce(gateway, account, device, session):
                self._know(gateway)
                before = await self._of(registry.put(account, device, gateway, session))
                if before is not None:
                    self.send(before, Release(account, device, session))
                await self._tell(account, gateway)
            case Withdraw(_, account, device, session, last):
                # One of several devices going leaves the placement as it was.
                if await self._of(registry.remove(account, device, session)) and last:
                    await self._tell(account, None)
            case LookUp(gateway, account):
                self._interest.setdefault(account, {})[gateway] = None
                found = await self._of(registry.gateways(account))
                self.send(gateway, Placement(account, found))
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
            case _Upkeep():
                await self._upkeep()
            case _:
                super().handle_info(message)

    def _know(self, gateway: Pid) -> None:
        if gateway not in self._gateways:
            self._gateways[gateway] = self.monitor(gateway)

    async def _drop(self, gateway: Pid) -> None:
        for account in await self._of(self._registry.drop_gateway(gateway)):
            await self._tell(account, None)

    async def _tell(self, account: str, newcomer: Pid | None) -> None:
        gateways = await self._of(self._registry.gateways(account))
        told = dict.fromkeys(gateways)
        told.update(self._interest.get(account, {}))
        if newcomer is not None:
            told[newcomer] = None
        for gateway in told:
            self.send(gateway, Placement(account, gateways))

    async def _of(self, answer: Awaitable[T]) -> T:
        """What the registry answers; raises RegistryAway."""
        return await (self.bridge(answer) if self._registry.outside else answer)

    async def _upkeep(self) -> None:
        try:
            lost = await self._of(self._registry.upkeep())
            if lost or self._missed:
                self._missed = False
                for gateway in self._gateways:
                    self.send(gateway, AnnounceAgain(self._number))
        finally:
            self._plan_upkeep()

    def _plan_upkeep(self) -> None:
        if self._timer is not None:
            self.cancel_timer(self._timer)
        soon_s = self._registry.upkeep_s
        assert soon_s is not None, "a registry that goes away has upkeep"
        self._timer = self.send_after(soon_s, self.pid, _Upkeep())

    def _lose_interest(self, gateway: Pid, account: str) -> None:
        interested = self._interest.get(account)
        if interested is not None:
            interested.pop(gateway, None)
            if not interested:
                del self._interest[account]
