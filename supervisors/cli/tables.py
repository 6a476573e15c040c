"""`palaver tables`: databases of tables, apart from any node; also their backups and snapshots."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.text import Text

from palaver.supervisors.cli.options import JsonOption, help_of
from palaver.supervisors.cli.output import (
    EXIT_FAILED,
    CommandError,
    console,
    print_json,
    print_table,
    progress_bar,
)
from palaver.supervisors.cli.tables_info import CONTENT, TableLine, gather, other_content, require
from palaver.supervisors.trees.settings_values import size_text

if TYPE_CHECKING:
    from palaver.storage.tables import Database

DatabaseArgument = Annotated[Path, typer.Argument(metavar="DB", help="The database's folder.")]

tables_app = typer.Typer(
    help="Databases of tables: look into them, check, back up, restore.",
    epilog="A [bold]backup[/] is one file with definitions and records, good for any number of "
    "partitions. A [bold]snapshot[/] is a folder with the partitions themselves, at their "
    "sequences.",
    no_args_is_help=True,
)


def refuse_tables(path: Path, command: str) -> None:
    """Raise CommandError when a folder is not a node's data but a database of tables."""
    if other_content(path) == CONTENT:
        raise CommandError(
            f"{path} is a database of tables, not the data of a node", f"palaver tables {command}"
        )


@contextmanager
def _told() -> Iterator[None]:
    """Make an error of the storage one of the command."""
    from palaver.storage import StoreError

    try:
        yield
    except StoreError as error:
        raise CommandError(str(error)) from error


@contextmanager
def _opened(path: Path, as_json: bool = False) -> Iterator[Database]:
    """Open a database that nobody uses."""
    from palaver.storage import StoreMissing, folder
    from palaver.storage.tables import Database
    from palaver.storage.tables.archives.fallback import installed

    require(path)
    with _told():
        if not folder.exists(path):
            raise StoreMissing(path)
        if installed(path) is not None:
            raise CommandError(
                f"{path} has a fallback, which would take its place now",
                "open it with its program first, or delete fallback.json to keep what is there",
            )
        with (
            progress_bar("load", in_bytes=False, quiet=as_json) as told,
            Database.open(path, progress=lambda _table, done: told(done, done)) as db,
        ):
            yield db


@tables_app.command("info")
def info_command(
    path: Annotated[Path, typer.Argument(help="A database, a backup or a snapshot.")],
    as_json: JsonOption = False,
) -> None:
    """Tell what is in a database, a backup or a snapshot; also while the database is in use."""
    with _told():
        found = gather(path)
    if as_json:
        print_json(found)
        return
    out = console()
    parts = "1 partition" if len(found.partitions) == 1 else f"{len(found.partitions)} partitions"
    out.print(f"[bold]{found.path}[/]: {found.kind}, {parts}")
    if found.fallback_partitions is not None:
        text = f"a fallback into {found.fallback_partitions} partitions takes its place next time"
        out.print(Text(text, "yellow"))
    if found.partitions:
        print_table(
            "",
            ["partition", "applied", "digest", "bytes"],
            [
                [one.partition, one.applied, one.digest, one.size_bytes or "-"]
                for one in found.partitions
            ],
        )
    if found.tables:
        columns = ["table", "type", "storage", "records", "key", "attributes", "indexes"]
        print_table("", columns, [_row(one) for one in found.tables])


def _row(line: TableLine) -> list[object]:
    records = "-" if line.records is None else line.records
    name = line.name if line.access_mode == "read_write" else f"{line.name} (read only)"
    attributes, index = " ".join(line.attributes), " ".join(line.index)
    return [name, line.type, line.storage, records, line.key, attributes, index]


@tables_app.command("check")
def check_command(
    path: Annotated[Path, typer.Argument(help="A database at rest, or a backup.")],
    as_json: JsonOption = False,
) -> None:
    """Verify a database at rest, or a backup: structure, checksums, records, sizes, indexes.

    Exit code 0 when nothing is wrong, 1 when something is (each finding is a line). A snapshot is
    verified when it is restored.
    """
    with _told():
        findings = _findings(path)
    if as_json:
        print_json({"path": str(path), "ok": not findings, "findings": findings})
    else:
        for finding in findings:
            console().print(Text(finding, "red"))
        if findings:
            console().print(f"[bold red]{len(findings)} findings[/] in {path}")
        else:
            console().print(f"[bold green]nothing wrong[/] in {path}")
    if findings:
        raise typer.Exit(EXIT_FAILED)


def _findings(path: Path) -> tuple[str, ...]:
    from palaver.storage import BackupError
    from palaver.storage.tables.archives.format import inspect
    from palaver.storage.tables.checking import check_database

    if not path.is_file():
        require(path)
        return check_database(path).problems
    try:
        inspect(path)
    except BackupError as error:
        return (str(error),)
    return ()


@tables_app.command("dump")
def dump_command(
    path: DatabaseArgument,
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]...", help="Which; all by default.")
    ] = None,
) -> None:
    """Print the tables of a database at rest as JSON lines.

    First a line for each definition, then one for each record. What JSON has not is an object:
    bytes are {"b64": ...}.
    """
    from palaver.storage.tables.archives.text import lines

    with _opened(path) as db, db.activate_checkpoint(tables=tables or None) as checkpoint:
        for line in lines(checkpoint):
            sys.stdout.write(line + "\n")


@tables_app.command("backup")
def backup_command(
    path: DatabaseArgument,
    dest: Annotated[Path, typer.Argument(help="The file to be written; it must not exist.")],
    tables: Annotated[
        list[str] | None, typer.Option("--table", "-t", help="Only this table; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the tables of a database at rest into one file.

    `palaver tables restore` makes a database of it, with any number of partitions. A program that
    has the database open does the same with Database.backup, while it works.
    """
    with (
        _opened(path, as_json) as db,
        progress_bar("backup", in_bytes=False, quiet=as_json) as told,
    ):
        contents = db.backup(dest, tables or None, progress=told)
    if as_json:
        answer = {"path": str(dest), "records": contents.records, "size_bytes": contents.size_bytes}
        print_json(answer)
    else:
        size = size_text(contents.size_bytes)
        console().print(f"backup of {_records(contents)}, {size}, in [bold]{dest}[/]")


@tables_app.command("snapshot")
def snapshot_command(
    path: DatabaseArgument,
    dest: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    as_json: JsonOption = False,
) -> None:
    """Copy the partitions of a database at rest, each tagged with its applied sequence.

    `palaver tables restore` makes the same database of it, at the same sequences.
    """
    with _opened(path, as_json) as db, progress_bar("snapshot", quiet=as_json) as told:
        manifest = db.snapshot(dest, told)
    if as_json:
        print_json({"path": str(dest), "partitions": manifest.copies})
    else:
        size = size_text(manifest.size_bytes)
        count = len(manifest.copies)
        parts = "1 partition" if count == 1 else f"{count} partitions"
        console().print(f"snapshot of {parts}, {size}, in [bold]{dest}[/]")


@tables_app.command("restore")
def restore_command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A backup or a snapshot.")],
    path: Annotated[
        Path, typer.Argument(metavar="DB", help="The folder to be made; it must not exist.")
    ],
    partitions: Annotated[
        int | None,
        typer.Option(
            "--partitions",
            "-p",
            min=1,
            help="How many to make of a backup: a power of two. [dim]Default: as it was[/]",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a database from a backup or a snapshot, and verify it before it is put in place.

    From a backup the records go to the partitions that their keys belong to, so --partitions
    divides a database anew.
    """
    if not source.exists():
        raise CommandError(f"there is no backup {source}")
    restore = _restore_snapshot if source.is_dir() else _restore_backup
    with _told(), progress_bar("restore", in_bytes=source.is_dir(), quiet=as_json) as told:
        answer = restore(source, path, partitions, told)
    if as_json:
        print_json({"path": str(path), **answer})
    else:
        console().print(f"restored and verified: [bold]{path}[/]")


Told = Callable[[int, int], None]


def _restore_backup(
    source: Path, path: Path, partitions: int | None, told: Told
) -> dict[str, object]:
    from palaver.storage.tables.archives.building import partitions_of, restore_database

    try:
        contents = restore_database(source, path, partitions=partitions, progress=told)
    except ValueError as error:  # no power of two
        raise CommandError(str(error)) from error
    return {"partitions": partitions or partitions_of(contents), "records": contents.records}


def _restore_snapshot(
    source: Path, path: Path, partitions: int | None, told: Told
) -> dict[str, object]:
    from palaver.storage.check import restore
    from palaver.storage.snapshot import MANIFEST_FILE
    from palaver.storage.tables.machine import TableMachine

    if other_content(source) not in (None, CONTENT) or not (source / MANIFEST_FILE).is_file():
        _no_snapshot(source)
    if partitions is not None:
        raise CommandError(
            "a snapshot keeps its partitions", "palaver tables backup, which can be divided anew"
        )
    report = restore(source, path, TableMachine, progress=told)
    return {"partitions": len(report.partitions)}


def _no_snapshot(source: Path) -> NoReturn:
    from palaver.supervisors.trees.archive import is_backup

    if is_backup(source):
        raise CommandError(
            f"{source} is the backup of a node", f"palaver restore {source} --data FOLDER"
        )
    raise CommandError(f"{source} is no backup and no snapshot of tables")


def _records(contents: Any) -> str:
    tables, records = len(contents.records), contents.total
    return (
        f"{records} record{'' if records == 1 else 's'} in "
        f"{tables} table{'' if tables == 1 else 's'}"
    )


for _command in tables_app.registered_commands:
    assert _command.callback is not None
    _command.help = help_of(_command.callback)
