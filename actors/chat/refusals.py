"""How what went wrong inside becomes an error of the wire: a stable code, a text, when to retry."""

from __future__ import annotations

from palaver.storage import (
    ApplyFailed,
    Overloaded,
    Rejected,
    StoreClosed,
    StoreFailed,
    StoreFull,
    StoreUnavailable,
)
from palaver.transport.wire import ErrorCode

__all__ = ["RETRY_AFTER_MS", "RequestTimeout", "Unavailable", "refusal_of"]

#: When it makes sense to ask again for what is elsewhere, or moves.
RETRY_AFTER_MS = 500

_MOVES = "this part of the server begins anew or moves; try again"


class RequestTimeout(Exception):
    """A process did not answer in time: it has far too much to do."""


class Unavailable(StoreUnavailable):
    """Who has to do this cannot be reached now: it begins anew, moves, or its node is gone.

    What was asked may have been done all the same.
    """

    def __init__(self, text: str = _MOVES) -> None:
        super().__init__(text)


def refusal_of(error: BaseException) -> tuple[ErrorCode, str, int | None]:
    """The code, the text and the milliseconds after which another try makes sense."""
    match error:
        case Rejected():
            return ErrorCode(error.code), error.text, None
        case Overloaded():
            return ErrorCode.OVERLOADED, "the server has too much to do; try again", 200
        case StoreFull():
            return ErrorCode.UNAVAILABLE, "the server cannot store anything now; try again", 1_000
        case StoreFailed():
            return ErrorCode.UNAVAILABLE, "the server's disk failed; try again", 1_000
        case StoreClosed():
            return ErrorCode.GOING_AWAY, "the server is going away; connect again", 1_000
        case ApplyFailed():
            return ErrorCode.INTERNAL, "the server could not apply this; it is logged there", None
        case StoreUnavailable():  # as where this node does not lead the partition any more
            return ErrorCode.UNAVAILABLE, _MOVES, RETRY_AFTER_MS
        case RequestTimeout():
            return ErrorCode.TIMEOUT, "the server did not get to this in time; try again", 500
        case _:
            return ErrorCode.INTERNAL, "something failed in the server; it is logged there", None
