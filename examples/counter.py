"""A supervised counter: the runtime alone, without any chat.

Run it with `python examples/counter.py`. It crashes the counter on purpose; the supervisor starts
another, and the program goes on with the same name.
"""

from __future__ import annotations

import asyncio

from palaver.actors.runtime import CallFailed, From, GenServer, Node
from palaver.supervisors import ChildSpec, CountChildren, Supervisor


class Counter(GenServer):
    __slots__ = ("count",)

    def init(self, start: int = 0) -> None:
        self.count = start

    def handle_cast(self, step: int) -> None:
        self.count += step

    def handle_call(self, request: str, from_: From) -> int:
        if request == "crash":
            raise RuntimeError("somebody asked for it")
        return self.count


async def main() -> None:
    async with Node("counter@local") as node:
        child = ChildSpec("counter", Counter, (40,), name="counter")
        await node.start_server(Supervisor, [child], name="supervisor")
        node.cast("counter", 2)
        print("count:", await node.call("counter", "count"))
        try:
            await node.call("counter", "crash")
        except CallFailed as error:
            print("the call failed:", error)
        # The supervisor has restarted it by the time that it answers a call itself.
        await node.call("supervisor", CountChildren())
        print("after the restart:", await node.call("counter", "count"))


if __name__ == "__main__":
    asyncio.run(main())
