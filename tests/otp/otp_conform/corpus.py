"""Programs written by hand: the rules of the reference manual and of `supervisor` one by one."""

from __future__ import annotations

from typing import Any, Final

from otp_conform.language import Desc, Program, Step

__all__ = ["CORPUS"]


def plain(*, trap: bool = False, script: tuple[Any, ...] = ()) -> Desc:
    return ("plain", trap, [], "none", list(script))


def server(*plan: Any, trap: bool = False, name: str = "none") -> Desc:
    return ("server", trap, list(plan), name, [])


def sup(strategy: str, intensity: int, *specs: Any, auto: str = "never") -> Desc:
    return (("sup", (strategy, intensity, auto), list(specs)), True, [], "none", [])


def child(
    label: str,
    restart: str = "permanent",
    desc: Desc | None = None,
    *,
    shutdown: Any = 5000,
    significant: bool = False,
) -> Any:
    return (label, restart, shutdown, significant, server() if desc is None else desc)


def do(label: str, *burst: Any) -> Step:
    return ("do", label, list(burst))


def wait(ms: int) -> Step:
    return ("wait", ms, [])


ROOTS = [("a", plain(trap=True)), ("b", plain()), ("c", plain(trap=True))]


def program(*steps: Step) -> Program:
    return Program(ROOTS, list(steps))


def supervised(desc: Desc, *steps: Step) -> Program:
    """`a` starts the supervisor `s`; after the steps it asks for the children."""
    asks = do("a", ("which_children", "s"), ("count_children", "s"))
    return program(do("a", ("start_link", "s", desc)), *steps, asks)


REASONS = {
    "normal": "normal",
    "shutdown": "shutdown",
    "shutdown_detail": ("shutdown", "detail"),
    "custom": "bad",
    "kill": "kill",
    "killed": "killed",
    "noproc": "noproc",
}

SIGNALS: dict[str, Program] = {
    "link_to_a_dead_pid_trapping": program(do("b", "return"), do("a", ("link", "b"))),
    "link_to_a_dead_pid_not_trapping": program(do("a", "return"), do("b", ("link", "a"))),
    "link_twice_is_one_link": program(
        do("a", ("link", "b"), ("link", "b"), ("unlink", "b")), do("b", "error")
    ),
    "link_again_to_one_that_exits": program(
        do("a", ("link", "b"), ("exit", "b", "bad"), ("link", "b"))
    ),
    "link_after_exit": program(do("a", ("exit", "b", "bad"), ("link", "b"))),
    "monitor_after_exit": program(do("a", ("exit", "b", "bad"), ("monitor", "b", "m"))),
    "call_after_exit": program(
        do("a", ("exit", "b", "bad"), ("is_alive", "b"), ("call", "b", ("echo", 1)))
    ),
    "the_first_exit_signal_counts": program(
        do("a", ("monitor", "b", "m"), ("exit", "b", "bad"), ("exit", "b", "kill"))
    ),
    "unlink_after_exit_of_the_other": program(
        do("a", ("link", "b"), ("exit", "b", "bad"), ("unlink", "b"))
    ),
    "link_to_itself": program(do("b", ("link", "b")), do("b", ("exit", "bad"))),
    "a_chain_of_links": program(
        do("b", ("spawn_link", "d", plain(script=(("spawn_link", "e", plain()), ("link", "c"))))),
        do("a", ("link", "b"), ("monitor", "e", "m1"), ("exit", "e", "bad")),
    ),
    "a_normal_exit_takes_nobody_along": program(
        do("b", ("spawn_link", "d", plain())), do("d", "return"), do("a", ("is_alive", "b"))
    ),
    "spawn_link_of_one_that_exits_at_once": program(
        do("a", ("spawn_link", "d", plain(script=(("exit", "bad"),)))),
        do("b", ("spawn_link", "d", plain(script=(("exit", "bad"),)))),
    ),
    "spawn_monitor_of_one_that_exits_at_once": program(
        do("a", ("spawn_monitor", "m", "d", plain(script=("return",))))
    ),
    "an_error_is_a_reason": program(
        do("a", ("link", "b"), ("monitor", "b", "m")), do("b", "error")
    ),
    "several_monitors_of_one": program(
        do("a", ("monitor", "b", "m1"), ("monitor", "b", "m2"), ("monitor", "b", "m3")),
        do("a", ("demonitor", "m2")),
        do("b", ("exit", "bad")),
    ),
    "monitor_of_a_dead_pid": program(do("b", "return"), do("a", ("monitor", "b", "m"))),
    "monitor_of_a_name": program(
        do("a", ("monitor_name", "m1", "n1")),
        do("b", ("register", "n1")),
        do("a", ("monitor_name", "m2", "n1")),
        do("b", ("unregister", "n1")),
        do("c", ("register", "n1")),
        do("b", ("exit", "bad")),
    ),
    "demonitor_with_flush": program(
        do("b", "return"), do("a", ("monitor", "b", "m"), ("demonitor_flush", "m"))
    ),
    "demonitor_without_flush": program(
        do("b", "return"), do("a", ("monitor", "b", "m"), ("demonitor", "m"))
    ),
    "a_monitor_of_itself": program(do("a", ("monitor", "a", "m"), ("exit", "bad"))),
    "names_are_free_when_the_down_comes": program(
        do("b", ("register", "n1")),
        do("a", ("monitor", "b", "m"), ("register", "n1"), ("exit", "b", "bad")),
        do("a", ("whereis", "n1"), ("register", "n1"), ("whereis", "n1")),
    ),
    "an_alias_ends_by_unalias": program(
        do("a", ("alias", "l1")),
        do("b", ("send_alias", "l1", 1)),
        do("a", ("unalias", "l1"), ("unalias", "l1")),
        do("b", ("send_alias", "l1", 2)),
    ),
    "an_alias_of_one_use": program(
        do("a", ("alias_once", "l1")), do("b", ("send_alias", "l1", 1), ("send_alias", "l1", 2))
    ),
    "an_alias_ends_with_its_monitor": program(
        do("a", ("monitor_alias", "c", "m", "demonitor")),
        do("b", ("send_alias", "m", 1)),
        do("a", ("demonitor", "m")),
        do("b", ("send_alias", "m", 2)),
    ),
    "an_alias_ends_its_monitor": program(
        do("a", ("monitor_alias", "c", "m", "reply_demonitor")),
        do("b", ("send_alias", "m", 1), ("send_alias", "m", 2)),
        do("c", ("exit", "bad")),
    ),
    "an_alias_ends_when_the_monitor_fires": program(
        do("a", ("monitor_alias", "c", "m", "demonitor")),
        do("c", ("exit", "bad")),
        do("b", ("send_alias", "m", 1)),
    ),
    **{
        f"exit_signal_{name}_to_each": program(
            do("a", ("exit", "b", reason)), do("a", ("exit", "c", reason))
        )
        for name, reason in REASONS.items()
    },
    **{
        f"exit_signal_{name}_to_itself": program(
            do("b", ("exit", "b", reason)), do("a", ("exit", "a", reason)), do("a", ("exit", "bad"))
        )
        for name, reason in REASONS.items()
    },
    **{
        f"exit_with_{name}_seen_by_links_and_monitors": program(
            do("a", ("link", "b"), ("monitor", "b", "m")),
            do("b", ("spawn_link", "d", plain()), ("spawn_link", "e", plain(trap=True))),
            do("b", ("exit", reason)),
        )
        for name, reason in REASONS.items()
    },
}

CALLS: dict[str, Program] = {
    "call_of_a_dead_pid": program(do("b", "return"), do("a", ("call", "b", ("echo", 1)))),
    "call_of_a_missing_name": program(do("a", ("call_name", "n1", ("echo", 1)))),
    "call_of_itself": program(do("a", ("call", "a", ("echo", 1)))),
    "an_answer_later": program(
        do("b", ("call", "a", "hold")), do("c", ("call", "a", "hold")), do("a", ("answer", 7))
    ),
    "a_dead_callee_fails_all_its_callers": program(
        do("a", ("start_link", "x", server())),
        do("b", ("call", "x", "hold")),
        do("c", ("call", "x", "hold")),
        do("a", ("exit", "x", "bad")),
    ),
    "a_server_that_stops_or_crashes": program(
        do("a", ("start_link", "x", server()), ("call", "x", ("stop", "normal", 3))),
        do("a", ("start_link", "x", server()), ("call", "x", ("stop", "bad"))),
        do("a", ("start_link", "x", server()), ("call", "x", "error")),
        do("a", ("start_link", "x", server(trap=True)), ("call", "x", ("stop", "bad", 4))),
    ),
    "an_init_that_fails": program(
        *(
            do("a", ("start_link", "x", server(plan)), ("whereis", "n1"))
            for plan in ("ignore", "error", ("stop", "bad"), ("stop", "normal"), ("exit", "odd"))
        )
    ),
    "a_name_that_is_taken": program(
        do("a", ("start_link", "x", server(name="n1")), ("start_link", "y", server(name="n1"))),
        do("a", ("call_name", "n1", ("echo", 1))),
    ),
    "the_exit_of_the_parent_of_a_trapping_server": program(
        do("a", ("start_link", "x", server(trap=True)), ("start_link", "y", server())),
        do("c", ("exit", "x", "bad")),
        do("a", "return"),
    ),
    "the_exit_of_the_parent_waits_behind_messages": program(
        do("a", ("start_link", "x", server(trap=True))),
        do("a", ("send", "x", 1), ("exit", "x", "bad"), ("send", "x", 2)),
    ),
    **{
        f"an_exit_signal_{name}_of_the_parent": program(
            do("a", ("start_link", "x", server(trap=True)), ("start_link", "y", server())),
            do("a", ("exit", "x", reason), ("exit", "y", reason)),
        )
        for name, reason in REASONS.items()
    },
}


def three(strategy: str, *restarts: str, **options: Any) -> Desc:
    """A supervisor of k1, k2, k3."""
    kinds = restarts or ("permanent",) * 3
    return sup(strategy, 3, *(child(f"k{i}", kind, **options) for i, kind in enumerate(kinds, 1)))


STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")

SUPERVISORS: dict[str, Program] = {
    **{
        f"{strategy}_restarts": supervised(
            three(strategy, desc=server(trap=True)), do("k2", "error")
        )
        for strategy in STRATEGIES
    },
    **{
        f"{strategy}_with_temporary_children": supervised(
            three(strategy, "temporary", "permanent", "temporary"), do("k2", "error")
        )
        for strategy in STRATEGIES
    },
    **{
        f"{strategy}_when_a_restart_fails": supervised(
            sup(
                strategy,
                3,
                child("k1", desc=server(trap=True)),
                child("k2", desc=server("ok", ("stop", "bad"), "error")),
                child("k3", desc=server("ok", trap=True)),
            ),
            do("k2", "error"),
        )
        for strategy in STRATEGIES
    },
    **{
        f"{strategy}_when_a_restart_is_ignored": supervised(
            three(strategy, desc=server("ok", "ignore", trap=True)), do("k2", "error")
        )
        for strategy in STRATEGIES
    },
    **{
        f"{restart}_after_{name}": supervised(
            sup("one_for_one", 3, child("k1", restart)), do("k1", ("stop", reason))
        )
        for restart in ("permanent", "transient", "temporary")
        for name, reason in REASONS.items()
    },
    **{
        f"auto_shutdown_{auto}": supervised(
            sup(
                "one_for_one",
                3,
                child("k1", "transient", significant=True),
                child("k2", "temporary", significant=True),
                child("k3", desc=server(trap=True)),
                auto=auto,
            ),
            do("k1", "error"),
            do("k1", "return"),
            do("a", ("which_children", "s")),
            do("k2", "error"),
        )
        for auto in ("any_significant", "all_significant")
    },
    "a_significant_child_that_is_terminated": supervised(
        sup("one_for_one", 3, child("k1", "transient", significant=True), auto="any_significant"),
        do("a", ("terminate_child", "s", "k1")),
    ),
    "more_than_intensity": supervised(
        sup("one_for_one", 1, child("k1", desc=server(trap=True)), child("k2")),
        do("k2", "error"),
        do("k2", ("stop", "normal")),
    ),
    "a_supervisor_under_a_supervisor_gives_up": supervised(
        sup(
            "one_for_one",
            1,
            child("k1", desc=sup("one_for_one", 0, child("u1")), shutdown="infinity"),
            child("k2", desc=server(trap=True)),
        ),
        do("u1", "error"),
        do("u1", "error"),
    ),
    "children_stop_in_reverse": supervised(
        three("one_for_one", desc=server(trap=True)), do("a", ("exit", "s", "bad"))
    ),
    "the_exit_of_a_supervisors_parent": supervised(
        three("one_for_one", desc=server(trap=True)), do("a", "return")
    ),
    "an_exit_signal_from_another_is_ignored": supervised(
        three("one_for_one"), do("b", ("exit", "s", "bad"), ("exit", "s", "shutdown"))
    ),
    "a_killed_supervisor": supervised(
        sup("one_for_one", 3, child("k1"), child("k2", desc=server(trap=True))),
        do("b", ("exit", "s", "kill")),
    ),
    "a_child_that_does_not_start": supervised(
        sup(
            "one_for_one",
            3,
            child("k1", desc=server(trap=True)),
            child("k2", desc=server(trap=True)),
            child("k3", desc=server(("stop", "bad"))),
        )
    ),
    "children_that_are_ignored": supervised(
        sup(
            "one_for_one",
            3,
            child("k1", desc=server("ignore")),
            child("k2", "temporary", desc=server("ignore")),
        ),
        do("a", ("restart_child", "s", "k1"), ("restart_child", "s", "k2")),
    ),
    "brutal_kill": supervised(
        sup("one_for_one", 3, child("k1", desc=server(trap=True), shutdown="brutal_kill")),
        do("a", ("monitor", "k1", "m"), ("terminate_child", "s", "k1")),
    ),
    "terminate_restart_and_delete": supervised(
        three("one_for_one", "permanent", "transient", "temporary"),
        do("a", *(("delete_child", "s", each) for each in ("k1", "k9"))),
        do("a", *(("restart_child", "s", each) for each in ("k1", "k9"))),
        do("a", *(("terminate_child", "s", each) for each in ("k1", "k2", "k3", "k9"))),
        do("a", ("which_children", "s"), ("count_children", "s")),
        do("a", *(("terminate_child", "s", each) for each in ("k1", "k3"))),
        do("a", *(("restart_child", "s", each) for each in ("k1", "k3"))),
        do("a", *(("delete_child", "s", each) for each in ("k2", "k3"))),
    ),
    "start_child": supervised(
        sup("rest_for_one", 3, child("k1")),
        do("a", ("start_child", "s", child("k2", desc=server(trap=True)))),
        do("a", ("start_child", "s", child("k1")), ("start_child", "s", child("k2"))),
        do("a", ("start_child", "s", child("k3", desc=server(("stop", "bad"))))),
        do("a", ("start_child", "s", child("k4", desc=server("ignore")))),
        do("a", ("start_child", "s", child("k5", "temporary", desc=server("ignore")))),
        do("a", ("terminate_child", "s", "k2"), ("start_child", "s", child("k2"))),
        do("k1", "error"),
    ),
    "a_restart_of_a_terminated_child_that_fails": supervised(
        sup("one_for_one", 3, child("k1", desc=server("ok", ("stop", "bad"), "ignore"))),
        do("a", ("terminate_child", "s", "k1")),
        do("a", ("restart_child", "s", "k1"), ("which_children", "s")),
        do("a", ("restart_child", "s", "k1"), ("which_children", "s")),
    ),
    "count_children_counts_the_living": supervised(
        sup("one_for_one", 3, child("k1", "transient"), child("k2")),
        do("a", ("exit", "k1", "shutdown"), ("count_children", "s")),
    ),
    "a_child_that_does_not_stop_is_killed": supervised(
        sup("one_for_one", 3, child("k1", desc=plain(trap=True), shutdown=30)),
        do("a", ("monitor", "k1", "m"), ("terminate_child", "s", "k1")),
        do("b", ("is_alive", "k1")),
        wait(50),
    ),
    "a_supervisor_that_is_killed_while_it_stops_a_child": supervised(
        sup("one_for_one", 3, child("k1", desc=plain(trap=True), shutdown="infinity")),
        do("a", ("exit", "s", "bad")),
        do("b", ("exit", "s", "kill")),
    ),
    "a_child_that_another_process_is_linked_to": supervised(
        three("one_for_one"), do("b", ("link", "k1")), do("a", ("exit", "b", "bad"))
    ),
}


def dynamic(restart: str, intensity: int = 3) -> Desc:
    template = ("any", restart, 5000, False, "worker")
    return sup("simple_one_for_one", intensity, template)


def dynamically(desc: Desc, *steps: Step) -> Program:
    start = [("start_dynamic", "s", each, server(trap=True)) for each in ("k1", "k2")]
    asks = do("a", ("which_children", "s"), ("count_dynamic", "s"))
    return program(do("a", ("start_link", "s", desc), *start), *steps, asks)


DYNAMIC: dict[str, Program] = {
    **{
        f"dynamic_{restart}_after_{name}": dynamically(
            dynamic(restart), do("k1", ("stop", reason)), do("k2", ("exit", reason))
        )
        for restart in ("permanent", "transient", "temporary")
        for name, reason in REASONS.items()
    },
    "dynamic_terminate": dynamically(
        dynamic("permanent"),
        do("a", ("terminate_dynamic", "s", "k1"), ("terminate_dynamic", "s", "b")),
        do("a", ("terminate_dynamic", "s", "k1")),
    ),
    "dynamic_start_that_fails": dynamically(
        dynamic("permanent"),
        do("a", *(("start_dynamic", "s", "k3", server(plan)) for plan in ("ignore", "error"))),
    ),
    "dynamic_restart_that_fails": dynamically(
        dynamic("permanent"),
        do("a", ("start_dynamic", "s", "k3", server("ok", ("stop", "bad"), "error"))),
        do("k3", "error"),
    ),
    "dynamic_more_than_intensity": dynamically(
        dynamic("permanent", 1), do("k1", "error"), do("k2", "error")
    ),
}

CORPUS: Final[dict[str, Program]] = {**SIGNALS, **CALLS, **SUPERVISORS, **DYNAMIC}
"""All of them, by name."""
