"""A rate limiter inside an asyncio program: one small process for each key that is limited.

Run it with `python examples/rate_limiter.py`. The process of a key is a token bucket. It is found
through a registry, started on demand under a dynamic supervisor, and ends when nobody has asked for
a while: a million keys that come and go cost what those in use cost. Buckets know no clock but the
node's, so a test may give the node one that it turns by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from palaver.actors.names import AlreadyRegistered, Registry, RegistryServer
from palaver.actors.runtime import (
    NORMAL,
    CalleeExited,
    From,
    GenServer,
    Ignore,
    Node,
    NoProcess,
    Pid,
    Stop,
)
from palaver.supervisors import (
    ChildSpec,
    DynamicSupervisor,
    MaxChildren,
    StartChild,
    Supervisor,
    SupervisorFlags,
)

Buckets = Registry[Hashable, None]


class Bucket(GenServer):
    """Holds up to `burst` tokens, and gets `rate_per_s` of them."""

    __slots__ = ("burst", "idle_s", "rate_per_s", "tokens", "used_s")

    def init(
        self, buckets: Buckets, key: Hashable, rate_per_s: float, burst: int, idle_s: float
    ) -> Ignore | None:
        try:
            buckets.register(self.pid, key)
        except AlreadyRegistered:  # somebody else has asked for the same one
            return Ignore()
        self.rate_per_s, self.burst, self.idle_s = rate_per_s, burst, idle_s
        self.tokens = float(burst)
        self.used_s = self.clock.monotonic()
        self.send_after(idle_s, self.pid, "still used?")
        return None

    def handle_call(self, request: object, from_: From) -> float:
        """Take a token: 0, or in how many seconds there will be one."""
        now_s = self.clock.monotonic()
        self.tokens = min(self.burst, self.tokens + (now_s - self.used_s) * self.rate_per_s)
        self.used_s = now_s
        if self.tokens < 1:
            return (1 - self.tokens) / self.rate_per_s
        self.tokens -= 1
        return 0.0

    def handle_info(self, message: object) -> Stop | None:
        left_s = self.used_s + self.idle_s - self.clock.monotonic()
        if left_s <= 0:
            return Stop(NORMAL)
        self.send_after(left_s, self.pid, message)
        return None


class Tree(Supervisor):
    """Buckets are found through the registry: without it, they have to begin anew as well."""

    def specification(
        self, buckets: Buckets, supervisor: str, max_keys: int
    ) -> tuple[SupervisorFlags, list[ChildSpec]]:
        return SupervisorFlags("rest_for_one"), [
            ChildSpec("registry", RegistryServer, (buckets,)),
            ChildSpec(
                "buckets",
                DynamicSupervisor,
                kind="supervisor",
                name=supervisor,
                options={"max_children": max_keys},
            ),
        ]


class RateLimiter:
    """What the program sees. The limit of `max_keys` is one on memory: beyond it, no new key."""

    def __init__(
        self, name: str, *, rate_per_s: float, burst: int, idle_s: float, max_keys: int = 100_000
    ) -> None:
        self.name = name
        self.buckets: Buckets = Registry(name)
        # A bucket that is forgotten is full again, so it may only be forgotten when it is full.
        self.limits = (rate_per_s, burst, max(idle_s, burst / rate_per_s))
        self.max_keys = max_keys
        self.node: Node | None = None

    async def start(self, node: Node) -> None:
        self.node = node
        await node.start_server(Tree, self.buckets, f"{self.name} buckets", self.max_keys)

    async def take(self, key: Hashable) -> float:
        """Take a token of this key: 0, or in how many seconds to ask again."""
        assert self.node is not None
        while True:
            try:
                bucket = self.buckets.whereis(key) or await self._start(self.node, key)
                if bucket is not None:
                    wait_s: float = await self.node.call(bucket, "take")
                    return wait_s
            except NoProcess:
                pass  # it has ended meanwhile: with the next one there are no more tokens either
            except CalleeExited as ended:
                if ended.reason is not NORMAL:
                    raise
            except MaxChildren:
                if self.buckets.whereis(key) is None:
                    return self.limits[2]

    async def _start(self, node: Node, key: Hashable) -> Pid | None:
        spec = ChildSpec(key, Bucket, (self.buckets, key, *self.limits), restart="temporary")
        bucket: Pid | None = await node.call(f"{self.name} buckets", StartChild(spec))
        return bucket


async def main() -> None:
    async with Node("limiter@local") as node:
        logins = RateLimiter("logins", rate_per_s=1 / 600, burst=3, idle_s=3600)
        await logins.start(node)
        waits_s = await asyncio.gather(*(logins.take("mallory") for _ in range(10)))
        print("mallory's logins allowed:", sum(wait_s == 0 for wait_s in waits_s), "of 10")
        print("ann's login allowed:", await logins.take("ann") == 0)

        requests = RateLimiter("requests", rate_per_s=100, burst=5, idle_s=0.1)
        await requests.start(node)
        served = 0
        while served < 20:
            wait_s = await requests.take("ann")
            if wait_s == 0:
                served += 1
            else:
                await asyncio.sleep(wait_s)
        print("requests served at the limit's pace:", served)

        bucket = requests.buckets.whereis("ann")
        if bucket is not None:
            await node.wait(bucket)
        print("idle buckets left:", requests.buckets.count())


if __name__ == "__main__":
    asyncio.run(main())
