"""`Ownership`: which partitions this node owns, and who owns the others.

For each partition it is in one of the roles of `decisions.Role`:

    following ─> campaigning ─> taking over ─> leading ─> stepping down ─> following

Whatever happens (a register changes, a node is lost, a job is done, time passes), it asks
`decisions.decide` what to do about the partitions concerned, and does one thing at a time for each.
What takes time is done beside it (`transitions`), so that it always hears, and can stop accepting
commands (`store.step_down`) in the moment in which it learns that it must.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from palaver.actors.cluster.background import Finished
from palaver.actors.cluster.decisions import (
    Announce,
    Campaign,
    GiveUp,
    HandOver,
    NodeView,
    PartitionView,
    ReplicaView,
    Role,
    Situation,
    TakeOver,
    candidates,
    decide,
    proxy_target,
    successor,
)
from palaver.actors.cluster.errors import CannotHandOver, WrongCluster
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.membership import Subscribe
from palaver.actors.cluster.ownership_messages import (
    Changed,
    Forget,
    GetPartition,
    GetPartitions,
    GiveTo,
    LostPartition,
    PartitionStatus,
    Rebuild,
    Release,
    Tick,
    WakeUp,
)
from palaver.actors.cluster.ports import ClusterStore, PartitionHost
from palaver.actors.cluster.records import OwnerRecord, Placement, decoded
from palaver.actors.cluster.registers import Guarded
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.cluster.transitions import Desk, Partition
from palaver.actors.runtime import (
    NOREPLY,
    Dest,
    Exit,
    From,
    GenServer,
    Pid,
    Response,
    Stop,
    is_abnormal,
)
from palaver.storage.errors import StoreError
from palaver.storage.replicated.ports import Follow, Register

__all__ = ["Ownership"]


class Ownership(GenServer):
    """Leads the partitions that this node is to lead, and says to whom the others belong."""

    __slots__ = (
        "_desk",
        "_follow",
        "_looked_s",
        "_members",
        "_partitions",
        "_recorder",
        "_releasing",
        "_settings",
        "_store",
        "_views",
    )

    def init(
        self,
        membership: Dest,
        me: tuple[str, int],
        store: ClusterStore,
        host: PartitionHost,
        registers: Guarded,
        settings: ClusterSettings,
        recorder: Recorder,
    ) -> None:
        """Begin with nothing led: whatever an earlier one of its kind has left is stopped."""
        self.trap_exit = True
        self._store = store
        self._settings = settings
        self._recorder = recorder
        self._members: Members | None = None
        self._views: Mapping[str, NodeView] = {}
        self._releasing: From | None = None
        self._looked_s = self.clock.monotonic()
        self._desk = Desk(self, me, store, host, registers, settings, recorder)
        now_s = self._looked_s
        self._partitions = [
            Partition(n, self.random.uniform(0.0, settings.rank_delay_s / 4), now_s)
            for n in range(settings.partitions)
        ]
        for partition in self._partitions:
            store.step_down(partition.number)
            partition.followed = store.state(partition.number) is not None
        store.on_lost(self._tell_lost(self.pid))
        self._follow: Follow = registers.watch("owner.", self._tell_change(self.pid))
        self.send_request(membership, Subscribe(self.pid))
        self.send(self.pid, Tick())

    def _tell_change(self, pid: Pid) -> Callable[[str, Register | None], None]:
        node = self.node

        def changed(key: str, register: Register | None) -> None:
            node.send(pid, Changed(key, register))

        return changed

    def _tell_lost(self, pid: Pid) -> Callable[[int, str], None]:
        node = self.node

        def lost(partition: int, why: str) -> None:
            node.send(pid, LostPartition(partition, why))

        return lost

    # -- what others ask -----------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer what is in `ownership_messages`."""
        if isinstance(request, GetPartitions):
            numbers = range(len(self._partitions)) if request.numbers is None else request.numbers
            return tuple(self._status(self._partitions[n]) for n in numbers)
        if isinstance(request, GetPartition):
            return self._status(self._partitions[request.number])
        if isinstance(request, GiveTo):
            return self._give_to(request, from_)
        if isinstance(request, Release):
            self._releasing = from_
            self._look_at_all()
            return NOREPLY
        return super().handle_call(request, from_)

    def handle_cast(self, message: Any) -> Any:
        """See to `LostPartition` of the partition's own processes, `Rebuild` and `Forget`."""
        if isinstance(message, LostPartition):
            self._lost(message)
        elif isinstance(message, Rebuild):
            partition = self._partitions[message.number]
            partition.rebuild = message.why
            self._look_at(partition)
        elif isinstance(message, Forget):
            partition = self._partitions[message.number]
            idle = partition.role is Role.FOLLOWING and not partition.busy
            if idle and not partition.followed and self._placed(partition) == message.row:
                self._desk.forget(partition)
        else:
            super().handle_cast(message)

    def _status(self, partition: Partition) -> PartitionStatus:
        state = self._store.state(partition.number) if partition.followed else None
        owner = partition.owner
        return PartitionStatus(
            partition.number,
            str(partition.role),
            "" if owner is None else owner.node,
            0 if owner is None else owner.epoch,
            "" if owner is None else owner.phase,
            replica=state is not None,
            position=0 if state is None else state.position,
            applied=0 if state is None else state.applied,
            behind=0 if state is None else state.behind,
            ready=self._is_ready(state),
            digests=() if state is None else tuple(state.digests),
            trouble=partition.trouble if state is None else state.trouble,
            held=self._store.held(partition.number),
        )

    def _give_to(self, request: GiveTo, from_: From) -> Any:
        partition = self._partitions[request.number]
        situation = self._situation()
        if partition.role is not Role.LEADING or situation is None:
            self.reply_error(from_, CannotHandOver(f"partition {request.number} is not led here"))
            return NOREPLY
        if request.to == situation.me:
            return True
        if partition.busy:
            text = f"partition {request.number} is being announced: ask again"
            self.reply_error(from_, CannotHandOver(text))
            return NOREPLY
        there = candidates(situation, self._view(partition, situation))
        if request.to not in there:
            error = CannotHandOver(
                f"{request.to} cannot take over partition {request.number}: it is not one of "
                "its replicas, or is not there now"
            )
            self.reply_error(from_, error)
            return NOREPLY
        partition.asked.append(from_)
        self._act(partition, HandOver(request.to, "asked for"), situation)
        return NOREPLY

    # -- what happens --------------------------------------------------------------------------

    def handle_info(self, message: Any) -> Any:
        """See to changes, to finished work, and to the time."""
        self._mind_the_lease()
        if isinstance(message, Changed):
            self._changed(message.key, message.register)
        elif isinstance(message, Members):
            self._see(message)
        elif isinstance(message, Finished):
            partition = self._partitions[message.what[0]]
            self._desk.finished(partition, message)
            self._look_at(partition)
        elif isinstance(message, LostPartition):
            self._lost(message)
        elif isinstance(message, WakeUp):
            partition = self._partitions[message.number]
            partition.alarm = None
            self._look_at(partition)
        elif isinstance(message, Tick):
            self._look_at_all()
            pause_s = self._settings.tick_s * self.random.uniform(0.8, 1.2)
            self.send_after(pause_s, self.pid, Tick())
        elif isinstance(message, Exit):
            # A job cannot fail this way; its parent's wish, or a crash of what it is linked to.
            return Stop(message.reason) if is_abnormal(message.reason) else None
        elif isinstance(message, Response):  # the answer of Membership to `Subscribe`
            self._see(message.result())
        return None

    def _see(self, members: Members) -> None:
        self._members = members
        self._views = members.views()
        self._look_at_all()

    def _mind_the_lease(self) -> None:
        """After a pause nothing may be done on the strength of what was known before it."""
        now_s = self.clock.monotonic()
        paused_s, self._looked_s = now_s - self._looked_s, now_s
        if paused_s <= self._settings.lease_s:
            return
        self._recorder.tell("woke up", "", f"after {paused_s:.1f} s", level="warning")
        for partition in self._partitions:
            if partition.role in (Role.LEADING, Role.TAKING_OVER):
                self._desk.give_up(partition, GiveUp("this node stood still", free=False))

    def _changed(self, key: str, register: Register | None) -> None:
        text = key.removeprefix("owner.")
        if not text.isdecimal() or int(text) >= len(self._partitions):
            self._recorder.tell("unreadable register", key, "no partition", level="alarm")
            return
        partition = self._partitions[int(text)]
        if register is not None and register.revision <= partition.revision:
            return
        try:
            owner = None if register is None else decoded(OwnerRecord, register.value)
        except WrongCluster as error:
            self._recorder.tell("unreadable register", key, str(error), level="alarm")
            return
        revision = 0 if register is None else register.revision
        partition.changed(owner, revision, self.clock.monotonic())
        self._look_at(partition)

    def _lost(self, message: LostPartition) -> None:
        partition = self._partitions[message.number]
        if partition.role in (Role.LEADING, Role.TAKING_OVER):
            self._desk.give_up(partition, GiveUp(message.why, free=True))

    # -- looking and acting --------------------------------------------------------------------

    def _situation(self) -> Situation | None:
        members = self._members
        if members is None:
            return None
        now_s = self.clock.monotonic()
        views = self._views
        if self._releasing is not None:
            me = views[members.me]
            views = {**views, members.me: replace(me, willing=False)}
        return Situation(
            members.me,
            members.creation,
            now_s,
            reachable=members.joined and self._desk.registers.lease.holds(now_s),
            nodes=views,
            settings=self._settings,
        )

    def _placed(self, partition: Partition) -> tuple[str, ...]:
        placement: Placement | None = None if self._members is None else self._members.placement
        if placement is None or partition.number >= len(placement.partitions):
            return ()
        return placement.partitions[partition.number]

    def _is_ready(self, state: Any) -> bool:
        return (
            state is not None
            and not state.catching_up
            and not state.trouble
            and state.behind <= self._settings.max_behind
        )

    def _view(self, partition: Partition, situation: Situation) -> PartitionView:
        replica: ReplicaView | None = None
        if partition.followed:
            state = self._store.state(partition.number)
            if state is not None:
                ready = self._is_ready(state) and not partition.rebuild
                replica = ReplicaView(ready, state.leading, state.epoch)
        return PartitionView(
            self._placed(partition),
            partition.owner,
            partition.owner_since_s,
            replica,
            partition.role,
            partition.role_since_s,
            partition.epoch,
            self._desk.announced(partition),
            partition.not_before_s,
            partition.jitter_s,
        )

    def _look_at_all(self) -> None:
        situation = self._situation()
        if situation is None:
            return
        for partition in self._partitions:
            self._look_at(partition, situation)
        stats, partitions = self._recorder.stats, self._partitions
        stats.owned = sum(each.role is Role.LEADING for each in partitions)
        stats.replicas = sum(each.followed for each in partitions)
        stats.ownerless = sum(
            each.owner is None or each.owner.phase != "leading" for each in partitions
        )
        states = {n: self._store.state(n) for n in (p.number for p in partitions if p.followed)}
        known = [state for state in states.values() if state is not None]
        stats.max_behind = max((state.behind for state in known), default=0)
        for state in known:
            self._mind_trouble(partitions[state.partition], state.trouble)
        self._answer_release()

    def _look_at(self, partition: Partition, situation: Situation | None = None) -> None:
        situation = situation or self._situation()
        if situation is None:
            return
        self._look_at_replica(partition, situation)
        view = self._view(partition, situation)
        decision = decide(situation, view)
        if decision.action is not None:
            self._act(partition, decision.action, situation)
        elif decision.again_s is not None:
            self._wake_at(partition, decision.again_s)
        if partition.role is Role.FOLLOWING:
            self._desk.show(partition, proxy_target(situation, view))

    def _look_at_replica(self, partition: Partition, situation: Situation) -> None:
        """Keep a replica exactly while this node is to have one, or still leads."""
        wanted = situation.me in self._placed(partition)
        if wanted and not partition.followed and not partition.busy:
            self._begin_replica(partition)
        elif partition.role is Role.FOLLOWING and not partition.busy:
            if partition.followed and not wanted and self._members and self._members.placement:
                self._desk.drop_replica(partition)
            elif partition.followed and partition.rebuild:
                self._desk.rebuild(partition)
        if partition.rebuild and partition.role in (Role.LEADING, Role.TAKING_OVER):
            self._desk.give_up(partition, GiveUp(partition.rebuild, free=True))

    def _mind_trouble(self, partition: Partition, trouble: str) -> None:
        """Tell of what keeps a replica from going on, once."""
        if trouble and trouble != partition.trouble:
            self._recorder.tell("replica in trouble", partition.number, trouble, level="alarm")
        elif partition.trouble and not trouble:
            self._recorder.tell("replica goes on", partition.number)
        partition.trouble = trouble

    def _begin_replica(self, partition: Partition) -> None:
        try:
            self._store.follow(partition.number)
        except StoreError as error:
            if not partition.trouble:
                self._recorder.tell("no replica", partition.number, str(error), level="alarm")
            partition.trouble = str(error)
        else:
            partition.followed = True
            partition.trouble = ""
            self._recorder.tell("replica added", partition.number)

    def _act(self, partition: Partition, action: Any, situation: Situation) -> None:
        desk = self._desk
        if isinstance(action, GiveUp):
            desk.give_up(partition, action)
        elif partition.busy:
            return  # it is looked at again when that is done
        elif isinstance(action, Campaign):
            desk.campaign(partition, action.epoch)
        elif isinstance(action, TakeOver):
            desk.take_over(partition, action.epoch)
        elif isinstance(action, Announce):
            desk.announce(partition)
        elif isinstance(action, HandOver):
            desk.hand_over(partition, action, situation)

    def _wake_at(self, partition: Partition, when_s: float) -> None:
        if partition.alarm is not None:
            if partition.alarm.deadline_s <= when_s and partition.alarm.action is not None:
                return
            self.cancel_timer(partition.alarm)
        delay_s = max(0.01, when_s - self.clock.monotonic())
        partition.alarm = self.send_after(delay_s, self.pid, WakeUp(partition.number))

    # -- the end -------------------------------------------------------------------------------

    def _answer_release(self) -> None:
        """Whoever wants this node to own nothing is told when it is so."""
        if self._releasing is None:
            return
        situation = self._situation()
        for partition in self._partitions:
            if partition.role is Role.FOLLOWING:
                continue
            if situation is None or partition.role is not Role.LEADING:
                return
            if successor(situation, self._view(partition, situation)) is not None:
                return
        self.reply(self._releasing, None)  # harmless when repeated

    def terminate(self, reason: Any) -> None:
        """Accept nothing more; the partitions' processes are stopped by the tree they are in."""
        self._follow.close()
        for partition in self._partitions:
            self._store.step_down(partition.number)
