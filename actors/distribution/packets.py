"""Signals as bytes: ``[[code, ...], message]``, in CBOR; what has no message is ``[[code, ...]]``.

The message is put in as the bytes that it was made when it was sent; what comes is checked in
every part before anything is done with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from cbor2 import dumps

from palaver.actors.distribution import signals
from palaver.actors.distribution.decoding import where_of
from palaver.actors.distribution.encoding import KINDS, BadPacket, load
from palaver.actors.distribution.signals import LinkId, Signal, Where

__all__ = ["packet", "signal_of"]

(POST, ASK, ANSWER, FAIL, NO_TARGET, ABANDON, WATCH, UNWATCH, GONE, LINK, UNLINK, EXIT_LINKED,
 EXIT_SENT, GROUPED, GROUPED_TO) = range(15)  # fmt: skip

_HOWS: Final = ("info", "cast", "signal")
_NUMBERS: Final = {kind: number for number, kind in enumerate(KINDS)}

MAX_LINKS: Final = 10_000


def _parts(where: Where) -> tuple[int, str, int, int | str]:
    return (_NUMBERS[where.kind], where.node_name, where.creation, where.key)


def _maybe(where: Where | None) -> tuple[int, str, int, int | str] | None:
    return None if where is None else _parts(where)


# By class: the head of a signal, and its message; None if it has none.
_WRITERS: Final[dict[type, Callable[[Any], tuple[tuple[Any, ...], bytes | None]]]] = {
    signals.Post: lambda s: ((POST, _parts(s.target), _HOWS.index(s.how)), s.message),
    signals.Ask: lambda s: (
        (ASK, _parts(s.target), _parts(s.call), _maybe(s.asker), s.waits),
        s.request,
    ),
    signals.Answer: lambda s: ((ANSWER, s.call), s.value),
    signals.Fail: lambda s: ((FAIL, s.call), s.error),
    signals.NoTarget: lambda s: ((NO_TARGET, s.call), None),
    signals.Abandon: lambda s: ((ABANDON, _parts(s.call)), None),
    signals.Watch: lambda s: ((WATCH, s.number, _parts(s.target)), None),
    signals.Unwatch: lambda s: ((UNWATCH, s.number), None),
    signals.Gone: lambda s: ((GONE, s.number), s.reason),
    signals.LinkTo: lambda s: ((LINK, s.link, _parts(s.source), _parts(s.target)), None),
    signals.UnlinkFrom: lambda s: ((UNLINK, s.links, _parts(s.source), _parts(s.target)), None),
    signals.ExitLinked: lambda s: (
        (EXIT_LINKED, s.links, _parts(s.source), _parts(s.target)),
        s.reason,
    ),
    signals.ExitSent: lambda s: ((EXIT_SENT, _maybe(s.source), _parts(s.target)), s.reason),
    signals.Grouped: lambda s: ((GROUPED, s.scope), s.message),
    signals.GroupedTo: lambda s: ((GROUPED_TO, _parts(s.target)), s.message),
}


def packet(signal: Signal) -> bytes:
    """The bytes of a signal, whose message is bytes already."""
    head, message = _WRITERS[type(signal)](signal)
    if message is None:
        return b"\x81" + dumps(head)
    return b"\x82" + dumps(head) + message


# -- what comes ------------------------------------------------------------------------------------


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise BadPacket(f"{value!r} is no number of anything"[:100])
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise BadPacket(f"{value!r} is no text"[:100])
    return value


def _pid(value: Any) -> Where:
    where = where_of(value)
    if where.kind != "pid":
        raise BadPacket(f"a {where.kind} is no pid")
    return where


def _call(value: Any) -> Where:
    where = where_of(value)
    if where.kind != "call":
        raise BadPacket(f"a {where.kind} is no call")
    return where


def _link(value: Any) -> LinkId:
    if type(value) is not list or len(value) != 2:
        raise BadPacket("a link is a node and a number")
    return _text(value[0]), _number(value[1])


def _links(value: Any) -> tuple[LinkId, ...]:
    if type(value) is not list or len(value) > MAX_LINKS:
        raise BadPacket(f"that is no list of at most {MAX_LINKS} links")
    return tuple(_link(each) for each in value)


def _how(value: Any) -> Any:
    if type(value) is not int or not 0 <= value < len(_HOWS):
        raise BadPacket(f"there is no way to send {value!r}"[:100])
    return _HOWS[value]


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise BadPacket("yes or no is expected")
    return value


def _asker(value: Any) -> Where | None:
    return None if value is None else _pid(value)


Check: TypeAlias = Callable[[Any], Any]

# By code: the class, how each part of the head is read, and whether a message follows.
_READERS: Final[tuple[tuple[type, tuple[Check, ...], bool], ...]] = (
    (signals.Post, (where_of, _how), True),
    (signals.Ask, (where_of, _call, _asker, _flag), True),
    (signals.Answer, (_number,), True),
    (signals.Fail, (_number,), True),
    (signals.NoTarget, (_number,), False),
    (signals.Abandon, (_call,), False),
    (signals.Watch, (_number, where_of), False),
    (signals.Unwatch, (_number,), False),
    (signals.Gone, (_number,), True),
    (signals.LinkTo, (_link, _pid, _pid), False),
    (signals.UnlinkFrom, (_links, _pid, _pid), False),
    (signals.ExitLinked, (_links, _pid, _pid), True),
    (signals.ExitSent, (_asker, where_of), True),
    (signals.Grouped, (_text,), True),
    (signals.GroupedTo, (_pid,), True),
)


def signal_of(data: bytes, node_name: str, creation: int) -> Signal:
    """The signal of a packet, from a node and its incarnation; its message is still to be read.

    Raises:
        BadPacket: it is none, or says what this node could not say.
    """
    value = load(data)
    if type(value) is not list or not 1 <= len(value) <= 2 or type(value[0]) is not list:
        raise BadPacket("a packet is a head and at most one message")
    head = value[0]
    if not head or type(head[0]) is not int or not 0 <= head[0] < len(_READERS):
        raise BadPacket(f"there is no signal {head[:1]!r}"[:100])
    kind, checks, has_message = _READERS[head[0]]
    if len(head) != len(checks) + 1 or has_message != (len(value) == 2):
        raise BadPacket(f"a {kind.__name__} has other parts than these")
    parts = [check(each) for check, each in zip(checks, head[1:], strict=True)]
    signal: Any = kind(*parts, *value[1:])
    if kind is signals.Ask or kind is signals.Abandon:
        _own(signal.call, node_name)
        if signal.call.creation != creation:
            raise BadPacket(f"{node_name} asks for an earlier incarnation of itself")
    elif kind in _LINKING:
        _own(signal.source, node_name)  # in an answer, it may be one of an earlier incarnation
    return signal  # type: ignore[no-any-return]


_LINKING: Final = frozenset({signals.LinkTo, signals.UnlinkFrom, signals.ExitLinked})


def _own(where: Where, node_name: str) -> None:
    """A node asks in its own name, and links its own processes."""
    if where.node_name != node_name:
        raise BadPacket(f"{node_name} speaks for {where.node_name}")
