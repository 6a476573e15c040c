"""Programs to be sent signals; run by `test_running.py`."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

import structlog
import uvloop

from palaver.actors.embedding import run
from palaver.actors.runtime import GenServer, Node, NullObserver
from palaver.supervisors import ChildSpec, Supervisor, SupervisorFlags


class Worker(GenServer):
    def init(self, *, says: bool = True) -> None:
        self.trap_exit = True
        if says:
            print("up", flush=True)

    def terminate(self, reason: object) -> None:
        print("terminated:", reason, flush=True)


class Stubborn(Worker):
    async def terminate(self, reason: object) -> None:
        print("will not go", flush=True)
        await self.sleep(3600)


class Hangs(GenServer):
    def init(self) -> None:
        self.cast(self.pid, "hang")

    def handle_cast(self, message: Any) -> None:
        print("up", flush=True)
        print("hangs", flush=True)
        threading.Event().wait()


class Tree(Supervisor):
    def specification(self) -> Any:
        return SupervisorFlags(), [ChildSpec("worker", Worker)]


async def main(node: Node) -> None:
    await node.start_server(Worker, says=False)
    try:
        print("up", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    what = {"tree": Tree, "main": main, "stubborn": Stubborn, "hanging": Hangs}[sys.argv[1]]
    factory = uvloop.new_event_loop if sys.argv[2] == "uvloop" else None
    sys.exit(run(what, node=Node(observer=NullObserver()), stop_timeout_s=60, loop_factory=factory))
