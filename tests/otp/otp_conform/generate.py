"""Hypothesis strategies for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from otp_conform.language import Program

__all__ = ["FAMILIES"]

REASONS = [
    "normal",
    "shutdown",
    ("shutdown", "detail"),
    "bad",
    "kill",
    "killed",
    "noproc",
    "noconnection",
    ("odd", 1),
]
reasons = st.sampled_from(REASONS)
names = st.sampled_from(["n1", "n2"])
monitors = st.sampled_from(["m1", "m2", "m3"])
values = st.integers(0, 9)
never_named = st.just("none")
rarely_named = st.sampled_from(["none", "none", "none", "n1", "n2"])


def weighted(*choices: tuple[int, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    """One of the strategies, in the given proportions."""
    return st.sampled_from([s for weight, s in choices for _ in range(weight)]).flatmap(
        lambda strategy: strategy
    )


def determined(burst: list[Any]) -> list[Any]:
    """Without what comes behind an exit signal in the same burst and is not determined.

    A call to its receiver fails with `noproc`; but not whether the exit of a linked process is seen
    before or after that. `count_children` looks whether each child is alive; but not whether a
    supervisor has then heard of the exit of one that is not.
    """
    kept: list[Any] = []
    for instruction in burst:
        exits = {each[1] for each in kept if each[0] == "exit" and len(each) == 3}
        called = instruction[0] == "call" and instruction[1] in exits
        counted = instruction[0] == "count_children" and exits
        if not called and not counted:
            kept.append(instruction)
    return kept


def bursts(instruction: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """What one process does without waiting for the others; mostly one thing."""
    return weighted(
        (3, st.lists(instruction, min_size=1, max_size=1)),
        (2, st.lists(instruction, min_size=2, max_size=4).map(determined)),
    )


def steps(label: SearchStrategy[str], instruction: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.tuples(st.just("do"), label, bursts(instruction))


def at_one(labels: list[str], instructions: Callable[..., SearchStrategy[Any]]) -> Any:
    """Bursts of instructions that have to do with the same other process.

    The order of signals between two processes is what OTP determines most strictly.
    """
    each = [
        st.lists(instructions(st.just(label)), min_size=2, max_size=4).map(determined)
        for label in set(labels)
    ]
    one = st.sampled_from(sorted(each, key=repr)).flatmap(lambda strategy: strategy)
    return st.tuples(st.just("do"), st.sampled_from(labels), one)


def plains(script: SearchStrategy[list[Any]]) -> SearchStrategy[Any]:
    return st.tuples(st.just("plain"), st.booleans(), st.just([]), never_named, script)


plans = st.lists(
    st.sampled_from(
        ["ok", "ok", "ok", ("stop", "bad"), ("exit", "odd"), "error", "ignore", ("stop", "normal")]
    ),
    max_size=3,
).map(lambda plan: plan if len(plan) < 2 else ["ok", *plan])

servers = st.tuples(st.just("server"), st.booleans(), plans, rarely_named, st.just([]))

# See `dynamic-restart-ignore`: a plan may begin with `ignore`, but not go on with it.
dynamic_servers = st.tuples(
    st.just("server"),
    st.booleans(),
    plans.filter(lambda plan: "ignore" not in plan[1:]),
    never_named,
    st.just([]),
)

requests = st.one_of(
    st.tuples(st.just("echo"), values),
    st.tuples(st.just("stop"), reasons, values),
    st.tuples(st.just("stop"), reasons),
    st.just("error"),
    st.just("hold"),
)

endings = st.one_of(
    st.just("return"),
    st.just("error"),
    st.tuples(st.just("stop"), reasons),
    st.tuples(st.just("exit"), reasons),
)


def signal_instructions(label: SearchStrategy[str]) -> SearchStrategy[Any]:
    """Links, monitors, exit signals, messages and names between the processes of these labels."""
    return weighted(
        (4, st.tuples(st.just("link"), label)),
        (2, st.tuples(st.just("unlink"), label)),
        (4, st.tuples(st.just("monitor"), label, monitors)),
        (1, st.tuples(st.just("demonitor"), monitors)),
        (1, st.tuples(st.just("demonitor_flush"), monitors)),
        (5, st.tuples(st.just("exit"), label, reasons)),
        (2, endings),
        (2, st.tuples(st.just("trap"), st.booleans())),
        (2, st.tuples(st.just("send"), label, values)),
        (1, st.tuples(st.just("is_alive"), label)),
        (2, st.tuples(st.just("register"), names)),
        (1, st.tuples(st.just("unregister"), names)),
        (1, st.tuples(st.just("whereis"), names)),
        (1, st.tuples(st.just("send_name"), names, values)),
        (1, st.tuples(st.just("monitor_name"), monitors, names)),
    )


aliases = st.sampled_from(["m1", "m2", "l1", "l2"])  # a monitor's alias has the monitor's label
alias_modes = st.sampled_from(["explicit_unalias", "demonitor", "reply_demonitor"])


def alias_instructions(label: SearchStrategy[str]) -> SearchStrategy[Any]:
    return weighted(
        (1, st.tuples(st.just("alias"), aliases)),
        (1, st.tuples(st.just("alias_once"), aliases)),
        (1, st.tuples(st.just("unalias"), aliases)),
        (2, st.tuples(st.just("monitor_alias"), label, monitors, alias_modes)),
        (4, st.tuples(st.just("send_alias"), aliases, values)),
    )


def spawn_instructions(label: SearchStrategy[str]) -> SearchStrategy[Any]:
    script = st.lists(signal_instructions(label), max_size=2)
    fresh = st.sampled_from(["d", "e"])
    return st.one_of(
        st.tuples(st.just("spawn"), fresh, plains(script)),
        st.tuples(st.just("spawn_link"), fresh, plains(script)),
        st.tuples(st.just("spawn_monitor"), monitors, fresh, plains(script)),
    )


def call_instructions(label: SearchStrategy[str]) -> SearchStrategy[Any]:
    return weighted(
        (4, st.tuples(st.just("call"), label, requests)),
        (1, st.tuples(st.just("call_name"), names, requests)),
        (1, st.tuples(st.just("answer"), values)),
    )


def roots(labels: str) -> SearchStrategy[Any]:
    return st.tuples(*(st.tuples(st.just(label), plains(st.just([]))) for label in labels)).map(
        list
    )


def trapping_roots(labels: str) -> SearchStrategy[Any]:
    """The first of them traps exits: it may start servers."""
    first = st.just((labels[0], ("plain", True, [], "none", [])))
    return st.tuples(first, roots(labels[1:])).map(lambda pair: [pair[0], *pair[1]])


# -- families of programs --------------------------------------------------------------------------


def signals() -> SearchStrategy[Program]:
    """Plain processes."""
    labels = ["a", "a", "b", "b", "c", "d", "e"]
    label = st.sampled_from(labels)
    instruction = weighted(
        (6, signal_instructions(label)),
        (2, spawn_instructions(label)),
        (2, alias_instructions(label)),
    )
    step = weighted((2, steps(label, instruction)), (1, at_one(labels, signal_instructions)))
    return st.builds(Program, roots("abc"), st.lists(step, min_size=1, max_size=8))


def calls() -> SearchStrategy[Program]:
    """Plain processes and servers that ask each other."""
    labels = ["a", "b", "c", "x", "x", "y"]
    label = st.sampled_from(labels)
    start = st.tuples(st.just("start_link"), st.sampled_from(["x", "y"]), servers)
    instruction = weighted(
        (4, call_instructions(label)), (3, signal_instructions(label)), (1, start)
    )
    setup = st.tuples(st.just("do"), st.just("a"), st.lists(start, min_size=1, max_size=2))

    def both(one: SearchStrategy[str]) -> SearchStrategy[Any]:
        return weighted((2, call_instructions(one)), (3, signal_instructions(one)))

    step = weighted((2, steps(label, instruction)), (1, at_one(labels, both)))
    return st.builds(
        lambda given, first, then: Program(given, [first, *then]),
        trapping_roots("abc"),
        setup,
        st.lists(step, min_size=1, max_size=7),
    )


restarts = st.sampled_from(["permanent", "permanent", "transient", "temporary"])
shutdowns = st.sampled_from([5000, "infinity", "brutal_kill"])
strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
intensities = st.sampled_from([0, 1, 2, 3, 3])


def child_specs(label: str, auto: str, desc: SearchStrategy[Any]) -> SearchStrategy[Any]:
    def finish(restart: str, shutdown: Any, significant: bool, what: Any) -> Any:
        significant = significant and auto != "never" and restart != "permanent"
        is_supervisor = isinstance(what[0], tuple)
        return (label, restart, "infinity" if is_supervisor else shutdown, significant, what)

    return st.builds(finish, restarts, shutdowns, st.booleans(), desc)


def supervisors(
    labels: list[str], auto: str, *, nested: SearchStrategy[Any] | None = None
) -> SearchStrategy[Any]:
    # No plain ones: whether one runs at all before it is stopped again is not determined.
    kinds = [(6, servers)]
    if nested is not None:
        kinds.append((2, nested))

    def children(number: int) -> SearchStrategy[Any]:
        specs = []
        for index, label in enumerate(labels[:number]):
            inner = kinds if index == 0 else kinds[:1]
            specs.append(child_specs(label, auto, weighted(*inner)))
        return st.tuples(*specs).map(list)

    flags = st.tuples(strategies, intensities, st.just(auto))
    kind = st.tuples(st.just("sup"), flags, st.integers(1, len(labels)).flatmap(children))
    return st.tuples(kind, st.just(True), st.just([]), never_named, st.just([]))


autos = st.sampled_from(["never", "never", "any_significant", "all_significant"])


def any_supervisor() -> SearchStrategy[Any]:
    inner = autos.flatmap(lambda auto: supervisors(["u1", "u2"], auto))
    return autos.flatmap(lambda auto: supervisors(["k1", "k2", "k3", "k4"], auto, nested=inner))


def supervision_instructions(child: SearchStrategy[str]) -> SearchStrategy[Any]:
    new = st.sampled_from(["k1", "k2", "k5"]).flatmap(
        lambda label: child_specs(label, "never", servers)
    )
    sup = st.just("s")
    return weighted(
        (2, st.tuples(st.just("which_children"), sup)),
        (2, st.tuples(st.just("count_children"), sup)),
        (3, st.tuples(st.just("terminate_child"), sup, child)),
        (3, st.tuples(st.just("restart_child"), sup, child)),
        (2, st.tuples(st.just("delete_child"), sup, child)),
        (2, st.tuples(st.just("start_child"), sup, new)),
        (6, st.tuples(st.just("exit"), child, reasons)),
        (1, st.tuples(st.just("exit"), sup, reasons)),
        (1, st.tuples(st.just("monitor"), child, monitors)),
        (1, st.tuples(st.just("call"), child, requests)),
    )


def supervision() -> SearchStrategy[Program]:
    """A supervisor with children, started by the trapping process `a`."""
    child = st.sampled_from(["k1", "k1", "k2", "k2", "k3", "k4", "k5", "u1", "u2"])
    step = weighted(
        (4, steps(st.just("a"), supervision_instructions(child))),
        (4, st.tuples(st.just("do"), child, endings.map(lambda end: [end]))),
        (1, st.tuples(st.just("do"), st.just("a"), endings.map(lambda end: [end]))),
        (1, steps(st.sampled_from(["b", "k1"]), signal_instructions(st.sampled_from(["a", "k2"])))),
    )
    start = any_supervisor().map(lambda desc: ("do", "a", [("start_link", "s", desc)]))
    return st.builds(
        lambda given, first, then: Program(given, [first, *then]),
        trapping_roots("ab"),
        start,
        st.lists(step, min_size=1, max_size=8),
    )


def dynamic() -> SearchStrategy[Program]:
    """A `simple_one_for_one` supervisor with children that come and go."""
    child = st.sampled_from(["k1", "k2", "k3"])
    template = st.tuples(st.just("any"), restarts, shutdowns, st.just(False), st.just("worker"))
    kind = st.tuples(
        st.just("sup"),
        st.tuples(st.just("simple_one_for_one"), intensities, st.just("never")),
        template.map(lambda one: [one]),
    )
    desc = st.tuples(kind, st.just(True), st.just([]), never_named, st.just([]))
    sup = st.just("s")
    instruction = weighted(
        (6, st.tuples(st.just("start_dynamic"), sup, child, dynamic_servers)),
        (1, st.tuples(st.just("which_children"), sup)),
        (1, st.tuples(st.just("count_dynamic"), sup)),
        (3, st.tuples(st.just("terminate_dynamic"), sup, child)),
        (4, st.tuples(st.just("exit"), child, reasons)),
        (1, st.tuples(st.just("exit"), sup, reasons)),
    )
    step = weighted(
        (4, steps(st.just("a"), instruction)),
        (3, st.tuples(st.just("do"), child, endings.map(lambda end: [end]))),
        (1, st.tuples(st.just("do"), st.just("a"), endings.map(lambda end: [end]))),
    )
    first = st.builds(
        lambda what, then: ("do", "a", [("start_link", "s", what), *then]),
        desc,
        st.lists(
            st.tuples(st.just("start_dynamic"), sup, child, dynamic_servers), min_size=1, max_size=3
        ),
    )
    return st.builds(
        lambda given, start, then: Program(given, [start, *then]),
        trapping_roots("ab"),
        first,
        st.lists(step, min_size=1, max_size=7),
    )


FAMILIES: Final[dict[str, Callable[[], SearchStrategy[Program]]]] = {
    "signals": signals,
    "calls": calls,
    "supervision": supervision,
    "dynamic": dynamic,
}
"""All of them, by name."""
