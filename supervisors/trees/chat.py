"""The supervision tree of a chat node: who starts whom, and what begins anew together.

.. code-block:: text

    node (one_for_one)
    ├── partitions (one_for_one)
    │   └── partition N (rest_for_one)
    │       ├── partition.N        the way to the store
    │       ├── forwarder.N        carries its outbox to other partitions
    │       ├── sequencers.N       (dynamic) one process per conversation that is spoken in
    │       └── queues.N           (dynamic) one process per connected device
    ├── manager                    which gateway holds whose connections
    ├── presence                   who is online
    ├── accounts                   one-time codes
    ├── media sweeper              removes uploads that expired
    ├── gateways (one_for_one)
    │   └── gateway N (rest_for_one)
    │       ├── sessions.N         (dynamic) one process per connection
    │       └── gateway.N          admits and routes
    └── listener                   the socket

Sequencers and queues depend on their partition's process, so they follow it. Sessions watch their
queue and their sequencers; when a queue goes, the client is told to connect again. Gateways watch
the manager and presence and tell a new one what it has to know. So every process here may be
killed at any time, and nothing that was acknowledged is lost: it lies in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from palaver.actors.chat import names
from palaver.actors.chat.accounts import Accounts, CodeSender, SignUpLimits
from palaver.actors.chat.context import Acceptor, SessionContext
from palaver.actors.chat.forwarder import Forwarder
from palaver.actors.chat.gateway import Gateway
from palaver.actors.chat.manager import Manager
from palaver.actors.chat.media_sweeper import MediaSweeper, Sweepable
from palaver.actors.chat.partition import PartitionPort, PartitionServer
from palaver.actors.chat.presence import Presence
from palaver.actors.chat.registry import ConnectionRegistry
from palaver.actors.chat.session import Session
from palaver.supervisors import ChildSpec, DynamicSupervisor, Supervisor
from palaver.supervisors.trees.listener import ListenerPort, ListenerServer

__all__ = ["ChatParts", "tree"]

#: More than so many restarts within `_PERIOD_S`, and a supervisor gives up to the one above it.
_INTENSITY = 20
_PERIOD_S = 10.0


@dataclass(frozen=True, slots=True)
class ChatParts:
    """What the processes of a chat node are built from."""

    store: PartitionPort
    registry: ConnectionRegistry
    code_sender: CodeSender
    sign_up_limits: SignUpLimits
    media: Sweepable
    listener: ListenerPort
    acceptor: Acceptor
    context: SessionContext
    gateways: int


def tree(parts: ChatParts) -> list[ChildSpec]:
    """The children of a node's root supervisor, in the order in which they start."""
    context = parts.context
    return [
        _supervisor(
            "partitions",
            [_partition(number, parts) for number in range(context.places.partitions)],
        ),
        _worker(names.MANAGER, Manager, parts.registry),
        _worker(names.PRESENCE, Presence, context.places, context.stats),
        _worker(
            names.ACCOUNTS, Accounts, context.places, parts.code_sender, parts.sign_up_limits,
            context.stats,
        ),
        _worker("media sweeper", MediaSweeper, parts.media),
        _supervisor("gateways", [_gateway(number, parts) for number in range(parts.gateways)]),
        _worker("listener", ListenerServer, parts.listener),
    ]  # fmt: skip


def _partition(number: int, parts: ChatParts) -> ChildSpec:
    context = parts.context
    return _supervisor(
        f"partition {number}",
        [
            _worker(
                names.partition_name(number), PartitionServer, number, parts.store, parts.gateways,
                context.stats,
                (context.places, context.stamps),
            ),
            _worker(names.forwarder_name(number), Forwarder, number, context.places.partitions),
            _dynamic(names.sequencers_name(number)),
            _dynamic(names.queues_name(number)),
        ],
        strategy="rest_for_one",
    )  # fmt: skip


def _gateway(number: int, parts: ChatParts) -> ChildSpec:
    return _supervisor(
        f"gateway {number}",
        [
            _worker(
                names.gateway_name(number), Gateway, number, Session, parts.context,
                parts.context.stats, parts.acceptor.hang_up,
            ),
            _dynamic(names.sessions_name(number)),
        ],
        strategy="rest_for_one",
    )  # fmt: skip


def _worker(name: str, start: type[Any], *args: Any) -> ChildSpec:
    return ChildSpec(id=name, start=start, args=args, name=name)


def _dynamic(name: str) -> ChildSpec:
    return ChildSpec(id=name, start=DynamicSupervisor, name=name, kind="supervisor")


def _supervisor(name: str, children: list[ChildSpec], strategy: str = "one_for_one") -> ChildSpec:
    return ChildSpec(
        id=name,
        start=Supervisor,
        args=(children,),
        options={"strategy": strategy, "intensity": _INTENSITY, "period_s": _PERIOD_S},
        kind="supervisor",
    )
