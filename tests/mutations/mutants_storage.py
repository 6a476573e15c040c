"""Bugs below the chat: in what a store says of a commit, and in the transactions of the tables."""

from __future__ import annotations

from mutation import Edit, Mutation

from palaver.actors.chat.state.machine import ChatMachine
from palaver.storage.batch import Applier
from palaver.storage.simulated.environment import SimulatedEnvironment
from palaver.storage.tables import isolation
from palaver.storage.tables.commit import Commit
from palaver.storage.tables.committing import Committer
from palaver.storage.tables.lanes import Lanes
from palaver.storage.tables.machine import TableMachine
from palaver.storage.tables.pipeline import Pipeline

DURABLE = "what was answered is durable"
WHOLE = "a transaction happens as a whole, or not at all"
ISOLATED = "transactions happen as if one after the other"
FENCED = "an append expects a place in the log, and gets it or nothing"

MUTATIONS = [
    Mutation(
        "ack-before-fsync",
        "A commit counts when it is written, not when it is synchronised with the disk.",
        DURABLE,
        [
            Edit(
                SimulatedEnvironment.commit,
                """
                self.plate.limbo = None  # whatever it was, a sound head is written over it
                txn.commit()
                """,
                """
                undo = list(reversed(txn.journal))
                txn.commit()
                self.plate.limbo = undo  # what a power cut may bring back
                """,
            )
        ],
        scenario="power",
    ),
    Mutation(
        "failed-commit-is-done",
        "What the disk has failed is answered with the results of its application.",
        DURABLE,
        [
            Edit(
                Applier._run,
                "return self._refuse(batch, error)",
                """
                if all(entry.results for entry in batch.entries):
                    return None
                return self._refuse(batch, error)
                """,
            )
        ],
        scenario="power",
    ),
    Mutation(
        "full-disk-is-done",
        "Only a broken disk is an error: a full one will have room soon.",
        DURABLE,
        [
            Edit(
                Applier._refuse,
                "if not isinstance(error, StoreFull) or len(batch.entries) == 1:",
                """
                if isinstance(error, StoreFull) and all(entry.results for entry in batch.entries):
                    return None
                if not isinstance(error, StoreFull) or len(batch.entries) == 1:
                """,
            )
        ],
        scenario="power",
    ),
    Mutation(
        "caches-of-what-failed",
        "After a failed commit the machine goes on with its caches of what was not written.",
        "one gap-free order of a conversation",
        [Edit(ChatMachine.open, "self._memory.forget()", "pass")],
        scenario="power",
    ),
    Mutation(
        "machine-not-opened-again",
        "The store does not tell the machine that a batch was given up.",
        "one gap-free order of a conversation",
        [
            Edit(
                Applier._transact,
                """
                self._stale = True
                apply = self._apply_nested if one_by_one else self._apply
                """,
                "apply = self._apply_nested if one_by_one else self._apply",
            )
        ],
        scenario="power",
    ),
    Mutation(
        "expected-not-checked",
        "An append goes in wherever the log stands: who is first is first.",
        FENCED,
        [
            Edit(
                Applier._apply_entry,
                "if entry.life != self.life or entry.expected not in (None, last):",
                "if entry.life != self.life:",
            )
        ],
        scenario="fenced",
    ),
    Mutation(
        "conflict-not-seen",
        "Who has read what somebody else writes is not told.",
        ISOLATED,
        [
            Edit(
                isolation.doom,
                "if not other.doomed and other.touched_by(written):",
                "if False:",
            )
        ],
        scenario="tables",
    ),
    Mutation(
        "conflict-after-the-end",
        "A transaction looks at its mark after each read, but not when it commits.",
        ISOLATED,
        [
            Edit(
                Committer.commit,
                "if reads is not None and reads.doomed:",
                "if False:",
            )
        ],
        scenario="tables",
    ),
    Mutation(
        "undone-in-part",
        "A commit that failed is undone, but for what it had written first.",
        WHOLE,
        [
            Edit(
                Commit.take_back,
                "for copy, key, before in reversed(self.swaps):",
                "for copy, key, before in reversed(self.swaps[1:]):",
            )
        ],
        scenario="tables",
    ),
    Mutation(
        "rested-on-what-failed",
        "A commit that failed is undone alone, without those that came after it.",
        WHOLE,
        [
            Edit(
                Pipeline.fail,
                "undone = self._resting_on(commit)",
                "undone = [commit]",
            )
        ],
        scenario="tables",
    ),
    Mutation(
        "answered-when-sent",
        "A transaction is answered when its commit is on its way.",
        DURABLE,
        [
            Edit(
                Pipeline.submit,
                "self._order.append(commit)",
                """
                self._order.append(commit)
                commit.tell(None)
                commit.stage = Stage.OPEN
                """,
            )
        ],
        scenario="tables",
    ),
    Mutation(
        "decision-not-kept",
        "The coordinator applies its part of a commit over partitions, and keeps no decision.",
        WHOLE,
        [
            Edit(
                TableMachine.apply,
                "spaces.put_row(txn, DECIDED_SPACE, key, spaces.dump(list(participants)))",
                "",
            )
        ],
        scenario="tables",
    ),
    Mutation(
        "decided-too-soon",
        "The coordinator decides when it has asked the others, not when they have prepared.",
        WHOLE,
        [
            Edit(
                Lanes._prepared,
                """
                if crossing.missing:
                    return
                """,
                """
                if crossing.missing:
                    return
                crossing.failure = None
                """,
            )
        ],
        scenario="tables",
    ),
]
