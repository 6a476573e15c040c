"""Backups, checkpoints, restoring and the fallback, as the database offers them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palaver.storage.errors import BackupError
from palaver.storage.tables.definitions import Definitions
from palaver.storage.tables.errors import (
    AlreadyExists,
    BadArgument,
    CombineError,
    Conflict,
    NoExists,
    SystemLimit,
)
from palaver.storage.tables.events import CheckpointActivated, CheckpointDeactivated

from . import fallback, restoring, text
from .checkpoints import (
    DEFAULT_LIFETIME_S,
    DEFAULT_MAX_RETAINED,
    MAX_CHECKPOINTS,
    Checkpoint,
)
from .format import Contents, NewFile, Progress, Writer, inspect
from .items import TableCodec, put_item
from .restoring import RestoreOp

if TYPE_CHECKING:
    from palaver.storage.snapshot import Manifest
    from palaver.storage.store import Store


class Archives(Definitions):
    """The part of the database that keeps its content elsewhere, and brings it back.

    Everything here blocks until it is done: under an asyncio loop call it in a thread
    (`asyncio.to_thread`). Commits go on meanwhile.
    """

    checkpoint_numbers: int

    # -- checkpoints -----------------------------------------------------------------------------

    def activate_checkpoint(
        self,
        name: str | None = None,
        tables: Iterable[Any] | None = None,
        *,
        ram_overrides_dump: bool = False,
        max_retained: int = DEFAULT_MAX_RETAINED,
        lifetime_s: float = DEFAULT_LIFETIME_S,
    ) -> Checkpoint:
        """Keep tables readable as they are now: mnesia:activate_checkpoint/1.

        The moment lies between two commits, over all tables and partitions. Returns when everything
        up to it is durable. It costs what is written afterwards: the former content of each key
        that is written for the first time stays in memory until the checkpoint is deactivated.

        Args:
            name: its name; by default one that is made up.
            tables: which; None for all.
            ram_overrides_dump: whether the records of ram_copies tables are part of it; without it
                these are empty, as they would be after a start.
            max_retained: when more records than that have been kept it is given up, with the system
                event CheckpointDeactivated.
            lifetime_s: when it is given up at the latest, in seconds.

        Raises:
            AlreadyExists: there is a checkpoint of that name.
            NoExists: there is no such table.
            CombineError: there is no table to be part of it.
            SystemLimit: there are 16 already.
            CommitFailed: a commit that it would have held could not be made durable.
        """
        with self.mutex:
            self._drop_overdue()
            names = self.tables() if tables is None else tables
            states = list(dict.fromkeys(map(self.state, names)))
            if not states and tables is not None:
                raise CombineError("a checkpoint has at least one table")
            if name is None:
                name = self._made_up("checkpoint")
            if name in self.checkpoints_by_name:
                raise AlreadyExists(f"checkpoint {name}")
            if len(self.checkpoints_by_name) >= MAX_CHECKPOINTS:
                raise SystemLimit(f"there are {MAX_CHECKPOINTS} checkpoints; deactivate one")
            checkpoint = Checkpoint(
                name,
                states,
                self._digests(),
                self.mutex,
                without_ram=not ram_overrides_dump,
                max_retained=max_retained,
                deadline_s=self.clock() + lifetime_s,
                clock=self.clock,
                release=self._released,
            )
            self.checkpoints_by_name[name] = checkpoint
            open_commits = self.pipeline.unsettled()
        try:
            for commit in reversed(open_commits):  # the last one takes the others with it
                self.wait(commit)
            checkpoint.require()
        except BaseException:
            checkpoint.deactivate()
            raise
        self.subscriptions.report(CheckpointActivated(name))
        self.press_on()
        return checkpoint

    def _made_up(self, what: str) -> str:
        self.checkpoint_numbers += 1
        return f"{what}-{self.checkpoint_numbers}"

    def _digests(self) -> tuple[tuple[int, int], ...]:
        store = self.store
        if store is None:
            return ()
        return tuple(store.digest(partition) for partition in range(store.partitions))

    def _drop_overdue(self) -> None:
        for checkpoint in list(self.checkpoints_by_name.values()):
            if checkpoint.overdue:
                checkpoint.give_up("its time was over")

    def _released(self, checkpoint: Checkpoint) -> None:
        """Hear from a checkpoint that it has ended; perhaps in the middle of a commit."""
        if self.checkpoints_by_name.get(checkpoint.name) is checkpoint:
            del self.checkpoints_by_name[checkpoint.name]
            self.subscriptions.report(CheckpointDeactivated(checkpoint.name))

    def deactivate_checkpoint(self, name: str) -> None:
        """End a checkpoint: mnesia:deactivate_checkpoint/1; NoExists when there is none."""
        self.checkpoint(name).deactivate()
        self.press_on()

    def checkpoint(self, name: str) -> Checkpoint:
        """Return an active checkpoint; NoExists when there is none of that name."""
        with self.mutex:
            self._drop_overdue()
            found = self.checkpoints_by_name.get(name)
        if found is None:
            raise NoExists(f"checkpoint {name!r}")
        return found

    def checkpoints(self) -> list[str]:
        """Return the names of the active checkpoints, sorted."""
        with self.mutex:
            self._drop_overdue()
            return sorted(self.checkpoints_by_name)

    # -- backup ----------------------------------------------------------------------------------

    def backup(
        self,
        path: str | os.PathLike[str],
        tables: Iterable[Any] | None = None,
        *,
        ram_overrides_dump: bool = True,
        progress: Progress | None = None,
    ) -> Contents:
        """Write tables, as of one moment, into one file: mnesia:backup/1.

        Commits go on meanwhile. The file appears under its name when it is complete and durable; it
        is good for `restore` and `install_fallback` of any database, whatever its number of
        partitions.

        Args:
            path: the file; nothing must be there.
            tables: which; None for all.
            ram_overrides_dump: whether the records of ram_copies tables are part of it.
            progress: called with (records so far, records in total); what it raises ends the
                backup.

        Returns:
            what was written.

        Raises:
            BackupError: there is something at `path`, or it cannot be written.
            RecordDamaged: a record is not what was written; mend it first (see the error).
        """
        with self.activate_checkpoint(
            self._made_up("backup"), tables, ram_overrides_dump=ram_overrides_dump
        ) as checkpoint:
            return self.backup_checkpoint(checkpoint.name, path, progress=progress)

    def backup_checkpoint(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
    ) -> Contents:
        """Write what a checkpoint holds into one file: mnesia:backup_checkpoint/2; see `backup`.

        Raises:
            NoExists: there is no such checkpoint.
            BackupError: the file cannot be written, or the checkpoint ended meanwhile.
        """
        checkpoint = self.checkpoint(name)
        target = Path(path)
        retainers = list(checkpoint.retainers.values())
        total = sum(retainer.size for retainer in retainers)
        records: dict[str, int] = {}
        with Writer(target, checkpoint.partitions) as writer:
            for retainer in retainers:
                writer.table(retainer.definition)
                records[retainer.definition.name] = 0
            done = 0
            for retainer in retainers:
                table = retainer.definition.name
                try:
                    for key, payload in retainer.rows():
                        count = retainer.state.count_of(payload)
                        writer.row(table, key, payload, count)
                        records[table] += count
                        done += count
                        if progress is not None:
                            progress(done, total)
                except NoExists as error:
                    raise BackupError(f"the backup into {target} failed: {error}") from error
        return Contents(
            target,
            checkpoint.partitions,
            {one.definition.name: one.definition for one in retainers},
            records,
            target.stat().st_size,
        )

    def snapshot(
        self, path: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None
    ) -> Manifest:
        """Copy the partitions themselves, each with its applied sequence, into a new folder.

        This is the store's own backup: larger than `backup`, as fast as the disk, with sequences
        and digests as they are; `storage.restore` (or `palaver tables restore`) makes a folder of
        it.

        Raises:
            BackupError: `path` is taken, or the copying failed.
            CombineError: the database is in memory.
        """
        # Nobody hears that a commit is durable while we choose the moment, so nothing that rests on
        # it can be on the disk of one partition before it is seen on that of another.
        return self._folder().backup(path, progress, moment=self.mutex)

    def _folder(self) -> Store:
        if self.store is None:
            raise CombineError("a database in memory has no folder")
        return self.store

    def dump_to_textfile(self, path: str | os.PathLike[str]) -> int:
        """Write all tables as JSON lines: mnesia:dump_to_textfile/1; see `text`.

        Args:
            path: the file; nothing must be there. It appears when it is complete and durable.

        Returns:
            how many lines were written.

        Raises:
            BackupError: there is something at `path`, or it cannot be written.
        """
        with (
            self.activate_checkpoint(self._made_up("text"), ram_overrides_dump=True) as checkpoint,
            NewFile(Path(path)) as file,
        ):
            count = 0
            for line in text.lines(checkpoint):
                file.write(line.encode() + b"\n")
                count += 1
            return count

    def load_textfile(self, path: str | os.PathLike[str]) -> list[str]:
        """Create the tables of a text file with their records: mnesia:load_textfile/1.

        Returns:
            the names of the tables.

        Raises:
            AlreadyExists: one of the tables is there.
            BadArgument: a line is not what it should be; nothing has changed.
            SystemLimit: see `restore`.
        """
        with tempfile.TemporaryDirectory() as place:
            made = Path(place) / "text"
            known: dict[str, TableCodec] = {}
            try:
                with Writer(made) as writer:
                    for item in text.items(Path(path)):
                        put_item(writer, known, item)
            except OSError as error:
                raise BackupError(f"{path} cannot be read: {error}") from error
            for name in known:
                if name in self.states:
                    raise AlreadyExists(f"table {name}")
            return self.restore(made, default_op="recreate_tables")

    # -- restoring -------------------------------------------------------------------------------

    def restore(
        self,
        path: str | os.PathLike[str],
        *,
        clear_tables: Iterable[str] = (),
        keep_tables: Iterable[str] = (),
        skip_tables: Iterable[str] = (),
        recreate_tables: Iterable[str] = (),
        default_op: RestoreOp = "clear_tables",
        progress: Progress | None = None,
    ) -> list[str]:
        """Bring tables of a backup back while the database runs: mnesia:restore/2.

        The file is verified before anything changes; then all tables change in one commit, or none.
        Returns when it is durable. Subscribers of the system hear SchemaChanged for each table;
        those of the tables keep their subscriptions, and hear nothing of single records.

        Args:
            path: a backup.
            clear_tables: lose what they have, and get the backup's records.
            keep_tables: keep what they have, and get the backup's records over it.
            skip_tables: stay as they are.
            recreate_tables: get the backup's definition and its records; they need not be there.
            default_op: what becomes of the backup's other tables.
            progress: called with (records so far, records in total).

        Returns:
            the names of the tables that were restored.

        Raises:
            BackupError, StoreVersion: the file is no sound backup.
            NoExists: a table to be cleared or kept is not there, or one that was named is not in
                the backup.
            BadArgument: a table is named twice.
            SchemaMismatch: a table has other attributes than in the backup.
            ReadOnly: a table to be cleared or kept is read_only.
            SystemLimit: more than 256 MiB of keys and records; see `install_fallback`.
            Conflict: the schema was changed by others each time.
        """
        contents = inspect(Path(path))
        wanted: dict[RestoreOp, Iterable[str]] = {
            "clear_tables": tuple(clear_tables),
            "keep_tables": tuple(keep_tables),
            "skip_tables": tuple(skip_tables),
            "recreate_tables": tuple(recreate_tables),
        }
        chosen = restoring.operations(contents, wanted, default_op)
        for _ in range(restoring.ATTEMPTS):
            with self.mutex:
                steps = restoring.plan(self, contents, chosen)
            if not steps:
                return []
            restoring.read(contents, steps, progress)  # without holding anybody up
            with self.mutex:
                if not restoring.still_valid(self, steps):
                    continue
                commit = restoring.bring_in(self, steps)
            self._finish(commit)
            return sorted(steps)
        raise Conflict(restoring.ATTEMPTS)

    # -- fallback --------------------------------------------------------------------------------

    def install_fallback(
        self, path: str | os.PathLike[str], *, partitions: int | None = None
    ) -> Contents:
        """Have a backup take everything's place at the next opening: mnesia:install_fallback/1.

        A verified copy of it is kept in the folder until then. What is committed meanwhile is lost
        with the rest. Tables that are ram_copies come back empty.

        Args:
            path: a backup; it has to hold everything that is to be there.
            partitions: how many the database will have; None for as many as now.

        Raises:
            BackupError, StoreVersion: the file is no sound backup, or cannot be copied.
            AlreadyExists: a fallback is installed.
            CombineError: the database is in memory.
        """
        store = self._folder()
        try:
            return fallback.install(store.path, Path(path), partitions, store.partitions)
        except ValueError as error:
            raise BadArgument(str(error)) from error

    def uninstall_fallback(self) -> None:
        """Forget the fallback: mnesia:uninstall_fallback/0; NoExists when there is none."""
        fallback.uninstall(self._folder().path)

    @property
    def fallback_activated(self) -> bool:
        """Whether a fallback takes the place of everything at the next opening."""
        return self.store is not None and fallback.installed(self.store.path) is not None
