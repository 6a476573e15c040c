"""`palaver settings`: every key, its value here, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palaver.supervisors.cli.options import ConfigOption, JsonOption, settings_or_exit
from palaver.supervisors.cli.output import console, print_json, print_table
from palaver.supervisors.trees.settings import Settings, keys
from palaver.supervisors.trees.settings_values import size_text


def settings_command(
    config: ConfigOption = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As for serve.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show every setting of a node: the value that holds here, its variable, its meaning.

    Reads the file and the environment as `palaver serve` does, and checks them.
    """
    settings = settings_or_exit(config=config, assignments=assignments)
    if as_json:
        print_json({key.name: _plain(getattr(settings, key.name)) for key in keys()})
        return
    sections = dict.fromkeys(key.section for key in keys())
    for section in sections:
        print_table(
            section,
            ["key", "value", "meaning"],
            [
                [key.name, shown(settings, key.name), key.help]
                for key in keys()
                if key.section == section
            ],
        )
        console().print()


def shown(settings: Settings, name: str) -> str:
    """A setting's value as a person writes it."""
    value = getattr(settings, name)
    if value is None or value in ("", ()):
        return "-"
    if isinstance(value, tuple):
        return ", ".join(value)
    if name.endswith("_bytes"):
        return size_text(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
