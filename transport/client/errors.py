"""Every exception the client library raises.

The tree::

    ClientError
    ├── Misuse (also a ValueError)      the call itself is wrong; nothing was sent
    │   ├── NotOwnAccount               sender or user is not this client's account
    │   └── BadMessage                  the message cannot be put on the wire
    ├── ClientClosed                    the client was closed, or not started
    ├── ConnectionFailed                the server could not be reached in the time given
    ├── ProtocolViolation               the server broke the protocol
    ├── RequestTimeout                  no answer within the request's time limit
    ├── LimitReached                    a bounded buffer of this client is full
    │   ├── OutboxFull                  too many messages wait for their acknowledgement
    │   ├── InboxFull                   nobody consumes what arrives, so no answer can be read
    │   └── RequestsFull                too many requests wait for an answer
    ├── ReceiptLost                     receipts of this message are no longer followed
    ├── StateError                      the client's own durable state failed
    │   └── StateMismatch               the state file belongs to another device
    ├── HashMismatch                    a downloaded file is not what its id says
    └── ServerError                     the server's own words: code, text, retry_after_s
        ├── TransientError              worth trying again; messages are retried by themselves
        │   ├── Overloaded, Unavailable, GoingAway, RateLimited, ServerTimeout
        ├── AuthFailed, Revoked, Replaced, UnsupportedVersion       end the client
        └── BadRequest, CodeWrong, CodeExpired, Unreachable, NoSuchConversation, NotAMember,
            NotAllowed, TooLarge, TooMany, StaleId, IdConflict, QuotaExceeded, NoSuchFile,
            NotAuthenticated, InternalError
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuthFailed",
    "BadMessage",
    "BadRequest",
    "ClientClosed",
    "ClientError",
    "CodeExpired",
    "CodeWrong",
    "ConnectionFailed",
    "GoingAway",
    "HashMismatch",
    "IdConflict",
    "InboxFull",
    "InternalError",
    "LimitReached",
    "Misuse",
    "NoSuchConversation",
    "NoSuchFile",
    "NotAMember",
    "NotAllowed",
    "NotAuthenticated",
    "NotOwnAccount",
    "OutboxFull",
    "Overloaded",
    "ProtocolViolation",
    "QuotaExceeded",
    "RateLimited",
    "ReceiptLost",
    "Replaced",
    "RequestTimeout",
    "RequestsFull",
    "Revoked",
    "ServerError",
    "ServerTimeout",
    "StaleId",
    "StateError",
    "StateMismatch",
    "TooLarge",
    "TooMany",
    "TransientError",
    "Unavailable",
    "Unreachable",
    "UnsupportedVersion",
    "server_error",
]


class ClientError(Exception):
    """The base of everything this library raises on purpose."""


class Misuse(ClientError, ValueError):
    """The call is wrong as it stands; nothing was sent."""


class NotOwnAccount(Misuse):
    """The sender or user named is not the account this client is signed in as."""


class BadMessage(Misuse):
    """The message cannot be put on the wire: no content, two contents, or an unfit object."""


class ClientClosed(ClientError):
    """The client was closed, or was never started."""


class ConnectionFailed(ClientError):
    """The server could not be reached; the cause is in ``__cause__`` where one is known."""


class ProtocolViolation(ClientError):
    """The peer does not speak this protocol as it is written."""


class RequestTimeout(ClientError):
    """No answer came within the request's time limit; it may still take effect."""


class LimitReached(ClientError):
    """A bounded buffer of this client is full."""


class OutboxFull(LimitReached):
    """Too many messages (or bytes) wait for their acknowledgement; nothing was enqueued."""


class InboxFull(LimitReached):
    """The buffer of arrived messages is full and nobody consumes it, so no answer can be read.

    The message stays in the outbox; take messages with ``get_messages`` and it goes on.
    """


class RequestsFull(LimitReached):
    """Too many requests wait for an answer."""


class ReceiptLost(ClientError):
    """Receipts of this message are no longer followed: too many newer ones are."""


class StateError(ClientError):
    """The client's own durable state cannot be read or written."""


class StateMismatch(StateError):
    """The state belongs to another account or device."""


class HashMismatch(ClientError):
    """The bytes that arrived do not have the SHA-256 that the file id says."""


class ServerError(ClientError):
    """The server answered with an error.

    Attributes:
        code: The wire's stable error code, such as ``"unreachable"``.
        text: What the server said, for people.
        retry_after_s: How long the server asked to wait, in seconds; None where it did not.
    """

    code: ClassVar[str] = "internal"

    def __init__(
        self, text: str = "", *, retry_after_s: float | None = None, code: str | None = None
    ) -> None:
        self.text = text
        self.retry_after_s = retry_after_s
        if code is not None:  # A code that this version has no class for.
            self.code = code  # type: ignore[misc]
        super().__init__(f"{self.code}: {text}" if text else self.code)


class TransientError(ServerError):
    """The same request may succeed later; messages in the outbox are retried by themselves."""


class Overloaded(TransientError):
    """The server has more work than it accepts."""

    code = "overloaded"


class Unavailable(TransientError):
    """A part of the service that this needs is not there at the moment."""

    code = "unavailable"


class GoingAway(TransientError):
    """The node is being drained; the client reconnects."""

    code = "going_away"


class RateLimited(TransientError):
    """Too many requests of this kind; see ``retry_after_s``."""

    code = "rate_limited"


class ServerTimeout(TransientError):
    """A part of the server did not answer in time; whether it took effect is unknown."""

    code = "timeout"


class BadRequest(ServerError):
    """The server could not make sense of the request."""

    code = "bad_request"


class UnsupportedVersion(ServerError):
    """The server speaks no protocol version that this client knows; of several servers, none does.

    Upgrade the client, or the server.
    """

    code = "unsupported_version"


class NotAuthenticated(ServerError):
    """The connection is not signed in."""

    code = "not_authenticated"


class AuthFailed(ServerError):
    """The server does not know this account, device and key."""

    code = "auth_failed"


class Revoked(ServerError):
    """This device was revoked."""

    code = "revoked"


class Replaced(ServerError):
    """Another connection of the same device took this one's place."""

    code = "replaced"


class CodeWrong(ServerError):
    """The one-time code is not the one that was sent."""

    code = "code_wrong"


class CodeExpired(ServerError):
    """The one-time code is too old or was used up."""

    code = "code_expired"


class Unreachable(ServerError):
    """The receiver does not exist or does not take messages from this account."""

    code = "unreachable"


class NoSuchConversation(ServerError):
    """There is no such conversation for this account."""

    code = "no_such_conversation"


class NotAMember(ServerError):
    """This account is not a member of the conversation."""

    code = "not_a_member"


class NotAllowed(ServerError):
    """This account may not do that."""

    code = "not_allowed"


class TooLarge(ServerError):
    """A body, a file or a name is larger than the limit."""

    code = "too_large"


class TooMany(ServerError):
    """More members, devices or items than the limit."""

    code = "too_many"


class StaleId(ServerError):
    """The client message id is older than what the server still remembers."""

    code = "stale_id"


class IdConflict(ServerError):
    """The client message id was used before for something else."""

    code = "id_conflict"


class QuotaExceeded(ServerError):
    """The account's storage quota is used up."""

    code = "quota"


class NoSuchFile(ServerError):
    """There is no such file for this account."""

    code = "no_such_file"


class InternalError(ServerError):
    """Something failed inside the server; whether the request took effect is unknown."""

    code = "internal"


_BY_CODE: dict[str, type[ServerError]] = {
    kind.code: kind
    for kind in (
        AuthFailed,
        BadRequest,
        CodeExpired,
        CodeWrong,
        GoingAway,
        IdConflict,
        InternalError,
        NoSuchConversation,
        NoSuchFile,
        NotAMember,
        NotAllowed,
        NotAuthenticated,
        Overloaded,
        QuotaExceeded,
        RateLimited,
        Revoked,
        ServerTimeout,
        StaleId,
        TooLarge,
        TooMany,
        Unavailable,
        Unreachable,
        UnsupportedVersion,
    )
}


def server_error(code: str, text: str = "", retry_after_ms: int | None = None) -> ServerError:
    """Return the exception for an error code of the wire; an unknown code gives ServerError."""
    retry_after_s = None if retry_after_ms is None else retry_after_ms / 1000.0
    kind = _BY_CODE.get(code)
    if kind is None:
        return ServerError(text, retry_after_s=retry_after_s, code=code)
    return kind(text, retry_after_s=retry_after_s)
