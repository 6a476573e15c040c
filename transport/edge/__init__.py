"""The edge: one listening port for WebSockets and HTTP, with a limit on everything.

`listen` gives each WebSocket to an `Acceptor` as a `Connection`, and everything else to an
aiohttp application. There is no task, no queue and no timer per connection.
"""

from __future__ import annotations

from .connection import Connection
from .hub import Acceptor
from .limits import EdgeLimits, EdgeStats
from .listener import Listener, listen

__all__ = ["Acceptor", "Connection", "EdgeLimits", "EdgeStats", "Listener", "listen"]
