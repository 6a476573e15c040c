"""What a partition's process needs of a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from palaver.actors.chat.state import commands as cmd
from palaver.storage import Outcome, ReadTxn

__all__ = ["PartitionPort"]


class PartitionPort(Protocol):
    """What a partition's process needs of a store."""

    partitions: int

    def append(
        self,
        partition: int,
        commands: Sequence[cmd.Command],
        done: Callable[[list[Outcome | Exception]], None],
    ) -> object:
        """Append and apply commands; `done` runs on the owner's thread when they are durable."""

    def read(
        self,
        partition: int,
        fn: Callable[[ReadTxn], Any],
        done: Callable[[Any], None],
    ) -> None:
        """Run `fn` over a snapshot; `done` gets its result, or the exception it raised."""
