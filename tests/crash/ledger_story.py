"""A machine, the story that is told to it, and what its tables must hold after any part of it.

Everything follows from a seed and the number of a partition, so a process that looks at what a
power cut has left knows what should be there without having been told.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from palaver.storage import Command, Outcome, ReadTxn, Rejected, WriteTxn

PUT, DROP, SWEEP, REFUSE = "put", "drop", "sweep", "refuse"
TABLES = ("row", "large")
KEYS = 150

Content = dict[tuple[str, bytes], bytes]


def value(salt: int, size: int) -> bytes:
    return random.Random(salt).randbytes(size)


class Ledger:
    """Puts, drops and sweeps over two tables."""

    tables = TABLES
    version = 1

    def open(self, txn: ReadTxn, partition: int) -> None:
        pass

    def apply(self, txn: WriteTxn, seq: int, command: Command) -> Outcome:
        what = command[0]
        if what == REFUSE:
            raise Rejected("refused", "as told")
        if what == PUT:
            _, table, key, salt, size = command
            txn.put(table, key, value(salt, size))
        elif what == DROP:
            txn.delete(command[1], command[2])
        else:
            txn.delete_range("row", command[1], command[2])
        return Outcome(seq)

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        return iter(())


def ledger(_partition: int) -> Ledger:
    return Ledger()


def apply_to(content: Content, command: Command) -> None:
    """Do to a dict what the machine does to the tables."""
    what = command[0]
    if what == PUT:
        _, table, key, salt, size = command
        content[table, key] = value(salt, size)
    elif what == DROP:
        content.pop((command[1], command[2]), None)
    else:
        low, high = command[1], command[2]
        for table, key in [k for k in content if k[0] == "row" and low <= k[1] < high]:
            del content[table, key]


class Story:
    """The appends of one partition, one after the other, each a group of commands.

    Attributes:
        ends: the sequence after each append; what is not in it is half an append.
    """

    def __init__(self, seed: int, partition: int) -> None:
        self._chance = random.Random(f"{seed} {partition}")
        self.groups: list[Sequence[Command]] = []
        self.ends = [0]
        self._contents: list[Content] = [{}]

    def group(self, number: int) -> Sequence[Command]:
        """Return the append with this number, 0 the first."""
        while len(self.groups) <= number:
            commands = [self._command() for _ in range(self._chance.choice((1, 1, 2, 3, 6)))]
            applied = [command for command in commands if command[0] != REFUSE]
            for command in applied:
                content = dict(self._contents[-1])
                apply_to(content, command)
                self._contents.append(content)
            self.groups.append(commands)
            self.ends.append(self.ends[-1] + len(applied))
        return self.groups[number]

    def content(self, seq: int) -> Content:
        """Return what the tables hold at a sequence."""
        while self.ends[-1] < seq:
            self.group(len(self.groups))
        return self._contents[seq]

    def next_after(self, seq: int) -> int:
        """Return the number of the append that begins after `seq`, the end of another."""
        self.content(seq)
        return len(self.ends) - 1 - self.ends[::-1].index(seq)

    def _command(self) -> Command:
        chance = self._chance
        what = chance.random()
        key = b"key %03d" % chance.randrange(KEYS)
        salt = chance.getrandbits(32)
        if what < 0.6:
            return (PUT, "row", key, salt, chance.randrange(300))
        if what < 0.7:
            key = b"large %d" % chance.randrange(6)
            return (PUT, "large", key, salt, chance.randrange(3000, 20000))
        if what < 0.85:
            return (DROP, "row", key)
        if what < 0.9:
            return (DROP, "large", b"large %d" % chance.randrange(6))
        if what < 0.93:
            return (SWEEP, key, key[:-2] + b"zz")
        return (REFUSE,) if what < 0.95 else (PUT, "row", key, salt, 1500)


def content_of(txn: ReadTxn) -> Content:
    """Read everything that the tables hold."""
    return {(table, key): kept for table in TABLES for key, kept in txn.range(table, b"")}
