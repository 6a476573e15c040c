"""A backup file: what is in it, byte by byte, and how it is written and read.

The file is a CBOR sequence (RFC 8742). Each of its items is an array of two: the CRC-32 of the
bytes that follow, and these bytes, which are CBOR again. All items begin with heads of one length,
so a damaged file is told from a sound one before anything in it is believed::

    ["header", {kind, format, schema_version, partitions: [[applied, digest], ...]}]
    ["table", definition]                      for each table
    ["records", table, [[key, payload], ...]]  in batches; keys as `terms` encodes them
    ["trailer", {items, tables: {table: records}, sha256}]

`sha256` is of everything before the trailer. The payload is what the table keeps under the key: a
record, or in a bag the list of its records. A key may come again: then the later record counts, and
in a bag all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import IO, Any, Final, Self
from zlib import crc32

import cbor2

from palaver.storage.errors import BackupError, StoreVersion
from palaver.storage.folder import sync_folder
from palaver.storage.tables.schema import SCHEMA_VERSION, Definition

KIND: Final = "palaver-tables-backup"
FORMAT: Final = 1
BATCH_BYTES = 1 << 20
BATCH_ROWS = 1_000

# array(2), a CRC as an integer of 4 bytes, a byte string whose length has 4 bytes
_HEAD = Struct(">BBIBI")
_HEAD_BYTES = (0x82, 0x1A, 0x5A)
_CHUNK_BYTES = 1 << 20

Row = tuple[bytes, bytes]
"""An encoded key, and what is stored under it."""

Progress = Callable[[int, int], None]
"""Called with (records so far, records in total)."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup file holds, as far as one knows without its records.

    Attributes:
        path: the file.
        partitions: of the database it was made of: (applied sequence, digest) each, as they were
            when it was begun; the backup holds everything up to there. Empty for one in memory, or
            where the file was made of another one.
        definitions: of its tables, by name.
        records: how many there are, by table.
        size_bytes: of the file.
    """

    path: Path
    partitions: tuple[tuple[int, int], ...]
    definitions: dict[str, Definition]
    records: dict[str, int]
    size_bytes: int

    @property
    def total(self) -> int:
        """Records in all tables."""
        return sum(self.records.values())


class NewFile:
    """A file that appears under its name when it is complete and durable, and overwrites nothing.

    A context manager. What is written goes to a file beside it, whose name ends in `.part`; an
    exception removes that. After a power cut or a kill it may be left, and can be deleted.

    Args:
        path: of the file; nothing must be there.

    Raises:
        BackupError: there is something at `path`, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists() or path.is_symlink():
            raise BackupError(f"{path} exists: a backup overwrites nothing")
        try:
            descriptor, name = tempfile.mkstemp(".part", path.name + ".", path.parent)
        except OSError as error:
            raise BackupError(f"{path} cannot be written: {error}") from error
        self._part = Path(name)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")

    def write(self, content: bytes) -> None:
        """Write some bytes."""
        try:
            self._file.write(content)
        except OSError as error:
            raise BackupError(f"writing {self._part} failed: {error}") from error

    def finish(self) -> None:
        """Make it durable, and give it its name."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            _give_name(self._part, self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise BackupError(f"writing {self._path} failed: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            with suppress(OSError):  # a full disk, which has been told, or what is gone already
                self._file.close()
            self._part.unlink(missing_ok=True)


class Writer(NewFile):
    """Writes a backup file; see `NewFile`.

    Args:
        path: of the file.
        partitions: (applied sequence, digest) of each.
    """

    def __init__(self, path: Path, partitions: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__(path)
        self._digest = sha256()
        self._items = 0
        self._records: dict[str, int] = {}
        self._rows: list[Row] = []
        self._rows_bytes = 0
        self._table = ""
        header = {
            "kind": KIND,
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "partitions": [list(one) for one in partitions],
        }
        self._item(["header", header])

    def table(self, definition: Definition) -> None:
        """Write a table's definition; before its records."""
        self._end_batch()
        self._records[definition.name] = 0
        self._item(["table", definition.dump()])

    def row(self, table: str, key: bytes, payload: bytes, records: int) -> None:
        """Write what is under a key of a table.

        Args:
            table: its name.
            key: the encoded key.
            payload: as the table stores it.
            records: how many that are.
        """
        if table != self._table:
            self._end_batch()
            self._table = table
        self._records[table] += records
        self._rows.append((key, payload))
        self._rows_bytes += len(key) + len(payload)
        if self._rows_bytes >= BATCH_BYTES or len(self._rows) >= BATCH_ROWS:
            self._end_batch()

    def _end_batch(self) -> None:
        if self._rows:
            self._item(["records", self._table, self._rows])
            self._rows = []
            self._rows_bytes = 0

    def _item(self, content: list[Any]) -> None:
        item = frame(content)
        self._digest.update(item)
        self._items += 1
        self.write(item)

    def finish(self) -> None:
        """Write the trailer, and give the file its name."""
        self._end_batch()
        trailer = {
            "items": self._items,
            "tables": self._records,
            "sha256": self._digest.digest(),
        }
        self.write(frame(["trailer", trailer]))
        super().finish()


def _give_name(part: Path, path: Path) -> None:
    """Rename without ever overwriting."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise BackupError(f"{path} exists: a backup overwrites nothing") from None
    except OSError:  # a file system without links
        if path.exists():
            raise BackupError(f"{path} exists: a backup overwrites nothing") from None
        part.rename(path)


def frame(content: list[Any]) -> bytes:
    """Return one item of the file."""
    body = cbor2.dumps(content)
    array, number, string = _HEAD_BYTES
    return _HEAD.pack(array, number, crc32(body), string, len(body)) + body


def inspect(path: Path) -> Contents:
    """Read a whole backup file and verify it.

    Raises:
        BackupError: it is none, or not complete, or damaged.
        StoreVersion: written by another version of this program.
    """
    reader = _Reader(path)
    contents = reader.contents()
    reader.end()
    return contents


def rows(contents: Contents) -> Iterator[tuple[str, list[Row]]]:
    """Yield the batches of a file that was inspected: (table, rows)."""
    for content in _Reader(contents.path).items():
        if content[0] == "records":
            yield content[1], content[2]


class _Reader:
    """Reads a file from its begin to its end, once, and believes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = sha256()
        self._count = 0
        self._partitions: tuple[tuple[int, int], ...] = ()
        self._definitions: dict[str, Definition] = {}
        self._records: dict[str, int] = {}
        self._trailer: dict[str, Any] | None = None
        self._size = 0

    def damaged(self, problem: str) -> BackupError:
        return BackupError(
            f"{self._path} is no complete backup of tables: {problem}; use another one"
        )

    def items(self) -> Iterator[list[Any]]:
        """Yield what the items hold, each compared with its checksum."""
        try:
            with self._path.open("rb") as file:
                self._size = os.fstat(file.fileno()).st_size
                yield from self._read(file)
        except OSError as error:
            raise BackupError(f"{self._path} cannot be read: {error}") from error

    def _read(self, file: IO[bytes]) -> Iterator[list[Any]]:
        left = self._size
        while left:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise self.damaged("it ends within an item")
            array, number, check, string, length = _HEAD.unpack(head)
            if (array, number, string) != _HEAD_BYTES:
                raise self.damaged(f"item {self._count + 1} does not begin as one")
            left -= _HEAD.size
            if length > left:
                raise self.damaged("it ends within an item")
            left -= length
            body = file.read(length)
            if len(body) != length or crc32(body) != check:
                raise self.damaged(f"item {self._count + 1} is not what was written")
            content = self._decode(body)
            if content[0] == "trailer":
                if left:
                    raise self.damaged("something follows its end")
            else:
                self._digest.update(head)
                self._digest.update(body)
                self._count += 1
            yield content

    def _decode(self, body: bytes) -> list[Any]:
        try:
            content = cbor2.loads(body)
        except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError) as error:
            raise self.damaged(f"item {self._count + 1} cannot be decoded: {error}") from error
        if not isinstance(content, list) or not content:
            raise self.damaged(f"item {self._count + 1} is no item of a backup")
        return content

    def contents(self) -> Contents:
        for content in self.items():
            try:
                self._take(content)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                text = f"item {self._count} is not understood: {type(error).__name__} {error}"
                raise self.damaged(text) from error
        return Contents(self._path, self._partitions, self._definitions, self._records, self._size)

    def _take(self, content: list[Any]) -> None:
        kind = content[0]
        first = self._count == (0 if kind == "trailer" else 1)
        if (kind == "header") is not first or self._trailer is not None:
            raise self.damaged("its items are not in order")
        if kind == "header":
            self._header(content[1])
        elif kind == "table":
            definition = Definition.load(content[1])
            self._definitions[definition.name] = definition
            self._records[definition.name] = 0
        elif kind == "records":
            _, table, batch = content
            bag = self._definitions[table].type == "bag"
            for key, payload in batch:
                if type(key) is not bytes or type(payload) is not bytes:
                    raise ValueError("a row is not of bytes")
                self._records[table] += len(cbor2.loads(payload)) if bag else 1
        elif kind == "trailer":
            self._trailer = dict(content[1])
        else:
            raise self.damaged(f"it has an item {kind!r}")

    def _header(self, header: dict[str, Any]) -> None:
        if header["kind"] != KIND:
            raise self.damaged(f"it is a {header['kind']!r}")
        for name, supported in (("format", FORMAT), ("schema_version", SCHEMA_VERSION)):
            if header[name] != supported:
                what = f"the backup's {name.replace('_', ' ')}"
                raise StoreVersion(self._path, what, int(header[name]), supported)
        self._partitions = tuple((int(seq), int(digest)) for seq, digest in header["partitions"])

    def end(self) -> None:
        """Compare with the trailer."""
        trailer = self._trailer
        if trailer is None or not self._count:
            raise self.damaged("its end is missing" if self._size else "it is empty")
        found = {
            "items": self._count,
            "tables": self._records,
            "sha256": self._digest.digest(),
        }
        if trailer != found:
            raise self.damaged("its content is not what its end says")
