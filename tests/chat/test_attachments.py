"""Who is told of a device's events, and what those missed who come late."""

from __future__ import annotations

import pytest

from palaver.actors.chat import attachments
from palaver.actors.chat.attachments import Attachments
from palaver.actors.chat.messages import AttachAgain, AttachQueue, Missed, Revoked
from palaver.actors.runtime import Pid

DEVICE = ("+49", 1)


def queue(book: Attachments, serial: int = 1, as_of: tuple[int, int] | None = None) -> AttachQueue:
    return AttachQueue(*DEVICE, Pid("a", serial), as_of or book.as_of)


def test_who_attaches_in_time_has_missed_nothing() -> None:
    book = Attachments(7)
    book.settled()
    attach = queue(book)
    assert book.attach(attach) is None
    assert book.of(DEVICE) == (attach.queue,)


def test_an_event_between_the_login_and_the_attachment_was_missed() -> None:
    book = Attachments(7)
    book.settled()
    attach = queue(book)
    book.committed()
    assert book.of(DEVICE) == ()
    assert book.attach(attach) == Missed()
    assert book.of(DEVICE) == (attach.queue,)


def test_what_another_process_said_counts_for_nothing() -> None:
    book = Attachments(7)
    book.settled()
    assert book.attach(queue(book, as_of=(6, 1))) == AttachAgain()
    assert book.of(DEVICE) == ()


def test_who_attached_before_the_tables_were_settled_reads_again() -> None:
    book = Attachments(7)
    early = queue(book)
    assert book.attach(early) is None
    assert book.settled() == [early.queue]
    # Whoever asked before that may have read too early, too.
    assert book.attach(queue(book, 2, early.as_of)) == AttachAgain()


def test_who_was_revoked_since_is_told_so() -> None:
    book = Attachments(7)
    attach = queue(book)
    assert book.revoke(DEVICE) == ()
    assert book.attach(attach) == Revoked()
    assert book.of(DEVICE) == ()


def test_a_revocation_that_is_forgotten_makes_earlier_logins_worthless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attachments, "_REVOKED_KNOWN", 2)
    book = Attachments(7)
    attach = queue(book)
    for number in range(3):
        book.committed()
        book.revoke(("+44", number) if number else DEVICE)
    assert book.attach(attach) == AttachAgain()


def test_an_event_that_is_forgotten_was_perhaps_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "_MISSED_KNOWN", 2)
    book = Attachments(7)
    attach = queue(book)
    for number in range(4):
        book.committed()
        book.of(("+44", number))
        book.trim()
    assert book.attach(attach) == Missed()


def test_the_end_of_one_of_two_queues_leaves_the_other() -> None:
    book = Attachments(7)
    one, two = queue(book, 1), queue(book, 2)
    for ref, attach in (("r1", one), ("r2", two)):
        assert book.attach(attach) is None
        book.monitored(ref, attach)
    book.ended("r1", one.queue)
    assert book.of(DEVICE) == (two.queue,)
    book.ended("r2", two.queue)
    book.ended("unknown", two.queue)
    assert book.of(DEVICE) == ()
