"""`palaver cluster demo`: three nodes, a conversation across them, its owner killed."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palaver.supervisors.cli.demo import print_promises
from palaver.supervisors.cli.output import EXIT_FAILED, CommandError, console, print_json

if TYPE_CHECKING:
    from palaver.supervisors.cli.cluster.story import Played

__all__ = ["demo_command"]


def demo_command(
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="Play in this new folder and keep it: data, logs, keys.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as JSON; the transcript on stderr.")
    ] = False,
) -> None:
    """Show a cluster of three nodes on this machine, and what happens when one is killed.

    Three people, each at another node, talk in a group. The node that owns the group is killed with
    -9 while everybody writes; another one takes over, the clients go elsewhere, messages go on; the
    killed node comes back and catches up. A table says what happened when. Takes less than 90
    seconds. Exit code 0 only if every promise was kept.
    """
    if keep is not None:
        if keep.exists():
            raise CommandError(f"{keep} exists", "name a folder that does not")
        keep.mkdir(parents=True)
    with nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory(prefix="palaver-") as name:
        played = asyncio.run(_play(Path(name).absolute(), to_stderr=as_json))
    kept = all(p.kept for p in played.promises)
    if as_json:
        print_json({"kept": kept, "promises": played.promises, "happened": played.happened})
    else:
        print_promises(played.promises)
    if not kept:
        raise typer.Exit(EXIT_FAILED)


async def _play(folder: Path, *, to_stderr: bool) -> Played:
    from palaver.supervisors.cli.cluster.story import Story

    out = console(stderr=to_stderr)
    out.soft_wrap = False
    story = Story(folder, out)
    try:
        await story.play()
    except CommandError as error:
        story.stage.promise("the story is told to its end", False, error.text)
    except BaseException:
        for node in story.cluster.nodes.values():
            sys.stderr.write(node.tail())
        raise
    finally:
        await story.close()
    return story.played()
