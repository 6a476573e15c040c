"""Whether one is in the middle of a transaction: there another is nested, and the schema stays.

Mnesia keeps that in the process dictionary (`mnesia_activity_state`). Here it goes with the
context, and counts in the thread, and of a coroutine in the task, that runs the transaction: what
these start beside themselves is not within.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from .errors import NestedTransaction

if TYPE_CHECKING:
    from .core import Core
    from .transactions import Transaction

CURRENT: Final[ContextVar[Transaction | None]] = ContextVar("palaver_transaction", default=None)
"""The innermost transaction of the context, perhaps one that has ended."""


def transaction_around(database: Core) -> Transaction | None:
    """Return the transaction of the database that the caller is within."""
    found = CURRENT.get()
    while found is not None and not found.is_around(database):
        found = found.outer
    return found


def enclosing(found: Transaction | None) -> Transaction | None:
    """Return the innermost one that has not ended; one that has is not to be kept."""
    while found is not None and found.has_ended:
        found = found.outer
    return found


def refuse_within(database: Core) -> None:
    """Raise NestedTransaction within a transaction of the database."""
    if transaction_around(database) is not None:
        raise NestedTransaction("the schema cannot be changed in the middle of a transaction")
