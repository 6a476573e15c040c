"""Bugs of a cluster: in what counts in a journal, in who leads, in what stands in for an owner."""

from __future__ import annotations

from mutation import Edit, Mutation

from palaver.actors.chat.proxies import Proxy
from palaver.actors.chat.sequencer import Sequencer
from palaver.actors.cluster.auditing import majority_position
from palaver.actors.cluster.auditor import Auditor
from palaver.storage.replicated.entries import Standing
from palaver.storage.replicated.feeding import Feed
from palaver.storage.replicated.leading import Leadership
from palaver.storage.replicated.machine import JournalMachine
from palaver.storage.replicated.owning import Owner
from palaver.storage.replicated.publishing import Publisher
from palaver.storage.replicated.replica import Replica

FENCED = "what a deposed owner writes has no effect"
ONE = "all replicas have one history"
KEPT = "what was answered is there at the next owner"
GOES_ON = "the cluster goes on after faults"
ENOUGH = "a majority has what a journal forgets"
EQUAL = "a copy that goes astray is found and made anew"

MUTATIONS = [
    Mutation(
        "epoch-not-checked",
        "An entry counts if its number is the next one, whoever's epoch it is of.",
        FENCED,
        [
            Edit(
                Standing.after,
                "elif body.epoch == self.epoch and body.number == self.number + 1:",
                "elif body.number == self.number + 1:",
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "number-not-checked",
        "Every entry of the owner counts, also one that overtook another or comes again.",
        ONE,
        [
            Edit(
                Standing.after,
                "elif body.epoch == self.epoch and body.number == self.number + 1:",
                "elif body.epoch == self.epoch:",
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "epoch-taken-twice",
        "A takeover counts also where its epoch is the current one.",
        FENCED,
        [Edit(Standing.after, "if body.epoch > self.epoch:", "if body.epoch >= self.epoch:")],
        scenario="replicas",
    ),
    Mutation(
        "position-behind-its-effects",
        "The place in the journal is written with the batch after the one that it belongs to.",
        ONE,
        [
            Edit(
                JournalMachine.finish,
                "txn.put(META_TABLE, _STANDING, cbor2.dumps(self._standing))",
                "txn.put(META_TABLE, _STANDING, cbor2.dumps(self._written))",
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "gap-in-the-tables",
        "An entry is applied although the one before it failed.",
        ONE,
        [
            Edit(
                JournalMachine._begin,
                "if position != self._standing.position + 1:",
                "if position <= self._standing.position:",
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "lease-for-ever",
        "An owner serves although the journal has been silent for longer than its lease.",
        "an owner shows what was told long ago",
        [
            Edit(
                Leadership.proves,
                "if self._timers.now_s() - self._proof_s <= self._limits.lease_s:",
                "if self._timers.now_s() >= self._proof_s:",
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "serves-before-it-has-read",
        "A new owner serves as soon as its takeover is published, not when it is applied.",
        KEPT,
        [
            Edit(
                Leadership._takeover_answered,
                "self._stands_at = answer",
                """
                self._stands_at = answer
                self.serving = True
                if not self.settled.done():
                    self.settled.set_result(None)
                """,
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "confirmed-out-of-place",
        "The owner applies an entry when it is confirmed, wherever it stands.",
        ONE,
        [
            Edit(
                Publisher.next_at,
                "if self._pending and self._pending[0].position == position:",
                "if self._pending and self._pending[0].position is not None:",
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "deposed-and-deaf",
        "A deposed owner does not look whose takeover it reads, nor whose entries.",
        "what was told stays true",
        [
            Edit(
                Owner.taken_over,
                "if leader.counts and self._replica.read.token != leader.token:",
                "if not leader.counts and self._replica.read.token != leader.token:",
            ),
            Edit(
                Owner.counted,
                "if leader is None or self._replica.read.token != leader.token:",
                "if leader is None:",
            ),
        ],
        scenario="replicas",
    ),
    Mutation(
        "place-before-the-snapshot",
        "After another replica's snapshot the journal is read from where this one was.",
        GOES_ON,
        [
            Edit(
                Replica._swap,
                "self._replaced()",
                """
                read = self.read
                self._replaced()
                self.read = read
                """,
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "failed-and-there",
        "A commit that failed and is on the disk all the same is applied once more, for ever.",
        GOES_ON,
        [
            Edit(
                Feed._answered,
                "elif isinstance(results[0], OutOfOrder) and "
                "results[0].position >= fed.standing.position:",
                "elif False:",
            )
        ],
        scenario="replicas",
    ),
    Mutation(
        "stand-in-for-the-dead",
        "A stand-in goes on when the process it stands in for has ended.",
        GOES_ON,
        [
            Edit(
                Proxy.handle_info,
                "return Stop(Shutdown(message.reason))",
                "return None",
            )
        ],
        scenario="failover",
    ),
    Mutation(
        "stamp-of-the-owners-clock",
        "The owner stamps a message by its own clock, whatever its author has seen elsewhere.",
        "stamps rise along what people saw",
        [Edit(Sequencer._submit, "self._stamps.observe(message.after)", "")],
        scenario="moving",
    ),
    Mutation(
        "forgets-what-one-has",
        "A journal is truncated up to where the first copy is, not a majority of them.",
        ENOUGH,
        [
            Edit(
                majority_position,
                "return sorted(positions, reverse=True)[majority - 1]",
                "return max(positions)",
            )
        ],
        scenario="rebuilt",
    ),
    Mutation(
        "audit-without-comparing",
        "The auditor asks how far the copies are, and does not compare them.",
        EQUAL,
        [
            Edit(
                Auditor._judge,
                "verdict = compare({name: each.digests for name, each in found.items()}, replicas)",
                "verdict = compare({}, replicas)",
            )
        ],
        scenario="diverging",
    ),
]
