"""Which of several servers to connect to next: sticky while one is good, then the next in turn.

Plain data: time comes in as ``now_s``, chance through its port. A device's order is drawn once, so
that the clients of a server that went away spread over all the others.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from palaver.transport.client.errors import Misuse
from palaver.transport.client.ports import Backoff

__all__ = ["Servers", "server_urls"]

#: A connection that held this long was a good one: the next failure starts from a short delay.
_GOOD_AFTER_S: Final = 10.0
#: After a refusal for too many connections the backoff starts here.
_CROWDED_ATTEMPT: Final = 5


def server_urls(url: str | Sequence[str]) -> tuple[str, ...]:
    """Return one URL or several as a tuple, each once.

    Raises:
        Misuse: There is none.
    """
    urls = (url,) if isinstance(url, str) else tuple(dict.fromkeys(url))
    if not urls:
        raise Misuse("a client needs the URL of at least one server")
    return urls


class _Server:
    """One server as this client knows it."""

    __slots__ = ("attempt", "not_before_s", "strange", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.attempt = 0
        self.strange = False
        self.not_before_s = float("-inf")


class Servers:
    """The servers of one client, and which of them is the present one.

    With one server this is its backoff. With several, a server that failed is left alone for its
    own backoff, and the next one that may be tried is the present one.
    """

    __slots__ = ("_at", "_backoff", "_chance", "_servers")

    def __init__(
        self,
        urls: Sequence[str],
        backoff: Backoff,
        chance: random.Random,
        *,
        near_first: bool = False,
    ) -> None:
        servers = [_Server(each) for each in urls]
        near = servers[:1] if near_first else []
        others = servers[len(near) :]
        if len(others) > 1:
            chance.shuffle(others)
        self._servers = near + others
        self._backoff = backoff
        self._chance = chance
        self._at = 0

    @property
    def current(self) -> str:
        """The URL of the server that is connected, or tried next."""
        return self._servers[self._at].url

    @property
    def several(self) -> bool:
        """Whether there is another one to go to."""
        return len(self._servers) > 1

    def held(self, for_s: float) -> None:
        """The present server's connection was of use for so many seconds before it was lost."""
        if for_s >= _GOOD_AFTER_S:
            self._servers[self._at].attempt = 0

    def accepted(self) -> None:
        """The present server understands this client."""
        self._servers[self._at].strange = False

    def estranged(self) -> bool:
        """The present server is of a version that this client does not know.

        Returns whether that was the latest word of every server, so that there is none to go to.
        """
        self._servers[self._at].strange = True
        return all(server.strange for server in self._servers)

    def crowded(self) -> None:
        """The present server has too many connections: come back to it later than otherwise."""
        server = self._servers[self._at]
        server.attempt = max(server.attempt, _CROWDED_ATTEMPT)

    def failed(self, asked_s: float | None, now_s: float) -> float:
        """Leave the present server, choose the next, and return how long to wait for it.

        ``asked_s`` is how long the present server itself asked to be left alone, in seconds.
        """
        server = self._servers[self._at]
        if asked_s is not None:
            delay_s = self._backoff.after_s(asked_s, self._chance)
        else:
            delay_s = self._backoff.delay_s(server.attempt, self._chance)
            server.attempt += 1
        if not self.several:
            return delay_s
        server.not_before_s = now_s + delay_s
        self._at = self._next(now_s)
        # A crowd that a server sends away does not arrive at the next one in the same moment.
        jitter_s = self._backoff.delay_s(0, self._chance)
        return max(self._servers[self._at].not_before_s - now_s, jitter_s)

    def _next(self, now_s: float) -> int:
        """The first one behind the present that may be tried, or the one that may be soonest."""
        count = len(self._servers)
        order = [(self._at + step) % count for step in range(1, count + 1)]
        free = (each for each in order if self._servers[each].not_before_s <= now_s)
        soonest = min(order, key=lambda each: self._servers[each].not_before_s)
        return next(free, soonest)
