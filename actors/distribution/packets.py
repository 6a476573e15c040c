"""Signals as bytes: the length of the head in two bytes, the head, the message, both in CBOR.

The head is ``[code, ...]``; the message is put in as the bytes that it was made when it was sent,
and there is none where a signal has none. The head of what is sent to the same process again is
the same bytes, so that those are made, and checked, once. All else that comes is checked in every
part before anything is done with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from cbor2 import dumps

from palaver.actors.distribution import signals
from palaver.actors.distribution.crossing import CannotCross, shown
from palaver.actors.distribution.decoding import where_of
from palaver.actors.distribution.encoding import KINDS, BadPacket, load
from palaver.actors.distribution.signals import LinkId, Signal, Where

__all__ = ["Packets"]

(POST, ASK, ANSWER, FAIL, NO_TARGET, ABANDON, WATCH, UNWATCH, GONE, LINK, UNLINK, EXIT_LINKED,
 EXIT_SENT, GROUPED, GROUPED_TO) = range(15)  # fmt: skip

_HOWS: Final = ("info", "cast", "signal")
_NUMBERS: Final = {kind: number for number, kind in enumerate(KINDS)}

MAX_LINKS: Final = 10_000

MAX_HEADS: Final = 10_000
"""Heads that are remembered, each way."""

MAX_HEAD_BYTES: Final = 65_535


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


def _headed(signal: Signal) -> tuple[bytes, bytes | None]:
    parts, message = _WRITERS[type(signal)](signal)
    try:
        head = dumps(parts)
    except UnicodeEncodeError as error:
        raise CannotCross(f"{shown(parts)} has a name in it that is no Unicode") from error
    if len(head) > MAX_HEAD_BYTES:
        raise CannotCross(f"{shown(parts)}: names and links take {len(head)} bytes, too many")
    return len(head).to_bytes(2, "big") + head, message


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


class Packets:
    """Makes packets of signals, and signals of packets; remembers the heads of messages."""

    def __init__(self) -> None:
        self._out: dict[tuple[Where, str], bytes] = {}
        self._in: dict[bytes, tuple[Where, Any]] = {}

    def packet(self, signal: Signal) -> bytes:
        """The bytes of a signal, whose message is bytes already; raises `CannotCross`."""
        if type(signal) is not signals.Post:
            head, message = _headed(signal)
            return head if message is None else head + message
        key = (signal.target, signal.how)
        known = self._out.get(key)
        if known is None:
            if len(self._out) >= MAX_HEADS:
                self._out.clear()
            known = self._out[key] = _headed(signal)[0]
        return known + signal.message  # type: ignore[no-any-return]

    def signal(self, data: bytes, node_name: str, creation: int) -> Signal:
        """The signal of a packet, from a node and its incarnation; its message is not read yet.

        Raises:
            BadPacket: it is none, or says what this node could not say.
        """
        end = int.from_bytes(data[:2], "big") + 2
        head = data[2:end]
        if len(data) < end or end == 2:
            raise BadPacket("a packet is shorter than its head says")
        known = self._in.get(head)
        if known is not None:
            return signals.Post(*known, load(data[end:]))
        signal = _signal(load(head), data[end:])
        if isinstance(signal, signals.Post):
            if len(self._in) >= MAX_HEADS:
                self._in.clear()
            self._in[head] = (signal.target, signal.how)
        elif isinstance(signal, (signals.Ask, signals.Abandon)):
            _own(signal.call, node_name)
            if signal.call.creation != creation:
                raise BadPacket(f"{node_name} asks for an earlier incarnation of itself")
        elif isinstance(signal, (signals.LinkTo, signals.UnlinkFrom, signals.ExitLinked)):
            _own(signal.source, node_name)  # in an answer, it may be of an earlier incarnation
        return signal


def _signal(head: Any, message: bytes) -> Signal:
    if type(head) is not list or not head or type(head[0]) is not int:
        raise BadPacket("the head of a packet is a list that begins with a number")
    if not 0 <= head[0] < len(_READERS):
        raise BadPacket(f"there is no signal {head[0]}"[:100])
    kind, checks, has_message = _READERS[head[0]]
    if len(head) != len(checks) + 1 or has_message != bool(message):
        raise BadPacket(f"a {kind.__name__} has other parts than these")
    parts = [check(each) for check, each in zip(checks, head[1:], strict=True)]
    if has_message:
        parts.append(load(message))
    signal: Signal = kind(*parts)
    return signal


def _own(where: Where, node_name: str) -> None:
    """A node asks in its own name, and links its own processes."""
    if where.node_name != node_name:
        raise BadPacket(f"{node_name} speaks for {where.node_name}")
