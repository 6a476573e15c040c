"""Commands as bytes: a replica that reads them comes to what the owner came to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palaver.actors.chat.state import ChatMachine, encoding
from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.state.tables import TABLES
from palaver.storage.partitioning import partition_of
from palaver.storage.simulated import Calm, SimulatedDisk, SimulatedStore
from palaver.transport import wire

PEOPLE = ("+491", "+492", "+493", "+494")
PAIRS = [(a, b) for a in PEOPLE for b in PEOPLE if a < b]
GROUP = b"G" * 16

account = st.sampled_from(PEOPLE)
device = st.integers(1, 3)
number = st.integers(0, 2**40)
small = st.integers(0, 6)
body = st.binary(max_size=40) | st.just(b"x" * 40_000)
file = st.none() | st.tuples(st.binary(min_size=16, max_size=16), number, st.text(max_size=5))
fresh = st.builds(
    cmd.Fresh, client_id=st.integers(1, 9), seen=small, type=st.text(max_size=4), body=body,
    file=file,
)  # fmt: skip
pair = st.sampled_from(PAIRS)
direct = pair.map(lambda two: wire.direct_conversation(*two))
conversation = direct | st.just(GROUP)
some = st.lists(account, max_size=3, unique=True)
event = st.tuples(conversation, small, account, body, file)


@st.composite
def sends(draw: st.DrawFn) -> cmd.Command:
    two = draw(st.none() | pair)
    where = GROUP if two is None else wire.direct_conversation(*two)
    messages = draw(st.lists(fresh, min_size=1, max_size=3))
    return (
        cmd.SEND, where, two, draw(st.booleans()), draw(account), draw(device), draw(number),
        draw(small), draw(small), messages,
    )  # fmt: skip


@st.composite
def blocks(draw: st.DrawFn) -> cmd.Command:
    two = draw(pair)
    where = wire.direct_conversation(*two)
    blocker, blocked = draw(st.sampled_from([two, two[::-1]])), draw(st.booleans())
    if draw(st.booleans()):
        return (cmd.SET_BLOCK, blocker[0], blocker[1], where, blocked)
    return (cmd.BLOCK_IN_CONVERSATION, where, two, blocker[0], blocked)


def plain(opcode: int, *fields: st.SearchStrategy[Any]) -> st.SearchStrategy[cmd.Command]:
    return st.tuples(st.just(opcode), *fields)


SINGLE = {
    cmd.SEND: sends(),
    cmd.CREATE_GROUP: plain(
        cmd.CREATE_GROUP, st.just(GROUP), st.text(max_size=5), account, device, number, small,
        st.integers(1, 9), some,
    ),
    cmd.CHANGE_MEMBERS: plain(
        cmd.CHANGE_MEMBERS, st.just(GROUP), account, device, number, small, st.integers(1, 9),
        some, some, small,
    ),
    cmd.ENQUEUE: plain(cmd.ENQUEUE, account, small, st.integers(2, 9), st.lists(event, max_size=3)),
    cmd.ACK: plain(cmd.ACK, account, device, small),
    cmd.DELIVERED: plain(cmd.DELIVERED, conversation, account, small, some),
    cmd.READ: plain(cmd.READ, conversation, account, small),
    cmd.REGISTER_DEVICE: plain(
        cmd.REGISTER_DEVICE, account, st.binary(min_size=32, max_size=32), st.text(max_size=5),
        number,
    ),
    cmd.REVOKE_DEVICE: plain(cmd.REVOKE_DEVICE, account, device),
    cmd.DELETE_ACCOUNT: plain(cmd.DELETE_ACCOUNT, account, number),
    cmd.SET_PRIVACY: plain(cmd.SET_PRIVACY, account, st.booleans()),
    cmd.SET_BLOCK: blocks(),
    cmd.BLOCK_IN_CONVERSATION: blocks(),
    cmd.LAST_SEEN: plain(cmd.LAST_SEEN, st.lists(st.tuples(account, device, number), max_size=3)),
    cmd.JOIN: plain(cmd.JOIN, account, conversation),
    cmd.LEAVE: plain(cmd.LEAVE, account, conversation),
    cmd.RECORD_FILE: plain(
        cmd.RECORD_FILE, account, st.binary(min_size=16, max_size=16), number, st.text(max_size=5)
    ),
    cmd.CONFIRM: plain(cmd.CONFIRM, st.integers(0, 3), small),
    cmd.REMOVE_MEMBER: plain(cmd.REMOVE_MEMBER, st.just(GROUP), account, number),
}  # fmt: skip
REGISTERED = [(cmd.REGISTER_DEVICE, name, b"k" * 32, "phone", 1) for name in PEOPLE]
single = st.one_of(list(SINGLE.values()))
command = single | plain(
    cmd.DELIVER, st.integers(1, 3), st.integers(1, 3), st.lists(single, max_size=3)
)


def here(one: cmd.Command, partitions: int) -> bool:
    """Whether a command is for partition 0, as the chat's processes send only such."""
    key = one[1] if isinstance(one[1], (str, bytes)) else 0
    raw = key.encode() if isinstance(key, str) else key
    return not isinstance(raw, bytes) or partition_of(raw, partitions) == 0


def run(commands: list[cmd.Command], partitions: int) -> tuple[list[Any], dict[str, Any]]:
    """What a new partition makes of commands: the outcomes, and all its rows."""
    disk = SimulatedDisk(Calm(lambda delay_s, fn: None, lambda: 0.0))
    store = SimulatedStore.open(disk, lambda n: ChatMachine(n, partitions), partitions=partitions)
    outcomes = [
        (type(one), str(one)) if isinstance(one, Exception) else one
        for one in store.apply_now(0, commands)
    ]
    rows = {
        table: store.view(0, lambda txn, table=table: list(txn.range(table, b"")))
        for table in TABLES
    }
    return outcomes, rows


@pytest.mark.parametrize("partitions", [1, 4])
@settings(deadline=None, max_examples=150)
@given(st.lists(command, min_size=1, max_size=12))
def test_decoded_commands_have_the_same_effects(
    partitions: int, commands: list[cmd.Command]
) -> None:
    commands = [one for one in [*REGISTERED, *commands] if here(one, partitions)]
    decoded = encoding.decode(encoding.encode(commands))
    assert run(decoded, partitions) == run(commands, partitions)


@settings(deadline=None)
@given(st.lists(command, max_size=5))
def test_commands_come_back_as_they_were_submitted(commands: list[cmd.Command]) -> None:
    decoded = encoding.decode(encoding.encode(commands))
    assert decoded == commands
    assert all(type(one) is tuple for one in decoded)
    assert encoding.encode(decoded) == encoding.encode(commands)


def test_every_command_is_tried() -> None:
    opcodes = {getattr(cmd, name) for name in cmd.__all__ if name.isupper()}
    assert opcodes == {*SINGLE, cmd.DELIVER}


def test_a_command_of_a_later_version_is_refused_by_the_machine() -> None:
    (later,) = encoding.decode(encoding.encode([(99, "a", [1])]))
    outcomes, _ = run([later], 1)
    assert "no command 99" in outcomes[0][1]


@given(st.binary(max_size=30))
@example(b"\x81\xa0")
@example(b"\x81\x80")
@example(b"\x81\x81\x61a")
@example(b"\x81\x82\x01\x00")
def test_other_bytes_are_commands_or_refused(data: bytes) -> None:
    try:
        decoded = encoding.decode(data)
    except encoding.NotCommands:
        return
    assert all(type(one) is tuple and type(one[0]) is int for one in decoded)
