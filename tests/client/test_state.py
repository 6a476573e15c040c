"""State engines: what is kept is there again; the file engine also after a kill."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from client_kit import DEVICE, ME
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.transport.client import (
    ClientState,
    FileState,
    MemoryState,
    OutboxItem,
    Snapshot,
    StateChange,
    StateError,
    StateMismatch,
)

CONVS = st.sampled_from([bytes([n]) * 16 for n in range(3)])
NUMBERS = st.integers(0, 2**63 - 1)
ITEMS = st.builds(OutboxItem, st.integers(1, 6), st.integers(5, 7), st.binary(max_size=8))
CHANGES = st.builds(
    StateChange,
    position=st.none() | NUMBERS,
    next_cid=st.none() | NUMBERS,
    after=st.none() | NUMBERS,
    added=st.lists(ITEMS, max_size=3, unique_by=lambda item: item.cid),
    removed=st.lists(st.integers(1, 6), max_size=3),
    seen=st.dictionaries(CONVS, st.none() | NUMBERS, max_size=3),
    awaited=st.dictionaries(CONVS, st.none() | NUMBERS, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, max_size=6))
def test_both_engines_keep_the_same(
    tmp_path_factory: pytest.TempPathFactory, changes: list[StateChange]
) -> None:
    path = tmp_path_factory.mktemp("state") / "state"
    memory = MemoryState()
    expected = memory.open(ME, DEVICE)
    file = FileState(path)
    file.open(ME, DEVICE)
    for change in changes:
        change.apply(expected)
        memory.commit(change)
        file.commit(change)
    file.close()
    again = FileState(path)
    assert again.open(ME, DEVICE) == expected
    assert memory.open(ME, DEVICE) == expected
    again.close()


def test_a_new_state_is_empty(tmp_path: Path) -> None:
    for state in (MemoryState(), FileState(tmp_path / "state")):
        assert state.open(ME, DEVICE) == Snapshot()
        state.close()
        state.close()
        assert state.open(ME, DEVICE) == Snapshot()
        state.close()


def test_the_file_is_its_owners_only(tmp_path: Path) -> None:
    state = FileState(tmp_path / "state")
    state.open(ME, DEVICE)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600
    state.close()


def test_another_devices_state_is_refused(tmp_path: Path) -> None:
    states: list[ClientState] = [MemoryState(), FileState(tmp_path / "state")]
    for state in states:
        state.open(ME, DEVICE)
        state.close()
        with pytest.raises(StateMismatch):
            state.open(ME, DEVICE + 1)


def test_two_clients_cannot_share_a_file(tmp_path: Path) -> None:
    first, second = FileState(tmp_path / "state"), FileState(tmp_path / "state")
    first.open(ME, DEVICE)
    with pytest.raises(StateError, match="another program"):
        second.open(ME, DEVICE)
    with pytest.raises(StateError, match="already open"):
        first.open(ME, DEVICE)
    first.close()
    second.open(ME, DEVICE)
    second.close()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"This is no database. " * 100)
    with pytest.raises(StateError):
        FileState(path).open(ME, DEVICE)
    with pytest.raises(StateError):
        FileState(tmp_path).open(ME, DEVICE)
    with pytest.raises(StateError, match="not open"):
        FileState(path).commit(StateChange(position=1))


_KILLED = f"""
import os, sys
from palaver.transport.client import FileState, OutboxItem, StateChange
state = FileState(sys.argv[1])
state.open({ME!r}, {DEVICE})
for number in range(1, 6):
    item = OutboxItem(number, 5, b"x")
    state.commit(StateChange(position=number, next_cid=number + 1, added=[item]))
os.kill(os.getpid(), 9)
"""


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "state"
    program = [sys.executable, "-c", _KILLED, os.fspath(path)]
    assert subprocess.run(program, check=False).returncode == -9
    state = FileState(path)
    snapshot = state.open(ME, DEVICE)
    assert snapshot.position == 5
    assert snapshot.next_cid == 6
    assert sorted(snapshot.outbox) == [1, 2, 3, 4, 5]
    state.close()
