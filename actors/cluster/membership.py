"""`Membership`: who belongs to the cluster, and who of them is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

from palaver.actors.cluster.background import Finished, begin
from palaver.actors.cluster.errors import CannotJoin, Removed, Replaced, WrongCluster
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.joining import Joining, found
from palaver.actors.cluster.records import (
    CLUSTER,
    PLACEMENT,
    ClusterRecord,
    NodeRecord,
    NodeState,
    Placement,
    claim_key,
    decoded,
    node_key,
    node_of_key,
)
from palaver.actors.cluster.registers import Guarded
from palaver.actors.cluster.roster import Members, Roster
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.distribution import Distribution, Nodedown, Nodeup
from palaver.actors.runtime import NOREPLY, Down, Exit, From, GenServer, Pid, Stop, is_abnormal
from palaver.storage.replicated.ports import (
    Follow,
    Register,
    RegisterChanged,
    RegistersUnavailable,
)

__all__ = ["GetMembers", "Joined", "Membership", "Subscribe"]

_PREFIXES: Final = ("node.", "cluster", "placement", "claim.")


class GetMembers(NamedTuple):
    """Call: the `Members` as they are now."""


class Subscribe(NamedTuple):
    """Call: the `Members` now; the process is sent them whenever they change, until it exits."""

    pid: Pid


class Joined(NamedTuple):
    """Call: the `Members` once this node belongs to the founded cluster.

    Fails with `CannotJoin` if it may not. Waits until the cluster is founded, so give it a timeout.
    """


class _Changed(NamedTuple):
    key: str
    register: Register | None


class _Gone(NamedTuple):
    pass


class _Tick(NamedTuple):
    pass


class _Refresh(NamedTuple):
    pass


class Membership(GenServer):
    """Keeps this node's register, watches those of the others, founds the cluster.

    What it does with the registers is done beside it, so it always hears. A node that may not join
    stays so, with an alarm, until it is started anew: trying again would change nothing.
    """

    __slots__ = (
        "_answered",
        "_busy",
        "_cluster",
        "_distribution",
        "_follows",
        "_founding",
        "_joining",
        "_members",
        "_placement",
        "_record",
        "_recorder",
        "_refused",
        "_registers",
        "_revision",
        "_roster",
        "_settings",
        "_subscribers",
        "_waiting",
    )

    def init(
        self,
        distribution: Distribution,
        registers: Guarded,
        settings: ClusterSettings,
        recorder: Recorder,
    ) -> None:
        """Begin to watch, and to join."""
        self.trap_exit = True
        self._distribution = distribution
        self._registers = registers
        self._settings = settings
        self._recorder = recorder
        self._roster = Roster(distribution.name, settings)
        self._members = Members(distribution.name, distribution.creation)
        self._cluster: ClusterRecord | None = None
        self._placement: Placement | None = None
        self._record: NodeRecord | None = None  # once this node has joined
        self._revision = 0
        self._answered = 0
        self._refused: CannotJoin | None = None
        self._joining = False
        self._busy = False
        self._founding = False
        self._subscribers: dict[Any, Pid] = {}  # by monitor
        self._waiting: list[From] = []
        distribution.monitor_nodes(self.pid)
        for name in distribution.nodes():
            self._roster.connected(name)
        self._follows: list[Follow] = [
            registers.watch(prefix, self._tell_change(self.pid)) for prefix in _PREFIXES
        ]
        self._join()
        self._tick()
        self.send(self.pid, _Refresh())

    def _tell_change(self, pid: Pid) -> Callable[[str, Register | None], None]:
        node = self.node

        def changed(key: str, register: Register | None) -> None:
            node.send(pid, _Changed(key, register))

        return changed

    # -- what others ask -----------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `GetMembers`, `Subscribe` and `Joined`."""
        if isinstance(request, GetMembers):
            return self._members
        if isinstance(request, Subscribe):
            self._subscribers[self.monitor(request.pid)] = request.pid
            return self._members
        if isinstance(request, Joined):
            if self._refused is not None:
                self.reply_error(from_, self._refused)
            elif self._is_settled():
                return self._members
            else:
                self._waiting.append(from_)
            return NOREPLY
        return super().handle_call(request, from_)

    def _is_settled(self) -> bool:
        record = self._members.nodes.get(self._members.me)
        return self._record is not None and record is not None and record.state != "joining"

    # -- what happens --------------------------------------------------------------------------

    def handle_info(self, message: Any) -> Any:
        """See to changes of the registers and of the connections, and to the time."""
        now_s = self.clock.monotonic()
        if isinstance(message, _Changed):
            self._changed(message.key, message.register, now_s)
            record = self._record
            if record is not None and record.state != self._wanted_state(record):
                self._refresh()
        elif isinstance(message, Nodeup):
            self._roster.connected(message.node_name)
            self._recorder.tell("node connected", message.node_name)
        elif isinstance(message, Nodedown):
            self._roster.disconnected(message.node_name, now_s)
            self._recorder.tell("node lost", message.node_name, level="warning")
        elif isinstance(message, _Gone):
            if self._record is not None:
                self._refuse(Removed("this node was removed from the cluster: stop it"))
        elif isinstance(message, _Tick):
            self._tick()
        elif isinstance(message, _Refresh):
            self._refresh()
            pause_s = self._settings.refresh_s * self.random.uniform(0.8, 1.0)
            self.send_after(pause_s, self.pid, _Refresh())
        elif isinstance(message, Finished):
            self._finished(message)
        elif isinstance(message, Down):
            self._subscribers.pop(message.ref, None)
        elif isinstance(message, Exit):
            return Stop(message.reason) if is_abnormal(message.reason) else None
        self._publish(now_s)
        return None

    def _tick(self) -> None:
        self.send_after(self._settings.tick_s, self.pid, _Tick())
        self._found()

    def _changed(self, key: str, register: Register | None, now_s: float) -> None:
        value = None if register is None else register.value
        try:
            if key == CLUSTER:
                self._cluster = None if value is None else decoded(ClusterRecord, value)
                self._check()
            elif key == PLACEMENT:
                placement = None if value is None else decoded(Placement, value)
                old = self._placement
                if placement is None or old is None or placement.version >= old.version:
                    self._placement = placement
            elif key.startswith("node."):
                self._node_changed(key, register, now_s)
            elif key == claim_key(self._distribution.name) and value is not None:
                self._claimed(decoded(NodeRecord, value))
        except WrongCluster as error:
            if key == CLUSTER:
                self._refuse(error)
            else:
                self._recorder.tell("unreadable register", key, str(error), level="alarm")

    def _node_changed(self, key: str, register: Register | None, now_s: float) -> None:
        name = node_of_key(key, "node.")
        record = None if register is None else decoded(NodeRecord, register.value)
        before = self._roster.nodes.get(name)
        self._roster.changed(name, record, now_s)
        if record is None:
            self._recorder.tell("node removed", name)
        elif before is None or before.state != record.state:
            self._recorder.tell(f"node {record.state}", name)
        own = self._record
        if own is None or register is None or name != own.name or record is None:
            return
        if record.creation != own.creation:
            if register.revision > self._revision:
                self._refuse(Replaced(f"another node has taken the name {name}: stop this one"))
        elif register.revision > self._revision:
            # Somebody else has changed the state, or a write of ours has come through after all.
            self._revision = register.revision
            self._record = replace(own, state=record.state, beat=max(own.beat, record.beat))

    def _claimed(self, claim: NodeRecord) -> None:
        """Another node of this name asks whether it is in use: say that it is."""
        own = self._record
        if own is not None and claim.creation != own.creation:
            self._answered = claim.creation
            self._refresh()

    def _check(self) -> None:
        cluster, settings = self._cluster, self._settings
        if cluster is None:
            return
        try:
            ClusterRecord(settings.cluster, settings.partitions).check(cluster)
        except WrongCluster as error:
            self._refuse(error)

    def _refuse(self, error: CannotJoin) -> None:
        if self._refused is not None:
            return
        self._refused = error
        self._record = None
        self._recorder.tell("refused", self._distribution.name, str(error), level="alarm")
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            self.reply_error(each, error)

    # -- this node's register ------------------------------------------------------------------

    def _join(self) -> None:
        if not self._joining and self._refused is None:
            self._joining = True
            joining = Joining(self._distribution, self._registers, self._settings)
            begin(self, "join", joining.run)

    def _wanted_state(self, record: NodeRecord) -> NodeState:
        founded = self._cluster is not None and self._placement is not None
        return "up" if founded and record.state == "joining" else record.state

    def _refresh(self) -> None:
        record = self._record
        if record is None:
            self._join()
            return
        if self._busy:
            return
        self._busy = True
        state = self._wanted_state(record)
        since_ms = record.since_ms if state == record.state else self.clock.time_ms()
        new = replace(
            record,
            state=state,
            since_ms=since_ms,
            beat=record.beat + 1,
            answered=self._answered,
        )
        key, expected, registers = node_key(record.name), self._revision, self._registers
        begin(self, ("refresh", new), lambda ctx: registers.put(ctx, key, new, expected))

    def _finished(self, done: Finished) -> None:
        passing = (CannotJoin, RegisterChanged, RegistersUnavailable)
        if done.error is not None and not isinstance(done.error, passing):
            raise done.error
        if done.what == "join":
            self._joining = False
            if isinstance(done.error, CannotJoin):
                self._refuse(done.error)
            elif done.error is None:
                self._record, self._revision = done.value
                self._recorder.tell("joined", self._distribution.name)
                self._refresh()
            return
        if done.what == "found":
            self._founding = False
            return
        self._busy = False
        record = self._record
        if record is None:
            return
        if done.what == "look":
            return  # what it has found comes as a change
        if done.error is None:
            written: NodeRecord = done.what[1]
            if done.value > self._revision:
                self._revision = done.value
                self._record = written
            if written.state != self._wanted_state(written) or written.answered != self._answered:
                self._refresh()
        elif isinstance(done.error, RegisterChanged):
            self._look_again()

    def _look_again(self) -> None:
        """A refresh has failed: read what is there, which `_node_changed` then sees to."""
        key, registers, node, pid = (
            node_key(self._distribution.name),
            self._registers,
            self.node,
            self.pid,
        )

        async def look(ctx: Any) -> None:
            register = await registers.get(ctx, key)
            node.send(pid, _Gone() if register is None else _Changed(key, register))

        self._busy = True
        begin(self, "look", look)

    # -- founding ------------------------------------------------------------------------------

    def _found(self) -> None:
        """Make the registers of the cluster, once all of its founders are there."""
        if self._founding or self._record is None or self._placement is not None:
            return
        founding, live = self._settings.founding, self._members.live()
        if isinstance(founding, int):
            nodes = live
            enough = len(live) >= founding
        else:
            nodes = tuple(sorted(set(founding)))
            enough = set(nodes) <= set(live)
        if not enough or self._distribution.name not in nodes:
            return
        self._founding = True
        registers, settings, recorder = self._registers, self._settings, self._recorder
        begin(self, "found", lambda ctx: found(ctx, registers, settings, nodes, recorder))

    # -- telling -------------------------------------------------------------------------------

    def _publish(self, now_s: float) -> None:
        refused = "" if self._refused is None else str(self._refused)
        members = Members(
            self._distribution.name,
            self._distribution.creation,
            joined=self._record is not None,
            refused=refused,
            removed=isinstance(self._refused, Removed),
            cluster=self._cluster,
            placement=self._placement,
            nodes={name: record.calm() for name, record in self._roster.nodes.items()},
            lost_s=self._roster.lost_s(now_s),
        )
        if members == self._members:
            return
        self._members = members
        self._recorder.stats.nodes_up = len(members.live())
        for pid in self._subscribers.values():
            self.send(pid, members)
        if self._is_settled():
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                self.reply(each, members)

    # -- the end -------------------------------------------------------------------------------

    async def terminate(self, reason: Any) -> None:
        """Say in the register that this node has stopped, if that takes no time."""
        for follow in self._follows:
            follow.close()
        record = self._record
        if record is None or is_abnormal(reason):
            return
        if record.state in ("up", "joining"):
            await self._registers.try_put(
                self,
                node_key(record.name),
                replace(record, state="down", since_ms=self.clock.time_ms()),
                self._revision,
            )
