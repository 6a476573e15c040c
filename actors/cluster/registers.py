"""The registers as processes use them: with a deadline, with records, renewing the lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from palaver.actors.cluster.background import within
from palaver.actors.cluster.records import Record, encoded
from palaver.actors.cluster.roster import Lease
from palaver.actors.runtime import ProcessContext
from palaver.storage.replicated.ports import (
    Follow,
    Register,
    RegisterChanged,
    Registers,
    RegistersUnavailable,
)

__all__ = ["Guarded"]


class Guarded:
    """The registers behind a deadline; every answer renews the node's lease.

    Args:
        registers: the port.
        lease: renewed.
        timeout_s: how long one question may take; then it is `RegistersUnavailable`.
    """

    __slots__ = ("_registers", "_timeout_s", "_watches", "lease")

    def __init__(self, registers: Registers, lease: Lease, timeout_s: float) -> None:
        self._registers = registers
        self._timeout_s = timeout_s
        self._watches: dict[str, Follow] = {}
        self.lease = lease

    def watch(self, prefix: str, changed: Callable[[str, Register | None], None]) -> Follow:
        """As the port's, but a prefix is watched once: this ends an earlier watch of it.

        A process that was killed could not close its own.
        """
        before = self._watches.pop(prefix, None)
        if before is not None:
            before.close()
        follow = self._watches[prefix] = self._registers.watch(prefix, changed)
        return follow

    async def get(self, ctx: ProcessContext, key: str) -> Register | None:
        """Read; no renewal of the lease, because an old copy may have answered."""
        return await self._ask(ctx, self._registers.read(key))  # type: ignore[no-any-return]

    async def put(self, ctx: ProcessContext, key: str, record: Record, expected: int | None) -> int:
        """Write if the revision is as expected; the new one. Raises as the port's `write`."""
        asked_s = ctx.clock.monotonic()
        try:
            revision: int = await self._ask(
                ctx, self._registers.write(key, encoded(record), expected)
            )
        except RegisterChanged:
            self.lease.reached(asked_s)  # a quorum has said so
            raise
        self.lease.reached(asked_s)
        return revision

    async def remove(self, ctx: ProcessContext, key: str, expected: int) -> None:
        """Remove if the revision is as expected. Raises as the port's `delete`."""
        asked_s = ctx.clock.monotonic()
        await self._ask(ctx, self._registers.delete(key, expected))
        self.lease.reached(asked_s)

    async def try_put(
        self, ctx: ProcessContext, key: str, record: Record, expected: int | None
    ) -> bool:
        """Write, where nothing depends on it; whether it was done for certain."""
        try:
            await self.put(ctx, key, record, expected)
        except (RegisterChanged, RegistersUnavailable):
            return False
        return True

    async def _ask(self, ctx: ProcessContext, awaited: Any) -> Any:
        try:
            return await within(ctx, self._timeout_s, awaited)
        except TimeoutError as error:
            raise RegistersUnavailable(str(error)) from None
