"""Identities, file ids, objects in bodies, errors, backoff, streams."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import stat
from pathlib import Path
from typing import Any

import pytest
from client_kit import ME, run
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from palaver.transport import client as library
from palaver.transport import wire
from palaver.transport.client import (
    Backoff,
    BadMessage,
    FileId,
    Identity,
    Milestone,
    RateLimited,
    ServerError,
    StateError,
    Stream,
    errors,
    new_key,
)
from palaver.transport.client.objects import decode_object, encode_object


def test_an_identity_is_saved_and_loaded(tmp_path: Path) -> None:
    identity = Identity(ME, 7, new_key())
    path = tmp_path / "identity"
    path.write_text("an older file that anybody may read")
    path.chmod(0o644)
    identity.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = Identity.load(path)
    assert (loaded.account, loaded.device) == (ME, 7)
    assert loaded.public_key == identity.public_key
    Ed25519PublicKey.from_public_bytes(identity.public_key).verify(loaded.sign(b"x"), b"x")
    assert list(tmp_path.iterdir()) == [path]
    assert "key" not in repr(identity)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"format": "palaver-identity-1", "account": 1, "device": 2, "key": ""}',
        '{"format": "palaver-identity-1", "account": "+491", "device": 2, "key": "x"}',
    ],
)
def test_a_file_that_is_no_identity_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "identity"
    path.write_text(content)
    with pytest.raises(StateError):
        Identity.load(path)


def test_a_file_id_is_shown_as_hex() -> None:
    file_id = FileId(bytes(range(32)))
    assert str(file_id) == bytes(range(32)).hex()
    assert FileId.parse(str(file_id)) == file_id
    for wrong in ("", "abc", "zz" * 32, "00" * 31):
        with pytest.raises(BadMessage):
            FileId.parse(wrong)
    with pytest.raises(BadMessage):
        FileId(b"short")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: _depth(value) <= wire.MAX_DEPTH)


def _depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 0


@given(PLAIN)
def test_plain_objects_travel(value: Any) -> None:
    assert decode_object(encode_object(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1: "an integer as a key"},
        {1, 2},
        2**64,
        [[[[[[[[["too deep"]]]]]]]]],
        math,
        "\ud800",
    ],
)
def test_other_objects_do_not(value: Any) -> None:
    with pytest.raises(BadMessage):
        encode_object(value)


@given(st.binary(max_size=100))
def test_a_strangers_object_never_does_more_than_fail(body: bytes) -> None:
    with contextlib.suppress(BadMessage):
        decode_object(body)


def test_every_code_of_the_wire_has_its_class() -> None:
    for code in wire.ErrorCode:
        error = errors.server_error(code, "said", 1500)
        if code is not wire.ErrorCode.ALREADY_AUTHENTICATED:
            assert type(error) is not ServerError, code
        assert error.code == code
        assert error.retry_after_s == 1.5
    assert errors.server_error("from_the_future").code == "from_the_future"
    assert isinstance(errors.server_error("rate_limited"), RateLimited)
    assert ServerError.code == "internal"


def test_the_tree_of_errors_is_whole_and_exported_once() -> None:
    names = library.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(library, name) is not None
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type):
            assert issubclass(kind, errors.ClientError)
            assert name in (errors.__doc__ or "")


@given(st.integers(0, 10_000), st.integers())
def test_a_delay_lies_between_nothing_and_its_bound(attempt: int, seed: int) -> None:
    backoff = Backoff(base_s=0.5, cap_s=8.0)
    delay_s = backoff.delay_s(attempt, random.Random(seed))
    assert 0.0 <= delay_s <= min(8.0, 0.5 * 2.0 ** min(attempt, 10))
    assert 3.0 <= backoff.after_s(3.0, random.Random(seed)) <= 4.5


def test_a_stream_drops_its_oldest() -> None:
    async def main() -> None:
        stream: Stream[int] = Stream(3)
        for number in range(5):
            stream.put(number)
        assert stream.dropped == 2
        stream.end(None)
        assert [item async for item in stream] == [2, 3, 4]
        stream.end(StateError("gone"))
        with pytest.raises(StateError):
            await anext(stream)

    run(main())


def test_a_milestone_outlives_whoever_waits_for_it() -> None:
    async def main() -> None:
        milestone: Milestone[int] = Milestone()

        async def waiter() -> int:
            return await milestone

        first, second = asyncio.create_task(waiter()), asyncio.create_task(waiter())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        milestone.reach(5)
        milestone.fail(StateError("too late"))
        assert await second == 5
        assert await milestone == 5
        assert milestone.done

    run(main())
