"""A failure's report as one HTML page that needs nothing else: no script, no font, no network.

The diagram is a table, so it can be read without seeing it: a column for each actor, grouped by
host, a row for each event. A script, if it may run, only filters the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Final

from palaver.actors.simulation.reporting.sequence import ACROSS, lanes_of
from palaver.actors.simulation.reporting.text import (
    headline,
    place_of,
    replay_lines,
    warning_of,
)

if TYPE_CHECKING:
    from palaver.actors.simulation.reporting.facts import Facts
    from palaver.actors.simulation.reporting.failure import Report
    from palaver.actors.simulation.world.trace import Line

__all__ = ["as_page"]

MAX_EVENTS: Final = 1500
"""The last ones; a page of more is slow to scroll."""
MAX_LANES: Final = 40
MAX_LABEL: Final = 60

_HERE: Final = "palaver.actors.simulation.reporting"


def as_page(report: Report, facts: Facts) -> str:
    """The whole page."""
    title = escape(f"{report.tape.scenario}: {headline(facts)}")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            f"<style>{_resource('page.css')}</style></head><body>",
            _header(report, facts),
            "<main>",
            _deviations(facts),
            _diagram(facts),
            _comparison(facts),
            _trees(facts),
            _crashes(facts),
            "</main>",
            f"<script>{_resource('page.js')}</script>",
            "</body></html>",
            "",
        ]
    )


def _resource(name: str) -> str:
    return files(_HERE).joinpath(name).read_text("utf-8")


def _header(report: Report, facts: Facts) -> str:
    failure = facts.failure
    said = "it did not fail" if failure is None else str(failure).strip() or repr(failure)
    place = None if failure is None else place_of(failure)
    kind = "" if failure is None else f'<span class="type">{escape(type(failure).__name__)}</span>'
    figures = [
        ("virtual time", f"{facts.outcome.virtual_s:.6f} s"),
        ("deviations", f"{len(facts.deviations):,}"),
        ("steps", f"{facts.outcome.steps:,}"),
        ("choices", f"{facts.outcome.tape.choices:,}"),
    ]
    if report.seed is not None:
        figures.insert(0, ("seed", str(report.seed)))
    parts = [
        "<header>",
        f'<p class="scenario">{escape(report.tape.scenario)}</p>',
        f"<h1>{kind}{escape(said.splitlines()[0])}</h1>",
    ]
    if len(said.splitlines()) > 1:
        parts.append(f"<pre>{escape(said)}</pre>")
    if place:
        parts.append(f'<p class="quiet">raised at <code>{escape(place)}</code></p>')
    parts.append('<dl class="figures">')
    parts += [f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in figures]
    parts.append("</dl>")
    if report.shrunk is not None:
        parts.append(f'<p class="quiet">{escape(str(report.shrunk))}</p>')
    if text := warning_of(report):
        parts.append(f'<p class="warning">{escape(text)}</p>')
    replays = "\n".join(line for line in replay_lines(report) if not line.startswith("page:"))
    parts.append(f'<pre class="replay">{escape(replays)}</pre></header>')
    return "\n".join(parts)


def _deviations(facts: Facts) -> str:
    head = '<section><h2 id="deviations">What deviated from the quiet run</h2>'
    if not facts.deviations:
        return f"{head}<p>Nothing: the quiet run fails.</p></section>"
    rows = [
        f'<tr><td class="number"><a href="#d{at}">{one.at_s:.6f}</a></td>'
        f"<td><code>{escape(one.stream)} #{one.number} = {one.value}</code></td>"
        f"<td>{escape(one.said)}</td></tr>"
        for at, one in enumerate(facts.deviations)
    ]
    return (
        f'{head}<div class="scroll" role="region" tabindex="0" aria-labelledby="deviations">'
        '<table class="list"><thead><tr><th scope="col">virtual s</th><th scope="col">choice</th>'
        f'<th scope="col">what happened</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
        "</div></section>"
    )


# -- the diagram ------------------------------------------------------------------------------


def _diagram(facts: Facts) -> str:
    lines = facts.lines[-MAX_EVENTS:]
    about = "" if facts.failure is None else str(facts.failure)
    shown = set(lanes_of(lines, about=about)[:MAX_LANES])
    lanes = _in_order(lines, shown)
    places = {name: at for at, name in enumerate(lanes)}
    kinds = sorted({line.kind for line in lines})
    left_out = len(facts.lines) - len(lines)
    note = f" ({left_out:,} earlier ones are left out)" if left_out else ""
    last = '<a href="#failure">the failure</a>' if facts.failure is not None else "the end"
    summary = (
        f"{len(lines):,} events, the last one is {last}{note}. Open an event to read all of it."
    )
    return "\n".join(
        [
            '<section><h2 id="diagram">What happened</h2>',
            f'<p class="quiet">{summary}</p>',
            _filters(kinds),
            '<div class="scroll diagram" role="region" tabindex="0" aria-labelledby="diagram">',
            f'<table class="sequence" style="--lanes:{len(lanes)}">',
            _heads(lanes),
            "<tbody>",
            *_rows(lines, places, facts),
            "</tbody></table></div></section>",
        ]
    )


def _in_order(lines: Sequence[Line], shown: set[str]) -> list[str]:
    """The lanes, by host and then by when they come into the picture."""
    seen: dict[str, None] = {}
    for line in lines:
        if line.kind not in ACROSS:
            for end in (line.who, line.to):
                if end in shown and end is not None:
                    seen.setdefault(end)
    hosts = list(dict.fromkeys(_host(name) for name in seen))
    return sorted(seen, key=lambda name: hosts.index(_host(name)))


def _host(name: str) -> str:
    return name.partition("/")[0]


def _filters(kinds: Iterable[str]) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" value="{escape(kind)}" checked>{escape(kind)}</label>'
        for kind in kinds
        if kind not in ACROSS
    )
    return (
        '<form class="filters" hidden><label class="words">show only events with '
        '<input type="search" name="words" autocomplete="off"></label>'
        f'<fieldset><legend class="hidden">kinds of events</legend>{boxes}</fieldset>'
        '<p role="status" class="quiet"></p></form>'
    )


def _heads(lanes: Sequence[str]) -> str:
    hosts = []
    for host, members in groupby(lanes, _host):
        width = len(list(members))
        start = f'<th scope="colgroup" colspan="{width}" class="host">'
        hosts.append(f"{start}<span>{escape(host)}</span></th>")
    actors = [
        f'<th scope="col" title="{escape(name)}"><span>{escape(_actor(name))}</span></th>'
        for name in lanes
    ]
    return (
        f'<colgroup><col class="time"></colgroup><colgroup>{"<col>" * len(lanes)}</colgroup>'
        '<thead><tr><th rowspan="2" scope="col" class="time">virtual s</th>'
        f"{''.join(hosts)}</tr><tr>{''.join(actors)}</tr></thead>"
    )


def _actor(name: str) -> str:
    return name.partition("/")[2] or "(host)"


def _rows(lines: Sequence[Line], places: dict[str, int], facts: Facts) -> Iterable[str]:
    numbers = {(one.stream, one.number): at for at, one in enumerate(facts.deviations)}
    before_s = -1.0
    for line in lines:
        time = f"{line.at_s:.6f}" if line.at_s != before_s else ""
        before_s = line.at_s
        head = f'<th scope="row" class="time">{time}</th>'
        words = escape(f"{line.kind} {line.who} {line.to or ''} {line.text}".lower(), quote=True)
        start = f'data-kind="{escape(line.kind)}" data-words="{words}"'
        if line.kind in ACROSS:
            where = ""
            if line.kind == "deviation":
                number = int(line.text[1:].partition(":")[0])
                where = f' id="d{numbers[line.who, number]}"' if numbers else ""
            elif line.kind == "failure":
                where = ' id="failure"'
            text = _across(line, facts)
            yield (
                f'<tr class="across {line.kind}"{where} {start}>{head}'
                f'<td colspan="{max(1, len(places))}"><span>{text}</span></td></tr>'
            )
        elif line.who in places or line.to in places:
            yield f"<tr {start}>{head}{_cells(line, places)}</tr>"


def _across(line: Line, facts: Facts) -> str:
    to = f" → {line.to}" if line.to else ""
    if line.kind == "failure" and facts.failure is not None:
        return f"<b>failure</b> {escape(str(facts.failure).strip() or line.text)}"
    return f"<b>{escape(line.kind)}</b> {escape(line.who + to)} {escape(line.text)}"


def _cells(line: Line, places: dict[str, int]) -> str:
    """The arrow, over as many columns as it crosses; the others stay empty."""
    ends = [places[end] for end in (line.who, line.to) if end in places]
    low, high = min(ends), max(ends)
    whom = f" → {line.to}" if line.to and line.to != line.who else ""
    summary = f"{line.kind} {line.text}".strip()
    label = escape(summary if len(summary) <= MAX_LABEL else f"{summary[: MAX_LABEL - 1]}…")
    full = escape(f"{line.who}{whom}\n{line.kind} {line.text}")
    way = "self" if low == high else ("right" if places[line.who] == low else "left")
    before = "<td></td>" * low
    after = "<td></td>" * (len(places) - 1 - high)
    return (
        f'{before}<td colspan="{high - low + 1}" class="event {way} k-{_class(line.kind)}" '
        f'style="--span:{high - low + 1}"><details><summary title="{full}">{label}</summary>'
        f"<pre>{full}</pre></details></td>{after}"
    )


def _class(kind: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in kind)


# -- the rest ---------------------------------------------------------------------------------


def _comparison(facts: Facts) -> str:
    found = facts.comparison
    if found is None or not (found.only_here or found.only_quiet):
        return ""
    too = " The quiet run fails too." if found.quiet_failed else ""
    parted = f"The first {found.same:,} events are the same; they part at {found.parted_s:.6f} s."
    parts = [
        "<section><h2>Beside the quiet run</h2>",
        f"<p>{parted}{too}</p>",
        '<div class="beside">',
    ]
    for title, events in (
        ("only here", found.only_here),
        ("only in the quiet run", found.only_quiet),
    ):
        shown = escape("\n".join(events)) or "nothing"
        parts.append(f'<div><h3>{title}</h3><pre tabindex="0">{shown}</pre></div>')
    return "\n".join([*parts, "</div></section>"])


def _trees(facts: Facts) -> str:
    if not facts.trees:
        return ""
    parts = ["<section><h2>Processes at that moment</h2>"]
    for node, tree in facts.trees.items():
        parts.append(f"<h3>{escape(node)}</h3>")
        if not tree:
            parts.append('<p class="quiet">no processes</p>')
            continue
        parts.append('<ul class="tree">')
        for one in tree:
            state = "" if one.state is None else f'<pre class="state">{escape(one.state)}</pre>'
            mark = ' <span class="badge">supervisor</span>' if one.supervisor else ""
            mail = f", {one.waiting} waiting" if one.waiting else ""
            parts.append(
                f'<li style="--depth:{one.depth}"><b>{escape(_actor(one.label))}</b>{mark} '
                f'<span class="quiet">{escape(one.behaviour)}: {one.status}{mail}</span>'
                f"{state}</li>"
            )
        parts.append("</ul>")
    return "\n".join([*parts, "</section>"])


def _crashes(facts: Facts) -> str:
    if not facts.crashes:
        return ""
    parts = [f"<section><h2>Crash reports ({len(facts.crashes):,})</h2>"]
    for crash in facts.crashes[-20:]:
        first, _, rest = str(crash).partition("\n")
        parts.append(
            f"<details><summary>{escape(first)}</summary><pre>{escape(rest)}</pre></details>"
        )
    return "\n".join([*parts, "</section>"])
