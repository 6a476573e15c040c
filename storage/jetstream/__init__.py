"""The log and the registers of a cluster in NATS JetStream.

    nc = ...                                             # a connection, made above
    journals = JetStreamJournals(nc, "town", replicas=3, identities=JournalIdentities(path))
    await journals.found(range(16))                      # once; later `open`
    journal = journals(3)                                # a `Journal`, for `storage.replicated`
    registers = JetStreamRegisters(nc, "town")
    await registers.found()

What is kept, with servers that run with `sync_interval: always`: an entry that was confirmed is on
the disks of a majority. What is not rested on: the server's de-duplication, its timeouts, and that
a stream of some name is the one that had that name before.
"""

from palaver.storage.jetstream.errors import (
    EngineError,
    EntryTooLarge,
    JournalDeleted,
    JournalFull,
    JournalLost,
    JournalMissing,
    JournalReplaced,
    NotEnoughServers,
    NotStored,
    UnfitEngine,
)
from palaver.storage.jetstream.identities import JournalIdentities
from palaver.storage.jetstream.journal import JetStreamFollow, JetStreamJournal, JournalLimits
from palaver.storage.jetstream.journals import Identities, JetStreamJournals
from palaver.storage.jetstream.registers import JetStreamRegisters, RegisterLimits

__all__ = [
    "EngineError",
    "EntryTooLarge",
    "Identities",
    "JetStreamFollow",
    "JetStreamJournal",
    "JetStreamJournals",
    "JetStreamRegisters",
    "JournalDeleted",
    "JournalFull",
    "JournalIdentities",
    "JournalLimits",
    "JournalLost",
    "JournalMissing",
    "JournalReplaced",
    "NotEnoughServers",
    "NotStored",
    "RegisterLimits",
    "UnfitEngine",
]
