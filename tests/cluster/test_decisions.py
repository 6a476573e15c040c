"""What nodes decide: at most one tries, usually; somebody does, always; nobody on old news."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.cluster.decisions import (
    Announce,
    Campaign,
    Decision,
    GiveUp,
    HandOver,
    NodeView,
    PartitionView,
    ReplicaView,
    Role,
    Situation,
    TakeOver,
    candidates,
    decide,
    proxy_target,
    vacant_since,
)
from palaver.actors.cluster.records import OwnerRecord
from palaver.actors.cluster.settings import ClusterSettings

SETTINGS = ClusterSettings("c", 4)
NAMES = ("a", "b", "c")

times = st.floats(0.0, 100.0)
creations = st.integers(1, 3)
nodes = st.builds(
    NodeView, st.one_of(st.none(), creations), st.one_of(st.none(), times), willing=st.booleans()
)
owners = st.one_of(
    st.none(),
    st.builds(
        OwnerRecord,
        st.sampled_from((*NAMES, "x")),
        creations,
        st.integers(1, 9),
        st.sampled_from(("taking", "leading", "free")),
    ),
)
views = st.builds(
    PartitionView,
    st.permutations(NAMES).map(tuple),
    owners,
    times,
    st.one_of(st.none(), st.builds(ReplicaView, st.booleans(), st.booleans(), st.integers(0, 9))),
    role=st.sampled_from(list(Role)),
    role_since_s=times,
    epoch=st.integers(0, 9),
    announced=st.booleans(),
    not_before_s=times,
    jitter_s=st.floats(0.0, 0.25),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    known = {name: draw(nodes) for name in NAMES}
    creation = draw(creations)
    known["a"] = NodeView(creation, None, willing=draw(st.booleans()))
    return Situation("a", creation, draw(times), draw(st.booleans()), known, SETTINGS)


@given(situations(), views)
def test_nobody_campaigns_who_may_not(situation: Situation, view: PartitionView) -> None:
    action = decide(situation, view).action
    if isinstance(action, Campaign):
        assert view.role is Role.FOLLOWING
        assert situation.reachable
        assert view.replica is not None
        assert view.replica.ready
        assert "a" in view.replicas
        assert situation.now_s >= view.not_before_s
        assert action.epoch > view.replica.epoch
        assert view.owner is None or action.epoch > view.owner.epoch
        owner = view.owner
        if owner is not None and owner.node in ("b", "c") and owner.phase == "leading":
            node = situation.nodes[owner.node]
            is_gone = node.lost_s is not None or node.creation is None
            assert is_gone or (node.creation is not None and node.creation > owner.creation)
    if isinstance(action, TakeOver):
        assert view.owner is not None
        assert (view.owner.node, view.owner.creation) == ("a", situation.creation)
        assert view.owner.epoch == action.epoch


@given(situations(), views)
def test_whoever_leads_without_right_gives_up(situation: Situation, view: PartitionView) -> None:
    action = decide(situation, view).action
    if view.role in (Role.FOLLOWING, Role.STEPPING_DOWN):
        assert not isinstance(action, (GiveUp, HandOver, Announce))
        return
    owner = view.owner
    newer = owner is not None and owner.epoch > view.epoch
    if newer or not situation.reachable:
        assert isinstance(action, GiveUp)
        assert not action.free, "the register is somebody else's, or not to be reached"
    if view.role is Role.LEADING and (view.replica is None or not view.replica.leading):
        assert isinstance(action, GiveUp)


@given(situations(), views)
def test_what_may_become_true_by_time_alone_is_looked_at_again(
    situation: Situation, view: PartitionView
) -> None:
    """Level-triggered: whatever is decided later without news, a wake-up was asked for."""
    decision = decide(situation, view)
    if decision.action is not None:
        return
    later = replace(situation, now_s=situation.now_s + 1000.0)
    if decide(later, view).action is not None:
        assert decision.again_s is not None
        assert decision.again_s > situation.now_s


@given(situations(), views)
def test_a_hand_over_goes_to_a_replica_that_is_there(
    situation: Situation, view: PartitionView
) -> None:
    action = decide(situation, view).action
    if isinstance(action, HandOver):
        node = situation.nodes[action.to]
        assert action.to in view.replicas
        assert action.to != "a"
        assert node.lost_s is None
        assert node.creation is not None
        assert node.willing or "a" not in view.replicas, "else it would come back"


@given(situations(), views)
def test_messages_go_only_to_who_says_that_it_leads(
    situation: Situation, view: PartitionView
) -> None:
    target = proxy_target(situation, view)
    if target is not None:
        assert view.owner is not None
        assert (view.owner.node, view.owner.phase) == (target, "leading")
        assert target != "a"
        assert situation.nodes[target].lost_s is None


# -- all nodes together --------------------------------------------------------------------------


def seen_by(name: str, up: set[str], now_s: float, lost_s: float) -> Situation:
    known = {
        each: NodeView(1, None if each in up or each == name else lost_s, willing=True)
        for each in NAMES
    }
    return Situation(name, 1, now_s, True, known, SETTINGS)


def of(name: str, owner: OwnerRecord | None, order: Any, jitter_s: float) -> PartitionView:
    return PartitionView(order, owner, 0.0, ReplicaView(True, False, 3), jitter_s=jitter_s)


@given(
    st.permutations(NAMES).map(tuple),
    st.sampled_from(NAMES),
    st.lists(st.floats(0.0, 0.25), min_size=3, max_size=3),
    st.sampled_from(("taking", "leading", "free")),
)
def test_after_a_loss_the_first_that_is_left_tries_alone_and_in_time(
    order: tuple[str, ...], dead: str, jitters: list[float], phase: Any
) -> None:
    owner = OwnerRecord(dead, 1, 3, phase)
    up = set(NAMES) - {dead}
    begins: dict[str, float] = {}
    for name, jitter_s in zip(sorted(up), jitters, strict=False):
        view = of(name, owner, order, jitter_s)
        now_s = 10.0
        for _ in range(20):
            decision = decide(seen_by(name, up, now_s, 10.0), view)
            if isinstance(decision.action, Campaign):
                begins[name] = now_s
                break
            assert decision.again_s is not None
            now_s = decision.again_s
    first, second = (name for name in order if name in up)
    assert begins[first] <= 10.0 + SETTINGS.grace_s + 0.25
    if phase != "free":  # then it was free long ago, and both are late
        assert begins[first] >= 10.0 + SETTINGS.grace_s, "a short loss costs nothing"
        assert begins[second] - begins[first] >= SETTINGS.rank_delay_s - 0.25


@given(situations(), views)
def test_somebody_who_is_ready_always_comes_to_try(
    situation: Situation, view: PartitionView
) -> None:
    """No vacancy is left alone: the one who is ready campaigns sooner or later."""
    following = replace(view, role=Role.FOLLOWING)
    if vacant_since(situation, following) is None or not situation.reachable:
        return
    if following.replica is None or not following.replica.ready:
        return
    assert "a" in candidates(situation, following)
    later = replace(situation, now_s=10_000.0)
    assert isinstance(decide(later, following).action, (Campaign, TakeOver))


def test_a_leader_announces_itself_until_it_is_known() -> None:
    leading = PartitionView(
        NAMES,
        OwnerRecord("a", 1, 4, "taking"),
        0.0,
        ReplicaView(True, True, 4),
        role=Role.LEADING,
        epoch=4,
        not_before_s=7.0,
    )
    assert decide(seen_by("a", set(NAMES), 5.0, 0.0), leading) == Decision(again_s=7.0)
    assert decide(seen_by("a", set(NAMES), 7.0, 0.0), leading).action == Announce()


def test_a_take_over_that_takes_too_long_is_freed() -> None:
    taking = PartitionView(
        NAMES,
        OwnerRecord("a", 1, 4, "taking"),
        0.0,
        ReplicaView(True, False, 3),
        role=Role.TAKING_OVER,
        epoch=4,
    )
    early = decide(seen_by("a", set(NAMES), 5.0, 0.0), taking)
    assert early == Decision(again_s=SETTINGS.takeover_s)
    late = decide(seen_by("a", set(NAMES), SETTINGS.takeover_s, 0.0), taking)
    assert isinstance(late.action, GiveUp)
    assert late.action.free
    # The others take it for vacant from the same time on, and the one that hangs goes last.
    other = of("b", taking.owner, NAMES, 0.0)
    situation = seen_by("b", set(NAMES), SETTINGS.takeover_s, 0.0)
    assert vacant_since(situation, other) == SETTINGS.takeover_s
    assert candidates(situation, other) == ("b", "c", "a")


def test_an_owner_that_has_begun_anew_has_forgotten_that_it_was_one() -> None:
    owner = OwnerRecord("a", 1, 4, "leading")
    view = replace(of("b", owner, NAMES, 0.0), owner_since_s=3.0)
    situation = seen_by("b", set(NAMES), 5.0, 0.0)
    assert vacant_since(situation, view) is None
    anew = replace(situation, nodes={**situation.nodes, "a": NodeView(2, None)})
    assert vacant_since(anew, view) == 3.0
    gone = replace(situation, nodes={"b": NodeView(1, None)})
    assert vacant_since(gone, view) == 3.0
