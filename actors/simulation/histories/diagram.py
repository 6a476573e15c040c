"""Histories as text: a lane for each client, time from left to right.

    client 1 | [:= 1-------------]
    client 2 |        [= 1-]  [= None-]
             |                ^^^^^^^^^

A bracket opens at the invocation and closes at the response; what ends in `..` had none yet when
the drawing ends. The marked operation is the one that has no place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from palaver.actors.simulation.histories.history import Operation

__all__ = ["draw"]

WIDTH = 100
MAX_OPERATIONS = 32
MAX_LABEL = 48


def draw(
    operations: Sequence[Operation],
    culprit: Operation,
    describe: Callable[[Any, Any], str],
    *,
    width: int = WIDTH,
    max_operations: int = MAX_OPERATIONS,
) -> str:
    """Draw what happened up to the response of `culprit`.

    Args:
        operations: the history.
        culprit: what is marked.
        describe: an operation and its result in a few characters.
        width: characters in a line, besides the names; longer drawings are folded.
        max_operations: how many are drawn: those around the culprit, then the latest before it.
    """
    end = culprit.responded
    assert end is not None, "only a response can have no place"
    drawn = _chosen(operations, culprit, end, max_operations)
    labels = {one.number: _short(describe(one.operation, one.result)) for one in drawn}
    columns, total = _columns(drawn, labels, end)
    lanes: dict[str, str] = {}
    for name, members in _lanes(drawn):
        line, marks = [" "] * total, [" "] * total
        for one in members:
            at = columns[one.invoked]
            done = one.responded is not None and one.responded <= end
            until = columns[one.responded] if done and one.responded is not None else total - 1
            bar = ("[" + labels[one.number]).ljust(until - at, "-") + ("]" if done else "..")
            line[at : at + len(bar)] = bar
            if one.number == culprit.number:
                marks[at : at + len(bar)] = "^" * len(bar)
        lanes[name] = "".join(line)
        if any(mark != " " for mark in marks):
            lanes[name + " "] = "".join(marks)
    left_out = sum(one.invoked < end for one in operations) - len(drawn)
    head = [f"({left_out} operations before are not drawn)"] if left_out else []
    return "\n".join(head + _folded(lanes, width))


def _chosen(
    operations: Sequence[Operation], culprit: Operation, end: int, limit: int
) -> list[Operation]:
    def rank(one: Operation) -> tuple[bool, int]:
        beside = one.responded is None or one.responded > culprit.invoked
        return (one.number != culprit.number, -(end if beside else one.responded or 0))

    before = [one for one in operations if one.invoked < end]
    return sorted(sorted(before, key=rank)[:limit], key=lambda one: one.invoked)


def _columns(
    drawn: list[Operation], labels: dict[int, str], end: int
) -> tuple[dict[int, int], int]:
    """Return the column of each event, and the drawing's width."""
    events = {one.invoked: one for one in drawn}
    events |= {one.responded: one for one in drawn if one.responded and one.responded <= end}
    columns: dict[int, int] = {}
    column = -2
    for moment in sorted(events):
        one = events[moment]
        if moment == one.responded:
            column = max(column + 1, columns[one.invoked] + len(labels[one.number]) + 2)
        else:
            column += 2
        columns[moment] = column
    # What stays open needs room for its name as well.
    widths = [columns[one.invoked] + len(labels[one.number]) + 4 for one in drawn]
    return columns, max([column + 3, *widths])


def _lanes(drawn: list[Operation]) -> list[tuple[str, list[Operation]]]:
    """Return one lane per client; another one where a client had several open at once."""
    lanes: dict[tuple[Hashable, int], list[Operation]] = {}
    for one in drawn:
        depth = 0
        while (lane := lanes.setdefault((one.client, depth), [])) and (
            lane[-1].responded is None or lane[-1].responded > one.invoked
        ):
            depth += 1
        lane.append(one)
    return [(f"{client}" + "'" * depth, members) for (client, depth), members in lanes.items()]


def _folded(lanes: dict[str, str], width: int) -> list[str]:
    margin = max(len(name.rstrip()) for name in lanes)
    lines: list[str] = []
    for start in range(0, max(len(line) for line in lanes.values()), width):
        if start:
            lines.append("")
        for name, line in lanes.items():
            part = line[start : start + width].rstrip()
            shown = "" if name.endswith(" ") else name
            if part or shown:
                lines.append(f"{shown:<{margin}} | {part}".rstrip())
    return lines


def _short(label: str) -> str:
    label = " ".join(label.split())
    return label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 2] + ".."
