"""Where Palaver means to differ from OTP: one table; what is not in it is not passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["DIFFERENCES", "Difference", "explain"]


@dataclass(frozen=True)
class Difference:
    """A difference that is meant.

    `meant(otp, ours)` says of two events in the same place whether they differ just so. Where it is
    None, the two interpreters see to it that the difference does not come up, as `text` says.
    """

    name: str
    text: str
    meant: Callable[[Any, Any], bool] | None = None


def _dead_child(otp: Any, ours: Any) -> bool:
    return bool(
        otp == ["terminate_dynamic", "ok"] and ours == ["terminate_dynamic", ["error", "not_found"]]
    )


def _parent_first(otp: Any, ours: Any) -> bool:
    """Of one process in one step: all is equal but messages that ours did not come to handle."""
    if not (isinstance(otp, dict) and isinstance(ours, dict) and "itself" in otp):
        return False
    own, ours_own = otp["itself"], ours.get("itself", [])
    if not ours_own or ours_own[-1] != own[-1] or own[-1][0] != "terminate":
        return False
    # One that was parked in a call may also have been told to do something meanwhile.
    parked = ours_own[0][0] in ("answered", "call_failed")
    if own != ours_own and not (parked and own[: len(ours_own) - 1] == ours_own[:-1]):
        return False
    return ours.keys() <= otp.keys() and all(
        _begins(events, ours.get(sender, []))
        for sender, events in otp.items()
        if sender != "itself"
    )


def _begins(events: list[Any], first: list[Any]) -> bool:
    return events[: len(first)] == first and all(
        event[0] in ("message", "exit", "down") for event in events[len(first) :]
    )


DIFFERENCES = (
    Difference(
        "parent-exit-first",
        "A trapping server ends by its parent's exit before it handles the messages that wait; "
        "in OTP that exit waits behind them.",
        _parent_first,
    ),
    Difference(
        "dynamic-terminate-dead",
        "TerminateChild with the pid of a dead process fails with ChildNotFound, as in Elixir; "
        "OTP's simple_one_for_one says ok.",
        _dead_child,
    ),
    Difference(
        "dynamic-specs",
        "CountChildren.specs of a DynamicSupervisor is the number of children, as in Elixir; OTP's "
        "simple_one_for_one says 1. It is not asked for.",
    ),
    Difference(
        "dynamic-restart-ignore",
        "A child of a DynamicSupervisor whose restart is ignored is forgotten. OTP 25's "
        "simple_one_for_one keeps an undefined pid and later crashes on it. Not generated.",
    ),
    Difference(
        "failed-start-signal",
        "A failing init raises in who started it and sends no exit signal on top. OTP sends both: "
        "that EXIT is left out of its log, and only processes that trap exits start others.",
    ),
    Difference(
        "link-raises",
        "Linking a dead pid sends an exit signal noproc. OTP does so where the caller traps exits, "
        "and else raises noproc in it; there the interpreter exits with noproc.",
    ),
    Difference(
        "exit-self",
        "exit() to oneself acts when the process next waits; in OTP before exit/2 returns. "
        "Palaver's interpreter waits right after it.",
    ),
    Difference(
        "send-to-missing-name",
        "A message to a name that nobody has is dropped; in OTP `Name ! Message` is an error. "
        "Whether it is, is not compared.",
    ),
    Difference(
        "several-names",
        "A process may register several names, OTP's only one. Nobody registers a second.",
    ),
    Difference(
        "unregister-own-names",
        "A process can take back its own names only, OTP's any. Others' are not tried.",
    ),
    Difference(
        "down-of-a-name",
        "The Down of a monitored name shows the pid that had it, OTP's the name. Not compared.",
    ),
    Difference(
        "alias-of-self-monitor",
        "A monitor of oneself with an alias has one; on the BEAM it has none, which is not "
        "documented. Nobody makes one.",
    ),
    Difference(
        "unknown-call",
        "A supervisor answers a call that it does not understand with a TypeError; OTP's crashes. "
        "Not generated.",
    ),
    Difference(
        "start-child-error",
        "StartError carries the reason; OTP's {error, {Reason, Child}} the specification as well, "
        "which is left out.",
    ),
    Difference(
        "child-exceptions",
        "Answers {error, _} of a supervisor are exceptions. They are compared by their names.",
    ),
)
"""All there are."""


def explain(otp: Any, ours: Any) -> set[str] | None:
    """The differences that make one observation into the other; None if that cannot be done."""
    if otp == ours:
        return set()
    for difference in DIFFERENCES:
        if difference.meant is not None and difference.meant(otp, ours):
            return {difference.name}
    if type(otp) is not type(ours):
        return None
    if isinstance(otp, dict):
        if otp.keys() != ours.keys():
            return None
        pairs = [(otp[key], ours[key]) for key in otp]
    elif isinstance(otp, list):
        if len(otp) != len(ours):
            return None
        pairs = list(zip(otp, ours, strict=True))
    else:
        return None
    found: set[str] = set()
    for pair in pairs:
        names = explain(*pair)
        if names is None:
            return None
        found |= names
    return found
