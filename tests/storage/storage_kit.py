"""A toy machine and helpers: conversations with gap-free sequences, deduplicated by client id."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb

from palaver.storage import Command, Outcome, ReadTxn, Rejected, Store, WriteTxn
from palaver.storage.environment import Environment

SAY, FORGET, REJECT, BOOM, BOOM_LATE, REJECT_LATE, BIG, BUSY = range(8)


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


class Talk:
    """(SAY, conv, cid, body) -> seq within the conversation; the others misbehave."""

    tables = ("last", "message", "client", "blob")
    version = 3

    def __init__(self, gate: Callable[[], object] | None = None) -> None:
        self.cache: dict[bytes, int] = {}
        self.opened = 0
        self.gate = gate

    def open(self, txn: ReadTxn, partition: int) -> None:
        self.cache.clear()
        self.opened += 1

    def apply(self, txn: WriteTxn, seq: int, command: Command) -> Outcome:
        code = command[0]
        if code == SAY:
            return self.say(txn, command[1], command[2], command[3])
        if code == BIG:
            txn.put("blob", u64(seq), bytes(command[1]))
            return Outcome(seq)
        if code == FORGET:
            return Outcome(txn.delete_range("blob", b""))
        if code == REJECT:
            raise Rejected("not_allowed", "no")
        if code == BOOM:
            raise ZeroDivisionError("boom")
        if code == BUSY:
            assert self.gate is not None
            self.gate()
            return Outcome(seq)
        self.say(txn, b"late", u64(seq), b"x")
        if code == BOOM_LATE:
            raise ZeroDivisionError("late boom")
        raise Rejected("late", "after a write")

    def say(self, txn: WriteTxn, conv: bytes, cid: bytes, body: bytes) -> Outcome:
        known = txn.get("client", conv + cid)
        if known is not None:
            return Outcome(int.from_bytes(known, "big"), ("again",))
        last = self.cache.get(conv)
        if last is None:
            last = int.from_bytes(txn.get("last", conv) or b"", "big")
        self.cache[conv] = last + 1
        txn.put("last", conv, u64(last + 1))
        txn.put("message", conv + u64(last + 1), body)
        txn.put("client", conv + cid, u64(last + 1))
        return Outcome(last + 1, (("said", conv, last + 1),))

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        total = 0
        for conv, value in txn.range("last", b""):
            last = int.from_bytes(value, "big")
            seqs = [int.from_bytes(key[-8:], "big") for key, _ in txn.prefix("message", conv)]
            total += len(seqs)
            if seqs != list(range(1, last + 1)):
                yield f"conversation {conv!r} has a gap"
        if txn.count("client") != total:
            yield "client ids and messages differ in number"


def talk(_partition: int) -> Talk:
    return Talk()


def say(number: int, conv: bytes = b"c", body: bytes = b"hello") -> Command:
    return (SAY, conv, u64(number), body)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(limited())


def open_async(path: Path, machine: Callable[[int], Any] = talk, **options: Any) -> Store:
    loop = asyncio.get_running_loop()
    return Store.open(
        path, machine, post=loop.call_soon_threadsafe, defer=loop.call_soon, **options
    )


async def append(
    store: Store, commands: Sequence[Command], partition: int = 0, expected: int | None = None
) -> list[Any]:
    done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    store.append(partition, commands, done.set_result, expected=expected)
    return await done


async def read(store: Store, fn: Callable[[ReadTxn], Any], partition: int = 0) -> Any:
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    store.read(partition, fn, done.set_result)
    return await done


def problems(store: Store) -> list[str]:
    return [
        problem
        for partition in range(store.partitions)
        for problem in store.view(
            partition, lambda txn, partition=partition: list(Talk().check(txn, partition))
        )
    ]


def bodies(store: Store, conv: bytes = b"c", partition: int = 0) -> list[bytes]:
    return store.view(partition, lambda txn: [v for _, v in txn.prefix("message", conv)])


class Failing(Environment):
    """Fails where it is told to, as the disk under LMDB would."""

    __slots__ = ("broken_head", "fail_commits", "reopened")

    def __init__(self, *args: Any, **options: Any) -> None:
        self.fail_commits: list[lmdb.Error] = []
        self.broken_head = False
        self.reopened = 0
        super().__init__(*args, **options)

    def begin(self) -> lmdb.Transaction[bytes]:
        if self.broken_head:
            raise lmdb.PanicError("mdb_txn_begin: MDB_PANIC")
        return super().begin()

    def commit(self, raw: lmdb.Transaction[bytes]) -> None:
        if self.fail_commits:
            self.abort(raw)
            raise self.fail_commits.pop()
        super().commit(raw)

    def reopen(self) -> None:
        super().reopen()
        self.reopened += 1
        self.broken_head = False
