"""Palaver does what Erlang/OTP does: the same programs on both show the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from otp_conform.beam import ESCRIPT, Beam, BeamFailed
from otp_conform.check import Checker, Mismatch
from otp_conform.compare import canonical
from otp_conform.corpus import CORPUS
from otp_conform.differences import DIFFERENCES, explain
from otp_conform.generate import FAMILIES
from otp_conform.language import Program, erlang
from otp_conform.mutants import MUTANTS
from otp_conform.search import Tally, search

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(ESCRIPT is None, reason="needs Erlang's `escript` (erlang-base)"),
]

PROGRAMS = 100
"""Random programs of each family; `make conform-otp` runs as many as it is told."""


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    with Checker() as one:
        yield one


@pytest.mark.parametrize("name", CORPUS)
def test_a_rule_of_the_manual(checker: Checker, name: str) -> None:
    checker.check(CORPUS[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_random_programs(checker: Checker, family: str) -> None:
    tally = Tally()
    search(checker, family, PROGRAMS, 1, tally)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.passed >= PROGRAMS // 2  # Hypothesis may find fewer that are not alike


def test_a_planted_fault_is_caught() -> None:
    escaped = [name for name in MUTANTS if not _caught(name)]
    assert not escaped


def _caught(name: str) -> bool:
    with Checker(MUTANTS[name](), schedules=20) as checker:
        for program in CORPUS.values():
            try:
                checker.check(program)
            except Mismatch:
                return True
    return False


def test_the_report_shows_the_program_and_both_logs() -> None:
    program = CORPUS["exit_signal_kill_to_each"]
    mutant = MUTANTS["survives_kill"]()
    with Checker(mutant, schedules=2) as checker, pytest.raises(Mismatch) as failure:
        checker.check(program)
    text = str(failure.value)
    assert "step 2: a does {exit,c,kill}" in text
    assert "c#1 died killed" in text
    assert "c#1 exit a#1 killed" in text


def test_two_runs_of_the_beam_are_the_same(checker: Checker) -> None:
    program = CORPUS["one_for_all_restarts"]
    assert checker.beam.run(program) == checker.beam.run(program)


def test_an_interpreter_that_ends_is_no_agreement_and_the_next_program_gets_another() -> None:
    program = CORPUS["one_for_all_restarts"]
    with Beam() as beam:
        before = beam.run(program)
        assert beam.process is not None
        beam.process.kill()
        beam.process.wait()
        with pytest.raises(BeamFailed, match="ended"):
            beam.run(program)
        assert beam.run(program) == before


# -- the comparison itself -------------------------------------------------------------------------


def test_the_order_of_one_sender_counts_and_that_of_several_does_not() -> None:
    def seen(*events: list[object]) -> object:
        return canonical(Program([], []), [[[["x#1", event] for event in events]], []])

    first, second = ["message", "a#1", 1], ["message", "a#1", 2]
    other = ["message", "b#1", 1]
    assert seen(first, second) != seen(second, first)
    assert seen(first, other) == seen(other, first)
    exit_, down = ["exit", "a#1", "bad"], ["down", "m", "a#1", "bad"]
    assert seen(exit_, down) == seen(down, exit_)
    assert seen(exit_, first) != seen(first, exit_)
    assert seen(exit_) != seen(exit_, exit_)


def test_only_listed_differences_are_passed_over() -> None:
    assert explain([["died", "bad"]], [["died", "worse"]]) is None
    otp, ours = ["terminate_dynamic", "ok"], ["terminate_dynamic", ["error", "not_found"]]
    assert explain([otp], [ours]) == {"dynamic-terminate-dead"}
    assert explain([ours], [otp]) is None
    assert len({difference.name for difference in DIFFERENCES}) == len(DIFFERENCES)


def test_terms_read_as_erlangs() -> None:
    assert erlang(("do", ["a", 1, True], "none")) == "{do,[a,1,true],none}"
    with pytest.raises(TypeError, match="no Erlang term"):
        erlang(1.5)


def test_what_the_exit_of_the_parent_overtakes_is_passed_over_and_nothing_else() -> None:
    end = ["terminate", "bad"]
    message = ["message", "a#1", 1]
    named = {"parent-exit-first"}
    assert explain({"itself": [end], "a#1": [message]}, {"itself": [end]}) == named
    assert explain({"itself": [end]}, {"itself": [end], "a#1": [message]}) is None
    assert explain({"itself": ["started"], "a#1": [message]}, {"itself": ["started"]}) is None
    answered, told = ["answered", 1], ["whereis", "n1", "none"]
    assert explain({"itself": [answered, told, end]}, {"itself": [answered, end]}) == named
    assert explain({"itself": [told, end]}, {"itself": [end]}) is None
