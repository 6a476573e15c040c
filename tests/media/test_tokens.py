from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.chat.media_tokens import MediaKeyError, TokenClaims, TokenSigner

SIGNER = TokenSigner(bytes(range(32)))
NOW = 1_700_000_000_000
accounts = st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True)
devices = st.integers(1, 2**63)


@given(accounts, devices, st.integers(1, 10**10))
def test_a_token_says_what_was_signed_until_it_expires(
    account: str, device: int, life_ms: int
) -> None:
    expires = NOW + life_ms
    token = SIGNER.sign(account, device, expires)
    assert token.isascii()
    assert SIGNER.verify(token, expires - 1) == TokenClaims(account, device, expires)
    assert SIGNER.verify(token, expires) is None
    assert TokenSigner(os.urandom(32)).verify(token, NOW) is None


@given(accounts, devices, st.data())
def test_a_changed_token_is_no_token(account: str, device: int, data: st.DataObject) -> None:
    claims, _, mac = SIGNER.sign(account, device, NOW + 1).partition(".")
    raw = bytearray(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    forged = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    assert SIGNER.verify(f"{forged}.{mac}", NOW) is None


@given(st.text(max_size=300))
def test_any_text_is_refused_quietly(text: str) -> None:
    assert SIGNER.verify(text, NOW) is None


def test_the_key_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "media.key"
    first = TokenSigner.open(path, os.urandom)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["media.key"]
    token = first.sign("+4917012345", 1, NOW + 1)
    assert TokenSigner.open(path, os.urandom).verify(token, NOW) is not None


def test_a_key_that_others_can_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "media.key"
    path.write_bytes(bytes(32))
    path.chmod(0o644)
    with pytest.raises(MediaKeyError, match="chmod 600"):
        TokenSigner.open(path, os.urandom)
    path.chmod(0o600)
    TokenSigner.open(path, os.urandom)
    path.write_bytes(b"short")
    with pytest.raises(MediaKeyError, match="damaged"):
        TokenSigner.open(path, os.urandom)
