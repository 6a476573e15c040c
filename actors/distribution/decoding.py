"""What another node says, read: its greeting, and then its messages by the names it gave there."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from cbor2 import dumps

from palaver.actors.distribution.encoding import (
    CODES,
    FROZENSET,
    KINDS,
    LIST,
    PLAIN,
    SCALARS,
    SET,
    TEXT_ERROR,
    THING,
    TUPLE,
    WHERE,
    BadPacket,
    load,
)
from palaver.actors.distribution.plain import PLAIN_TYPES
from palaver.actors.distribution.signals import Where
from palaver.actors.distribution.vocabulary import (
    MAX_ENTRIES,
    Entry,
    RemoteError,
    Unreadable,
    Vocabulary,
)

__all__ = ["FORMAT", "Dialect", "greeting_of", "where_of"]

FORMAT: Final = 1
"""The version of all this; nodes whose greetings have another one do not connect."""

MAX_FIELDS: Final = 1000

MAX_GREETING_BYTES: Final = 64 * 1024

MAX_TABLE_BYTES: Final = 4 * 1024 * 1024

Read: TypeAlias = Callable[[list[Any]], Any]


def greeting_of(vocabulary: Vocabulary) -> bytes:
    """What a node says first: the format, and what its numbers mean; compressed.

    Raises:
        ValueError: the vocabulary is so great that this takes more than 64 KiB.
    """
    said = [FORMAT, [[each.kind, each.name, each.fields] for each in vocabulary.entries()]]
    greeting = zlib.compress(dumps(said))
    if len(greeting) > MAX_GREETING_BYTES:
        raise ValueError(
            f"a vocabulary of {len(vocabulary)} names is too great: they take {len(greeting)} "
            f"bytes, of {MAX_GREETING_BYTES}"
        )
    return greeting


def _plain_greeting(greeting: bytes) -> bytes:
    """A greeting as it was before it was compressed; no greater than it may be."""
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(greeting, MAX_TABLE_BYTES)
    except zlib.error as error:
        raise BadPacket(f"that is no greeting: {error}") from error
    if not inflate.eof or inflate.unused_data:
        raise BadPacket("that is no greeting, or one that is too great")
    return data


def where_of(parts: Any) -> Where:
    """An address as it has crossed; raises `BadPacket` if it is none."""
    if type(parts) is not list or len(parts) != 4:
        raise BadPacket("an address has four parts")
    number, node_name, creation, key = parts
    if type(number) is not int or not 0 <= number < len(KINDS):
        raise BadPacket(f"there is no kind of address {number!r}")
    kind = KINDS[number]
    fits = type(key) is (str if kind == "name" else int)
    if not fits or type(node_name) is not str or type(creation) is not int or creation < 0:
        raise BadPacket("an address has parts of wrong types")
    return Where(kind, node_name, creation, key)  # type: ignore[arg-type]


class Dialect:
    """Reads the messages of one node.

    Args:
        greeting: what it has said first.
        vocabulary: what is known here.
        found: what an address means here (`Directory.found`).

    Raises:
        BadPacket: that is no greeting, or one of another format.
    """

    def __init__(
        self, greeting: bytes, vocabulary: Vocabulary, found: Callable[[Where], Any]
    ) -> None:
        self._found = found
        self._things: list[Any] = []
        self._names: list[str] = []
        self._readers: list[Read] = [self._nothing] * CODES
        self._readers[LIST] = self._all
        self._readers[TUPLE] = self._tuple
        self._readers[SET] = self._set
        self._readers[FROZENSET] = self._frozenset
        self._readers[PLAIN] = self._plain
        self._readers[WHERE] = self._where
        self._readers[THING] = self._thing
        self._readers[TEXT_ERROR] = self._text_error
        for kind, name, fields in _table(greeting):
            entry = vocabulary.get(name)
            if entry is not None and entry.kind != kind:
                entry = None
            self._names.append(name)
            self._things.append(entry)
            self._readers.append(self._reader(entry, kind, name, fields))

    def read(self, data: Any) -> Any:
        """A message as `load` has given it; raises `Unreadable`, whatever it is."""
        if type(data) in SCALARS:
            return data
        try:
            return self._data(data)
        except Unreadable:
            raise
        except Exception as error:  # whatever another node says must not end anything here
            raise Unreadable(f"a message makes no sense here: {error!r}"[:500]) from error

    # -- values --------------------------------------------------------------------------------

    def _data(self, data: Any) -> Any:
        kind = type(data)
        if kind is list:
            code = data[0]
            if type(code) is not int or code < 0:
                raise Unreadable(f"a message has the code {code!r}"[:100])
            return self._readers[code](data)
        if kind is dict:
            if SCALARS.issuperset(map(type, data.values())):
                return data
            return {k: v if type(v) in SCALARS else self._data(v) for k, v in data.items()}
        if kind in SCALARS:
            return data
        raise Unreadable(f"a message has a {kind.__name__} in it")

    def _all(self, data: list[Any], start: int = 1) -> list[Any]:
        """What follows the code of a list."""
        values = data[start:]
        if SCALARS.issuperset(map(type, values)):
            return values
        read = self._data
        return [v if type(v) in SCALARS else read(v) for v in values]

    def _tuple(self, data: list[Any]) -> Any:
        return tuple(self._all(data))

    def _set(self, data: list[Any]) -> Any:
        return set(self._all(data))

    def _frozenset(self, data: list[Any]) -> Any:
        return frozenset(self._all(data))

    def _plain(self, data: list[Any]) -> Any:
        number = data[1]
        if type(number) is not int or not 0 <= number < len(PLAIN_TYPES):
            raise Unreadable("a message has a value of a type that this version does not know")
        return PLAIN_TYPES[number].make(*self._all(data, 2))

    def _where(self, data: list[Any]) -> Any:
        return self._found(where_of(data[1:]))

    def _thing(self, data: list[Any]) -> Any:
        number = data[1]
        if type(number) is not int or not 0 <= number < len(self._things):
            raise Unreadable(f"a message names the number {number!r}, which means nothing"[:100])
        entry = self._things[number]
        if entry is None:
            raise Unreadable(_unknown(self._names[number]))
        return entry.thing

    def _text_error(self, data: list[Any]) -> Any:
        _, kind, text, cause = data
        return self._caused(RemoteError(str(kind), str(text)), cause)

    def _caused(self, error: BaseException, cause: Any) -> BaseException:
        if cause is not None:
            before = self._data(cause)
            if not isinstance(before, BaseException):
                raise Unreadable("the cause of an error is no error")
            error.__cause__ = before
        return error

    def _nothing(self, data: list[Any]) -> Any:
        raise Unreadable(f"a message has the code {data[0]}, which means nothing to this version")

    # -- registered classes --------------------------------------------------------------------

    def _reader(self, entry: Entry | None, kind: str, name: str, fields: list[str]) -> Read:
        if kind == "error":
            return self._error_reader(entry, name)
        if entry is None:
            return _unreadable(_unknown(name))
        if kind == "enum":
            return self._enum_reader(entry)
        if kind == "thing":
            return _unreadable(f"{name} crosses by its name")
        if tuple(fields) == entry.fields:
            return self._maker(entry)
        missing = [each for each in entry.fields if each not in fields]
        needed = [each for each in missing if each not in entry.defaults]
        if needed:
            return _unreadable(
                f"{name} comes without {', '.join(needed)}: a field that is new needs a default, "
                "as long as nodes of an older version are in the cluster"
            )
        return self._other_version(entry, fields, missing)

    def _maker(self, entry: Entry) -> Read:
        """Of a class whose fields are the same on both sides."""
        cls, count = entry.thing, len(entry.fields)
        if entry.kind == "tuple":

            def read_tuple(data: list[Any]) -> Any:
                if len(data) != count + 1:
                    raise Unreadable(f"{entry.name} has {count} fields, not {len(data) - 1}")
                return tuple.__new__(cls, self._all(data))

            return read_tuple

        names, fill = entry.fields, object.__setattr__

        def read_record(data: list[Any]) -> Any:
            new: Any = object.__new__(cls)
            for name, value in zip(names, self._all(data), strict=True):
                fill(new, name, value)
            return new

        return read_record

    def _other_version(self, entry: Entry, fields: list[str], missing: list[str]) -> Read:
        make = self._maker(entry)

        def read(data: list[Any]) -> Any:
            given = dict(zip(fields, data[1:], strict=True))
            new = make([data[0], *(given.get(each) for each in entry.fields)])
            if entry.kind == "tuple":
                return new._replace(**{each: entry.defaults[each]() for each in missing})
            for each in missing:
                object.__setattr__(new, each, entry.defaults[each]())
            return new

        return read

    def _enum_reader(self, entry: Entry) -> Read:
        cls = entry.thing

        def read(data: list[Any]) -> Any:
            member = data[1]
            try:
                return cls[member] if type(member) is str else cls(member)
            except (KeyError, ValueError):
                raise Unreadable(f"{entry.name} has no {member!r} here"[:200]) from None

        return read

    def _error_reader(self, entry: Entry | None, name: str) -> Read:
        def read(data: list[Any]) -> Any:
            _, packed, more, cause = data
            args = self._tuple(packed)
            if entry is None:
                text = ", ".join(repr(each) if len(args) > 1 else str(each) for each in args)
                return self._caused(RemoteError(name, text[:200]), cause)
            cls = entry.thing
            if cls.__module__ == "builtins":
                new = cls(*args)
            else:
                new = cls.__new__(cls, *args)
                new.args = args
            for key, value in self._data(more).items():
                if key.startswith("__") and key != "__notes__":
                    raise Unreadable(f"an error has the attribute {key}"[:200])
                setattr(new, key, value)
            return self._caused(new, cause)

        return read


def _unreadable(text: str) -> Read:
    def read(data: list[Any]) -> Any:
        raise Unreadable(text)

    return read


def _unknown(name: str) -> str:
    return f"{name} is not in the vocabulary of this node: add it, and upgrade this node first"


def _table(greeting: bytes) -> list[tuple[str, str, list[str]]]:
    """The table of a greeting, checked."""
    said = load(_plain_greeting(greeting))
    if type(said) is not list or len(said) != 2 or type(said[1]) is not list:
        raise BadPacket("that is no greeting")
    if said[0] != FORMAT:
        raise BadPacket(f"the other node speaks format {said[0]!r}, this one {FORMAT}: upgrade it")
    if len(said[1]) > MAX_ENTRIES:
        raise BadPacket(f"the vocabulary has more than {MAX_ENTRIES} names")
    table = []
    for each in said[1]:
        if type(each) is not list or len(each) != 3:
            raise BadPacket("an entry of a vocabulary has three parts")
        kind, name, fields = each
        texts = type(fields) is list and all(type(field) is str for field in fields)
        if not texts or type(kind) is not str or type(name) is not str or len(fields) > MAX_FIELDS:
            raise BadPacket("an entry of a vocabulary has parts of wrong types")
        table.append((kind, name, fields))
    return table
