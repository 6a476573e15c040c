"""Lets every operation of a database fail, one at a time, and looks after each what it is worth.

Runs under the recorder, which injects the errors. Says how many were met.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from bank_story import Bank, Content, Deed, after
from bank_teller import content_of, index_problems, open_bank, tell
from disk_tape import Op, Recorder
from fault_child import NO_ERROR, faults

from palaver.storage.tables.errors import CommitFailed


class Subject:
    """A database, and what is in it as far as it has said."""

    def __init__(self, path: Path, bank: Bank) -> None:
        self.path = path
        self.bank = bank
        self.db = open_bank(path, bank.partitions)
        self.content: Content = {}
        self.number = 0

    def deed(self) -> Deed:
        """Return the next transaction that waits for the disk."""
        while True:
            deed = self.bank.deed(self.number)
            self.number += 1
            if deed.kind == "sync_transaction":
                return deed

    def do(self) -> bool:
        """Do the next one; whether it was acknowledged. It is there whole, or not at all."""
        deed = self.deed()
        wanted = after(self.content, deed)
        try:
            tell(self.db, deed)
            done = True
        except CommitFailed:
            done = False
        found = content_of(self.db)
        assert found == wanted or (not done and found == self.content)
        assert not index_problems(self.db, found)
        self.content = found
        return done

    def reopen(self) -> None:
        """The same is there in a new life."""
        self.db.close()
        with open_bank(self.path, self.bank.partitions) as db:
            found = content_of(db)
            assert found == self.content
            assert not index_problems(db, found)


def main(root: Path, tape: Recorder, partitions: int) -> int:
    """Fail at each operation of some transactions; return how many faults were met."""
    met = 0
    for number, fault in enumerate(faults([Op.WRITE, Op.DURABLE_WRITE, Op.SYNC])):
        for nth in count(1, 1 + number % 3):
            subject = Subject(root / f"{number}-{nth}", Bank(number, partitions))
            assert subject.do()
            tape.fault(fault.ops, nth, fault.mode, fault.error, fault.repeat)
            acknowledged = [subject.do() for _ in range(4)]
            over = tape.seen() < nth
            tape.fault(*NO_ERROR)
            # Now the disk is well again, and so is the database.
            assert subject.do() or subject.do(), f"{fault}, {nth}: it does not go on"
            subject.reopen()
            if over:
                assert all(acknowledged)
                break
            met += 1
    return met


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Recorder(), int(sys.argv[2])))
