"""The sans-I/O core against a model server: lost connections, lost answers, crashes, refusals."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from client_kit import DEVICE, ME, PEER, Line, ModelServer
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.transport import wire
from palaver.transport.client import (
    AuthFailed,
    BadMessage,
    Limits,
    MembersChanged,
    MemoryState,
    Message,
    OutboxFull,
    Presence,
    ProtocolViolation,
    Replaced,
    RequestTimeout,
    Revoked,
    Unreachable,
)
from palaver.transport.client import effects as fx
from palaver.transport.client.core import Core

CONV = wire.direct_conversation(ME, PEER)


class World:
    """A core, its durable state, a model server, and the frames between them."""

    def __init__(self, **limits: int) -> None:
        self.server = ModelServer(verify=False)
        self.state = MemoryState()
        self.limits = Limits(**limits)
        self.now_s = 1000.0
        self.line: Line | None = None
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.effects: list[Any] = []
        self.acked: list[int] = []
        self.runs = 0
        self.start()

    def start(self) -> None:
        self.runs += 1
        self.disconnect_wire()
        self.core = Core(
            ME,
            DEVICE,
            lambda _payload: bytes(64),
            self.state.open(ME, DEVICE),
            first_cid=1,
            chance=random.Random(self.runs),
            limits=self.limits,
        )

    def turn(self) -> None:
        """Keep, finish, and transmit, as the shell does."""
        while (turn := self.core.begin()) is not None:
            if turn.change is not None:
                self.state.commit(turn.change)
            self.core.finish(turn)
            self.perform(turn.effects)
        while (frame := self.core.transmit(self.now_s)) is not None:
            assert len(frame) <= wire.MAX_FRAME_BYTES
            self.up.append(frame)

    def perform(self, effects: list[Any]) -> None:
        self.effects += effects
        self.acked += [each.cid for each in effects if isinstance(each, fx.Acked)]
        if any(isinstance(each, fx.Drop) for each in effects):
            self.disconnect()

    def connect(self) -> None:
        if self.line is None and self.core.failed is None:
            self.line = Line(self.server)
            self.core.connected(self.now_s)
            self.turn()

    def disconnect_wire(self) -> None:
        if self.line is not None:
            self.line.lost()
        self.line = None
        self.up.clear()
        self.down.clear()

    def disconnect(self, code: int | None = None) -> None:
        if self.line is not None:
            self.disconnect_wire()
            self.core.disconnected(code, "", self.now_s)
            self.turn()

    def carry_up(self) -> None:
        if self.line is not None and self.up:
            self.line.received(self.up.popleft())
        if self.line is not None:
            self.down.extend(self.line.frames())

    def carry_down(self) -> None:
        if self.line is not None:
            self.down.extend(self.line.frames())
        if self.down:
            self.core.received(self.down.popleft(), self.now_s)
            self.turn()

    def settle(self) -> None:
        """Let everything that can happen happen, on a good connection."""
        for _ in range(1000):
            self.now_s += 60.0  # past every pause
            self.connect()
            self.turn()
            if not self.up and not self.down and not (self.line and self.line.out):
                return
            while self.up:
                self.carry_up()
            while self.down or (self.line and self.line.out):
                self.carry_down()
        raise AssertionError("it never settles")

    def read_all(self) -> list[Any]:
        events = []
        while (event := self.core.take()) is not None:
            events.append(event)
            self.core.handled(event.position)
        self.turn()
        return events

    def found(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.effects if isinstance(each, kind)]


class Player:
    """Plays a tape of actions on a world and checks after each what must hold."""

    def __init__(self) -> None:
        self.world = World(in_flight=4)
        self.world.server.refuse = self._refuse
        self.out: deque[int] = deque()
        self.shown: list[int] = []
        self.kept_position = 0
        self.enqueued: set[int] = set()
        self.refusals = 0
        self.refused_ever = False

    def _refuse(self, op: wire.Request) -> bytes | None:
        if self.refusals and isinstance(op, wire.Send):
            self.refusals -= 1
            self.refused_ever = True
            return wire.error(op.id, wire.ErrorCode.OVERLOADED, "later", 100)
        return None

    def send(self) -> None:
        self.enqueued.add(self.world.core.send(PEER, "text", b"x", None))
        self.world.turn()

    def deliver(self) -> None:
        self.world.server.deliver()

    def take(self) -> None:
        event = self.world.core.take()
        if event is not None:
            assert event.position > self.kept_position, "shown again after it was handled"
            assert not self.out or event.position > self.out[-1], "out of order"
            self.out.append(event.position)
            self.shown.append(event.position)

    def handle(self) -> None:
        if self.out:
            self.kept_position = self.out.popleft()
            self.world.core.handled(self.kept_position)
            self.world.turn()

    def up(self) -> None:
        self.world.carry_up()

    def down(self) -> None:
        self.world.carry_down()

    def dial(self) -> None:
        self.world.connect()

    def connect(self) -> None:
        self.world.connect()
        for _ in range(4):
            if not self.world.core.session.ready:
                self.up()
                self.down()

    def disconnect(self) -> None:
        self.world.disconnect()

    def refuse(self) -> None:
        self.refusals += 1

    def wait(self) -> None:
        self.world.now_s += 1.0
        self.world.core.tick(self.world.now_s)
        self.world.turn()

    def deafen(self) -> None:
        self.world.server.deaf_acks += 1

    def crash(self) -> None:
        self.out.clear()
        self.world.start()

    def crash_before_keeping(self) -> None:
        # What was not kept is gone with the program; nothing of it may have left.
        self.world.core.send(PEER, "text", b"never kept", None)
        while (frame := self.world.core.transmit(self.world.now_s)) is not None:
            self.world.up.append(frame)
        while self.world.up:
            self.world.carry_up()
        self.crash()

    def finish(self) -> None:
        self.refusals = 0
        self.world.server.deaf_acks = 0
        world = self.world
        for _ in range(2):
            while self.out:
                self.handle()
            world.settle()
            while world.core.inbox.unhandled:
                self.take()
                self.handle()
        # An acknowledgement that was not heard is repeated on the next connection.
        world.disconnect()
        world.settle()


NAMES = ["connect", "send", "up", "down", "deliver", "take", "handle", "disconnect", "dial"]
NAMES += ["refuse", "wait", "deafen", "crash", "crash_before_keeping"]


@settings(max_examples=200, deadline=None)
@given(
    # Long tapes: short ones seldom get past a handshake and into trouble.
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 6)), min_size=30, max_size=100)
)
def test_nothing_is_lost_doubled_or_out_of_order(actions: list[tuple[str, int]]) -> None:
    player = Player()
    for name, count in actions:
        for _ in range(count):
            getattr(player, name)()
    player.finish()

    world, server = player.world, player.world.server
    stored = [cid for cid, _ in server.stored]
    assert len(set(stored)) == len(stored)
    assert set(stored) == player.enqueued
    if not player.refused_ever:
        assert stored == sorted(stored)
    assert len(world.core.outbox) == 0
    assert not world.state.open(ME, DEVICE).outbox
    assert set(player.shown) == set(range(1, server.position + 1))
    if world.runs == 1:
        assert player.shown == sorted(set(player.shown))
        assert sorted(world.acked) == sorted(player.enqueued)
    assert server.acked == server.position
    assert not server.queue


def ready(**limits: int) -> World:
    world = World(**limits)
    world.settle()
    assert world.found(fx.Ready)
    return world


def test_a_message_is_kept_before_it_is_sent() -> None:
    world = ready()
    cid = world.core.send(PEER, "text", b"hello", None)
    assert world.core.transmit(world.now_s) is None
    turn = world.core.begin()
    assert turn is not None
    assert turn.change is not None
    assert [item.cid for item in turn.change.added] == [cid]
    world.core.finish(turn)
    assert world.core.transmit(world.now_s) is not None


def test_low_is_the_lowest_id_without_a_durable_answer() -> None:
    world = ready()
    cids = [world.core.send(PEER, "text", b"x", None) for _ in range(3)]
    world.settle()
    world.core.send(PEER, "text", b"x", None)
    world.settle()
    sends = [op for op in world.server.requests if isinstance(op, wire.Send)]
    assert [op.low for op in sends] == [cids[0]] * 3 + [cids[2] + 1]


def test_seen_and_after_are_what_the_sender_had_seen() -> None:
    world = ready()
    for _ in range(3):
        world.server.deliver()
    world.settle()
    world.core.send(PEER, "text", b"before reading", None)
    first, second = world.core.take(), world.core.take()
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    world.core.send(PEER, "text", b"after two", None)
    world.settle()
    sends = [op for op in world.server.requests if isinstance(op, wire.Send)]
    assert [op.seen for op in sends] == [0, 2]
    assert [op.after for op in sends] == [0, second.stamp]


def test_own_messages_count_as_seen_once_everything_before_them_was() -> None:
    world = ready()
    world.server.deliver()
    world.core.send(PEER, "text", b"mine", None)
    world.settle()
    assert world.core.knowledge.seen(CONV) == 0
    world.read_all()
    assert world.core.knowledge.seen(CONV) == 2
    assert world.state.open(ME, DEVICE).seen[CONV] > 0


def test_what_was_seen_survives_a_restart() -> None:
    world = ready()
    world.server.deliver()
    world.settle()
    world.read_all()
    world.start()
    assert world.core.knowledge.seen(CONV) == 1
    assert world.core.knowledge.after > 0


def test_an_acknowledgement_is_cumulative_and_follows_the_contiguous_prefix() -> None:
    world = ready()
    for _ in range(4):
        world.server.deliver()
    world.settle()
    events = [world.core.take() for _ in range(4)]
    world.core.handled(events[2].position)  # type: ignore[union-attr]
    world.settle()
    assert world.server.acked == 0
    world.core.handled(events[0].position)  # type: ignore[union-attr]
    world.core.handled(events[1].position)  # type: ignore[union-attr]
    world.settle()
    assert world.server.acked == 3
    acks = [op.pos for op in world.server.requests if isinstance(op, wire.Ack)]
    assert acks == [3]


def test_an_acknowledgement_that_was_not_heard_is_repeated() -> None:
    world = ready()
    for _ in range(3):
        world.server.deliver()
    world.settle()
    world.server.deaf_acks = 2  # the one now, and the one right after the next sign-in
    world.read_all()
    world.settle()
    assert world.server.acked == 0
    world.disconnect()
    world.settle()
    assert world.server.acked == 3
    assert world.core.take() is None


def test_unknown_events_and_operations_are_passed_over() -> None:
    world = ready()
    world.server.deliver_event(wire.encode([99, "from the future"]))
    world.server.deliver(b"after it")
    assert world.line is not None
    world.line.out.append(wire.encode([120, 1, 2]))
    world.settle()
    assert [event.body for event in world.read_all()] == [b"after it"]
    world.settle()
    assert world.server.acked == 2


def test_a_server_set_back_to_a_backup_is_noticed() -> None:
    world = ready()
    for _ in range(5):
        world.server.deliver()
    world.settle()
    world.read_all()
    world.settle()
    world.disconnect()
    world.server.position = 2
    world.server.acked = 2
    world.settle()
    world.server.deliver(b"new at an old position")
    world.settle()
    assert [event.body for event in world.read_all()] == [b"new at an old position"]
    world.settle()
    assert world.server.acked == 3


def test_receipts_make_delivered_and_read_once() -> None:
    world = ready()
    cids = [world.core.send(PEER, "text", b"x", None) for _ in range(3)]
    world.settle()
    line = world.line
    assert line is not None
    line.out += [wire.receipt(CONV, PEER, 2, 0), wire.receipt(CONV, PEER, 2, 0)]
    line.out += [wire.receipt(CONV, PEER, 3, 1), wire.receipt(CONV, PEER, 1, 1)]
    world.settle()
    assert [each.cid for each in world.found(fx.Delivered)] == cids
    assert [each.cid for each in world.found(fx.ReadByAll)] == cids[:1]
    assert len(world.found(fx.Shown)) == 2


def test_a_receipt_may_overtake_the_answer() -> None:
    world = ready()
    cid = world.core.send(PEER, "text", b"x", None)
    world.turn()
    world.carry_up()
    line = world.line
    assert line is not None
    world.down.appendleft(wire.frame([wire.receipt(CONV, PEER, 1, 1)]))
    world.settle()
    assert [each.cid for each in world.found(fx.Delivered)] == [cid]
    assert [each.cid for each in world.found(fx.ReadByAll)] == [cid]


def test_receipts_missed_while_away_are_asked_for_also_after_a_restart() -> None:
    world = ready()
    world.core.send(PEER, "text", b"x", None)
    world.settle()
    world.disconnect()
    world.server.marks[CONV] = [(ME, 1, 1), (PEER, 1, 0)]
    world.settle()
    assert len(world.found(fx.Delivered)) == 1
    world.start()
    world.effects.clear()
    world.server.marks[CONV] = [(ME, 1, 1), (PEER, 1, 1)]
    world.settle()
    assert any(each.what.read == 1 for each in world.found(fx.Shown))
    assert not world.state.open(ME, DEVICE).awaited
    before = len(world.server.requests)
    world.start()
    world.settle()
    assert not any(isinstance(op, wire.Marks) for op in world.server.requests[before:])


def test_a_group_waits_for_every_member() -> None:
    world = ready()
    conv = b"g" * 16
    third = "+491700000003"
    world.server.marks[conv] = [(ME, 0, 0), (PEER, 0, 0), (third, 0, 0)]
    cid = world.core.send(conv, "text", b"x", None)
    world.settle()
    assert world.line is not None
    world.line.out.append(wire.receipt(conv, PEER, 1, 1))
    world.settle()
    assert not world.found(fx.Delivered)
    world.line.out.append(wire.receipt(conv, third, 1, 0))
    world.settle()
    assert [each.cid for each in world.found(fx.Delivered)] == [cid]
    # The last one who has not read it leaves.
    event = wire.members_event(conv, 2, 2 << 16, third, 1, 9, "group", [ME, PEER], [], [third])
    world.server.deliver_event(event)
    world.settle()
    assert [each.cid for each in world.found(fx.ReadByAll)] == [cid]
    [change] = world.read_all()
    assert isinstance(change, MembersChanged)
    assert change.removed == (third,)


def test_what_was_said_before_somebody_came_is_not_waited_for_nor_told_as_read() -> None:
    world = ready()
    conv = b"g" * 16
    third = "+491700000003"
    world.server.marks[conv] = [(ME, 0, 0), (PEER, 0, 0)]
    cid = world.core.send(conv, "text", b"x", None)
    world.settle()
    event = wire.members_event(
        conv, 2, 2 << 16, PEER, 1, 9, "group", [ME, PEER, third], [third], []
    )
    world.server.deliver_event(event)
    world.settle()
    assert world.line is not None
    world.line.out.append(wire.receipt(conv, third, 3, 0))
    world.line.out.append(wire.receipt(conv, PEER, 1, 1))
    world.settle()
    told = [each.what for each in world.found(fx.Shown)]
    shown = [receipt for receipt in told if receipt.account != ME]
    assert [(one.account, one.delivered, one.read) for one in shown] == [
        (third, 3, 0),
        (PEER, 1, 1),
    ]
    assert [each.cid for each in world.found(fx.ReadByAll)] == [cid]


def test_a_late_receipt_of_who_has_left_holds_nothing_up() -> None:
    world = ready()
    conv = b"g" * 16
    third = "+491700000003"
    world.server.marks[conv] = [(ME, 0, 0), (PEER, 0, 0), (third, 0, 0)]
    cids = [world.core.send(conv, "text", b"x", None) for _ in range(2)]
    world.settle()
    event = wire.members_event(conv, 3, 3 << 16, third, 1, 9, "group", [ME, PEER], [], [third])
    world.server.deliver_event(event)
    world.settle()
    assert world.line is not None
    world.line.out.append(wire.receipt(conv, third, 1, 0))
    world.line.out.append(wire.receipt(conv, PEER, 2, 0))
    world.settle()
    assert [each.cid for each in world.found(fx.Delivered)] == cids


def test_only_so_many_messages_are_followed() -> None:
    world = ready(followed_messages=2)
    cids = [world.core.send(PEER, "text", b"x", None) for _ in range(4)]
    world.settle()
    assert [each.cid for each in world.found(fx.ReceiptsLost)] == cids[:2]


def test_a_refused_message_leaves_the_outbox_with_its_typed_error() -> None:
    world = ready()
    world.server.refuse = lambda op: (
        wire.error(op.id, wire.ErrorCode.UNREACHABLE, "no such account")
        if isinstance(op, wire.Send)
        else None
    )
    cid = world.core.send(PEER, "text", b"x", None)
    world.settle()
    [refused] = world.found(fx.Refused)
    assert refused.cid == cid
    assert isinstance(refused.error, Unreachable)
    assert len(world.core.outbox) == 0
    assert not world.state.open(ME, DEVICE).outbox


@pytest.mark.parametrize("code", ["overloaded", "unavailable", "going_away", "timeout", "internal"])
def test_a_transient_refusal_is_retried_with_the_same_id(code: str) -> None:
    world = ready()
    left = [3]

    def refuse(op: wire.Request) -> bytes | None:
        if isinstance(op, wire.Send) and left[0]:
            left[0] -= 1
            return wire.error(op.id, wire.ErrorCode(code), "later", None)
        return None

    world.server.refuse = refuse
    cid = world.core.send(PEER, "text", b"x", None)
    world.settle()
    assert world.acked == [cid]
    assert [op.cid for op in world.server.requests if isinstance(op, wire.Send)] == [cid] * 4


def test_a_pause_that_the_server_asks_for_is_kept() -> None:
    world = ready()
    refused = [False]

    def refuse(op: wire.Request) -> bytes | None:
        if isinstance(op, wire.Send) and not refused[0]:
            refused[0] = True
            return wire.error(op.id, wire.ErrorCode.RATE_LIMITED, "slowly", 5_000)
        return None

    world.server.refuse = refuse
    cid = world.core.send(PEER, "text", b"x", None)
    world.turn()
    world.carry_up()
    world.carry_down()
    start_s = world.now_s
    due_s = world.core.next_deadline_s(world.now_s)
    assert due_s is not None
    assert due_s >= start_s + 5.0
    assert world.core.transmit(start_s + 4.9) is None
    world.settle()
    assert world.acked == [cid]


def test_internal_errors_are_not_retried_for_ever() -> None:
    world = ready()
    world.server.refuse = lambda op: (
        wire.error(op.id, wire.ErrorCode.INTERNAL, "broken") if isinstance(op, wire.Send) else None
    )
    world.core.send(PEER, "text", b"x", None)
    world.settle()
    assert len(world.found(fx.Refused)) == 1


def test_requests_are_repeated_on_the_next_connection() -> None:
    world = ready()
    token = world.core.request(wire.Devices(0), world.now_s, 1e6)
    world.turn()
    world.disconnect()
    world.settle()
    [answered] = world.found(fx.Answered)
    assert answered.token == token


def test_a_request_without_an_answer_times_out_and_a_late_answer_is_ignored() -> None:
    world = ready()
    token = world.core.request(wire.Devices(0), world.now_s, 10.0)
    world.turn()
    world.core.tick(world.now_s + 10.0)
    world.turn()
    [failed] = world.found(fx.Failed)
    assert failed.token == token
    assert isinstance(failed.error, RequestTimeout)
    world.settle()
    assert not world.found(fx.Answered)
    assert not world.found(fx.Drop)


def test_a_message_without_an_answer_ends_the_connection() -> None:
    world = ready()
    world.core.send(PEER, "text", b"x", None)
    world.turn()
    world.up.clear()  # lost on the way
    world.core.tick(world.now_s + 30.0)
    world.turn()
    assert world.found(fx.Drop)
    world.settle()
    assert len(world.acked) == 1


def test_presence_is_watched_again_after_a_reconnect() -> None:
    world = ready()
    world.core.request(wire.Watch(0, PEER), world.now_s, 1e6)
    world.settle()
    world.disconnect()
    world.settle()
    watches = [op for op in world.server.requests if isinstance(op, wire.Watch)]
    assert len(watches) == 2
    world.core.request(wire.Unwatch(0, PEER), world.now_s, 1e6)
    world.settle()
    world.disconnect()
    world.settle()
    watches = [op for op in world.server.requests if isinstance(op, wire.Watch)]
    assert len(watches) == 2


def test_an_answer_to_watch_is_heard_in_order_with_the_news() -> None:
    world = ready()
    token = world.core.request(wire.Watch(0, PEER), world.now_s, 1e6)
    world.turn()
    assert world.line is not None
    world.line.out.append(wire.presence(PEER, False, None))  # said before the answer
    world.carry_up()
    world.settle()
    heard = [each.what for each in world.found(fx.Shown)]
    assert heard == [Presence(PEER, False, None), Presence(PEER, True, None)]
    assert [each.token for each in world.found(fx.Answered)] == [token]


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_news_in_an_answer_to_watch_that_nobody_awaits_are_asked_for_again(how: str) -> None:
    world = ready()
    world.core.request(wire.Watch(0, PEER), world.now_s, 1e6)
    world.settle()
    token = world.core.request(wire.Watch(0, PEER), world.now_s, 10.0)
    world.turn()
    world.carry_up()
    if how == "cancelled":
        world.core.give_up(token)
    else:
        world.core.tick(world.now_s + 10.0)
    before = len(world.found(fx.Shown))
    world.carry_down()
    assert len(world.found(fx.Shown)) == before
    world.settle()
    assert len(world.found(fx.Shown)) == before + 1
    watches = [op for op in world.server.requests if isinstance(op, wire.Watch)]
    assert len(watches) == 3


def test_going_is_honoured() -> None:
    world = ready()
    assert world.line is not None
    world.line.out.append(wire.going("drain", 4_000))
    world.carry_down()
    assert world.found(fx.Drop)
    delay_s = world.core.reconnect_delay_s()
    assert 4.0 <= delay_s <= 6.0


def test_going_lets_open_answers_come_in_and_asks_nothing_more() -> None:
    world = ready()
    first = world.core.send(PEER, "text", b"x", None)
    world.turn()
    line = world.line
    assert line is not None
    world.core.received(wire.frame([wire.going("drain", 0)]), world.now_s)
    second = world.core.send(PEER, "text", b"y", None)
    world.turn()
    assert len(world.up) == 1
    world.carry_up()
    world.carry_down()
    assert world.acked == [first]
    assert world.found(fx.Drop)
    world.settle()
    assert world.acked == [first, second]


@pytest.mark.parametrize(
    ("code", "error"),
    [(4401, AuthFailed), (4403, Revoked), (4409, Replaced), (4400, ProtocolViolation)],
)
def test_some_closes_end_the_client(code: int, error: type[Exception]) -> None:
    world = ready()
    token = world.core.request(wire.Devices(0), world.now_s, 1e6)
    world.disconnect(code)
    [fatal] = world.found(fx.Fatal)
    assert isinstance(fatal.error, error)
    assert [each.token for each in world.found(fx.Failed)] == [token]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 4408, 4429, 4500, None])
def test_other_closes_do_not(code: int | None) -> None:
    world = ready()
    world.disconnect(code)
    assert world.core.failed is None
    world.settle()
    assert len(world.found(fx.Ready)) == 2


def test_a_refused_sign_in_ends_the_client() -> None:
    world = World()
    world.server.refuse = lambda op: (
        wire.error(op.id, wire.ErrorCode.AUTH_FAILED, "who?") if isinstance(op, wire.Auth) else None
    )
    world.settle()
    [fatal] = world.found(fx.Fatal)
    assert isinstance(fatal.error, AuthFailed)


def test_backoff_grows_to_its_cap_and_starts_over_after_a_good_connection() -> None:
    world = World()
    delays = []
    for _ in range(40):
        world.core.disconnected(None, "", world.now_s)
        delays.append(world.core.reconnect_delay_s())
    assert all(0.0 <= delay <= 30.0 for delay in delays)
    assert max(delays[:3]) <= 1.0
    assert max(delays) > 15.0
    world.settle()
    world.now_s += 100.0
    world.disconnect()
    assert world.core.reconnect_delay_s() <= 0.25


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff",
        wire.frame([wire.ok_null(77)]),
        wire.frame([wire.encode([wire.OK, 1])]),
        wire.frame([wire.encode([wire.PUSH, 0, []])]),
        wire.frame([wire.encode([wire.RECEIPT, b"short", PEER, 1, 1])]),
    ],
)
def test_a_server_that_breaks_the_protocol_is_left(frame: bytes) -> None:
    world = ready()
    world.core.received(frame, world.now_s)
    world.turn()
    [drop] = world.found(fx.Drop)
    assert drop.code == wire.CloseCode.PROTOCOL_ERROR
    assert world.core.failed is None


def test_events_before_the_sign_in_are_a_violation() -> None:
    world = World()
    world.connect()
    event = wire.message_event(CONV, 1, 1, 0, PEER, 1, 1, ME, "text", b"", None)
    world.core.received(wire.frame([wire.push(1, [event])]), world.now_s)
    world.turn()
    assert world.found(fx.Drop)


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    world = ready()
    world.core.received(data, world.now_s)
    world.turn()
    world.settle()
    assert world.core.failed is None


def test_the_outbox_has_limits() -> None:
    world = World(outbox_messages=2)
    world.core.send(PEER, "text", b"x", None)
    world.core.send(PEER, "text", b"x", None)
    with pytest.raises(OutboxFull):
        world.core.send(PEER, "text", b"x", None)
    world = World(outbox_bytes=1000)
    with pytest.raises(OutboxFull):
        world.core.send(PEER, "text", bytes(1001), None)
    world.core.send(PEER, "text", b"x", None)


def test_the_inbox_says_when_it_is_full() -> None:
    world = ready(inbox_events=3)
    for _ in range(3):
        world.server.deliver()
    world.settle()
    assert world.core.inbox.full
    world.core.take()
    assert not world.core.inbox.full


@pytest.mark.parametrize(
    ("to", "kind", "body"),
    [
        ("not a number", "text", b""),
        (b"short", "text", b""),
        (PEER, "", b""),
        (PEER, "täxt", b""),
        (PEER, "x" * 65, b""),
        (PEER, "text", bytes(64 * 1024 + 1)),
    ],
)
def test_what_the_wire_forbids_is_refused_before_it_is_kept(
    to: str | bytes, kind: str, body: bytes
) -> None:
    world = World()
    with pytest.raises(BadMessage):
        world.core.send(to, kind, body, None)
    assert len(world.core.outbox) == 0
    assert world.core.begin() is None


def test_large_messages_share_frames_within_the_limits() -> None:
    world = ready()
    cids = [world.core.send(PEER, "text", bytes(64 * 1024), None) for _ in range(9)]
    world.settle()
    assert world.acked == cids
