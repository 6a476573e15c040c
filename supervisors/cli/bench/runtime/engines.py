"""Who does the work: where an engine is found, and how it is started for one piece of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from palaver.supervisors.cli.bench.children import BenchFailed, kill_tree
from palaver.supervisors.cli.bench.runtime.plan import PALAVER, Peer, Size
from palaver.supervisors.cli.bench.runtime.results import Result

NO_SUPERVISOR = "xoscar restarts pools (OS processes), not single actors"
NO_DYNAMIC = "no second kind of supervisor"
NO_BARE = "nothing barer than what `spawn` measures"


@dataclass(frozen=True, slots=True)
class Engine:
    """One that is installed.

    Args:
        name: As in the figures.
        version: Of the library or system.
        command: What is started for one piece of work; its arguments follow.
        without: Works that it has no notion of, and why.
    """

    name: str
    version: str
    command: tuple[str, ...]
    without: Mapping[str, str] = field(default_factory=dict)

    def run(self, work: str, size: Size, *, timeout_s: float) -> Result:
        """Do one piece of work in a fresh OS process.

        Raises:
            BenchFailed: when it fails, or is not done within the timeout.
        """
        numbers = [str(size.count), str(size.width), str(size.warm_up)]
        environment = os.environ | {"ERL_CRASH_DUMP": os.devnull}
        process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
            [*self.command, work, *numbers],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # so that Ctrl-C is ours to pass on
        )
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"{work} ({self.name}) was not done in {timeout_s:.0f} s") from None
        finally:
            if process.poll() is None:
                kill_tree(process.pid)
                process.communicate()
        if process.returncode != 0:
            lines = err.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise BenchFailed(f"{work} ({self.name}): {lines[-1]}")
        try:
            result: Result = json.loads(out)
        except ValueError:
            raise BenchFailed(f"{work} ({self.name}) printed no result: {out[:200]!r}") from None
        return result


def palaver() -> Engine:
    """Return Palaver on asyncio's own event loop, with the garbage collector as `run` sets it."""
    return _python(PALAVER, "palaver")


def find(peer: Peer, folder: Path) -> Engine | str:
    """Return an engine, or a sentence of why there is none and what to install.

    `folder` is where something may be compiled.
    """
    if peer is Peer.ERLANG:
        return _erlang(folder)
    if peer is Peer.ASYNCIO:
        without = {"spawn_process": NO_BARE, "restart_dynamic": NO_DYNAMIC}
        return _python(peer, "palaver", without=without, version_of=sys.version.split()[0])
    if peer is Peer.UVLOOP:
        return _python_peer(peer, "uvloop", {})
    if peer is Peer.DEFAULT_GC:
        return _python(peer, "palaver")
    if peer in (Peer.XOSCAR, Peer.XOSCAR_REF):
        without = {"spawn_process": NO_BARE, "restart": NO_SUPERVISOR}
        without["restart_dynamic"] = NO_SUPERVISOR
        if peer is Peer.XOSCAR_REF:
            without |= dict.fromkeys(("spawn", "bytes_per_process"), "the same as for xoscar")
        return _python_peer(peer, "xoscar", without)
    without = {"spawn_process": NO_BARE, "restart_dynamic": NO_DYNAMIC}
    return _python_peer(peer, peer.value, without)


def _python_peer(peer: Peer, package: str, without: Mapping[str, str]) -> Engine | str:
    try:
        return _python(peer, package, without=without)
    except PackageNotFoundError:
        return f"{package} is not installed (pip install 'palaver[bench]')"


def _python(
    name: str, package: str, *, without: Mapping[str, str] | None = None, version_of: str = ""
) -> Engine:
    worker = "palaver.supervisors.cli.bench.runtime.worker"
    command = (sys.executable, "-m", worker, name)
    return Engine(name, version_of or version(package), command, without or {})


def _erlang(folder: Path) -> Engine | str:
    source = files("palaver.supervisors.cli.bench.runtime") / "palaver_bench.erl"
    found = compiled_erlang(source, folder)
    if isinstance(found, str):
        return found
    erl, release = found
    one = ("+S", "1:1", "+SDcpu", "1:1")  # one scheduler: as many cores as a Python process has
    start = ("-noinput", "-noshell", "-pa", str(folder), "-run", "palaver_bench", "main")
    return Engine(Peer.ERLANG, release, (erl, *one, *start))


def compiled_erlang(source: Traversable, folder: Path) -> tuple[str, str] | str:
    """Compile an Erlang module into a folder; return where `erl` is, and its release.

    Or a sentence of why that cannot be done.
    """
    erl, erlc = shutil.which("erl"), shutil.which("erlc")
    if erl is None or erlc is None:
        return "Erlang is not installed (Debian: apt install erlang-base)"
    with as_file(source) as path:
        compiled = output_of([erlc, "-o", str(folder), str(path)])
    if compiled is None:
        return f"{erlc} cannot compile the work: is it older than OTP 21?"
    ask = 'io:format("~s", [erlang:system_info(otp_release)]), halt().'
    release = output_of([erl, "-noinput", "-noshell", "-eval", ask])
    if release is None:
        return f"{erl} does not start"
    return erl, f"OTP {release}"


def output_of(command: Sequence[str]) -> str | None:
    """Return what a command prints; None if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - found by name, no shell
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
