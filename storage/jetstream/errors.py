"""What can be wrong with JetStream, beyond what the ports say; and how its errors become ours.

JournalError
├── JournalUnavailable    no answer, no quorum, no connection: there or not (a port's error)
│   ├── NotStored         certainly not stored; try again
│   └── JournalMissing    the stream does not exist, or not yet
├── JournalRefused        certainly not stored, an operator has to act (a port's error)
│   ├── JournalFull       the stream, the account or the disk has no room
│   └── EntryTooLarge     the entry is longer than the journal takes
├── JournalGone           final (a port's error)
│   ├── JournalReplaced   the stream was deleted and made anew: its positions mean something else
│   └── JournalDeleted    the stream does not exist, and has not for a while
└── JournalLost           the stream seems to end before what it had confirmed

EngineError               (`UnfitEngine`, `NotEnoughServers`): the NATS that is there will not do
"""

from __future__ import annotations

from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.errors import APIError, NotFoundError

from palaver.storage.replicated.ports import (
    JournalError,
    JournalGone,
    JournalRefused,
    JournalShort,
    JournalUnavailable,
)

__all__ = [
    "EngineError",
    "EntryTooLarge",
    "JournalDeleted",
    "JournalFull",
    "JournalLost",
    "JournalMissing",
    "JournalReplaced",
    "NotEnoughServers",
    "NotStored",
    "UnfitEngine",
    "api_error",
    "refusal",
    "unavailable",
]


class NotStored(JournalUnavailable):
    """Certainly not stored, because nobody took it: no leader just now, or no connection."""


class JournalMissing(JournalUnavailable):
    """The stream does not exist, or the servers that answer have not heard of it yet."""


class JournalFull(JournalRefused):
    """Nothing was stored, because there is no room: in the stream, the account or on the disk."""


class EntryTooLarge(JournalRefused):
    """An entry is longer than the journal takes; nothing was sent."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"an entry of {size_bytes} bytes; the journal takes {max_bytes}")


class JournalDeleted(JournalGone):
    """The stream that this node has followed does not exist any more.

    Servers that have just begun may not have heard of a stream, so this is said only when nothing
    else was answered for a while.
    """

    def __init__(self, stream: str, missing_s: float) -> None:
        super().__init__(
            f"the stream {stream} does not exist, as NATS has said for {missing_s:g} s; somebody "
            "has deleted it. Restore it from a backup of NATS; if there is none, stop all nodes and"
            " found the cluster anew from a backup of the most advanced replica"
        )


class JournalReplaced(JournalGone):
    """The stream is not the one that this node knows: it was deleted and made anew.

    Its positions name other entries. Nothing may be read from it or written to it: restore the
    stream, or, if its entries are lost, wipe this node's replica of the partition and let it come
    back from a peer.

    Attributes:
        expected, found: the identities that were given to the streams when they were made.
    """

    def __init__(self, stream: str, expected: str, found: str) -> None:
        super().__init__(
            f"the stream {stream} is not the one that this node knows: it was made as {expected},"
            f" and the one that is there as {found}; somebody has deleted it and made it anew."
            " Restore it from a backup, or wipe the replicas that followed the old one"
        )
        self.expected = expected
        self.found = found


class JournalLost(JournalShort):
    """The journal ends before what was delivered from it or confirmed: the engine lost entries.

    A majority of the servers was wiped, or NATS runs without `sync_interval: always`.

    Attributes:
        position: what is known to have been there.
        last: the last position that is there.
    """

    def __init__(self, stream: str, position: int, last: int) -> None:
        super().__init__(
            f"the stream {stream} ends at position {last}, but position {position} was confirmed:"
            " NATS has lost entries. Were its servers wiped, or run without sync_interval: always?"
        )
        self.position = position
        self.last = last


class EngineError(Exception):
    """NATS, as it is, cannot be the engine of a cluster; the text says what to do."""


class UnfitEngine(EngineError):
    """NATS would not keep what Palaver promises, or nobody can tell whether it would.

    Attributes:
        problems: all that is wrong, each with what to do about it.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("this NATS cannot be used: " + "; ".join(problems))
        self.problems = problems


class NotEnoughServers(EngineError):
    """There are fewer servers with JetStream than copies were asked for."""


# -- JetStream's error codes (server/errors.json of nats-server) -----------------------------------

STREAM_NAME_IN_USE = 10058
STREAM_NOT_FOUND = 10059
NO_MESSAGE = 10037
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
NO_PEERS = frozenset({10005, 10074})
"""No suitable peers for placement; more replicas than servers."""
_NO_ROOM = frozenset({10002, 10023, 10028, 10047})
"""The account's or the server's resources are used up."""
_STORE_FAILED = 10077
_TOO_MANY_REQUESTS = 10167
_TOO_LARGE = 10054
_ANOTHER_STREAM = 10060


def refusal(stream: str, code: int, err_code: int, text: str) -> JournalError:
    """Say what an error in the answer to a publish means.

    Only an answer that the leader gives before it proposes an entry to its peers is certain.
    """
    said = f"{stream}: {text} ({err_code})"
    if err_code in _NO_ROOM or (err_code == _STORE_FAILED and "maximum" in text):
        return JournalFull(
            f"{said}: give NATS more room (max_file_store, the stream's max_bytes, the disk), or"
            " see why the journal is not truncated"
        )
    if err_code == _TOO_MANY_REQUESTS:
        return NotStored(said)
    if err_code in (_TOO_LARGE, _ANOTHER_STREAM):
        return JournalRefused(said)
    return JournalUnavailable(said)


def api_error(stream: str, error: NatsError | TimeoutError) -> JournalError:
    """Say what the failure of a request to JetStream means for who asked about a stream."""
    if isinstance(error, MaxPayloadError):
        return JournalRefused(f"{stream}: more than NATS takes; raise its max_payload")
    if isinstance(error, NotFoundError) and error.err_code == STREAM_NOT_FOUND:
        return JournalMissing(f"the stream {stream} does not exist")
    if isinstance(error, APIError):
        what = error.description or "JetStream is not available"
        return JournalUnavailable(f"{stream}: {what} ({error.err_code or error.code})")
    return JournalUnavailable(f"{stream}: {error or 'no answer'}")


def unavailable(error: JournalError) -> JournalUnavailable:
    """Say what a question that has failed comes down to for who asks."""
    return error if isinstance(error, JournalUnavailable) else JournalUnavailable(str(error))
