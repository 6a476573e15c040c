"""`palaver top`: the processes of a running node, live in the terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaver.supervisors.cli.options import DataOption, JsonOption, data_folder
from palaver.supervisors.cli.output import console, print_json
from palaver.supervisors.cli.top_screen import (
    SORT_KEYS,
    Picture,
    Row,
    list_rows,
    picture_of,
    tree_rows,
)

if TYPE_CHECKING:
    from palaver.supervisors.cli.observer_client import RemoteObserver

HELP = "q quit   s sort   t tree or list   ↑ ↓ page-up page-down move   space pause"
MAX_ROWS = 1000
PER_PARENT = 50


class Sort(StrEnum):
    """What processes can be sorted by."""

    MAILBOX = "mailbox"
    RATE = "rate"
    REDUCTIONS = "reductions"
    MEMORY = "memory"
    PID = "pid"


def top_command(
    data: DataOption = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="A node's page instead, such as http://127.0.0.1:4401.", show_default=False
        ),
    ] = None,
    sort: Annotated[Sort, typer.Option(help="What is at the top.")] = Sort.MAILBOX,
    tree: Annotated[bool, typer.Option("--tree", help="Show the supervision tree.")] = False,
    search: Annotated[
        str, typer.Option(help="Only what has this in name, behaviour or pid.", show_default=False)
    ] = "",
    limit: Annotated[
        int, typer.Option(min=1, max=MAX_ROWS, help="Processes at most, with --once and --json.")
    ] = 50,
    interval_s: Annotated[
        float, typer.Option("--interval", min=0.5, max=3600, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Look twice, an interval apart, and print that.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch the processes of a running node: mailboxes, work, memory, the supervision tree.

    Rates are of the last interval. Where the output is no terminal, it is printed once.

        palaver top --sort memory
        palaver top --tree --url http://127.0.0.1:4401
        palaver top --json --limit 5 | jq .processes.rows[].name
    """
    # The client is a large import; `--help` does not wait for it.
    from palaver.supervisors.cli.observer_client import open_observer

    folder: Path | None = None if url is not None else data_folder(data)
    chosen = Choice(sort=str(sort), tree=tree, search=search)

    async def go() -> None:
        async with open_observer(folder, url) as node:
            if as_json or once or not sys.stdout.isatty():
                await _print_once(node, chosen, limit, interval_s, as_json)
            else:
                await _Live(node, chosen, interval_s).run()

    asyncio.run(go())


@dataclass(slots=True)
class Choice:
    """What the operator wants to see."""

    sort: str
    tree: bool
    search: str
    offset: int = 0
    paused: bool = False


async def _print_once(
    node: RemoteObserver, choice: Choice, limit: int, interval_s: float, as_json: bool
) -> None:
    first = await node.node()
    await asyncio.sleep(interval_s)  # so that there are rates
    figures = await node.node()
    if choice.tree:
        tree = await node.tree(PER_PARENT)
        if as_json:
            print_json({"node": figures, "tree": tree})
            return
        rows: Sequence[Row] = list(tree_rows(tree))[:limit]
        total = figures["processes"]
    else:
        page = await node.processes(choice.sort, limit, 0, choice.search)
        if as_json:
            print_json({"node": figures, "processes": page})
            return
        rows, total = list_rows(page), page["total"]
    picture = Picture(
        figures, rows, total, None if choice.tree else choice.sort, cpu=_cpu(first, figures)
    )
    out = console()
    out.soft_wrap = False
    if not out.is_terminal:
        out.width = max(out.width, 160)  # a pipe has no width: cut as little as possible
    out.print(picture_of(picture, out.width, len(rows) + 10))


def _cpu(before: dict[str, Any] | None, now: dict[str, Any]) -> float | None:
    if before is None or now["time_ms"] <= before["time_ms"]:
        return None
    passed_s = (now["time_ms"] - before["time_ms"]) / 1000
    return float(max(0.0, (now["cpu_s"] - before["cpu_s"]) / passed_s))


class _Live:
    """The screen that is drawn anew after each look and each key."""

    def __init__(self, node: RemoteObserver, choice: Choice, interval_s: float) -> None:
        self._node = node
        self._choice = choice
        self._interval_s = interval_s
        self._key = asyncio.Event()
        self._ended = False
        self._before: dict[str, Any] | None = None
        self._picture: Picture | None = None

    async def run(self) -> None:
        """Until `q`."""
        from prompt_toolkit.input import create_input
        from rich.live import Live

        out = console()
        out.soft_wrap = False
        keys = create_input()

        def read() -> None:
            for press in keys.read_keys():
                self.press(str(getattr(press.key, "value", press.key)))
            if keys.closed:
                self._ended = True
                self._key.set()

        with (
            keys.raw_mode(),
            keys.attach(read),
            Live(console=out, screen=True, auto_refresh=False) as live,
        ):
            while not self._ended:
                if not self._choice.paused:
                    self._picture = await self._look()
                if self._picture is not None:
                    live.update(self._drawn(out.width, out.height), refresh=True)
                self._key.clear()
                try:
                    async with asyncio.timeout(self._interval_s):
                        await self._key.wait()
                except TimeoutError:
                    continue

    def press(self, key: str) -> None:
        """A key was pressed."""
        choice = self._choice
        moves = {"up": -1, "down": 1, "pageup": -20, "pagedown": 20, "home": -MAX_ROWS * 3}
        if key in ("q", "Q", "c-c", "c-d"):
            self._ended = True
        elif key == "s":
            at = SORT_KEYS.index(choice.sort)
            choice.sort, choice.tree = SORT_KEYS[(at + 1) % len(SORT_KEYS)], False
        elif key == "t":
            choice.tree, choice.offset = not choice.tree, 0
        elif key == " ":
            choice.paused = not choice.paused
        elif key in moves:
            choice.offset = max(0, choice.offset + moves[key])
        else:
            return
        self._key.set()

    async def _look(self) -> Picture:
        choice = self._choice
        figures = await self._node.node()
        if choice.tree:
            rows: list[Row] = list(tree_rows(await self._node.tree(PER_PARENT)))
            total, sort = figures["processes"], None
        else:
            page = await self._node.processes(choice.sort, MAX_ROWS // 4, 0, choice.search)
            rows, total, sort = list_rows(page), page["total"], choice.sort
        cpu = _cpu(self._before, figures)
        if cpu is None and self._picture is not None:
            cpu = self._picture.cpu
        if self._before is None or figures["time_ms"] > self._before["time_ms"]:
            self._before = figures
        return Picture(figures, rows, total, sort, cpu=cpu, help=HELP)

    def _drawn(self, width: int, height: int) -> Any:
        assert self._picture is not None
        self._choice.offset = min(self._choice.offset, max(0, len(self._picture.rows) - 1))
        picture = self._picture
        text = HELP + ("   [paused]" if self._choice.paused else "")
        shown = Picture(
            picture.figures, picture.rows, picture.total, picture.sort,
            offset=self._choice.offset, cpu=picture.cpu, help=text,
        )  # fmt: skip
        return picture_of(shown, width, height)
