"""What the chat's processes tell each other between nodes: all of it plain data with a name.

`CROSSING` is for the vocabulary of a distribution: a class that is not in it is refused at the
border. `LOCAL` are the messages that stay on a node, because they carry a connection or because
both ends are always together. A pid that came from another node is one object for as long as
somebody has it, so that `is` means the same for it as for a local one.
"""

from __future__ import annotations

from palaver.actors.chat import messages as m
from palaver.actors.chat.accounts import IssueCode, RequestCode, SignUpAnswer, VerifyCode
from palaver.actors.chat.forwarder import TAGS
from palaver.actors.chat.owned import Greet, PassedOn
from palaver.actors.chat.queries import ConversationRow, DeviceRow, FileRow, Login, PresenceRow
from palaver.actors.chat.refusals import RequestTimeout, Unavailable
from palaver.actors.chat.state import commands as cmd
from palaver.storage import (
    ApplyFailed,
    Overloaded,
    RecordCorrupt,
    Rejected,
    StoreBusy,
    StoreClosed,
    StoreFailed,
    StoreFull,
    StoreUnavailable,
)
from palaver.storage.replicated.errors import (
    EntryTooLarge,
    JournalSilent,
    NotOwner,
    OwnershipLost,
    ReplicaStopped,
)
from palaver.transport.wire import CloseCode, ErrorCode

__all__ = ["CROSSING", "LOCAL"]

_MESSAGES: tuple[type, ...] = (
    # with a partition
    m.Append, m.Applied, m.Ask, m.Answer, m.AttachQueue, m.AttachAgain, m.Revoked, m.NewEvents,
    m.Missed, m.AckUpTo, m.FindSequencer, m.SequencerIs, *TAGS,
    # with a sequencer
    m.Submit, m.SubmitGroup, m.SubmitMembers, m.TypingHint,
    # with a manager, and between gateways
    m.Announce, m.Withdraw, m.LookUp, m.Forget, m.Placement, m.Release, m.GatewayUp, m.Route,
    m.RouteHere, m.AnnounceAgain,
    # with presence
    m.Present, m.Watch, m.Unwatch, m.Watched, m.PresenceChanged, m.PresenceIs, m.SessionOp,
    m.WriteLastSeen, m.WhoIsOnline,
    # with the process of one-time codes
    RequestCode, VerifyCode, IssueCode, SignUpAnswer,
    # with stand-ins
    Greet, PassedOn,
)  # fmt: skip

_VALUES: tuple[type, ...] = (
    cmd.Fresh, cmd.Sent, cmd.Refusal,
    Login, PresenceRow, ConversationRow, DeviceRow, FileRow,
    ErrorCode, CloseCode,
)  # fmt: skip

_ERRORS: tuple[type, ...] = (
    Rejected, Unavailable, RequestTimeout, StoreUnavailable, StoreBusy, StoreClosed, StoreFailed,
    StoreFull, Overloaded, ApplyFailed, RecordCorrupt, NotOwner, OwnershipLost, JournalSilent,
    EntryTooLarge, ReplicaStopped,
)  # fmt: skip

CROSSING: tuple[type, ...] = (*_MESSAGES, *_VALUES, *_ERRORS)
"""Every class of ours of which there may be something in a message to another node."""

LOCAL: tuple[type, ...] = (
    # They carry a connection, or are about one.
    m.Opened, m.RegisterSession, m.ConnectionEnded, m.Writable,
    # Between a session, its queue and its gateway.
    m.ClientAck, m.Close, m.Rewatch, m.Drain, m.Welcome,
    # Between a partition's process and its sequencers.
    m.Reload,
)  # fmt: skip
"""Messages between processes that are always on one node."""
