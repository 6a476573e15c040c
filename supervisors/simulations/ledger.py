"""A ledger that is replicated, and who judges it: the smallest machine that shows a lost command.

What counts in a journal is decided here once more, in the plainest way and by nobody's code but
this: `Judge` reads every entry as it is stored. Replicas and answers are compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import cbor2

from palaver.storage import Outcome, ReadTxn, Rejected, WriteTxn
from palaver.storage.replicated.ports import Entry

__all__ = ["Judge", "Ledger", "LedgerCodec", "lines_of"]

_LINES: Final = "lines"
_KNOWN: Final = "known"


class Ledger:
    """Writes each line once, however often it is asked to; its answer is the line's place."""

    tables = (_LINES, _KNOWN)
    version = 1
    kind = "ledger"

    def __init__(self, _partition: int = 0) -> None:
        self._count = 0

    def open(self, txn: ReadTxn, partition: int) -> None:
        """Count the lines there are."""
        last = txn.last(_LINES)
        self._count = 0 if last is None else int.from_bytes(last[0])

    def apply(self, txn: WriteTxn, seq: int, command: tuple[Any, ...]) -> Outcome:
        """Write a line; a line without a text is refused."""
        _, name, text = command
        if not text:
            raise Rejected("empty", "a line has a text")
        known = txn.get(_KNOWN, name.encode())
        if known is not None:
            return Outcome(int.from_bytes(known))
        self._count += 1
        place = self._count.to_bytes(8)
        txn.put(_LINES, place, name.encode())
        txn.put(_KNOWN, name.encode(), place)
        return Outcome(self._count)

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        """Find nothing wrong: the judge does."""
        yield from ()


class LedgerCodec:
    """Commands of a ledger as CBOR."""

    def encode(self, commands: Sequence[tuple[Any, ...]]) -> bytes:
        """Return the bytes of commands."""
        return cbor2.dumps(list(commands))

    def decode(self, encoded: bytes) -> list[tuple[Any, ...]]:
        """Return the commands again."""
        return [tuple(command) for command in cbor2.loads(encoded)]


def lines_of(txn: ReadTxn) -> list[str]:
    """Return the names of all lines in order."""
    return [name.decode() for _, name in txn.range(_LINES, b"")]


class Judge:
    """Reads a journal as it grows, and says what has to come of it.

    Attributes:
        lines: the names of the lines that count, in order.
        owners: by epoch, who leads it, or led.
        skipped: entries that do not count.
        standing: (epoch, number) after the last entry.
        applied: the last sequence of the tables.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.owners: dict[int, str] = {}
        self.skipped = 0
        self.standing = (0, 0)
        self.applied = 0
        self._known: set[str] = set()

    def __call__(self, entry: Entry) -> None:
        """Take the next entry."""
        kind, epoch, number, payload = cbor2.loads(entry.body)
        current, last = self.standing
        if kind == 1 and epoch > current:
            self.standing = (epoch, 0)
            self.owners[epoch] = payload[0]
        elif kind != 1 and (epoch, number) == (current, last + 1):
            self.standing = (epoch, number)
            for part in payload or ():
                expected, encoded = (None, part) if isinstance(part, bytes) else part
                if expected in (None, self.applied):
                    self._read(encoded)
        else:
            self.skipped += 1

    def _read(self, encoded: bytes) -> None:
        for _, name, text in cbor2.loads(encoded):
            self.applied += bool(text)
            if text and name not in self._known:
                self._known.add(name)
                self.lines.append(name)
