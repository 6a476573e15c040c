"""Helpers of the embedding tests: servers, and a look at what a program has."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from palaver.actors.runtime import From, GenServer, ProcessContext

# The library under uvloop opens a pipe for all loops with the first, and keeps it.
uvloop.new_event_loop().close()


class Counter(GenServer):
    __slots__ = ("seen",)

    def init(self) -> None:
        self.seen: list[Any] = []

    def handle_cast(self, message: Any) -> None:
        self.seen.append(message)

    def handle_info(self, message: Any) -> None:
        self.seen.append(("info", message))

    def handle_call(self, request: Any, from_: From) -> Any:
        if request == "crash":
            raise ValueError("crash")
        return list(self.seen)


class Hanging(GenServer):
    """Holds the event loop until an event is set."""

    __slots__ = ("entered", "let_go")

    def init(self, entered: threading.Event, let_go: threading.Event) -> None:
        self.entered, self.let_go = entered, let_go

    def handle_cast(self, message: Any) -> None:
        self.entered.set()
        self.let_go.wait()

    def handle_call(self, request: Any, from_: From) -> str:
        return "alive"


async def forever(ctx: ProcessContext) -> None:
    await ctx.receive(lambda _: False)


def things() -> dict[str, Any]:
    return {
        "threads": set(threading.enumerate()),
        "descriptors": {path.name for path in Path("/proc/self/fd").iterdir()},
        "signals": [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)],
        "loops": sum(
            isinstance(o, asyncio.BaseEventLoop) and not o.is_closed() for o in gc.get_objects()
        ),
    }


@contextmanager
def nothing_left() -> Iterator[None]:
    """What runs within leaves no thread, descriptor, handler, loop or warning behind."""
    gc.collect()
    before = things()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    after = things()
    for kind, found in before.items():
        assert after[kind] == found, kind
