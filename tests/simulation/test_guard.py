"""The guard: what would differ from run to run is refused, and nothing of the guard is left."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import logging
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import choice
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.frames import Frame, Opcode
from websockets.utils import generate_key

from palaver.actors.runtime import SystemClock
from palaver.actors.simulation.guarding import NonDeterminism, guarded

HERE = Path(__file__).name


class Tape:
    """As much of a tape as the guard needs."""

    def __init__(self, seed: int = 7) -> None:
        self.seed = seed

    def random(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")


def at_5_s() -> float:
    return 5.0


def open_guard(seed: int = 7, **options: Any) -> Any:
    return guarded(Tape(seed), now_s=at_5_s, **options)


class Keeper:
    """Keeps a function of the machine where no search of modules finds it."""

    ask: Any = staticmethod(time.monotonic)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "time": (lambda: time.time(), "time.time()"),
    "time_ns": (lambda: time.time_ns(), "time.time_ns()"),
    "perf_counter": (lambda: time.perf_counter(), "time.perf_counter()"),
    "cpu": (lambda: time.process_time(), "time.process_time()"),
    "from time import": (lambda: monotonic(), "time.monotonic()"),
    "today": (lambda: dt.date.today(), "time.time()"),
    "sleep": (lambda: sleep(0.0), "time.sleep()"),
    "clock_gettime": (lambda: time.clock_gettime(time.CLOCK_REALTIME), "time.clock_gettime()"),
    "localtime": (lambda: time.localtime(), "time.localtime()"),
    "strftime": (lambda: time.strftime("%Y"), "time.strftime()"),
    "random": (lambda: random.random(), "random.random()"),
    "seed": (lambda: random.seed(), "random.seed()"),
    "from random import": (lambda: choice([1, 2]), "random.choice()"),
    "an unseeded generator": (lambda: random.Random(), "random.Random() (seeded by the machine)"),
    "the system's": (lambda: random.SystemRandom().random(), "random.SystemRandom.random()"),
    "secrets": (lambda: secrets.token_hex(), "secrets.token_hex() (os.urandom)"),
    "randbelow": (lambda: secrets.randbelow(3), "secrets.randbelow() (os.urandom)"),
    "uuid1": (lambda: uuid.uuid1(), "uuid.uuid1()"),
    "uuid4": (lambda: uuid.uuid4(), "uuid.uuid4() (os.urandom)"),
    "urandom": (lambda: os.urandom(3), "os.urandom()"),
    "a thread": (threading.Thread(target=int).start, "Thread.start()"),
    "a timer": (threading.Timer(1.0, int).start, "Thread.start()"),
    "an alarm": (lambda: signal.setitimer(signal.ITIMER_REAL, 0), "signal.setitimer()"),
    "a socket": (lambda: socket.socket(), "socket.socket()"),
    "a connection": (
        lambda: socket.create_connection(("127.0.0.1", 9)),
        "socket.create_connection() (socket.getaddrinfo)",
    ),
    "a name": (lambda: socket.gethostbyname("localhost"), "socket.gethostbyname()"),
    "a program": (lambda: subprocess.run(["true"], check=True), "subprocess.run()"),
    "a shell": (lambda: os.system("true"), "os.system()"),
    "fork": (lambda: os.fork(), "os.fork()"),
    "the machine's clock": (lambda: SystemClock().monotonic(), "SystemClock.monotonic()"),
    "its wall clock": (lambda: SystemClock().time_ms(), "time.time_ns"),
    "a key": (lambda: Ed25519PrivateKey.generate(), "Ed25519PrivateKey.generate()"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_asks_the_machine_is_refused(name: str) -> None:
    do, call = REFUSED[name]
    told: list[NonDeterminism] = []
    with open_guard(tell=told.append) as guard, pytest.raises(NonDeterminism) as caught:
        do()
    error = caught.value
    assert call in error.call
    if do.__class__ is type(open_guard):  # a bound method has no line of this file
        assert error.place.file.endswith(HERE)
    assert "`" in error.instead or "task" in error.instead
    assert told == [error]
    assert guard.first is error


def test_the_error_says_where_and_what_to_use() -> None:
    with open_guard(), pytest.raises(NonDeterminism) as caught:
        time.time()
    assert str(caught.value).startswith("time.time() was called in a simulated world: at tests/")
    assert f"{HERE}:" in str(caught.value)
    assert "self.clock.time_ms()" in str(caught.value)


def test_who_swallows_the_error_is_told_of_all_the_same() -> None:
    told: list[NonDeterminism] = []
    with open_guard(tell=told.append):
        for _ in range(3):
            with suppress(Exception):
                time.time()
    assert len(told) == 1


def test_an_executor_that_was_there_before_is_refused_too() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with open_guard(), pytest.raises(NonDeterminism, match="run_in_executor"):
            pool.submit(int)
        pool.submit(int).result()


def test_what_is_given_its_entropy_is_not_refused() -> None:
    with open_guard():
        assert random.Random(5).random() == random.Random(5).random()
        assert time.gmtime(3)[5] == 3
        assert time.strftime("%S", time.gmtime(3)) == "03"
        assert uuid.uuid5(uuid.NAMESPACE_DNS, "a").version == 5
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC).isoformat()
        Path(__file__).read_bytes()


# -- strict ----------------------------------------------------------------------------------------


STRICT: dict[str, tuple[Callable[[], object], str]] = {
    "now": (lambda: dt.datetime.now(), "datetime.now()"),
    "now in a zone": (lambda: dt.datetime.now(dt.UTC), "datetime.now()"),
    "kept elsewhere": (lambda: Keeper.ask(), "time.monotonic()"),
}


@pytest.mark.parametrize("name", STRICT)
def test_a_strict_guard_sees_what_is_hidden_in_c(name: str) -> None:
    do, call = STRICT[name]
    with open_guard():
        do()
    with open_guard(strict=True), pytest.raises(NonDeterminism) as caught:
        do()
    assert call in caught.value.call
    assert sys.getprofile() is None


def test_a_strict_guard_refuses_what_the_other_does() -> None:
    with open_guard(strict=True), pytest.raises(NonDeterminism, match="secrets"):
        secrets.token_hex()


def test_files_are_refused_where_that_is_asked_for(tmp_path: Path) -> None:
    for do in (
        lambda: Path(__file__).read_bytes(),
        lambda: list(tmp_path.iterdir()),
        lambda: (tmp_path / "x").mkdir(),
    ):
        with open_guard(no_files=True), pytest.raises(NonDeterminism, match=r"host\.disk"):
            do()


# -- libraries and tools ---------------------------------------------------------------------------


def test_a_library_gets_values_of_the_tape_and_virtual_time() -> None:
    def looks(seed: int) -> tuple[object, ...]:
        with open_guard(seed):
            frame = Frame(Opcode.BINARY, b"abc").serialize(mask=True)
            record = logging.LogRecord("a", 20, "b", 1, "c", (), None)
            told = structlog.processors.TimeStamper(fmt=None)(None, "info", {})
            return generate_key(), frame, record.created, told["timestamp"]

    assert looks(1) == looks(1)
    assert looks(1)[:2] != looks(2)[:2]
    assert looks(1)[2:] == (1_767_225_605.0, 1_767_225_605.0)


def library(name: str, source: str) -> ModuleType:
    """A module as if it came from somewhere else."""
    module = ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), vars(module))
    return module


ASKS = "import random, time, uuid\ndef ask(): return time.time(), random.random(), uuid.uuid4()\n"


def test_modules_are_allowed_by_name() -> None:
    vendor = library("vendor.ids", ASKS)
    with open_guard(), pytest.raises(NonDeterminism, match=r"at vendor.ids.py:2 in ask"):
        vendor.ask()
    answers = []
    for _ in range(2):
        with open_guard(allow=["vendor"]):
            answers.append(vendor.ask())
    assert answers[0] == answers[1]
    assert answers[0][0] == 1_767_225_605.0
    with open_guard(real=["vendor.ids"]):
        now_s, _, _ = vendor.ask()
    assert abs(now_s - time.time()) < 600.0


def test_every_kind_of_value_that_a_library_may_ask_for() -> None:
    source = """
import os, random, time, uuid, secrets
def ask():
    fresh = random.Random()
    return (time.time_ns(), time.monotonic(), time.monotonic_ns(), time.perf_counter(),
            time.clock_gettime(time.CLOCK_REALTIME), time.clock_gettime_ns(time.CLOCK_MONOTONIC),
            time.gmtime()[:6], time.strftime("%Y-%m-%d", time.gmtime()), time.asctime(),
            time.ctime(), fresh.random(), random.randint(1, 9), random.choice("abc"),
            os.urandom(2), secrets.token_bytes(3), uuid.uuid1(), uuid.uuid4())
"""
    vendor = library("vendor", source)
    answers = []
    for seed in (1, 1, 2):
        with open_guard(seed, allow=["vendor"]):
            answers.append(vendor.ask())
    assert answers[0] == answers[1]
    assert answers[0][:10] == answers[2][:10]
    assert answers[0][10] != answers[2][10]
    assert answers[0][15].version == 1
    assert answers[0][16].version == 4
    assert answers[0][6] == (2026, 1, 1, 0, 0, 5)


def test_no_library_may_open_a_socket_or_start_a_thread() -> None:
    vendor = library(
        "vendor",
        "import socket, threading, time\n"
        "def connect(): socket.socket()\n"
        "def work(): threading.Thread(target=int).start()\n"
        "def wait(): time.sleep(1)\n",
    )
    for do in (vendor.connect, vendor.work, vendor.wait):
        with open_guard(allow=["vendor"]), pytest.raises(NonDeterminism) as caught:
            do()
        assert caught.value.place.file.endswith(HERE)  # whoever called the library can mend it


def test_what_a_module_does_while_it_is_imported_is_no_part_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "begins_now.py").write_text("import time\nBEGAN_S = time.time()\n")
    monkeypatch.syspath_prepend(tmp_path)
    before_s = time.time()
    with open_guard():
        begins_now = importlib.import_module("begins_now")
    assert before_s <= begins_now.BEGAN_S <= time.time()
    assert begins_now.time.time is time.time


# -- what is left ----------------------------------------------------------------------------------


def machine() -> dict[tuple[str, str], object]:
    return {
        (name, attribute): value
        for name, module in list(sys.modules.items())
        if type(module) is ModuleType
        for attribute, value in list(vars(module).items())
        if callable(value)
    }


def test_everything_is_put_back_exactly() -> None:
    before, state = machine(), random.getstate()
    with open_guard():
        with pytest.raises(NonDeterminism):
            random.random()
        during = machine()
        with open_guard():
            pass
        assert time.time is during["time", "time"]
    after = machine()
    assert time.time is not during["time", "time"]
    assert all(after[key] is value for key, value in before.items())
    assert random.getstate() == state
    assert "seed" in random.Random.__dict__
    assert SystemClock().monotonic is time.monotonic
    assert ThreadPoolExecutor.submit.__qualname__ == "ThreadPoolExecutor.submit"


def test_an_inner_guard_takes_over_for_its_time() -> None:
    with open_guard() as outer:
        with open_guard(allow=[__name__]):
            assert time.monotonic() == 5.0
        assert outer.first is None
        with pytest.raises(NonDeterminism):
            time.monotonic()
    assert time.monotonic() != 5.0


def test_other_threads_are_let_alone() -> None:
    found: list[object] = []
    go, done = threading.Event(), threading.Event()

    def other() -> None:
        go.wait(60.0)
        found.extend([time.time() > 1.7e9, monotonic() >= 0.0, random.random(), os.urandom(1)])
        with socket.socket():
            done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with open_guard():
        go.set()
        assert done.wait(60.0)
    thread.join()
    assert found[:2] == [True, True]


def test_what_reaches_the_shared_generator_anyhow_is_the_tapes() -> None:
    kept = random._inst.random  # type: ignore[attr-defined]
    drawn = []
    for seed in (1, 1, 2):
        with open_guard(seed):
            drawn.append(kept())
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_watched_function_still_looks_like_itself() -> None:
    with open_guard():
        assert time.time.__name__ == "time"
        assert "built-in function time" in repr(time.time)

        class Holder:
            ask = time.gmtime

        assert Holder().ask(3)[5] == 3  # no method is made of it


def test_a_loop_of_asyncio_cannot_be_made() -> None:
    with open_guard(), pytest.raises(NonDeterminism, match="create_server"):
        socket.socketpair()
    asyncio.run(asyncio.sleep(0))
