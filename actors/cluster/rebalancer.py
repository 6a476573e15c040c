"""`Rebalancer`: changes who keeps and owns what, in small steps, each of them safe by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.actors.cluster.background import Finished, begin
from palaver.actors.cluster.errors import CannotRebalance, ClusterError, Rebalancing
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.membership import Subscribe
from palaver.actors.cluster.moves import What
from palaver.actors.cluster.moving import Change, IsBusy, Progress
from palaver.actors.cluster.names import MEMBERSHIP
from palaver.actors.cluster.ports import Machines
from palaver.actors.cluster.registers import Guarded
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.distribution import Distribution
from palaver.actors.runtime import (
    NOREPLY,
    CallFailed,
    Exit,
    From,
    GenServer,
    Pid,
    Response,
    Stop,
    is_abnormal,
)
from palaver.storage.replicated.ports import RegisterChanged, RegistersUnavailable

__all__ = ["GetProgress", "Rebalance", "Rebalancer"]


class Rebalance(NamedTuple):
    """Call: change the placement; the answer, a last `Progress`, comes when all is done.

    Fails with `CannotRebalance` (`Rebalancing` if another change is under way anywhere). What was
    done until then stays; to ask for the same again goes on from there. Give it no timeout.

    Attributes:
        what: "rebalance", "drain", "undrain", "remove".
        node: which one, for the last three.
        told: is sent a `Progress` at every step.
    """

    what: What
    node: str = ""
    told: Pid | None = None


class GetProgress(NamedTuple):
    """Call: the latest `Progress` of this node's rebalancer; None if there was none."""


class _Look(NamedTuple):
    pass


class Rebalancer(GenServer):
    """Does one change at a time; a register sees to it that no other node does another."""

    __slots__ = (
        "_asked",
        "_distribution",
        "_machines",
        "_members",
        "_progress",
        "_recorder",
        "_registers",
        "_settings",
    )

    def init(
        self,
        distribution: Distribution,
        registers: Guarded,
        settings: ClusterSettings,
        recorder: Recorder,
        machines: Machines | None = None,
    ) -> None:
        """Begin with nothing to do."""
        self._machines = machines
        self.trap_exit = True
        self._distribution = distribution
        self._registers = registers
        self._settings = settings
        self._recorder = recorder
        self._members: Members | None = None
        self._asked: tuple[Rebalance, From | None] | None = None
        self._progress: Progress | None = None
        self.send_request(MEMBERSHIP, Subscribe(self.pid))
        self._arm()

    def _arm(self) -> None:
        pause_s = self._settings.audit_s * self.random.uniform(0.75, 1.25)
        self.send_after(pause_s, self.pid, _Look())

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `Rebalance`, `GetProgress` and `IsBusy`."""
        if isinstance(request, GetProgress):
            return self._progress
        if isinstance(request, IsBusy):
            return self._asked is not None
        if not isinstance(request, Rebalance):
            return super().handle_call(request, from_)
        if self._asked is not None:
            self.reply_error(from_, Rebalancing(f"{self._asked[0].what} is under way here"))
        elif self._members is None:
            self.reply_error(from_, CannotRebalance("this node has just begun: ask again"))
        else:
            self._begin(request, from_)
        return NOREPLY

    def _begin(self, request: Rebalance, from_: From | None) -> None:
        self._asked = (request, from_)
        self._recorder.tell(request.what, request.node, "begins")
        pid, node = self.pid, self.node

        def tell(progress: Progress) -> None:
            node.send(pid, progress)

        change = Change(
            request.what,
            request.node,
            self._distribution,
            self._registers,
            self._settings,
            tell,
            self._machines,
        )
        begin(self, "change", change.run)

    def handle_info(self, message: Any) -> Any:
        """See to progress and to the end; begin by itself, if it is to."""
        if isinstance(message, Members):
            self._members = message
        elif isinstance(message, Response):
            self._members = message.result()
        elif isinstance(message, Progress):
            self._progress = message
            if self._asked is not None and self._asked[0].told is not None:
                self.send(self._asked[0].told, message)
        elif isinstance(message, Finished):
            self._finished(message)
        elif isinstance(message, _Look):
            self._arm()
            if self._settings.auto_rebalance and self._asked is None and self._is_due():
                self._begin(Rebalance("rebalance"), None)
        elif isinstance(message, Exit):
            return Stop(message.reason) if is_abnormal(message.reason) else None
        return None

    def _is_due(self) -> bool:
        """Whether a node has no share yet, and this is the one to see to it."""
        members = self._members
        if members is None or members.placement is None:
            return False
        placed, live = members.placement.nodes(), members.live()
        new = [name for name in live if name not in placed and members.nodes[name].state == "up"]
        first = next((name for name in live if name in placed), None)
        return bool(new) and first == members.me and set(placed) <= set(live)

    def _finished(self, done: Finished) -> None:
        assert self._asked is not None
        (request, from_), self._asked = self._asked, None
        error = done.error
        if isinstance(error, (CallFailed, RegisterChanged, RegistersUnavailable)):
            error = CannotRebalance(f"{type(error).__name__}: {error}; ask for the same again")
        if error is None:
            self._recorder.tell(request.what, request.node, f"done: {done.value.text}")
            if from_ is not None:
                self.reply(from_, done.value)
            return
        self._recorder.tell(request.what, request.node, str(error), level="warning")
        if from_ is not None:
            self.reply_error(from_, error)
        if not isinstance(error, ClusterError):
            raise error
