"""Messages as bytes: CBOR, in which what is no plain data is a list that begins with a number.

None, booleans, numbers, texts, bytes and dicts with texts for keys are themselves in CBOR. All
else is ``[code, ...]``: a list, a tuple, a set; an address; an object of a registered class, whose
code is its number in the sender's vocabulary. So tuples stay tuples; the CBOR has no tags but
those of big integers; and reading it makes no object that this node's program has not registered.

A not-a-number arrives as one, without its payload. A text with half of a surrogate pair is no
Unicode, and is refused where it is sent.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from io import BytesIO
from types import FunctionType, NoneType
from typing import Any, Final, TypeAlias

from cbor2 import CBORDecodeEOF, CBORDecodeError, CBORDecoder, CBOREncodeError, dumps, loads

from palaver.actors.distribution.crossing import MAX_DEPTH, MAX_VALUES, CannotCross, shown
from palaver.actors.distribution.plain import ARRIVE_AS, PLAIN_TYPES
from palaver.actors.distribution.signals import Where
from palaver.actors.distribution.vocabulary import Entry, Vocabulary
from palaver.actors.runtime import Addressable, NamedReason, Pid, Ref

__all__ = ["CODES", "BadPacket", "Encoder", "load", "printable"]

SCALARS: Final = frozenset({NoneType, bool, int, float, str, bytes})
"""What is itself in CBOR."""

LIST, TUPLE, SET, FROZENSET, PLAIN, WHERE, THING, TEXT_ERROR = range(8)
CODES: Final = 16
"""What is below are codes of the format; the registered classes are numbered from there."""

KINDS: Final = ("pid", "name", "alias", "ref", "call")

# Lists in lists in the CBOR for each level of nesting of a value; and what is around it.
_CBOR_DEPTH: Final = 2 * MAX_DEPTH + 16

_BUILT_IN_TAGS: Final = (
    0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip

_TEXTS: Final = frozenset({str})

Encode: TypeAlias = Callable[[Any, int], Any]


class BadPacket(ValueError):
    """Bytes from another node are no packet of this protocol: its connection is given up."""


def _reject_tag(_value: object, _immutable: bool) -> Any:
    raise ValueError("tags are not part of the protocol")


_TAG_DECODERS: Final = dict.fromkeys(_BUILT_IN_TAGS, _reject_tag)

# `loads` does not say what follows the first item: a mark that has to be found behind it does.
_MARK: Final = b"\x01palaver"
_MARK_ITEM: Final = b"\x48" + _MARK


def load(data: bytes) -> Any:
    """Decode exactly one CBOR item without tags or indefinite lengths; raises `BadPacket`."""
    try:
        if _MARK in data:
            return _load_marked(data)
        value, mark = loads(
            b"\x82" + data + _MARK_ITEM,
            tag_hook=_reject_tag,
            semantic_decoders=_TAG_DECODERS,
            max_depth=_CBOR_DEPTH + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (CBORDecodeError, ValueError) as error:
        raise BadPacket(f"no CBOR of this protocol: {error}") from error
    if mark != _MARK:
        raise BadPacket("there are bytes behind the packet")
    return value


def _load_marked(data: bytes) -> Any:
    decoder = CBORDecoder(
        BytesIO(data),
        tag_hook=_reject_tag,
        semantic_decoders=_TAG_DECODERS,
        max_depth=_CBOR_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    value = decoder.decode()
    try:
        decoder.read(1)
    except CBORDecodeEOF:
        return value
    raise BadPacket("there are bytes behind the packet")


class Encoder:
    """Makes bytes of messages.

    Args:
        vocabulary: what may cross.
        where: what an address or a reference is called between nodes (`Directory.where`).
        max_bytes: the most that one message may take.
    """

    def __init__(
        self, vocabulary: Vocabulary, where: Callable[[Any], Where], max_bytes: int
    ) -> None:
        self._where = where
        self._max_bytes = max_bytes
        self._left = 0
        self._things: dict[Any, int] = {}
        self._encoders: dict[type, Encode] = {
            list: self._sequence(LIST),
            tuple: self._sequence(TUPLE),
            set: self._sequence(SET),
            frozenset: self._sequence(FROZENSET),
            dict: self._dict,
            FunctionType: self._thing,
            type: self._thing,
        }
        for number, plain in enumerate(PLAIN_TYPES):
            if plain.kind is not dict:
                self._encoders[plain.kind] = self._plain(number, plain.take)
        for kind, other in ARRIVE_AS.items():
            self._encoders[kind] = self._as_dict(other)
        for number, entry in enumerate(vocabulary.entries()):
            self._enter(number, entry)

    def _enter(self, number: int, entry: Entry) -> None:
        code = number + CODES
        self._things[entry.thing] = number
        if entry.kind == "tuple":
            self._encoders[entry.thing] = self._sequence(code)
        elif entry.kind == "record":
            self._encoders[entry.thing] = self._record(code, entry.fields)
        elif entry.kind == "enum":
            by_value = issubclass(entry.thing, enum.Flag)  # a combination has no name of its own
            self._encoders[entry.thing] = lambda value, depth: [
                code,
                value.value if by_value else value.name,
            ]
        elif entry.kind == "error":
            self._encoders[entry.thing] = lambda value, depth: self._error(code, value, depth)
        else:
            self._encoders.setdefault(type(entry.thing), self._thing)

    def encode(self, value: Any) -> bytes:
        """One CBOR item; raises `CannotCross`, which says what cannot and what to do."""
        self._left = MAX_VALUES
        try:
            data = dumps(value if type(value) in SCALARS else self._data(value, 0))
        except UnicodeEncodeError as error:
            raise CannotCross(
                f"{shown(value)} has a text with half of a surrogate pair: that is no Unicode"
            ) from error
        except CBOREncodeError as error:
            raise CannotCross(f"{shown(value)} cannot go to another node: {error}") from error
        if len(data) > self._max_bytes:
            raise CannotCross(
                f"{shown(value)} takes {len(data)} bytes; a message to another node takes at most "
                f"{self._max_bytes}: send it in pieces"
            )
        return data

    def _data(self, value: Any, depth: int) -> Any:
        """Of a value that is no scalar, what stands for it."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise CannotCross(
                f"{shown(value)} cannot go to another node: a message is nested at most "
                f"{MAX_DEPTH} deep and has at most {MAX_VALUES} values"
            )
        encode = self._encoders.get(type(value))
        return self._rarer(value, depth) if encode is None else encode(value, depth)

    def _all(self, code: int, values: Sequence[Any], depth: int) -> list[Any]:
        if SCALARS.issuperset(map(type, values)):
            return [code, *values]
        data = self._data
        below = depth + 1
        return [code, *[v if type(v) in SCALARS else data(v, below) for v in values]]

    def _sequence(self, code: int) -> Encode:
        def encode(value: Any, depth: int) -> Any:
            return self._all(code, value, depth)

        return encode

    def _record(self, code: int, names: tuple[str, ...]) -> Encode:
        def encode(value: Any, depth: int) -> Any:
            try:
                values = [getattr(value, name) for name in names]
            except AttributeError as error:
                raise CannotCross(f"{type(value).__name__} lacks a field: {error}") from error
            return self._all(code, values, depth)

        return encode

    def _plain(self, number: int, take: Callable[[Any], tuple[Any, ...]]) -> Encode:
        def encode(value: Any, depth: int) -> Any:
            return [PLAIN, number, *self._all(0, take(value), depth)[1:]]

        return encode

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        if not _TEXTS.issuperset(map(type, value)):
            return [PLAIN, 0, *self._all(0, tuple(value.items()), depth)[1:]]
        if SCALARS.issuperset(map(type, value.values())):
            return value
        data, below = self._data, depth + 1
        return {k: v if type(v) in SCALARS else data(v, below) for k, v in value.items()}

    def _as_dict(self, kind: type[dict[Any, Any]]) -> Encode:
        return lambda value, depth: self._dict(kind(value), depth)

    def _thing(self, value: Any, depth: int) -> Any:
        number = self._things.get(value)
        if number is None:
            raise CannotCross(
                f"{shown(value)} cannot go to another node: only what is in the node's Vocabulary "
                "is known by name there; add it"
            )
        return [THING, number]

    def _address(self, value: Any, depth: int) -> Any:
        where = self._where(value)
        return [WHERE, KINDS.index(where.kind), where.node_name, where.creation, where.key]

    def _error(self, code: int, error: BaseException, depth: int) -> Any:
        below = depth + 1
        try:
            args = self._all(TUPLE, error.args, below)
            more = self._dict(vars(error), below)
            dumps((args, more))  # a text in it may be no Unicode
        except (CannotCross, CBOREncodeError, UnicodeEncodeError):
            return self._text_error(error, depth)
        cause = error.__cause__
        return [code, args, more, None if cause is None else self._data(cause, below)]

    def _text_error(self, error: BaseException, depth: int) -> Any:
        kind = type(error)
        text = printable(shown(error, str).removeprefix(f"{kind.__name__} "))
        cause = error.__cause__
        name = f"{kind.__module__}.{kind.__qualname__}"
        return [TEXT_ERROR, name, text, None if cause is None else self._data(cause, depth + 1)]

    def _rarer(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if isinstance(value, (Pid, Addressable, Ref, Where)):
            self._encoders[kind] = self._address
            return self._address(value, depth)
        if isinstance(value, BaseException):
            return self._text_error(value, depth)
        if isinstance(value, (type, NamedReason)):
            return self._thing(value, depth)
        raise CannotCross(
            f"{shown(value)} cannot go to another node: a message consists of plain data, pids, "
            f"references, and objects of classes in the node's Vocabulary; add {kind.__name__}"
        )


def printable(text: str) -> str:
    """A text as it can cross: what is no Unicode is replaced."""
    return text.encode("utf-8", "replace").decode()
