"""`PartitionSupervisor`: several of the same child, and a key that says which; after Elixir's.

One server, or one `DynamicSupervisor`, does one thing at a time: while it waits in a handler, or
for the `init` of a child, the others wait too. Several of them, each for a part of the keys, wait
for themselves only.

    ChildSpec(
        "sessions",
        PartitionSupervisor,
        (ChildSpec("sessions", DynamicSupervisor, kind="supervisor"),),
        kind="supervisor",
        name="sessions",
    )
    ...
    sessions = Partition(self, "sessions", user_id)
    pid = await start_child(self, sessions, ChildSpec(user_id, Session, (user_id,)))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

from palaver.actors.runtime import Addressable, Ignore, Node, Pid, ProcessContext
from palaver.supervisors.children import Children
from palaver.supervisors.spec import ChildSpec, Strategy, SupervisorFlags
from palaver.supervisors.supervisor import Supervisor

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process

__all__ = ["DEFAULT_PARTITIONS", "Partition", "PartitionKey", "PartitionSupervisor", "partition_of"]

DEFAULT_PARTITIONS = 8
"""Elixir takes the number of schedulers; a node has one, and waits are what is spread here."""

PartitionKey: TypeAlias = "int | str | bytes | tuple[PartitionKey, ...]"
"""What has a place: integers, strings, bytes, and tuples of them."""


def partition_of(key: PartitionKey, partitions: int) -> int:
    """The number of the partition, from 0, that a key belongs to.

    The same in every run, on every machine and in every version: an integer is taken modulo
    `partitions` (its absolute value, as in Elixir); a string by the CRC-32 of its UTF-8, bytes by
    their CRC-32; a tuple by the CRC-32 of the text ``p1,p2,...`` of what its items hash to. So a
    program may count on integers, and pick a partition by number.

    Raises:
        TypeError: The key is of another type. Python's own `hash` differs from run to run, so an
            object needs a key of its own: an id, or a tuple of what makes it up.
    """
    if isinstance(key, int):
        return abs(key) % partitions
    return _stable_hash(key) % partitions


def _stable_hash(key: PartitionKey) -> int:
    if isinstance(key, int):
        return abs(key)
    if isinstance(key, str):
        return crc32(key.encode("utf-8", "surrogatepass"))
    if isinstance(key, bytes):
        return crc32(key)
    if isinstance(key, tuple):
        return crc32(",".join(str(_stable_hash(item)) for item in key).encode())
    raise TypeError(
        f"{key!r} has no stable place among partitions: "
        "use an int, a str, bytes or a tuple of them as the key"
    )


class PartitionSupervisor(Supervisor):
    """Supervises as many of one child as there are partitions; their ids are their numbers.

    All that a `Supervisor` can be asked can be asked of it.
    """

    __slots__ = ("partitions",)

    partitions: int

    def specification(
        self,
        child: ChildSpec,
        partitions: int = DEFAULT_PARTITIONS,
        *,
        with_arguments: Callable[[tuple[Any, ...], int], tuple[Any, ...]] | None = None,
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period_s: float = 5.0,
    ) -> tuple[SupervisorFlags, list[ChildSpec]] | Ignore:
        """What is supervised.

        Args:
            child: The specification of each; its id is replaced by the number of the partition.
                It has no name: processes with one name cannot be several.
            partitions: How many, at least 1.
            with_arguments: Given the arguments of `child` and the number of a partition, says what
                its arguments are.
            strategy: As in `SupervisorFlags`.
            intensity: As in `SupervisorFlags`.
            period_s: As in `SupervisorFlags`, in seconds.
        """
        if partitions < 1:
            raise ValueError(f"there is at least one partition, not {partitions}")
        if child.name is not None:
            raise ValueError(f"only one of the partitions could be named {child.name!r}")
        self.partitions = partitions
        specs = [
            replace(
                child,
                id=number,
                args=child.args if with_arguments is None else with_arguments(child.args, number),
            )
            for number in range(partitions)
        ]
        return SupervisorFlags(strategy, intensity, period_s), specs

    def pid_of(self, key: PartitionKey) -> Pid | None:
        """The process that a key belongs to now; None while it does not run."""
        children: Children | None = getattr(self, "_children", None)
        if children is None:
            return None  # it has not begun to start them
        child = children.get(partition_of(key, self.partitions))
        return None if child is None else child.pid


class Partition(Addressable):
    """The partition that a key belongs to, as a destination: Elixir's `{:via, ...}`.

    It is looked up for each message, so it can be kept: it means the process that has the partition
    at that time. While there is none, a message is dropped and a call fails with `NoProcess`, as
    with a name that nobody has.

    Args:
        via: Who sends: a process, or the node.
        supervisor: The `PartitionSupervisor`, by name or pid; one on the same node.
        key: See `partition_of`.
    """

    __slots__ = ("key", "node", "supervisor")

    def __init__(
        self, via: ProcessContext | Node, supervisor: str | Pid, key: PartitionKey
    ) -> None:
        _stable_hash(key)  # a key that cannot be one is refused here, not when it is used
        self.node = via if isinstance(via, Node) else via.node
        self.supervisor = supervisor
        self.key = key

    def __repr__(self) -> str:
        return f"<partition of {self.supervisor} for {self.key!r}>"

    @property
    def pid(self) -> Pid | None:
        """The process that has the partition now; None if there is none."""
        found = self.node.find(self.supervisor)
        if found is None:
            return None
        server = found.context
        if server is not None and not isinstance(server, PartitionSupervisor):
            raise TypeError(f"{self.supervisor} is no PartitionSupervisor but {found.label}")
        return None if server is None else server.pid_of(self.key)

    @property
    def process_(self) -> Process | None:
        """The runtime's way to that process."""
        pid = self.pid
        return None if pid is None else pid.process_
