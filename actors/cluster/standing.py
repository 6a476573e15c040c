"""`Standing`: tells the rest of a node how the node stands in its cluster.

Whether its clients are to go elsewhere, because it is drained or removed; and whether it may not be
a part of the cluster any more, so that it has to end.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from palaver.actors.cluster.membership import Subscribe
from palaver.actors.cluster.names import MEMBERSHIP
from palaver.actors.cluster.roster import Members
from palaver.actors.runtime import From, GenServer, Response

__all__ = ["GetConnections", "Standing", "StandingPort"]


class StandingPort(Protocol):
    """What a node does about its standing; the methods return at once."""

    @property
    def connections(self) -> int:
        """Clients that are connected now."""
        ...

    def drain(self, wanted: bool) -> None:
        """Send the clients away and take no new ones, or take them again; harmless when repeated.

        It takes a bounded time, after which no client is connected.
        """
        ...

    def refused(self, why: str, removed: bool) -> None:
        """The node may not be a part of the cluster (any more); `removed`: an operator's wish."""
        ...


class GetConnections(NamedTuple):
    """Call: how many clients are connected to this node."""


class Standing(GenServer):
    """See the module."""

    __slots__ = ("_port",)

    def init(self, port: StandingPort) -> None:
        """Begin to listen to `Membership`, with which it begins anew."""
        self._port = port
        self.send_request(MEMBERSHIP, Subscribe(self.pid))

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `GetConnections`."""
        if isinstance(request, GetConnections):
            return self._port.connections
        return super().handle_call(request, from_)

    def handle_info(self, message: Any) -> None:
        """See to what has become of this node."""
        if isinstance(message, Response):  # the answer to `Subscribe`
            message = message.result()
        if not isinstance(message, Members):
            super().handle_info(message)
        elif message.refused:
            self._port.refused(message.refused, message.removed)
        elif message.joined:
            own = message.nodes.get(message.me)
            self._port.drain(own is not None and own.state in ("draining", "leaving"))
