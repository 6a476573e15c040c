"""Commands as bytes, for a journal: CBOR, and back into what the chat's processes submit.

Whatever a command was like when it was submitted, a replica that applies what was decoded comes to
the same rows and the same effects, byte for byte. Commands of a later version that are not known
here keep their shape, and the machine refuses them, on every replica alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cbor2

from palaver.actors.chat.state import commands as cmd

__all__ = ["NotCommands", "decode", "encode"]


class NotCommands(ValueError):
    """Bytes that are no encoded commands: they were damaged, or made by something else."""


def encode(commands: Sequence[cmd.Command]) -> bytes:
    """Commands as bytes.

    Raises:
        cbor2.CBOREncodeError: a command has something in it that is no plain data.
    """
    return cbor2.dumps([list(command) for command in commands])


def decode(data: bytes) -> list[cmd.Command]:
    """The commands that were encoded.

    Raises:
        NotCommands: these bytes hold none.
    """
    try:
        items = cbor2.loads(data)
        return [_command(item) for item in items]
    except (cbor2.CBORDecodeError, TypeError, ValueError, LookupError) as error:
        raise NotCommands(f"{len(data)} bytes are no encoded commands: {error}") from error


def _command(items: list[Any]) -> cmd.Command:
    opcode = items[0]
    if type(opcode) is not int:
        raise TypeError(f"{opcode!r} is no opcode")
    restore = _RESTORE.get(opcode)
    return tuple(items) if restore is None else restore(items)


def _send(items: list[Any]) -> cmd.Command:
    *head, messages = items
    head[2] = _tuple(head[2])
    fresh = [
        cmd.Fresh(client_id, seen, kind, body, _tuple(file))
        for client_id, seen, kind, body, file in messages
    ]
    return (*head, fresh)


def _enqueue(items: list[Any]) -> cmd.Command:
    *head, events = items
    return (*head, [(*event[:-1], _tuple(event[-1])) for event in events])


def _block(items: list[Any]) -> cmd.Command:
    opcode, conversation, pair, *rest = items
    return (opcode, conversation, tuple(pair), *rest)


def _last_seen(items: list[Any]) -> cmd.Command:
    opcode, rows = items
    return (opcode, [tuple(row) for row in rows])


def _deliver(items: list[Any]) -> cmd.Command:
    *head, inner = items
    return (*head, [_command(command) for command in inner])


def _tuple(items: list[Any] | None) -> Any:
    return None if items is None else tuple(items)


_RESTORE: dict[int, Callable[[list[Any]], cmd.Command]] = {
    cmd.SEND: _send,
    cmd.ENQUEUE: _enqueue,
    cmd.BLOCK_IN_CONVERSATION: _block,
    cmd.LAST_SEEN: _last_seen,
    cmd.DELIVER: _deliver,
}
