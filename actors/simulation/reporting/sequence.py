"""A sequence diagram as text: a column for each actor, time from top to bottom.

           a/teller    a/account.2
  0.001000 ├──────────>│              call ('withdraw', 5)
* 0.001000 order/a #12: a/account.3 ran before a/account.2
           │<──────────┤              reply 'ok'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from palaver.actors.simulation.world.trace import Line

__all__ = ["draw_sequence", "lanes_of"]

WIDTH: Final = 100
MAX_ROWS: Final = 36
MAX_LANES: Final = 5
MIN_TEXT: Final = 34
MARGIN: Final = 15
"""Columns of the mark and the time."""
BEFORE: Final = 8
"""Events before a deviation that are drawn, if it was long ago."""
RECENT: Final = 400
"""Events that are looked at to find out which actors matter."""

#: What is no matter of one actor: a line right across.
ACROSS: Final = {
    "deviation": "*", "fault": "!", "host": "!", "failure": "X", "unhandled": "X", "gap": "~",
}  # fmt: skip

#: Bytes between hosts are drawn only where nothing better is known of them.
MINOR: Final = frozenset({"bytes", "link", "monitor"})


def draw_sequence(
    lines: Sequence[Line],
    *,
    about: str = "",
    width: int = WIDTH,
    max_rows: int = MAX_ROWS,
    max_lanes: int = MAX_LANES,
) -> str:
    """Draw the last events; those that the most important actors took part in.

    Where the last deviation is long ago, as when something never came about, what happened around
    it is drawn, and the end.

    Args:
        lines: What happened, up to the failure.
        about: The failure's text: actors whose names are in it are important.
        width: Columns of the drawing.
        max_rows: Events at most; deviations are always among them.
        max_lanes: Actors at most.
    """
    lanes = lanes_of(lines, about=about)[:max_lanes]
    if not lanes:
        return (
            "(nothing that an actor did)" if not lines else "\n".join(map(str, lines[-max_rows:]))
        )
    rows = _rows(lines, set(lanes), max_rows)
    # In the order in which they come into the picture: most arrows then go to the right.
    order = {name: at for at, name in reversed(list(enumerate(_names(rows))))}
    lanes = sorted((lane for lane in lanes if lane in order), key=order.__getitem__)
    if not lanes:
        return "\n".join(f"{ACROSS.get(line.kind, ' ')} {line}"[:width] for line in rows)
    lane = max(10, min(20, (width - MARGIN - MIN_TEXT) // len(lanes)))
    columns = {name: at * lane for at, name in enumerate(lanes)}
    drawing = _heads(lanes, lane)
    before_s: float | None = None
    for line in rows:
        time = f"{line.at_s:12.6f}" if line.at_s != before_s else ""
        before_s = line.at_s
        mark = ACROSS.get(line.kind)
        if mark is not None:
            text = f"{mark} {time or ' ' * 12} {_about(line)}"
        else:
            text = f"  {time:>12} {_arrow(line, columns, lane)} {_label(line, columns)}"
        drawing.append(_cut(text.rstrip(), width))
    left_out = len(lines) - sum(line.kind != "gap" for line in rows)
    if left_out:
        drawing.insert(0, f"({left_out:,} events before, or of others, are not drawn)")
    return "\n".join(drawing)


def lanes_of(lines: Sequence[Line], *, about: str = "") -> list[str]:
    """The actors in these events, the most important first: lately, often, or named in `about`."""
    weights: dict[str, float] = {}
    recent = lines[-RECENT:]
    for line in _around_the_last_deviation(lines):
        for end in (line.who, line.to):
            if end is not None and line.kind not in ACROSS and line.kind not in MINOR:
                weights[end] = weights.get(end, 0.0) + 1.0
    for at, line in enumerate(recent, 1):
        if line.kind in ACROSS:
            # Who is named in a deviation has to do with it.
            for name in weights:
                if name in line.text:
                    weights[name] += 1.0
            continue
        weight = (at / len(recent)) ** 4 * (0.1 if line.kind in MINOR else 1.0)
        for end in (line.who, line.to):
            if end is not None:
                weights[end] = weights.get(end, 0.0) + weight
    for name in weights:
        short = name.rpartition("/")[2]
        if about and len(short) > 2 and short in about:
            weights[name] += 5.0
    return sorted(weights, key=lambda name: (-weights[name], name))


def _around_the_last_deviation(lines: Sequence[Line]) -> Sequence[Line]:
    """What came shortly before and after the last deviation, if that is not at the end."""
    last = _last_deviation(lines)
    if last is None or len(lines) - last <= 2 * MAX_ROWS:
        return ()
    return lines[max(0, last - BEFORE) : last + MAX_ROWS]


def _last_deviation(lines: Sequence[Line]) -> int | None:
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].kind == "deviation":
            return at
    return None


def _rows(lines: Sequence[Line], lanes: set[str], max_rows: int) -> list[Line]:
    chosen = [
        line
        for line in lines
        if line.kind in ACROSS
        or ((line.who in lanes or line.to in lanes) and line.kind not in MINOR)
    ]
    if len([line for line in chosen if line.kind not in ACROSS]) < max_rows // 3:
        chosen = [
            line for line in lines if line.kind in ACROSS or line.who in lanes or line.to in lanes
        ]
    if len(chosen) <= max_rows:
        return chosen
    begin = len(chosen) - max_rows
    kept = chosen[begin:]
    last = _last_deviation(chosen)
    if last is not None and last < begin:
        end = chosen[-max_rows // 4 :]
        begin = max(0, last - BEFORE)
        around = chosen[begin : begin + max_rows - len(end)]
        left = len(chosen) - begin - len(around) - len(end)
        gap = Line(around[-1].at_s, "gap", "", f"{left:,} more events")
        kept = [*around, gap, *end]
    earlier = [line for line in chosen[:begin] if line.kind == "deviation"]
    return [*earlier[-max_rows // 3 :], *kept]


def _names(rows: Iterable[Line]) -> list[str]:
    return [end for line in rows if line.kind not in ACROSS for end in (line.who, line.to) if end]


def _heads(lanes: list[str], lane: int) -> list[str]:
    """The names above the columns: the host above the actor."""
    hosts, actors, lives = "", "", ""
    for name in lanes:
        host, slash, actor = name.partition("/")
        hosts += _cut(f"{host}{slash}", lane - 1).ljust(lane)
        actors += _cut(actor, lane - 1).ljust(lane)
        lives += "│".ljust(lane)
    margin = " " * (MARGIN + 0)
    return [f"{margin}{line}".rstrip() for line in (hosts, actors, lives) if line.strip()]


def _arrow(line: Line, columns: dict[str, int], lane: int) -> str:
    picture = [" "] * (lane * len(columns))
    for column in columns.values():
        picture[column] = "│"
    start, end = columns.get(line.who), columns.get(line.to or "")
    if start is None and end is None:
        return "".join(picture)
    if start is None or end is None or start == end:  # to or from one that has no lane
        at = end if start is None else start
        assert at is not None
        picture[at] = "●"
        return "".join(picture)
    low, high = min(start, end), max(start, end)
    for at in range(low + 1, high):
        picture[at] = "─" if picture[at] == " " else "┼"
    picture[start] = "├" if start < end else "┤"
    picture[end - 1 if start < end else end + 1] = ">" if start < end else "<"
    return "".join(picture)


def _label(line: Line, columns: dict[str, int]) -> str:
    text = f"{line.kind} {line.text}".rstrip()
    if line.to is not None and line.to != line.who:
        if line.to not in columns:
            return f"{line.kind} to {line.to}: {line.text}"
        if line.who not in columns:
            return f"{line.kind} from {line.who}: {line.text}"
    return text


def _about(line: Line) -> str:
    to = f" -> {line.to}" if line.to else ""
    if line.kind == "deviation":
        return f"{line.who} {line.text}"
    if line.kind == "gap":
        return f"({line.text})"
    return f"{line.kind}: {line.who}{to} {line.text}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
