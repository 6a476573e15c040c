"""Files of a cluster whose nodes keep them in folders of their own: the processes that share them.

.. code-block:: text

    media (one_for_one)
    ├── member names               who belongs to the cluster, for those who choose homes of files
    ├── media.peers                answers other nodes
    └── copies sweeper             gives files to homes that lack them
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from palaver.actors.chat.media_peers import MEDIA_PEERS, DistributedPeers, MediaPeers
from palaver.actors.chat.media_shared import SharedBlobs
from palaver.actors.chat.media_sweeper import MediaSweeper
from palaver.actors.cluster.membership import Subscribe
from palaver.actors.cluster.names import MEMBERSHIP
from palaver.actors.cluster.roster import Members
from palaver.actors.distribution import Distribution
from palaver.actors.runtime import Down, GenServer, Response, Shutdown, Stop
from palaver.storage.blobs import BlobStore
from palaver.supervisors import ChildSpec

__all__ = ["MemberNames", "share", "sharing_specs"]

_SWEEP_S = 60.0
_AGAIN_S = 0.5


class MemberNames(GenServer):
    """Tells whoever asks outside of any process which nodes belong to the cluster."""

    __slots__ = ("_ref", "_told")

    def init(self, told: Callable[[Sequence[str]], None]) -> None:
        """Call `told` with the names, now and whenever they change."""
        self._told = told
        self._ref: Any = None
        self._ask()

    def _ask(self) -> None:
        if self.whereis(MEMBERSHIP) is None:
            self.send_after(_AGAIN_S, self.pid, None)
            return
        self._ref = self.monitor(MEMBERSHIP)
        self.send_request(MEMBERSHIP, Subscribe(self.pid))

    def handle_info(self, message: Any) -> Stop | None:
        """Take the members, or the end of who tells of them."""
        match message:
            case None:
                self._ask()
            case Members():
                self._told(tuple(message.nodes))
            case Response(_, Members() as members, None):
                self._told(tuple(members.nodes))
            case Response():
                return Stop(Shutdown("membership does not answer; ask again"))
            case Down(ref, _, _) if ref is self._ref:
                return Stop(Shutdown("membership begins anew; ask again"))
            case _:
                super().handle_info(message)
        return None


def share(
    local: BlobStore, folder: Path, distribution: Distribution, members: Callable[[], Sequence[str]]
) -> SharedBlobs:
    """A node's view of the files of all nodes."""
    return SharedBlobs(local, folder, DistributedPeers(distribution, members), distribution.name)


def sharing_specs(
    shared: SharedBlobs, told: Callable[[Sequence[str]], None]
) -> tuple[ChildSpec, ...]:
    """What a supervisor starts so that the nodes' files are shared; see the module."""
    return (
        ChildSpec("member names", MemberNames, (told,)),
        ChildSpec("media peers", MediaPeers, (shared,), name=MEDIA_PEERS),
        ChildSpec("copies sweeper", MediaSweeper, (shared, _SWEEP_S, "copies")),
    )
