"""`palaver cluster demo`: three nodes, a conversation across them, its owner killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palaver.supervisors.cli.demo import demo_folder, end_demo
from palaver.supervisors.cli.output import CommandError, console

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
    with demo_folder(keep) as folder:
        played = asyncio.run(_play(folder, to_stderr=as_json))
    end_demo(played.promises, as_json=as_json, happened=played.happened)


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
