"""What a node has of each partition, changed while it runs: the real processes, or stand-ins.

A single node owns all partitions from the start. In a cluster a node begins with stand-ins for
partitions without an owner, and is told by whoever decides who owns which.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import structlog

from palaver.actors.chat.names import presence_name
from palaver.actors.chat.presence import WriteLastSeen
from palaver.actors.chat.queries import QUERIES
from palaver.actors.chat.stamps import StampClock
from palaver.actors.runtime import CallFailed, Dest, Node
from palaver.supervisors import ChildSpec
from palaver.supervisors.asking import (
    delete_child,
    start_child,
    terminate_child,
    which_children,
)
from palaver.supervisors.failures import AlreadyStarted
from palaver.supervisors.trees.chat import PARTITIONS, ChatParts, owner_specs, proxy_specs
from palaver.supervisors.trees.store_port import StorePort

__all__ = ["PartitionHost", "observe_reserved"]

log = structlog.get_logger("palaver")

#: Last seen is written before a partition is given away, if that takes no longer.
_LAST_WORDS_S = 2.0

#: The supervisor of the partitions is being restarted: look again after so long.
_LOOK_AGAIN_S = 0.05
_LOOKS = 100


def observe_reserved(stamps: StampClock, store: StorePort, number: int) -> None:
    """Give out no stamp that an earlier owner of a partition may have given out."""
    stamps.observe(store.view(number, QUERIES["reserved_stamp"]))


class PartitionHost:
    """Starts and stops what a node has of the partitions.

    It keeps what is wanted outside of any process, so that a supervisor that begins anew starts
    just that. Iterated, it gives the specifications of that.

    Args:
        node: on which.
        parts: what the processes are built from.
        store: where the partitions are.
        at: the address of a name on another node (`Distribution.at`); None on a single node.
    """

    def __init__(
        self,
        node: Node,
        parts: ChatParts,
        store: StorePort,
        at: Callable[[str, str], Dest] | None = None,
    ) -> None:
        self._node = node
        self._parts = parts
        self._store = store
        self._at = at
        self._wanted: dict[int, tuple[ChildSpec, ...]] = {}
        self._owned: set[int] = set()
        self._numbers: dict[Any, int] = {}  # of every child there has been, by id
        self._changing: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def __iter__(self) -> Iterator[ChildSpec]:
        """The specifications of what is wanted now."""
        for number in sorted(self._wanted):
            yield from self._wanted[number]

    @property
    def owned(self) -> tuple[int, ...]:
        """The partitions whose real processes run here."""
        return tuple(sorted(self._owned))

    def begin(self, owned: Iterable[int]) -> None:
        """Say, before the tree starts, which partitions the node owns; the others have no owner."""
        for number in range(self._parts.context.places.partitions):
            self._want(number, self._proxies(number, None))
        for number in owned:
            observe_reserved(self._parts.context.stamps, self._store, number)
            self._owned.add(number)
            self._want(number, owner_specs(number, self._parts))

    async def start_owner(self, number: int) -> None:
        """Run the real processes of a partition, which this node owns from now on.

        Its store has to lead the partition already.

        Raises:
            StartError: a process could not begin; nothing of the partition runs then.
        """
        async with self._changing[number]:
            observe_reserved(self._parts.context.stamps, self._store, number)
            await self._change(number, owner_specs(number, self._parts), owned=True)

    async def start_proxy(self, number: int, owner: str | None) -> None:
        """Stand in for the processes of a partition that another node owns, or none (None)."""
        async with self._changing[number]:
            await self._change(number, self._proxies(number, owner), owned=False)

    async def stop(self, number: int) -> None:
        """Have nothing of a partition: its names are free then.

        What presence has not yet written is written first, if the store still takes it.
        """
        async with self._changing[number]:
            await self._change(number, (), owned=False)

    def _proxies(self, number: int, owner: str | None) -> tuple[ChildSpec, ...]:
        def at(name: str) -> Dest:
            assert self._at is not None, "a single node owns all partitions"
            assert owner is not None
            return self._at(owner, name)

        return proxy_specs(number, owner, at)

    def _want(self, number: int, specs: tuple[ChildSpec, ...]) -> None:
        self._wanted[number] = specs
        self._numbers.update((spec.id, number) for spec in specs)

    async def _change(self, number: int, specs: tuple[ChildSpec, ...], *, owned: bool) -> None:
        if number in self._owned and not owned:
            with suppress(CallFailed):
                presence = presence_name(number)
                await self._node.call(presence, WriteLastSeen(), timeout_s=_LAST_WORDS_S)
        self._want(number, specs)
        try:
            await self._enact(number, specs)
        except BaseException:
            self._wanted[number] = ()
            self._released(number)
            raise
        if owned:
            self._owned.add(number)
        else:
            self._released(number)

    def _released(self, number: int) -> None:
        self._owned.discard(number)
        stats = self._parts.context.stats
        stats.online_by_partition.pop(number, None)
        stats.failing.pop(number, None)

    async def _enact(self, number: int, specs: tuple[ChildSpec, ...]) -> None:
        """Have the supervisor do what is wanted; again, if it begins anew meanwhile."""
        for _ in range(_LOOKS):
            try:
                await self._enact_once(number, specs)
            except CallFailed as error:
                log.info("partitions_begin_anew", partition=number, reason=str(error))
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                return
        await self._enact_once(number, specs)

    async def _enact_once(self, number: int, specs: tuple[ChildSpec, ...]) -> None:
        node, wanted = self._node, {spec.id for spec in specs}
        there = [child.id for child in await which_children(node, PARTITIONS)]
        for child in reversed(there):
            if self._numbers.get(child) == number and child not in wanted:
                await terminate_child(node, PARTITIONS, child)
                await delete_child(node, PARTITIONS, child)
        for spec in specs:
            if spec.id not in there:
                # One that began anew meanwhile has started what is wanted by itself.
                with suppress(AlreadyStarted):
                    await start_child(node, PARTITIONS, spec)
