"""The supervision tree of a chat node: who starts whom, and what begins anew together.

.. code-block:: text

    node (one_for_one)
    ├── partitions (one_for_one)       what `PartitionHost` wants here
    │   ├── partition N (rest_for_one) where the node owns the partition
    │   │   ├── partition.N            the way to the store
    │   │   ├── forwarder.N            carries its outbox to other partitions
    │   │   ├── sequencers.N           (dynamic) one process per conversation that is spoken in
    │   │   ├── manager.N              which gateways hold the connections of its accounts
    │   │   └── presence.N             which of its accounts are online
    │   ├── accounts                   one-time codes; beside partition 0
    │   └── proxies N (one_for_one)    where another node owns it
    │       └── partition.N, manager.N, presence.N (and accounts): stand-ins
    ├── media sweeper                  removes uploads that expired
    ├── gateways (one_for_one)
    │   └── gateway N (rest_for_one)
    │       ├── gateway.N              admits and routes
    │       ├── sessions.N             (dynamic) one process per connection
    │       └── queues.N               (dynamic) one process per connected device
    └── listener                       the socket

A partition's processes depend on its first, so they follow it. Device queues are where the
connections are: they watch their partition's process, and attach to the next one. Sessions watch
their queue and their sequencers; when a queue goes, the client is told to connect again. Gateways
watch every manager and presence and tell a new one what it has to know. So every process here may
be killed at any time, and nothing that was acknowledged is lost: it lies in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from palaver.actors.chat.proxies import Proxy
from palaver.actors.chat.registry import ConnectionRegistry
from palaver.actors.chat.session import Session
from palaver.actors.runtime import Dest
from palaver.supervisors import ChildSpec, DynamicSupervisor, Supervisor
from palaver.supervisors.trees.listener import ListenerPort, ListenerServer

__all__ = ["PARTITIONS", "ChatParts", "owner_specs", "proxy_specs", "tree"]

#: The supervisor of what a node has of the partitions.
PARTITIONS = "partitions"

#: More than so many restarts within `_PERIOD_S`, and a supervisor gives up to the one above it.
_INTENSITY = 20
_PERIOD_S = 10.0

#: Stand-ins end with those they stand in for: as often as the supervisor there lets those restart.
_PROXY_INTENSITY = 500


@dataclass(frozen=True, slots=True)
class ChatParts:
    """What the processes of a chat node are built from.

    Attributes:
        registries: makes the connection registry of a partition, for a manager that begins.
    """

    store: PartitionPort
    registries: Callable[[int], ConnectionRegistry]
    code_sender: CodeSender
    sign_up_limits: SignUpLimits
    media: Sweepable
    listener: ListenerPort
    acceptor: Acceptor
    context: SessionContext
    gateways: int


def tree(parts: ChatParts, partitions: Iterable[ChildSpec]) -> list[ChildSpec]:
    """The children of a node's root supervisor, in the order in which they start.

    `partitions` is iterated whenever the supervisor of the partitions starts: what is wanted then.
    """
    return [
        _supervisor(PARTITIONS, partitions, name=PARTITIONS),
        _worker("media sweeper", MediaSweeper, parts.media),
        _supervisor("gateways", [_gateway(number, parts) for number in range(parts.gateways)]),
        _worker("listener", ListenerServer, parts.listener),
    ]


def owner_specs(number: int, parts: ChatParts) -> tuple[ChildSpec, ...]:
    """What the node has of a partition that it owns."""
    context = parts.context
    partition = _supervisor(
        f"partition {number}",
        [
            _worker(
                names.partition_name(number), PartitionServer, number, parts.store, context.stats,
                (context.places, context.stamps),
            ),
            _worker(names.forwarder_name(number), Forwarder, number, context.places.partitions),
            _dynamic(names.sequencers_name(number)),
            _worker(names.manager_name(number), Manager, number, parts.registries),
            _worker(names.presence_name(number), Presence, number, context.places, context.stats),
        ],
        strategy="rest_for_one",
    )  # fmt: skip
    if number != 0:
        return (partition,)
    accounts = _worker(
        names.ACCOUNTS, Accounts, context.places, parts.code_sender, parts.sign_up_limits,
        context.stats,
    )  # fmt: skip
    return partition, accounts


def proxy_specs(number: int, owner: str | None, at: Callable[[str], Dest]) -> tuple[ChildSpec, ...]:
    """What the node has of a partition that another node owns, or none: stand-ins.

    Args:
        number: of the partition.
        owner: what the node that owns it is called; part of the child's id.
        at: the address of a name on that node; not used where there is no owner.
    """
    stands_for = [
        names.partition_name(number), names.manager_name(number), names.presence_name(number)
    ]  # fmt: skip
    if number == 0:
        stands_for.append(names.ACCOUNTS)
    return (
        _supervisor(
            f"proxies {number} of {owner or 'nobody'}",
            [_worker(name, Proxy, None if owner is None else at(name)) for name in stands_for],
            intensity=_PROXY_INTENSITY,
        ),
    )


def _gateway(number: int, parts: ChatParts) -> ChildSpec:
    return _supervisor(
        f"gateway {number}",
        [
            _worker(
                names.gateway_name(number), Gateway, number, Session, parts.context,
                parts.context.stats, parts.acceptor.hang_up,
            ),
            _dynamic(names.sessions_name(number)),
            _dynamic(names.queues_name(number)),
        ],
        strategy="rest_for_one",
    )  # fmt: skip


def _worker(name: str, start: type[Any], *args: Any) -> ChildSpec:
    return ChildSpec(id=name, start=start, args=args, name=name)


def _dynamic(name: str) -> ChildSpec:
    return ChildSpec(id=name, start=DynamicSupervisor, name=name, kind="supervisor")


def _supervisor(
    id: str,  # noqa: A002
    children: Iterable[ChildSpec],
    strategy: str = "one_for_one",
    intensity: int = _INTENSITY,
    name: str | None = None,
) -> ChildSpec:
    return ChildSpec(
        id=id,
        start=Supervisor,
        args=(children,),
        options={"strategy": strategy, "intensity": intensity, "period_s": _PERIOD_S},
        kind="supervisor",
        name=name,
    )
