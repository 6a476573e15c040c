"""What `palaver top` shows: a node's figures above its processes, as a list or as the tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["SORT_KEYS", "Picture", "Row", "list_rows", "picture_of", "tree_rows"]

SORT_KEYS = ("mailbox", "rate", "reductions", "memory", "pid")
HIGH_MAILBOX = 100


@dataclass(frozen=True, slots=True)
class Row:
    """A line: a process, behind the lines that join it to its parent; or only a text."""

    lead: str
    process: Mapping[str, Any] | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to draw."""

    figures: Mapping[str, Any]
    rows: Sequence[Row]
    total: int
    sort: str | None
    """None for the tree."""
    offset: int = 0
    cpu: float | None = None
    help: str = ""


def list_rows(page: Mapping[str, Any]) -> list[Row]:
    """The rows of a page of processes."""
    return [Row("", process) for process in page["rows"]]


def tree_rows(
    nodes: Sequence[Mapping[str, Any]], hidden: int = 0, lead: str = "", *, top: bool = True
) -> Iterator[Row]:
    """The rows of a tree, each behind its branch; `hidden` more stand for one row at the end."""
    for index, node in enumerate(nodes):
        last = index == len(nodes) - 1 and not hidden
        yield Row(lead + ("" if top else "└─ " if last else "├─ "), node["row"])
        below = lead + ("" if top else "   " if last else "│  ")
        yield from tree_rows(node["children"], node["hidden"], below, top=False)
    if hidden:
        yield Row(f"{lead}└─ ", None, f"and {hidden:,} more")


def picture_of(picture: Picture, width: int, height: int) -> RenderableType:
    """The whole screen: at most `height` lines."""
    head = _head(picture)
    lines = max(1, height - len(head) - 3)
    shown = picture.rows[picture.offset : picture.offset + lines]
    parts: list[RenderableType] = [*head, Text(), _table(picture, shown, width)]
    if picture.help:
        parts.append(Text(picture.help, style="dim", overflow="ellipsis", no_wrap=True))
    return Group(*parts)


def _head(picture: Picture) -> list[Text]:
    f = picture.figures
    first = Text.assemble(
        (str(f["name"]), "bold"), "   ",
        *_pair("processes", amount(f["processes"])), *_pair("run queue", amount(f["run_queue"])),
        *_pair("messages/s", amount(f["messages_per_s"])),
        *_pair("restarts", amount(f["restarts_total"])),
    )  # fmt: skip
    waiting = f"{amount(f['mailbox_total'])}, longest {amount(f['mailbox_max'])}"
    memory = "unknown" if f["memory_bytes"] is None else size(f["memory_bytes"])
    second = Text.assemble(
        *_pair("spawned", amount(f["spawned_total"])), *_pair("exited", amount(f["exited_total"])),
        *_pair("waiting", waiting), *_pair("timers", amount(f["timers"])),
        *_pair("memory", memory),
        *(_pair("cpu", f"{picture.cpu:.0%}") if picture.cpu is not None else ()),
    )  # fmt: skip
    for line in (first, second):
        line.no_wrap = True
        line.overflow = "ellipsis"
    return [first, second]


def _pair(name: str, value: str) -> tuple[tuple[str, str], tuple[str, str], str]:
    return ((f"{name} ", "dim"), (value, "bold"), "   ")


def _table(picture: Picture, rows: Sequence[Row], width: int) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, padding=(0, 1))
    wide = width >= 100
    columns = [("process", "pid"), ("status", None), ("mailbox", "mailbox"), ("red/s", "rate")]
    columns += [("reductions", "reductions"), ("memory", "memory")]
    for title, sort in columns:
        if title == "status" and wide:
            table.add_column("behaviour", header_style="dim", no_wrap=True, ratio=2)
        chosen = picture.sort is not None and sort == picture.sort
        table.add_column(
            f"{title} ▼" if chosen else title,
            header_style="bold cyan" if chosen else "dim",
            justify="left" if title in ("process", "status") else "right",
            no_wrap=True,
            ratio=3 if title == "process" else None,
        )
    for row in rows:
        p = row.process
        if p is None:
            table.add_row(Text.assemble((row.lead, "dim"), (row.text, "dim italic")))
            continue
        mailbox = Text(
            amount(p["mailbox"]),
            style="bold yellow" if p["mailbox"] >= HIGH_MAILBOX else "" if p["mailbox"] else "dim",
        )
        cells = [
            Text.assemble(
                (row.lead, "dim"),
                (title_of(p), "bold green" if p["supervisor"] else "bold"),
                (f" {p['pid']}", "dim"),
            ),
            *([Text(str(p["behaviour"]), "dim")] if wide else []),
            Text(str(p["status"]), _status_style(p["status"])),
            mailbox,
            Text(amount(p["reductions_per_s"]), "" if p["reductions_per_s"] else "dim"),
            Text(amount(p["reductions"])),
            Text(size(p["memory_bytes"])),
        ]
        table.add_row(*cells)
    return table


def _status_style(status: str) -> str:
    if status in ("running", "runnable"):
        return "green"
    return "yellow" if status in ("suspended", "exiting") else "dim"


def title_of(process: Mapping[str, Any]) -> str:
    """What a person calls a process."""
    name = process["name"] or process["child_id"]
    return str(name or str(process["behaviour"]).rpartition(".")[2])


def amount(value: float) -> str:
    """A count or a rate in a few characters."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.1f}{unit}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def size(n_bytes: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"
