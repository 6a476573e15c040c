"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from palaver.supervisors.cli.output import EXIT_USAGE, CommandError
from palaver.supervisors.trees.settings import Settings, SettingsError
from palaver.supervisors.trees.settings_sources import load_settings

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        "-d",
        help="The node's data folder. [dim]PALAVER_DATA_DIR, default ./data[/]",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="A TOML file of settings. [dim]PALAVER_CONFIG[/]", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings_or_exit(
    *,
    config: Path | None = None,
    flags: dict[str, object] | None = None,
    assignments: list[str] | None = None,
) -> Settings:
    """The settings of all sources; `CommandError` with every problem otherwise."""
    try:
        return load_settings(config=config, flags=flags, assignments=assignments or ())
    except SettingsError as error:
        text = "the settings cannot be used\n" + "\n".join(f"  {p}" for p in error.problems)
        raise CommandError(text, code=EXIT_USAGE) from None


def data_folder(data: Path | None, config: Path | None = None) -> Path:
    """The data folder of the flag, the environment or the file; it must be there."""
    folder = settings_or_exit(config=config, flags={"data_dir": data}).data_dir
    if not folder.is_dir():
        raise CommandError(
            f"there is no data folder {folder}",
            f"name it with --data, or start a node that makes it: palaver serve --data {folder}",
        )
    return folder


def help_of(command: Callable[..., Any]) -> str:
    """A command's docstring as help: paragraphs are wrapped by the terminal, not by the source."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    # An indented paragraph is an example: it keeps its lines.
    return "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)
