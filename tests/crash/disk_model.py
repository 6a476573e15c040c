"""What a disk may hold after a power cut, by the tape of what a process did to it.

The model is what POSIX promises and what today's file systems do beyond it is not relied upon:

- **Content.** A write is a row of sectors of 512 bytes. Until the file is synchronised, each of
  its sectors may be on the disk or not, whatever became of other writes, earlier or later ones. A
  sector itself is whole: the old one or the new one.
- **Length.** A write past the end, a truncation and an allocation change the length, by a step of
  its own that may be missing although the data are there (they are then cut off), or be there
  although the data are missing: the gap then holds zeros or, as on file systems that order nothing,
  stale bytes.
- **Synchronisation.** A successful fsync or fdatasync makes durable what was done to that file
  before it began, data and length, and nothing else; a write through a descriptor with O_DSYNC
  makes itself durable (with the length it needs) and nothing else. One that failed makes nothing
  durable, and a later success does not make up for it: the kernel may have marked the pages clean
  (as Linux does, "fsyncgate"). A failed O_DSYNC write may be on the disk, whole or in part, for
  ever after.
- **Names.** Making, renaming and removing an entry is durable after an fsync of its folder. Until
  then each may be there or not, in any combination (a rename is one step: both ends or neither); an
  fsync of a file does not make its name durable, that of a folder not the folder's own name.
  Journalling file systems keep the order of these steps, which is one of the combinations.

This is the persistence model of ALICE (Pillai et al., "All file systems are not created equal",
OSDI 2014) at its weakest, with sectors for its blocks; CrashMonkey (Mohan et al., OSDI 2018)
replays block writes in the same way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from disk_tape import DURABLE, FAILED, GROWS_ONLY, Kind, Record

SECTOR_BYTES = 512
LOCK_FILE = "lock.mdb"
"""LMDB's table of readers, written through memory and made anew at every start: holds anything."""
REBUILT = frozenset({LOCK_FILE, "owner.lock"})
"""Files whose content nobody relies upon after a start."""


@dataclass(eq=False, slots=True)
class File:
    """A file's content: what is surely on the disk, and the steps since then in their order."""

    base: bytearray = field(default_factory=bytearray)
    length: int = 0
    steps: list[Step] = field(default_factory=list)
    name: str = ""


@dataclass(eq=False, slots=True)
class Folder:
    """A folder's entries: as the running system sees them, and as they surely are on the disk."""

    live: dict[str, Node] = field(default_factory=dict)
    base: dict[str, Node] = field(default_factory=dict)


Node = File | Folder


@dataclass(eq=False, slots=True)
class Step:
    """One thing that may be on the disk or not.

    Attributes:
        number: its place in the order of all steps.
        durable: it is on the disk.
        doubtful: a synchronisation of it has failed: no later one will make it durable.
        file, offset, data: a write; without data a new length, `offset` (never less, if `grows`).
        edits: (folder, name, what is there from now on): a change of names.
    """

    number: int
    file: File | None = None
    offset: int = 0
    data: bytes | None = None
    grows: bool = False
    edits: tuple[tuple[Folder, str, Node | None], ...] = ()
    durable: bool = False
    doubtful: bool = False

    @property
    def sectors(self) -> int:
        """How many sectors a write touches; 1 for what cannot tear."""
        if self.data is None:
            return 1
        first = self.offset // SECTOR_BYTES
        return (self.offset + len(self.data) - 1) // SECTOR_BYTES - first + 1

    def __str__(self) -> str:
        if self.edits:
            names = ", ".join(f"{name} {'set' if node else 'gone'}" for _, name, node in self.edits)
            return f"#{self.number} names: {names}"
        assert self.file is not None
        what = f"length {self.offset}"
        if self.data is not None:
            what = f"{len(self.data)} bytes at {self.offset}"
        return f"#{self.number} {self.file.name}: {what}{' (sync failed)' if self.doubtful else ''}"


@dataclass(frozen=True, slots=True)
class Cut:
    """Which of the steps that are not durable the disk holds, when the power goes.

    Attributes:
        kept: numbers of the steps that are there as a whole.
        torn: by number, which sectors of a write are there (bit 0 the first).
        stale: what gaps hold: seed of garbage, 0 for zeros.
    """

    kept: frozenset[int]
    torn: Mapping[int, int] = field(default_factory=dict)
    stale: int = 0


class Disk:
    """The disk below one folder, while a tape plays.

    Args:
        root: the folder's path on the tape.
        start: a folder to begin with (all of it durable), None for an empty one.
    """

    def __init__(self, root: Path, start: Path | None = None) -> None:
        self.root = PurePosixPath(root)
        self.top = Folder()
        self.notes: list[str] = []
        self.mapped: list[str] = []
        self.faults = 0
        self.settled = 0
        self._names: list[Step] = []
        self._files: list[File] = []
        self._number = 0
        self._inodes: dict[int, Node] = {}
        self._syncing: dict[int, list[Step]] = {}
        if start is not None:
            self._load(start, self.top)

    def _load(self, place: Path, folder: Folder) -> None:
        for item in place.iterdir():
            node: Node
            if item.is_dir():
                node = Folder()
                self._load(item, node)
            else:
                node = File(bytearray(item.read_bytes()), item.stat().st_size, name=item.name)
                self._files.append(node)
            folder.live[item.name] = folder.base[item.name] = node

    # -- playing the tape

    def play(self, records: Iterable[Record]) -> Iterator[Record]:
        """Play records; yields after every step, at moments when the power may go."""
        for record in records:
            for _ in self._do(record):
                yield record

    def _do(self, record: Record) -> Iterator[None]:
        kind = record.kind
        if kind == Kind.WRITE:
            steps = self._write(record)
            yield
            if record.flags & DURABLE:
                # Unless it failed it is on the disk now; if it failed, it may be there for ever.
                self._settle(steps, bool(record.flags & FAILED))
                yield
        elif kind == Kind.LENGTH:
            file = self._file(record.inode)
            grows = bool(record.flags & GROWS_ONLY)
            if not grows or record.offset > file.length:
                file.length = record.offset
                self._add(file, Step(0, file, record.offset, grows=grows))
            yield
        elif kind == Kind.SYNC:
            self._syncing[record.offset] = self._steps_of(record.inode)
        elif kind == Kind.SYNCED:
            self._settle(self._syncing.pop(record.offset), bool(record.flags & FAILED))
            yield
        elif kind == Kind.MARK:
            self.notes.append(record.data.decode())
            yield
        elif kind == Kind.OPENED:
            self._inodes[record.inode] = self._find(record.path)
        elif kind == Kind.MAPPED:
            self.mapped.append(record.path)
        elif kind == Kind.FAULT:
            self.faults += 1
        else:
            self._rename(record)
            yield

    def _write(self, record: Record) -> list[Step]:
        file = self._file(record.inode)
        steps = []
        end = record.offset + len(record.data)
        if end > file.length:
            file.length = end
            steps.append(self._add(file, Step(0, file, end, grows=True)))
        steps.append(self._add(file, Step(0, file, record.offset, record.data)))
        return steps

    def _add(self, file: File, step: Step) -> Step:
        self._number += 1
        step.number = self._number
        file.steps.append(step)
        return step

    def _file(self, inode: int) -> File:
        node = self._inodes[inode]
        assert isinstance(node, File)
        return node

    def _steps_of(self, inode: int) -> list[Step]:
        node = self._inodes[inode]
        if isinstance(node, File):
            steps: Iterable[Step] = node.steps
        else:
            steps = (step for step in self._names if any(edit[0] is node for edit in step.edits))
        return [step for step in steps if not step.durable and not step.doubtful]

    def _settle(self, steps: list[Step], failed: bool) -> None:
        for step in steps:
            if failed:
                step.doubtful = True
            elif not step.doubtful:
                step.durable = True
                self.settled += 1
        for file in {id(step.file): step.file for step in steps if step.file is not None}.values():
            done = 0
            while done < len(file.steps) and file.steps[done].durable:
                _apply(file.base, file.steps[done], None, 0)
                done += 1
            del file.steps[:done]
        while self._names and self._names[0].durable:
            for folder, name, node in self._names.pop(0).edits:
                _edit(folder.base, name, node)

    def _rename(self, record: Record) -> None:
        folder, name = self._entry(record.path)
        edits: list[tuple[Folder, str, Node | None]]
        if record.kind == Kind.CREATE:
            file = File(name=name)
            self._files.append(file)
            self._inodes[record.inode] = file
            edits = [(folder, name, file)]
        elif record.kind == Kind.MKDIR:
            made = Folder()
            self._inodes[record.inode] = made
            edits = [(folder, name, made)]
        elif record.kind in (Kind.UNLINK, Kind.RMDIR):
            edits = [(folder, name, None)]
        else:
            node = folder.live[name]
            target, new = self._entry(record.other)
            edits = [(target, new, node)]
            if record.kind == Kind.RENAME:
                edits.insert(0, (folder, name, None))
            if isinstance(node, File):
                node.name = new
        for place, entry, what in edits:
            _edit(place.live, entry, what)
        self._number += 1
        self._names.append(Step(self._number, edits=tuple(edits)))

    def _find(self, path: str) -> Node:
        if PurePosixPath(path) == self.root:
            return self.top
        folder, name = self._entry(path)
        return folder.live[name]

    def _entry(self, path: str) -> tuple[Folder, str]:
        parts = PurePosixPath(path).relative_to(self.root).parts
        folder = self.top
        for part in parts[:-1]:
            node = folder.live[part]
            assert isinstance(node, Folder)
            folder = node
        return folder, parts[-1]

    # -- what may be lost

    def pending(self) -> list[Step]:
        """Return the steps that may be on the disk or not, in their order."""
        steps = [step for step in self._names if not step.durable]
        for file in self._files:
            if file.steps and file.name not in REBUILT:
                steps.extend(step for step in file.steps if not step.durable)
        return sorted(steps, key=_number)

    def build(self, place: Path, cut: Cut) -> None:
        """Write into the empty folder `place` what the disk holds after `cut`."""
        edits: dict[Folder, list[tuple[str, Node | None]]] = {}
        for step in self._names:
            if step.durable or step.number in cut.kept:
                for folder, name, node in step.edits:
                    edits.setdefault(folder, []).append((name, node))
        self._build(self.top, place, edits, lambda file: self.content(file, cut))

    def build_live(self, place: Path) -> None:
        """Write into the empty folder `place` what the running system sees."""
        everything = Cut(frozenset(step.number for step in self.pending()))
        self.build(place, everything)

    def content(self, file: File, cut: Cut) -> bytes | bytearray:
        """Return what the disk holds of a file after `cut`."""
        if cut.stale and file.name == LOCK_FILE:
            return random.Random(cut.stale).randbytes(file.length)
        if not file.steps:
            return file.base
        content = bytearray(file.base)
        for step in file.steps:
            if step.durable or step.number in cut.kept or file.name in REBUILT:
                _apply(content, step, None, cut.stale)
            elif step.number in cut.torn:
                _apply(content, step, cut.torn[step.number], cut.stale)
        return content

    def _build(
        self,
        folder: Folder,
        place: Path,
        edits: Mapping[Folder, list[tuple[str, Node | None]]],
        content: Callable[[File], bytes | bytearray],
    ) -> None:
        entries = dict(folder.base)
        for name, node in edits.get(folder, ()):
            _edit(entries, name, node)
        for name, node in entries.items():
            if isinstance(node, Folder):
                (place / name).mkdir()
                self._build(node, place / name, edits, content)
            else:
                (place / name).write_bytes(content(node))


def _number(step: Step) -> int:
    return step.number


def _edit(entries: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def _apply(content: bytearray, step: Step, sectors: int | None, stale: int) -> None:
    """Apply a step of a file, or only the sectors of a write whose bits are set."""
    if step.data is None:
        if step.offset > len(content):
            content.extend(_gap(step.offset - len(content), stale))
        elif not step.grows:
            del content[step.offset :]
        return
    end = step.offset + len(step.data)
    if step.durable and end > len(content):  # what is durable can be read again
        content.extend(_gap(end - len(content), stale))
    # What else lies past the end was never given a place: its length is a step of its own.
    for start, piece in _pieces(step.offset, step.data, sectors):
        room = len(content) - start
        if room > 0:
            content[start : start + min(room, len(piece))] = piece[:room]


def _pieces(offset: int, data: bytes, sectors: int | None) -> Iterator[tuple[int, bytes]]:
    if sectors is None:
        yield offset, data
        return
    start, bit = offset, 0
    end = offset + len(data)
    while start < end:
        stop = min((start // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
        if sectors >> bit & 1:
            yield start, data[start - offset : stop - offset]
        start, bit = stop, bit + 1


def _gap(size: int, stale: int) -> bytes:
    return random.Random(stale).randbytes(size) if stale else bytes(size)
