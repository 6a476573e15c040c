"""Which message has to be accepted before another: nothing overtakes what will be repeated."""

from __future__ import annotations

from palaver.actors.chat.lanes import _Lane
from palaver.transport.wire import Send


def send(cid: int) -> Send:
    return Send(cid, "+4915112345001", cid, 1, 0, 0, "text", b"", None)


def test_a_message_needs_the_last_open_one_before_it() -> None:
    lane = _Lane(bytes(16), None)
    assert lane.before(1, 1) == 0
    lane.open[1] = ([send(1), send(2)], 0.0)
    lane.open[2] = ([send(5)], 0.0)
    assert lane.before(6, 1) == 5
    assert lane.before(4, 1) == 2  # an older one, sent again


def test_what_was_refused_for_a_moment_is_waited_for_until_it_comes_again() -> None:
    lane = _Lane(bytes(16), None)
    lane.refuse(3)
    assert lane.before(4, 3) == 3
    assert lane.before(5, 3) == 3
    assert lane.before(3, 3) == 0  # here it is
    lane.refused.discard(3)
    assert lane.before(4, 3) == 0


def test_what_its_sender_gave_up_is_not_waited_for() -> None:
    lane = _Lane(bytes(16), None)
    lane.refuse(3)
    assert lane.before(5, 4) == 0


def test_what_follows_a_refused_batch_needs_its_last() -> None:
    lane = _Lane(bytes(16), None)
    for cid in (1, 3, 5):
        lane.refuse(cid)
    assert lane.before(6, 1) == 5
    assert lane.before(7, 2) == 5  # the first was accepted, as it turns out
    assert lane.before(3, 2) == 0
    assert lane.before(8, 6) == 0  # its sender has an answer to all of them, or gave them up


def test_a_new_message_is_not_submitted_with_a_repeated_one_around_one_that_waits() -> None:
    lane = _Lane(bytes(16), None)
    assert not lane.parts(1, 5)
    assert lane.newest() == 0
    lane.open[1] = ([send(3), send(4)], 0.0)
    assert lane.parts(2, 5)
    assert not lane.parts(1, 2)
    assert not lane.parts(5, 6)
    assert lane.newest() == 4
    lane.open.clear()
    lane.refuse(3)
    assert lane.parts(1, 5)
    assert not lane.parts(3, 5)
    assert lane.newest() == 3
