"""Bugs in the order of a conversation, in its stamps, and on the way between partitions."""

from __future__ import annotations

from mutation import Edit, Mutation

from palaver.actors.chat.forwarder import Forwarder
from palaver.actors.chat.lanes import Lanes, _Lane
from palaver.actors.chat.partition import PartitionServer
from palaver.actors.chat.sequencer import Sequencer
from palaver.actors.chat.stamps import StampClock
from palaver.actors.chat.state import conversations, machine
from palaver.actors.chat.state.step import Step

ORDER = "one gap-free order of a conversation"
SENDERS = "a sender's messages stay in order"
CAUSAL = "stamps respect causality"
BETWEEN = "between partitions nothing is lost, doubled or reordered"

MUTATIONS = [
    Mutation(
        "seq-from-a-clock",
        "The seq is the time, in milliseconds: it only rises as well.",
        ORDER,
        [
            Edit(
                conversations.send,
                """
                seq += 1
                last_stamp = max(stamp, last_stamp + 1)
                """,
                """
                last_stamp = max(stamp, last_stamp + 1)
                seq = max(seq, last_stamp >> 16)
                """,
            )
        ],
    ),
    Mutation(
        "gap-at-a-retry",
        "A seq is taken before it is known whether the message is a retry.",
        ORDER,
        [
            Edit(
                conversations.send,
                """
                answers.append(known)
                continue
                """,
                """
                seq += 1
                step.put_head(conversation, seq, last_stamp)
                answers.append(known)
                continue
                """,
            )
        ],
        scenario="partitioned",
    ),
    Mutation(
        "head-not-written",
        "The last seq is kept in the cache and written only with every tenth message.",
        ORDER,
        [
            Edit(
                Step.put_head,
                'self.txn.put("heads", conversation, PAIR.pack(seq, stamp))',
                """
                if seq % 10 == 1:
                    self.txn.put("heads", conversation, PAIR.pack(seq, stamp))
                """,
            )
        ],
    ),
    Mutation(
        "previous-not-checked",
        "A message is accepted although the one before it was not, and that one after it.",
        SENDERS,
        [
            Edit(
                conversations.send,
                "if previous and not ledger.knows(previous):",
                "if previous and False:",
            ),
            Edit(conversations.send, "if message.client_id < overtaken:", "if False:"),
        ],
        scenario="hasty",
    ),
    Mutation(
        "previous-not-named",
        "A session does not say which message has to be accepted before, and nobody looks.",
        SENDERS,
        [
            Edit(
                _Lane.before,
                "if not self.open and not self.refused:",
                "if True:",
            ),
            Edit(conversations.send, "if message.client_id < overtaken:", "if False:"),
        ],
        scenario="hasty",
    ),
    Mutation(
        "change-overtakes",
        "A change of a group's members does not say what has to be accepted before, nor looks.",
        SENDERS,
        [
            Edit(
                Lanes._submit_change,
                "previous = lane.before(change.cid, change.low)",
                "previous = 0",
            ),
            Edit(
                conversations.change_members,
                "if ledger.last_after(client_id, conversation):",
                "if False:",
            ),
        ],
        scenario="hasty",
    ),
    Mutation(
        "resubmitted-backwards",
        "What was open when a sequencer died is put back in the wrong order.",
        SENDERS,
        [
            Edit(
                Lanes.lost,
                "lane.waiting.extendleft(reversed(again))",
                "lane.waiting.extendleft(again)",
            )
        ],
        scenario="hasty",
    ),
    Mutation(
        "stamps-not-reserved",
        "After a restart nobody knows which stamps were given out; the wall clock will do.",
        CAUSAL,
        [Edit(conversations._reserve, "if reserved < stamp:", "if False:")],
        scenario="jumpy",
    ),
    Mutation(
        "stamps-of-the-wall",
        "A stamp is the wall clock's time, without regard to the stamps before.",
        CAUSAL,
        [
            Edit(
                StampClock.take,
                "first = max(self._time_ms() << _COUNTER_BITS, self._last + 1)",
                "first = self._time_ms() << _COUNTER_BITS",
            )
        ],
        scenario="jumpy",
    ),
    Mutation(
        "clock-of-its-own",
        "Each sequencer makes a stamp clock of its own, which knows nothing of the others.",
        CAUSAL,
        [
            Edit(
                Sequencer.init,
                "self._stamps = stamps",
                "self._stamps = type(stamps)(self.clock.time_ms)",
            )
        ],
        scenario="jumpy",
    ),
    Mutation(
        "seen-of-the-server",
        "`seen` says what the conversation had, not what the sender had seen.",
        CAUSAL,
        [
            Edit(
                conversations.send,
                "seen = min(message.seen, seq - 1)",
                "seen = seq - 1",
            )
        ],
    ),
    Mutation(
        "outbox-applied-twice",
        "What another partition delivers again is applied again.",
        BETWEEN,
        [
            Edit(machine._deliver, "if number <= last:", "if False:"),
            Edit(machine._deliver, "if number != last + 1:", "if False:"),
        ],
        scenario="supervisors",
    ),
    Mutation(
        "outbox-confirmed-at-once",
        "The outbox is emptied when its commands were sent, not when they were applied.",
        BETWEEN,
        [
            Edit(
                Forwarder._deliver,
                "self.send(partition_name(target), Append(self.pid, tag, command))",
                """
                self.send(partition_name(target), Append(self.pid, tag, command))
                confirm = (cmd.CONFIRM, target, tag.last)
                self.send(partition_name(self._number), Append(None, None, confirm))
                """,
            )
        ],
        scenario="hasty",
    ),
    Mutation(
        "outbox-forgotten-at-restart",
        "A new forwarder waits until something new is put into the outbox.",
        BETWEEN,
        [
            Edit(Forwarder.init, "self._read()", ""),
            Edit(
                PartitionServer._settled,
                "self.send(forwarder_name(self._number), Poke())",
                "",
            ),
        ],
        scenario="hasty",
    ),
    Mutation(
        "outbox-from-its-end",
        "What another partition delivered is applied beginning with the newest.",
        BETWEEN,
        [
            Edit(
                machine._deliver,
                "for number, inner in enumerate(forwarded, first):",
                """
                news = [item for item in enumerate(forwarded, first) if item[0] > last]
                if news:
                    for number, inner in reversed(news):
                        step.deliver(tuple(inner))
                    last = news[-1][0]
                for number, inner in enumerate(forwarded, first):
                """,
            )
        ],
    ),
    Mutation(
        "poke-lost-while-reading",
        "A poke that comes while the outbox is read is dropped.",
        BETWEEN,
        [
            Edit(
                Forwarder._read,
                """
                if self._reading:
                    self._again = True
                    return
                """,
                """
                if self._reading:
                    return
                """,
            ),
            Edit(
                Forwarder.handle_info,
                """
                self._busy.discard(target)
                self._read()
                """,
                "self._busy.discard(target)",
            ),
        ],
        scenario="partitioned",
    ),
]
