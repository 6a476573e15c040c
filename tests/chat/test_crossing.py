"""What the chat's processes tell each other can cross, all but what is about a connection."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.chat import accounts, messages, owned, queries, refusals
from palaver.actors.chat.crossing import CROSSING, LOCAL
from palaver.actors.chat.state import commands as cmd
from palaver.actors.distribution.decoding import Dialect, greeting_of
from palaver.actors.distribution.encoding import Encoder, load
from palaver.actors.distribution.signals import Where
from palaver.actors.distribution.vocabulary import Vocabulary
from palaver.actors.runtime import From, Pid
from palaver.storage import ApplyFailed, Overloaded, Rejected, StoreClosed, StoreFailed
from palaver.storage.replicated.errors import JournalSilent, NotOwner, OwnershipLost
from palaver.transport.edge import Connection
from palaver.transport.wire import ErrorCode

PIDS = [Pid("a", serial) for serial in range(1, 4)]
VOCABULARY = Vocabulary().add(*CROSSING)
ENCODER = Encoder(VOCABULARY, lambda pid: Where("pid", "a", 1, pid.serial), 2**22)
DIALECT = Dialect(
    greeting_of(VOCABULARY), VOCABULARY, lambda where: PIDS[cast("int", where.key) - 1]
)

#: What the errors of a partition's process are, one of each way of being made.
ERRORS = [
    Rejected("not_a_member", "no"), Overloaded(3, 2), StoreClosed(), StoreFailed("disk"),
    refusals.Unavailable(), refusals.RequestTimeout(), NotOwner(1, "b", 2),
    OwnershipLost(1, "moved", certain=False), JournalSilent(1, "no majority"),
    ApplyFailed((cmd.READ, b"c", "a", 1), ValueError("x")),
]  # fmt: skip

NAMEDTUPLES = [kind for kind in CROSSING if hasattr(kind, "_fields")]

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.binary(max_size=20)
values = st.recursive(
    scalars | st.sampled_from(PIDS),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)


def of(hint: Any) -> st.SearchStrategy[Any]:
    """What a field may be."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of([of(part) for part in parts])
    if origin is tuple and parts[-1] is ...:
        return st.lists(of(parts[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, parts)) if parts else st.tuples(values)
    if origin is list:
        return st.lists(of(parts[0]), max_size=3)
    if hint is Any:
        return values
    if hint in (Pid, From):  # a call is an address, too
        return st.sampled_from(PIDS)
    if hint in (Exception, BaseException):
        return st.none()
    if hasattr(hint, "_fields"):
        return built(hint)
    return st.from_type(hint)


def built(kind: Any) -> st.SearchStrategy[Any]:
    """Objects of a NamedTuple."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: of(hints[name]) for name in kind._fields})


def crossed(value: Any) -> Any:
    return DIALECT.read(load(ENCODER.encode(value)))


@pytest.mark.parametrize("kind", NAMEDTUPLES, ids=lambda kind: kind.__name__)
def test_a_message_arrives_as_it_was(kind: type) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(built(kind))
    def arrives(message: Any) -> None:
        there = crossed(message)
        assert there == message
        assert type(there) is kind

    arrives()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_means_the_same_to_a_client_there(error: Exception) -> None:
    there = crossed(messages.Applied(1, None, error)).error
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert refusals.refusal_of(there) == refusals.refusal_of(error)


def test_codes_arrive_as_codes() -> None:
    code = crossed(accounts.SignUpAnswer(1, None, ErrorCode.RATE_LIMITED)).code
    assert code is ErrorCode.RATE_LIMITED


def _own_classes(module: Any) -> Iterator[type]:
    for thing in vars(module).values():
        if isinstance(thing, type) and thing.__module__ == module.__name__:
            yield thing


def test_every_message_is_said_to_cross_or_to_stay() -> None:
    for name in messages.__all__:
        kind = getattr(messages, name)
        assert (kind in CROSSING) != (kind in LOCAL), name


def test_answers_rows_and_values_cross() -> None:
    for module in (queries, owned):
        for kind in _own_classes(module):
            if hasattr(kind, "_fields"):
                assert kind in CROSSING, kind
    for kind in (cmd.Fresh, cmd.Sent, cmd.Refusal, ErrorCode):
        assert kind in CROSSING


def test_no_connection_crosses() -> None:
    for kind in NAMEDTUPLES:
        assert Connection not in get_type_hints(kind).values(), kind
    for kind in CROSSING:
        plain = hasattr(kind, "_fields") or issubclass(kind, (enum.Enum, Exception))
        assert plain, kind
