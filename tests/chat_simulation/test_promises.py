"""The checkers see what they are there for: every promise, broken once."""

from __future__ import annotations

import pytest

from palaver.supervisors.simulations.chronicle import Broken, Chronicle, DeviceLog
from palaver.supervisors.simulations.promises import missing, verify
from palaver.transport import wire
from palaver.transport.client import (
    MembersChanged,
    Message,
    OutboxItem,
    Presence,
    Receipt,
    SentMessage,
    StateChange,
)

ANN, BOB, CID = "+491511110001", "+491511110002", "+491511110003"
CONV = wire.direct_conversation(ANN, BOB)
NOW_MS = 1_000_000


class Story:
    """A chronicle that is told by a test."""

    def __init__(self) -> None:
        self.chronicle = Chronicle(lambda: NOW_MS)
        self.ann = self.device(ANN)
        self.bob = self.device(BOB)

    def device(self, account: str, number: int = 1) -> DeviceLog:
        asked = self.chronicle.asking()
        log = self.chronicle.registered(account, number, asked)
        self.chronicle.opened(log)
        return log

    def keep(self, log: DeviceLog, cid: int) -> None:
        item = OutboxItem(cid, wire.SEND, b"")
        self.chronicle.kept(log, StateChange(added=[item]))

    def write(self, log: DeviceLog, cid: int, to: str | bytes, body: bytes = b"hi") -> None:
        self.chronicle.composed(log, cid, to, type="text", body=body)
        self.keep(log, cid)

    def tick(self, log: DeviceLog, cid: int, seq: int, stamp: int, conv: bytes = CONV) -> None:
        self.chronicle.accepted(log, cid, SentMessage(conv, seq, stamp))

    def show(self, log: DeviceLog, position: int, author: DeviceLog, cid: int, seq: int,
             stamp: int, **more: object) -> None:  # fmt: skip
        account, device = author.id
        fields = {
            "conv": CONV, "seq": seq, "stamp": stamp, "seen": 0, "sender": account,
            "device": device, "cid": cid, "to": BOB if account == ANN else ANN, "type": "text",
            "body": b"hi", "file": None, "position": position,
        }  # fmt: skip
        self.chronicle.shown(log, Message(**(fields | more)))  # type: ignore[arg-type]

    def keep_position(self, log: DeviceLog, position: int) -> None:
        self.chronicle.kept(log, StateChange(position=position))

    def said(self, cid: int = 1, seq: int = 1, stamp: int = 10) -> None:
        """Ann says something to Bob, and all is well."""
        self.write(self.ann, cid, BOB)
        self.tick(self.ann, cid, seq, stamp)
        self.show(self.bob, seq, self.ann, cid, seq, stamp)
        self.keep_position(self.bob, seq)


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_story_in_which_all_is_well(story: Story) -> None:
    story.said(1, 1, 10)
    story.said(2, 2, 11)
    story.write(story.bob, 1, ANN)
    story.tick(story.bob, 1, 3, 12)
    story.show(story.ann, 1, story.bob, 1, 3, 12, seen=2)
    story.chronicle.receipt(story.ann, Receipt(CONV, BOB, 2, 0))
    story.chronicle.reading(story.bob, CONV, 2)
    story.chronicle.receipt(story.ann, Receipt(CONV, BOB, 2, 2))
    story.chronicle.presence(story.ann, Presence(BOB, True, NOW_MS))
    verify(story.chronicle)


# -- always enqueued, durable ----------------------------------------------------------------


def test_an_answered_message_that_is_not_shown_is_missing(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    story.tick(story.ann, 1, 1, 10)
    assert list(missing(story.chronicle)) == [f"{BOB}/1 misses {CONV.hex()[:6]}:1 of {ANN}"]
    with pytest.raises(Broken, match="misses"):
        verify(story.chronicle)


def test_a_kept_message_without_an_answer_is_missing(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    assert list(missing(story.chronicle)) == [f"{ANN}/1 has no answer to message 1"]


def test_a_message_that_was_not_kept_is_owed_nothing(story: Story) -> None:
    story.chronicle.composed(story.ann, 1, BOB)
    story.chronicle.opened(story.ann)  # its machine died before
    assert not list(missing(story.chronicle))


def test_other_devices_of_the_author_get_it_too(story: Story) -> None:
    story.device(ANN, 2)
    story.said()
    assert [text.split()[0] for text in missing(story.chronicle)] == [f"{ANN}/2"]


def test_a_device_that_registered_later_is_owed_nothing_of_before(story: Story) -> None:
    story.said()
    story.device(BOB, 2)
    verify(story.chronicle)


def test_a_message_is_kept_before_it_is_sent(story: Story) -> None:
    story.chronicle.composed(story.ann, 1, BOB)
    with pytest.raises(Broken, match="before it was kept"):
        story.tick(story.ann, 1, 1, 10)


# -- exactly once ----------------------------------------------------------------------------


def test_a_message_has_one_place(story: Story) -> None:
    story.said(1, 1, 10)
    with pytest.raises(Broken, match="has two places"):
        story.show(story.bob, 2, story.ann, 1, 2, 11)


def test_a_place_has_one_message(story: Story) -> None:
    story.said(1, 1, 10)
    story.write(story.ann, 2, BOB)
    with pytest.raises(Broken, match=":1 is"):
        story.tick(story.ann, 2, 1, 11)


def test_a_retry_gets_the_first_answer(story: Story) -> None:
    story.said(1, 1, 10)
    with pytest.raises(Broken, match="was answered"):
        story.tick(story.ann, 1, 2, 10)


def test_a_handled_message_is_not_shown_again(story: Story) -> None:
    story.said()
    story.chronicle.opened(story.bob)
    with pytest.raises(Broken, match="position 1, not 2"):
        story.show(story.bob, 1, story.ann, 1, 1, 10)


def test_what_was_not_handled_may_be_shown_again_after_a_crash(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    story.tick(story.ann, 1, 1, 10)
    story.show(story.bob, 1, story.ann, 1, 1, 10)
    story.chronicle.opened(story.bob)
    story.show(story.bob, 1, story.ann, 1, 1, 10)
    verify(story.chronicle)


def test_a_position_never_changes_its_event(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    story.write(story.ann, 2, BOB)
    story.show(story.bob, 1, story.ann, 1, 1, 10)
    story.chronicle.opened(story.bob)
    with pytest.raises(Broken, match="position 1 was"):
        story.show(story.bob, 1, story.ann, 2, 2, 11)


# -- one order -------------------------------------------------------------------------------


def test_a_position_is_not_left_out(story: Story) -> None:
    story.said(1, 1, 10)
    story.write(story.ann, 2, BOB)
    with pytest.raises(Broken, match="position 3, not 2"):
        story.show(story.bob, 3, story.ann, 2, 2, 11)


def test_seqs_have_no_gap(story: Story) -> None:
    story.said(1, 1, 10)
    story.write(story.ann, 2, BOB)
    story.tick(story.ann, 2, 3, 12)
    story.show(story.bob, 2, story.ann, 2, 3, 12)
    with pytest.raises(Broken, match=r"nobody has \[2\]"):
        verify(story.chronicle)


def test_seqs_rise_on_a_device(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    story.write(story.ann, 2, BOB)
    story.show(story.bob, 1, story.ann, 2, 2, 11)
    with pytest.raises(Broken, match="comes after a later one"):
        story.show(story.bob, 2, story.ann, 1, 1, 10)


def test_an_event_is_the_same_on_every_device(story: Story) -> None:
    other = story.device(BOB, 2)
    story.said()
    with pytest.raises(Broken, match="here and"):
        story.show(other, 1, story.ann, 1, 1, 10, type="other")


def test_an_authors_messages_keep_their_order(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    story.write(story.ann, 2, BOB)
    story.tick(story.ann, 2, 1, 10)
    story.tick(story.ann, 1, 2, 11)
    story.show(story.bob, 1, story.ann, 2, 1, 10)
    story.show(story.bob, 2, story.ann, 1, 2, 11)
    with pytest.raises(Broken, match="the other way round"):
        verify(story.chronicle)


# -- causality -------------------------------------------------------------------------------


def test_a_stamp_is_greater_than_what_its_author_saw(story: Story) -> None:
    story.said(1, 1, 10)
    story.write(story.bob, 1, ANN)
    with pytest.raises(Broken, match="does not come after stamp 10"):
        story.tick(story.bob, 1, 2, 10)


def test_stamps_rise_in_a_conversation(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    story.write(story.ann, 2, BOB)
    story.tick(story.ann, 1, 1, 11)
    story.tick(story.ann, 2, 2, 10)
    story.show(story.bob, 1, story.ann, 1, 1, 11)
    story.show(story.bob, 2, story.ann, 2, 2, 10)
    with pytest.raises(Broken, match="stamp 10 after 11"):
        verify(story.chronicle)


def test_seen_says_as_much_as_the_author_saw(story: Story) -> None:
    story.said(1, 1, 10)
    story.write(story.bob, 1, ANN)
    story.tick(story.bob, 1, 2, 11)
    with pytest.raises(Broken, match="too little"):
        story.show(story.ann, 1, story.bob, 1, 2, 11, seen=0)


def test_seen_says_no_more_than_the_author_saw(story: Story) -> None:
    story.write(story.bob, 1, ANN)
    story.said(1, 1, 10)
    story.tick(story.bob, 1, 2, 11)
    story.show(story.ann, 1, story.bob, 1, 2, 11, seen=1)
    with pytest.raises(Broken, match="was shown 0 at most"):
        verify(story.chronicle)


# -- bodies, queues, identity ------------------------------------------------------------------


def test_a_body_is_not_changed(story: Story) -> None:
    story.write(story.ann, 1, BOB, b"hello")
    with pytest.raises(Broken, match="arrived as"):
        story.show(story.bob, 1, story.ann, 1, 1, 10)


def test_nobody_speaks_for_another(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    with pytest.raises(Broken, match="nobody wrote"):
        story.show(story.bob, 1, story.bob, 1, 1, 10)


def test_nobody_is_shown_what_is_not_for_them(story: Story) -> None:
    story.said()
    story.show(story.device(CID), 1, story.ann, 1, 1, 10)
    with pytest.raises(Broken, match="not for it"):
        verify(story.chronicle)


def test_the_author_is_not_shown_the_own_message(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    with pytest.raises(Broken, match="its own message"):
        story.show(story.ann, 1, story.ann, 1, 1, 10)


def test_a_refusal_needs_a_reason(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    story.chronicle.refused(story.ann, 1, "id_conflict")
    with pytest.raises(Broken, match="was refused"):
        verify(story.chronicle)


def test_a_removed_member_is_shown_the_removal_and_nothing_behind_it(story: Story) -> None:
    chronicle, cid = story.chronicle, story.device(CID)
    group = b"g" * 16
    chronicle.composed(story.ann, 1, "group", kind="group", members=(BOB, CID))
    chronicle.composed(story.ann, 2, group, kind="members", members=(CID,))
    for number in (1, 2):
        story.keep(story.ann, number)
    everyone, two = (ANN, BOB, CID), (ANN, BOB)
    made = MembersChanged(group, 1, 10, ANN, 1, 1, "group", everyone, everyone, (), 1)
    left = MembersChanged(group, 2, 11, ANN, 1, 2, "group", two, (), (CID,), 2)
    for log in (story.bob, cid):
        chronicle.shown(log, made)
        chronicle.shown(log, left)
    for number in (1, 2):
        story.tick(story.ann, number, number, 9 + number, group)
    verify(chronicle)
    story.write(story.bob, 1, group)
    story.tick(story.bob, 1, 3, 12, group)
    where = {"conv": group, "to": None, "seen": 2}
    story.show(story.ann, 1, story.bob, 1, 3, 12, **where)
    verify(chronicle)
    story.show(cid, 3, story.bob, 1, 3, 12, **where)
    with pytest.raises(Broken, match="not for it"):
        verify(chronicle)


# -- presence and receipts ---------------------------------------------------------------------


def test_nobody_was_seen_in_the_future(story: Story) -> None:
    with pytest.raises(Broken, match="in the future"):
        story.chronicle.presence(story.ann, Presence(BOB, False, NOW_MS + 1))


def test_receipts_do_not_go_back(story: Story) -> None:
    story.chronicle.receipt(story.ann, Receipt(CONV, BOB, 2, 0))
    with pytest.raises(Broken, match="went back"):
        story.chronicle.receipt(story.ann, Receipt(CONV, BOB, 1, 0))


def test_a_receipt_comes_once(story: Story) -> None:
    story.chronicle.receipt(story.ann, Receipt(CONV, BOB, 1, 0))
    with pytest.raises(Broken, match="twice"):
        story.chronicle.receipt(story.ann, Receipt(CONV, BOB, 1, 0))


def test_nothing_is_delivered_before_it_is_kept(story: Story) -> None:
    story.write(story.ann, 1, BOB)
    story.tick(story.ann, 1, 1, 10)
    story.show(story.bob, 1, story.ann, 1, 1, 10)
    story.chronicle.receipt(story.ann, Receipt(CONV, BOB, 1, 0))
    story.keep_position(story.bob, 1)
    with pytest.raises(Broken, match="had received 0"):
        verify(story.chronicle)


def test_nothing_is_read_before_somebody_says_so(story: Story) -> None:
    story.said()
    story.chronicle.receipt(story.ann, Receipt(CONV, BOB, 1, 1))
    with pytest.raises(Broken, match="had read 0"):
        verify(story.chronicle)


def test_what_was_broken_once_stays_broken(story: Story) -> None:
    with pytest.raises(Broken):
        story.chronicle.presence(story.ann, Presence(BOB, False, NOW_MS + 1))
    with pytest.raises(Broken, match="in the future"):
        verify(story.chronicle)
