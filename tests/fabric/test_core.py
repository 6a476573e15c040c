"""The fabric's core on a network at its worst: what is lost, doubled, late, from another life.

Each test draws what happens: nodes are begun anew, frames are lost, doubled and delivered late and
out of order, one direction or the whole of NATS is gone for a while, a node is paused. Then the
network is good again. The clock is a number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from palaver.transport.fabric import frames
from palaver.transport.fabric.core import Core
from palaver.transport.fabric.events import Arrived, Down, Heard, Up
from palaver.transport.fabric.limits import FabricLimits

LIMITS = FabricLimits(
    net_ticktime_s=2.0, heartbeat_s=0.5, setup_s=0.5, window_bytes=8_192, frame_bytes=4_096,
    max_packet_bytes=50_000, hard_limit_bytes=200_000,
)  # fmt: skip
DELAY_S = 0.01
BOUND_S = LIMITS.net_ticktime_s + 2 * LIMITS.beat_s + DELAY_S
"""A node that is given up hears of it no later, or hears nothing any more."""


class Life:
    """One incarnation of a node: its core, and a history of what it was told."""

    def __init__(self, world: World, name: str, creation: int) -> None:
        self.world = world
        self.name = name
        self.creation = creation
        greeting = f"{name}#{creation}".encode()
        self.core = Core(name, creation, LIMITS, 4_096, world.now, greeting=greeting)
        self.sent = 0
        self.up: dict[str, tuple[int, int]] = {}
        self.got: dict[str, list[tuple[int, int]]] = {}
        self.downs: list[tuple[float, str, str]] = []
        self.paused_to = 0.0
        self.late: list[bytes] = []

    def settle(self) -> None:
        core = self.core
        core.flush(self.world.now)
        while core.events:
            event = core.events.popleft()
            if isinstance(event, Up):
                assert event.link.name not in self.up, "up twice"
                assert event.link.greeting == f"{event.link.name}#{event.link.creation}".encode()
                self.up[event.link.name] = (event.link.creation, event.link.attempt)
                self.got[event.link.name] = []
            elif isinstance(event, Down):
                del self.up[event.link.name]  # only what was up
                self.downs.append((self.world.now, event.link.name, event.reason))
            elif isinstance(event, Arrived):
                self.arrived(event)
        out, core.out = core.out, []
        for target, frame in out:
            self.world.carry(self, target, frame)

    def arrived(self, event: Arrived) -> None:
        name = event.link.name
        assert self.up.get(name) == (event.link.creation, event.link.attempt), "not up, or another"
        for packet in event.packets:
            creation, connection, number, size = struct.unpack_from("!QQQI", packet)
            assert creation == event.link.creation, "from another life"
            assert connection == event.link.attempt, "sent over another connection"
            assert len(packet) == size
            got = self.got[name]
            if got:
                assert number == got[-1][1] + 1, "lost, doubled or out of order"
            else:
                assert number == 1, "the first of the connection is missing"
            got.append((connection, number))

    def send(self, name: str, size: int) -> None:
        link = self.core.links.get(name)
        if link is None:
            return
        numbers = self.world.numbers
        key = (self.name, self.creation, name, link.attempt, link.creation)
        numbers[key] = number = numbers.get(key, 0) + 1
        head = struct.pack("!QQQI", self.creation, link.attempt, number, 28 + size)
        self.core.send(name, head + bytes(size))


def telling(frame: bytes) -> bool:
    """Whether it would do harm if it came again much later: all but heartbeats and ticks."""
    fields = frames.parse(frame)
    return fields[0] != frames.HERE and (fields[0] != frames.DATA or fields[7] != [])


class World:
    """Nodes, a network, a clock."""

    def __init__(self, names: str) -> None:
        self.now = 1000.0
        self.lives: dict[str, Life] = {}
        self.creations = dict.fromkeys(names, 0)
        self.numbers: dict[Any, int] = {}
        self.air: list[tuple[float, int, str, bytes]] = []
        self.old: list[tuple[str, bytes]] = []
        self.count = 0
        self.fate: Callable[[], list[float]] = lambda: [DELAY_S]
        self.cut: set[tuple[str, str]] = set()
        self.next_look = self.now
        for name in names:
            self.begin(name)

    def begin(self, name: str) -> None:
        """Begin a node, anew if there is one."""
        self.creations[name] += 1
        self.lives[name] = Life(self, name, self.creations[name])

    def carry(self, source: Life, target: str | None, frame: bytes) -> None:
        if self.lives[source.name] is not source:
            return
        for name in self.creations if target is None else [target]:
            if name == source.name or (source.name, name) in self.cut:
                continue
            if name not in self.creations:
                continue
            for delay in self.fate():
                self.count += 1
                self.air.append((self.now + delay, self.count, name, frame))
            if telling(frame):
                self.old.append((name, frame))

    def run(self, for_s: float) -> None:
        until = self.now + for_s
        while True:
            self.air.sort()
            due = self.air[0][0] if self.air else float("inf")
            if min(due, self.next_look) > until:
                self.now = until
                return
            if due <= self.next_look:
                self.now = max(self.now, due)
                _, _, name, frame = self.air.pop(0)
                self.deliver(name, frame)
            else:
                self.now = max(self.now, self.next_look)
                self.next_look = self.now + LIMITS.beat_s
                self.look()

    def deliver(self, name: str, frame: bytes) -> None:
        life = self.lives[name]
        if life.paused_to > self.now:
            life.late.append(frame)  # it lies in the socket
            return
        life.core.receive(frame, self.now)
        life.settle()

    def look(self) -> None:
        for life in list(self.lives.values()):
            if life.paused_to > self.now:
                continue
            woken = life.paused_to != 0.0
            life.paused_to = 0.0
            if woken:  # the timer may come before the socket is read
                life.core.look(self.now)
                life.settle()
                late, life.late = life.late, []
                for frame in late:
                    life.core.receive(frame, self.now)
                    life.settle()
            else:
                life.core.look(self.now)
                life.settle()

    def met(self) -> bool:
        """Whether every node is connected with every other one's present life, by the same call."""
        for one in self.lives.values():
            for other in self.lives.values():
                if one is not other:
                    mine, theirs = one.up.get(other.name), other.up.get(one.name)
                    if mine is None or theirs is None:
                        return False
                    if mine != (other.creation, theirs[1]) or theirs[0] != one.creation:
                        return False
        return True


SMALL = st.integers(0, 60)
SIZES = st.one_of(SMALL, st.integers(0, 20_000))


def fates(draw: Callable[[Any], Any], losing: bool) -> Callable[[], list[float]]:
    """What becomes of each frame: it comes, late or twice or not at all."""
    weights = [[DELAY_S]] * 8 + [[0.05], [0.3], [DELAY_S, 0.2]] + ([[], [2.5]] if losing else [])
    seed = draw(st.randoms(use_true_random=False))
    return lambda: list(seed.choice(weights))


class Trouble:
    """What may happen to a world; each method is one thing, drawn by its name."""

    def __init__(self, world: World, draw: Callable[[Any], Any]) -> None:
        self.world = world
        self.draw = draw

    def any(self) -> Life:
        """One of the nodes."""
        return self.world.lives[self.draw(st.sampled_from(sorted(self.world.creations)))]

    def awake(self) -> list[Life]:
        life = self.any()
        return [] if life.paused_to > self.world.now else [life]

    def send(self) -> None:
        for life in self.awake():
            other = self.any().name
            for size in self.draw(st.lists(SIZES, min_size=1, max_size=5)):
                life.send(other, size)
                life.settle()

    def time(self) -> None:
        self.world.run(self.draw(st.sampled_from([1.0, 3.0])))

    def bad_network(self) -> None:
        self.world.fate = fates(self.draw, losing=self.draw(st.booleans()))

    def good_network(self) -> None:
        self.world.fate = lambda: [DELAY_S]

    def cut(self) -> None:
        self.world.cut.add((self.any().name, self.any().name))

    def heal(self) -> None:
        self.world.cut.clear()

    def begin_anew(self) -> None:
        self.world.begin(self.any().name)

    def disconnect(self) -> None:
        for life in self.awake():
            life.core.disconnect(self.any().name, "enough")
            life.settle()

    def pause(self) -> None:
        self.any().paused_to = self.world.now + self.draw(st.sampled_from([0.3, 1.5, 5.0]))

    def nats_away(self) -> None:
        for life in self.awake():
            life.core.writable(self.draw(st.booleans()), self.world.now)
            life.settle()

    def old_frames(self) -> None:
        if self.world.old:
            last = st.sampled_from(self.world.old[-60:])
            for target, frame in self.draw(st.lists(last, max_size=8)):
                self.world.deliver(target, frame)


TROUBLES = ["send"] * 8 + [name for name in vars(Trouble) if name not in {
    "any", "awake"} and not name.startswith("_")]  # fmt: skip


@settings(max_examples=120)
@given(st.data())
def test_whatever_happens_order_holds_within_a_connection_and_all_meet_in_the_end(
    data: st.DataObject,
) -> None:
    world = World(data.draw(st.sampled_from(["ab", "abc"]), label="nodes"))
    world.run(2.0)
    assert world.met(), "at the beginning"
    trouble = Trouble(world, data.draw)
    troubles = st.lists(st.sampled_from(TROUBLES), min_size=10, max_size=40)
    for what in data.draw(troubles, label="troubles"):
        getattr(trouble, what)()
        world.run(data.draw(st.sampled_from([0.0, 0.015, 0.1, 0.6])))
    world.cut.clear()
    world.fate = lambda: [DELAY_S]
    for life in world.lives.values():
        life.core.writable(True, world.now)
        life.settle()
    world.run(12.0)
    assert world.met(), [(life.name, life.up, life.downs[-3:]) for life in world.lives.values()]
    # All that is sent now comes.
    before = {life: {n: len(got) for n, got in life.got.items()} for life in world.lives.values()}
    for life in world.lives.values():
        for other in world.lives:
            for size in (0, 30_000, 5):
                life.send(other, size)
        life.settle()
    world.run(1.0)
    for life in world.lives.values():
        for other in world.lives:
            if other != life.name:
                assert len(life.got[other]) == before[life][other] + 3
    note(f"{world.count} frames")


@settings(max_examples=60)
@given(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["cut", "one way", "stopped", "begun anew"]),
    st.floats(0.0, 2.0),
)
def test_both_sides_hear_of_the_end_in_bounded_time(who: str, fault: str, after_s: float) -> None:
    world = World("ab")
    world.run(2.0 + after_s)
    other = "b" if who == "a" else "a"
    sides = [world.lives["a"], world.lives["b"]]
    assert world.met()
    at = world.now
    if fault == "stopped":
        world.lives[who].core.stop("closing time")
        world.lives[who].settle()
    elif fault == "begun anew":
        world.begin(who)
        sides = [world.lives[other]]
    else:
        world.cut.add((who, other))
        if fault == "cut":
            world.cut.add((other, who))
    world.run(BOUND_S)
    for side in sides:
        assert side.downs, f"{side.name} has not heard of it"
        assert side.downs[0][0] <= at + BOUND_S
    if fault in {"stopped", "begun anew"}:  # nobody has to wait for the silence
        assert all(side.downs[0][0] <= at + LIMITS.heartbeat_s + 2 * DELAY_S for side in sides)


@pytest.mark.parametrize("paused", ["a", "b"])
@pytest.mark.parametrize("timer_first", [True, False])
def test_a_paused_node_is_given_up_and_notices_when_it_wakes(
    paused: str, timer_first: bool
) -> None:
    world = World("ab")
    world.run(2.0)
    other = "b" if paused == "a" else "a"
    world.lives[paused].paused_to = world.now + 5.0
    world.lives[other].send(paused, 10)
    world.lives[other].settle()
    if not timer_first:
        world.next_look += 0.0001
    world.run(4.0)
    assert [each[1] for each in world.lives[other].downs] == [paused]
    assert not world.lives[paused].downs
    world.run(1.0 + 3 * LIMITS.beat_s)
    assert [each[1] for each in world.lives[paused].downs] == [other]
    world.run(2.0)
    assert world.met()


def test_a_short_pause_ends_nothing() -> None:
    world = World("ab")
    world.run(2.0)
    for name in "ab":
        world.lives[name].paused_to = world.now + 1.4
        world.run(3.0)
    assert world.met()
    assert not world.lives["a"].downs
    assert not world.lives["b"].downs


def test_a_node_that_was_busy_for_long_reads_what_has_come_before_it_judges() -> None:
    """Only its own clock was late: the other's frames lie in the socket."""
    world = World("ab")
    world.run(2.0)
    a = world.lives["a"]
    world.now += LIMITS.net_ticktime_s + 0.1
    a.core.look(world.now)
    a.settle()
    assert not a.downs
    world.now += LIMITS.beat_s
    a.core.look(world.now)
    a.settle()
    assert a.downs


def test_whatever_comes_again_much_later_changes_nothing() -> None:
    world = World("ab")
    for again in ("a", "b", "", "b", "a"):
        world.run(3.0)
        for life in world.lives.values():
            for size in (0, 10_000, 3):
                life.send("b" if life.name == "a" else "a", size)
            life.settle()
        world.run(0.5)
        if again:
            world.begin(again)
        else:
            world.lives["a"].core.disconnect("b", "enough")
            world.lives["a"].settle()
    world.run(3.0)
    assert world.met()
    lives = world.lives.values()
    before = [(list(life.downs), {n: list(got) for n, got in life.got.items()}) for life in lives]
    assert len(world.old) > 40
    for target, frame in world.old:
        world.deliver(target, frame)
    world.run(1.0)
    assert [(life.downs, life.got) for life in lives] == before
    assert world.met()


# -- flow control ----------------------------------------------------------------------------------


def test_no_more_than_the_window_is_under_way_and_the_rest_follows_the_acknowledgements() -> None:
    world = World("ab")
    world.run(2.0)
    a, b = world.lives["a"], world.lives["b"]
    link = a.core.links["b"]
    for _ in range(30):
        a.send("b", 3_000)
    a.core.flush(world.now)
    assert link.unacked_bytes <= LIMITS.window_bytes + 4_096
    assert link.waiting_bytes > 50_000
    assert not link.can_send
    a.settle()
    world.run(1.0)
    assert len(b.got["a"]) == 30
    assert link.waiting_bytes == 0
    world.run(LIMITS.net_ticktime_s)
    assert link.unacked_bytes == 0
    assert link.idle
    assert not a.downs


def test_above_the_hard_limit_the_connection_is_given_up_and_both_are_told_why() -> None:
    world = World("ab")
    world.run(2.0)
    a, b = world.lives["a"], world.lives["b"]
    a.core.writable(False, world.now)
    while "b" in a.core.links:
        a.send("b", 20_000)
        assert sum(world.numbers.values()) < 20
    assert a.core.send("b", b"to nobody") is False
    a.core.writable(True, world.now)
    a.settle()
    world.run(0.1)
    assert "which is too much" in a.downs[0][2]
    assert "which is too much" in b.downs[0][2]
    assert a.core.stats.overflows == 1


def test_what_waits_while_nats_is_away_follows_when_it_is_back() -> None:
    world = World("ab")
    world.run(2.0)
    a, b = world.lives["a"], world.lives["b"]
    a.core.writable(False, world.now)
    a.send("b", 10)
    a.send("b", 10)
    a.settle()
    world.run(1.0)
    assert b.got["a"] == []
    a.core.writable(True, world.now)
    a.settle()
    world.run(0.1)
    assert len(b.got["a"]) == 2
    assert not a.downs
    assert not b.downs


def test_a_turn_of_many_packets_leaves_as_few_frames() -> None:
    world = World("ab")
    world.run(2.0)
    a, b = world.lives["a"], world.lives["b"]
    before = a.core.stats.frames_out
    for _ in range(100):
        a.send("b", 3)
    a.settle()
    assert a.core.stats.frames_out == before + 2  # 31 bytes and 16 each, in 4096
    world.run(0.1)
    assert len(b.got["a"]) == 100


# -- who is met ------------------------------------------------------------------------------------


def test_nodes_of_other_islands_are_met_only_when_asked_for() -> None:
    world = World("abc")

    def same_island(me: str) -> Callable[[str, bytes], bool]:
        return lambda name, payload: payload == world.lives[me].core.payload

    for name, island in (("a", b"north"), ("b", b"south"), ("c", b"north")):
        core = world.lives[name].core
        core._meets = same_island(name)
        core.announce(island, world.now)
        world.lives[name].settle()
    world.run(3.0)
    assert set(world.lives["a"].up) == {"c"}
    assert set(world.lives["b"].up) == set()
    world.lives["c"].core.want("b", world.now)  # it cannot call b itself: it asks to be called
    world.lives["c"].settle()
    world.run(1.0)
    assert set(world.lives["b"].up) == {"c"}
    world.lives["a"].core.want("b", world.now)
    world.lives["a"].settle()
    world.run(1.0)
    assert set(world.lives["b"].up) == {"a", "c"}
    world.begin("b")
    world.lives["b"].core._meets = lambda name, payload: False
    world.run(3.0)
    assert set(world.lives["b"].up) == {"a", "c"}, "asked for once, met as long as it is there"


def test_what_is_announced_is_heard_by_all() -> None:
    world = World("ab")
    heard: list[tuple[str, int, bytes]] = []
    core = world.lives["b"].core
    world.lives["a"].core.announce(b"draining", world.now)
    core.receive(frames.here("a", 1, b"draining"), world.now)
    heard += [tuple(event) for event in core.events if isinstance(event, Heard)]
    assert heard == [("a", 1, b"draining")]
    known = core.neighbours.get("a")
    assert known is not None
    assert (known.payload, known.heard_s) == (b"draining", world.now)
    with pytest.raises(ValueError, match="4096"):
        core.announce(bytes(4_097), world.now)
    with pytest.raises(ValueError, match="65536"):
        core.greet(bytes(65_537))


def test_names_beyond_the_limit_are_not_met_until_old_ones_are_long_gone() -> None:
    limits = FabricLimits(max_nodes=3)
    core = Core("m", 1, limits, 4_096, 0.0)
    for number in range(5):
        core.receive(frames.here(f"n{number}", 1, b""), 1.0 + number)
    assert [known.name for known in core.neighbours.all()] == ["n0", "n1", "n2"]
    core.receive(frames.here("late", 1, b""), 1_000.0)
    assert [known.name for known in core.neighbours.all()] == ["n1", "n2", "late"]


# -- what must not come ----------------------------------------------------------------------------

PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10) | st.binary(max_size=3) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=9),
    max_leaves=12,
)


@settings(max_examples=100)
@given(st.lists(st.one_of(st.binary(max_size=40), PLAIN.map(frames.dumps)), max_size=5))
def test_no_bytes_disturb_a_node(junk: list[bytes]) -> None:
    world = World("ab")
    world.run(1.0)
    for raw in junk:
        for life in world.lives.values():
            life.core.receive(raw, world.now)
            life.core.out.clear()
            life.core.events = type(life.core.events)(
                event for event in life.core.events if not isinstance(event, Heard | Arrived)
            )
            life.settle()
    world.run(3.0)
    assert all(len(life.up) <= 1 for life in world.lives.values())


def link_of(world: World) -> tuple[Any, ...]:
    link = world.lives["b"].core.links["a"]
    return ("a", link.creation, 1, link.attempt)


@pytest.mark.parametrize(
    ("sequence", "acknowledged", "packets", "why"),
    [
        (1, 99, [b"x"], "acknowledged and was not sent"),
        (1, 0, ["x"], "a packet is bytes"),
        (1, 0, [[1, 2, 3]], "a packet is bytes"),
        (1, 0, [[-1, b"x"]], "bytes"),
        (1, 0, [[60_000, b"x"]], "60001 bytes"),
        (1, 0, [[5, b"x"], b"y"], "between the pieces"),
        (2, 0, [b"x"], "frame 1 is missing"),
        (1, 0, [], "frame 1 is missing"),
    ],
)
def test_a_frame_that_makes_no_sense_ends_its_connection_and_says_why(
    sequence: int, acknowledged: int, packets: list[Any], why: str
) -> None:
    world = World("ab")
    world.run(2.0)
    bad = frames.data(*link_of(world), sequence, acknowledged, packets)
    world.deliver("b", bad)
    world.run(0.1)
    assert why in world.lives["b"].downs[0][2]
    assert why in world.lives["a"].downs[0][2]
    world.run(2.0)
    assert world.met()


def test_a_frame_of_no_connection_is_answered_but_not_each_one() -> None:
    core = Core("b", 1, LIMITS, 4_096, 0.0)
    for _ in range(5):
        core.receive(frames.data("a", 3, 1, 7, 1, 0, [b"x"]), 1.0)
    assert core.out == [("a", frames.bye("b", 1, 3, 7, "there is no such connection"))]
    core.receive(frames.bye("a", 3, 1, 7, "no"), 1.0)
    core.receive(frames.data("a", 3, 2, 7, 1, 0, [b"x"]), 5.0)  # meant for another life
    assert len(core.out) == 1
    assert not core.events
    assert core.stats.strays == 6


def test_another_node_of_the_same_name_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    core = Core("b", 5, LIMITS, 4_096, 0.0)
    core.receive(frames.here("b", 4, b""), 1.0)  # an earlier life of ours
    core.receive(frames.here("b", 5, b""), 1.0)
    assert core.stats.conflicts == 0
    core.receive(frames.here("b", 6, b""), 1.0)
    core.receive(frames.here("b", 6, b""), 1.5)
    assert core.stats.conflicts == 2
    assert capsys.readouterr().out.count("a name of its own") == 1
    core.receive(frames.hello("c", 1, 1, 100, b""), 2.0)  # it is for us to call
    assert core.stats.conflicts == 3
    assert not core.out


def test_a_node_of_an_earlier_protocol_is_told_so() -> None:
    core = Core("b", 1, LIMITS, 4_096, 0.0)
    old = frames.dumps([frames.HELLO, 0, "a", 1, 1, 100, b""])
    core.receive(old, 1.0)
    assert core.out == [("a", frames.bye("b", 1, 1, 1, "too old"))]


def test_fields_of_a_later_version_are_ignored() -> None:
    core = Core("b", 1, LIMITS, 4_096, 0.0)
    core.receive(frames.dumps([frames.HELLO, 2, "a", 1, 1, 100, b"hi", {"new": 1}]), 1.0)
    (target, answer), = core.out  # fmt: skip
    assert target == "a"
    assert frames.parse(answer)[0] == frames.WELCOME
    core.receive(frames.dumps([frames.DATA, "a", 1, 1, 1, 1, 0, [b"x"], "more"]), 1.0)
    assert [type(event) for event in core.events] == [Up, Arrived]


def pair() -> tuple[World, Life, Life]:
    """Two nodes in their second life, connected by a's second attempt of it."""
    world = World("ab")
    world.begin("a")
    world.begin("b")
    world.run(2.0)
    world.lives["a"].core.disconnect("b", "once")
    world.lives["a"].settle()
    world.run(2.0)
    assert world.met()
    return world, world.lives["a"], world.lives["b"]


def test_only_the_goodbye_of_this_very_connection_ends_it() -> None:
    world, a, _ = pair()
    attempt = a.core.links["b"].attempt
    a.downs.clear()
    for creation, to, number in ((1, 2, attempt), (2, 1, attempt), (2, 2, attempt - 1)):
        world.deliver("a", frames.bye("b", creation, to, number, "not meant"))
        assert not a.downs
    world.deliver("a", frames.bye("b", 2, 2, attempt, "meant"))
    assert [reason for _, _, reason in a.downs] == ["b says: meant"]


def test_a_frame_that_comes_twice_counts_once() -> None:
    world, a, b = pair()
    a.send("b", 5)
    a.settle()
    last = world.air[-1][3]
    world.run(0.1)
    world.deliver("b", last)
    assert len(b.got["a"]) == 1
    assert "a" in b.up


def test_both_are_up_without_waiting_for_a_tick() -> None:
    world = World("ab")
    world.run(LIMITS.beat_s + 5 * DELAY_S)
    assert world.met()


def test_a_welcome_to_an_earlier_attempt_connects_nothing() -> None:
    core = Core("a", 1, LIMITS, 4_096, 0.0)
    for at_s in (0.0, 0.6):  # the first attempt has had its time by then
        core.look(at_s)
        core.receive(frames.here("b", 1, b""), at_s)
    core.look(0.9)
    core.receive(frames.here("b", 1, b""), 1.0)
    hellos = [frames.parse(frame) for name, frame in core.out if name == "b"]
    assert [fields[4] for fields in hellos] == [1, 2]
    core.receive(frames.welcome("b", 1, 1, 1, 100, b""), 1.1)
    core.receive(frames.welcome("b", 1, 9, 2, 100, b""), 1.1)
    assert not core.links
    core.receive(frames.welcome("b", 1, 1, 2, 100, b""), 1.1)
    assert list(core.links) == ["b"]


def test_a_call_says_that_the_connection_before_is_over() -> None:
    world, a, b = pair()
    attempt = a.core.links["b"].attempt
    b.downs.clear()
    world.deliver("b", frames.hello("a", 2, attempt + 1, 100, b"a#2"))
    assert [reason for _, _, reason in b.downs] == ["a has connected again"]


def test_what_an_earlier_life_says_of_itself_is_not_told() -> None:
    core = Core("b", 1, LIMITS, 4_096, 0.0)
    core.receive(frames.here("c", 5, b"up"), 1.0)
    core.receive(frames.here("c", 4, b"leaving"), 1.1)
    assert [tuple(event) for event in core.events] == [("c", 5, b"up")]
    known = core.neighbours.get("c")
    assert known is not None
    assert (known.creation, known.payload) == (5, b"up")
