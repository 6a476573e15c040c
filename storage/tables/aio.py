"""The activities for programs under an asyncio loop: what waits is awaited."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .commit import Commit, Waiter
from .errors import CommitFailed, Conflict
from .isolation import Restart
from .table import Table
from .transactions import Transaction
from .within import transaction_around

if TYPE_CHECKING:
    from .database import Database

R = TypeVar("R")
T = TypeVar("T")
Function = Callable[..., T | Awaitable[T]]

MAX_ATTEMPTS = 1_000
"""Of a coroutine function, which cannot run alone: others commit while it awaits."""


class Aio:
    """A database's activities as coroutines; the functions may be `async def`.

    A plain function runs within one turn of the loop. A coroutine function may await anything in
    the middle; it begins again if somebody else has meanwhile committed what it had read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def transaction(self, function: Function[T], *args: Any, retries: int | None = None) -> T:
        """See `Database.transaction`."""
        value, _ = await self._run("transaction", function, args, retries)
        return value

    async def sync_transaction(
        self, function: Function[T], *args: Any, retries: int | None = None
    ) -> T:
        """See `Database.sync_transaction`."""
        value, commit = await self._run("sync_transaction", function, args, retries)
        await self.durable(commit)
        return value

    async def async_dirty(self, function: Function[T], *args: Any) -> T:
        """See `Database.async_dirty`."""
        return await self._dirty("async_dirty", function, args)

    async def sync_dirty(self, function: Function[T], *args: Any) -> T:
        """See `Database.sync_dirty`."""
        await self.room()
        with self._database.dirty_activity("sync_dirty") as activity:
            value = function(activity, *args)
            done = await value if inspect.isawaitable(value) else value
        for commit in activity.commits:
            await self.durable(commit)
        return done

    async def create_table(self, record: type[R] | None = None, **options: Any) -> Table[R]:
        """See `Database.create_table`."""
        return await self.schema(self._database.create_table, record, **options)

    async def ensure_table(self, record: type[R], **options: Any) -> Table[R]:
        """See `Database.ensure_table`."""
        return await self.schema(self._database.ensure_table, record, **options)

    async def schema(self, change: Callable[..., T], *args: Any, **options: Any) -> T:
        """Await a change of the schema: `await db.aio.schema(db.add_table_index, table, "owner")`.

        Args:
            change: a method of the database that changes the schema.
            args: for it.
            options: for it.
        """
        database = self._database
        thread = threading.get_ident()
        database.waits_elsewhere.add(thread)  # the loop's thread cannot wait for itself
        try:
            value = change(*args, **options)
        finally:
            database.waits_elsewhere.discard(thread)
        await self.durable(database.pipeline.last)
        return value

    async def sync_log(self) -> None:
        """Wait until everything committed so far is durable."""
        await self.durable(self._database.pipeline.last)

    async def room(self) -> None:
        """Wait until the backlog of commits is below its limit."""
        database = self._database
        while database.is_overloaded():
            with suppress(CommitFailed):  # is told to those whose it is
                await self.durable(database.pipeline.last)

    async def idle(self) -> None:
        """Wait until nothing is on its way to the disk."""
        loop = asyncio.get_running_loop()
        idle = asyncio.Event()
        self._database.pipeline.when_idle(lambda: loop.call_soon_threadsafe(idle.set))
        await idle.wait()

    async def durable(self, commit: Commit | None) -> None:
        """Wait until a commit is durable; CommitFailed when it is undone instead."""
        if commit is None:
            return
        database = self._database
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        tell: Waiter = partial(_resolve, future)
        if database.log is None or not database.log.on_owner:
            tell = partial(_resolve_there, loop, future)
        with database.mutex:
            if commit.error is not None:
                raise commit.error
            if commit.answered:
                return
            commit.waiters.append(tell)
        await future

    async def _run(
        self, kind: str, function: Function[T], args: tuple[Any, ...], retries: int | None
    ) -> tuple[T, Commit | None]:
        database = self._database
        around = transaction_around(database)
        if around is not None:
            with around.nested():
                value = function(around, *args)
                return await value if inspect.isawaitable(value) else value, None
        if database.pipeline.backlog >= database.max_backlog:
            await self.room()
        if not _is_async(function):
            return database.run(kind, cast("Callable[..., T]", function), args, retries)
        limit = MAX_ATTEMPTS if retries is None else retries + 1
        for _ in range(limit):
            try:
                done = await self._attempt(
                    kind, cast("Callable[..., Awaitable[T]]", function), args
                )
                database.press_on()
                return done
            except Restart:
                await asyncio.sleep(0)  # whoever was faster gets on first
        raise Conflict(limit)

    async def _attempt(
        self, kind: str, function: Callable[..., Awaitable[T]], args: tuple[Any, ...]
    ) -> tuple[T, Commit | None]:
        database = self._database
        reads = database.running.begin()
        transaction = Transaction(database, kind, reads, asyncio.current_task())
        try:
            value = await function(transaction, *args)
            commit = database.conclude(transaction)
            database.counters.commits += 1
            return value, commit
        except Restart:
            database.counters.restarts += 1
            raise
        except Exception:
            database.counters.failures += 1
            raise
        finally:
            transaction.close()
            database.running.end(reads)

    async def _dirty(self, kind: str, function: Function[T], args: tuple[Any, ...]) -> T:
        await self.room()
        with self._database.dirty_activity(kind) as activity:
            value = function(activity, *args)
            return await value if inspect.isawaitable(value) else value


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether it is a coroutine function; of plain functions known without a closer look."""
    if type(function) is FunctionType and not function.__dict__:  # and nothing marks it as one
        return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
    return inspect.iscoroutinefunction(function)


def _resolve_there(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[None], error: BaseException | None
) -> None:
    with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
        loop.call_soon_threadsafe(_resolve, future, error)


def _resolve(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return  # whoever waited was cancelled
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
