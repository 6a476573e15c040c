"""What there is once for a partition in the whole cluster, and is spoken to from every node.

On the node that owns the partition its processes have their names; on the others a stand-in of
`palaver.actors.chat.proxies` has the name, greets the real one, and passes on what comes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.actors.runtime import NOREPLY, From, GenServer

__all__ = ["Greet", "Owned", "PassedOn"]


class Greet(NamedTuple):
    """Call: is the real one there? The reply is its pid; a stand-in refuses."""


class PassedOn(NamedTuple):
    """A call that reached a stand-in; the answer goes to `from_` itself."""

    from_: From
    request: Any


class Owned(GenServer):
    """A server that can be called by way of its stand-ins; its `handle_call` is a plain method."""

    __slots__ = ()

    def handle_call(self, request: Any, from_: From) -> Any:
        """Greet back; a subclass passes on what it does not know itself."""
        if type(request) is Greet:
            return self.pid
        self.reply_error(from_, TypeError(f"{type(self).__name__} does not know {request!r}"))
        return NOREPLY

    def handle_info(self, message: Any) -> Any:
        """Take a call that a stand-in passed on."""
        if type(message) is PassedOn:
            value = self.handle_call(message.request, message.from_)
            if value is not NOREPLY:
                self.reply(message.from_, value)
            return None
        return super().handle_info(message)
