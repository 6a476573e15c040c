"""`palaver chat`: who you are, where the server is, and then the conversation."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import typer

from palaver.supervisors.cli.output import EXIT_USAGE, CommandError

DEFAULT_URL = "ws://127.0.0.1:4400/ws"


def chat_command(
    peer: Annotated[
        str | None,
        typer.Argument(
            help="A phone number or the name of a group; /to chooses one later.", show_default=False
        ),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            "-u",
            show_default=False,
            help="The server; several of one cluster by repeating it, or with commas."
            f" [dim]PALAVER_URL, where you signed up, {DEFAULT_URL}[/]",
        ),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="PHONE",
            show_default=False,
            help="Your phone number, where several accounts are used here.",
        ),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Where keys and history lie. [dim]~/.local/share/palaver[/]", show_default=False
        ),
    ] = None,
    device_name: Annotated[
        str | None, typer.Option(help="Your device's name, for signing up.", show_default=False)
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Plain lines, as in a pipe or a dumb terminal.")
    ] = False,
) -> None:
    """Talk to a person or a group from the terminal.

    The first time it signs you up: it asks for your phone number and for the code that the server
    sends to it (a node of your own prints it in its terminal). Lines are messages; /help lists
    commands. In a pipe it reads lines, sends them, and ends at the end of the input.
    """
    # The client library is a large import; `--help` does not wait for it.
    from palaver.supervisors.cli.chat_run import Who, chat

    who = Who(
        home=home,
        urls=server_urls(",".join(url)) if url else (),
        phone=as_,
        device_name=device_name or platform.node() or "terminal",
    )
    asyncio.run(chat(who, peer, plain=plain or not _is_full_terminal()))


def _is_full_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def server_urls(text: str) -> tuple[str, ...]:
    """The addresses of one server or of several, with commas between them; each once.

    Raises:
        CommandError: when there is none, or one is no address.
    """
    parts = [each.strip() for each in text.split(",")]
    return tuple(dict.fromkeys(server_url(each) for each in parts if each)) or (server_url(""),)


def server_url(text: str) -> str:
    """A server's WebSocket address from what a person writes (`chat.example.org:4400` is enough).

    Raises:
        CommandError: when it is none.
    """
    if "://" not in text:
        text = "ws://" + text
    parts = urlsplit(text)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise CommandError(
            f"{text!r} is no server's address", "write it as wss://chat.example.org",
            code=EXIT_USAGE,
        )  # fmt: skip
    path = parts.path if parts.path not in ("", "/") else "/ws"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))
