"""The mutations are what they say, and the simulation catches each near a seed that is known to.

The whole search, from the first seed on, is `make mutations`.
"""

from __future__ import annotations

import builtins
import dis
import json

import mutation_run as run
import pytest
from hunting import hunt, known
from mutants import MUTATIONS
from mutation import Edit, Mutation, Put, StaleMutation, edited
from mutation_run import main

NAMES = [mutation.name for mutation in MUTATIONS]
SEEDS = 40
"""So many from the known one on: a change elsewhere moves what a seed does."""


def sample(start: int) -> int:
    total = start
    total += 1
    return total * 2


class Base:
    def greet(self) -> str:
        return "hello"


class Derived(Base):
    limit = 3

    def greet(self) -> str:
        said = super().greet()
        return said + "!"


def test_an_edit_changes_the_function_wherever_it_is_known_and_only_meanwhile() -> None:
    known_elsewhere = sample
    mutation = Mutation("m", "", "", [Edit(sample, "total += 1", "total += 10\ntotal += 1")])
    with mutation.applied():
        assert known_elsewhere(1) == 24
    assert known_elsewhere(1) == 4


def test_edits_of_one_function_add_up_and_super_goes_on_to_work() -> None:
    edits = [
        Edit(Derived.greet, "said = super().greet()", "said = super().greet() * 2"),
        Edit(Derived.greet, 'return said + "!"', 'return said + "?"'),
    ]
    with Mutation("m", "", "", edits).applied():
        assert Derived().greet() == "hellohello?"
    assert Derived().greet() == "hello!"


def test_the_code_is_as_before_even_if_the_run_raises() -> None:
    before = sample.__code__
    mutation = Mutation("m", "", "", [Edit(sample, "total += 1", ""), Put(Derived, "limit", 9)])
    with pytest.raises(ZeroDivisionError), mutation.applied():
        assert Derived().limit // (9 - Derived.limit)
    assert sample.__code__ is before
    assert Derived.limit == 3


@pytest.mark.parametrize(
    "edit",
    [
        Edit(sample, "total += 2", "total += 3"),
        Edit(sample, "return total", "return 1"),
        Put(Derived, "limit", 3),
    ],
    ids=["other text", "part of a line", "no other value"],
)
def test_a_mutation_that_would_change_nothing_is_an_error(edit: Edit | Put) -> None:
    with pytest.raises(StaleMutation), Mutation("m", "", "", [edit]).applied():
        pass


def test_names_and_sentences() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 28
    for mutation in MUTATIONS:
        assert mutation.edits, mutation.name
        assert mutation.mistake.endswith("."), mutation.name


@pytest.mark.parametrize("mutation", MUTATIONS, ids=NAMES)
def test_a_mutation_changes_the_code_and_uses_what_is_there(mutation: Mutation) -> None:
    by_function: dict[object, list[Edit]] = {}
    for edit in mutation.edits:
        if isinstance(edit, Edit):
            by_function.setdefault(edit.plain, []).append(edit)
    for function, edits in by_function.items():
        code = edited(function, edits)  # type: ignore[arg-type]
        assert code.co_code != function.__code__.co_code or code != function.__code__  # type: ignore[attr-defined]
        known_names = {*vars(builtins), *function.__globals__}  # type: ignore[attr-defined]
        used = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
        assert used <= known_names


@pytest.mark.parametrize("mutation", MUTATIONS, ids=NAMES)
def test_the_simulation_catches(mutation: Mutation) -> None:
    first = known()[mutation.name]
    caught = hunt(mutation, range(first, first + SEEDS))
    assert caught.passed, f"{SEEDS} seeds from {first} on did not; `make mutations ONLY=...`"


def test_the_run_prints_a_table_and_closes_with_what_passed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--only", "registry-keeps", "--jobs", "1"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mutation")
    assert lines[1].startswith("registry-keeps-the-dead")
    assert lines[2].startswith("none")
    assert lines[-1] == "2 passed, 0 failed"
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["passed"], said["failed"]) == (2, 0)
    assert [row["name"] for row in said["rows"]] == ["registry-keeps-the-dead", "none"]


def test_what_is_not_caught_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    harmless = Mutation(
        "harmless", "Nobody can tell.", "none", [Edit(sample, "total += 1", "")], scenario="names"
    )
    monkeypatch.setattr(run, "MUTATIONS", [harmless])
    monkeypatch.setitem(run._BY_NAME, "harmless", harmless)
    assert main(["--seeds", "2", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert "not caught: harmless: Nobody can tell." in said
    assert said.splitlines()[-1] == "1 passed, 1 failed"


def test_a_name_that_no_mutation_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "no such"]) == 2
    assert "--list" in capsys.readouterr().err
