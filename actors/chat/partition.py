"""The process of a partition: it hands commands to the log, and tells whom they concern.

Everything that arrives within one turn of this process goes to the store as one append; the store
makes one transaction of all that arrived during the last commit. When a batch is durable, each
submitter gets its `Applied`, and each effect goes to the process it concerns: events to the
queues that are attached, watermarks to the gateways, commands for other partitions to the
forwarder.

If this process dies, nothing that was appended is lost: the store goes on, and the queues and
sequencers (which depend on this process in their supervision tree) start anew and read from it.

That is also what it does when a commit has failed with an unknown outcome. What of it turns out to
be durable has effects that nobody was told of: events in queues, commands in the outbox, a device
that was revoked. So as soon as something can be stored again, this process ends, and with it
everybody begins anew from the tables.
What was under way then becomes durable later, perhaps after they have read, and nobody is told. So
a new process first appends a command that does nothing: when that is durable, so is all before it,
and whoever has read too early is told to read again.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from palaver.actors.chat.attachments import Attachments
from palaver.actors.chat.gathering import Gathering
from palaver.actors.chat.messages import (
    AckUpTo,
    Answer,
    Append,
    Applied,
    Ask,
    AttachQueue,
    FindSequencer,
    Missed,
    NewEvents,
    PresenceChanged,
    Reload,
    Revoked,
    Route,
    SequencerIs,
)
from palaver.actors.chat.names import forwarder_name, gateway_name, sequencers_name
from palaver.actors.chat.owned import Greet, Owned
from palaver.actors.chat.partition_port import PartitionPort
from palaver.actors.chat.queries import QUERIES, Login
from palaver.actors.chat.sequencer import Sequencer
from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import NOREPLY, Down, From, Pid, Response, Shutdown, Stop
from palaver.storage import Outcome, StoreFailed, StoreFull, StoreUnavailable
from palaver.supervisors import ChildSpec, StartChild
from palaver.transport import wire

__all__ = ["PartitionPort", "PartitionServer", "Poke"]

#: What the store refused (a full disk, an overload) and nobody repeats is tried again so late.
_RETRY_S = 0.5


class Poke(NamedTuple):
    """Something waits in the outbox."""


class _Flush(NamedTuple):
    acks: bool


class _Probe(NamedTuple):
    """A commit has failed: can anything be stored again?"""


class _Probed(NamedTuple):
    outcome: Outcome | Exception


class _Committed(NamedTuple):
    batch: list[Append]
    outcomes: list[Outcome | Exception]


class _Settle(NamedTuple):
    """Append what does nothing; again, if the store refused it."""


class _Settled(NamedTuple):
    outcome: Outcome | Exception


class _Done(NamedTuple):
    ask: Ask
    result: Any


#: After these commands presence has to decide anew who may see the account in their first field.
_CHANGES_PRESENCE = frozenset({cmd.SET_PRIVACY, cmd.SET_BLOCK, cmd.DELETE_ACCOUNT})


class PartitionServer(Owned):
    """Owns the way to one partition of the store."""

    __slots__ = (
        "_attachments",
        "_gathering",
        "_in_doubt",
        "_number",
        "_presences",
        "_probing",
        "_sequencer_args",
        "_sequencer_refs",
        "_sequencers",
        "_starting",
        "_stats",
        "_store",
    )

    def init(
        self,
        number: int,
        store: PartitionPort,
        stats: ChatStats,
        sequencer_args: tuple[Any, ...],
    ) -> None:
        """Take over partition `number`; `sequencer_args` is passed to each sequencer."""
        self._stats = stats
        self._number = number
        self._store = store
        self._sequencer_args = sequencer_args
        self._gathering = Gathering()
        self._attachments = Attachments(self.random.getrandbits(62))
        self._probing = False
        self._in_doubt = False  # a commit failed, and may be there all the same
        self._presences: dict[Any, Pid] = {}  # those that have asked for a row; by monitor
        self._sequencers: dict[bytes, Pid] = {}
        self._sequencer_refs: dict[Any, bytes] = {}
        self._starting: dict[Any, tuple[bytes, list[Pid]]] = {}
        self._settle()

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer an `Append` or `Ask` to a caller; its `reply_to` and `tag` are not used."""
        if type(request) is Greet:
            return self.pid
        self._take(request._replace(reply_to=None, tag=from_))
        return NOREPLY

    def handle_info(self, message: Any) -> Stop | None:
        """Take an append, a query, a commit, or news of a queue or sequencer."""
        if type(message) is _Probed:
            return self._probed(message.outcome)
        self._take(message)
        return None

    def _take(self, message: Any) -> None:
        kind = type(message)
        if kind is Append:
            self._arrange(self._gathering.add(message, self.clock.monotonic()), _Flush(acks=False))
        elif kind is AckUpTo:
            self._arrange(self._gathering.acknowledge(message), _Flush(acks=True))
        elif kind is _Committed:
            self._committed(message.batch, message.outcomes)
        elif kind is _Flush:
            self._flush(message.acks)
        elif kind is Ask:
            self._ask(message)
        elif kind is _Done:
            self._answer(message.ask, message.result)
        else:
            self._take_rare(message)

    def _take_rare(self, message: Any) -> None:
        match message:
            case FindSequencer():
                self._find_sequencer(message)
            case _Settle():
                self._settle()
            case _Settled(outcome):
                self._settled(outcome)
            case AttachQueue():
                self._attach(message)
            case Response(ref, value, error):
                self._started(ref, None if error is not None else value)
            case Down(ref, Pid() as pid, _):
                self._down(ref, pid)
            case _Probe():
                self._probe()
            case _:
                super().handle_info(message)

    # -- the log -----------------------------------------------------------------------------

    def _arrange(self, wait_s: float | None, flush: _Flush) -> None:
        if wait_s is None:
            return
        if wait_s > 0:
            self.send_after(wait_s, self.pid, flush)
        else:
            # To the end of this process's own mailbox: what is in it now goes along.
            self.send(self.pid, flush)

    def _retry_ack(self, command: cmd.Command) -> None:
        _, account, device, position = command
        self._gathering.acknowledge(AckUpTo(account, device, position))
        self.send_after(_RETRY_S, self.pid, _Flush(acks=True))

    def _flush(self, acks: bool) -> None:
        batch = self._gathering.take(self.clock.monotonic(), acks=acks)
        if not batch:
            return
        try:
            self._store.append(
                self._number, [append.command for append in batch], partial(self._done, batch)
            )
        except Exception as error:  # noqa: BLE001 - whatever the store refuses is the answer
            for append in batch:
                self._respond(append, None, error)

    def _done(self, batch: list[Append], outcomes: list[Outcome | Exception]) -> None:
        # Runs outside of any process: only a message may leave here.
        self.node.send(self.pid, _Committed(batch, outcomes))

    def _settle(self) -> None:
        # Confirms nothing to itself: it changes nothing, and has no effects.
        nothing = (cmd.CONFIRM, self._number, 0)
        node, me = self.node, self.pid
        try:
            self._store.append(
                self._number, [nothing], lambda outcomes: node.send(me, _Settled(outcomes[0]))
            )
        except Exception as error:  # noqa: BLE001 - whatever the store refuses is tried again
            self._settled(error)

    def _settled(self, outcome: Outcome | Exception) -> None:
        """What an earlier process of this partition had appended is durable now."""
        if isinstance(outcome, Exception):
            self.send_after(_RETRY_S, self.pid, _Settle())
            return
        for queue in self._attachments.settled():
            self.send(queue, Missed())
        for sequencer in self._sequencers.values():
            self.send(sequencer, Reload())
        # What was forwarded before a crash still waits in the outbox.
        self.send(forwarder_name(self._number), Poke())

    def _respond(self, append: Append, value: Any, error: Exception | None) -> None:
        if append.reply_to is not None:
            self.send(append.reply_to, Applied(append.tag, value, error))
        elif isinstance(append.tag, From):
            if error is None:
                self.reply(append.tag, value)
            else:
                self.reply_error(append.tag, error)
        elif error is not None and append.command[0] == cmd.ACK:
            self._retry_ack(append.command)

    def _committed(self, batch: list[Append], outcomes: list[Outcome | Exception]) -> None:
        attachments = self._attachments
        attachments.committed()
        pushes: dict[Pid, list[NewEvents]] = {}
        marks: dict[tuple[bytes, str], cmd.Marked] = {}
        for append, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                if isinstance(outcome, StoreFull | StoreFailed | StoreUnavailable):
                    self._failing(outcome)
                self._respond(append, None, outcome)
                continue
            self._stats.failing.pop(self._number, None)
            self._respond(append, outcome.value, None)
            if append.command[0] in _CHANGES_PRESENCE:
                for presence in self._presences.values():
                    self.send(presence, PresenceChanged(append.command[1]))
            for effect in outcome.effects:
                if type(effect) is cmd.Queued:
                    for queue in attachments.of((effect.account, effect.device)):
                        _gather(pushes.setdefault(queue, []), effect)
                elif type(effect) is cmd.Marked:
                    # Watermarks only rise, so the last of a batch says it all.
                    key = (effect.conversation, effect.account)
                    before = marks.get(key)
                    if before is not None and before.accounts != effect.accounts:
                        told = tuple(sorted({*before.accounts, *effect.accounts}))
                        effect = effect._replace(accounts=told)
                    marks[key] = effect
                else:
                    self._tell(effect)
        attachments.trim()
        for queue, runs in pushes.items():
            for run in runs:
                self.send(queue, run)
        for mark in marks.values():
            op = wire.receipt(mark.conversation, mark.account, mark.delivered, mark.read)
            key = (mark.conversation, mark.account)
            self.send(gateway_name(0), Route(mark.accounts, key, op))

    def _failing(self, error: StoreFull | StoreFailed | StoreUnavailable) -> None:
        """Nothing can be stored: find out by oneself when that is over, and no longer say so."""
        if not isinstance(error, StoreUnavailable):  # this node does not lead any more
            self._stats.failing[self._number] = str(error)
        self._in_doubt |= not isinstance(error, StoreFull)
        if not self._probing:
            self._probing = True
            self.send_after(_RETRY_S, self.pid, _Probe())

    def _probe(self) -> None:
        """Store nothing, durably: when that is done, everything before it is decided."""

        def done(outcomes: list[Outcome | Exception]) -> None:
            self.node.send(self.pid, _Probed(outcomes[0]))

        try:
            self._store.append(self._number, [(cmd.LAST_SEEN, ())], done)
        except Exception as error:  # noqa: BLE001 - whatever the store refuses is the answer
            self.send(self.pid, _Probed(error))

    def _probed(self, outcome: Outcome | Exception) -> Stop | None:
        if isinstance(outcome, Exception):
            self.send_after(_RETRY_S, self.pid, _Probe())
            return None
        self._stats.failing.pop(self._number, None)
        self._probing = False
        if self._in_doubt:
            return Stop(Shutdown("a commit was in doubt; what it did is read from the tables"))
        return None

    def _tell(self, effect: cmd.Effect) -> None:
        match effect:
            case cmd.Forwarded():
                self.send(forwarder_name(self._number), Poke())
            case cmd.ConversationChanged(conversation):
                sequencer = self._sequencers.get(conversation)
                if sequencer is not None:
                    self.send(sequencer, Reload())
            case cmd.DeviceRevoked(account, device):
                for queue in self._attachments.revoke((account, device)):
                    self.send(queue, Revoked())

    def _attach(self, attach: AttachQueue) -> None:
        """Tell a queue of its device's events from now on, and whether it missed some."""
        known = self._attachments.has(attach)
        first = self._attachments.attach(attach)
        if not known and (first is None or type(first) is Missed):
            self._attachments.monitored(self.monitor(attach.queue), attach)
        if first is not None:
            self.send(attach.queue, first)

    # -- queries -----------------------------------------------------------------------------

    def _ask(self, ask: Ask) -> None:
        query = QUERIES[ask.query]
        as_of = self._attachments.as_of
        if ask.query == "presence" and ask.reply_to is not None:
            self._met(ask.reply_to)

        def done(result: Any) -> None:
            if type(result) is Login:
                result = result._replace(as_of=as_of)
            self.node.send(self.pid, _Done(ask, result))

        try:
            self._store.read(
                self._number,
                lambda txn: query(txn, *ask.args),
                done,
            )
        except Exception as error:  # noqa: BLE001 - whatever the store refuses is the answer
            self._answer(ask, error)

    def _met(self, presence: Pid) -> None:
        """A presence keeps a row: it has to hear when that changes."""
        if presence not in self._presences.values():
            self._presences[self.monitor(presence)] = presence

    def _answer(self, ask: Ask, result: Any) -> None:
        failed = isinstance(result, BaseException)
        if ask.reply_to is not None:
            value, error = (None, result) if failed else (result, None)
            self.send(ask.reply_to, Answer(ask.tag, value, error))
        elif isinstance(ask.tag, From):
            if failed:
                self.reply_error(ask.tag, result)
            else:
                self.reply(ask.tag, result)

    # -- sequencers --------------------------------------------------------------------------

    def _find_sequencer(self, message: FindSequencer) -> None:
        conversation = message.conversation
        known = self._sequencers.get(conversation)
        if known is not None:
            self.send(message.reply_to, SequencerIs(conversation, known))
            return
        for starting, waiting in self._starting.values():
            if starting == conversation:
                waiting.append(message.reply_to)
                return
        spec = ChildSpec(
            id=conversation,
            start=Sequencer,
            args=(conversation, self._number, *self._sequencer_args),
            restart="temporary",
        )
        ref = self.send_request(sequencers_name(self._number), StartChild(spec))
        self._starting[ref] = (conversation, [message.reply_to])

    def _started(self, ref: Any, pid: Pid | None) -> None:
        started = self._starting.pop(ref, None)
        if started is None:
            return
        conversation, waiting = started
        if pid is not None:
            self._sequencers[conversation] = pid
            self._sequencer_refs[self.monitor(pid)] = conversation
        for session in waiting:
            self.send(session, SequencerIs(conversation, pid))

    def _down(self, ref: Any, pid: Pid) -> None:
        conversation = self._sequencer_refs.pop(ref, None)
        if conversation is not None:
            if self._sequencers.get(conversation) is pid:
                del self._sequencers[conversation]
            return
        if self._presences.pop(ref, None) is None:
            self._attachments.ended(ref, pid)


def _gather(runs: list[NewEvents], effect: cmd.Queued) -> None:
    """Add an event to the last run of consecutive positions, or begin a new run."""
    if runs and runs[-1].first + len(runs[-1].events) == effect.position:
        runs[-1].events.append(effect.event)
    else:
        runs.append(NewEvents(effect.position, [effect.event]))
