"""The commands of `palaver cluster`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from palaver.supervisors.cli.admin_client import RemoteAdmin, node_listens
from palaver.supervisors.cli.cluster.demo import demo_command
from palaver.supervisors.cli.cluster.keys import keys_command
from palaver.supervisors.cli.cluster.report import print_status
from palaver.supervisors.cli.options import DataOption, JsonOption, data_folder, help_of
from palaver.supervisors.cli.output import (
    EXIT_FAILED,
    CommandError,
    console,
    print_json,
    progress_bar,
)
from palaver.transport.http.cluster_port import Change, ChangeProgress, ClusterStatus

__all__ = ["cluster_app"]

cluster_app = typer.Typer(
    help="See into a cluster of nodes, change it, make its keys.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="The node's name, name@host.")]


def status_command(
    data: DataOption = None,
    events: Annotated[
        int, typer.Option(min=0, max=1000, help="How many of the latest events to show.")
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the nodes, who owns which partition, how far the copies are, and what happened.

    Asks the node whose data folder is given, which asks the others. Exit code 1 if something is
    wrong: a partition without an owner, a copy that differs, a node that is lost.
    """
    status = asyncio.run(_status(data_folder(data)))
    if as_json:
        print_json(status)
    else:
        print_status(status, events)
    if status.problems:
        raise typer.Exit(EXIT_FAILED)


def drain_command(node: NodeArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Move everything away from a node: its partitions first, then its clients.

    Afterwards it can be stopped without anybody noticing. Its copies of the tables stay, unless
    there are enough other nodes to keep them. It takes part again after `undrain`, also if it is
    started anew in between.
    """
    _change("drain", node, data, as_json)


def undrain_command(
    node: NodeArgument, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Let a drained node take part again; `rebalance` gives it its share back."""
    _change("undrain", node, data, as_json)


def remove_command(
    node: NodeArgument, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Take a node out for good, running or lost: others get its copies of the tables.

    Refused if a partition would have no copy left that is whole.
    """
    _change("remove", node, data, as_json)


def rebalance_command(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Spread the partitions evenly over the nodes, one small step after the other."""
    _change("rebalance", None, data, as_json)


for _name, _command in (
    ("status", status_command),
    ("drain", drain_command),
    ("undrain", undrain_command),
    ("remove", remove_command),
    ("rebalance", rebalance_command),
    ("keys", keys_command),
    ("demo", demo_command),
):
    cluster_app.command(_name, help=help_of(_command))(_command)


async def _status(folder: Path) -> ClusterStatus:
    async with RemoteAdmin(_socket(folder)) as admin:
        return await admin.cluster_status()


def _socket(folder: Path) -> Path:
    path = folder / "admin.sock"
    if not node_listens(path):
        raise CommandError(
            f"no node runs on {folder}", "name the data folder of a node that runs here by --data"
        )
    return path


def _change(what: Change, node: str | None, data: Path | None, as_json: bool) -> None:
    steps = asyncio.run(_changed(what, node, data_folder(data), quiet=as_json))
    if as_json:
        print_json({"change": what, "node": node, "steps": steps})
    else:
        console().print(f"{what} of {node} is done" if node else f"{what} is done")


async def _changed(
    what: Change, node: str | None, folder: Path, *, quiet: bool
) -> list[ChangeProgress]:
    steps: list[ChangeProgress] = []
    async with RemoteAdmin(_socket(folder)) as admin:
        with progress_bar(what, in_bytes=False, quiet=quiet) as told:
            async for step in admin.change_cluster(what, node):
                if not quiet and (not steps or steps[-1].text != step.text):
                    console(stderr=True).print(f"[dim]{step.done}/{step.total}[/] {step.text}")
                steps.append(step)
                told(step.done, step.total)
    return steps
