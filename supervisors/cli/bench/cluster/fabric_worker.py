"""The OS processes of the fabric's figures: PEER URL, or DRIVE URL and a job as JSON; prints JSON.

Both have a node of Palaver's and a bare nats-py client. The driver calls and casts to a process of
the peer's node, and does the same with request and publish of nats-py, with equal payloads.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from palaver.actors.distribution import Distribution, LinkCarrier
from palaver.actors.embedding import calm_garbage_collector
from palaver.actors.runtime import From, GenServer, Node, NullObserver, Pid, ProcessContext
from palaver.supervisors.cli.bench.runtime.results import (
    Result,
    Watch,
    WorkFailed,
    check_count,
)
from palaver.transport.fabric import Fabric, NatsConnection, NatsSettings

DRIVER: Final = "a@bench"
PEER: Final = "b@bench"
TURN: Final = 200
"""Messages that are sent before the loop gets its turn."""

TIMEOUT_S: Final = 60.0

Body: TypeAlias = Callable[["Side", int, bytes], Awaitable[Result]]


class Counter(GenServer):
    """Counts casts, and sends the count to `whom` when it is `goal`; echoes calls."""

    __slots__ = ("count", "goal", "whom")

    def init(self) -> None:
        """Begin without a goal."""
        self.count = self.goal = 0
        self.whom: Pid | None = None

    def handle_cast(self, message: bytes) -> None:
        """Count one."""
        self.count += 1
        if self.count == self.goal and self.whom is not None:
            self.send(self.whom, self.count)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Echo, or begin to count anew."""
        if isinstance(request, bytes):
            return request
        self.whom, self.goal = request
        self.count = 0
        return None


class Side:
    """A node in the fabric, and a bare client of the same server."""

    def __init__(self, node: Node, distribution: Distribution, bare: Client) -> None:
        self.node = node
        self.distribution = distribution
        self.bare = bare
        self.counter: Any = distribution.at(PEER, "counter")


async def with_side(url: str, name: str, main: Callable[[Side], Awaitable[Any]]) -> Any:
    """Run `main` on a side, and take it down again."""
    creation = time.time_ns()
    node = Node(name, observer=NullObserver())
    carrier = LinkCarrier(node, creation)
    connection = await NatsConnection.open(NatsSettings(urls=(url,), name=name))
    links = Fabric(
        connection, cluster="bench", name=name, creation=creation, told=carrier,
        greeting=carrier.greeting,
    )  # fmt: skip
    carrier.open(links)
    bare = await nats.connect(url)
    await node.start()
    try:
        await links.start()
        with calm_garbage_collector():
            return await main(Side(node, carrier.distribution, bare))
    finally:
        await node.stop()
        await links.stop()
        await bare.close()
        await connection.close()


# -- the peer ------------------------------------------------------------------------------------


async def serve(side: Side) -> None:
    """Echo and count, until this process is ended."""
    counted = {"count": 0, "goal": 0}
    bare = side.bare

    async def echo(message: Msg) -> None:
        await bare.publish(message.reply, message.data)

    async def goal(message: Msg) -> None:
        counted.update(count=0, goal=int(message.data))
        await bare.publish(message.reply, b"")

    async def count(message: Msg) -> None:
        counted["count"] += 1
        if counted["count"] == counted["goal"]:
            await bare.publish("bench.done", b"%d" % counted["count"])

    await bare.subscribe("bench.echo", cb=echo)
    await bare.subscribe("bench.goal", cb=goal)
    await bare.subscribe("bench.count", cb=count)
    await bare.flush()
    await side.node.start_server(Counter, name="counter")
    print("ready", flush=True)
    await asyncio.Event().wait()


# -- the driver ----------------------------------------------------------------------------------


async def fabric_call(side: Side, count: int, payload: bytes) -> Result:
    """Call a process of the other node, one call after the other."""

    async def work(me: ProcessContext) -> Result:
        watch = Watch()
        for _ in range(count):
            await me.call(side.counter, payload, timeout_s=TIMEOUT_S)
        return watch.stop(count)

    return await in_process(side, work)


async def bare_call(side: Side, count: int, payload: bytes) -> Result:
    """Request and reply of nats-py, one request after the other."""
    watch = Watch()
    for _ in range(count):
        await side.bare.request("bench.echo", payload, timeout=TIMEOUT_S)
    return watch.stop(count)


WIDTH: Final = 50
"""Callers at a time of `calls`."""


async def fabric_calls(side: Side, count: int, payload: bytes) -> Result:
    """Call a process of the other node from many at a time."""

    async def one(me: ProcessContext) -> None:
        for _ in range(count // WIDTH):
            await me.call(side.counter, payload, timeout_s=TIMEOUT_S)

    async def work(me: ProcessContext) -> Result:
        watch = Watch()
        callers = [me.spawn(one) for _ in range(WIDTH)]
        for caller in callers:
            me.monitor(caller)
        for _ in callers:
            await me.receive()
        return watch.stop(count // WIDTH * WIDTH)

    return await in_process(side, work)


async def bare_calls(side: Side, count: int, payload: bytes) -> Result:
    """Request and reply of nats-py from many tasks at a time."""

    async def one() -> None:
        for _ in range(count // WIDTH):
            await side.bare.request("bench.echo", payload, timeout=TIMEOUT_S)

    watch = Watch()
    await asyncio.gather(*(one() for _ in range(WIDTH)))
    return watch.stop(count // WIDTH * WIDTH)


async def fabric_cast(side: Side, count: int, payload: bytes) -> Result:
    """Cast to a process of the other node, until it has handled all."""

    async def work(me: ProcessContext) -> Result:
        await me.call(side.counter, (me.pid, count), timeout_s=TIMEOUT_S)
        watch = Watch()
        left = count
        while left:
            now = min(left, TURN)
            for _ in range(now):
                me.cast(side.counter, payload)
            left -= now
            await me.sleep(0)
        seen = await me.receive(timeout_s=TIMEOUT_S)
        result = watch.stop(count)
        check_count(seen, count, "casts")
        return result

    return await in_process(side, work)


async def bare_cast(side: Side, count: int, payload: bytes) -> Result:
    """Publish by nats-py, until the other side's handler has seen all."""
    done = await side.bare.subscribe("bench.done")
    await side.bare.flush()
    await side.bare.request("bench.goal", b"%d" % count, timeout=TIMEOUT_S)
    watch = Watch()
    left = count
    while left:
        now = min(left, TURN)
        for _ in range(now):
            await side.bare.publish("bench.count", payload)
        left -= now
        await asyncio.sleep(0)
    seen = await done.next_msg(TIMEOUT_S)
    result = watch.stop(count)
    await done.unsubscribe()
    check_count(int(seen.data), count, "messages")
    return result


BODIES: Final[dict[str, Body]] = {
    "fabric_call": fabric_call,
    "bare_call": bare_call,
    "fabric_calls": fabric_calls,
    "bare_calls": bare_calls,
    "fabric_cast": fabric_cast,
    "bare_cast": bare_cast,
}


async def in_process(side: Side, work: Callable[[ProcessContext], Awaitable[Result]]) -> Result:
    """Do work in a process of the node, and return what it yields."""
    found: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    async def body(me: ProcessContext) -> None:
        try:
            found.set_result(await work(me))
        except BaseException as exc:  # handed over; the process ends by it too
            if not found.done():
                found.set_exception(WorkFailed(f"{type(exc).__name__}: {exc}"))
            raise

    side.node.spawn(body)
    return await found


async def connected(side: Side) -> None:
    """Wait until the other node is there; raises `WorkFailed` if it does not come."""
    up = asyncio.Event()

    async def watch(me: ProcessContext) -> None:
        side.distribution.monitor_nodes(me.pid)
        if PEER not in side.distribution.nodes():
            await me.receive()
        up.set()

    side.node.spawn(watch)
    try:
        await asyncio.wait_for(up.wait(), TIMEOUT_S)
    except TimeoutError:
        raise WorkFailed(f"{PEER} has not been met within {TIMEOUT_S:g} s") from None


async def drive(side: Side, job: dict[str, Any]) -> dict[str, list[Result]]:
    """Do each work once in each round, the two of a pair one after the other."""
    await connected(side)
    payload = bytes(job["payload_bytes"])
    results: dict[str, list[Result]] = {name: [] for name in job["counts"]}
    for name, count in job["counts"].items():
        await BODIES[name](side, max(WIDTH, count // 10), payload)
    for _ in range(job["rounds"]):
        for name, count in job["counts"].items():
            results[name].append(await BODIES[name](side, count, payload))
    return results


def main(arguments: Sequence[str]) -> int:
    """Be one of both; 0, or 1 with the reason as the last line on standard error."""
    role, url, *more = arguments
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if role == "peer":
                runner.run(with_side(url, PEER, serve))
            else:
                job = json.loads(more[0])
                print(json.dumps(runner.run(with_side(url, DRIVER, lambda s: drive(s, job)))))
    except WorkFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
