"""The load client's process: one job as JSON on standard input, its rounds on standard output."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from palaver.supervisors.cli.bench.load import LoadDriver, LoadFault
from palaver.supervisors.cli.bench.offline import collect, kill_after, offline
from palaver.supervisors.cli.bench.procfs import raise_file_limit
from palaver.supervisors.cli.bench.scenarios import Round, idle, logins, steady

SCENARIOS: dict[str, Callable[[LoadDriver, int, dict[str, Any]], Awaitable[list[Round]]]] = {
    "steady": steady,
    "offline": offline,
    "kill_after": kill_after,
    "collect": collect,
    "logins": logins,
    "idle": idle,
}


def make_driver(engine: str, endpoint: dict[str, Any]) -> LoadDriver:
    """Return the load driver of a protocol.

    Raises:
        LoadFault: for an engine that does not exist.
    """
    # Each is imported only where it is used: a job begins sooner, in less memory.
    if engine == "xmpp":
        from palaver.supervisors.cli.bench.xmpp import XmppDriver

        return XmppDriver(endpoint["port"], receipts=endpoint.get("receipts", False))
    if engine == "palaver":
        from palaver.supervisors.cli.bench.wireload import WireDriver

        devices = json.loads(Path(endpoint["devices"]).read_text())
        return WireDriver(endpoint["host"], endpoint["port"], devices)
    raise LoadFault(f"no load engine is named {engine!r}")


def run(main: Coroutine[Any, Any, list[Round]]) -> list[Round]:
    """Run on uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def main() -> int:
    """Do the job; 0, or 1 with the reason as the last line on standard error."""
    job: dict[str, Any] = json.load(sys.stdin)
    raise_file_limit()
    # Nothing here makes cycles at a rate that matters, and a collection would be measured.
    gc.freeze()
    gc.disable()
    try:
        rounds = run(_scenario(job))
    except (LoadFault, TimeoutError) as fault:
        print(str(fault) or "the scenario was not done in time", file=sys.stderr)
        return 1
    json.dump(rounds, sys.stdout)
    return 0


async def _scenario(job: dict[str, Any]) -> list[Round]:
    async with asyncio.timeout(job["timeout_s"]):
        if job["engine"] == "floor":
            from palaver.supervisors.cli.bench.floors import FLOORS

            return await FLOORS[job["scenario"]](job["server_pid"], job)
        driver = make_driver(job["engine"], job["endpoint"])
        return await SCENARIOS[job["scenario"]](driver, job["server_pid"], job)


if __name__ == "__main__":
    sys.exit(main())
