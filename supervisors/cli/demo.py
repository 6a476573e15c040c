"""`palaver demo`: what Palaver promises, shown once and checked."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palaver.supervisors.cli.output import EXIT_FAILED, CommandError, console, print_json

if TYPE_CHECKING:
    from palaver.supervisors.cli.demo_stage import Promise


def demo_command(
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="Play in this new folder and keep it: data, log, pictures.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the promises as JSON; the transcript on stderr.")
    ] = False,
) -> None:
    """Show everything at once, in a temporary folder and real processes, in under a minute.

    Three people with five devices talk, make a group and send a picture; one goes offline, the node
    is killed with -9 and started again, and everything that was acked arrives, once, in order.
    Exit code 0 only if every promise was kept.
    """
    with demo_folder(keep) as folder:
        promises = asyncio.run(_play(folder, to_stderr=as_json))
    end_demo(promises, as_json=as_json)


@contextmanager
def demo_folder(keep: Path | None) -> Iterator[Path]:
    """A new folder to play in: `keep`, which stays, or one that goes when it is over.

    Raises:
        CommandError: `keep` is there already.
    """
    if keep is not None:
        if keep.exists():
            raise CommandError(f"{keep} exists", "name a folder that does not")
        keep.mkdir(parents=True)
    with nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory(prefix="palaver-") as name:
        yield Path(name).absolute()


def end_demo(promises: list[Promise], *, as_json: bool, **more: object) -> None:
    """Print what became of the promises, with more in the JSON, and exit with 1 if one was broken.

    Raises:
        typer.Exit: one was.
    """
    kept = all(p.kept for p in promises)
    if as_json:
        print_json({"kept": kept, "promises": promises, **more})
    else:
        _print_promises(promises)
    if not kept:
        raise typer.Exit(EXIT_FAILED)


async def _play(folder: Path, *, to_stderr: bool) -> list[Promise]:
    from palaver.supervisors.cli.demo_stage import Stage
    from palaver.supervisors.cli.demo_story import Story

    out = console(stderr=to_stderr)
    out.soft_wrap = False
    stage = Stage(folder, out)
    try:
        await Story(stage).play()
    except CommandError as error:
        stage.promise("the story is told to its end", False, error.text)
    except BaseException:
        sys.stderr.write(stage.node.tail())
        raise
    finally:
        await stage.close()
    return stage.promises


def _print_promises(promises: list[Promise]) -> None:
    """Print which promises were kept."""
    out = console()
    out.print()
    for promise in promises:
        mark = "[bold green]kept  [/]" if promise.kept else "[bold red]BROKEN[/]"
        out.print(f"{mark} {promise.text}")
        if promise.detail:
            out.print(f"       [dim]{promise.detail}[/]")
    broken = sum(not p.kept for p in promises)
    out.print()
    if broken:
        out.print(f"[bold red]{broken} of {len(promises)} promises broken[/]")
    else:
        out.print(f"[bold green]all {len(promises)} promises kept[/]")
