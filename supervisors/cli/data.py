"""`palaver check`, `backup` and `restore`: the data folder as a whole."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from palaver.supervisors.cli.options import DataOption, JsonOption, data_folder
from palaver.supervisors.cli.output import (
    EXIT_FAILED,
    CommandError,
    console,
    print_json,
    progress_bar,
)
from palaver.supervisors.cli.tables import refuse_tables
from palaver.supervisors.trees.settings_values import size_text
from palaver.transport.http.admin_port import BackupRecord

MAX_FINDINGS = 10_000


def check_command(
    data: Annotated[Path, typer.Argument(help="The data folder, or a backup.")],
    as_json: JsonOption = False,
) -> None:
    """Verify a data folder at rest: structure, sequences, queues, references.

    Exit code 0 when nothing is wrong, 1 when something is (each finding is a line).
    """
    if not data.is_dir():
        raise CommandError(f"there is no data folder {data}")
    refuse_tables(data, f"check {data}")
    from palaver.supervisors.cli.admin_client import node_listens

    if node_listens(data / "admin.sock"):
        raise CommandError(
            f"a node runs on {data}", "stop it, or check a backup of it: palaver backup DEST"
        )
    from palaver.storage import StoreError  # the tables are loaded only when they are needed
    from palaver.supervisors.trees.offline import check

    findings: list[str] = []
    try:
        for finding in islice(check(data), MAX_FINDINGS):
            findings.append(finding)
            if not as_json:
                console().print(Text(finding, "red"))
    except StoreError as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json({"data": str(data), "ok": not findings, "findings": findings})
    elif findings:
        more = " or more" if len(findings) == MAX_FINDINGS else ""
        console().print(f"[bold red]{len(findings)}{more} findings[/] in {data}")
    else:
        console().print(f"[bold green]nothing wrong[/] in {data}")
    if findings:
        raise typer.Exit(EXIT_FAILED)


def backup_command(
    dest: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the data to a new folder, while the node runs or at rest.

    The copy is consistent in itself; `palaver restore` makes a data folder of it.
    """
    from palaver.supervisors.cli.admin_client import open_admin

    folder = data_folder(data)
    refuse_tables(folder, f"backup {folder} DEST")
    dest = dest.absolute()
    if dest.exists():
        raise CommandError(f"{dest} exists", "name a folder that does not")
    if not dest.parent.is_dir():
        raise CommandError(f"there is no folder {dest.parent}", "make it first")

    async def go() -> BackupRecord:
        async with open_admin(folder) as admin:
            with progress_bar("backup", quiet=as_json) as told:
                return await admin.backup(str(dest), told)

    record = asyncio.run(go())
    if as_json:
        print_json(record)
    else:
        parts = "1 partition" if record.partitions == 1 else f"{record.partitions} partitions"
        console().print(
            f"backup of {parts}, {_human(record.size_bytes)}, in [bold]{record.path}[/]"
        )


def restore_command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="What `palaver backup` made.")],
    data: Annotated[
        Path, typer.Option("--data", "-d", help="The data folder to make; it must not exist.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Make a data folder from a backup, and verify it before it is put in place."""
    if source.is_file():
        hint = f"palaver tables restore {source} {data}, if it is a backup of tables"
        raise CommandError(f"{source} is no backup of a node", hint)
    if not source.is_dir():
        raise CommandError(f"there is no backup {source}")
    refuse_tables(source, f"restore {source} {data}")
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise CommandError(f"{data} exists", "name a folder that does not, and move it afterwards")
    from palaver.supervisors.trees.offline import restore

    with progress_bar("restore", quiet=as_json) as told:
        findings = restore(source, data, told)
    if as_json:
        print_json({"data": str(data), "ok": not findings, "findings": findings})
    elif not findings:
        console().print(f"restored and verified: [bold]{data}[/]")
    if findings:
        raise CommandError(
            "the backup is damaged; nothing was put in place\n" + "\n".join(findings)
        )


def _human(size_bytes: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return size_text(size_bytes)
