"""Receipts: what is shown of others, and when an own message has reached everyone."""

from __future__ import annotations

from palaver.transport.client import Mark, MembersChanged, Receipt
from palaver.transport.client.receipts import Receipts

ME, ANN, BOB = "+491701234567", "+491701234568", "+491701234569"
GROUP = b"g" * 16


def group() -> Receipts:
    receipts = Receipts(ME, {}, max_messages=10, max_conversations=10)
    receipts.wrote(GROUP, 1, 7, None)
    receipts.marks(GROUP, [Mark(ME, 0, 0), Mark(ANN, 0, 0)])
    return receipts


def change(seq: int, added: tuple[str, ...] = (), removed: tuple[str, ...] = ()) -> MembersChanged:
    members = tuple({ME: 0, ANN: 0, **dict.fromkeys(added, 0)}.keys() - set(removed))
    return MembersChanged(GROUP, seq, seq, ANN, 1, seq, "group", members, added, removed, seq)


def test_nobody_is_shown_to_have_read_what_stood_there_before_they_came() -> None:
    receipts = group()
    receipts.changed(change(2, added=(BOB,)))
    progress = receipts.receipt(Receipt(GROUP, BOB, 3, 0))
    assert progress.receipts == [Receipt(GROUP, BOB, 3, 0)]


def test_a_message_does_not_wait_for_who_came_later() -> None:
    receipts = group()
    receipts.changed(change(2, added=(BOB,)))
    progress = receipts.receipt(Receipt(GROUP, ANN, 1, 1))
    assert (progress.delivered, progress.read) == ([7], [7])


def test_a_message_waits_for_who_came_before_it() -> None:
    receipts = group()
    receipts.changed(change(2, added=(BOB,)))
    receipts.wrote(GROUP, 3, 8, None)
    assert receipts.receipt(Receipt(GROUP, ANN, 3, 3)).read == [7]
    assert receipts.receipt(Receipt(GROUP, BOB, 3, 3)).read == [8]


def test_a_message_waits_for_whom_its_author_has_added() -> None:
    receipts = group()
    receipts.changes(GROUP, 2, [BOB], [])
    receipts.wrote(GROUP, 3, 8, None)
    assert receipts.receipt(Receipt(GROUP, ANN, 3, 3)).delivered == [7]
    assert receipts.receipt(Receipt(GROUP, BOB, 3, 3)).delivered == [8]


def test_who_is_added_again_is_waited_for_as_before() -> None:
    receipts = group()
    receipts.changes(GROUP, 2, [ANN], [])
    assert receipts.receipt(Receipt(GROUP, ANN, 0, 0)).delivered == []
    assert receipts.receipt(Receipt(GROUP, ANN, 2, 0)).delivered == [7]


def test_a_message_waits_until_it_is_known_who_came_before_it() -> None:
    receipts = group()
    receipts.wrote(GROUP, 3, 8, None)  # the answer overtakes the queue
    assert receipts.receipt(Receipt(GROUP, ANN, 3, 3)).delivered == [7]
    assert receipts.changed(change(2, added=(BOB,))).delivered == []
    assert receipts.receipt(Receipt(GROUP, BOB, 3, 3)).delivered == [8]


def test_members_of_an_answer_that_says_nothing_of_its_time_are_asked_for_again() -> None:
    receipts = Receipts(ME, {}, max_messages=10, max_conversations=10)
    receipts.marks(GROUP, [Mark(ME, 0, 0), Mark(ANN, 0, 0)])  # the application asked
    receipts.wrote(GROUP, 2, 7, None)
    assert not receipts.members_known(GROUP)
    receipts.asks(GROUP)
    receipts.marks(GROUP, [Mark(ME, 0, 0), Mark(ANN, 0, 0)])
    assert receipts.members_known(GROUP)
    assert receipts.receipt(Receipt(GROUP, ANN, 2, 0)).delivered == [7]


def test_a_message_is_followed_when_what_stands_before_it_has_come() -> None:
    receipts = group()
    receipts.wrote(GROUP, 3, 8, None)
    receipts.wrote(GROUP, 4, 9, None)
    receipts.receipt(Receipt(GROUP, ANN, 4, 0))
    progress = receipts.arrived(GROUP, 2)
    assert progress is not None
    assert progress.delivered == [8, 9]
    assert receipts.arrived(GROUP, 2) is None


def test_an_old_change_says_nothing_of_members_that_were_asked_for_since() -> None:
    receipts = group()
    receipts.wrote(GROUP, 9, 8, None)
    receipts.asks(GROUP)
    receipts.marks(GROUP, [Mark(ME, 0, 0), Mark(ANN, 9, 0), Mark(BOB, 3, 0)])
    assert receipts.changed(change(2)).delivered == []  # Bob came with the one after that
    assert receipts.receipt(Receipt(GROUP, BOB, 9, 0)).delivered == [8]


def test_an_own_change_that_is_answered_late_takes_effect_and_undoes_nothing() -> None:
    receipts = group()
    receipts.arrived(GROUP, 3)
    receipts.changes(GROUP, 2, [BOB], [])
    receipts.wrote(GROUP, 4, 8, None)
    assert receipts.receipt(Receipt(GROUP, ANN, 4, 0)).delivered == [7]
    receipts.changed(change(6, removed=(BOB,)))
    receipts.changes(GROUP, 5, [BOB], [])
    receipts.wrote(GROUP, 7, 9, None)
    assert receipts.receipt(Receipt(GROUP, ANN, 7, 0)).delivered == [9]


def test_the_marks_of_who_left_and_came_again_do_not_go_back() -> None:
    receipts = group()
    receipts.changed(change(2, added=(BOB,)))
    receipts.receipt(Receipt(GROUP, BOB, 2, 2))
    receipts.changed(change(3, removed=(BOB,)))
    receipts.changed(change(4, added=(BOB,)))
    assert receipts.receipt(Receipt(GROUP, BOB, 1, 0)).receipts == []
    assert receipts.receipt(Receipt(GROUP, BOB, 4, 0)).receipts == [Receipt(GROUP, BOB, 4, 2)]


def test_who_left_is_waited_for_no_longer() -> None:
    receipts = group()
    receipts.changed(change(2, added=(BOB,)))
    receipts.wrote(GROUP, 3, 8, None)
    receipts.receipt(Receipt(GROUP, ANN, 3, 3))
    assert receipts.changed(change(4, removed=(BOB,))).read == [8]


def test_a_late_receipt_of_a_conversation_that_is_given_up_is_not_told_again() -> None:
    receipts = group()
    receipts.receipt(Receipt(GROUP, ANN, 1, 0))
    assert receipts.forget(GROUP) == [7]
    assert receipts.open_conversations() == []
    assert receipts.receipt(Receipt(GROUP, ANN, 1, 0)).receipts == []
