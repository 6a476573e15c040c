"""What of two observations must be equal: everything that OTP determines, and nothing else.

Signals of one process to another keep their order; those of different processes do not, and what
several processes do at the same time has no order either. So an observation is compared as, for
each step:

* of every process: what it did itself, in order; and what it got, in order by sender. The `EXIT`
  and the `DOWN` of one death have no order between each other.
* who died, with which reason. Whether one that an exit signal ends still handles the messages that
  came just before it is not determined: those of the step in which it died are not compared, unless
  it got as far as to `terminate`.
* of every supervision tree: in which order its servers and supervisors started and terminated
  (a supervisor starts and stops one child at a time). Children of a `simple_one_for_one`
  supervisor are stopped at the same time; they are in no such order.
* at the end: who is alive, and who is linked with whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otp_conform.language import Desc, Program

__all__ = ["canonical", "trees"]

SENDER_AT = {"message": 1, "exit": 1, "asked": 1, "down": 2}
"""In which place an event that comes from elsewhere names the sender."""


UNSURE = frozenset({"started", "message", "exit", "down"})
"""What a process that a signal ends may or may not still handle."""


def canonical(program: Program, observed: Any, *, shuffled: bool = False) -> Any:
    """An observation without what is not determined.

    With a `shuffled` run queue anybody may come late: those whose supervisor was killed may
    terminate when others run in their places already. Then only starts are in an order.
    """
    logs, final = observed
    tree_of = trees(program)
    ordered = {"started"} if shuffled else {"started", "terminate"}
    return [[_step(log, tree_of, ordered) for log in logs], final]


def _step(log: list[Any], tree_of: dict[str, str], ordered: set[str]) -> dict[str, Any]:
    processes: dict[str, dict[str, list[Any]]] = {}
    died: list[Any] = []
    order: dict[str, list[Any]] = {}
    for who, event in log:
        kind = kind_of(event)
        if kind == "died":
            died.append([who, event[1]])
            continue
        label = who.partition("#")[0]
        if kind in ordered and label in tree_of:
            order.setdefault(tree_of[label], []).append(f"{who} {kind}")
        sender = event[SENDER_AT[kind]] if kind in SENDER_AT else "itself"
        processes.setdefault(who, {}).setdefault(sender, []).append(event)
    dead = {who for who, _ in died}
    for who, senders in processes.items():
        if who in dead and not any(kind_of(e) == "terminate" for e in senders.get("itself", ())):
            for sender, events in senders.items():
                senders[sender] = [event for event in events if kind_of(event) not in UNSURE]
            processes[who] = {sender: events for sender, events in senders.items() if events}
    processes = {who: senders for who, senders in processes.items() if senders}
    for senders in processes.values():
        for events in senders.values():
            # Which of several monitors hears first is not determined.
            events.sort(key=lambda event: repr(event) if event[0] == "down" else "")
    return {
        "processes": {
            who: dict(sorted(senders.items())) for who, senders in sorted(processes.items())
        },
        "died": sorted(died, key=repr),
        "order": dict(sorted(order.items())),
    }


def kind_of(event: Any) -> str:
    """The name of an event."""
    return str(event if isinstance(event, str) else event[0])


def trees(program: Program) -> dict[str, str]:
    """For the label of each child that is started in a determined order, the tree it is in."""
    found: dict[str, str] = {}
    for supervisor, desc in _described(program):
        _add(found, found.get(supervisor, supervisor), supervisor, desc)
    return found


def _described(program: Program) -> Iterator[tuple[str, Desc]]:
    """Every supervisor that is started, and every one a child is added to, in order."""
    for _, _, burst in program.steps:
        for instruction in burst:
            if instruction[0] == "start_link" and isinstance(instruction[2][0], tuple):
                yield instruction[1], instruction[2]
            elif instruction[0] == "start_child":
                _, supervisor, (label, _, _, _, desc) = instruction
                flags = (("sup", ("one_for_one", 0, "never"), [(label, "", "", False, desc)]),)
                yield supervisor, (*flags, True, [], "none", [])


def _add(found: dict[str, str], root: str, label: str, desc: Desc) -> None:
    kind = desc[0]
    if kind == "plain":
        return
    found[label] = root
    if isinstance(kind, tuple) and kind[1][0] != "simple_one_for_one":
        for child, _, _, _, child_desc in kind[2]:
            _add(found, root, child, child_desc)
