"""Whatever is linked to and watches whatever: a model of what Erlang's signals must do."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import World, run

from palaver.actors.runtime import (
    KILL,
    KILLED,
    NORMAL,
    SHUTDOWN,
    Down,
    Exit,
    GenServer,
    Pid,
)

COUNT = 8


class Node(GenServer):
    """Does what it is told, and remembers the signals it saw."""

    def init(self, trap: bool, seen: list[Any]) -> None:
        self.trap_exit, self.seen = trap, seen

    def handle_cast(self, message: Any) -> None:
        message(self)

    def handle_info(self, message: Any) -> None:
        self.seen.append(message)


def spread(
    links: set[frozenset[int]], trapping: list[bool], victim: int, reason: Any
) -> tuple[dict[int, Any], set[tuple[int, int]]]:
    """Who dies with which reasons possible, and which (trapper, dead) pairs see an exit."""
    dead = {victim: reason}
    queue = [victim]
    while queue:
        one = queue.pop()
        if dead[one] is NORMAL:
            continue
        for pair in links:
            if one in pair:
                (other,) = pair - {one}
                if not trapping[other] and other not in dead:
                    dead[other] = dead[one]
                    queue.append(other)
    exits = {
        (other, one)
        for one in dead
        for pair in links
        if one in pair
        for other in pair - {one}
        if trapping[other] and other not in dead
    }
    return dead, exits


@given(
    trapping=st.lists(st.booleans(), min_size=COUNT, max_size=COUNT),
    pairs=st.sets(
        st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)).filter(
            lambda pair: pair[0] != pair[1]
        ),
        max_size=14,
    ),
    watches=st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)), max_size=10),
    victim=st.integers(0, COUNT - 1),
    how=st.sampled_from(["kill", "stop odd", "stop normal", "stop shutdown"]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=150, deadline=None)
def test_one_death_does_what_the_links_and_monitors_say(
    trapping: list[bool],
    pairs: set[tuple[int, int]],
    watches: list[tuple[int, int]],
    victim: int,
    how: str,
    seed: int,
) -> None:
    async def test(w: World) -> None:
        from palaver.actors.runtime import Stop

        class Subject(Node):
            def handle_cast(self, message: Any) -> Any:
                return message(self)

        seen: list[list[Any]] = [[] for _ in range(COUNT)]
        pids = [w.node.spawn(Subject, trapping[n], seen[n], name=f"n{n}") for n in range(COUNT)]
        for a, b in pairs:
            w.node.cast(pids[a], lambda s, b=b: s.link(pids[b]))
        for a, b in watches:
            w.node.cast(pids[a], lambda s, b=b: s.monitor(pids[b]) and None)
        await w.settle()
        links = {frozenset(pair) for pair in pairs}
        if how == "kill":
            w.node.exit(pids[victim], KILL)
            reason: Any = KILLED
        else:
            reason = {"odd": "odd", "normal": NORMAL, "shutdown": SHUTDOWN}[how.split()[1]]
            w.node.cast(pids[victim], lambda s: Stop(reason))
        await w.settle()

        dead, exits = spread(links, trapping, victim, reason)
        assert {n for n in range(COUNT) if not w.node.is_alive(pids[n])} == set(dead)
        index = {pid: n for n, pid in enumerate(pids)}
        for n in range(COUNT):
            if n in dead:
                assert w.node.whereis(f"n{n}") is None
                continue
            got_exits = [(n, index[m.sender]) for m in seen[n] if isinstance(m, Exit)]
            assert sorted(got_exits) == sorted(pair for pair in exits if pair[0] == n)
            downs = sorted(index[m.pid] for m in seen[n] if isinstance(m, Down))
            assert downs == sorted(b for a, b in watches if a == n and b in dead)
            assert all(m.reason is reason or m.reason == reason for m in seen[n])
        # Nobody keeps a link or a monitor to the dead.
        alive: set[Pid] = {info.pid for info in w.node.processes()}
        for info in w.node.processes():
            assert set(info.links) <= alive
            assert set(info.monitors) <= alive

    run(test, shuffle=random.Random(seed))
