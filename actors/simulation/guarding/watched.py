"""What is watched: every function by which a program could ask the machine, and what to use."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from palaver.actors.runtime import SystemClock

__all__ = ["EVENTS", "FILE_EVENTS", "Values", "Watched", "class_attributes", "functions", "methods"]

MONOTONIC: Final = (
    "`self.clock.monotonic()` in a process, `host.clock.monotonic()` beside it, "
    "`world.now_s` in a scenario"
)
WALL: Final = (
    "`self.clock.time_ms()` in a process, `host.clock.time_ms()` beside it, "
    "`world.now_s` in a scenario"
)
SLEEP: Final = "`await self.sleep(...)` in a process, `await asyncio.sleep(...)` beside it"
CHANCE: Final = (
    "`self.random` in a process, `host.random` beside it, `world.tape.random(name)` in a scenario"
)
THREAD: Final = "a task: a world has one thread only, and `run_in_executor` works without others"
SOCKET: Final = "`asyncio.open_connection`, `loop.create_server`: they use the simulated network"
PROCESS: Final = "a host of the world, `world.host(name, boot)`: no other program is simulated"
KEY: Final = "a key made of `host.random.randbytes(32)`, by `from_private_bytes`"
FILE: Final = "`host.disk`, or a port that the scenario passes in"
SIGNAL: Final = "`loop.call_later`: signals come when the machine likes"


class Values(Protocol):
    """What a library gets in place of the machine's."""

    def now_s(self) -> float:
        """Virtual time."""

    def wall_s(self) -> float:
        """The wall clock: seconds since 1970."""

    def random(self, module: str) -> random.Random:
        """The chance of a library."""


Value = Callable[[Values, str, tuple[Any, ...], dict[str, Any]], Any]


class Watched:
    """A function of the machine.

    Attributes:
        name: as it is called.
        real: the function itself.
        instead: what a program uses in its place.
        value: what a library gets: of values, its module, and the arguments. None: refused too.
        only: whether these arguments ask the machine; None: any do.
    """

    __slots__ = ("instead", "name", "only", "real", "value")

    def __init__(
        self,
        name: str,
        real: Callable[..., Any],
        instead: str,
        value: Value | None = None,
        only: Callable[[tuple[Any, ...], dict[str, Any]], bool] | None = None,
    ) -> None:
        self.name = name
        self.real = real
        self.instead = instead
        self.value = value
        self.only = only


def functions() -> Iterator[Watched]:
    """The functions that are looked for in all modules, under whatever name."""
    yield from _clocks()
    yield from _dates()
    yield from _chance()
    yield Watched("time.sleep", time.sleep, SLEEP)
    thread = sys.modules["_thread"]
    for name in ("start_new_thread", "start_new", "start_joinable_thread"):
        if hasattr(thread, name):
            yield Watched(f"_thread.{name}", getattr(thread, name), THREAD)
    pair = getattr(sys.modules.get("_socket"), "socketpair", None)
    if pair is not None:  # its event comes only when there are two open sockets already
        yield Watched("socket.socketpair", pair, SOCKET)
    for name in ("alarm", "setitimer"):
        if hasattr(signal, name):
            yield Watched(f"signal.{name}", getattr(signal, name), SIGNAL)


def _clocks() -> Iterator[Watched]:
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        wall = name == "time"
        seconds: Value = (lambda v, *_: v.wall_s()) if wall else (lambda v, *_: v.now_s())
        nanoseconds: Value = (
            (lambda v, *_: int(v.wall_s() * 1e9)) if wall else (lambda v, *_: int(v.now_s() * 1e9))
        )
        instead = WALL if wall else MONOTONIC
        for each, value in ((name, seconds), (f"{name}_ns", nanoseconds)):
            if hasattr(time, each):
                yield Watched(f"time.{each}", getattr(time, each), instead, value)
    if hasattr(time, "clock_gettime"):
        yield Watched("time.clock_gettime", time.clock_gettime, MONOTONIC, _gettime)
        yield Watched(
            "time.clock_gettime_ns",
            time.clock_gettime_ns,
            MONOTONIC,
            lambda v, m, a, k: int(_gettime(v, m, a, k) * 1e9),
        )


def _gettime(values: Values, _module: str, args: tuple[Any, ...], _: dict[str, Any]) -> float:
    return values.wall_s() if args and args[0] == time.CLOCK_REALTIME else values.now_s()


def _dates() -> Iterator[Watched]:
    for name in ("gmtime", "localtime", "ctime"):
        yield _given(name, 0, lambda values: values.wall_s())
    yield _given("asctime", 0, lambda values: time.gmtime(values.wall_s()))
    yield _given("strftime", 1, lambda values: time.gmtime(values.wall_s()))


def _given(name: str, needed: int, now: Callable[[Values], Any]) -> Watched:
    """A function that takes the present for a time that is not given."""
    real = getattr(time, name)
    return Watched(
        f"time.{name}",
        real,
        WALL,
        lambda v, _, args, kwargs: real(*args[:needed], now(v), **kwargs),
        lambda args, _: len(args) <= needed or args[needed] is None,
    )


def _chance() -> Iterator[Watched]:
    shared = random._inst  # noqa: SLF001 - what the functions use
    for name in random.__all__:
        real = getattr(random, name)
        if getattr(real, "__self__", None) is shared:
            yield Watched(f"random.{name}", real, CHANCE, _method(name))
    yield Watched("os.urandom", os.urandom, CHANCE, lambda v, m, a, _: v.random(m).randbytes(a[0]))
    if hasattr(os, "getrandom"):
        yield Watched(
            "os.getrandom", os.getrandom, CHANCE, lambda v, m, a, _: v.random(m).randbytes(a[0])
        )
    by_system: Any = getattr(uuid, "_generate_time_safe", None)
    if by_system is not None:
        yield Watched("uuid.uuid1", by_system, CHANCE, _uuid1)


def _method(name: str) -> Value:
    def value(values: Values, module: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return getattr(values.random(module), name)(*args, **kwargs)

    return value


def _uuid1(values: Values, module: str, *_: Any) -> tuple[bytes, None]:
    return uuid.UUID(bytes=values.random(module).randbytes(16), version=1).bytes, None


def class_attributes() -> Iterator[tuple[type[Any], str, Watched]]:
    """What is watched where it is an attribute of a class that was written in Python."""
    clock = SystemClock.__dict__["monotonic"].__func__
    yield (SystemClock, "monotonic", Watched("SystemClock.monotonic", clock, MONOTONIC))
    pool = ThreadPoolExecutor.submit
    yield ThreadPoolExecutor, "submit", Watched("ThreadPoolExecutor.submit", pool, THREAD)
    yield (
        threading.Thread,
        "start",
        Watched("Thread.start", threading.Thread.start, THREAD),
    )
    yield (
        random.Random,
        "seed",
        Watched(
            "seeded by the machine",
            random.Random.seed,
            CHANCE,
            lambda v, m, args, _: _reseed(args[0], v.random(m).getrandbits(64)),
            lambda args, kwargs: (args[1] if len(args) > 1 else kwargs.get("a")) is None,
        ),
    )
    for name in ("ed25519.Ed25519PrivateKey", "x25519.X25519PrivateKey"):
        module, _, key = name.partition(".")
        found = sys.modules.get(f"cryptography.hazmat.primitives.asymmetric.{module}")
        if found is not None:
            cls = getattr(found, key)
            yield cls, "generate", Watched(f"{key}.generate", cls.generate, KEY)


def _reseed(chance: random.Random, seed: int) -> None:
    chance.seed(seed)


def methods() -> Iterator[Watched]:
    """What only a strict guard sees: methods of types that are written in C."""
    for cls in (dt.datetime, dt.date):
        for name in ("now", "utcnow", "today"):
            real = getattr(cls, name, None)
            if real is not None:
                yield Watched(f"{cls.__name__}.{name}", real, WALL)
    shared = random._inst  # noqa: SLF001
    for name in ("random", "getrandbits"):
        yield Watched(f"random.{name}", getattr(shared, name), CHANCE)


#: Audit events (https://docs.python.org/3/library/audit_events.html) that are refused.
EVENTS: Final = {
    **{
        f"socket.{name}": ("socket" if name == "__new__" else f"socket.{name}", SOCKET)
        for name in (
            "__new__",
            "bind",
            "connect",
            "getaddrinfo",
            "gethostbyaddr",
            "gethostbyname",
            "gethostname",
            "getnameinfo",
            "sendmsg",
            "sendto",
        )
    },
    **{
        name: (name, PROCESS)
        for name in (
            "os.exec",
            "os.fork",
            "os.forkpty",
            "os.posix_spawn",
            "os.spawn",
            "os.startfile",
            "os.system",
            "pty.spawn",
            "subprocess.Popen",
        )
    },
    "_thread.start_new_thread": ("_thread.start_new_thread", THREAD),
    "_thread.start_joinable_thread": ("_thread.start_joinable_thread", THREAD),
    "time.sleep": ("time.sleep", SLEEP),
}

#: Those that are refused only where files are.
FILE_EVENTS: Final = {
    name: (name, FILE)
    for name in (
        "glob.glob",
        "open",
        "os.link",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "os.symlink",
        "os.truncate",
        "shutil.copyfile",
        "shutil.move",
        "shutil.rmtree",
        "sqlite3.connect",
        "tempfile.mkdtemp",
        "tempfile.mkstemp",
    )
}
