"""The connection registry in a Redis server, which the nodes of a cluster may share.

Soft state, as in memory: what Redis loses is announced again. Nothing durable stands on it, so
that Redis needs no persistence, and no message is lost with it: only hints (ticks, typing) wait.

Under a prefix per partition lie:

    <prefix>:a:<account>   a hash: device -> "<gateway> <session>", both as an `AddressBook` says
    <prefix>:g:<gateway>   a set: the accounts that have, or had, a session there
    <prefix>:run           which life of the data this is: gone with it, and made anew

Each has a time to live, which `upkeep` prolongs: what nobody holds any more goes by itself. Every
request is bounded by a time limit. After the first failure the registry is *away*: requests are
refused at once, without waiting, until an `upkeep` reaches Redis again.
"""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Awaitable, Iterable
from itertools import islice
from typing import Any, Final, Self, TypeVar, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from palaver.actors.chat.address_book import AddressBook
from palaver.actors.chat.registry import RegistryAway
from palaver.actors.runtime import Pid

__all__ = ["RedisRegistry"]

T = TypeVar("T")

TIMEOUT_S: Final = 0.5
"""How long one request to Redis may take."""
UPKEEP_S: Final = 10.0
UPKEEP_AWAY_S: Final = 1.0
TTL_S: Final = 600.0
"""How long an entry outlives the last upkeep."""

_BATCH: Final = 1_000
#: Each entry is prolonged this often within its time to live.
_TURNS: Final = 3

_PUT: Final = """
local before = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return before
"""

# What it returns: 0 where another session is on record, 1 removed, 2 removed and it was the last.
_REMOVE: Final = """
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return 0 end
local gap = string.find(value, ' ', 1, true)
if string.sub(value, gap + 1) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
local gateway = string.sub(value, 1, gap)
local others = redis.call('HVALS', KEYS[1])
local here = false
for _, other in ipairs(others) do
  if string.sub(other, 1, gap) == gateway then here = true end
end
if not here then redis.call('SREM', ARGV[4] .. string.sub(value, 1, gap - 1), ARGV[3]) end
if #others == 0 then return 2 end
return 1
"""

_DROP: Final = """
local concerned, ended = {}, {}
local gateway = ARGV[1] .. ' '
local accounts = redis.call('SPOP', KEYS[1], ARGV[3])
for _, account in ipairs(accounts) do
  local key = ARGV[2] .. account
  local found = redis.call('HGETALL', key)
  local mine = false
  for at = 1, #found, 2 do
    if string.sub(found[at + 1], 1, #gateway) == gateway then
      redis.call('HDEL', key, found[at])
      mine = true
    end
  end
  if mine then concerned[#concerned + 1] = account end
  if redis.call('EXISTS', key) == 0 then ended[#ended + 1] = account end
end
return {#accounts, concerned, ended}
"""


class RedisRegistry:
    """One partition's registry in Redis; implements `ConnectionRegistry`.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with name and password where need be.
        book: what processes are called in text; the same on all nodes that share the data.
        prefix: what the keys begin with; each manager has one of its own. In a Redis Cluster all
            of them lie on one node of it (the prefix is their hash tag).
        random: names the lives of the data.
        timeout_s, ttl_s: see `TIMEOUT_S` and `TTL_S`.
    """

    outside: Final = True

    def __init__(
        self,
        url: str,
        book: AddressBook,
        *,
        prefix: str,
        random: random_module.Random,
        timeout_s: float = TIMEOUT_S,
        ttl_s: float = TTL_S,
    ) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # A repeated request would find its own trace; what failed is announced again instead.
            retry=Retry(NoBackoff(), 0),
        )
        self._book = book
        self._prefix = f"{{{prefix}}}"
        self._random = random
        self._timeout_s = timeout_s
        self._ttl_ms = int(ttl_s * 1000)
        self._put = self._redis.register_script(_PUT)
        self._remove = self._redis.register_script(_REMOVE)
        self._drop = self._redis.register_script(_DROP)
        self._away = False
        self._closed = False
        # A manager asks one thing after the other; who closes waits for the one under way.
        self._asking = asyncio.Lock()
        self._run: str | None = None
        # What was put from here, to be prolonged; in the order in which that is due.
        self._accounts: dict[str, None] = {}
        self._gateways: dict[str, None] = {}
        self._to_drop: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def away(self) -> bool:
        """Whether Redis did not answer, and is not asked before the next upkeep."""
        return self._away

    @property
    def upkeep_s(self) -> float:
        """How soon `upkeep` should be called again, in seconds."""
        return UPKEEP_AWAY_S if self._away else UPKEEP_S

    async def close(self) -> None:
        """End the connections: it is away for good. The entries stay until their time is over."""
        self._closed = True
        async with self._asking:
            await self._redis.aclose()

    # -- ConnectionRegistry --------------------------------------------------------------------

    async def put(self, account: str, device: int, gateway: Pid, session: Pid) -> Pid | None:
        """Note a session; the gateway of the session that it replaces, if that is another's."""
        here = self._book.text(gateway)
        before = await self._ask(
            self._put(
                keys=[self._account(account), self._gateway(here)],
                args=[device, f"{here} {self._book.text(session)}", account, self._ttl_ms],
            )
        )
        self._gateways[here] = None
        self._accounts[account] = None
        there = None if before is None else str(before).partition(" ")[0]
        return None if there is None or there == here else self._book.pid(there)

    async def remove(self, account: str, device: int, session: Pid) -> bool:
        """Forget a session; whether it was the one on record."""
        removed = await self._ask(
            self._remove(
                keys=[self._account(account)],
                args=[device, self._book.text(session), account, self._gateway("")],
            )
        )
        if removed == 2:
            self._accounts.pop(account, None)
        return bool(removed)

    async def gateways(self, account: str) -> tuple[Pid, ...]:
        """The gateways that hold sessions of an account, each once."""
        asking = cast("Awaitable[list[str]]", self._redis.hvals(self._account(account)))
        texts = dict.fromkeys(value.partition(" ")[0] for value in await self._ask(asking))
        pids = (self._book.pid(text) for text in texts)
        return tuple(pid for pid in pids if pid is not None)

    async def drop_gateway(self, gateway: Pid) -> tuple[str, ...]:
        """Forget all sessions of a gateway; the accounts concerned.

        While Redis is away that is put off until it is there.
        """
        text = self._book.text(gateway)
        self._gateways.pop(text, None)
        self._to_drop[text] = None
        concerned = await self._drop_all(text)
        del self._to_drop[text]
        return concerned

    async def upkeep(self) -> bool:
        """Prolong what is kept; whether any of it is lost, so that gateways announce again.

        Raises:
            RegistryAway: Redis cannot be reached.
        """
        was_away, self._away = self._away, False
        lost = await self._ask(self._new_life())
        for text in list(self._to_drop):
            await self._drop_all(text)
            del self._to_drop[text]
        share = -(-len(self._accounts) * _TURNS * UPKEEP_S * 1000 // self._ttl_ms)
        due = list(islice(self._accounts, int(share)))
        for at in range(0, len(due), _BATCH):
            batch = due[at : at + _BATCH]
            lost |= not await self._ask(self._prolong(map(self._account, batch)))
            for account in batch:
                if account in self._accounts:  # to the end: it has its whole time again
                    del self._accounts[account]
                    self._accounts[account] = None
        await self._ask(self._prolong(map(self._gateway, list(self._gateways))))
        if was_away:
            structlog.get_logger("palaver.chat").info("registry_back", lost=lost)
        return lost

    # -- inside --------------------------------------------------------------------------------

    def _account(self, account: str) -> str:
        return f"{self._prefix}:a:{account}"

    def _gateway(self, text: str) -> str:
        return f"{self._prefix}:g:{text}"

    async def _ask(self, asking: Awaitable[T]) -> T:
        """Await an answer of Redis for a bounded time; raises RegistryAway."""
        if self._refused(asking):
            raise RegistryAway("Redis is away")
        try:
            async with self._asking, asyncio.timeout(self._timeout_s):
                if not self._refused(asking):
                    return await asking
        except (RedisError, OSError, TimeoutError) as error:
            if not self._away:
                self._away = True
                structlog.get_logger("palaver.chat").warning("registry_away", error=str(error))
            raise RegistryAway(f"Redis did not answer: {error}") from error
        raise RegistryAway("Redis went away meanwhile")

    def _refused(self, asking: Awaitable[T]) -> bool:
        """Whether Redis is not to be asked; the request is never begun then."""
        if self._away or self._closed:
            cast("Any", asking).close()
            return True
        return False

    async def _new_life(self) -> bool:
        """Find out, or say, which life of the data this is; whether an earlier one has ended."""
        fresh = f"{self._random.getrandbits(128):032x}"
        key = f"{self._prefix}:run"
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(key, fresh, nx=True, px=self._ttl_ms)
            pipe.pexpire(key, self._ttl_ms)
            pipe.get(key)
            run = str((await pipe.execute())[-1])
        lost = self._run is not None and run != self._run
        self._run = run
        return lost

    async def _prolong(self, keys: Iterable[str]) -> bool:
        """Give keys their whole time to live again; whether all of them are there."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.pexpire(key, self._ttl_ms)
            return all(await pipe.execute())

    async def _drop_all(self, text: str) -> tuple[str, ...]:
        concerned: list[str] = []
        args: list[str | int] = [text, self._account(""), _BATCH]
        while True:
            answer = await self._ask(self._drop(keys=[self._gateway(text)], args=args))
            taken, accounts, ended = cast("tuple[int, list[str], list[str]]", answer)
            concerned += accounts
            for account in ended:
                self._accounts.pop(account, None)
            if taken < _BATCH:
                return tuple(concerned)
