"""Lets every operation of a store fail, one at a time, and looks after each what it is worth.

Runs under the recorder, which injects the errors. Says how many were met.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from disk_tape import Mode, Op, Recorder
from ledger_story import content_of, ledger
from store_child import MAP_BYTES, PARTITIONS, Writer

from palaver.storage import Store, StoreError, StoreFailed, StoreFull, StoreUnusable, WrongSequence

TYPED = (StoreFull, StoreFailed, StoreUnusable, WrongSequence)
"""What an append answers when the disk fails: itself, or one before it."""
NO_ERROR = (Op.ANY, 0, Mode.NONE)


class Fault(NamedTuple):
    ops: Op
    mode: Mode
    error: int
    repeat: int

    def __str__(self) -> str:
        return f"{self.mode.name} {errno.errorcode[self.error]} at {self.ops!r} (+{self.repeat})"


def faults(ops: list[Op]) -> Iterator[Fault]:
    """Return the ways in which an operation fails, once or for a while."""
    for op in ops:
        for error in (errno.EIO, errno.ENOSPC):
            for repeat in (0, 3, 1000):
                yield Fault(op, Mode.ERROR_BEFORE, error, repeat)
                if op != Op.SYNC and error == errno.EIO:
                    yield Fault(op, Mode.ERROR_AFTER, error, repeat)
    yield Fault(Op.WRITE, Mode.SHORT, errno.ENOSPC, 0)
    yield Fault(Op.WRITE, Mode.SHORT, errno.ENOSPC, 1000)


class Subject:
    """A store with a story; checks that it is what it says."""

    def __init__(self, root: Path, name: str, tape: Recorder) -> None:
        self.path = root / name
        self.name = name
        self.writer = Writer(root, 1, tape, name)
        self.acked = [0] * PARTITIONS

    def round(self, appends: int) -> list[Any]:
        """Append, and keep what was acknowledged; every failure has to be a typed one."""
        outcomes = self.writer.round(appends)
        for outcome in outcomes:
            if isinstance(outcome, StoreError):
                assert isinstance(outcome, TYPED), repr(outcome)
        return outcomes

    def settle(self, outcomes: list[Any]) -> None:
        """Reads go on and show whole transactions, whatever has failed."""
        writer = self.writer
        for partition, story in enumerate(writer.stories):
            applied = writer.store.applied(partition)
            assert applied >= self.acked[partition], "an acknowledged command is gone"
            found = writer.store.view(partition, content_of)
            if not any(isinstance(outcome, StoreError) for outcome in outcomes):
                assert applied == story.ends[writer.next[partition]]
                self.acked[partition] = applied
                assert found == story.content(applied)
            else:  # a failed commit may be there all the same, whole
                assert any(found == story.content(end) for end in story.ends if end >= applied)

    def reopen(self) -> None:
        """What is acknowledged is there after a close and in a new life."""
        self.writer.store.close_now()
        store = Store.open(self.path, ledger, map_size_bytes=MAP_BYTES)
        try:
            for partition, story in enumerate(self.writer.stories):
                applied = store.applied(partition)
                assert applied >= self.acked[partition]
                assert applied in story.ends
                assert store.view(partition, content_of) == story.content(applied)
        finally:
            store.close_now()


def while_writing(root: Path, tape: Recorder) -> int:
    """Fail at each operation of some rounds of writing; return how many faults were met."""
    met = 0
    for number, fault in enumerate(faults([Op.WRITE, Op.DURABLE_WRITE, Op.SYNC])):
        for nth in count(1):
            subject = Subject(root, f"w{number}-{nth}", tape)
            subject.settle(subject.round(2))
            tape.fault(fault.ops, nth, fault.mode, fault.error, fault.repeat)
            failed = False
            for appends in (1, 2):
                outcomes = subject.round(appends)
                failed = failed or any(isinstance(outcome, StoreError) for outcome in outcomes)
                subject.settle(outcomes)
                subject.writer.go_back()
            over = tape.seen() < nth
            tape.fault(*NO_ERROR)
            if over:
                subject.reopen()
                break
            met += 1
            # No room is tried again append by append, and there may be room by then.
            assert failed or fault.error == errno.ENOSPC, f"{fault}, {nth}: nothing failed"
            subject.writer.go_back()
            # Now the disk is well again, and so is the store.
            outcomes = subject.round(2)
            assert not any(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
            subject.settle(outcomes)
            subject.reopen()
    return met


def while_opening(root: Path, tape: Recorder) -> int:
    """Fail at each operation of making a store; return how many faults were met."""
    met = 0
    everything = [Op.WRITE, Op.DURABLE_WRITE, Op.SYNC, Op.NAME, Op.LENGTH]
    for number, fault in enumerate(faults(everything)):
        for nth in count(1):
            name = f"o{number}-{nth}"
            tape.fault(fault.ops, nth, fault.mode, fault.error, fault.repeat)
            with suppress(StoreError):
                Store.open(root / name, ledger, partitions=PARTITIONS).close_now()
            over = tape.seen() < nth
            tape.fault(*NO_ERROR)
            subject = Subject(root, name, tape)
            subject.settle(subject.round(1))
            subject.reopen()
            if over:
                break
            met += 1
    return met


if __name__ == "__main__":
    job = {"writing": while_writing, "opening": while_opening}[sys.argv[1]]
    print(job(Path(sys.argv[2]), Recorder()))
