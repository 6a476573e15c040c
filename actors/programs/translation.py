"""Between a `Command` and what the helper process is told, and tells."""

from __future__ import annotations

import os
from typing import Final

from palaver.actors.programs.command import (
    Command,
    ProgramNotFound,
    ProgramNotPermitted,
    ProgramStartError,
)

__all__ = ["environment_of", "folder_of", "latin_text", "start_error"]

NOT_FOUND: Final = frozenset({2, 20})  # ENOENT, ENOTDIR
NOT_PERMITTED: Final = frozenset({1, 13})  # EPERM, EACCES


def latin_text(data: bytes) -> str:
    """Bytes for the operating system, as they travel in JSON."""
    return data.decode("latin-1")


def environment_of(command: Command) -> dict[str, str]:
    """The environment that the program is to have."""
    env = {} if command.clean_env else dict(os.environb)
    for name, value in command.env.items():
        if value is None:
            env.pop(os.fsencode(name), None)
        else:
            env[os.fsencode(name)] = os.fsencode(value)
    return {latin_text(name): latin_text(value) for name, value in env.items()}


def folder_of(command: Command) -> str | None:
    """Its working directory; None if there is none to name."""
    try:
        return latin_text(os.fsencode(os.getcwd() if command.cwd is None else command.cwd))  # noqa: PTH109 - bytes follow
    except FileNotFoundError:  # it was deleted; the helper's own is as good
        return None


def start_error(command: Command, stage: str, errno: int) -> ProgramStartError:
    """What it means that the operating system did not start it."""
    name = command.name
    text = os.strerror(errno) if errno else "it could not be set up"
    if stage == "cwd":
        text = f"its working directory {os.fspath(command.cwd or '.')}: {text}"
    if stage != "fork" and errno in NOT_FOUND:
        return ProgramNotFound(name, text, errno)
    if stage != "fork" and errno in NOT_PERMITTED:
        return ProgramNotPermitted(name, text, errno)
    return ProgramStartError(name, text, errno or None)
