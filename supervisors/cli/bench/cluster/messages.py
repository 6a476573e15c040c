"""The tables that the log's figures are measured with: a row per message, nothing else.

What a chat does with a message is measured by `palaver bench chat`; here it is the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import cbor2

from palaver.storage import Command, Outcome, ReadTxn, Store, WriteTxn
from palaver.storage.replicated import JournalMachine

__all__ = ["MessageCodec", "Messages", "count_messages", "open_tables"]

_TABLE: Final = "messages"


class Messages:
    """Puts the body of each command (body,) under its sequence."""

    tables = (_TABLE,)
    version = 1
    kind = "bench"

    def open(self, txn: ReadTxn, partition: int) -> None:
        """Keep nothing in memory."""

    def apply(self, txn: WriteTxn, seq: int, command: Command) -> Outcome:
        """Put one body."""
        txn.put(_TABLE, seq.to_bytes(8, "big"), command[0])
        return Outcome(seq)

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        """Find nothing: a row cannot disagree with another."""
        yield from ()


class MessageCodec:
    """Commands as CBOR, as the chat's are."""

    def encode(self, commands: Sequence[Command]) -> bytes:
        """Return the bytes of commands."""
        return cbor2.dumps([list(command) for command in commands])

    def decode(self, encoded: bytes) -> list[Command]:
        """Return the commands again."""
        found: list[list[Any]] = cbor2.loads(encoded)
        return [tuple(command) for command in found]


def open_tables(folder: Path) -> Store:
    """Open a replica's tables under the running loop: one partition, as a node opens its own."""
    loop = asyncio.get_running_loop()
    return Store.open(
        folder,
        lambda _: JournalMachine(Messages()),
        partitions=1,
        post=loop.call_soon_threadsafe,
        defer=loop.call_soon,
    )


def count_messages(txn: ReadTxn) -> int:
    """Return how many there are."""
    return txn.count(_TABLE)
