"""What a caller waits on: the milestones of a message, and bounded streams of hints."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from palaver.transport.client.model import SentMessage

__all__ = ["Listeners", "Milestone", "Outgoing", "Stream"]

T = TypeVar("T")


class Milestone(Generic[T]):
    """Something that is reached once and can be awaited by any number of tasks, again and again.

    Cancelling a task that awaits it changes nothing for the others.
    """

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # Nobody has to look: a failure that no one awaited is no accident.
        self._future.add_done_callback(_retrieved)

    @property
    def future(self) -> asyncio.Future[T]:
        """The future behind it, for `asyncio.wait`; not to be cancelled."""
        return self._future

    @property
    def done(self) -> bool:
        """Whether it was reached, or never will be."""
        return self._future.done()

    def __await__(self) -> Generator[object, None, T]:
        return asyncio.shield(self._future).__await__()

    def reach(self, value: T) -> None:
        """It is reached; only the first time counts."""
        if not self._future.done():
            self._future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """It never will be reached."""
        if not self._future.done():
            self._future.set_exception(error)


def _retrieved(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class Outgoing:
    """A message on its way; each of its milestones can be awaited.

    Attributes:
        cid: The client's id of the message, which stays the same on every try.
        acked: One tick: durable on the server. Fails with the typed error of a refusal.
        delivered: Two ticks: on a device of everyone it is for.
        read: Read by everyone it is for.
    """

    __slots__ = ("acked", "cid", "delivered", "read")

    def __init__(self, cid: int) -> None:
        self.cid = cid
        self.acked: Milestone[SentMessage] = Milestone()
        self.delivered: Milestone[None] = Milestone()
        self.read: Milestone[None] = Milestone()

    def fail(self, error: BaseException) -> None:
        """Fail what is not reached yet."""
        self.acked.fail(error)
        self.fail_receipts(error)

    def fail_receipts(self, error: BaseException) -> None:
        """Fail the receipts that are not reached yet."""
        self.delivered.fail(error)
        self.read.fail(error)


class Stream(AsyncIterator[T]):
    """Items for one listener, in order. At ``max_items`` the oldest is dropped and counted.

    The listener hears what was said after the stream was made. It ends when the client is closed
    and raises the client's error where it failed.
    """

    __slots__ = ("__weakref__", "_error", "_items", "_over", "_wake", "dropped")

    def __init__(self, max_items: int) -> None:
        self.dropped = 0
        self._items: deque[T] = deque(maxlen=max_items)
        self._wake = asyncio.Event()
        self._over = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Say something to the listener."""
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
        self._items.append(item)
        self._wake.set()

    def end(self, error: BaseException | None) -> None:
        """Nothing more will come."""
        self._over = True
        self._error = error
        self._wake.set()

    def __aiter__(self) -> Stream[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._over:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._items.popleft()


class Listeners(Generic[T]):
    """The streams that hear of one thing; each hears it as long as somebody holds it.

    They are told in the order in which they began, which no weak set would promise.
    """

    __slots__ = ("_made", "_streams")

    def __init__(self) -> None:
        self._made = 0
        self._streams: WeakValueDictionary[int, Stream[T]] = WeakValueDictionary()

    def add(self, stream: Stream[T]) -> None:
        """One more that listens."""
        self._made += 1
        self._streams[self._made] = stream

    def put(self, item: T) -> None:
        """Say something to all."""
        for stream in list(self._streams.values()):
            stream.put(item)

    def end(self, error: BaseException | None) -> None:
        """Nothing more will come."""
        for stream in list(self._streams.values()):
            stream.end(error)
