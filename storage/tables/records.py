"""Records: which classes they may be of, and how they become bytes and come back equal.

A record class is a frozen dataclass, a frozen attrs class or a `typing.NamedTuple`; a table without
a class has a generic one. On the disk a record is the CBOR array of its fields' values.

What is read equals what was written, with its types: a value that would come back as something
else is refused when it is written. In a field whose hint is Any, and in generic records, arrays
come back as tuples, sets as frozensets and dicts as `cbor2.frozendict`s.
"""

from __future__ import annotations

import keyword
from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from reprlib import repr as short_repr
from typing import Any, Final, Generic, TypeVar

from cbor2 import CBORDecodeError, dumps, loads

from .errors import BadType, CombineError
from .record_classes import (
    check_class,
    field_hints,
    field_names,
    getter,
    is_record_class,
    maker,
)
from .record_hints import describe, direct_part, is_mutable, is_recursive
from .record_hooks import Hooks

R = TypeVar("R")

MAX_ATTRIBUTES: Final = 1000
"""How many attributes a record may have."""

_MAX_CBOR_DEPTH: Final = 100  # a hint in a hint may be two (pairs in lists), and Any 32 more
# What cbor2 makes of itself, before it asks tag_hook, and what tables never write.
_FOREIGN_TAGS: Final = (1, 5, 25, 28, 29, 35, 36, 100, 256, 260, 261, 43000, 55799)
_MAX_KNOWN: Final = 256


def _refuse_tag(*_: Any) -> Any:
    raise ValueError("a tag that tables do not write")


_TAGS: Final = dict.fromkeys(_FOREIGN_TAGS, _refuse_tag)


class RecordType(Generic[R]):
    """What a table knows of the class of its records.

    Attributes:
        name: the class's name, and by default the table's.
        attributes: the fields' names in order.
        cls: the class.
        key_position: which attribute is the key.
        signature: the attributes and their type hints in words, to be stored with the table and
            compared when it is opened.
        key_of: gives a record's key.
        values: gives a record's values as a tuple.
    """

    __slots__ = (
        "_hooks",
        "_known",
        "_make",
        "_mutable",
        "_reads_back",
        "_types",
        "attributes",
        "cls",
        "key_of",
        "key_position",
        "name",
        "signature",
        "values",
    )

    def __init__(
        self, cls: type[R], attributes: tuple[str, ...], hints: Sequence[Any], key: str | None
    ) -> None:
        self.name: Final[str] = cls.__name__
        self.cls: Final[type[R]] = cls
        self.attributes: Final[tuple[str, ...]] = attributes
        self.key_position: Final[int] = _position(cls, attributes, key)
        self.key_of: Final[Callable[[R], Any]] = attrgetter(attributes[self.key_position])
        self.values: Final[Callable[[R], tuple[Any, ...]]] = getter(cls, attributes)
        self.signature: Final[str] = ", ".join(
            f"{attribute}: {self._describe(attribute, hint)}"
            for attribute, hint in zip(attributes, hints, strict=True)
        )
        self._make: Callable[..., R] = maker(cls, attributes)
        self._types = [direct_part(hint) for hint in hints]
        hooks = Hooks()
        self._hooks = [hooks.of(hint) for hint in hints]
        self._mutable = frozenset(i for i, hint in enumerate(hints) if is_mutable(hint))
        self._reads_back = any(map(is_recursive, hints))
        # Types that the values of records have had, and at which positions hooks are needed then.
        self._known: dict[tuple[type, ...], tuple[int, ...]] = {}

    @classmethod
    def of(cls, record_class: type[R], key: str | None = None) -> RecordType[R]:
        """Take a frozen dataclass, a frozen attrs class or a `typing.NamedTuple`.

        Args:
            record_class: the class.
            key: the attribute that is the key, if it is not the first.

        Raises:
            BadType: it is no such class, or a type hint cannot be stored; the text says what can.
        """
        if not is_record_class(record_class):
            raise BadType(
                f"{record_class!r} is no record class: "
                "use a frozen dataclass, a frozen attrs class or a NamedTuple"
            )
        names = field_names(record_class)
        _check_names(record_class.__name__, names)
        check_class(record_class, names)
        hints = field_hints(record_class)
        return RecordType(record_class, names, [hints[name] for name in names], key)

    @classmethod
    def generic(
        cls, name: str, attributes: Iterable[str], key: str | None = None
    ) -> RecordType[Any]:
        """Make a class for records without one: a named tuple whose values are of any kind.

        Raises:
            BadType: the names are not some different Python identifiers, none with a leading `_`.
        """
        names = tuple(attributes)
        _check_names(name, names)
        if any(word.startswith("_") for word in names):
            raise BadType(f"{name}: an attribute of a generic record does not begin with _")
        made: Any = namedtuple(name, names)  # type: ignore[misc]  # noqa: PYI024  no types
        return RecordType(made, names, [Any] * len(names), key)

    def check(self, record: Any) -> None:
        """Make sure that this is a record of this class, not of a subclass.

        Raises:
            BadType: it is not.
        """
        if type(record) is not self.cls:
            raise BadType(
                f"{short_repr(record)} is a {type(record).__name__}, and this table's records "
                f"are of the class {self.name}"
            )

    def make(self, values: Iterable[Any]) -> R:
        """Make a record of its values, in the order of the attributes.

        Raises:
            BadType: they are too few or too many, or the class refuses them.
        """
        try:
            return self._make(*values)
        except Exception as error:
            raise BadType(f"no {self.name} can be made: {error}") from error

    def encode(self, record: R) -> bytes:
        """Encode a record as the CBOR array of its values.

        Raises:
            BadType: it is of another class, or a value cannot be stored in its field.
        """
        return self._encode(record)[0]

    def keep(self, record: R) -> tuple[bytes, R]:
        """Encode a record; return the bytes, and the record as everybody will read it.

        That is the record itself where nobody can change what its values hold, else another one:
        what the writer does to a list afterwards changes nothing that was written.

        Raises:
            BadType: as `encode`.
        """
        data, positions = self._encode(record)
        if positions and not self._mutable.isdisjoint(positions):
            return data, self.decode(data)
        return data, record

    def _encode(self, record: R) -> tuple[bytes, tuple[int, ...]]:
        """Encode a record; return the bytes, and where hooks were needed."""
        if type(record) is not self.cls:
            self.check(record)
        values = self.values(record)
        kinds = tuple(map(type, values))
        positions = self._known.get(kinds)
        if positions is None:
            positions = self._learn(kinds)
        if positions:
            return self._encode_by_hooks(values, positions), positions
        try:
            return dumps(values), positions
        except UnicodeEncodeError as error:
            raise self._bad_value(values, error) from error

    def decode(self, data: bytes) -> R:
        """Decode a record.

        Raises:
            BadType: these are not the bytes of a record of this class; nothing else, whatever
                the bytes.
        """
        try:
            values = loads(
                data,
                tag_hook=_refuse_tag,
                semantic_decoders=_TAGS,
                max_depth=_MAX_CBOR_DEPTH,
                allow_indefinite=False,
                allow_duplicate_keys=False,
                immutable=True,
            )
        except CBORDecodeError as error:
            raise BadType(f"no {self.name}: {error}: {short_repr(data)}") from error
        if type(values) is not tuple or len(values) != len(self.attributes):
            raise BadType(f"no {self.name}: not {len(self.attributes)} values: {short_repr(data)}")
        kinds = tuple(map(type, values))
        positions = self._known.get(kinds)
        if positions is None:
            positions = self._learn(kinds)
        if positions:
            values = self._by_hooks(values, positions, 1)
        try:
            return self._make(*values)
        except Exception as error:
            raise BadType(f"no {self.name} can be made: {error}") from error

    def _learn(self, kinds: tuple[type, ...]) -> tuple[int, ...]:
        """Find out where values of these types are not carried by CBOR as they are."""
        positions = tuple(
            position
            for position, (kind, types) in enumerate(zip(kinds, self._types, strict=True))
            if kind not in types
        )
        if len(self._known) < _MAX_KNOWN:
            self._known[kinds] = positions
        return positions

    def _encode_by_hooks(self, values: tuple[Any, ...], positions: tuple[int, ...]) -> bytes:
        ready = self._by_hooks(values, positions, 0)
        try:
            data = dumps(ready, canonical=True)
        except ValueError as error:
            raise self._bad_value(ready, error) from error
        if self._reads_back:
            self._check_depth(data)
        return data

    def _check_depth(self, data: bytes) -> None:
        """Make sure that a record which holds others of its class, without end, can be read."""
        try:
            self.decode(data)
        except BadType as error:
            raise BadType(
                f"a {self.name} cannot be read back; it holds too many in one another"
            ) from error

    def _by_hooks(
        self, values: tuple[Any, ...], positions: tuple[int, ...], which: int
    ) -> list[Any]:
        """Give the values with those at these positions written (0) or read (1)."""
        ready = [*values]
        for position in positions:
            try:
                ready[position] = self._hooks[position][which](ready[position])
            except Exception as error:
                raise self._bad(self.attributes[position], ready[position], error) from error
        return ready

    def _describe(self, attribute: str, hint: Any) -> str:
        try:
            return describe(hint)
        except BadType as error:
            raise BadType(f"{self.name}.{attribute}: {error}") from error

    def _bad(self, attribute: str, value: Any, error: Exception) -> BadType:
        return BadType(f"{self.name}.{attribute} cannot be {short_repr(value)}: {error}")

    def _bad_value(self, values: Iterable[Any], error: Exception) -> BadType:
        """Find the value that CBOR does not carry."""
        for attribute, value in zip(self.attributes, values, strict=True):
            try:
                dumps(value)
            except ValueError:
                return self._bad(attribute, value, error)
        return BadType(f"{self.name}: {error}")


def _position(cls: type, attributes: tuple[str, ...], key: str | None) -> int:
    if key is None:
        return 0
    if key not in attributes:
        raise BadType(f"{cls.__name__} has no attribute {key} that could be its key")
    return attributes.index(key)


def _check_names(name: str, attributes: tuple[str, ...]) -> None:
    for word in (name, *attributes):
        if not isinstance(word, str) or not word.isidentifier() or keyword.iskeyword(word):
            raise BadType(f"{word!r} is no name for a record or an attribute")
    if len(set(attributes)) < len(attributes):
        raise CombineError(f"{name} has an attribute twice")
    if not 0 < len(attributes) <= MAX_ATTRIBUTES:
        raise BadType(f"{name}: a record has 1 to {MAX_ATTRIBUTES} attributes")
