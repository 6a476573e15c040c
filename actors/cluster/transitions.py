"""How a node goes from one role to the next for a partition: the jobs beside `Ownership`.

At most one job for a partition is under way. One that only waits (for the registers, the journal)
is killed when it is to be given up; one that starts or stops processes is waited for.
"""

from __future__ import annotations

from typing import Any, Final

from palaver.actors.cluster.background import Finished, Job, begin, within
from palaver.actors.cluster.decisions import GiveUp, HandOver, Role, Situation
from palaver.actors.cluster.errors import CannotHandOver
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.ports import ClusterStore, PartitionHost
from palaver.actors.cluster.records import OwnerRecord, decoded, owner_key
from palaver.actors.cluster.registers import Guarded
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.runtime import KILL, From, GenServer, Pid, ProcessContext, TimerRef
from palaver.storage.replicated.ports import Register, RegisterChanged, RegistersUnavailable

__all__ = ["Desk", "Partition"]

_MAX_DOUBLINGS: Final = 4
_UNKNOWN: Final = "?"
_OWN: Final = "!"
_KILLABLE: Final = frozenset({"campaign", "lead", "announce"})


class Partition:
    """What this node knows and does about one partition.

    Attributes:
        number: which.
        jitter_s: a little time by which this node is later than another of its rank.
        owner, revision, owner_since_s: the register, and since when it says so.
        role, role_since_s, epoch: what this node is for it.
        followed: whether the store keeps a replica.
        rebuild: why its replica is to be made anew; "" if it is not.
        trouble: why it cannot be followed, or does not go on; "" if it does.
        shown: what the host runs.
        busy: the job that is under way, and its process.
        successor: what the register is to say after stepping down; None: nothing new.
        asked: who waits for a hand-over.
    """

    __slots__ = (
        "alarm",
        "asked",
        "began_s",
        "busy",
        "epoch",
        "failures",
        "followed",
        "jitter_s",
        "not_before_s",
        "number",
        "owner",
        "owner_since_s",
        "rebuild",
        "revision",
        "role",
        "role_since_s",
        "shown",
        "successor",
        "trouble",
    )

    def __init__(self, number: int, jitter_s: float, now_s: float) -> None:
        self.number = number
        self.jitter_s = jitter_s
        self.owner: OwnerRecord | None = None
        self.revision = 0
        self.owner_since_s = now_s
        self.role = Role.FOLLOWING
        self.role_since_s = now_s
        self.epoch = 0
        self.followed = False
        self.rebuild = ""
        self.trouble = ""
        self.shown: str | None = _UNKNOWN
        self.busy: tuple[str, Pid] | None = None
        self.successor: OwnerRecord | None = None
        self.asked: list[From] = []
        self.failures = 0
        self.not_before_s = 0.0
        self.began_s = 0.0
        self.alarm: TimerRef | None = None

    def changed(self, owner: OwnerRecord | None, revision: int, now_s: float) -> None:
        """The register holds this now."""
        if owner != self.owner:
            self.owner_since_s = now_s
        self.owner = owner
        self.revision = revision

    def settled(self) -> None:
        """It was brought to its end: what failed before does not count any more."""
        self.failures = 0
        self.not_before_s = 0.0


class Desk:
    """Begins the jobs, and sees to what came of them."""

    __slots__ = ("_host", "_recorder", "_server", "_settings", "_store", "me", "registers")

    def __init__(
        self,
        server: GenServer[Any],
        me: tuple[str, int],
        store: ClusterStore,
        host: PartitionHost,
        registers: Guarded,
        settings: ClusterSettings,
        recorder: Recorder,
    ) -> None:
        self._server = server
        self.me = me
        self._store = store
        self._host = host
        self.registers = registers
        self._settings = settings
        self._recorder = recorder

    def _record(self, epoch: int, phase: Any) -> OwnerRecord:
        return OwnerRecord(*self.me, epoch, phase)

    def announced(self, partition: Partition) -> bool:
        """Whether the register says that this node leads."""
        return partition.owner == self._record(partition.epoch, "leading")

    # -- forward -------------------------------------------------------------------------------

    def campaign(self, partition: Partition, epoch: int) -> None:
        """Have this node named."""
        partition.began_s = self._server.clock.monotonic()
        self._enter(partition, Role.CAMPAIGNING, epoch)
        self._write(partition, "campaign", self._record(epoch, "taking"))

    def take_over(self, partition: Partition, epoch: int) -> None:
        """Lead, now that this node is named."""
        if partition.role is not Role.CAMPAIGNING:
            partition.began_s = self._server.clock.monotonic()
        self._enter(partition, Role.TAKING_OVER, epoch)
        store, number, limit_s = self._store, partition.number, self._settings.takeover_s
        self._begin(partition, "lead", lambda ctx: within(ctx, limit_s, store.lead(number, epoch)))

    def announce(self, partition: Partition) -> None:
        """Say in the register that it leads."""
        self._write(partition, "announce", self._record(partition.epoch, "leading"))

    # -- back ----------------------------------------------------------------------------------

    def give_up(self, partition: Partition, action: GiveUp) -> None:
        """Stop leading, or trying to."""
        if partition.role in (Role.FOLLOWING, Role.STEPPING_DOWN):
            return
        partition.successor = self._record(partition.epoch, "free") if action.free else None
        self._step_down(partition, action.why)
        self._delay(partition)

    def hand_over(self, partition: Partition, action: HandOver, situation: Situation) -> None:
        """Stop leading, then name another one."""
        creation = situation.nodes[action.to].creation
        assert creation is not None, "a candidate has a register"
        partition.successor = OwnerRecord(action.to, creation, partition.epoch + 1, "taking")
        self._step_down(partition, f"to {action.to}: {action.why}")

    def _step_down(self, partition: Partition, why: str) -> None:
        was_leading = partition.role is Role.LEADING
        self._store.step_down(partition.number)  # at once, whatever is under way
        self._enter(partition, Role.STEPPING_DOWN, partition.epoch, why, warn=not was_leading)
        if partition.busy is not None:
            what, worker = partition.busy
            if what not in _KILLABLE:
                return  # "start": `finished` goes on from here
            self._server.unlink(worker)
            self._server.exit(worker, KILL)
            partition.busy = None
        self._stop_host(partition)

    def _stop_host(self, partition: Partition) -> None:
        if partition.shown is None:
            self._stopped(partition)
            return
        host, number, limit_s = self._host, partition.number, self._settings.host_s
        self._begin(
            partition, "stop", lambda ctx: within(ctx, limit_s, host.start_proxy(number, None))
        )

    def _stopped(self, partition: Partition) -> None:
        """Nothing of the partition runs here any more: others may."""
        partition.shown = None
        owner, epoch = partition.owner, partition.epoch
        # Only what names this node, for this epoch, is this node's to change.
        mine = owner is not None and (owner.node, owner.creation, owner.epoch) == (*self.me, epoch)
        if partition.successor is not None and mine:
            self._write(partition, "name", partition.successor)
            return
        asked, partition.asked = partition.asked, []
        for each in asked:
            error = CannotHandOver("this node led it no longer: look who owns it now")
            self._server.reply_error(each, error)
        self._follow(partition)

    def _follow(self, partition: Partition) -> None:
        partition.successor = None
        self._enter(partition, Role.FOLLOWING, 0)

    # -- beside --------------------------------------------------------------------------------

    def show(self, partition: Partition, target: str | None) -> None:
        """Let the host pass messages on to an owner elsewhere."""
        if partition.busy is not None or partition.shown == target:
            return
        partition.shown = target
        host, number, limit_s = self._host, partition.number, self._settings.host_s
        self._begin(
            partition, "show", lambda ctx: within(ctx, limit_s, host.start_proxy(number, target))
        )

    def drop_replica(self, partition: Partition) -> None:
        """Keep no replica any more."""
        store, number = self._store, partition.number
        self._begin(partition, "drop", lambda ctx: ctx.bridge(store.unfollow(number)))

    def forget(self, partition: Partition) -> None:
        """Remove the tables that a replica has left."""
        store, number = self._store, partition.number
        self._begin(partition, "forget", lambda ctx: ctx.bridge(store.forget(number)))

    def rebuild(self, partition: Partition) -> None:
        """Make the replica anew."""
        self._recorder.tell("rebuilding", partition.number, partition.rebuild, level="alarm")
        store, number = self._store, partition.number
        self._begin(partition, "rebuild", lambda ctx: ctx.bridge(store.rebuild(number)))

    # -- what came of it -----------------------------------------------------------------------

    def finished(self, partition: Partition, done: Finished) -> None:
        """A job is over."""
        if partition.busy is None or partition.busy[1] is not done.worker:
            return  # it was given up when it was just done
        what = partition.busy[0]
        partition.busy = None
        getattr(self, f"_{what}_done")(partition, done)

    def _campaign_done(self, partition: Partition, done: Finished) -> None:
        if self._written(partition, done):
            self.take_over(partition, partition.epoch)
        else:
            # Named or not: the register will tell, and then it is looked at anew.
            self._delay(partition)
            self._follow(partition)

    def _lead_done(self, partition: Partition, done: Finished) -> None:
        if done.error is not None:
            self.give_up(partition, GiveUp(_told(done.error), free=True))
            return
        partition.shown = _OWN
        host, number, limit_s = self._host, partition.number, self._settings.host_s
        self._begin(partition, "start", lambda ctx: within(ctx, limit_s, host.start_owner(number)))

    def _start_done(self, partition: Partition, done: Finished) -> None:
        if partition.role is Role.STEPPING_DOWN:
            self._stop_host(partition)
        elif done.error is not None:
            self._recorder.tell(
                "partition not started", partition.number, _told(done.error), level="alarm"
            )
            self.give_up(partition, GiveUp(_told(done.error), free=True))
        else:
            partition.settled()
            took_s = self._server.clock.monotonic() - partition.began_s
            self._recorder.stats.takeover_s = took_s
            self._enter(partition, Role.LEADING, partition.epoch, f"after {took_s:.3f} s")

    def _announce_done(self, partition: Partition, done: Finished) -> None:
        if not self._written(partition, done):
            self._delay(partition)
        else:
            partition.settled()

    def _stop_done(self, partition: Partition, done: Finished) -> None:
        if done.error is not None:
            # Two might serve if it went on. Whoever supervises begins anew, with all stopped.
            raise done.error
        self._stopped(partition)

    def _name_done(self, partition: Partition, done: Finished) -> None:
        named = self._written(partition, done)
        asked, partition.asked = partition.asked, []
        for each in asked:
            if named:
                self._server.reply(each, value=True)
            else:
                error = CannotHandOver(f"{_told(done.error)}: look who owns it now")
                self._server.reply_error(each, error)
        if not named:
            self._delay(partition)
        self._follow(partition)

    def _show_done(self, partition: Partition, done: Finished) -> None:
        if done.error is not None:
            self._recorder.tell(
                "proxies not started", partition.number, _told(done.error), level="alarm"
            )
            partition.shown = _UNKNOWN

    def _drop_done(self, partition: Partition, done: Finished) -> None:
        if done.error is None:
            partition.followed = False
            partition.rebuild = ""
            self._recorder.tell("replica dropped", partition.number)
        else:
            self._recorder.tell(
                "replica not dropped", partition.number, _told(done.error), level="warning"
            )

    def _forget_done(self, partition: Partition, done: Finished) -> None:
        if done.error is None:
            self._recorder.tell("tables removed", partition.number)
        else:
            text = f"{_told(done.error)}; it is tried again"
            self._recorder.tell("tables not removed", partition.number, text, level="warning")

    def _rebuild_done(self, partition: Partition, done: Finished) -> None:
        if done.error is None:
            partition.rebuild = ""
            self._recorder.tell("rebuilt", partition.number)
        else:
            self._recorder.tell("not rebuilt", partition.number, _told(done.error), level="alarm")

    # -- helpers -------------------------------------------------------------------------------

    def _enter(
        self, partition: Partition, role: Role, epoch: int, text: str = "", *, warn: bool = False
    ) -> None:
        partition.role = role
        partition.role_since_s = self._server.clock.monotonic()
        partition.epoch = epoch
        self._recorder.tell(
            str(role), partition.number, text, level="warning" if warn else "info", epoch=epoch
        )

    def _delay(self, partition: Partition) -> None:
        """Do not try again at once: each time later, and not all nodes at the same time."""
        server = self._server
        wait_s = self._settings.retry_s * 2 ** min(partition.failures, _MAX_DOUBLINGS)
        partition.failures += 1
        partition.not_before_s = server.clock.monotonic() + wait_s * server.random.uniform(0.7, 1.3)

    def _begin(self, partition: Partition, what: str, job: Job) -> None:
        assert partition.busy is None, f"{partition.busy} is under way"
        partition.busy = (what, begin(self._server, (partition.number, what), job))

    def _write(self, partition: Partition, what: str, record: OwnerRecord) -> None:
        registers, key = self.registers, owner_key(partition.number)
        expected = partition.revision or None

        async def write(ctx: ProcessContext) -> tuple[bool, OwnerRecord | None, int]:
            try:
                revision = await registers.put(ctx, key, record, expected)
            except RegisterChanged:
                there = await registers.get(ctx, key)
                return False, *_seen(there)
            return True, record, revision

        self._begin(partition, what, write)

    def _written(self, partition: Partition, done: Finished) -> bool:
        """Whether a write was done; what the register holds is known either way, if it is."""
        if done.error is not None:
            if not isinstance(done.error, RegistersUnavailable):
                raise done.error
            return False
        written, owner, revision = done.value
        if revision > partition.revision:
            partition.changed(owner, revision, self._server.clock.monotonic())
        return bool(written)


def _seen(register: Register | None) -> tuple[OwnerRecord | None, int]:
    if register is None:
        return None, 0
    return decoded(OwnerRecord, register.value), register.revision


def _told(error: BaseException | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {error}"
