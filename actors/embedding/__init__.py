"""A node inside other programs: in a thread, in an event loop that is there, or alone.

    from palaver.actors.embedding import NodeThread, run

See `docs/embedding.md`.
"""

from palaver.actors.embedding.cluster import NodeLinks, cluster_node
from palaver.actors.embedding.errors import (
    ForkedNode,
    StopTimeout,
    TopProcessFailed,
    WouldDeadlock,
)
from palaver.actors.embedding.garbage import calm_garbage_collector
from palaver.actors.embedding.node_thread import NodeThread
from palaver.actors.embedding.running import run
from palaver.actors.embedding.threadsafe import ThreadsafeNode, node_threadsafe
from palaver.actors.embedding.watchdog import HangObserver, HangReport, LogHangs, Watchdog

__all__ = [
    "ForkedNode",
    "HangObserver",
    "HangReport",
    "LogHangs",
    "NodeLinks",
    "NodeThread",
    "StopTimeout",
    "ThreadsafeNode",
    "TopProcessFailed",
    "Watchdog",
    "WouldDeadlock",
    "calm_garbage_collector",
    "cluster_node",
    "node_threadsafe",
    "run",
]
