"""The tables do what Mnesia does: the same programs on both show the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mnesia_conform.beam import Mnesia, MnesiaFailed, missing
from mnesia_conform.check import Checker, compared
from mnesia_conform.compare import canonical
from mnesia_conform.corpus import CORPUS
from mnesia_conform.differences import DIFFERENCES, explain
from mnesia_conform.generate import FAMILIES
from mnesia_conform.language import Items, Program, Text, erlang
from mnesia_conform.mutants import MUTANTS, CommitsAborted
from mnesia_conform.search import Tally, search, smallest

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]

PROGRAMS = {"disc": 25, "archives": 25}
"""Random programs of a family, where not `USUALLY`; `make conform-mnesia` runs as many as told."""

USUALLY = 60


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
    number = PROGRAMS.get(family, USUALLY)
    search(checker, family, number, 1, tally)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.passed >= number // 2  # Hypothesis may find fewer that are not alike


def test_planted_faults_are_caught() -> None:
    with Checker() as checker:
        escaped = [name for name in MUTANTS if not _caught(checker.planted(MUTANTS[name]))]
    assert not escaped


def _caught(checker: Checker) -> bool:
    quick_ones_first = sorted(CORPUS.values(), key=lambda program: program.disc)
    return any(checker.failure(program) is not None for program in quick_ones_first)


def test_the_report_shows_the_smallest_program_and_both_logs(checker: Checker) -> None:
    program = CORPUS["nesting_s1"]
    failure = smallest(checker.planted(CommitsAborted), program)
    text = str(failure)
    assert len(text.splitlines()) < 15
    assert "a program in memory:\n  ('create_table', 's1'" in text
    assert "('abort', 1)" in text or "('raise',)" in text
    last = text.splitlines()[-1]
    assert "| " in last
    assert last.startswith(f"{failure.where[0]} {failure.where[1]}: ")


def test_two_runs_of_a_program_are_the_same_whatever_ran_between(checker: Checker) -> None:
    for name in ("own_writes_b1", "restarts_s1_disc_copies"):
        before = checker.mnesia.run(CORPUS[name])
        checker.mnesia.run(CORPUS["read_only_b1"])
        checker.mnesia.run(CORPUS["copy_types_s1"])
        assert checker.mnesia.run(CORPUS[name]) == before


def test_an_interpreter_that_ends_is_no_agreement_and_the_next_program_gets_another() -> None:
    program = CORPUS["bag_objects"]
    with Mnesia() as mnesia:
        before = mnesia.run(program)
        process = mnesia.interpreters[False].process
        assert process is not None
        process.kill()
        process.wait()
        with pytest.raises(MnesiaFailed, match="ended"):
            mnesia.run(program)
        assert mnesia.run(program) == before


# -- the comparison itself -------------------------------------------------------------------------


def test_only_an_ordered_set_has_an_order() -> None:
    def seen(name: str, table: str, *values: object) -> object:
        return canonical([[name, table, ["value", ["list", *values]]]], disc=False)

    assert seen("foldl", "s1", 1, 2) == seen("foldl", "s1", 2, 1)
    assert seen("foldl", "b1", 1, 1) != seen("foldl", "b1", 1)
    assert seen("foldl", "o1", 1, 2) != seen("foldl", "o1", 2, 1)
    assert seen("index_read", "o1", 1, 2) == seen("index_read", "o1", 2, 1)
    assert seen("dirty_read", "b1", 1, 2) != seen("dirty_read", "b1", 2, 1)
    assert seen("read", "b1", 1, 2) == seen("read", "b1", 2, 1)


def test_one_true_and_a_float_are_not_equal() -> None:
    for one, other in ((1, True), (1, ["float", 1.0]), (0, False), (None, False)):
        log = [[["read", "s1", ["value", ["tuple", value]]]] for value in (one, other)]
        assert compared(*log) == ([], 0)


def test_the_events_of_a_commit_are_in_order_for_each_key() -> None:
    def event(key: int, value: int) -> object:
        return ["event", "s1", ["value", ["tuple", "write", ["tuple", "s1", key, value]]]]

    def seen(*events: object) -> object:
        return canonical(list(events), disc=False)

    assert seen(event(1, 1), event(2, 2)) == seen(event(2, 2), event(1, 1))
    assert seen(event(1, 1), event(1, 2)) != seen(event(1, 2), event(1, 1))


def test_only_listed_differences_are_passed_over() -> None:
    mnesia = ["walk", "o1", ["twice", ["list", 1], ["list", 1, 2]]]
    assert explain(mnesia, ["walk", "o1", ["value", ["list", 1, 2]]]) == "ordered-walk-misses"
    assert explain(mnesia, ["walk", "o1", ["value", ["list", 1]]]) is None
    assert explain(["walk", "o1", ["value", 1]], ["walk", "o1", ["value", 2]]) is None
    assert len({difference.name for difference in DIFFERENCES}) == len(DIFFERENCES)


def test_an_error_that_differs_explains_what_it_ends_and_nothing_else() -> None:
    def log(code: str, end: str) -> list[object]:
        return [["write", "s1", ["error", code]], ["activity", "none", ["error", end]]]

    first, second = "read_only", "already_exists"
    assert compared(log(first, first), log(second, second)) == (["two-mistakes"], None)
    assert compared(log(first, first), log(second, "badarg")) == (["two-mistakes"], 1)


def test_terms_read_as_erlangs() -> None:
    assert erlang(("do", [Text("aé"), 1, True, None, 1.5, 1e30, Items([2])], "none")) == (
        "{'do',[<<97,195,169>>,1,true,'None',1.5,1.0e+30,{2}],'none'}"
    )
    with pytest.raises(TypeError, match="no Erlang term"):
        erlang({1})


def test_a_program_reads_well() -> None:
    program = Program(
        [("restart",), ("activity", "transaction", [("read", "s1", Text("x"))])], True
    )
    assert str(program) == (
        "a program in a folder:\n  ('restart',)\n  transaction\n    ('read', 's1', Text('x'))"
    )
