from __future__ import annotations

import asyncio
import io
import os
import stat
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.supervisors.cli.chat import server_url, server_urls
from palaver.supervisors.cli.chat_commands import _target
from palaver.supervisors.cli.chat_history import History, Shown
from palaver.supervisors.cli.chat_home import (
    AccountHome,
    home_folder,
    known_account,
    phone_number,
)
from palaver.supervisors.cli.chat_model import MAX_ENTRIES, Entry, Room, Tick, safe_text
from palaver.supervisors.cli.chat_screen import LineInput, LineScreen
from palaver.supervisors.cli.codes import FileCodeSender
from palaver.supervisors.cli.demo_picture import picture
from palaver.supervisors.cli.output import CommandError

ANNA, BEN, CLEO = "+491701234567", "+491701234568", "+491701234569"
CONV = bytes(16)


def room(*members: str) -> Room:
    return Room("peer", ANNA, CONV, members=(ANNA, *members))


def mine(seq: int | None) -> Entry:
    tick = Tick.SENT if seq is not None else Tick.WAITING
    return Entry(ANNA, "text", 0, mine=True, seq=seq, tick=tick)


def test_a_tick_needs_everyone() -> None:
    r = room(BEN, CLEO)
    one, two = r.add(mine(1)), r.add(mine(2))
    assert r.receipt(BEN, 2, 1) == []
    assert r.receipt(CLEO, 1, 0) == [one]
    assert (one.tick, two.tick) == (Tick.DELIVERED, Tick.SENT)
    assert r.receipt(CLEO, 2, 2) == [one, two]
    assert (one.tick, two.tick) == (Tick.READ, Tick.DELIVERED)
    assert r.receipt(CLEO, 0, 0) == []  # an old receipt takes nothing back
    assert r.receipt(ANNA, 2, 2) == []  # nor does one's own say anything


@given(
    st.lists(st.tuples(st.sampled_from([BEN, CLEO]), st.integers(0, 9), st.integers(0, 9))),
    st.lists(st.integers(1, 9), unique=True, max_size=9),
)
def test_ticks_only_rise_and_say_what_the_receipts_say(
    receipts: list[tuple[str, int, int]], numbers: list[int]
) -> None:
    r = room(BEN, CLEO)
    entries = [r.add(mine(n)) for n in sorted(numbers)]
    for account, delivered, read in receipts:
        before = [e.tick for e in entries]
        changed = r.receipt(account, delivered, read)
        after = [e.tick for e in entries]
        assert all(a is not None and b is not None and a >= b
                   for a, b in zip(after, before, strict=True))  # fmt: skip
        assert {id(e) for e in changed} == {
            id(e) for e, a, b in zip(entries, after, before, strict=True) if a != b
        }
    for entry in entries:
        assert entry.seq is not None
        all_read = all(any(a == m and r_ >= entry.seq for a, _, r_ in receipts)
                       for m in (BEN, CLEO))  # fmt: skip
        assert (entry.tick is Tick.READ) == all_read


@given(st.permutations(range(1, 7)), st.lists(st.booleans(), min_size=6, max_size=6))
def test_settled_messages_stand_in_the_order_of_their_numbers(
    order: list[int], note: list[bool]
) -> None:
    r = room(BEN)
    waiting = []
    for is_note in note:
        waiting.append(r.add(mine(None)))
        if is_note:
            r.add(Entry("", "a note", 0))
    for entry, number in zip(waiting, order, strict=True):
        r.settle(entry, number)
    numbers = [e.seq for e in r.entries if e.seq is not None]
    assert numbers == sorted(order)
    assert sum(e.is_note for e in r.entries) == sum(note)


def test_a_room_keeps_a_bounded_number_of_entries() -> None:
    r = room(BEN)
    for n in range(MAX_ENTRIES * 2):
        r.add(mine(n))
    assert len(r.entries) <= MAX_ENTRIES
    assert r.entries[-1].seq == MAX_ENTRIES * 2 - 1


@given(st.text())
def test_safe_text_can_do_nothing_to_a_terminal(text: str) -> None:
    shown = safe_text(text)
    assert not any(c != "\n" and c != "\t" and (c < " " or "\x7f" <= c <= "\x9f") for c in shown)
    assert "\u202e" not in shown
    assert safe_text(shown) == shown


def test_safe_text_is_cut_and_leaves_people_s_scripts_alone() -> None:
    text = "\U0001f469\u200d\U0001f680 नमस्ते\n\u05e9\u05dc\u05d5\u05dd\t!"
    assert safe_text(text) == text
    assert safe_text("x" * 100, 10) == "x" * 10 + "..."


def test_lines_say_what_happens(tmp_path: Path) -> None:
    async def go() -> str:
        reader, writer = os.pipe()
        out = io.StringIO()
        screen = LineScreen(LineInput(reader), out)
        r = room(BEN)
        screen.show(r)
        entry = r.add(mine(None))
        screen.added(entry)
        r.settle(entry, 7)
        entry.tick = Tick.SENT
        screen.changed(entry)
        entry.tick = Tick.READ
        screen.changed(entry)
        r.online = True
        screen.status()
        screen.status()
        os.write(writer, b"one\r\ntw")
        os.write(writer, b"o\nlast \xff")
        os.close(writer)
        assert [line async for line in screen.lines()] == ["one", "two", "last \ufffd"]
        os.close(reader)
        return out.getvalue()

    lines = asyncio.run(go()).splitlines()
    assert lines[0] == "* peer"
    assert lines[1].endswith("] me: text")
    assert lines[2:] == ["✓ #7 sent", "✓✓ #7 read", "* peer online"]


def test_the_history_keeps_what_was_shown_and_marks_rise(tmp_path: Path) -> None:
    file = tmp_path / "history"
    history = History(file)
    for seq in (2, 1, 2, 3):
        history.add(Shown(CONV, seq, BEN, 5, "text", f"text {seq}", None))
    history.mark(CONV, BEN, 3, 1)
    history.mark(CONV, BEN, 2, 2)
    history.close()
    again = History(file)
    assert [s.seq for s in again.last(CONV)] == [1, 2, 3]
    assert [s.seq for s in again.last(CONV, 2)] == [2, 3]
    assert list(again.marks(CONV)) == [(BEN, 3, 2)]
    again.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_accounts_have_private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PALAVER_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    home = home_folder(None)
    assert home == tmp_path / "palaver"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    monkeypatch.setenv("PALAVER_HOME", str(tmp_path / "other"))
    assert home_folder(None) == tmp_path / "other"
    assert known_account(home) is None
    for account in (ANNA, BEN):
        a = AccountHome(home, account)
        assert not a.signed_up
        a.make()
        a.identity.write_text("x")
        assert known_account(home) == (ANNA if account == ANNA else None)
    assert AccountHome(home, BEN).server is None
    AccountHome(home, BEN).remember("ws://x/ws")
    assert known_account(home) == BEN
    assert AccountHome(home, BEN).server == "ws://x/ws"


def test_phone_numbers_are_read_as_people_write_them() -> None:
    assert phone_number("+49 170 / 1234567") == ANNA
    assert phone_number("0170 1234567", own=BEN) == ANNA
    for bad in ("", "abc", "12", "0170 1234567"):
        with pytest.raises(CommandError):
            phone_number(bad)


def test_server_addresses_are_read_as_people_write_them() -> None:
    assert server_url("chat.example.org:4400") == "ws://chat.example.org:4400/ws"
    assert server_url("https://chat.example.org/") == "wss://chat.example.org/ws"
    assert server_url("ws://[::1]:1/other") == "ws://[::1]:1/other"
    for bad in ("ftp://x", "ws://", "://"):
        with pytest.raises(CommandError):
            server_url(bad)


@pytest.mark.parametrize(
    ("sent", "saved"),
    [("a.png", "a.png"), ("../../etc/passwd", "passwd"), ("C:\\x\\y.txt", "y.txt"), ("..", "file"),
     ("", "file"), ("/", "file"), (".bashrc", "bashrc")],
)  # fmt: skip
def test_a_file_s_name_cannot_choose_where_it_is_saved(
    tmp_path: Path, sent: str, saved: str
) -> None:
    assert _target(sent, [str(tmp_path)]) == tmp_path / saved
    (tmp_path / saved).touch()
    assert _target(sent, [str(tmp_path)]).name.startswith(Path(saved).stem + " (1)")


def test_codes_are_appended_to_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "codes"

    async def go() -> None:
        sender = FileCodeSender(file)
        await sender.send(ANNA, "123456")
        await sender.send(BEN, "654321")

    asyncio.run(go())
    assert file.read_text().splitlines()[1] == f'{{"phone": "{BEN}", "code": "654321"}}'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_demo_s_picture_is_a_png() -> None:
    png = picture(20, 10)
    assert png == picture(20, 10) != picture(20, 10, seed=8)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    start = png.index(b"IDAT") + 4
    size = int.from_bytes(png[start - 8 : start - 4], "big")
    assert len(zlib.decompress(png[start : start + size])) == 10 * (1 + 20 * 3)


def test_several_servers_are_written_with_commas() -> None:
    assert server_urls("a:1, https://b,,a:1") == ("ws://a:1/ws", "wss://b/ws")
    assert server_urls("a:1") == ("ws://a:1/ws",)
    for bad in ("", " , ", "a:1,ftp://x"):
        with pytest.raises(CommandError):
            server_urls(bad)
